"""Pure: how many evacuations may be in flight, found out while they are.

With too few in flight a cloud idles. With too many each one takes longer for all the others, and
in the end some fail. Where that turns is a property of the cloud, so it is measured: the number
in flight over the mean time from the call until the instance is elsewhere is the rate. When
enough have landed at the present window, it is compared with the one before. The share of the
additional evacuations in flight that came through as rate is 1 where the cloud had room for
them, and 0 where they only waited for each other.

    share large   more were better: still more are tried, first twice as many, later half again
    share small   fewer are as good: still fewer are tried
    in between    the knee is between the two, and that is where the window goes

There it stays for some rounds, then tries again, more and fewer in turn, and waits longer each
time that this has changed nothing. Trouble halves it, once for all that was sent before. No time
in seconds is built in: a cloud three times slower has the same window.

A target's own window grows with what lands there and is halved by trouble, as TCP's does; it
also shrinks while a target takes much longer than others. Whether the targets are as fast with
more is what the window of all finds out.

Times are aware datetimes, all of the same clock.
"""

import dataclasses
import datetime
import statistics
import typing

from vmha_nova import model

ENOUGH = 4                              # landings for a comparison, if the window is smaller
FIRST, PROBE = 2.0, 1.5                 # how far apart the windows are that are compared
MORE, FEWER = 0.5, 0.25                 # shares that say: go on like this
# What has landed is noticed a little later, and too few cost more than too many.
EXTRA = 0.15
ROUNDS, MOST_ROUNDS = 4, 16             # at one window, before the next trial
USED = 0.75                             # of a window, or there was no use for it
SLOW = 2.0                              # times as long as on the middle one of the targets
CALLS = 2                               # without an answer, at least, and a third of the window
LATE = 0.75                             # of the silence after which a host may be dead


@dataclasses.dataclass(frozen=True)
class Window:
    """How many may be in flight in all, and what is known about it."""

    size: int
    since: datetime.datetime            # what was sent earlier says nothing about this size
    base: tuple[float, float] | None = None     # during a trial: in flight and rate before it
    up: bool = True                     # whether the next trial is a larger one
    step: float = FIRST
    rounds: int = 1                     # until the next trial
    patience: int = ROUNDS              # rounds to wait after a trial that has changed nothing
    landed: int = 0                     # since ``since``, and the sums
    flying: int = 0                     # of what was in flight when they were sent
    seconds: float = 0.0                # and of the times they took
    cut_at: datetime.datetime | None = None     # when trouble has halved it
    why: str = 'to begin with'


@dataclasses.dataclass(frozen=True)
class Target:
    """How many may be in flight to one target."""

    size: float                         # the whole part counts
    seconds: float | None = None        # that one takes there, smoothed
    cut_at: datetime.datetime | None = None
    why: str = ''                       # what has made it smaller; '' before there was trouble


@dataclasses.dataclass(frozen=True)
class Pace:
    """All windows."""

    policy: model.Policy
    window: Window
    targets: typing.Mapping[str, Target]


def start(policy: model.Policy, now: datetime.datetime) -> Pace:
    """Where it begins, also after a restart."""
    return Pace(policy, Window(min(policy.window_start, policy.window), now), {})


def target(pace: Pace, host: str) -> Target:
    """The window of a target."""
    return pace.targets.get(host) or Target(
        min(pace.policy.window_per_target_start, pace.policy.window_per_target))


def room(pace: Pace, node: model.ComputeNode) -> tuple[int, str]:
    """How many may be in flight to a node, at least one, and what holds that down or ''."""
    there, beat = target(pace, node.host), node.heartbeat
    silent = (beat.looked_at - beat.changed_at).total_seconds() if beat else 0.0
    if silent < LATE * pace.policy.heartbeat_silence:
        return int(there.size), there.why
    late = f'its last heartbeat is {silent:.0f} s old'
    return (1 if silent >= pace.policy.heartbeat_silence else max(1, int(there.size) // 2)), late


def calls(pace: Pace) -> int:
    """How many evacuate calls may be without an answer at a time.

    The first ones are answered sooner then, and the last ones no later.
    """
    return max(CALLS, pace.window.size // 3)


def describe(pace: Pace, nodes: typing.Iterable[model.ComputeNode]) -> str:
    """The windows in words, those of targets where there is something to say."""
    window = pace.window
    words = [f'{window.size} at a time, at most {pace.policy.window}: {window.why}']
    for node in nodes:
        size, why = room(pace, node)
        words += [f'{size} to {node.host}: {why}'] * bool(why)
    return '; '.join(words)


def landed(pace: Pace, host: str, sent: datetime.datetime, flying: int,
           now: datetime.datetime) -> Pace:
    """An instance is elsewhere.

    :param sent: when its call was about to be sent
    :param flying: how many were in flight then in all, itself included
    """
    seconds = max((now - sent).total_seconds(), 0.001)
    there = target(pace, host)
    there = dataclasses.replace(there, seconds=seconds if there.seconds is None else (
        there.seconds + (seconds - there.seconds) / 4))
    known = [t.seconds for t in {**pace.targets, host: there}.values() if t.seconds is not None]
    there = _landed_there(there, sent, statistics.median_low(known),
                          pace.policy.window_per_target, now)
    return dataclasses.replace(
        pace, targets={**pace.targets, host: there},
        window=_landed(pace.window, sent, flying, seconds, pace.policy.window, now))


def trouble(pace: Pace, host: str, sent: datetime.datetime, now: datetime.datetime) -> Pace:
    """An evacuation was refused or has failed; with no host, its call was not answered.

    A target's second trouble, before it was back at its limit, is that target's alone: the others
    do not wait for it.
    """
    why = f'an evacuation to {host} was refused or failed' if host else 'a call was not answered'
    there, window, targets = target(pace, host), pace.window, pace.targets
    if not there.why and not _known(window, sent):
        window = _at(window, max(1, window.size // 2), now, base=None, step=PROBE, rounds=1,
                     patience=ROUNDS, cut_at=now, why=why,
                     up=window.base is None or not window.up)   # or that was just tried
    if host and not _known(there, sent):
        targets = {**targets, host: dataclasses.replace(
            there, size=max(1.0, there.size // 2), cut_at=now, why='one was refused or failed')}
    return dataclasses.replace(pace, window=window, targets=targets)


def _known(window, sent):
    """Whether this is of the same trouble as the last one."""
    return window.cut_at is not None and sent < window.cut_at


# -- one target -----------------------------------------------------------------------------------
def _landed_there(there, sent, usual, most, now):
    if _known(there, sent):
        return there
    if there.seconds > SLOW * usual:
        return dataclasses.replace(
            there, size=max(1.0, there.size // 1 - 1), cut_at=now,
            why=f'it takes {there.seconds / usual:.1f} times as long as others')
    size = min(most, there.size + (1 / there.size if there.why else 1))
    return dataclasses.replace(there, size=size, why=there.why if size < most else '')


# -- all ------------------------------------------------------------------------------------------
def _landed(window, sent, flying, seconds, most, now):
    if sent < window.since:
        return window
    window = dataclasses.replace(window, landed=window.landed + 1,
                                 flying=window.flying + max(1, min(flying, window.size)),
                                 seconds=window.seconds + seconds)
    if window.landed < max(ENOUGH, window.size) * window.rounds:
        return window
    level = window.flying / window.landed
    found = level, level * window.landed / window.seconds
    window = _at(window, window.size, now, rounds=1)
    if window.base is not None:
        return _compare(window, found, most, now)
    # Something else limits what is in flight: this window cannot be measured.
    return window if level < USED * window.size else _try(window, found, most, now)


def _at(window, size, now, **values):
    """The window at a size of which nothing is measured yet."""
    return dataclasses.replace(window, size=size, since=now, landed=0, flying=0, seconds=0.0,
                               **values)


def _try(window, found, most, now):
    size = window.size
    if size == 1 < most:                # there are no fewer
        window = dataclasses.replace(window, up=True)
    size = max(size + 1, round(size * window.step)) if window.up else (
        min(size - 1, round(size / window.step)))
    size = max(1, min(most, size))
    if size == window.size:             # there are no more
        return _stay(window, size, False, now, window.why)
    return _at(window, size, now, base=found,
               why=f'to see if that is {"faster" if window.up else "as fast"}')


def _stay(window, size, changed, now, why):
    """End a trial; the next one goes the other way."""
    return _at(window, size, now, base=None, up=not window.up, step=PROBE, why=why,
               rounds=ROUNDS if changed else window.patience,
               patience=ROUNDS if changed else min(MOST_ROUNDS, 2 * window.patience))


def _compare(window, found, most, now):
    (low, slow), (high, fast) = (window.base, found) if window.up else (found, window.base)
    before = max(1, round(window.base[0]))
    if high < 1.1 * low:                # they never were in flight
        return _stay(window, before, False, now, 'there was no use for more')
    share = (fast / slow - 1) / (high / low - 1)
    if (share >= MORE) if window.up else (share <= FEWER):
        return _try(window, found, most, now)
    size = max(1, min(most, round(low + (high - low) * min(1.0, max(0.0, share) + EXTRA))))
    return _stay(window, size, size != before, now,
                 f'{high:.0f} at a time are {fast / slow:.2f} times as fast as {low:.0f}')
