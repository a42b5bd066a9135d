"""nova-compute with two changes. Runs in the lab's environment.

*CPU counters that advance.* Nova's fake driver always answers the same ones. From the second
sample on, the CPU monitor then divides by zero, and no ``metrics.update`` is emitted. Here they
advance with the clock; how much of the time was busy stands in the file ``load`` of the host's
state_path, in percent.

*Quick claims, on demand.* Whenever Nova claims resources for a server it reads the allocations of
all servers of the host, one call to Placement each, for drivers that reshape providers and for PCI
devices. To boot hundreds of servers takes a quarter of an hour that way. While the file
``quick-claims`` is there, it does not read them. Evacuations are left as slow as they are.
"""

# Must be the first of Nova's modules: it decides between threads and eventlet.
from nova.cmd import compute  # isort: skip

import pathlib
import sys
import time

import nova.conf
from nova.scheduler.client import report
from nova.virt import fake

_IDLE_PERCENT = 5
_QUICK_SECONDS = 900
_all_allocations = report.SchedulerReportClient.get_allocations_for_provider_tree
_counters = {'user': 0, 'kernel': 0, 'iowait': 0, 'idle': 0}
_last = time.monotonic_ns()


def cpu_stats(_driver):
    """Nanoseconds that the host's CPU spent in each way since the start, and its MHz."""
    global _last
    now = time.monotonic_ns()
    passed, _last = now - _last, now
    # The monitor cuts percentages off: a nanosecond more keeps 73 from becoming 72.
    busy = min(passed, passed * _load() // 100 + 1)
    _counters['user'] += busy
    _counters['idle'] += passed - busy
    return {**_counters, 'frequency': 2400}


def _load():
    """Percent of the CPU that are in use, as the file says."""
    try:
        text = _file('load').read_text(encoding='ascii')
        return min(max(int(text), 0), 100)
    except (FileNotFoundError, ValueError):
        return _IDLE_PERCENT


def allocations(client, context, nodename):
    """What the servers of the host have allocated, or, when it has to be quick, nothing."""
    try:
        asked = _file('quick-claims').stat().st_mtime
    except FileNotFoundError:
        asked = 0
    # A boot that was killed leaves the file behind.
    if time.time() - asked < _QUICK_SECONDS:
        return {}
    return _all_allocations(client, context, nodename)


def _file(name):
    return pathlib.Path(nova.conf.CONF.state_path) / name


report.SchedulerReportClient.get_allocations_for_provider_tree = allocations
fake.FakeDriver.get_host_cpu_stats = cpu_stats

if __name__ == '__main__':
    sys.exit(compute.main())
