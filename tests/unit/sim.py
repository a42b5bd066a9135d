"""A small Nova in virtual time, good enough to drive the real engine, collector and store.

It keeps the rules a recovery depends on (evacuate is refused while the service is up, a second
one is taken and breaks the instance, a stopped guest in ERROR comes back ACTIVE, …) and counts
what must never happen. ``Killed`` can be raised before or after any act or write.
"""

import concurrent.futures
import dataclasses
import datetime

from tests.unit import clock as clocks
from tests.unit import sim_ceph
from tests.unit import sim_power
from vmha_nova import clock
from vmha_nova import collector
from vmha_nova.db import store
from vmha_nova import disks
from vmha_nova import engine
from vmha_nova import exception
from vmha_nova.fencing import fences
from vmha_nova.fencing import none
from vmha_nova.fencing import power
from vmha_nova.fencing import storage as storage_fence
from vmha_nova import model
from vmha_nova import nova
from vmha_nova import planner
from vmha_nova import recorder
from vmha_nova import storage
from vmha_nova import unchecked

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
CEPH_ACTS = ('add', 'remove_range', 'mark_dead')
POWER_ACTS = ('off',)
ACTS = ('force_down', 'disable', 'enable', 'evacuate', 'stop', 'start')
WRITES = ('keep_mark', 'set_failure', 'open_recovery', 'set_recovery', 'save_moves', 'begin_step',
          'end_step', 'take_lead', 'save_clients', 'save_disks', 'end_maintenance', 'turn',
          'note')


class Killed(BaseException):
    """kill -9 of the engine."""


class Lock:
    """The lock of all engines: who was started last has it, and knows so."""

    problem = ''

    def __init__(self, world):
        self._world = world

    def leads(self):
        return self._world.lock is self


@dataclasses.dataclass
class Host:
    """A compute node of the simulated cloud."""

    name: str
    alive: bool = True
    enabled: bool = True
    reason: str = ''
    forced_down: bool = False
    beat_at: datetime.datetime = START
    vcpus: int = 100
    zone: str = 'nova'
    # With a simulated storage: a host can lose only its cable, and its guests run on.
    powered: bool = True
    linked: bool = True


class SimNova:
    """What vmha_nova.nova.Nova offers, on a cloud in memory."""

    def __init__(self, clock, hosts, beat=2.0, rebuild=3.0):
        self.clock = clock
        self.hosts = {h: Host(h) for h in hosts}
        self.servers_ = {}
        self.records = []
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
        self.ceph = None                # sim_ceph.SimCeph

    # -- the world ------------------------------------------------------------------------------
    def boot(self, host, count, prefix='s', **values):
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

    def tick(self, seconds):
        self.clock.tick(seconds)
        for host in self.hosts.values():
            if host.alive and (self.clock() - host.beat_at).total_seconds() >= self.beat:
                host.beat_at = self.clock()
        due = [f for t, f in self._due if t <= self.clock()]
        self._due = [(t, f) for t, f in self._due if t > self.clock()]
        for function in due:
            function()

    def _after(self, seconds, function):
        self._due.append((self.clock() + datetime.timedelta(seconds=seconds), function))

    def _set(self, ident, **values):
        self.servers_[ident] = dataclasses.replace(
            self.servers_[ident], stamp=str(self.clock()), **values)

    def up(self, host):
        return not host.forced_down and (self.clock() - host.beat_at).total_seconds() < 60

    # -- reading --------------------------------------------------------------------------------
    def services(self):
        return nova.ServiceList([model.Service(
            h.name, 'id-' + h.name, self.up(h), h.enabled, h.reason, h.forced_down,
            h.beat_at.isoformat(), h.zone) for h in self.hosts.values()
            if h.name not in self.down], frozenset(self.down))

    def hypervisors(self, between=None):
        return [model.Hypervisor('rp-' + h, h, 'fake', 8,
                                 self.ceph.ips[h] if self.ceph else '') for h in self.hosts]

    def hypervisor(self, ident):
        return model.Hypervisor(ident, ident[3:], 'fake', 8)

    def aggregates(self):
        return {}

    def groups(self):
        return []

    def servers(self, host=None, changes_since=None, between=None):
        found = self.servers_ if self.frozen is None else self.frozen
        return nova.ServerList(tuple(
            s for s in found.values() if host in (None, s.host)
            and s.host not in self.down and s.id not in self.hidden))

    def server(self, ident):
        if ident not in self.servers_:
            raise exception.NotFound(ident, 404)
        if self.servers_[ident].host in self.down:
            return model.Instance(ident, known=False)
        return self.servers_[ident]

    def providers(self):
        found = {}
        for host in self.hosts.values():
            used = sum(s.needs['VCPU'] for s in self.servers_.values() if s.host == host.name)
            if used < host.vcpus:
                found['rp-' + host.name] = model.Provider(
                    'rp-' + host.name, {'VCPU': host.vcpus, 'MEMORY_MB': 100000},
                    {'VCPU': used, 'MEMORY_MB': 64 * used})
        return found

    def evacuations(self, host, since=None):
        return [r for r in self.records if r.source == host and (
            self.clock() - r.created_at).total_seconds() >= self.lag]

    # -- acts -----------------------------------------------------------------------------------
    def _fault(self, act, table):
        if table.get(act):
            raise table[act].pop(0)

    def _act(self, act, *arguments):
        self.calls.append((act, *arguments))
        self._fault(act, self.faults)

    def _host(self, service_id):
        return self.hosts[service_id[3:]]

    def force_down(self, service_id, forced):
        self._act('force_down', service_id, forced)
        if not forced and any(r.status == 'done' and r.source == service_id[3:]
                              for r in self.records):
            raise exception.Rejected('there are evacuations that are not cleaned up', 400)
        self._host(service_id).forced_down = forced
        self._fault('force_down', self.late_faults)

    def disable(self, service_id, reason):
        self._act('disable', service_id)
        self._host(service_id).enabled, self._host(service_id).reason = False, reason

    def attachments(self, ident):
        return {}

    def restart_compute(self, host):
        """nova-compute starts again: it removes the guests whose evacuation is done."""
        for at, record in enumerate(self.records):
            if record.source == host and record.status == 'done':
                self.records[at] = dataclasses.replace(record, status='completed')
                if self.ceph:
                    self.ceph.leave(record.instance_id, host)

    def enable(self, service_id):
        self._act('enable', service_id)
        self._host(service_id).enabled, self._host(service_id).reason = True, ''

    def evacuate(self, ident, target):
        self._act('evacuate', ident, target)
        server = self.server(ident)
        if self.up(self.hosts[server.host]):
            raise exception.Rejected(f'Compute service of {server.host} is still in use.', 400)
        if any(r.instance_id == ident and r.status == 'accepted' for r in self.records):
            self.twice.append(ident)
        if self.ceph and self.ceph.writers(ident):
            self.ceph.doubles.append(ident)
        record = model.Migration(str(len(self.records)), ident, server.host, target, 'accepted',
                                 self.clock())
        self.records.append(record)
        self._set(ident, task_state='rebuilding')
        self._after(self.rebuild, lambda: self._rebuilt(record))
        self._fault('evacuate', self.late_faults)

    def takes(self, record):
        """Whether the scheduler finds room for an evacuation."""
        return record.target not in self.refuses

    def _rebuilt(self, record):
        target, ok = self.hosts[record.target], self.takes(record)
        if not target.alive:
            return                      # nobody is there who would end it
        ok = ok and target.enabled and self.up(target)
        at = self.records.index(record)
        self.records[at] = dataclasses.replace(record, status='done' if ok else 'error')
        if ok:
            was = self.servers_[record.instance_id].vm_state
            self._set(record.instance_id, host=record.target, task_state='',
                      vm_state='stopped' if was == 'stopped' else 'active')
            if self.ceph and was != 'stopped':
                self.ceph.start(record.instance_id, record.target)
        else:
            self._set(record.instance_id, task_state='', vm_state='error',
                      fault='No valid host was found.')

    def stop(self, ident):
        self._act('stop', ident)
        self._power(ident, 'active', 'stopped')

    def start(self, ident):
        self._act('start', ident)
        self._power(ident, 'stopped', 'active')

    def _power(self, ident, old, new):
        if self.servers_[ident].vm_state != old:
            raise exception.Rejected(f'it is not {old}', 409)
        self._set(ident, task_state='powering')
        self._after(1.0, lambda: self._set(ident, task_state='', vm_state=new))


class Executor:
    """Runs a job when it is submitted, slow ones when they are let; Killed goes through."""

    def __init__(self):
        self.slow = set()               # names of functions
        self._waiting = []

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        if function.__name__ in self.slow:
            self._waiting.append((future, function, arguments))
        else:
            self._run(future, function, arguments)
        return future

    def let(self):
        """Run the slow jobs that wait."""
        jobs, self._waiting = self._waiting, []
        for job in jobs:
            self._run(*job)

    @staticmethod
    def _run(future, function, arguments):
        try:
            future.set_result(function(*arguments))
        except Exception as e:
            future.set_exception(e)


class Mortal:
    """A proxy that kills the engine at the n-th gate; each call has one before and one after."""

    def __init__(self, target, names, gate):
        self._target = target
        self._names = names
        self._gate = gate

    def __getattr__(self, name):
        attribute = getattr(self._target, name)
        if name not in self._names:
            return attribute

        def call(*args, **kwargs):
            self._gate(f'before {name}')
            result = attribute(*args, **kwargs)
            self._gate(f'after {name}')
            return result
        return call


class World:
    """A simulated cloud with one engine that can be killed and started again."""

    Nova, Ceph = SimNova, sim_ceph.SimCeph

    def __init__(self, path, hosts=('c1', 'c2', 's1'), spares=('s1',), storage=False,
                 ranged=True, everywhere='rbd:vms', power=None, **policy):
        self.clock = clocks.Clock(START)
        self.offset = datetime.timedelta()      # what the clock of our machine is set by
        self.ours = clock.Steady(lambda: self.clock() + self.offset,
                                 lambda: self.clock().timestamp())
        self.nova = self.Nova(self.clock, hosts)
        self.ranged, self.everywhere = ranged, everywhere
        self.ceph = self.nova.ceph = self.Ceph(self.clock, self.nova) if storage else None
        # The hosts with a BMC; None: there is no fence by power.
        self.power = None if power is None else sim_power.SimPower(self.nova, power)
        self.store = self.make_store(path)
        for host in spares:
            self.store.set_mark(host, spare=True)
        self.policy = model.Policy(**dict(dict(
            need_same_backend=storage or power is not None, heartbeat_silence=5.0, quiet=10.0,
            window=6, window_per_target=6, window_per_target_start=6, flap_window=0.0), **policy))
        self.kill_at = None             # gate number
        self.gates = []
        self.start()

    def make_store(self, path):
        """An empty database."""
        found = store.Store(self.ours, connection=f'sqlite:///{path}', sqlite_synchronous=False)
        found.upgrade()
        return found

    def _gate(self, name):
        self.gates.append(name)
        if self.kill_at is not None and len(self.gates) - 1 == self.kill_at:
            raise Killed(name)

    def _proxy(self, target, names):
        """What an engine gets of the world; the names are of calls that are gates."""
        return Mortal(target, names, self._gate)

    def start(self):
        """A new engine process on what is there, with the lead. One that was there may go on."""
        self.lock = Lock(self)
        nova_ = self._proxy(self.nova, ACTS)
        self.collector = own = collector.Collector(nova_, self.ours, collector.Settings(
            interval=2.0, nodes_interval=5.0, min_delta_gap=0.0))
        self.executor = Executor()
        store_ = self._proxy(self.store, WRITES)
        found, hooks = [], {}
        if self.power:
            bmcs = self._proxy(self.power, POWER_ACTS)
            found.append(power.PowerFence(
                bmcs, bmcs, None, {'control'}, 20.0, lambda: storage_.check_lead(), self.ours,
                lambda: self.clock().timestamp(), self.nova.tick))
            hooks = dict(powered=found[0].powered, protect=found[0].protect)
            storage_ = unchecked.NamedStorage(self.everywhere, found[0].protect)
        if self.ceph:
            ceph = self._proxy(self.ceph, CEPH_ACTS)
            storage_ = storage.Storage(
                ceph, store_, lambda: own.snapshot, nova_.attachments, self.ours,
                disks.Pools(('vms',), ('volumes',), ('images',)), ranged=self.ranged,
                everywhere=self.everywhere, interval=2.0, **hooks)
            found.append(storage_fence.StorageFence(
                ceph, storage_, 3600.0, self.ranged, patience=2.0,
                refusing=self.ceph.refusing,
                monotonic=lambda: self.clock().timestamp(), sleep=self.nova.tick))
        if not found:
            found, storage_ = [none.NoFence(True)], unchecked.UncheckedStorage()
        self.storage = storage_
        self.engine = engine.Engine(
            store_, nova_, own, fences.Fences(*found), storage_, self.executor,
            self.ours, 'e', self.policy, idle=self.ours.take_over, leadership=self.lock)
        self.recorder = recorder.Recorder(
            store_, self.engine.lead, lambda: own.snapshot, storage_, self.policy, self.ours)
        self.planner = planner.Planner(self.store, self._on_record, self.policy, self.ours)

    def _on_record(self, cluster):
        """The storage as a process sees it that only reads the database."""
        if not self.ceph:
            return unchecked.NamedStorage(self.everywhere) if self.power else (
                unchecked.UncheckedStorage())
        found = storage.Storage(None, self.store, lambda: cluster, None, self.ours,
                                disks.Pools(('vms',), ('volumes',), ('images',)),
                                ranged=self.ranged, everywhere=self.everywhere,
                                powered=self.store.switched_off().__contains__)
        found.load_backends()
        return found

    def write_down(self):
        """What the recorder's thread does in some seconds."""
        for _ in range(100):
            if self.recorder.look() > 0:
                return
        raise AssertionError('the check of all hosts does not end')

    def step(self, seconds=0.5):
        """One cycle; a killed engine is replaced in the next one."""
        self.nova.tick(seconds)
        try:
            self.work()
        except Killed:
            self.start()

    def work(self):
        """What the threads of the service do in one cycle."""
        # Another engine may be started meanwhile.
        engine_, storage_ = self.engine, self.storage
        self.collector.refresh()
        if engine_.term is None:
            engine_.take_lead()
        try:
            storage_.look()
        except exception.VmhaError:
            pass                        # as the service's thread does
        engine_.cycle()

    def run(self, until, seconds=600):
        """Cycle until the condition holds; AssertionError after so many virtual seconds."""
        end = self.clock() + datetime.timedelta(seconds=seconds)
        while not until():
            if self.clock() > end:
                raise AssertionError('; '.join(
                    f'{r.host}: {r.state}, {r.reason}' for r in self.store.recoveries()) or str(
                        [f.detail for f in self.store.failures()]))
            self.step()

    def settle(self, seconds=4):
        """Let some time pass."""
        end = self.clock() + datetime.timedelta(seconds=seconds)
        self.run(lambda: self.clock() >= end)

    def die(self, host, source='test', **report):
        """The host dies and is reported."""
        self.nova.hosts[host].alive = self.nova.hosts[host].powered = False
        self.store.report_failure(host, source, 'it burns', **report)

    def cut(self, host, source='test', **report):
        """The host loses its cable, its guests run on; it is reported."""
        self.nova.hosts[host].alive = self.nova.hosts[host].linked = False
        self.store.report_failure(host, source, 'no answer', **report)

    def over(self):
        """Whether there are recoveries and all are over."""
        found = self.store.recoveries()
        return bool(found) and all(r.ended_at for r in found)

    def moves(self):
        """instance id -> Move of the newest recovery."""
        return {m.instance_id: m for m in self.store.moves(self.store.recoveries()[-1].id)}
