"""What it costs to know who writes: one look at the monitors' sessions, or every image opened.

usage: python -m tests.lab.bench_clients [--images 100,1000,10000] [--clients 10,50,200]
                                         [--json FILE] [--dir DIR]

Brings up a Ceph of its own (see `storage`), makes that many small images, and has that many
clients each hold one of them open, as a guest's disk is. Both ways are taken through the adapter
of the service, `vmha_nova.ceph`, with the caps it asks for, and must find the same clients.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from tests.lab import bindings
from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import wait_until
from tests.lab.storage import storage_lab
from vmha_nova import ceph

POOL = 'vms'
_LOOKS = 20                             # at the sessions; the median counts
_MAKERS = 16                            # threads that make images
_PER_PROCESS = 25                       # clients in one process: each has a dozen threads
_SECONDS = 120
# Holds images open, each through a client of its own, until its input ends.
_HOLDER = '''
import sys, rados, rbd
conf, keyring, pool, *names = sys.argv[1:]
held = []
for name in names:
    cluster = rados.Rados(conffile=conf, name='client.nova', conf={'keyring': keyring})
    cluster.connect()
    held.append((cluster, rbd.Image(cluster.open_ioctx(pool), name)))
    print(cluster.get_addrs(), flush=True)
sys.stdin.read()
'''


def main(arguments=None):
    """Measure, print, and write the JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab.bench_clients', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=_numbers, default=[100, 1000, 10000])
    parser.add_argument('--clients', type=_numbers, default=[10, 50, 200])
    parser.add_argument('--json', type=pathlib.Path)
    parser.add_argument('--dir', type=pathlib.Path, help='folder for the lab; must not exist')
    options = parser.parse_args(arguments)
    progress = Progress()
    try:
        with contextlib.ExitStack() as stack:
            folder = options.dir or pathlib.Path(stack.enter_context(
                tempfile.TemporaryDirectory(prefix='vmha-bench-'))) / 'lab'
            lab = stack.enter_context(storage_lab(folder, progress=progress))
            result = Bench(lab, progress, stack).run(options.images, options.clients)
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + '\n', encoding='ascii')
    print(table(result))
    return 0


def _numbers(text):
    return sorted({int(number) for number in text.split(',')})


class Bench:
    """The measurement, in a lab that is up; what it opens is closed with ``stack``."""

    def __init__(self, lab, progress, stack):
        bindings.expose()
        self.lab = lab
        self.progress = progress
        self.stack = stack
        self.made = 0                   # images
        self.held = []                  # addresses of clients, by number of the image
        conf, keyring = lab.ceph.conf_file, lab.ceph.keyring('vmha')
        self.ceph = ceph.Ceph(str(conf), 'vmha', str(keyring), timeout=60.0)
        stack.callback(self.ceph.close)

    def run(self, images, clients):
        """All figures, as the JSON has them."""
        self.make(max(images[0], clients[-1]))
        sweeps = [self.sweep(number) for number in clients]
        opens = [self.open_all(number) for number in images]
        slowest = sweeps[-1]
        return {
            'what': 'seconds to learn the addresses of all clients, by two ways',
            'machine': {'cores': os.cpu_count(), 'kernel': platform.release()},
            'ceph': self.ceph.ask('version')['version'],
            'hosts': len(self.lab.boxes), 'monitors': len(self.ceph.quorum()),
            'sweeps': sweeps, 'opens': opens,
            # The same question, so the sweep is the one with the most clients.
            'ratios': [{'images': o['images'], 'clients': slowest['clients'],
                        'seconds': round(o['seconds'] / slowest['seconds'], 1),
                        'cpu_seconds': round(o['cpu_seconds'] / slowest['cpu_seconds'], 1)}
                       for o in opens]}

    def make(self, number):
        """Have ``number`` images."""
        if number <= self.made:
            return
        import rbd
        ioctx = self.lab.ceph.pool(POOL)
        with (self.progress.phase(f'{number} images'), contextlib.closing(ioctx),
              concurrent.futures.ThreadPoolExecutor(_MAKERS) as pool):
            for made in [pool.submit(rbd.RBD().create, ioctx, _name(n), 1 << 22, old_format=False,
                                     features=rbd.RBD_FEATURE_LAYERING)
                         for n in range(self.made, number)]:
                made.result()
        self.made = number

    def hold(self, number):
        """Have ``number`` clients, each with an image open."""
        with self.progress.phase(f'{number} clients'):
            while len(self.held) < number:
                first = len(self.held)
                names = [_name(n) for n in range(first, min(number, first + _PER_PROCESS))]
                holder = self.stack.enter_context(subprocess.Popen(
                    [sys.executable, '-c', _HOLDER, str(self.lab.ceph.conf_file),
                     str(self.lab.ceph.keyring('nova')), POOL, *names],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    env={**os.environ, 'PYTHONPATH': str(bindings.folder())}))
                self.stack.callback(holder.kill)
                self.held += [_address(holder) for _ in names]

    def sweep(self, number):
        """One look at the sessions, with ``number`` clients."""
        self.hold(number)
        wait_until('all clients in the list', lambda: set(self.held) <= set(self.ceph.clients()),
                   _SECONDS)
        timed = [_timed(self.ceph.clients) for _ in range(_LOOKS)]
        return {'clients': number,
                'seconds': round(statistics.median(wall for wall, _, _ in timed), 6),
                'slowest': round(max(wall for wall, _, _ in timed), 6),
                'cpu_seconds': round(statistics.median(cpu for _, cpu, _ in timed), 6)}

    def open_all(self, number):
        """Every one of ``number`` images opened, its watchers and its locks read."""
        self.make(number)
        names = [f'{POOL}/{_name(n)}' for n in range(number)]
        with self.progress.phase(f'{number} images opened'):
            wall, cpu, users = _timed(self.ceph.users_of, names)
        found = set().union(*users.values())
        wanted = set(self.held[:number])
        if found != wanted:
            raise LabError(f'{len(found)} clients found by opening images, not {len(wanted)}')
        return {'images': number, 'seconds': round(wall, 3), 'cpu_seconds': round(cpu, 3),
                'per_image': round(wall / number, 6)}


def table(result):
    """The figures for a person."""
    lines = ['', 'one look at the sessions of the monitors:']
    lines += [f'{s["clients"]:9} clients {1000 * s["seconds"]:11.1f} ms'
              for s in result['sweeps']]
    lines += ['every image opened (16 at a time), its watchers and locks read:']
    lines += [f'{o["images"]:9} images  {1000 * o["seconds"]:11.1f} ms   '
              f'{r["seconds"]:8.0f} times as long, {r["cpu_seconds"]:.0f} times the processor time'
              for o, r in zip(result['opens'], result['ratios'], strict=True)]
    return '\n'.join(lines)


def _name(number):
    return f'bench-{number:06}'


def _address(holder):
    address = holder.stdout.readline().strip()
    if not address:
        raise LabError(f'a client does not start: exit status {holder.wait(10)}')
    return address


def _timed(call, *args):
    """(seconds, seconds of processor time of this process, answer)."""
    begin, cpu = time.perf_counter(), time.process_time()
    answer = call(*args)
    return time.perf_counter() - begin, time.process_time() - cpu, answer


if __name__ == '__main__':
    sys.exit(main())
