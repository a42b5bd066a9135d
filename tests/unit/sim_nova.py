"""A small Nova and Placement in virtual time.

Offers what vmha_nova.nova.Nova does, on a cloud in memory, and keeps the rules that a recovery
depends on: nova_rules.py names them, and contract tests hold each against the real Nova. Beside
them are things that go wrong at a test's wish: ``faults``, ``hidden``, ``frozen``, ``lag``.
"""

import collections
import dataclasses
import datetime

from tests.unit import nova_rules
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import nova

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DOWN_TIME = 60.0                        # seconds without a heartbeat
NO_HOST = 'No valid host was found.'
FLYING = ('accepted', 'pre-migrating')
CLAIM, LULL = 0.5, 0.5                  # seconds until it is claimed; between running and landed
EVACUABLE = ('active', 'stopped', 'error')


@dataclasses.dataclass
class Host:
    """A compute node of the simulated cloud."""

    name: str
    alive: bool = True
    enabled: bool = True
    reason: str = ''
    forced_down: bool = False
    beat_at: datetime.datetime = START
    changed_at: datetime.datetime = START   # of its row, by a heartbeat or an act
    vcpus: int = 100
    memory: int = 100000                # MiB
    zone: str = 'nova'
    starts: int = 0                     # of its nova-compute
    # With a simulated storage: a host can lose only its cable, and its guests run on.
    powered: bool = True
    linked: bool = True


class Servers(dict):
    """id -> model.Instance; notes when each was changed, and which are deleted."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock
        self.changed = {}               # id -> when
        self.deleted = {}               # id -> the host that it was on

    def __setitem__(self, ident, server):
        super().__setitem__(ident, server)
        self.changed[ident] = self._clock()

    def __delitem__(self, ident):
        self.pop(ident)

    def pop(self, ident):
        server = super().pop(ident)
        self.changed[ident] = self._clock()
        self.deleted[ident] = server.host
        return server


def whole(time):
    """A time as Nova keeps it, in whole seconds."""
    return time.replace(microsecond=0)


class SimNova:
    """See the module."""

    def __init__(self, clock, hosts, beat=2.0, rebuild=3.0):
        self.clock = clock
        self.hosts = {h: Host(h) for h in hosts}
        self.servers_ = Servers(clock)
        self.records = []
        self.groups_, self.aggregates_, self.traits = {}, {}, {}
        self.calls = []                 # (act, arguments)
        self.twice = []                 # instances evacuated while they were being evacuated
        self.refuses = set()            # targets where the scheduler finds no room
        self.faults = {}                # act -> list of exceptions: raised instead of acting
        self.late_faults = {}           # the same, after the act has taken effect
        self.beat, self.rebuild = beat, rebuild
        self.down = set()               # hosts of cells that are down
        self.hidden = set()             # servers that lists leave out
        self.frozen = None              # the servers that lists show, whatever is true
        self.lag = 0.0                  # seconds until an evacuation record is listed
        self._due = []                  # (time, function)
        self._queue = []                # (host, function): messages for nova-computes
        self._flying = {}               # id of a record -> instance id
        self.ceph = None                # sim_ceph.SimCeph

    # -- the world ------------------------------------------------------------------------------
    def boot(self, host, count, prefix='s', **values):
        """Servers are there."""
        for n in range(count):
            self.add(f'{prefix}{n}', host, **values)

    def add(self, name, host, **values):
        """A server is there."""
        self.servers_[name] = model.Instance(**dict(dict(
            id=name, name=name, project_id='p', host=host, vm_state='active', power_state=1,
            needs={'VCPU': 1, 'MEMORY_MB': 64}, zone='nova', stamp=str(self.clock()),
            kept=('',)), **values))
        if self.ceph and self.servers_[name].kept:
            self.ceph.images.setdefault(f'vms/{name}_disk', set())
            if self.servers_[name].vm_state == 'active':
                self.ceph.start(name, host)

    def delete(self, ident):
        """A server is deleted; Nova lists none of its evacuations any more."""
        return self.servers_.pop(ident)

    @nova_rules.obeys('a_living_host_beats')
    def tick(self, seconds):
        """Time goes on."""
        self.clock.tick(seconds)
        now = self.clock()
        for host in self.hosts.values():
            if host.alive and (now - host.beat_at).total_seconds() >= self.beat:
                host.beat_at = host.changed_at = now
        self._deliver()
        while due := [f for t, f in self._due if t <= now]:
            self._due = [(t, f) for t, f in self._due if t > now]
            for function in due:
                function()

    @nova_rules.obeys('a_dead_target_takes_it_later', 'a_dead_host_stops_nothing')
    def _send(self, host, function):
        """A message to a nova-compute, which takes it when it runs."""
        self._queue.append((host, function))
        self._deliver()

    def _deliver(self):
        ready = [f for h, f in self._queue if self.hosts[h].alive]
        self._queue = [(h, f) for h, f in self._queue if not self.hosts[h].alive]
        for function in ready:
            function()

    def _after(self, seconds, function):
        self._due.append((self.clock() + datetime.timedelta(seconds=seconds), function))

    @nova_rules.obeys('stamps_change')
    def _set(self, ident, **values):
        self.servers_[ident] = dataclasses.replace(
            self.servers_[ident], stamp=str(self.clock()), **values)

    @nova_rules.obeys('a_dead_host_is_up_for_a_while', 'forced_down_is_down_at_once',
                      'forced_up_is_up_at_once')
    def up(self, host):
        """What Nova takes it for."""
        return not host.forced_down and (
            self.clock() - host.beat_at).total_seconds() < DOWN_TIME

    @nova_rules.obeys('a_start_cleans_up', 'a_start_completes_what_flies')
    def restart_compute(self, host):
        """nova-compute starts again: it removes the guests that are evacuated, or about to be."""
        self.hosts[host].starts += 1
        for at, record in enumerate(self.records):
            if record.source == host and record.status in (*FLYING, 'done'):
                self.records[at] = dataclasses.replace(record, status='completed')
                if self.ceph:
                    self.ceph.leave(record.instance_id, host)

    def lose_power(self, host):
        """It is off."""
        self.hosts[host].alive = self.hosts[host].powered = False

    # -- reading --------------------------------------------------------------------------------
    @nova_rules.obeys('services_are_listed', 'a_lost_cell_has_unknown_services')
    def services(self):
        """Nova's list."""
        return nova.ServiceList([model.Service(
            h.name, 'id-' + h.name, self.up(h), h.enabled, h.reason, h.forced_down,
            whole(h.changed_at).isoformat(), h.zone) for h in self.hosts.values()
            if h.name not in self.down], frozenset(self.down))

    @nova_rules.obeys('hypervisors_are_listed', 'a_lost_cell_breaks_other_lists')
    def hypervisors(self, between=None):
        """Nova's list."""
        self._cell(*self.hosts)
        return [self._hypervisor(h) for h in self.hosts]

    @nova_rules.obeys('hypervisors_are_listed', 'a_lost_cell_breaks_other_lists')
    def hypervisor(self, ident):
        """One of them."""
        host = next((h for h in self.hosts if ident == 'rp-' + h), None)
        if host is None:
            raise exception.NotFound(f"Hypervisor with ID '{ident}' could not be found.", 404)
        self._cell(host)
        return self._hypervisor(host)

    def _hypervisor(self, host):
        return model.Hypervisor('rp-' + host, host, 'fake', 8,
                                self.ceph.ips[host] if self.ceph else '')

    def _cell(self, *hosts, error=exception.Unreachable):
        if self.down.intersection(hosts):
            raise error('Nova answers 500: the database of a cell does not answer')

    @nova_rules.obeys('aggregates_are_listed')
    def aggregates(self):
        """Nova's list."""
        return self.aggregates_

    @nova_rules.obeys('groups_are_listed', 'a_lost_cell_breaks_other_lists')
    def groups(self):
        """Nova's list."""
        members = {i for g in self.groups_.values() for i in g.members if i in self.servers_}
        self._cell(*(self.servers_[i].host for i in members))
        return [dataclasses.replace(g, members=g.members & members)
                for g in self.groups_.values()]

    @nova_rules.obeys('servers_are_listed', 'changes_are_listed', 'deleted_is_listed_as_a_change',
                      'a_lost_cell_has_unknown_servers')
    def servers(self, host=None, changes_since=None, between=None):
        """Nova's list."""
        found = self.servers_ if self.frozen is None else self.frozen

        def changed(ident):
            return changes_since is None or (
                whole(self.servers_.changed[ident]) >= whole(changes_since))
        deleted = {} if changes_since is None else self.servers_.deleted
        every = host is None and changes_since is None
        return nova.ServerList(
            tuple(s for s in found.values() if host in (None, s.host) and changed(s.id)
                  and s.host not in self.down and s.id not in self.hidden),
            frozenset(i for i, at in deleted.items() if changed(i) and host in (None, at)
                      and at not in self.down),
            frozenset(s.id for s in found.values() if every and s.host in self.down))

    @nova_rules.obeys('a_server_not_known', 'a_lost_cell_shows_no_server')
    def server(self, ident):
        """One of them."""
        if ident not in self.servers_:
            raise exception.NotFound(ident, 404)
        if self.servers_[ident].host in self.down:
            return model.Instance(ident, known=False)
        return self.servers_[ident]

    @nova_rules.obeys('placement_counts_what_is_there', 'placement_leaves_out_the_full',
                      'placement_knows_no_cells', 'traits_are_told')
    def providers(self):
        """What Placement says."""
        found = {}
        for host in self.hosts.values():
            used = self.used(host.name)
            if used['MEMORY_MB'] < host.memory:
                found['rp-' + host.name] = model.Provider(
                    'rp-' + host.name, {'VCPU': host.vcpus, 'MEMORY_MB': host.memory},
                    {'VCPU': used['VCPU'], 'MEMORY_MB': used['MEMORY_MB']},
                    frozenset(self.traits.get(host.name, ())))
        return found

    @nova_rules.obeys('an_evacuation_counts_on_its_target', 'the_source_counts_on')
    def used(self, host):
        """What is allocated on a host."""
        holders = {s.id for s in self.servers_.values() if s.host == host}
        holders |= {r.instance_id for r in self.records if r.source == host
                    and r.status == 'done'}
        holders |= {r.instance_id for r in self.records if r.target == host
                    and r.id in self._flying}
        used = collections.Counter()
        for ident in holders & self.servers_.keys():
            used.update(self.servers_[ident].needs)
        return used

    @nova_rules.obeys('it_has_a_record', 'records_newest_first', 'records_go_with_the_server',
                      'a_lost_cell_has_no_records')
    def evacuations(self, host, since=None):
        """Nova's list."""
        return [r for r in reversed(self.records) if r.source == host and host not in self.down
                and r.instance_id in self.servers_ and (since is None or r.created_at >= since)
                and (self.clock() - r.created_at).total_seconds() >= self.lag]

    def attachments(self, ident):
        """Cinder has no volumes here."""
        return {}

    # -- acts -----------------------------------------------------------------------------------
    def _fault(self, act, table):
        if table.get(act):
            raise table[act].pop(0)

    def _act(self, act, *arguments):
        self.calls.append((act, *arguments))
        self._fault(act, self.faults)

    @nova_rules.obeys('a_service_not_known', 'acts_move_the_beat', 'a_lost_cell_takes_no_acts')
    def _host(self, service_id):
        host = self.hosts.get(service_id[3:])
        if host is None:
            raise exception.NotFound(f'Service {service_id} could not be found.', 404)
        self._cell(host.name, error=exception.OutcomeUnknown)
        return host

    @nova_rules.obeys('forced_down_is_down_at_once', 'forced_up_is_up_at_once',
                      'not_up_before_it_is_clean', 'acts_move_the_beat')
    def force_down(self, service_id, forced):
        """As the adapter does."""
        self._act('force_down', service_id, forced)
        host = self._host(service_id)
        if not forced and any(r.status == 'done' and r.source == host.name
                              and r.instance_id in self.servers_ for r in self.records):
            raise exception.Rejected('there are evacuations that are not cleaned up', 400)
        host.forced_down, host.changed_at = forced, self.clock()
        self._fault('force_down', self.late_faults)

    @nova_rules.obeys('disabled_has_a_reason', 'acts_move_the_beat')
    def disable(self, service_id, reason):
        """As the adapter does."""
        self._act('disable', service_id)
        host = self._host(service_id)
        host.enabled, host.reason, host.changed_at = False, reason, self.clock()

    @nova_rules.obeys('disabled_has_a_reason', 'acts_move_the_beat')
    def enable(self, service_id):
        """As the adapter does."""
        self._act('enable', service_id)
        host = self._host(service_id)
        host.enabled, host.reason, host.changed_at = True, '', self.clock()

    @nova_rules.obeys('a_lost_cell_takes_no_acts', 'a_server_not_known')
    def _to_act_on(self, ident):
        if ident not in self.servers_:
            raise exception.NotFound(f'Instance {ident} could not be found.', 404)
        self._cell(self.servers_[ident].host, error=exception.OutcomeUnknown)
        return self.servers_[ident]

    # -- evacuation -----------------------------------------------------------------------------
    @nova_rules.obeys(
        'an_evacuation_wants_a_server', 'an_evacuation_wants_a_target',
        'its_own_host_is_no_target', 'only_active_stopped_and_error',
        'a_host_that_is_up_is_not_evacuated', 'a_host_that_went_silent_is_evacuated',
        'a_task_state_is_overwritten')
    def evacuate(self, ident, target):
        """As the adapter does."""
        self._act('evacuate', ident, target)
        server = self._to_act_on(ident)
        if target not in self.hosts:
            raise exception.Rejected(f'Compute host {target} not found.', 404)
        if target == server.host:
            raise exception.Rejected("The target host can't be the same one.", 400)
        if server.vm_state not in EVACUABLE:
            raise exception.Rejected(f'It is in vm_state {server.vm_state}', 409)
        if self.up(self.hosts[server.host]):
            raise exception.Rejected(f'Compute service of {server.host} is still in use.', 400)
        if ident in self._flying.values():
            self.twice.append(ident)
        if self.ceph and self.ceph.writers(ident):
            self.ceph.doubles.append(ident)
        self.begin(ident, target)
        self._fault('evacuate', self.late_faults)

    @nova_rules.obeys('it_has_a_record', 'it_is_rebuilding_meanwhile',
                      'a_second_one_spoils_the_first')
    def begin(self, ident, target):
        """Nova has taken an evacuation, whosever it is."""
        record = model.Migration(str(len(self.records)), ident, self.servers_[ident].host, target,
                                 'accepted', whole(self.clock()))
        self.records.append(record)
        self._set(ident, task_state='rebuilding')
        if ident in self._flying.values():
            return                      # its record stays as it is for ever
        self._flying[record.id] = ident
        self._after(min(CLAIM, self.rebuild), lambda: self._schedule(record))

    @nova_rules.obeys('a_disabled_target_takes_nothing', 'a_target_that_is_down_takes_nothing',
                      'a_full_target_takes_nothing', 'anti_affinity_is_kept',
                      'affinity_cannot_be_evacuated')
    def takes(self, record):
        """Whether the scheduler finds the target fit."""
        target, server = self.hosts[record.target], self.servers_[record.instance_id]
        group = next((g for g in self.groups_.values() if server.id in g.members), None)
        if group and group.policy in ('affinity', 'anti-affinity'):
            there = any(s.id in group.members for s in self.servers_.values()
                        if s.host == target.name)
            if there != (group.policy == 'affinity'):
                return False
        used = self.used(target.name)   # it is counted in
        return (target.name not in self.refuses and target.enabled and self.up(target)
                and used['VCPU'] <= target.vcpus and used['MEMORY_MB'] <= target.memory)

    def _schedule(self, record):
        if not self._goes_on(record):
            return
        if self.takes(record):
            self._send(record.target, lambda: self._claim(record))
            return
        self._mark(record, 'error')
        del self._flying[record.id]
        self._set(record.instance_id, task_state='', vm_state='error', fault=NO_HOST)

    @nova_rules.obeys('it_has_a_record')
    def _claim(self, record):
        if not self._goes_on(record):
            return
        self._mark(record, 'pre-migrating')
        starts = self.hosts[record.target].starts
        seconds = max(self.rebuild - CLAIM - LULL, 0.0)
        self._after(seconds, lambda: self._rebuilt(record, starts))

    def _goes_on(self, record):
        """Whether there is something to evacuate, and nobody has ended it."""
        if record.instance_id in self.servers_ and record.id in self._flying:
            return True
        self._flying.pop(record.id, None)
        return False

    @nova_rules.obeys('a_target_that_dies_ends_nothing')
    def _works_on(self, record, starts):
        """Whether the nova-compute that has claimed it is still at it."""
        target = self.hosts[record.target]
        if self._goes_on(record) and not (target.alive and target.starts == starts):
            del self._flying[record.id]
        return record.id in self._flying

    @nova_rules.obeys('who_runs_runs_again', 'who_is_stopped_stays_so', 'who_is_in_error_runs')
    def _rebuilt(self, record, starts):
        if not self._works_on(record, starts):
            return
        was = self.servers_[record.instance_id].vm_state
        self._set(record.instance_id, task_state='',
                  vm_state='stopped' if was == 'stopped' else 'active',
                  power_state=4 if was == 'stopped' else 1)
        if was != 'stopped':
            self._runs(record)
        self._after(min(LULL, self.rebuild), lambda: self._landed(record, starts))

    def _runs(self, record):
        if self.ceph:
            self.ceph.start(record.instance_id, record.target)

    def _settled(self, ident):
        """Something has been done to a server; for who knows more of it."""

    @nova_rules.obeys('done_means_arrived', 'a_second_one_spoils_the_first')
    def _landed(self, record, starts):
        if not self._works_on(record, starts):
            return
        del self._flying[record.id]
        self._set(record.instance_id, host=record.target)
        spoilt = any(r.instance_id == record.instance_id and r.status == 'accepted'
                     for r in self.records[self._at(record) + 1:])
        self._mark(record, 'failed' if spoilt else 'done')
        if spoilt:
            self._set(record.instance_id, vm_state='error',
                      task_state='rebuild_block_device_mapping')
        self._settled(record.instance_id)

    def _at(self, record):
        return next(n for n, r in enumerate(self.records) if r.id == record.id)

    def _mark(self, record, status):
        at = self._at(record)
        self.records[at] = dataclasses.replace(self.records[at], status=status)

    def end(self, record, status):
        """Somebody ends an evacuation record."""
        self._flying.pop(record.id, None)
        self._mark(record, status)

    # -- stopping and starting ------------------------------------------------------------------
    @nova_rules.obeys('stopped_and_started', 'an_error_can_be_stopped', 'power_acts_fit_the_state',
                      'busy_is_not_stopped')
    def stop(self, ident):
        """As the adapter does."""
        self._act('stop', ident)
        self._power(ident, ('active', 'error'), 'stopped', 'powering-off', 4)

    @nova_rules.obeys('stopped_and_started', 'power_acts_fit_the_state')
    def start(self, ident):
        """As the adapter does."""
        self._act('start', ident)
        self._power(ident, ('stopped',), 'active', 'powering-on', 1)

    @nova_rules.obeys('power_acts_fit_the_state', 'busy_is_not_stopped')
    def _power(self, ident, old, new, task, power):
        server = self._to_act_on(ident)
        if server.vm_state not in old:
            raise exception.Rejected(f'it is {server.vm_state}', 409)
        if server.task_state:
            raise exception.Rejected(f'it is in task_state {server.task_state}', 409)
        self._set(ident, task_state=task)

        def ends():
            now = self.servers_.get(ident)
            if now is not None and (now.host, now.task_state) == (server.host, task):
                self._set(ident, task_state='', vm_state=new, power_state=power)
                self._settled(ident)
        self._send(server.host, lambda: self._after(1.0, ends))
