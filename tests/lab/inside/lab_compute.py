"""nova-compute with three changes. Runs in the lab's environment.

*CPU counters that advance.* Nova's fake driver always answers the same ones. From the second
sample on, the CPU monitor then divides by zero, and no ``metrics.update`` is emitted. Here they
advance with the clock; how much of the time was busy stands in the file ``load`` of the host's
state_path, in percent.

*Quick claims, on demand.* Whenever Nova claims resources for a server it reads the allocations of
all servers of the host, one call to Placement each, for drivers that reshape providers and for PCI
devices. To boot hundreds of servers takes a quarter of an hour that way. While the file
``quick-claims`` is there, it does not read them. Evacuations are left as slow as they are.

*Slow evacuations, on demand.* With a number in the file ``slow``, what an evacuation does here
takes so many times as long: that reading, for which all others wait, and the rebuild itself.
"""

# Must be the first of Nova's modules: it decides between threads and eventlet.
from nova.cmd import compute  # isort: skip

import functools
import pathlib
import sys
import time

from nova.compute import manager
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
    return min(max(_number('load', _IDLE_PERCENT), 0), 100)


def _number(name, default):
    """What a file says, or the default where there is none."""
    try:
        return int(_file(name).read_text(encoding='ascii'))
    except (FileNotFoundError, ValueError):
        return default


def slowly(function):
    """The function, but as many times as slow as the file says."""

    @functools.wraps(function)
    def slow(*args, **kwargs):
        begin = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            time.sleep((min(max(_number('slow', 1), 1), 10) - 1) * (time.monotonic() - begin))
    return slow


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


report.SchedulerReportClient.get_allocations_for_provider_tree = slowly(allocations)
manager.ComputeManager._do_rebuild_instance = slowly(manager.ComputeManager._do_rebuild_instance)
fake.FakeDriver.get_host_cpu_stats = cpu_stats

if __name__ == '__main__':
    sys.exit(compute.main())
