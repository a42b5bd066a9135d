"""The fence by storage."""

import ipaddress
import logging
import time

from vmha_nova import exception

LOG = logging.getLogger(__name__)
PAUSE = 0.2                             # seconds between looks whether the fence is in force
SLICE = 1.0                             # seconds for OSDs to say so


class StorageFence:
    """Shuts the dead host's clients out of the Ceph cluster: they can read and write no more.

    Every client on record of the host is put on Ceph's blocklist by itself, and, where ``ranged``,
    the host's addresses as a whole, so that no client is missed that was never seen. It counts
    once an OSD map that has every entry was read back, and every OSD that leads placement groups
    of the pools with disks has shown that it works by that map or a newer one: one that does not
    would still take a write. An OSD of the dead host leads none once Ceph has it down; until then
    it is waited for as well, for it may live.

    :param ceph: ceph.Ceph
    :param storage: storage.Storage
    :param seconds: after which an entry expires; those of a host that is out are renewed
    :param patience: seconds for an entry to be in force everywhere
    :param refusing: function: [(IP, port)] -> whether all of them refuse connections
    """

    name = 'storage'
    proves = 'the storage takes nothing from the clients of the host any more'
    done = ('its fence was begun and is taken back, but guests there may have been shut out of '
            'their disks: restart those that complain')
    lasting = True

    def __init__(self, ceph, storage, seconds, ranged, patience=10.0, refusing=lambda ports: False,
                 monotonic=time.monotonic, sleep=time.sleep):
        self.ceph = ceph
        self.storage = storage
        self.seconds = seconds
        self.ranged = ranged
        self.patience = patience
        self._refusing = refusing
        self._monotonic = monotonic
        self._sleep = sleep
        self._renewed = {}              # host -> when all of its entries were last renewed

    def plan(self, host, ours=()):
        """The entries, and which ranges were nobody's before: those are ours to lift.

        :param ours: ranges that earlier tries have recorded as ours
        """
        addresses = self.storage.addresses(host)
        clients = self.storage.clients(host)
        if not addresses and not clients:
            raise exception.FenceFailed(
                f'no address is known at which {host} uses the storage: it has no OSD in a CRUSH '
                'bucket of its name, and Nova shows no address of it; name it in [ceph] '
                'host_addresses')
        own = set(self.ceph.own_addresses()) & set(addresses)
        if own:
            raise exception.FenceFailed(
                f'this engine itself uses the storage from {min(own)}, an address of {host}: it '
                'runs there, so that the host is not dead, and would shut itself out')
        ranges = sorted(map(_range, addresses)) if self.ranged else []
        there = self.ceph.map().ranges
        return {'driver': self.name, 'host': host, 'entries': clients, 'ranges': ranges,
                'ours': sorted(r for r in ranges if r not in there or r in ours),
                'whole': self.ranged and self.storage.whole(host, addresses)}

    def fence(self, host, plan):
        """Put the plan in force everywhere; returns it with the OSD map's epoch."""
        done = {**plan, **self._enforce(host, plan)}
        if 'osds_told_dead' not in plan:        # of a fence that is kept, that was long ago
            done['osds_told_dead'] = self._shorten(host)
        return done

    def keep(self, host, evidence):
        """Plan to put back what is missing, add clients seen since, and renew what is to end.

        A range covers those clients too, but once it is lifted, a guest that was cut off all the
        time writes on, unless its client has an entry of its own.
        """
        entries = set(evidence['entries']) | set(self.storage.clients(host))
        known = self.ceph.map()
        missing = (set(evidence['entries']) - known.entries) | (
            set(evidence['ranges']) - known.ranges)
        renewed = self._renewed.get(host)
        # All is renewed in time for a second and a third try before it ends.
        due = renewed is None or self._monotonic() - renewed >= self.seconds / 4
        if not missing and not due and entries == set(evidence['entries']):
            return None
        if missing:
            LOG.warning('on the blocklist for %s and gone, put back: %s', host,
                        ', '.join(sorted(missing)))
        return {**evidence, 'entries': sorted(entries), 'ours': sorted(
            set(evidence['ours']) | missing & set(evidence['ranges']))}

    def lift(self, ranges):
        """Take ranges off the blocklist; exact entries stay until they expire."""
        for one in sorted(set(ranges) & self.ceph.map().ranges):
            self.storage.check_lead()
            self.ceph.remove_range(one)
        left = set(ranges) & self.ceph.map().ranges
        if left:
            raise exception.FenceFailed(f'still on the blocklist: {", ".join(sorted(left))}')

    def _add(self, host, plan):
        """Put everything on the blocklist, for as long as Ceph lets us.

        What is there already is named too: it may end in an hour, if a client that broke another
        one's lock has put it there.
        """
        at = self._monotonic()
        self.storage.check_lead()
        short = self.ceph.add(plan['entries'], plan['ranges'], self.seconds)
        if not plan['ranges'] and short:
            LOG.warning('%s ends %s: somebody else has put it on the blocklist, and Ceph does not '
                        'prolong it. It is put back as soon as that is seen', *next(
                            (text, f'{at:%Y-%m-%d %H:%M} UTC') for text, at in short.items()))
        old = sorted(set(short) & set(plan['ranges']) & set(plan['ours']))
        if old:
            # Ceph prolongs nothing, and renews single clients only under a range that lasts: so
            # ranges have to be made anew, in time, while each client's own entry is in force.
            for one in old:
                self.storage.check_lead()
                self.ceph.remove_range(one)
            # Who was replaced leaves that to who comes next: the host may be back by now.
            self.storage.check_lead()
            self.ceph.add(plan['entries'], plan['ranges'], self.seconds)
        self._renewed[host] = at

    def _enforce(self, host, plan):
        """Add, read back, wait for the OSDs; returns the epoch, and the pools they serve."""
        end = self._monotonic() + self.patience
        entries, ranges = plan['entries'], plan['ranges']
        self._add(host, plan)
        while True:
            known = self.ceph.map()
            missing = (set(entries) - known.entries) | (set(ranges) - known.ranges)
            if not missing:
                break
            self._wait(end, f'not on the blocklist: {", ".join(sorted(missing))}')
        pools = self.storage.disk_pools(known)
        while True:
            late = self.ceph.enforced(known.epoch, pools, SLICE)
            if not late:
                return {'epoch': known.epoch, 'pools': pools}
            names = ', '.join(f'osd.{i}' for i in sorted(late))
            why = self.storage.ready(host) if self._monotonic() >= end else ''
            self._wait(end, f'OSD map {known.epoch} is not in use yet by {names}'
                       f'{" (" * bool(why)}{why}{")" * bool(why)}')

    def _wait(self, end, problem):
        if self._monotonic() >= end:
            raise exception.FenceFailed(f'{problem} after {self.patience:g} s')
        self._sleep(PAUSE)

    def _shorten(self, host):
        """Tell the monitors that OSDs which are certainly gone are dead, so that nobody waits.

        That is certain where Ceph has all of them down and every port of theirs refuses
        connections: the machine is there, and no such process. To say it of an OSD that lives
        would break what Ceph promises, and a firewall can refuse, too: neither alone is enough.
        """
        try:
            osds = self.storage.osds(host)
            ports = [port for osd in osds for port in osd.ports]
            gone = [osd.id for osd in osds]
            if not ports or any(osd.up for osd in osds) or not self._refusing(ports):
                return []
            self.storage.check_lead()
            self.ceph.mark_dead(gone)
            return gone
        except exception.VmhaError as e:        # it only saves time
            LOG.warning('the OSDs of %s could not be told dead: %s', host, e)
            return []


def _range(ip):
    """One address as the blocklist's range."""
    return str(ipaddress.ip_network(ip))
