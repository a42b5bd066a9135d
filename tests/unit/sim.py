"""The real engine, collector and store on a simulated cloud, in virtual time.

The Nova is that of sim_nova.py. ``Killed`` can be raised before or after any act or write.
"""

import concurrent.futures
import datetime

from tests.unit import clock as clocks
from tests.unit import sim_ceph
from tests.unit import sim_nova
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
from vmha_nova import planner
from vmha_nova import recorder
from vmha_nova import storage
from vmha_nova import unchecked

START = sim_nova.START
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

    Nova, Ceph = sim_nova.SimNova, sim_ceph.SimCeph

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
