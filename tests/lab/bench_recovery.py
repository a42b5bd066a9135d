"""How fast a recovery is, beside a bare client that knows the best number in flight.

usage: python -m tests.lab bench [recovery] [--servers 20,200] [--slow 1,3] [--repeats N]
                                 [--report FILE] [--dir DIR]

Brings up a cloud with Nova's fake hypervisor (or uses the one that is up in DIR). Over and over,
servers are booted on compute1, it dies, and they are evacuated to three spares: in turn by
vmha_nova with its defaults, by bare clients with so many evacuations in flight, balanced over the
targets, and, of 200, by one that sends all at once. With --slow 3 the computes take three times
as long for each evacuation. Who takes 1.5 times as long as vmha_nova did in the same round is
stopped there: its time, and so what is made of it, is a bound then.
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

from tests.lab import bare
from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import wait_until
from tests.lab import fresh
from tests.lab import process
from tests.lab import vmha
from vmha_nova import messaging

SOURCE, TARGETS = 'compute1', ('compute2', 'compute3', 'compute4')
#: Evacuations in flight of the bare clients; FLOOD sends all at once.
FLOOD = 'flood'
SMALL, LARGE = (2, 4, 8, 16), (4, 8, 16, FLOOD)
MANY = 100                              # servers, from which on LARGE counts
#: What the service has by default, and not as in the lab's tests.
DEFAULTS = {'collector.interval': 10, 'collector.nodes_interval': 60,
            'detection.heartbeat_silence': 25, 'recovery.quiet_period': 90}
#: Seconds from the host's death to its report: vmha_nova waits until its heartbeats are missing.
SILENT, BARE_SILENT = 36, 9
_LONGER, _SECONDS = 1.5, 1800


def main(arguments=None):
    """Measure, print, and write the JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab bench', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--servers', type=_numbers, default=[20, 200], metavar='N,...')
    parser.add_argument('--slow', type=_numbers, default=[1], metavar='N,...',
                        help='how many times as long computes take (default 1)')
    parser.add_argument('--repeats', type=int, default=1, metavar='N',
                        help='rounds (default %(default)s)')
    parser.add_argument('--only', type=lambda text: text.split(','), metavar='NAME,...',
                        help='of vmha, 2, 4, 8, 16, flood; vmha is always there')
    parser.add_argument('--report', type=pathlib.Path, metavar='FILE',
                        help='JSON; runs that are in it already are kept, and count')
    parser.add_argument('--dir', type=pathlib.Path, help='a lab that is up, and is left up')
    options = parser.parse_args(arguments)
    progress = Progress()
    runs = _kept(options.report)
    try:
        with fresh.lab_for_bench(options.dir, progress, 'none', 'fake') as lab:
            for _ in range(options.repeats):
                for servers in options.servers:
                    for slow in options.slow:
                        _round(Bench(lab, servers, slow), options.only, runs, options.report,
                               progress)
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(json.dumps(summary(runs), indent=2))
    return 0


def _numbers(text):
    return [int(number) for number in text.split(',')]


def _kept(report):
    return json.loads(report.read_text(encoding='ascii'))['runs'] if (
        report and report.exists()) else []


def _round(bench, only, runs, report, progress):
    """Everybody once; what was measured stands in the report after each."""
    runs_of = {}
    for name in bench.contestants(only):
        with progress.phase(f'{bench.servers} servers, {bench.slow} times as slow: {name}'):
            runs_of[name] = bench.run(name, _LONGER * runs_of['vmha']['all_moved_s']
                                      if 'vmha' in runs_of else _SECONDS)
        progress(json.dumps(runs_of[name]))
    runs.append({'servers': bench.servers, 'slow': bench.slow, 'by': runs_of})
    if report:
        report.write_text(json.dumps(summary(runs), indent=2) + '\n', encoding='ascii')


class Bench:
    """So many servers, on computes that are so many times as slow as they are."""

    def __init__(self, lab, servers, slow):
        self.lab = lab
        self.servers = servers
        self.slow = slow
        self.cloud = lab.cloud()
        self.vmha = vmha.Vmha(lab)

    def contestants(self, only=None):
        """Their names, vmha first: the others need not take much longer than it."""
        names = map(str, LARGE if self.servers >= MANY else SMALL)
        return ['vmha', *(name for name in names if only is None or name in only)]

    def run(self, name, seconds):
        """One evacuation of the host by somebody: the figures of it."""
        self._clear()
        try:
            ours = name == 'vmha'
            self._prepare(ours)
            ids = [s['id'] for s in self.lab.boot(SOURCE, self.servers)]
            with self.lab.slow(self.slow, *TARGETS):
                self.lab.kill_host(SOURCE)
                time.sleep(SILENT if ours else BARE_SILENT)
                found = self._recover(seconds) if ours else self._evacuate(name, ids, seconds)
            return {**found, **self._outcome(ids)}
        finally:
            self._clear()

    def _clear(self):
        with contextlib.suppress(LabError):
            self.vmha.kill_engine()
        fresh.clear(self.lab)

    def _prepare(self, ours):
        """The targets are spares; for a bare client somebody else has disabled them."""
        if not ours:
            for host in TARGETS:
                self.cloud.set_service(host, status='disabled')
            return
        self.vmha.configure(DEFAULTS)
        self.vmha.sync()
        for host in TARGETS:
            self.vmha.set_spare(host)
        self.vmha.start_engine()

    def _evacuate(self, name, ids, seconds):
        began = time.time()
        flown = bare.evacuate(self.cloud, SOURCE, TARGETS, ids,
                              None if name == FLOOD else int(name), seconds)
        return {'first_accept_s': round(flown.first_accept - began, 3),
                'all_moved_s': round(flown.ended - began, 2), 'finished': flown.finished}

    def _recover(self, seconds):
        store, engine = self.vmha.store(), self.vmha.engine_pids()
        sender = messaging.HostDownSender(self.vmha.conf())
        # As a monitor that has been there for a while: connected.
        sender.send('nowhere', 'a host that does not exist', 'benchmark')
        wait_until('its answer', lambda: not store.failures(open_only=True), 30)
        cpu, began = sum(map(process.cpu_seconds, engine)), time.time()
        sender.send(SOURCE, 'benchmark', 'benchmark')

        def over():
            found = store.recoveries()
            return found and found[0].ended_at and found[0]
        recovery = wait_until('the end of the recovery', over, seconds, 0.5)
        sender.close()
        moves = store.moves(recovery.id)
        accepted = min(m.accepted_at for m in moves if m.accepted_at).timestamp()
        steps = [[s.kind, s.subject, round(s.at.timestamp() - began, 3),
                  round(s.ended_at.timestamp() - began, 3)] for s in store.steps(recovery.id)]
        return {
            'first_accept_s': round(accepted - began, 3),
            'all_moved_s': round(max(m.ended_at for m in moves).timestamp() - began, 2),
            'recovered_s': round(recovery.ended_at.timestamp() - began, 2),
            'finished': recovery.state == 'recovered',
            'engine_cpu_s': round(sum(map(process.cpu_seconds, engine)) - cpu, 2),
            'engine_rss_mb': round(sum(map(process.peak_rss, engine)) / (1 << 20)),
            'steps': steps,
            'pace': [e.text for e in store.events() if e.kind == 'pace']}

    def _outcome(self, ids):
        """What Nova says in the end."""
        now = {s['id']: s for s in self.cloud.servers()}
        there = [now[i]['OS-EXT-SRV-ATTR:host'] for i in ids]
        return {'errors': sum(now[i]['status'] == 'ERROR' for i in ids),
                'left': sum(host == SOURCE for host in there),
                'landed': {host: there.count(host) for host in TARGETS}}


def summary(runs):
    """What the JSON has: ratios of the medians of the runs, which are below."""
    found = {}
    for servers, slow in sorted({(r['servers'], r['slow']) for r in runs}):
        of = [r['by'] for r in runs if (r['servers'], r['slow']) == (servers, slow)]
        found[f'{servers} servers' + f', {slow} times as slow' * (slow > 1)] = _figures(of)
    return {
        'what': 'seconds from the notification on, medians of the rounds, which are in "runs"; '
                'windows are evacuations in flight of a bare client',
        'machine': {'cores': os.cpu_count(), 'kernel': platform.release()},
        'sizes': found, 'runs': runs}


def _figures(rounds):
    names = [n for n in rounds[0] if all(n in by for by in rounds)]
    first = {n: _median(by[n]['first_accept_s'] for by in rounds) for n in names}
    moved = {n: _median(by[n]['all_moved_s'] for by in rounds) for n in names}
    windows = {n: seconds for n, seconds in moved.items() if n not in ('vmha', FLOOD)}
    best = min(windows, key=windows.get)
    return {
        'rounds': len(rounds),
        'first_accept_s': first['vmha'],
        'ratio_first_accept': round(first['vmha'] / _median(first[n] for n in windows), 3),
        'all_moved_s': moved['vmha'],
        'windows_s': windows, 'best_window': best,
        'ratio_to_best_window': round(moved['vmha'] / windows[best], 3),
        **({'naive_s': moved[FLOOD], 'naive_finished': all(by[FLOOD]['finished']
                                                           for by in rounds),
            'naive_errors': max(by[FLOOD]['errors'] for by in rounds),
            'ratio_to_naive': round(moved['vmha'] / moved[FLOOD], 3)} if FLOOD in names else {}),
        'errors': max(by['vmha']['errors'] + by['vmha']['left'] for by in rounds),
        'engine_cpu_s': _median(by['vmha']['engine_cpu_s'] for by in rounds),
        'engine_rss_mb': _median(by['vmha']['engine_rss_mb'] for by in rounds)}


def _median(values):
    return round(statistics.median(values), 3)


if __name__ == '__main__':
    sys.exit(main())
