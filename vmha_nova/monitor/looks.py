"""Looks at Nova and at Ceph, each in a thread of its own, so that one that hangs holds up nobody.

Both are asked for all hosts at once.
"""

import collections
import logging
import threading

from vmha_nova import disks
from vmha_nova import exception
from vmha_nova import model
from vmha_nova.monitor import channels as c

LOG = logging.getLogger(__name__)
MOST_PORTS = 4              # of one address
SOONEST = 0.5               # seconds between looks while somebody hurries


class Looker:
    """Calls ``look`` every ``interval`` seconds, or as soon as ``hurry`` is set.

    ``take`` gets what it returns. What it raises is said once.
    """

    def __init__(self, name, look, take, interval, monotonic):
        self._name, self._look, self._take = name, look, take
        self._interval = interval
        self._monotonic = monotonic
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._said = ''
        self.hurry = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self):
        """Begin; returns at once."""
        self._thread.start()

    def stop(self):
        """End after the look under way; it is not waited for."""
        self._ended.set()
        self._wake.set()

    def set_hurry(self, hurry):
        """Whether to look as often as possible from now on."""
        if hurry and not self.hurry:
            self._wake.set()
        self.hurry = hurry

    def _run(self):
        while not self._ended.is_set():
            began = self._monotonic()
            self.once()
            while not self._ended.is_set():
                pause = (SOONEST if self.hurry else self._interval) - (self._monotonic() - began)
                if pause <= 0:
                    break
                self._wake.wait(pause)
                self._wake.clear()

    def once(self):
        """Look."""
        try:
            self._take(self._look())
            problem = ''
        except exception.VmhaError as e:
            problem = str(e) or repr(e)
        except Exception as e:
            LOG.exception('%s: internal error', self._name)
            problem = repr(e)
        if problem != self._said:
            LOG.warning('%s: %s', self._name, problem or 'answers again')
        self._said = problem


class Names(Looker):
    """Looks up the names of addresses every now and then."""

    def __init__(self, places, take, interval, monotonic):
        super().__init__('names', self._resolve, take, interval, monotonic)
        self._places, self._known = places, []

    def set_hurry(self, hurry):
        """A resolver is not asked more often because a host is silent."""

    def _resolve(self):
        problems = self._places.resolve()
        for problem in problems:
            if problem not in self._known:
                LOG.error('%s', problem)
        self._known = problems


class NovaLooks:
    """Nova's services, and every ``refresh`` seconds where hosts are."""

    def __init__(self, nova, monotonic, refresh=300.0):
        self._nova = nova
        self._monotonic = monotonic
        self._refresh = refresh
        self._addresses, self._at = {}, None
        self._seen = {}                         # host -> (Service, its last heartbeat)

    def __call__(self):
        """Return a NovaLook."""
        began = self._monotonic()
        services = self._nova.services()
        ended = self._monotonic()
        if self._at is None or ended - self._at > self._refresh or any(
                s.host not in self._addresses for s in services) and (
                ended - self._at > 10):
            self._where()
        changed = frozenset(s.host for s in services if s.host in self._seen
                            and s.changed_since(self._seen[s.host][0]))
        return c.NovaLook(
            began, ended, {s.host: self._beat(s) for s in services},
            frozenset(s.host for s in services if s.forced_down), frozenset(services.unknown),
            dict(self._addresses), changed)

    def _beat(self, service):
        old, beat = self._seen.get(service.host, (None, ''))
        if old is None or service.beats_since(old):
            beat = service.beat
        self._seen[service.host] = service, beat
        return beat

    def _where(self):
        self._at = self._monotonic()
        try:
            found = self._nova.hypervisors()
        except exception.VmhaError as e:
            LOG.warning('the addresses of hosts could not be read: %s', e)
            return
        self._addresses.update((h.host, h.address) for h in found)


class StorageLooks:
    """Ceph's map of the OSDs. ``nodes``: a callable, host -> address by Nova."""

    def __init__(self, ceph, nodes, monotonic):
        self._ceph = ceph
        self._nodes = nodes
        self._monotonic = monotonic

    def __call__(self):
        """Return a StorageLook."""
        began = self._monotonic()
        seen = self._ceph.map()
        ended = self._monotonic()
        nodes = {host: model.ComputeNode(host, address=address)
                 for host, address in self._nodes().items()}
        states, ports = {}, {}
        for host, osds in disks.by_host(nodes, seen).items():
            down = sum(not o.up for o in osds)
            word = c.DOWN if down == len(osds) else c.UP
            states[host] = word, f'{down} of {len(osds)} OSDs are down'
            # A few of each address are enough: a host with 60 OSDs is one host.
            some = collections.defaultdict(list)
            for ip, port in (where for o in osds if o.up for where in o.ports):
                some[ip].append(c.Target(ip, port))
            ports[host] = tuple(t for targets in some.values() for t in targets[:MOST_PORTS])
        return c.StorageLook(began, ended, states, ports)
