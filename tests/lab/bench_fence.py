"""How long a recovery takes on real storage, from the notification to a guest that writes again.

usage: python -m tests.lab.bench_fence [--repeat N] [--only-locks] [--json FILE]
                                       [--dir DIR]

Brings up a cloud with Ceph and libvirt (or uses the one that is up in DIR), has guests on
compute1, and takes that host's power, or its network cable, in turn, N times each. Then, without
Nova, what a fence does for the next user of an image whose owner has died: see `lock_delay`.
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
import uuid

from tests.lab import bindings
from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import wait_until
from tests.lab import fresh
from tests.lab import vmha
from tests.lab.writer import Writer
from vmha_nova import ceph

SOURCE, SPARE = 'compute1', 'compute4'
GUESTS = (('rbd', 2), ('volume', 1))
_SECONDS = 240
_YEAR = 365 * 86400


def main(arguments=None):
    """Measure, print, and write the JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab.bench_fence', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeat', type=int, default=3, metavar='N')
    parser.add_argument('--only-locks', action='store_true', help='no outages')
    parser.add_argument('--json', type=pathlib.Path)
    parser.add_argument('--dir', type=pathlib.Path, help='a lab that is up, and is left up')
    options = parser.parse_args(arguments)
    progress = Progress()
    try:
        with fresh.lab_for_bench(options.dir, progress) as lab:
            result = measure(lab, options.repeat, progress, options.only_locks)
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + '\n', encoding='ascii')
    return 0


def measure(lab, repeat, progress, only_locks=False):
    """All figures, as the JSON has them; ways that are compared take turns."""
    runs = {} if only_locks else {'power_cord': [], 'network_cut': []}
    locks = {'without_fence': [], 'with_fence': [], 'no_owner': []}
    for number in range(1, repeat + 1):
        for kind, found in runs.items():
            with progress.phase(f'{kind} {number}'):
                found.append(Outage(lab, kind).run())
        for kind, found in locks.items():
            with progress.phase(f'stale lock {kind} {number}'):
                found.append(lock_delay(lab, kind))
    medians = {kind: {key: _median(run[key] for run in found) for key in found[0]
                      if key != 'guests'} for kind, found in runs.items()}
    lock = {kind: _median(found) for kind, found in locks.items()}
    return {
        'what': 'seconds; medians of the runs, which are below',
        'machine': {'cores': os.cpu_count(), 'kernel': platform.release()},
        **medians,
        'stale_lock_first_write_s': lock,
        'ratio_without_fence_to_with_fence': round(lock['without_fence'] / lock['with_fence'], 1),
        'ratio_with_fence_to_no_owner': round(lock['with_fence'] / lock['no_owner'], 1),
        'runs': {**runs, 'stale_lock': locks}}


class Outage:
    """One failure of a host with guests. ``kind``: 'power_cord' or 'network_cut'."""

    def __init__(self, lab, kind):
        self.lab = lab
        self.kind = kind
        self.vmha = vmha.Vmha(lab)
        self.guests = []

    def run(self):
        """The figures of it."""
        self._clean()
        try:
            self._prepare()
            failed = time.time()
            if self.kind == 'power_cord':
                self.lab.kill_host(SOURCE)
            else:
                self.lab.cut(SOURCE)
            reported = time.time()
            self.vmha.publish_host_down(SOURCE, 'benchmark', 'benchmark')
            first = self._follow()
            return self._figures(failed, reported, first)
        finally:
            self._clean()

    def _clean(self):
        with contextlib.suppress(LabError):
            self.vmha.kill_engine()
        fresh.freshen(self.lab)

    def _prepare(self):
        for storage, number in GUESTS:
            self.guests += self.lab.boot(SOURCE, number, storage=storage, name=storage)
        self.vmha.configure()
        self.vmha.sync()
        self.vmha.set_spare(SPARE)
        self.vmha.start_engine()
        self.store = self.vmha.store()

        def recorded():
            known = self.store.disks()
            return all(g['id'] in known and all(known[g['id']].images.values())
                       for g in self.guests)
        wait_until('clients on record', recorded, 60)

    def _follow(self):
        """When each guest was seen to write on the spare; returns when all have."""
        first = {}

        def all_write():
            for guest in self.guests:
                if guest['id'] not in first and self.lab.counts(guest['id'], SPARE):
                    first[guest['id']] = time.time()
            return len(first) == len(self.guests) and all(
                r.ended_at for r in self.store.recoveries())
        wait_until('all guests write on the spare', all_write, _SECONDS, 0.1)
        return first

    def _figures(self, failed, reported, first):
        recovery, = self.store.recoveries()
        steps = [s for s in self.store.steps(recovery.id, 'fence') if s.state == 'done']
        sent = min(m.intent_at for m in self.store.moves(recovery.id)).timestamp()
        fenced, begun = steps[0].ended_at.timestamp(), steps[0].at.timestamp()
        guests = [{
            'name': guest['name'],
            'outage_s': round(first[guest['id']] - self.lab.console_file(
                guest['id'], SOURCE).stat().st_mtime, 2)} for guest in self.guests]
        return {
            'notification_to_fence_in_force_s': round(fenced - reported, 2),
            'fence_itself_s': round(fenced - begun, 2),
            'fence_to_first_evacuate_s': round(sent - fenced, 2),
            'failure_to_last_guest_writes_s': round(max(first.values()) - failed, 2),
            'outage_s': _median(g['outage_s'] for g in guests), 'guests': guests}


def lock_delay(lab, kind):
    """Seconds until a host can write to an image whose owner died with its host a moment ago.

    The owner holds librbd's exclusive lock. 'without_fence': the next one waits until Ceph has
    given the owner up. 'with_fence': the owner is fenced first, and the time of that counts.
    'no_owner': nobody had it open; what is left is the wait for the host's OSD.
    """
    bindings.expose()
    import rbd
    name, adapter = f'bench-{uuid.uuid4().hex}', _adapter(lab)
    features = rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    with lab.ceph.pool('vms') as ioctx:
        rbd.RBD().create(ioctx, name, 64 << 20, old_format=False, features=features)
        owner = other = None
        try:
            if kind != 'no_owner':
                owner = Writer(lab, SOURCE, f'vms/{name}')
                owner.wait('wrote')
            lab.kill_host(SOURCE)
            begin = time.monotonic()
            if kind == 'with_fence':
                adapter.add([owner.address], [], _YEAR)
                known = adapter.map()
                while adapter.enforced(known.epoch, ['vms'], 1.0):
                    pass
            other = Writer(lab, 'compute2', f'vms/{name}')
            other.wait('wrote', seconds=120)
            return round(other.said('wrote')[0][0] - begin, 2)
        finally:
            adapter.close()
            for writer in filter(None, (owner, other)):
                writer.stop()
            fresh.freshen(lab)
            rbd.RBD().remove(ioctx, name)


def _adapter(lab):
    return ceph.Ceph(str(lab.ceph.conf_file), 'vmha', str(lab.ceph.keyring('vmha')), 5.0)


def _median(values):
    return round(statistics.median(values), 2)


if __name__ == '__main__':
    sys.exit(main())
