"""What a fence was proven for, and that it lasts: lies, second failures, long waits."""

import dataclasses

from tests.unit import sim
from tests.unit import test_engine
from tests.unit import test_engine_storage_review

RANGE = '10.0.0.1/32'
HUGE = {'VCPU': 1000, 'MEMORY_MB': 64}


class Base(test_engine_storage_review.Base):
    def old_writers(self, world, ident, host='c1'):
        """The clients of that host which could still write to its disks."""
        ip = world.ceph.ips[host]
        return [c for c in world.ceph.writers(ident) if c.startswith(f'{ip}:')]

    def heal(self, world):
        """The cable is put back: what ran there runs on."""
        host = world.nova.hosts['c1']
        host.linked = host.alive = True

    def blind(self, world):
        """Nobody sees clients of images any more: their watchers have vanished with the host."""
        real = world.ceph.users_of
        world.ceph.users_of = lambda images: {
            i: users and frozenset() for i, users in real(images).items()}

    def brief(self, world):
        """What is put on the blocklist from now on lasts for two minutes only."""
        world.engine.work.guard.fence.lasting.seconds = 120.0

    def evidence(self, world):
        return [s for s in world.store.steps(kind='fence') if s.state == 'done'][0].evidence


class LongTest(Base):
    """A recovery that waits, for days maybe, for something else than the fence."""

    def waiting(self, prepare=lambda world: None):
        """All but one are moved; that one fits nowhere."""
        world = self.world(spares_only=True)
        prepare(world)
        world.nova.boot('c1', 1, 'big', needs=HUGE)
        world.settle(8)
        world.cut('c1')
        world.run(lambda: world.store.recoveries() and (
            test_engine._count(world.moves()).get('moved') == 8))
        return world

    def test_what_somebody_removes_is_put_back(self):
        world = self.waiting()
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(10)
        self.heal(world)
        self.assertEqual({RANGE}, world.ceph.ranges)
        self.assertEqual([], self.old_writers(world, 'run0'))

    def test_what_would_expire_is_renewed(self):
        world = self.waiting(self.brief)
        for _ in range(30):
            world.settle(10)
            self.assertEqual({RANGE}, world.ceph.ranges)
        self.heal(world)
        self.assertEqual([], self.old_writers(world, 'run0'))

    def test_a_client_that_appears_is_fenced_by_itself(self):
        world = self.waiting()
        self.heal(world)
        late = world.ceph.start('run0', 'c1')
        world.settle(30)
        self.assertIn(late, world.ceph.entries)

    def test_also_while_an_abort_waits_for_what_is_under_way(self):
        world = self.world()
        world.nova.rebuild = 200.0
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.store.wish(self.recovery(world).id, 'abort')
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(10)
        self.assertEqual({RANGE}, world.ceph.ranges)

    def test_storage_that_cannot_be_asked_meanwhile_is_said(self):
        world = self.waiting()
        world.ceph.away = True
        world.settle(20)
        self.assertTrue(any('the fence of c1 cannot be kept' in e.text
                            for e in world.store.events()))


class AgainTest(Base):
    """The host fails a second time before it was let back: what was moved stays fenced."""

    def twice(self, **report):
        world = self.world()
        self.brief(world)
        world.cut('c1')
        world.run(world.over)
        world.nova.boot('c1', 1, 'late', needs=HUGE)
        world.settle(8)
        world.store.report_failure('c1', 'other', 'again', **report)
        world.run(lambda: len(world.store.recoveries()) == 2 and (
            self.recovery(world).state == 'held'))
        return world

    def test_the_second_recovery_keeps_the_fence_of_the_first(self):
        world = self.twice(forced=True)
        for _ in range(30):
            world.settle(10)
            self.assertEqual({RANGE}, world.ceph.ranges)
        self.heal(world)
        world.settle(4)
        self.assertEqual({RANGE}, world.ceph.ranges)
        self.assertEqual([], self.old_writers(world, 'run0'))

    def test_also_when_it_is_dismissed(self):
        world = self.twice()
        self.heal(world)
        world.settle(60)
        self.assertEqual('dismissed', self.recovery(world).state)
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(10)
        self.assertEqual({RANGE}, world.ceph.ranges)
        self.assertEqual([], self.old_writers(world, 'run0'))

    def test_also_when_its_own_fence_was_begun_and_never_in_force(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        first = self.recovery(world)
        world.nova.boot('c1', 1, 'late')
        world.settle(8)
        world.ceph.late = {2}
        world.store.report_failure('c1', 'other', 'again', forced=True)
        world.run(lambda: len(world.store.recoveries()) == 2 and self.held(world) and (
            world.store.steps(self.recovery(world).id, 'fence')))
        self.heal(world)
        world.run(lambda: self.recovery(world).state == 'dismissed')
        self.assertTrue(world.store.recovery(first.id).released_at)
        world.ceph.late = set()
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(10)
        self.assertEqual({RANGE}, world.ceph.ranges)
        self.assertEqual([], self.old_writers(world, 'run0'))

    def test_its_own_fence_covers_what_was_read_until_it_is_in_force(self):
        """What keeps the first one's fence must not speak for the second one."""
        world = self.world(ranged=False, hosts=('c1', 'c2', 's1'))
        world.cut('c1')
        world.run(world.over)
        world.nova.boot('c1', 1, 'late')
        real, bad = world.ceph.users_of, [True]

        def users_of(images):
            if bad and 'vms/late0_disk' in images:
                raise test_engine_storage_review.exception.Unreachable('not that one')
            return real(images)
        world.ceph.users_of = users_of
        world.nova.boot('c1', 1, 'other')
        world.settle(8)
        world.ceph.late = {2}
        world.store.report_failure('c1', 'other', 'again', forced=True)
        world.run(lambda: len(world.store.recoveries()) == 2 and self.held(world) and (
            world.store.steps(self.recovery(world).id, 'fence')))
        bad.clear()
        world.settle(60)
        world.ceph.late = set()
        guard = world.engine.work.guard
        guard._tend('c1')
        self.assertIsNone(guard.fenced(self.recovery(world)))
        world.run(world.over, seconds=400)
        self.assertEqual({'moved': 2}, test_engine._count(world.moves()))

    def test_a_kill_between_the_two_leaves_no_range_that_nobody_owns(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        world.nova.boot('c1', 1, 'late')
        world.settle(8)
        hit = []
        for name in ('open_recovery', 'set_recovery'):
            self.kill_after(world, name, hit)
        world.store.report_failure('c1', 'other', 'again')
        world.run(lambda: hit)
        self.heal(world)
        world.settle(60)
        world.nova.restart_compute('c1')
        self.in_service(world)
        world.settle(120)
        self.assertEqual(set(), world.ceph.ranges)

    def kill_after(self, world, name, hit):
        real = getattr(world.store, name)

        def act(*args, **values):
            result = real(*args, **values)
            if not hit:
                hit.append(name)
                raise sim.Killed(name)
            return result
        setattr(world.store, name, act)


class LateTest(Base):
    """What was planned before the fence is sent only if the fence covers it."""

    def test_its_address_is_given_away_while_the_fence_is_late(self):
        world = self.world()
        world.ceph.away = True
        world.nova.boot('c1', 1, 'new')
        world.nova.hosts['c1'].linked = False
        world.settle(4)
        world.ceph.away = False
        self.blind(world)
        self.hang(world)
        world.cut('c1')
        world.run(lambda: self.held(world))
        world.ceph.ips['s1'] = '10.0.0.1'
        world.settle(20)
        self.answer(world)
        world.settle(120)
        self.assertNotEqual('moved', world.moves()['new0'].state)
        self.assertFenced(world)

    def test_without_ranges_it_was_started_anew_and_that_is_seen_late(self):
        world = self.world(ranged=False)
        self.hang(world)
        world.cut('c1')
        self.blind(world)
        world.ceph.leave('run0', 'c1')
        world.ceph.start('run0', 'c1')
        world.nova.frozen = dict(world.nova.servers_)
        world.nova._set('run0')
        world.run(lambda: self.held(world) and world.store.moves(self.recovery(world).id))
        world.nova.frozen = None
        world.settle(10)
        self.answer(world)
        world.settle(120)
        self.assertNotIn('run0', self.evidence(world)['covered'])
        self.assertEqual('unplaced', world.moves()['run0'].state)
        self.assertEqual('moved', world.moves()['run1'].state)
        self.assertFenced(world)

    def hang(self, world):
        self.add = world.ceph.add

        def add(*_):
            raise test_engine_storage_review.exception.Unreachable('hangs')
        world.ceph.add = add

    def answer(self, world):
        world.ceph.add = self.add

    def test_without_ranges_what_is_on_record_is_covered_also_after_a_refusal(self):
        world = self.world(ranged=False, hosts=('c1', 'c2', 's1'))
        world.nova.refuses.add('s1')
        world.die('c1')
        world.run(world.over, seconds=500)
        self.assertEqual(8, len(self.evidence(world)['covered']))
        self.assertEqual({'moved': 8}, test_engine._count(world.moves()))

    def test_and_after_an_abort_and_a_retry(self):
        world = self.world(ranged=False, window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.store.wish(self.recovery(world).id, 'abort')
        world.run(world.over)
        world.store.wish(self.recovery(world).id, 'retry')
        world.run(lambda: not world.over())
        world.run(world.over, seconds=500)
        self.assertEqual({'moved': 8}, test_engine._count(world.moves()))


class LieTest(Base):
    """Nova's word about an instance is old."""

    def test_a_volume_elsewhere_that_was_attached_to_a_running_guest(self):
        """Nova does not note that as a change of the server, but its list shows the volume."""
        world = self.world()
        world.nova.attachments = lambda ident: {'v9': ''}
        world.nova.servers_['run0'] = dataclasses.replace(
            world.nova.servers_['run0'], volumes=('v9',), stamp='same time, other disks')
        world.settle(60)
        world.cut('c1')
        world.run(world.over)
        self.assertEqual('left', world.moves()['run0'].state)
        self.assertIn('v9', world.moves()['run0'].reason)

    def test_a_guest_whose_migration_had_just_ended_elsewhere(self):
        world = self.world(hosts=('c1', 'c2', 's1'))
        world.nova.boot('c1', 1, 'mig')
        world.settle(8)
        world.ceph.leave('mig0', 'c1')
        world.ceph.start('mig0', 'c2')
        world.nova._set('mig0', task_state='')
        world.settle(20)
        world.cut('c1')
        world.run(lambda: world.store.recoveries() and (
            test_engine._count(world.moves()).get('moved') == 8))
        world.settle(30)
        self.assertEqual('unplaced', world.moves()['mig0'].state)
        self.assertIn('another compute node', world.moves()['mig0'].reason)
        self.assertFenced(world)

    def test_a_lock_that_outlasted_its_owner_on_another_node(self):
        """Of a guest that was evacuated from there before, and not started since."""
        for fenced in (True, False):
            with self.subTest(fenced=fenced):
                world = self.world(hosts=('c1', 'c2', 's1'))
                dead, real = '10.0.0.2:0/999', world.ceph.users_of
                world.nova.boot('c2', 1, 'two')
                if fenced:
                    world.ceph.entries.add(dead)
                world.ceph.users_of = lambda images, real=real, dead=dead: {
                    i: users | {dead} if i == 'vms/off0_disk' and users is not None else users
                    for i, users in real(images).items()}
                world.nova._set('off0')
                world.settle(20)
                self.assertEqual(not fenced, bool(world.store.disks('c1')['off0'].elsewhere))
                world.cut('c1')
                world.run(world.over, seconds=400)
                self.assertEqual('moved', world.moves()['off0'].state)

    def test_nor_is_it_one_while_nobody_of_that_node_is_connected(self):
        """The node may be cut off only, and the guest run there."""
        world = self.world(hosts=('c1', 'c2', 's1'))
        world.nova.boot('c2', 1, 'two')
        live, real = '10.0.0.2:0/999', world.ceph.users_of
        world.ceph.users_of = lambda images: {
            i: users | {live} if i == 'vms/off0_disk' and users is not None else users
            for i, users in real(images).items()}
        world.nova.hosts['c2'].linked = False
        world.nova._set('off0')
        world.settle(20)
        world.cut('c1')
        world.settle(200)
        self.assertEqual('unplaced', world.moves()['off0'].state)
        self.assertIn('another compute node', world.moves()['off0'].reason)

    def test_a_stopped_guest_that_was_just_being_started(self):
        world = self.world(ranged=False)
        world.ceph.away = True
        world.nova._set('off0', task_state='powering-on')
        world.ceph.start('off0', 'c1')
        world.nova.hosts['c1'].linked = False
        world.settle(4)
        world.ceph.away = False
        self.blind(world)
        world.cut('c1')
        world.settle(120)
        self.assertNotEqual('moved', world.moves()['off0'].state)
        self.assertFenced(world)

    def test_a_disk_that_somebody_removed_is_not_made_anew(self):
        world = self.world(hosts=('c1', 'c2', 's1'), window=1)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        sent = {ident for ident, *_ in self.acts(world, 'evacuate')}
        other = next(f'run{n}' for n in range(6) if f'run{n}' not in sent)
        world.ceph.images.pop(f'vms/{other}_disk')
        world.nova._set(other)
        world.run(world.over)
        self.assertEqual('left', world.moves()[other].state)

    def test_a_cell_that_is_down_when_the_engine_starts_forgets_nothing(self):
        world = self.world()
        world.settle(4)
        world.clock.tick(90000)
        world.settle(4)
        world.nova.down = {'c1'}
        world.start()
        world.settle(10)
        self.assertEqual(8, len(world.store.disks('c1')))

    def test_a_host_that_was_seen_to_keep_disks_locally_is_no_target_once_it_is_empty(self):
        world = self.world(hosts=('c1', 'c2'), spares=())
        world.nova.boot('c2', 1, 'local')
        world.ceph.images.pop('vms/local0_disk')
        world.settle(10)
        del world.nova.servers_['local0']
        world.collector._instances.is_gone('local0')
        world.settle(10)
        for _ in range(2):
            cluster = world.storage.with_backends(world.collector.snapshot)
            self.assertEqual('local', cluster.nodes['c2'].backend)
            world.start()               # a new engine knows it, too
            world.settle(10)


class OwnTest(Base):
    def test_an_engine_does_not_shut_itself_out(self):
        world = self.world()
        world.ceph.own = frozenset(['10.0.0.1'])
        world.nova.hosts['c1'].alive = False
        world.store.report_failure('c1', 'test', 'nova-compute is down', forced=True)
        world.run(lambda: self.held(world))
        self.assertIn('this engine itself', self.recovery(world).reason)
        self.assertEqual((set(), set()), (world.ceph.ranges, world.ceph.entries))


class ReleaseTest(Base):
    """A host that is gone for good, whose address serves another one."""

    def test_an_operator_lets_it_go(self):
        world = self.world(hosts=('c1', 'c2', 's1'))
        world.die('c1')
        world.run(world.over)
        world.settle(10)
        self.assertTrue(any('recovery release' in e.text for e in world.store.events()))
        self.assertEqual({RANGE}, world.ceph.ranges)
        world.store.wish(self.recovery(world).id, 'release')
        world.settle(15)
        self.assertEqual(set(), world.ceph.ranges)
        self.assertTrue(world.ceph.entries)
        recovery = self.recovery(world)
        self.assertTrue(recovery.released_at)
        self.assertEqual('', recovery.wish)
        lift, = world.store.steps(recovery.id, 'lift')
        self.assertIn("operator's word", lift.detail)

    def test_an_abort_under_way_is_not_forgotten_for_it(self):
        world = self.world(window=1)
        world.nova.rebuild = 30.0
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        ident = self.recovery(world).id
        world.store.wish(ident, 'abort')
        world.settle(4)
        for wish in ('release', 'approve'):
            self.assertRaises(test_engine_storage_review.exception.InvalidTransition,
                              world.store.wish, ident, wish)
        world.run(world.over)
        self.assertEqual('aborted', self.recovery(world).state)
        self.assertEqual(1, len(self.acts(world, 'evacuate')))

    def test_not_while_its_recovery_is_under_way(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.store.wish(self.recovery(world).id, 'release')
        world.settle(10)
        self.assertTrue(any('abort it first' in e.text for e in world.store.events()))
        self.assertEqual({RANGE}, world.ceph.ranges)
        world.run(world.over)
        self.assertRecovered(world)
