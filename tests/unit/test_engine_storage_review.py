"""The engine and the storage fence, told lies and interrupted at the worst moment."""

import dataclasses
import datetime

from tests.unit import test_engine
from tests.unit import test_engine_storage
from vmha_nova import exception

RANGE = '10.0.0.1/32'


class Base(test_engine_storage.StorageBase):
    def back(self, world, host='c1', restart=True):
        """The host lives again, its nova-compute started or not."""
        if restart:
            world.nova.restart_compute(host)
        host = world.nova.hosts[host]
        host.alive = host.linked = host.powered = True

    def in_service(self, world, host='c1'):
        host = world.nova.hosts[host]
        host.forced_down, host.enabled = False, True

    def held(self, world):
        return bool(world.store.recoveries()) and self.recovery(world).state == 'held'

    def killed(self, world, name, count=1):
        """Have the engine killed at the count-th gate of that name from now on."""
        start = len(world.gates)
        gate = world._gate

        def watch(passed):
            if passed == name and world.gates[start:].count(name) == count - 1:
                world.kill_at = len(world.gates)
            gate(passed)
        world._gate = watch
        world.start()


class HalfDoneTest(Base):
    """A fence that was begun and did not get done."""

    def begun(self, world):
        world.ceph.late = {2}           # the fence never gets into force everywhere
        world.die('c1')
        world.run(lambda: self.held(world) and world.ceph.ranges)
        self.back(world, restart=False)
        world.settle(8)

    def test_of_a_host_that_was_alive_after_all_is_taken_back(self):
        world = self.world()
        self.begun(world)
        world.settle(20)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertEqual(set(), world.ceph.ranges)
        self.assertIn('restart', self.recovery(world).reason)
        self.assertIsNotNone(self.recovery(world).released_at)
        self.assertEqual([], self.acts(world, 'force_down'))

    def test_nor_does_it_stay_when_the_engine_was_killed_meanwhile(self):
        world = self.world()
        self.killed(world, 'after add')
        self.begun(world)
        world.settle(20)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertEqual(set(), world.ceph.ranges)

    def test_a_failure_right_after_it_is_a_new_one(self):
        world = self.world()
        self.begun(world)
        world.run(lambda: self.recovery(world).state == 'dismissed')
        world.ceph.late = set()
        world.nova.hosts['c1'].alive = False
        world.nova.tick(60)
        world.die('c1', detected_at=world.clock())
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertRecovered(world)
        self.back(world)
        self.in_service(world)
        world.settle(20)
        self.assertEqual(set(), world.ceph.ranges)

    def test_a_fence_under_way_ends_before_its_host_is_said_to_be_alive(self):
        world = self.world()
        world.executor.slow = {'put_up'}
        world.die('c1')
        world.run(lambda: world.store.recoveries())
        self.back(world, restart=False)
        world.settle(12)
        self.assertEqual('confirmed', self.recovery(world).state)
        world.executor.let()
        world.settle(20)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertEqual(set(), world.ceph.ranges)
        self.assertIsNotNone(self.recovery(world).released_at)

    def test_an_aborted_one_is_taken_back_when_the_host_is(self):
        world = self.world()
        world.ceph.late = {2}
        world.die('c1')
        world.run(lambda: self.held(world) and world.ceph.ranges)
        world.store.wish(self.recovery(world).id, 'abort')
        world.run(world.over)
        self.assertEqual({RANGE}, world.ceph.ranges)
        self.back(world, restart=False)
        world.settle(20)
        self.assertEqual(set(), world.ceph.ranges)


class AddressTest(Base):
    """A range fences only what is known to be all of the host's addresses."""

    def unseen(self, world):
        """A guest on c1 whose client was never seen, on a host that still runs."""
        world.ceph.away = True
        world.nova.boot('c1', 1, 'new')
        world.nova.hosts['c1'].linked = False
        world.settle(4)
        world.ceph.away = False

    def test_an_address_that_another_host_claims_meanwhile_fences_nobody_unseen(self):
        world = self.world()
        world.ceph.ips['s1'] = '10.0.0.1'       # an address given to two by mistake
        self.unseen(world)
        real = world.ceph.users_of
        world.ceph.users_of = lambda images: {i: u and frozenset() for i, u in real(
            images).items()}
        world.cut('c1')
        world.settle(40)
        self.assertEqual(set(), world.ceph.ranges)
        self.assertEqual('unplaced', world.moves()['new0'].state)
        self.assertFenced(world)

    def test_nor_does_a_range_that_leaves_out_an_address_where_clients_were_seen(self):
        world = self.world()
        world.ceph.others['10.0.7.1:0/99'] = 'client.nova'
        world.storage._named = {'c1': ['10.0.7.1']}
        world.settle(8)
        world.storage._named = {}
        self.unseen(world)
        real = world.ceph.users_of
        world.ceph.users_of = lambda images: {i: u and frozenset() for i, u in real(
            images).items()}
        world.cut('c1')
        world.settle(40)
        self.assertEqual('unplaced', world.moves()['new0'].state)
        self.assertIn('10.0.7.1:0/99', world.ceph.entries)

    def test_a_range_that_another_host_which_is_out_needs_is_not_lifted(self):
        world = self.world(hosts=('c1', 'c2', 's1'))
        world.nova.boot('c2', 1, 'two')
        world.settle(8)
        world.cut('c1')
        world.run(world.over)
        world.nova.hosts['c2'].forced_down = True
        world.settle(8)
        other = world.store.report_failure('c2', 'test')[0]
        recovery = world.store.open_recovery(world.engine.term, other, 'it has that address now')
        step = world.store.begin_step(world.engine.term, 'fence', 'c2', recovery.id, {
            'ranges': [RANGE], 'ours': [RANGE], 'entries': [], 'driver': 'storage'})
        world.store.set_recovery(world.engine.term, recovery.id, state='aborted',
                                 ended_at=world.clock())
        world.store.end_step(world.engine.term, step, 'done')
        self.back(world)
        world.settle(30)
        self.assertEqual({RANGE}, world.ceph.ranges, 'c2 is out')
        world.nova.hosts['c2'].forced_down = False
        world.settle(30)
        self.assertEqual(set(), world.ceph.ranges)


class KeepTest(Base):
    """The fence does not lapse, and is taken back, whatever happens to it."""

    def test_it_never_lapses_while_the_host_is_out(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        clients = set(world.store.clients('c1'))
        fence = world.engine.work.guard.fence.lasting
        fence.seconds = 60.0
        soon = world.clock() + datetime.timedelta(seconds=60)
        world.ceph.ends = dict.fromkeys(world.ceph.entries | world.ceph.ranges, soon)
        fence._renewed.clear()

        def step():
            self.assertEqual([], [c for c in clients if not world.ceph.fenced(c)])
            return world.clock() > soon + datetime.timedelta(seconds=300)
        world.run(step)
        self.assertLess(len(world.store.steps(kind='fence')), 40)

    def test_an_entry_that_was_there_and_ends_soon_is_made_to_last(self):
        world = self.world()
        client = sorted(world.store.clients('c1'))[0]
        world.ceph.entries.add(client)
        world.ceph.ends[client] = world.clock() + datetime.timedelta(seconds=100)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        left = world.ceph.ends[client] - world.clock()
        self.assertLess(1000, left.total_seconds())

    def test_somebody_elses_range_is_not_made_anew(self):
        world = self.world()
        world.ceph.ranges.add(RANGE)
        world.ceph.ends[RANGE] = soon = world.clock() + datetime.timedelta(seconds=1000)
        world.cut('c1')
        world.run(world.over)
        self.assertEqual(soon, world.ceph.ends[RANGE])

    def test_a_range_put_back_is_ours_even_if_the_engine_dies_right_then(self):
        world = self.world()
        world.ceph.ranges.add(RANGE)    # somebody else's
        world.cut('c1')
        world.run(world.over)
        world.ceph.ranges.clear()       # who takes it back
        self.killed(world, 'after add')
        world.run(lambda: world.ceph.ranges)
        world.settle(20)
        self.back(world)
        world.settle(20)
        self.assertEqual(set(), world.ceph.ranges)

    def test_what_is_put_back_is_read_back_too(self):
        world = self.world(window=1)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.ceph.late = {2}
        world.ceph.ranges.clear()
        world.settle(8)
        sent = len(self.acts(world, 'evacuate'))
        world.settle(30)
        self.assertEqual(sent, len(self.acts(world, 'evacuate')))
        self.assertIn('osd.2', self.recovery(world).reason)
        world.ceph.late = set()
        world.run(world.over)
        self.assertRecovered(world)

    def test_nothing_is_sent_on_an_answer_that_is_old(self):
        world = self.world(window=1)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.executor.slow = {'_look'}         # a monitor hangs
        world.settle(40)
        sent = len(self.acts(world, 'evacuate'))
        world.settle(30)
        self.assertEqual(sent, len(self.acts(world, 'evacuate')))
        world.executor.slow = set()
        world.executor.let()
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_fence_that_another_driver_recorded_is_none(self):
        world = self.world(window=1)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        for step in world.store.steps(kind='fence'):
            world.store.end_step(world.engine.term, step.id, 'done', '', {'driver': 'none'})
        world.start()                   # with another configuration
        world.settle(20)
        sent = len(self.acts(world, 'evacuate'))
        world.settle(20)
        self.assertEqual(sent, len(self.acts(world, 'evacuate')))
        self.assertIn('no fence', self.recovery(world).reason)
        world.store.wish(self.recovery(world).id, 'abort')
        world.run(world.over)
        world.store.wish(self.recovery(world).id, 'retry')
        world.run(lambda: not world.over())
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFenced(world)


class BackTest(Base):
    """A host that was let back, at each stage of it."""

    def partial(self):
        world = self.world()
        world.nova.faults['evacuate'] = [exception.Rejected('policy forbids it', 403)]
        world.cut('c1')
        world.run(world.over)
        self.assertEqual('partial', self.recovery(world).state)
        self.back(world)
        world.run(lambda: not world.ceph.ranges)
        return world

    def test_a_retry_does_not_trust_a_fence_that_was_lifted(self):
        world = self.partial()
        sent = len(self.acts(world, 'evacuate'))
        world.nova.hosts['c1'].alive = False
        world.store.wish(self.recovery(world).id, 'retry')
        world.settle(30)
        self.assertEqual(sent, len(self.acts(world, 'evacuate')))
        self.assertTrue([e for e in world.store.events() if 'was lifted' in e.text])

    def test_a_failure_before_it_is_in_service_is_a_new_one(self):
        world = self.partial()
        left = [s.id for s in world.nova.servers_.values() if s.host == 'c1']
        world.cut('c1')
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual(left, list(world.moves()))
        self.assertRecovered(world)
        self.assertFenced(world)
        self.assertEqual({RANGE}, world.ceph.ranges)

    def test_without_ranges_too_it_is_a_new_one(self):
        world = self.world(ranged=False)
        world.nova.faults['evacuate'] = [exception.Rejected('policy forbids it', 403)] * 8
        world.cut('c1')
        world.run(world.over)
        self.back(world)
        world.nova.hosts['c1'].forced_down = False
        world.settle(12)
        world.ceph.clients = lambda: {}
        world.ceph.users_of = lambda images: dict.fromkeys(images, frozenset())
        for ident in ('run0', 'run1'):  # started again, with a client nobody sees
            world.ceph.leave(ident, 'c1')
            world.ceph.start(ident, 'c1')
            world.nova._set(ident)
        world.settle(8)
        world.cut('c1')
        world.store.wish(self.recovery(world).id, 'retry')
        world.settle(40)
        self.assertFenced(world)

    def test_the_old_guests_of_an_earlier_recovery_count(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        world.nova.boot('c1', 1, 'late')        # a list shows it only now
        world.store.report_failure('c1', 'other', 'again', forced=True)
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual(['late0'], list(world.moves()))
        self.back(world, restart=False)
        for at, record in enumerate(world.nova.records):
            if record.instance_id == 'late0':
                world.nova.records[at] = _completed(record)
        world.settle(30)
        self.assertEqual({RANGE}, world.ceph.ranges)
        world.nova.restart_compute('c1')
        world.settle(20)
        self.assertEqual(set(), world.ceph.ranges)

    def test_an_evacuation_that_was_joined_counts(self):
        world = self.world(planned_shutdown=frozenset())
        world.nova.hosts['c1'].forced_down = True
        world.cut('c1')
        world.run(lambda: world.store.recoveries())
        for ident in list(world.nova.servers_):
            world.ceph.leave(ident, 'c1')       # somebody's own evacuation, at the same time
            world.nova.evacuate(ident, 's1')
        world.nova.rebuild = 0.0
        world.run(world.over)
        world.nova.hosts['c1'].forced_down = False
        self.back(world, restart=False)
        world.settle(30)
        sent = [m for m in world.moves().values() if m.intent_at]
        if sent:
            self.assertEqual({RANGE}, world.ceph.ranges)

    def test_a_lift_that_half_failed_is_insisted_on(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        real, faults = world.ceph.remove_range, [exception.Unreachable('hangs')] * 2

        def remove(cidr):
            if faults:
                raise faults.pop()
            real(cidr)
        world.ceph.remove_range = remove
        self.back(world)
        world.settle(4)
        self.in_service(world)
        world.settle(6)
        world.settle(30)
        self.assertEqual(set(), world.ceph.ranges)
        self.assertIsNotNone(self.recovery(world).released_at)

    def test_killed_at_each_gate_of_a_lift(self):
        for gate in ('before begin_step', 'after begin_step', 'before remove_range',
                     'after remove_range', 'before end_step', 'after end_step'):
            with self.subTest(gate=gate):
                world = self.world()
                world.cut('c1')
                world.run(world.over)
                self.killed(world, gate)
                self.back(world)
                world.settle(20)
                self.assertEqual(set(), world.ceph.ranges)
                self.in_service(world)
                world.settle(20)
                self.assertIsNotNone(self.recovery(world).released_at)
                world.start()

    def test_an_engine_that_lost_its_lead_lifts_nothing(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        real = world.ceph.map

        def slow():
            if world.store.steps(kind='lift'):
                world.store.take_lead('another')        # while this one waited for the monitors
            return real()
        world.ceph.map = slow
        self.back(world)
        with self.assertRaises(exception.TermLost):
            world.settle(30)
        self.assertEqual({RANGE}, world.ceph.ranges)

    def test_an_engine_that_lost_its_lead_fences_nobody(self):
        world = self.world()
        step = world.engine.lead.step

        def slow(kind, subject, recovery_id, function, plan=None):
            def late():
                world.store.take_lead('another')
                return function()
            return step(kind, subject, recovery_id, late, plan)
        world.engine.lead.step = slow
        world.die('c1')
        with self.assertRaises(exception.TermLost):
            world.settle(30)
        self.assertEqual((set(), set()), (world.ceph.entries, world.ceph.ranges))


class BrokenTest(test_engine_storage.StorageBase):
    """One disk that cannot be read is that disk's trouble."""

    def broken(self, world, *idents):
        real = world.ceph.users_of

        def users_of(images):
            if any(i in image for image in images for i in idents):
                raise exception.Unreachable('its parent is gone')
            return real(images)
        world.ceph.users_of = users_of

    def test_the_others_are_read_all_the_same(self):
        world = self.world()
        self.broken(world, 'bad')
        world.nova.boot('c1', 1, 'bad')
        world.nova.boot('c1', 3, 'good')
        world.settle(20)
        self.assertLessEqual({'good0', 'good1', 'good2'}, set(world.store.disks()))

    def test_and_are_moved(self):
        world = self.world()
        self.broken(world, 'bad')
        world.nova.boot('c1', 1, 'bad')
        world.cut('c1')
        world.run(lambda: test_engine._count(world.moves()).get('moved') == 8
                  if world.store.recoveries() else False)
        self.assertEqual('unplaced', world.moves()['bad0'].state)
        self.assertFenced(world)

    def test_a_disk_that_is_made_a_moment_later_is_found(self):
        world = self.world()
        world.nova.boot('c1', 1, 'new', task_state='spawning')
        disk = world.ceph.images.pop('vms/new0_disk')
        world.settle(8)
        world.ceph.images['vms/new0_disk'] = disk
        stamp = world.nova.servers_['new0'].stamp       # all in one second
        world.nova._set('new0', task_state='')
        world.nova.servers_['new0'] = dataclasses.replace(
            world.nova.servers_['new0'], stamp=stamp)
        world.settle(40)
        world.cut('c1')
        world.run(world.over)
        self.assertEqual('moved', world.moves()['new0'].state)

    def test_a_disk_said_to_be_missing_is_looked_for_again(self):
        world = self.world()
        disk = world.ceph.images.pop('vms/run0_disk')
        world.nova._set('run0')
        world.settle(8)
        self.assertTrue(world.store.disks()['run0'].problem)
        world.ceph.images['vms/run0_disk'] = disk
        world.settle(320)
        self.assertFalse(world.store.disks()['run0'].problem)


def _completed(record):
    return dataclasses.replace(record, status='completed')
