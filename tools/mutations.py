#!/usr/bin/env python3
"""Break copies of the code on purpose, and see that the named tests catch it.

Needs what the unit tests need: .tox/py3/bin/python tools/mutations.py --all
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.mutations import runner  # noqa: E402
from tests.mutations import table  # noqa: E402


def main(arguments=None):
    """Returns the exit status: 0 if each is caught, 1 if one is not, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog='tools/mutations.py', description=__doc__.split('\n\n')[0],
        epilog='The checkout is not touched. Without names, the broken versions are listed.')
    parser.add_argument('names', nargs='*', metavar='NAME', help='broken versions to try')
    parser.add_argument('--all', action='store_true', help='try all of them')
    parser.add_argument('--report', metavar='FILE', help='write what came of them, as JSON, '
                        'beside what is there of others')
    options = parser.parse_args(arguments)
    try:
        chosen = table.MUTATIONS if options.all else [runner.named(n) for n in options.names]
    except KeyError as e:
        print(f'mutations: there is no {e}', file=sys.stderr)
        return 2
    if not chosen:
        for one in table.MUTATIONS:
            print(f'{one.name:24} {one.part:10} {one.breaks}')
        return 0
    caught = 0
    for one in runner.run(chosen, _say):
        caught += one['caught']
        if options.report:
            runner.write(options.report, [one])
    _say(f'{caught} of {len(chosen)} were caught')
    return 0 if caught == len(chosen) else 1


def _say(text):
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main())
