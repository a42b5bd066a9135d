"""Something is killed in the middle of a recovery: is everybody recovered, or named, and once?

usage: python -m tests.lab bench faults --results DIR [--fault NAME]... [--moments N] [--seed S]
                                        [--minutes M] [--dir DIR]

Brings up a cloud with Nova's fake hypervisor (or uses the one that is up in --dir), and lets
compute1 die again and again, with four servers: first without a fault, then with each of the
faults (see faults.py; --fault names some of them) at so many moments drawn from the seed. What
came of each is a file in the folder of results, and is not done again. The exit status is 1 if
something was lost, done twice or left behind.
"""

import argparse
import contextlib
import pathlib
import sys
import time

from tests.lab import cases
from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab import faults
from tests.lab import fresh
from tests.lab import survival


def main(arguments=None):
    """Do what is not done yet; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab bench faults', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', type=pathlib.Path, required=True, metavar='DIR',
                        help='where the cases are, and go')
    parser.add_argument('--fault', action='append', choices=faults.FAULTS, metavar='NAME',
                        help=f'of {", ".join(faults.FAULTS)}; repeatable (default: all)')
    parser.add_argument('--moments', type=int, default=10, metavar='N',
                        help='of each (default %(default)s)')
    parser.add_argument('--seed', default='1', help='default %(default)s')
    parser.add_argument('--minutes', type=float, metavar='M',
                        help='begin no case after so long; the rest is for the next time')
    parser.add_argument('--dir', type=pathlib.Path, help='a lab that is up, and is left up')
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes if options.minutes else float('inf')
    kept, progress = cases.Cases(options.results), Progress()
    todo = [(faults.FAULTS[name], number) for number in range(options.moments)
            for name in options.fault or faults.FAULTS
            if not kept.done(name, options.seed, number)]
    progress(f'{len(todo)} cases to do')
    if not todo:
        return 0
    try:
        with fresh.lab_for_bench(options.dir, progress, 'none', 'fake') as lab:
            return run(lab, todo, options.seed, kept, end, progress)
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def run(lab, todo, seed, kept, end, progress):
    """Do the cases, until all are done or it is time to end; returns the exit status."""
    ground, bad = survival.Ground(lab), 0
    with contextlib.ExitStack() as stack:
        stack.callback(ground.end)
        ground.begin()
        first = ground.case()
        progress(f'without a fault: {first["seconds"]} s {first["problems"] or ""}')
        bad += bool(first['problems'])
        for number, (fault, nth) in enumerate(todo, 1):
            if time.monotonic() > end:
                progress(f'{len(todo) - number + 1} cases are left for the next time')
                break
            case = ground.case(fault, faults.moment(fault.name, nth, seed))
            kept.keep(case, fault.name, seed, nth)
            bad += bool(case['problems'])
            progress(f'{number}/{len(todo)} {fault.name}, {case["moment"]} ({case["where"]}): '
                     f'{case["recovered"]} of {case["servers"]} recovered, '
                     f'{case["seconds"]} s; {case["problems"] or case["named"] or ""}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
