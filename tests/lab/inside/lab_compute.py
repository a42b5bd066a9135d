"""nova-compute with a fake hypervisor whose CPU counters advance. Runs in the lab's environment.

Nova's fake driver always answers the same counters. From the second sample on, the CPU monitor
then divides by zero, and no ``metrics.update`` is emitted. Here they advance with the clock; how
much of the time was busy stands in the file ``load`` of the host's state_path, in percent.
"""

# Must be the first of Nova's modules: it decides between threads and eventlet.
from nova.cmd import compute  # isort: skip

import pathlib
import sys
import time

import nova.conf
from nova.virt import fake

_IDLE_PERCENT = 5
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
        text = (pathlib.Path(nova.conf.CONF.state_path) / 'load').read_text(encoding='ascii')
        return min(max(int(text), 0), 100)
    except (FileNotFoundError, ValueError):
        return _IDLE_PERCENT


fake.FakeDriver.get_host_cpu_stats = cpu_stats

if __name__ == '__main__':
    sys.exit(compute.main())
