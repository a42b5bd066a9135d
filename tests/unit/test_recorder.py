"""What the engine writes down of the cloud, and what others make of it."""

import dataclasses
import os
import shutil
import tempfile
import types
import unittest
from unittest import mock

import hypothesis

from tests.unit import clock
from tests.unit import sim
from tests.unit import test_decide_properties as clouds
from tests.unit import topology as t
from vmha_nova.db import models
from vmha_nova.db import snapshot
from vmha_nova.db import store
from vmha_nova import decide
from vmha_nova import exception
from vmha_nova import lead
from vmha_nova import marks
from vmha_nova import model
from vmha_nova import planner
from vmha_nova import recorder
from vmha_nova import unchecked


class Spy(snapshot.Snapshots):
    """Counts what is written."""

    def __init__(self, store_):
        super().__init__(store_)
        self.written = []

    def _write(self, term, table, key, gone, rows):
        rows = list(rows)
        super()._write(term, table, key, gone, rows)
        if table.__name__ != 'Capacity':
            self.written += [r[key.key] for r in rows] + [f'-{one}' for one in gone]


class Folder(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir='/dev/shm' if os.path.isdir('/dev/shm') else None)
        self.addCleanup(shutil.rmtree, self.folder)


class WrittenDownTest(Folder):
    def world(self, **options):
        world = sim.World(os.path.join(self.folder, 'db'), **options)
        world.nova.boot('c1', 3, 'run')
        world.nova.boot('c2', 2, 'other')
        world.settle()
        world.recorder._snapshots = self.spy = Spy(world.store)
        world.write_down()
        return world

    def look(self, world):
        self.spy.written.clear()
        world.settle(3)
        world.write_down()
        return sorted(self.spy.written)

    def test_it_is_the_cloud_that_the_engine_sees(self):
        world = self.world()
        loaded = snapshot.Snapshots(world.store).load(['c1', 'c2', 's1'])
        seen = world.collector.snapshot
        self.assertEqual({h: snapshot.as_written(n)
                          for h, n in seen.nodes.items()}, dict(loaded.nodes))
        self.assertEqual(dict(seen.instances), loaded.instances)
        self.assertEqual(dict(seen.by_host), loaded.by_host)
        info = world.store.snapshot_info()
        self.assertLess((world.ours() - info.written_at).total_seconds(), 6)

    def test_a_heartbeat_is_not_written_nor_what_is_as_it_was(self):
        world = self.world()
        before = world.collector.snapshot.nodes['c1'].heartbeat
        self.assertEqual([], self.look(world))
        self.assertNotEqual(before, world.collector.snapshot.nodes['c1'].heartbeat)

    def test_what_changes_is_written_and_nothing_else(self):
        world = self.world()
        world.nova._set('run1', host='c2')
        self.assertEqual(['c1', 'c2', 'run1'], self.look(world),
                         'it, and how many each host holds')
        self.assertEqual('c2', snapshot.Snapshots(world.store).load(['c2']).instances['run1'].host)

    def test_what_is_gone_is_forgotten(self):
        world = self.world()
        del world.nova.servers_['run2']
        world.collector.reconcile('c1')
        self.assertIn('-run2', self.look(world))
        self.assertNotIn('run2', snapshot.Snapshots(world.store).load(['c1']).instances)

    def test_what_went_while_no_engine_ran_is_forgotten_too(self):
        world = self.world()
        del world.nova.servers_['run2']
        world.start()
        world.settle()
        world.write_down()
        self.assertEqual({'run0', 'run1'}, set(
            snapshot.Snapshots(world.store).load(['c1']).instances))

    def test_an_engine_that_lost_the_lead_writes_nothing_more(self):
        world = self.world()
        world.store.take_lead('another')
        world.nova._set('run1', host='c2')
        world.collector.refresh_instances()
        self.assertRaises(exception.TermLost, world.recorder.look)
        self.assertEqual('c1', snapshot.Snapshots(world.store).load(['c1']).instances['run1'].host)

    def test_written_again_after_the_database_was_away(self):
        world = self.world()
        write, self.spy._write = self.spy._write, None     # any error will do
        world.nova._set('run1', host='c2')
        world.collector.refresh_instances()
        self.assertRaises(TypeError, world.recorder.look)
        self.spy._write = write
        world.write_down()
        self.assertEqual('c2', snapshot.Snapshots(world.store).load(['c2']).instances['run1'].host)


class CapacityCase(Folder):
    def capacity(self, world):
        world.write_down()
        with world.store.reading() as session:
            return {row.host: row for row in session.query(store.models.Capacity).all()}

    def world(self, **options):
        return sim.World(os.path.join(self.folder, 'db'), hosts=('c1', 'c2', 's1'), **options)


class CapacityTest(CapacityCase):
    def test_which_deaths_fit_and_which_instances_would_not(self):
        world = self.world()
        world.nova.boot('c1', 3)
        world.nova.boot('c2', 1, 'big', needs={'VCPU': 98, 'MEMORY_MB': 64})
        world.nova.boot('c2', 2, 'idle', vm_state='paused')
        world.nova.hosts['s1'].vcpus = 50
        world.settle(8)
        found = self.capacity(world)
        self.assertEqual({'c1': (3, 3, 0, 0, True), 'c2': (3, 0, 1, 2, False),
                          's1': (0, 0, 0, 0, True)},
                         {h: (c.instances, c.placeable, c.unplaced, c.unprotectable, c.fits)
                          for h, c in found.items()})
        self.assertEqual(['s1'], found['c1'].spares)
        self.assertEqual(['big0', 'idle0', 'idle1'], [p['name'] for p in found['c2'].problems])
        self.assertIn('VCPU', found['c2'].problems[0]['reason'])
        self.assertEqual(('word', None), (found['c1'].protection, found['c1'].storage_fill))

    def test_storage_that_would_fill_up_is_no_fit(self):
        world = self.world(storage=True)
        world.nova.boot('c1', 1)
        world.settle(8)
        found = self.capacity(world)
        self.assertEqual(('storage', True), (found['c1'].protection, found['c1'].fits))
        self.assertAlmostEqual(0.45, found['c1'].storage_fill)      # 3 x 0.3 on two
        self.assertEqual('none', found['c2'].protection)
        self.assertIn('no storage client of it was ever seen', found['c2'].protection_reason)
        world.ceph.used = 0.6
        world.settle(65)
        found = self.capacity(world)
        self.assertEqual((0, False), (found['c1'].unplaced, found['c1'].fits))

    def test_storage_that_cannot_be_asked_is_not_known_to_fit(self):
        world = self.world(storage=True)
        world.nova.boot('c1', 1)
        world.nova.boot('c2', 1, 'big', needs={'VCPU': 1000, 'MEMORY_MB': 64})
        world.settle(8)
        self.assertEqual((True, False), tuple(self.capacity(world)[h].fits for h in ('c1', 'c2')))
        world.ceph.away = True
        world.settle(65)
        self.assertEqual((None, None), (self.capacity(world)['c1'].fits,
                                        self.capacity(world)['c1'].storage_fill))
        self.assertIs(False, self.capacity(world)['c2'].fits, 'whatever the storage would be')
        world.ceph.away = False
        world.settle(65)
        self.assertIs(True, self.capacity(world)['c1'].fits)

    def test_a_host_in_maintenance_is_protected_by_nothing(self):
        world = self.world()
        world.store.set_mark('c1', maintenance=True)
        world.settle()
        self.assertEqual('none', self.capacity(world)['c1'].protection)

    def test_the_check_waits_while_a_host_is_recovered(self):
        world = self.world(limits=model.Limits(1))
        world.nova.boot('c1', 3)
        world.settle()
        self.assertEqual(3, self.capacity(world)['c1'].instances)
        before = self.capacity(world)['c1'].checked_at
        world.die('c1')
        world.run(lambda: world.store.recoveries())
        world.settle(2)
        self.assertEqual(before, self.capacity(world)['c1'].checked_at)
        world.run(world.over)
        world.settle(65)
        self.assertEqual(0, self.capacity(world)['c1'].instances)

    def test_a_host_that_nova_does_not_have_any_more_goes(self):
        world = self.world()
        world.settle()
        world.write_down()
        world.recorder._snapshots.write_capacity(world.engine.term, [dataclasses.replace(
            one, host='old') for one in [model.Capacity(
                'old', t.NOW, 0, 0, 0, 0, True, None, 'none', '', (), ())]])
        world.settle(65)
        self.assertEqual({'c1', 'c2', 's1'}, set(self.capacity(world)))


class LargeTest(unittest.TestCase):
    """What thousands of hosts, and hundreds of thousands of rows, are held to."""

    def test_rows_are_made_when_it_is_their_turn(self):
        made = []
        some = snapshot.batches(made.append(n) or n for n in range(5 * snapshot.BATCH))
        self.assertEqual(list(range(snapshot.BATCH)), next(some))
        self.assertEqual(snapshot.BATCH, len(made))

    def test_the_looks_at_all_hosts_do_not_grow_with_them(self):
        for hosts, looks in ((20, 1), (3000, recorder.SLICES), (6000, recorder.SLICES)):
            self.assertEqual((hosts, looks), self.check(hosts))

    @staticmethod
    def check(hosts):
        """How many hosts were checked, in how many looks."""
        written = []
        one = recorder.Recorder(
            types.SimpleNamespace(recoveries=lambda open_only: ()), None, None,
            unchecked.UncheckedStorage(), model.Policy(), None)
        one._snapshots = types.SimpleNamespace(
            write_capacity=lambda term, rows, gone=(): written.append(len(rows)), capacities=set)
        cluster = t.cluster([t.node(f'c{n}') for n in range(hosts)])
        while one._look_at_capacity(1, cluster, t.NOW) == 0.0:
            pass
        return sum(written), len([rows for rows in written if rows])


class FaultTest(CapacityCase):
    """What goes wrong with one thing costs no other its place."""

    def world(self, **options):
        world = super().world(**options)
        world.recorder._snapshots = self.spy = Spy(world.store)
        self.addCleanup(setattr, recorder, 'SLICE', recorder.SLICE)
        recorder.SLICE = 1
        world.nova.boot('c1', 1, 'a')
        world.nova.boot('c2', 2, 'b')
        world.settle()
        return world

    def hosts(self, world):
        with world.store.reading() as session:
            return {row.host: row.instances for row in session.query(
                store.models.Capacity).all()}

    def test_a_write_that_fails_once(self):
        world = self.world()
        self.capacity(world)
        for failing in (1, 2, 3, 4):
            with self.subTest(failing=failing):
                world.settle(65)
                calls, write = [], self.spy.write_capacity

                def refused(*args, failing=failing, calls=calls, write=write):
                    calls.append(args)
                    if len(calls) == failing:
                        raise exception.StoreUnavailable('away')
                    write(*args)
                self.spy.write_capacity = refused
                with self.assertRaises(exception.StoreUnavailable):
                    world.write_down()
                self.spy.write_capacity = write
                world.write_down()
                self.assertEqual({'c1': 1, 'c2': 2, 's1': 0}, self.hosts(world))
        world.nova.boot('c2', 1, 'late')
        world.settle(65)
        world.write_down()
        self.assertEqual({'c1': 1, 'c2': 3, 's1': 0}, self.hosts(world))

    def test_a_check_that_breaks(self):
        world = self.world()
        self.capacity(world)
        world.settle(65)

        def broken(*args):
            yield from ()
            raise KeyError('odd')
        check, recorder.capacity.check = recorder.capacity.check, broken
        self.addCleanup(setattr, recorder.capacity, 'check', check)
        self.assertRaises(KeyError, world.recorder.look)
        world.write_down()
        self.assertEqual({'c1': 1, 'c2': 2, 's1': 0}, self.hosts(world))
        recorder.capacity.check = check
        world.nova.boot('c2', 1, 'late')
        world.settle(65)
        world.write_down()
        self.assertEqual({'c1': 1, 'c2': 3, 's1': 0}, self.hosts(world))

    def test_a_host_that_cannot_be_worked_out(self):
        world = self.world()
        world.nova._set('a0', needs={'VCPU': 'two', 'MEMORY_MB': 64})
        world.collector.refresh_instances()
        found = self.capacity(world)
        self.assertEqual({'c1': (1, 0, 1, False), 'c2': (2, 2, 0, True), 's1': (0, 0, 0, True)},
                         {h: (c.instances, c.placeable, c.unplaced, c.fits)
                          for h, c in found.items()})
        self.assertIn('internal error', found['c1'].problems[0]['reason'])

    def test_a_row_that_no_database_takes(self):
        world = self.world()
        self.capacity(world)
        world.nova.hosts['c1'].zone = '\ud800'
        world.nova.hosts['c2'].zone = 'new'
        world.settle(6)
        self.assertEqual({'c1', 'c2', 's1'}, set(self.capacity(world)))
        loaded = snapshot.Snapshots(world.store).load(['c1', 'c2'])
        self.assertEqual(('nova', 'new'), (loaded.nodes['c1'].zone, loaded.nodes['c2'].zone))
        self.assertTrue(world.store.snapshot_info())

    def test_a_database_that_takes_none_is_away(self):
        world = self.world()
        self.capacity(world)
        world.nova.boot('c1', 9, 'many')
        world.collector.refresh_instances()
        some = world.collector.snapshot.instances.values()
        with mock.patch.object(world.store, 'leading',
                               side_effect=exception.StoreUnavailable('away')) as leading:
            self.assertRaises(exception.StoreUnavailable, self.spy.write_instances, 1, some)
        self.assertLess(leading.call_count, 4)


class PlannerTest(Folder):
    def world(self, **options):
        world = sim.World(os.path.join(self.folder, 'db'), **options)
        world.nova.boot('c1', 4)
        world.settle()
        world.write_down()
        return world

    def test_the_plan_is_what_happens(self):
        for storage_ in (False, True):
            with self.subTest(storage=storage_):
                self.folder = tempfile.mkdtemp(dir=self.folder)
                world = self.world(storage=storage_)
                world.nova.boot('c1', 1, 'left', vm_state='paused')
                world.settle()
                world.write_down()
                plan = world.planner.plan(['c1'])
                self.assertEqual({'c1': ''}, plan.holds)
                world.die('c1')
                world.run(world.over)
                self.assertEqual(
                    {p.instance.id: (p.target, p.reason if p.left else '')
                     for _, p in plan.placements},
                    {i: (m.target, m.reason if m.state == 'left' else '')
                     for i, m in world.moves().items()})

    def test_what_would_keep_it_waiting(self):
        world = self.world(limits=model.Limits(1))
        self.assertIn('it holds no instances', world.planner.plan(['c2']).holds['c2'])
        world.store.pause(True, 'an upgrade', 'ann')
        self.assertIn('paused by ann: an upgrade', world.planner.plan(['c1']).holds['c1'])
        world.store.pause(False)
        world.store.set_mark('c1', maintenance=True)
        self.assertIn('in maintenance', world.planner.plan(['c1']).holds['c1'])
        world.store.set_mark('c1', maintenance=False)
        self.assertIn('max_hosts', world.planner.plan(['c1', 'c2']).holds['c1'])
        world.nova.hosts['c2'].enabled = False
        world.store.set_mark('s1', spare=False, parked=False)
        world.nova.hosts['s1'].enabled = False
        world.settle()
        world.store.set_mark('s1', parked=False)
        world.nova.hosts['s1'].enabled = False
        world.settle(4)
        world.write_down()
        self.assertIn('none of 4 instances has a place', world.planner.plan(['c1']).holds['c1'])

    def test_a_host_that_is_being_recovered(self):
        world = self.world()
        world.die('c1')
        world.run(lambda: world.store.recoveries())
        recovery = world.store.recoveries()[0]
        self.assertIn(recovery.id, world.planner.plan(['c1']).holds['c1'])

    def test_what_it_cannot_say(self):
        world = self.world()
        with self.assertRaisesRegex(exception.UnknownHost, 'c9'):
            world.planner.plan(['c9'])
        empty = sim.World(os.path.join(self.folder, 'empty'))
        with self.assertRaisesRegex(exception.Unreachable, 'is vmha-engine running'):
            empty.planner.plan(['c1'])


class PropertyTest(Folder):
    """Whatever the cloud: what is planned from what was written down is what decide() says."""

    def setUp(self):
        super().setUp()
        self.clock = clock.Clock(t.NOW)
        self.store = store.Store(self.clock, connection=f'sqlite:///{self.folder}/db',
                                 sqlite_synchronous=False)
        self.store.upgrade()

    @hypothesis.settings(clouds.settings, max_examples=int(clouds.EXAMPLES or 60))
    @hypothesis.given(clouds.cases())
    def test_plans_from_what_was_written_down(self, case):
        cluster, failed, policy = case
        with self.store._writer() as session:
            session.query(models.HostMark).delete()
        for node in cluster.nodes.values():
            self.store.set_mark(node.host, spare=node.spare, pool=node.pool, parked=node.parked,
                                maintenance=node.maintenance, backend=node.backend)
        cluster = dataclasses.replace(cluster, nodes={
            h: n if not n.parked or n.enabled else dataclasses.replace(
                n, disabled_reason=marks.SPARE_REASON) for h, n in cluster.nodes.items()})
        leader = lead.Lead(self.store)
        leader.take('e')
        recorder.Recorder(self.store, leader, lambda: cluster, unchecked.UncheckedStorage(),
                          policy, self.clock).look()
        hosts = [f.host for f in failed]
        plan = planner.Planner(self.store, lambda _: unchecked.UncheckedStorage(), policy,
                               self.clock).plan(hosts)
        expected = decide.decide(cluster, [model.Failed(h) for h in hosts], policy, t.NOW)
        self.assertEqual(expected.placements, tuple(p for _, p in plan.placements))
        self.assertEqual(expected.spares, plan.spares)
