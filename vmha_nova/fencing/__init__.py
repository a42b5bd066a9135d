"""Fences: what proves that a dead host can write no more.

A fence is an object with

- ``name``: its driver;
- ``proves``: one line for the operator;
- ``done``: what a try of it that was begun may have done to a host, '' where that is nothing;
- ``lasting``: whether something stays in force that has to be watched and taken back;

and three methods, which raise VmhaErrors, FenceFailed above all:

- ``plan(host, ours)`` -> what it is going to do, recorded before it is done;
- ``fence(host, plan)`` -> the evidence, recorded after;
- ``keep(host, evidence)`` -> a plan to be recorded and fenced by in place of that evidence, None
  where all is in force as recorded.

A lasting one has ``lift(ranges)`` too. Plans and evidence are dicts with ``driver``, ``host`` and
``whole``: whether no client of the host can write any more, seen or not. Several fences in the
operator's order are fences.Fences.
"""
