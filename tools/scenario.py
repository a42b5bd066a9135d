#!/usr/bin/env python3
"""Run scenarios of tests/scenarios: what happens to a cloud, and what the engine makes of it.

Needs what the unit tests need: .tox/py3/bin/python tools/scenario.py host-dies
"""

import argparse
import difflib
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.scenarios import campaign  # noqa: E402
from tests.scenarios import events  # noqa: E402
from tests.scenarios import explore  # noqa: E402
from tests.scenarios import invariants  # noqa: E402
from tests.scenarios import simulator  # noqa: E402
from tests.scenarios import world  # noqa: E402

EXPLORE = 'explore'
BOLD, DIM, RED, PLAIN = '\033[1m', '\033[2m', '\033[31m', '\033[0m'


def main(arguments=None):
    """Returns the exit status: 0 if all is as expected, 1 if something is not, 2 for bad input."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        if options.list:
            return show_names()
        if options.events:
            print('\n'.join(events.usage(name) for name in events.names()))
            return 0
        if options.names[:1] == [EXPLORE]:
            return search(options)
        names = simulator.all_names() if options.all else options.names
        if not names:
            parser.error('name a scenario, or --all, or --list')
        return max(show(name, options) for name in names)
    except world.BadScenario as e:
        print(f'scenario: {e}', file=sys.stderr)
        return 2


def make_parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog='tools/scenario.py', description=__doc__.split('\n\n')[0],
        epilog=f'"{EXPLORE} --seeds 1-1000" makes up clouds and what happens to them, checks the '
               'invariants after every step, and kills the engine at any moment. A seed that '
               'breaks one is made small and written as a scenario.')
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'a scenario, or "{EXPLORE}"')
    parser.add_argument('--all', action='store_true', help='run all scenarios')
    parser.add_argument('--list', action='store_true', help='list the scenarios')
    parser.add_argument('--events', action='store_true', help='list what can happen in one')
    parser.add_argument('--update', action='store_true',
                        help='write what comes out as what is expected')
    parser.add_argument('--quiet', action='store_true', help='only what is not as expected')
    parser.add_argument('--seeds', default='1-1000', metavar='A-B',
                        help=f'for "{EXPLORE}": the seeds, 1-1000 if not given')
    parser.add_argument('--keep', metavar='FOLDER', default='.',
                        help=f'for "{EXPLORE}": where a failure is written to (.)')
    parser.add_argument('--campaign', metavar='FOLDER',
                        help=f'for "{EXPLORE}" of many seeds: what came of each part of them is '
                             'kept here, and what is here is not tried again')
    parser.add_argument('--jobs', type=int, default=1, metavar='N',
                        help='processes of a campaign (1)')
    parser.add_argument('--summary', action='store_true',
                        help='print what came of a campaign so far, as JSON')
    return parser


def show_names():
    """Each with the first sentence of its README."""
    for name in simulator.all_names():
        text = ' '.join(simulator.load(name).readme.split())
        print(f'{name:34} {text.split(". ")[0].rstrip(".")[:110]}')
    return 0


def show(name, options):
    """Run one, print its log, and say how it differs from what is expected."""
    scenario = simulator.load(name)
    began = time.process_time()
    try:
        made = simulator.run(scenario)
    except invariants.Broken as e:
        print(f'{name}: {e}')
        return 1
    log, took = made.story.text(), time.process_time() - began
    if not options.quiet:
        print(f'{paint(BOLD, name)}\n\n{scenario.readme.strip()}\n')
        for line in made.story.lines:
            print(paint(BOLD, line) if line[9:10] == '*' else
                  paint(DIM, line) if ' step ' in line[:15] else line)
        print(f'\n{made.seconds():.0f} s of virtual time, {made.invariants.checks} steps, the '
              f'invariants hold after each; {took:.1f} s of CPU time')
    if options.update:
        (simulator.FOLDER / name / simulator.LOG).write_text(log)
        if log != scenario.expected:
            print(f'{name}: {simulator.LOG} was written')
        return 0
    if log == scenario.expected:
        print(f'{name}: as expected')
        return 0
    print(f'{name}: NOT as expected (--update, if this is right):')
    print('\n'.join(difflib.unified_diff(
        scenario.expected.splitlines(), log.splitlines(), 'expected', 'found', lineterm='', n=2)))
    return 1


def search(options):
    """Try seeds; a failure is shrunk and written."""
    try:
        first, last = (int(n) for n in (options.seeds + '-' + options.seeds).split('-')[:2])
    except ValueError:
        raise world.BadScenario(f'--seeds {options.seeds}: it is A-B') from None
    if options.campaign:
        folder = pathlib.Path(options.campaign).resolve()
        if options.summary:
            print(json.dumps(campaign.summary(folder), indent=1))
            return 0
        return 1 if campaign.run(folder, first, last, options.jobs, _now) else 0
    began, failed, steps, kills, pauses = time.process_time(), 0, 0, 0, 0
    for found in explore.explore_all(range(first, last + 1)):
        seed = found.seed
        steps, kills = steps + found.steps, kills + found.killed
        pauses += found.paused
        if found.problem:
            failed += 1
            print(paint(RED, f'seed {seed}: {found.problem.splitlines()[0]}'))
            small = explore.shrink(found)
            path = pathlib.Path(options.keep) / f'seed-{seed}'
            explore.write(small, path)
            print(f'seed {seed}: made small and written to {path}')
        elif not options.quiet and seed % 100 == 0:
            print(f'seed {seed}: {steps} steps and {kills} kills so far, '
                  f'{time.process_time() - began:.0f} s of CPU time', flush=True)
    print(f'{last - first + 1} seeds, {steps} steps, {kills} kills of the engine, {pauses} '
          f'takeovers from one that was paused, {failed} failed; '
          f'{time.process_time() - began:.0f} s of CPU time')
    return 1 if failed else 0


def _now(text):
    print(text, flush=True)


def paint(colour, text):
    """For terminals."""
    return f'{colour}{text}{PLAIN}' if sys.stdout.isatty() else text


if __name__ == '__main__':
    sys.exit(main())
