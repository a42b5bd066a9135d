"""A small Ceph beside the simulated Nova: who uses which image, who is fenced, who is up.

Offers what ceph.Ceph does. It knows what a fence is for: each guest writes to its disk through a
client at its host's address as long as its host lives and that client is not fenced, and
``doubles`` names those that could be started elsewhere while they still do.
"""

import datetime
import itertools

from vmha_nova import exception
from vmha_nova import model


class SimCeph:
    """The storage of a sim.World, whose ``hosts`` have an OSD each."""

    def __init__(self, clock, nova):
        self.clock = clock
        self.nova = nova
        self.ips = {h: f'10.0.0.{n}' for n, h in enumerate(nova.hosts, 1)}
        self.images = {}                # pool/name -> clients
        self.others = {}                # client -> user, of no guest
        self.entries, self.ranges = set(), set()
        self.ends = {}                  # entry or range -> when it ends
        self.epoch = 1
        self.own = frozenset()          # where the engine uses the storage from
        self.away = False               # the monitors do not answer
        self.not_active = {}            # pool -> why
        self.late = set()               # OSDs that do not take new maps
        self.osd_down = set()           # hosts whose OSD is down though they live
        self.used = 0.3                 # of each OSD
        self.doubles = []
        self.dead = set()               # OSDs that the monitors were told are dead
        self.refuses = False            # whether the ports of hosts without power refuse
        self.calls = []
        self._numbers = itertools.count(1)

    # -- guests ---------------------------------------------------------------------------------
    def start(self, ident, host, pool='vms', name=None):
        """A guest runs, through a client of its own."""
        client = f'{self.ips[host]}:0/{next(self._numbers)}'
        self.images.setdefault(f'{pool}/{name or ident + "_disk"}', set()).add(client)
        return client

    def leave(self, ident, host):
        """The guest on that host is no more."""
        for image, clients in self.images.items():
            if ident in image:
                clients -= {c for c in clients if c.startswith(self.ips[host] + ':')}

    def writers(self, ident):
        """The clients through which this guest's disks are written to."""
        return {c for image, clients in self.images.items() if ident in image for c in clients
                if self._host(c).powered and not self.fenced(c)}

    def expire(self):
        """What has come to its end is no more."""
        for text in [t for t, at in self.ends.items() if at <= self.clock()]:
            del self.ends[text]
            self.entries.discard(text)
            self.ranges.discard(text)

    def fenced(self, client):
        self.expire()
        return client in self.entries or client.partition(':')[0] + '/32' in self.ranges

    def osd_up(self, host):
        """Whether the monitors have the OSD of a host up."""
        one = self.nova.hosts[host]
        return one.powered and one.linked and host not in self.osd_down

    # -- what ceph.Ceph offers ------------------------------------------------------------------
    def _ask(self, call):
        self.calls.append(call)
        self.expire()
        if self.away:
            raise exception.Unreachable('the monitors do not answer')

    def map(self):
        self._ask('map')
        return model.StorageMap(
            fsid='f', epoch=self.epoch, seen_at=self.clock(),
            osds=tuple(model.Osd(
                id=n, inside=True,
                up=self.osd_up(h),
                bucket=h, addresses=frozenset([ip]), ports=((ip, 6800),))
                for n, (h, ip) in enumerate(self.ips.items())),
            pools={p: model.Pool(n, p, 3, 2) for n, p in enumerate(
                ('vms', 'volumes', 'images'))},
            entries=frozenset(self.entries), ranges=frozenset(self.ranges))

    def ask(self, prefix):
        """The raw answer of a command; the only one is osd df."""
        self._ask(prefix)
        return {'nodes': [{'id': n, 'kb': 1000, 'kb_used': int(1000 * self.used)}
                          for n in range(len(self.ips))]}

    def clients(self):
        self._ask('clients')
        found = {c: 'client.nova' for clients in self.images.values() for c in clients
                 if self._host(c).powered and self._host(c).linked}
        return {**found, **self.others}

    def own_addresses(self):
        self._ask('own_addresses')
        return self.own

    def users_of(self, images):
        self._ask('users_of')
        return {image: frozenset(
            c for c in self.images[image]
            if self._host(c).powered and not self.fenced(c))
            if image in self.images else None for image in images}

    def _host(self, client):
        return self.nova.hosts[next(
            (h for h, ip in self.ips.items() if ip == client.partition(':')[0]), 'c1')]

    def add(self, entries, ranges, seconds):
        self._ask('add')
        self.epoch += 1
        end = self.clock() + datetime.timedelta(seconds=seconds)
        half = self.clock() + datetime.timedelta(seconds=seconds / 2)
        for text in [*entries, *ranges]:        # Ceph keeps the first end
            if text not in self.entries | self.ranges:
                self.ends[text] = end
        self.entries |= set(entries)
        self.ranges |= set(ranges)
        lasting = {r for r in self.ranges if self.ends.get(r, end) >= half}
        for text in entries:
            if text.partition(':')[0] + '/32' in lasting and self.ends.get(text, end) < half:
                self.ends[text] = end
        return {t: self.ends[t] for t in [*entries, *ranges] if self.ends.get(t, end) < half}

    def remove_range(self, cidr):
        self._ask('remove_range')
        self.ranges.discard(cidr)
        self.ends.pop(cidr, None)
        self.epoch += 1

    def refusing(self, ports):
        return self.refuses and not any(
            self.nova.hosts[h].powered for h, ip in self.ips.items() for port in ports
            if port[0] == ip)

    def enforced(self, epoch, pools, seconds):
        self._ask('enforced')
        return frozenset(self.late)

    def unanswered(self, epoch, pools, seconds):
        self._ask('unanswered')
        return {p: {0: 'x'} for p in pools if p in self.not_active}

    def inactive(self, pools, known):
        self._ask('inactive')
        return {p: why for p, why in self.not_active.items() if p in pools}

    def mark_dead(self, ids):
        self._ask('mark_dead')
        self.dead |= set(ids)
