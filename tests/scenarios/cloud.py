"""The simulated Nova and Ceph of tests/unit, with more that can happen to them.

Beside what a recovery asks, they know what is true: where each guest runs, whether that copy can
write, in which power state its owner wants it, and who has disabled or forced down a host.
"""

import dataclasses

from tests.unit import sim_ceph
from tests.unit import sim_nova
from vmha_nova import exception

OURS = 'vmha: '                         # reasons of services that the engine has disabled
ON, OFF = 'active', 'stopped'


class Nova(sim_nova.SimNova):
    """See the module. What Nova itself does is in the other; here it is only known more of.

    :ivar before: called with (act, arguments) before an act of the engine is done
    """

    def __init__(self, clock, hosts):
        super().__init__(clock, hosts)
        self.before = lambda act, *arguments: None
        self.away, self.away_for = '', 'all'    # why Nova answers nothing, or not for what
        self.wanted = {}                # instance id -> ON, OFF: what its owner wants
        self.copies = {}                # instance id -> hosts on which a guest process runs
        self.forced_by_others, self.disabled_by_others = set(), set()
        self.listed = {}                # host -> (when it was listed last, who was there then)

    # -- reading --------------------------------------------------------------------------------
    def _read(self, what):
        if self.away and self.away_for in ('all', what, what.removesuffix('-of-host')):
            raise exception.Unreachable(self.away)

    def services(self):
        self._read('services')
        return super().services()

    def hypervisors(self, between=None):
        self._read('hypervisors')
        return super().hypervisors(between)

    def aggregates(self):
        self._read('aggregates')
        return super().aggregates()

    def groups(self):
        self._read('groups')
        return super().groups()

    def servers(self, host=None, changes_since=None, between=None):
        self._read('servers' if host is None else 'servers-of-host')
        if host is not None:
            self.listed[host] = self.clock(), {
                s.id for s in self.servers_.values() if s.host == host}
        return super().servers(host, changes_since, between)

    def server(self, ident):
        self._read('server')
        return super().server(ident)

    def providers(self):
        self._read('providers')
        return super().providers()

    def evacuations(self, host, since=None):
        self._read('evacuations')
        return super().evacuations(host, since)

    # -- acts of the engine ---------------------------------------------------------------------
    def _act(self, act, *arguments):
        self.before(act, *arguments)
        self._read('acts')
        super()._act(act, *arguments)

    def force_down(self, service_id, forced):
        super().force_down(service_id, forced)
        self.forced_by_others.discard(service_id[3:])

    def disable(self, service_id, reason):
        super().disable(service_id, reason)
        self.disabled_by_others.discard(service_id[3:])

    def _runs(self, record):
        super()._runs(record)
        self.copies[record.instance_id].add(record.target)

    def _settled(self, ident):
        self._sync(ident)

    # -- what is true ---------------------------------------------------------------------------
    def add(self, name, host, **values):
        super().add(name, host, **values)
        server = self.servers_[name]
        self.wanted[name] = server.vm_state
        self.copies[name] = set() if server.vm_state == OFF else {host}
        if self.ceph and server.kept and server.vm_state not in (ON, OFF):
            self.ceph.start(name, host)     # paused, in ERROR, …: its process may be there

    def _sync(self, ident):
        """A guest process is there where Nova has just started or stopped it."""
        server = self.servers_.get(ident)
        if server is None or server.task_state or not server.host:
            return
        if server.vm_state == ON:
            if server.host not in self.copies[ident]:
                self.copies[ident].add(server.host)
                if self.ceph and not self.ceph.at(ident, server.host):
                    self.ceph.start(ident, server.host)
        elif server.vm_state == OFF:
            self.lose(ident, server.host)

    def lose(self, ident, host):
        """The guest process of that host is no more."""
        self.copies[ident].discard(host)
        if self.ceph:
            self.ceph.leave(ident, host)

    def writers(self, ident):
        """The hosts on which a copy of the guest runs that can write."""
        return {h for h in self.copies[ident] if self.hosts[h].powered and (
            self.ceph is None or self.ceph.can_write(ident, h))}

    def put(self, ident, **values):
        """Nova shows these values of a guest, and they are true."""
        before = self.servers_[ident].host
        self._set(ident, **values)
        if self.servers_[ident].host != before:
            self._sync(ident)

    # -- what happens to hosts ------------------------------------------------------------------
    def lose_power(self, host):
        super().lose_power(host)
        for ident in self.copies:
            self.lose(ident, host)

    def switch_on(self, host):
        """It starts, and its nova-compute does."""
        one = self.hosts[host]
        one.alive = one.powered = one.linked = True
        self.restart_compute(host)

    def restart_compute(self, host):
        """It removes old guests, leaves alone what it had of them, and resumes all others."""
        resumed, evacuated = self.resumed(host), self._evacuated(host)
        for ident in evacuated:
            self.lose(ident, host)
        super().restart_compute(host)
        for ident in resumed:
            self._sync(ident)

    def resumed(self, host):
        """The guests that its nova-compute would see to that they run, if it started now.

        Who Nova shows there, though it was evacuated and runs elsewhere, is none of them in the
        start that ends its evacuation, and one of them in the next.
        """
        return [s.id for s in self.servers_.values() if s.host == host and s.vm_state == ON
                and not s.task_state and s.id not in self._evacuated(host)]

    def _evacuated(self, host):
        return {r.instance_id for r in self.records if r.source == host
                and r.status in (*sim_nova.FLYING, 'done')}

    # -- what owners and others do --------------------------------------------------------------
    def delete(self, ident):
        server = super().delete(ident)
        for host in {*self.copies[ident], server.host}:
            if self.hosts[host].alive:
                self.lose(ident, host)

    def owner_power(self, ident, wanted):
        """Its owner stops or starts it; nothing happens where its host does not answer."""
        server = self.servers_[ident]
        if server.task_state or not self.hosts[server.host].alive:
            return False
        self.wanted[ident] = wanted
        self._set(ident, vm_state=wanted, power_state=1 if wanted == ON else 4)
        self._sync(ident)
        return True

    def migrate(self, ident, target, seconds):
        """Somebody has it live-migrated, which takes a while, and needs both hosts."""
        source = self.servers_[ident].host
        self._set(ident, task_state='migrating')

        def ends():
            server = self.servers_.get(ident)
            if server is None or server.task_state != 'migrating' or not (
                    self.hosts[source].alive and self.hosts[target].alive):
                return
            self.lose(ident, source)
            self._set(ident, task_state='', host=target)
            self._sync(ident)
        self._after(seconds, ends)

    def evacuated_by_others(self, ident, target):
        """Somebody else calls evacuate, as it is wrong to do meanwhile."""
        self.begin(ident, target)

    def disabled(self, host, reason):
        self.hosts[host].enabled, self.hosts[host].reason = False, reason
        self.disabled_by_others.add(host)

    def enabled(self, host):
        self.hosts[host].enabled, self.hosts[host].reason = True, ''
        self.disabled_by_others.discard(host)

    def forced(self, host, forced):
        if not forced:
            self.forced_by_others.discard(host)
        elif not self.hosts[host].forced_down:  # else Nova shows nothing of it
            self.forced_by_others.add(host)
        self.hosts[host].forced_down = forced


class Ceph(sim_ceph.SimCeph):
    """See the module."""

    def __init__(self, clock, nova_):
        super().__init__(clock, nova_)
        self.known = set()              # what OSDs that are late have of the blocklist
        self.foreign = set()            # ranges that others have put on the blocklist
        self.lifted_foreign = []
        self.watcher = None             # watcher.Watcher, which knows when Ceph notices
        self.now = clock                # the engine's: it says when an answer came

    def map(self):
        return dataclasses.replace(super().map(), seen_at=self.now())

    def osd_up(self, host):
        if self.watcher is None or host in self.osd_down:
            return super().osd_up(host)
        return self.watcher.osd_up(self.watcher.hosts[host])

    def at(self, ident, host):
        """The clients of a guest at a host."""
        return {c for image, clients in self.images.items() if image.endswith(f'/{ident}_disk')
                for c in clients if c.partition(':')[0] == self.ips[host]}

    def can_write(self, ident, host):
        """Whether a copy of the guest on that host can write."""
        return any(not self.fenced(c) or self._leaks(c) for c in self.at(ident, host))

    def _leaks(self, client):
        """Whether an OSD with a map from before its fence would take its writes."""
        return bool(self.late) and not {client, client.partition(':')[0] + '/32'} & self.known

    def add(self, entries, ranges, seconds):
        found = super().add(entries, ranges, seconds)
        self.catch_up()
        return found

    def catch_up(self):
        """Without an OSD that is late, all have what is on the blocklist."""
        if not self.late:
            self.known = self.entries | self.ranges

    def leave(self, ident, host):
        image = self.images.get(f'vms/{ident}_disk')
        if image is not None:
            image -= self.at(ident, host)

    def remove_range(self, cidr):
        if cidr in self.foreign:
            self.lifted_foreign.append(cidr)
        super().remove_range(cidr)
