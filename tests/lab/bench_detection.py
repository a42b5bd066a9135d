"""How fast a dead host is found, how long its guests are away, and what noise is taken for.

usage: python -m tests.lab bench detection [--repeats N] [--noise-minutes N] [--report FILE]
                                           [--dir DIR]

Brings up a cloud with Ceph and libvirt (or uses the one that is up in DIR), with a monitor at its
default settings, an engine, and guests on compute1. In turn, N times each: that host is killed
while its network card goes on to refuse connections; it loses its power; its cables are pulled.
Nobody reports it but the monitor. Then noise, see `noise`, for so many minutes.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import sys
import time

from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import wait_until
from tests.lab import fresh
from tests.lab import noise
from tests.lab import verdicts
from tests.lab import vmha

SOURCE, SPARE, GUESTS = 'compute1', 'compute4', 2
KINDS = {
    'refused': lambda lab: lab.kill_host(SOURCE),
    'silent_power': lambda lab: lab.kill_host(SOURCE, silent=True),
    'silent_cable': lambda lab: lab.cut(SOURCE),
}
_SECONDS = 300


def main(arguments=None):
    """Measure, print, and write the JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab bench detection',
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3, metavar='N',
                        help='of each kind (default %(default)s)')
    parser.add_argument('--noise-minutes', type=float, default=30, metavar='N',
                        help='default %(default)s; 0: none')
    parser.add_argument('--report', type=pathlib.Path, metavar='FILE', help='JSON')
    parser.add_argument('--dir', type=pathlib.Path, help='a lab that is up, and is left up')
    options = parser.parse_args(arguments)
    progress = Progress()
    try:
        with fresh.lab_for_bench(options.dir, progress) as lab:
            result = measure(lab, options.repeats, options.noise_minutes, progress)
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    text = json.dumps(result, indent=2)
    print(text)
    if options.report:
        options.report.write_text(text + '\n', encoding='ascii')
    return 0


def measure(lab, repeats, noise_minutes, progress):
    """All figures, as the JSON has them; the kinds take turns."""
    runs = {kind: [] for kind in KINDS}
    for number in range(1, repeats + 1):
        for kind, found in runs.items():
            with progress.phase(f'{kind} {number}'), Watched(lab) as watched:
                found.append(watched.outage(kind))
                progress(json.dumps(found[-1]))
    result = summary(runs)
    if noise_minutes:
        with progress.phase(f'noise for {noise_minutes:g} minutes'), Watched(lab) as watched:
            result |= watched.noise(noise_minutes)
    return result


def summary(runs):
    """``{figure: {kind: {'median', 'max'}}}`` of ``{kind: runs}``, which are in it, too."""
    return {
        'what': 'seconds from the failure on: detect_s until the monitor reports the host, '
                'outage_s until its last guest writes on the spare',
        'machine': {'cores': os.cpu_count(), 'kernel': platform.release()},
        **{figure: {kind: {
            'median': round(statistics.median(run[figure] for run in found), 2),
            'max': max(run[figure] for run in found)} for kind, found in runs.items() if found}
            for figure in ('detect_s', 'outage_s')},
        'runs': runs}


class Watched:
    """Within, a fresh lab with guests on the host that will fail, an engine and a monitor."""

    def __init__(self, lab):
        self.lab = lab
        self.vmha = vmha.Vmha(lab)

    def __enter__(self):
        self._clean()
        self.vmha.configure()
        self.vmha.sync()
        self.vmha.set_spare(SPARE)
        self.vmha.start_engine()
        # Before the guests: a host that never answered to a monitor tells it nothing.
        self.vmha.start_monitor()
        self.guests = [guest['id'] for guest in self.lab.boot(SOURCE, GUESTS, storage='rbd')]
        self.store = self.vmha.store()

        def recorded():
            known = self.store.disks()
            return all(one in known and all(known[one].images.values()) for one in self.guests)
        wait_until('clients on record', recorded, 60)
        return self

    def __exit__(self, *_):
        self._clean()

    def _clean(self):
        for kill in (self.vmha.kill_monitor, self.vmha.kill_engine):
            with contextlib.suppress(LabError):
                kill()
        fresh.freshen(self.lab)

    def outage(self, kind):
        """One failure: its figures."""
        failed = time.time()
        KINDS[kind](self.lab)
        writing = {}

        def all_write():
            for guest in self.guests:
                if guest not in writing and self.lab.counts(guest, SPARE):
                    writing[guest] = time.time()
            return len(writing) == len(self.guests)
        wait_until('all guests write on the spare', all_write, _SECONDS, 0.1)
        reports = verdicts.reports(self._log(), failed)
        return {
            'detect_s': round(reports[0].at - failed, 2),
            'outage_s': round(max(writing.values()) - failed, 2),
            'verdicts': [[v.verdict, round(v.at - failed, 2)] for v in verdicts.verdicts(
                self._log(), failed) if v.host == SOURCE],
            'others': sorted({r.host for r in reports} - {SOURCE})}

    def noise(self, minutes):
        """What noise was taken for: a false alarm is a report, or a host taken for dead."""
        begun = time.time()
        with noise.Noise(self.lab) as heard:
            time.sleep(60 * minutes)
        if heard.problem:
            raise LabError(f'the noise has ended early: {heard.problem}')
        said = verdicts.verdicts(self._log(), begun)
        alarms = verdicts.reports(self._log(), begun) + [
            v for v in said if v.verdict in ('dead', 'probably-dead')]
        return {
            'false_alarms': len(alarms) + len(self.store.recoveries()),
            'noise': {'minutes': minutes, 'loss_percent': noise.LOSS, 'loss_seconds': noise.BAD,
                      'times': heard.bad_times,
                      'verdicts': {what: sum(v.verdict == what for v in said)
                                   for what in sorted({v.verdict for v in said})}}}

    def _log(self):
        return self.vmha.monitor_log.read_text(encoding='utf-8', errors='replace')


if __name__ == '__main__':
    sys.exit(main())
