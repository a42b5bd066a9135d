"""The engine with disks on a simulated Ceph: who is fenced, who is moved, who waits and why."""

from tests.unit import test_engine
from vmha_nova import exception


class StorageBase(test_engine.Base):
    """As the base, with all disks on the storage and a storage fence."""

    def world(self, **options):
        return super().world(**{'storage': True, **options})

    def assertFenced(self, world):
        self.assertEqual([], world.ceph.doubles, 'guests with two writers')

    def recovery(self, world):
        return world.store.recoveries()[-1]


class FenceTest(StorageBase):
    def test_the_fence_is_in_force_before_anything_moves(self):
        world = self.world()
        mine = [c for image in world.ceph.images.values() for c in image]
        world.cut('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFenced(world)
        evidence = world.store.steps(self.recovery(world).id, 'fence')[0].evidence
        self.assertEqual(sorted(mine), evidence['entries'])
        self.assertEqual(['10.0.0.1/32'], evidence['ranges'])
        self.assertEqual(world.ceph.epoch, evidence['epoch'])

    def test_without_that_fence_two_guests_write(self):
        """The simulation sees what it is there to see."""
        world = self.world()
        fence = world.engine.work.guard.fence.lasting
        fence.fence, fence.keep = lambda host, plan: plan, lambda host, evidence: None
        world.cut('c1')
        world.run(world.over)
        self.assertEqual({f'run{n}' for n in range(6)}, set(world.ceph.doubles))

    def test_an_osd_with_an_old_map_would_still_take_a_write(self):
        world = self.world()
        world.ceph.late = {2}
        world.cut('c1')
        world.run(lambda: world.store.recoveries() and self.recovery(world).state == 'held')
        self.assertIn('osd.2', self.recovery(world).reason)
        self.assertEqual([], self.acts(world, 'force_down'))
        world.ceph.late = set()
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFenced(world)

    def test_a_host_whose_osds_are_up_lives_whatever_its_nova_compute_does(self):
        world = self.world()
        world.nova.hosts['c1'].alive = False
        world.store.report_failure('c1', 'test', 'no answer')
        world.settle(60)
        report, = world.store.failures()
        self.assertEqual('checking', report.state)
        self.assertIn('0 of 1 OSDs of c1 are down', report.detail)
        self.assertEqual([], world.store.recoveries())
        world.ceph.osd_down.add('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFenced(world)
        witness = world.store.failures()[0].evidence['osds']
        self.assertEqual(('down', '1 of 1 OSDs of c1 are down'),
                         (witness['what'], witness['text']))
        self.assertIn('1 of 1 OSDs of c1 are down', self.recovery(world).reason
                      + world.store.failures()[0].detail)

    def test_an_operator_who_insists_is_believed_more_than_its_osds(self):
        world = self.world()
        world.nova.hosts['c1'].alive = False
        world.store.report_failure('c1', 'operator', 'it hangs', forced=True)
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFenced(world)

    def test_while_the_storage_cannot_be_asked_nobody_is_taken_for_dead(self):
        """Or a host of which only nova-compute died would be fenced as soon as it can be."""
        world = self.world()
        world.ceph.away = True
        world.nova.hosts['c1'].alive = False
        world.store.report_failure('c1', 'test', 'no answer')
        world.settle(90)
        self.assertIn('whether the host lives is not known', world.store.failures()[0].detail)
        world.ceph.away = False
        world.settle(30)
        self.assertIn('the host lives', world.store.failures()[0].detail)
        self.assertEqual(([], set()), (world.store.recoveries(), world.ceph.ranges))

    def test_the_fence_is_kept_also_while_the_last_calls_are_under_way(self):
        world = self.world(window=20, window_per_target=20)
        world.cut('c1')
        world.run(lambda: world.store.recoveries() and world.moves() and all(
            m.state in ('accepted', 'moved') for m in world.moves().values()))
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(8)
        self.assertEqual({'10.0.0.1/32'}, world.ceph.ranges)

    def test_monitors_that_do_not_answer_hold_it(self):
        world = self.world()
        world.ceph.away = True
        world.die('c1', forced=True)
        world.settle(60)
        self.assertEqual('held', self.recovery(world).state)
        self.assertIn('the monitors do not answer', self.recovery(world).reason)
        self.assertEqual([], self.acts(world, 'evacuate'))
        world.ceph.away = False
        world.run(world.over)
        self.assertRecovered(world)

    def test_monitors_that_go_away_half_way_stop_what_is_not_sent(self):
        world = self.world(window=1)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.ceph.away = True
        world.settle(20)
        sent = len(self.acts(world, 'evacuate'))
        world.settle(60)
        self.assertEqual(sent, len(self.acts(world, 'evacuate')))
        self.assertIn('cannot be asked', self.recovery(world).reason)
        world.ceph.away = False
        world.run(world.over)
        self.assertRecovered(world)

    def test_an_entry_that_somebody_removes_is_put_back(self):
        world = self.world(window=1)
        world.cut('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(8)
        self.assertEqual({'10.0.0.1/32'}, world.ceph.ranges)
        self.assertLess(4, len(world.ceph.entries))
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_volume_of_two_hosts_only_the_dead_ones_client_is_fenced(self):
        world = self.world()
        world.nova.boot('c1', 1, 'own', kept=(), volumes=('v1',))
        world.nova.boot('c2', 1, 'two', kept=(), volumes=('v1',))
        first = world.ceph.start('own0', 'c1', 'volumes', 'volume-v1')
        second = world.ceph.start('two0', 'c2', 'volumes', 'volume-v1')
        world.settle(8)
        world.die('c1')
        world.run(world.over)
        self.assertEqual('moved', world.moves()['own0'].state)
        self.assertIn(first, world.ceph.entries)
        self.assertFalse(world.ceph.fenced(second))

    def test_killed_at_every_gate_of_a_fenced_recovery(self):
        world = self.world(quiet=5.0)
        start = len(world.gates)
        world.cut('c1')
        world.run(world.over)
        gates = world.gates[start:]
        self.assertLess(60, len(gates))
        for number, name in enumerate(gates):
            if 'fence' in name or number < 40 or number % 5 == 0:
                with self.subTest(gate=number, name=name):
                    world = self.world(quiet=5.0)
                    world.kill_at = len(world.gates) + number
                    world.cut('c1')
                    world.run(world.over)
                    self.assertRecovered(world)
                    self.assertFenced(world)
                    world.nova.restart_compute('c1')
                    world.nova.hosts['c1'].linked = world.nova.hosts['c1'].alive = True
                    world.settle(20)
                    self.assertFalse(world.ceph.ranges)


class WhatIsKnownTest(StorageBase):
    def test_a_local_disk_is_left_with_its_reason(self):
        world = self.world()
        world.nova.boot('c1', 1, 'loc')
        world.ceph.images.pop('vms/loc0_disk')
        world.settle(8)
        world.die('c1')
        world.run(world.over)
        self.assertEqual('left', world.moves()['loc0'].state)
        self.assertIn('vms/loc0_disk', world.moves()['loc0'].reason)
        self.assertEqual('c1', world.nova.servers_['loc0'].host)

    def test_a_guest_started_after_the_last_look_is_covered_by_the_range(self):
        world = self.world()
        world.ceph.away = True
        world.nova.boot('c1', 1, 'new')
        world.settle(4)
        world.ceph.away = False
        world.cut('c1')
        world.run(world.over)
        self.assertEqual('moved', world.moves()['new0'].state)
        self.assertFenced(world)

    def test_without_a_range_it_is_not_held_to_be_fenced(self):
        world = self.world(ranged=False)
        world.ceph.away = True
        world.nova.boot('c1', 1, 'new')
        world.settle(4)
        world.nova.hosts['c1'].powered = False     # its clients can be seen no more
        world.ceph.away = False
        world.cut('c1')
        world.run(lambda: world.store.recoveries() and self.recovery(world).state == 'held'
                  and 'place to go' in self.recovery(world).reason)
        self.assertEqual('unplaced', world.moves()['new0'].state)
        self.assertIn('client', world.moves()['new0'].reason)
        self.assertEqual({'moved': 8, 'unplaced': 1}, test_engine._count(world.moves()))
        self.assertFenced(world)

    def test_without_a_range_a_restarted_guest_is_not_covered_by_its_old_client(self):
        world = self.world(ranged=False)
        world.ceph.away = True
        world.ceph.leave('run0', 'c1')
        world.ceph.start('run0', 'c1')
        world.nova._set('run0')                     # Nova noted the hard reboot
        world.settle(4)
        world.ceph.away = False
        world.nova.hosts['c1'].linked = False
        world.ceph.users_of = lambda images: {i: frozenset() for i in images}
        world.cut('c1')
        world.settle(40)
        self.assertEqual('unplaced', world.moves()['run0'].state)
        self.assertFenced(world)

    def test_a_target_of_unknown_backend_is_no_target(self):
        world = self.world(everywhere='', hosts=('c1', 'c2', 's1'))
        world.nova.boot('c2', 1, 'there')           # shows where c2 keeps disks
        world.settle(8)
        world.die('c1')
        world.run(world.over)
        self.assertEqual({'c2'}, {s.host for s in world.nova.servers_.values()})

    def test_the_operators_word_about_a_spare(self):
        world = self.world(everywhere='')
        world.store.set_mark('s1', backend='rbd:vms')
        world.die('c1')
        world.run(world.over)
        self.assertEqual({'s1'}, {s.host for s in world.nova.servers_.values()})

    def test_a_host_whose_addresses_are_not_known_is_not_fenced(self):
        world = self.world()
        world.storage.addresses, world.storage.clients = lambda host: [], lambda host: []
        world.die('c1')
        world.settle(20)
        self.assertEqual('held', self.recovery(world).state)
        self.assertIn('host_addresses', self.recovery(world).reason)
        self.assertEqual([], self.acts(world, 'force_down'))


class ReadyTest(StorageBase):
    def test_a_pool_that_is_not_active_holds_it_and_is_named(self):
        world = self.world()
        world.ceph.not_active = {'vms': '3 of 16 placement groups are not active'}
        world.die('c1')
        world.run(lambda: world.store.recoveries() and self.recovery(world).state == 'held')
        self.assertIn('pool vms: 3 of 16', self.recovery(world).reason)
        world.settle(30)
        self.assertEqual([], self.acts(world, 'evacuate'))
        world.ceph.not_active = {}
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_pool_that_holds_no_disk_of_theirs_is_no_matter(self):
        world = self.world()
        world.ceph.not_active = {'volumes': 'whatever'}
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)


class ReturnTest(StorageBase):
    def test_the_range_stays_until_nova_compute_has_cleaned_up(self):
        world = self.world(return_automatic=False)
        world.cut('c1')
        world.run(world.over)
        host = world.nova.hosts['c1']
        host.linked = host.alive = True             # the cable is back, its guests run
        world.settle(60)
        self.assertEqual({'10.0.0.1/32'}, world.ceph.ranges)
        self.assertIn('restart nova-compute', world.store.events()[-1].text)
        entries = set(world.ceph.entries)
        world.nova.restart_compute('c1')
        world.settle(20)
        self.assertEqual(set(), world.ceph.ranges)
        self.assertEqual(entries, world.ceph.entries, 'single entries stay')
        self.assertIsNone(self.recovery(world).released_at)
        host.forced_down, host.enabled = False, True
        world.settle(20)
        self.assertIsNotNone(self.recovery(world).released_at)

    def test_somebody_elses_range_is_not_lifted(self):
        world = self.world()
        world.ceph.ranges.add('10.0.0.1/32')
        world.cut('c1')
        world.run(world.over)
        world.nova.restart_compute('c1')
        host = world.nova.hosts['c1']
        host.linked = host.alive = host.enabled = True
        host.forced_down = False
        world.settle(30)
        self.assertEqual({'10.0.0.1/32'}, world.ceph.ranges)

    def test_clients_that_appear_while_the_host_is_out_are_fenced(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        late = world.ceph.start('run0', 'c1')
        world.nova.hosts['c1'].linked = True
        world.settle(20)
        self.assertIn(late, world.ceph.entries)

    def test_a_host_alive_before_the_fence_is_not_touched(self):
        world = self.world()
        world.die('c1')
        world.run(world.store.recoveries)
        world.ceph.away = True
        world.run(lambda: self.recovery(world).state == 'held')
        host = world.nova.hosts['c1']
        host.alive = host.powered = True
        world.settle(30)
        world.ceph.away = False
        world.settle(30)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertEqual((set(), set()), (world.ceph.entries, world.ceph.ranges))

    def test_faults_of_the_blocklist_are_named_and_insisted_on(self):
        world = self.world()
        real, faults = world.ceph.add, [exception.FenceFailed('EACCES')] * 3

        def add(*args):
            if faults:
                raise faults.pop()
            return real(*args)
        world.ceph.add = add
        world.die('c1')
        world.run(lambda: world.store.recoveries() and self.recovery(world).state == 'held')
        self.assertIn('EACCES', self.recovery(world).reason)
        world.run(world.over)
        self.assertRecovered(world)
