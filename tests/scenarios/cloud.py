"""The simulated Nova and Ceph of tests/unit, with more that can happen to them.

Beside what a recovery asks, they know what is true: where each guest runs, whether that copy can
write, in which power state its owner wants it, and who has disabled or forced down a host.
"""

import collections
import dataclasses

from tests.unit import sim
from tests.unit import sim_ceph
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import nova

OURS = 'vmha: '                         # reasons of services that the engine has disabled
ON, OFF = 'active', 'stopped'


class Nova(sim.SimNova):
    """See the module.

    :ivar before: called with (act, arguments) before an act of the engine is done
    """

    def __init__(self, clock, hosts):
        super().__init__(clock, hosts)
        self.before = lambda act, *arguments: None
        self.groups_, self.aggregates_, self.traits = {}, {}, {}
        self.away, self.away_for = '', 'all'    # why Nova answers nothing, or not for what
        self.deleted = set()
        self.wanted = {}                # instance id -> ON, OFF: what its owner wants
        self.copies = {}                # instance id -> hosts on which a guest process runs
        self.forced_by_others, self.disabled_by_others = set(), set()

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
        return self.aggregates_

    def groups(self):
        self._read('groups')
        return list(self.groups_.values())

    def servers(self, host=None, changes_since=None, between=None):
        self._read('servers' if host is None else 'servers-of-host')
        found = super().servers(host, changes_since, between)
        deleted = self.deleted if changes_since is not None and not self.down else ()
        return nova.ServerList(found.instances, frozenset(deleted))

    def server(self, ident):
        self._read('server')
        return super().server(ident)

    def providers(self):
        """Also: what is being evacuated is claimed on its target, and full hosts are left out."""
        self._read('providers')
        claims = collections.Counter()
        for record in self.records:
            server = self.servers_.get(record.instance_id)
            if record.status == 'accepted' and server and server.host != record.target:
                claims[record.target] += server.needs['VCPU']
        found = {}
        for ident, one in super().providers().items():
            used = one.used['VCPU'] + claims[ident[3:]]
            if used < one.capacity['VCPU']:
                found[ident] = dataclasses.replace(
                    one, traits=frozenset(self.traits.get(ident[3:], ())),
                    used={'VCPU': used, 'MEMORY_MB': 64 * used})
        return found

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

    def stop(self, ident):
        super().stop(ident)
        self._after(1.0, lambda: self._sync(ident))

    def start(self, ident):
        super().start(ident)
        self._after(1.0, lambda: self._sync(ident))

    def takes(self, record):
        """Also: there is room, and none of its group."""
        server = self.servers_[record.instance_id]
        there = [s for s in self.servers_.values() if s.host == record.target]
        group = next((g for g in self.groups_.values() if server.id in g.members), None)
        return super().takes(record) and (
            sum(s.needs['VCPU'] for s in there) + server.needs['VCPU']
            <= self.hosts[record.target].vcpus) and not (
            group and group.policy == 'anti-affinity' and any(
                s.id in group.members for s in there))

    def _rebuilt(self, record):
        if record not in self.records:
            return                      # somebody has ended it
        if record.instance_id not in self.servers_:
            self.end(record, 'error')
            return
        super()._rebuilt(record)
        self._sync(record.instance_id)

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

    def end(self, record, status):
        """An evacuation record ends as somebody says."""
        self.records[self.records.index(record)] = dataclasses.replace(record, status=status)

    # -- what happens to hosts ------------------------------------------------------------------
    def lose_power(self, host):
        one = self.hosts[host]
        one.alive = one.powered = False
        for ident in self.copies:
            self.lose(ident, host)

    def switch_on(self, host):
        """It starts, its nova-compute too, which removes old guests and resumes the others."""
        one = self.hosts[host]
        one.alive = one.powered = one.linked = True
        self.restart_compute(host)
        for server in self.servers_.values():
            if server.host == host and server.vm_state == ON and not server.task_state:
                self._sync(server.id)

    def restart_compute(self, host):
        for record in self.records:
            if record.source == host and record.status == 'done':
                self.lose(record.instance_id, host)
        super().restart_compute(host)

    # -- what owners and others do --------------------------------------------------------------
    def delete(self, ident):
        server = self.servers_.pop(ident)
        self.deleted.add(ident)
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
        record = model.Migration(str(len(self.records)), ident, self.servers_[ident].host, target,
                                 'accepted', self.clock())
        self.records.append(record)
        self._set(ident, task_state='rebuilding')
        self._after(self.rebuild, lambda: self._rebuilt(record))

    def disabled(self, host, reason):
        self.hosts[host].enabled, self.hosts[host].reason = False, reason
        self.disabled_by_others.add(host)

    def enabled(self, host):
        self.hosts[host].enabled, self.hosts[host].reason = True, ''
        self.disabled_by_others.discard(host)

    def forced(self, host, forced):
        self.hosts[host].forced_down = forced
        self.forced_by_others.discard(host)
        if forced:
            self.forced_by_others.add(host)


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
