"""The engine with a fence by power, alone and before the storage fence."""

from tests.unit import sim_power
from tests.unit import test_engine

HOSTS = ('c1', 'c2', 's1')


class PowerBase(test_engine.Base):
    """All hosts have a BMC; nobody is evacuated from a host that is on, unless it is fenced."""

    options = {'power': HOSTS}

    def world(self, **options):
        world = super().world(**{**self.options, **options})
        self.sent_while_on = []
        real = world.nova.evacuate

        def evacuate(ident, target):
            if world.nova.hosts[world.nova.server(ident).host].powered:
                self.sent_while_on.append(ident)
            real(ident, target)
        world.nova.evacuate = evacuate
        return world

    def recovery(self, world):
        return world.store.recoveries()[-1]

    def fences(self, world, state='done'):
        return [s.evidence['driver'] for s in world.store.steps(self.recovery(world).id, 'fence')
                if s.state == state]

    def held(self, world, words):
        world.run(lambda: world.store.recoveries() and self.recovery(world).state == 'held'
                  and words in self.recovery(world).reason)


class PowerTest(PowerBase):
    def test_a_host_that_is_cut_off_is_switched_off_before_anything_moves(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual([], self.sent_while_on)
        self.assertEqual([('off', 'c1')], [c for c in world.power.calls if c[0] == 'off'])
        step = world.store.steps(self.recovery(world).id, 'fence')[0]
        self.assertEqual(('fence_sim', 'Status: OFF'),
                         (step.evidence['agent'], step.evidence['status_answer']))

    def test_without_it_they_would_have_been_sent(self):
        """The witness sees what it is there to see."""
        world = self.world(power=None)
        world.cut('c1')
        world.run(world.over)
        self.assertLess(0, len(self.sent_while_on))

    def test_nothing_moves_while_it_is_not_off_and_the_same_is_said_once(self):
        world = self.world()
        for mood, words in ((sim_power.DEAD, 'fence_sim: off: no answer'),
                            (sim_power.STUCK, 'its status is still "Status: ON"')):
            world.power.moods['c1'] = mood
            if not world.store.recoveries():
                world.cut('c1')
            self.held(world, f'c1 is not fenced: {words}' if mood == sim_power.DEAD else words)
        world.settle(120)
        self.assertEqual([], self.acts(world, 'evacuate') + self.acts(world, 'force_down'))
        self.assertLess(len(world.store.steps(kind='fence')), 20, 'with growing pauses')
        del world.power.moods['c1']
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual([], self.sent_while_on)

    def test_a_host_without_parameters_waits(self):
        world = self.world(power=('c2',))
        world.cut('c1')
        self.held(world, 'c1 is not fenced: c1 has no section')
        self.assertEqual([], self.acts(world, 'evacuate'))

    def test_one_that_is_on_again_is_switched_off_again_before_more_is_sent(self):
        world = self.world(window=1)
        world.cut('c1')
        world.run(lambda: len(self.acts(world, 'evacuate')) == 2)
        world.nova.hosts['c1'].powered = True
        before = len(self.acts(world, 'evacuate'))
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual(['power', 'power'], self.fences(world))
        # What was under way when it was switched on, and what Nova took before the next look.
        late = self.sent_while_on
        self.assertLessEqual(len(late), 4, (before, late))

    def test_once_its_recovery_is_over_it_may_be_switched_on(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        world.settle(30)
        self.assertTrue([e for e in world.store.events()
                         if 'c1 stays out: it was switched off' in e.text])
        host = world.nova.hosts['c1']
        host.powered = host.linked = host.alive = True
        world.nova.restart_compute('c1')
        host.forced_down, host.enabled = False, True
        world.run(lambda: self.recovery(world).released_at is not None)
        self.assertTrue(host.powered)
        self.assertEqual([('off', 'c1')], [c for c in world.power.calls if c[0] == 'off'])

    def test_one_that_is_gone_for_good_is_let_go_at_an_operators_word(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        world.store.wish(self.recovery(world).id, 'release')
        world.run(lambda: self.recovery(world).released_at is not None)
        # From now on what was done to it proves nothing.
        self.assertEqual(['done'], [s.state for s in world.store.steps(kind='lift')])

    def test_a_host_that_proves_alive_says_what_may_have_happened_to_it(self):
        world = self.world()
        world.power.moods['c1'] = sim_power.DEAD
        world.cut('c1')
        self.held(world, 'is not fenced')
        world.nova.hosts['c1'].alive = world.nova.hosts['c1'].linked = True
        world.run(world.over)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertIn('it may have been switched off', self.recovery(world).reason)

    def test_where_disks_are_is_the_operators_word(self):
        for backend, words in (('', 'where c1 keeps disks is not known'),
                               ('local', 'its disk is on c1 itself')):
            with self.subTest(backend=backend):
                world = self.world(everywhere=backend)
                world.cut('c1')
                world.settle(30)
                self.assertEqual([], self.acts(world, 'evacuate'))
                self.assertIn(words, ' '.join(m.reason for m in world.moves().values()))

    def test_a_target_with_disks_elsewhere_is_none(self):
        world = self.world()
        world.store.set_mark('s1', backend='rbd:other')
        world.cut('c1')
        world.run(world.over)
        self.assertEqual({'c2'}, {s.host for s in world.nova.servers_.values()})

    def test_killed_at_every_gate(self):
        world = self.world(quiet=5.0)
        start = len(world.gates)
        world.cut('c1')
        world.run(world.over)
        gates = world.gates[start:]
        self.assertIn('before off', gates)
        at = gates.index('before off')
        for number, name in enumerate(gates):
            if abs(number - at) < 8 or number % 12 == 0:
                with self.subTest(gate=number, name=name):
                    world = self.world(quiet=5.0)
                    world.kill_at = len(world.gates) + number
                    world.cut('c1')
                    world.run(world.over)
                    self.assertRecovered(world)
                    self.assertEqual([], self.sent_while_on)

    def test_what_hosts_are_worth(self):
        world = self.world(power=('c1',))
        world.write_down()
        found = world.storage.protections(world.collector.snapshot)
        self.assertEqual(('power', 'none'), (found['c1'][0], found['c2'][0]))
        self.assertEqual({'c1'}, world.store.switched_off())


class PowerAndStorageTest(PowerBase):
    options = {'power': HOSTS, 'storage': True}

    def test_power_is_enough_and_nothing_is_put_on_the_blocklist(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual((['power'], [], set()), (
            self.fences(world), world.ceph.doubles, world.ceph.ranges))

    def test_a_bmc_that_died_with_its_host_leaves_it_to_the_storage(self):
        world = self.world()
        world.power.moods['c1'] = sim_power.DEAD
        world.cut('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual(([], ['power'], ['storage']), (
            world.ceph.doubles, self.fences(world, 'failed'), self.fences(world)))
        world.settle(20)
        world.ceph.ranges.clear()       # kept as ever
        world.settle(20)
        self.assertEqual({'10.0.0.1/32'}, world.ceph.ranges)

    def test_a_host_without_parameters_is_left_to_the_storage_at_once(self):
        world = self.world(power=('c2',))
        world.cut('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual((['storage'], [], []), (
            self.fences(world), self.fences(world, 'failed'), world.ceph.doubles))

    def test_both_fail_and_both_are_named(self):
        world = self.world()
        world.power.moods['c1'] = sim_power.DEAD
        world.ceph.late = {2}
        world.cut('c1')
        self.held(world, 'by power: fence_sim: off: no answer; by storage: ')
        self.assertEqual([], self.acts(world, 'evacuate'))
        del world.power.moods['c1']
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual(['power'], self.fences(world))
        # What the storage fence had begun is taken back when the host has cleaned up.
        self.assertTrue(world.ceph.ranges)
        host = world.nova.hosts['c1']
        host.powered = host.linked = host.alive = True
        host.forced_down, host.enabled = False, True
        world.nova.restart_compute('c1')
        world.run(lambda: not world.ceph.ranges)
        world.run(lambda: self.recovery(world).released_at is not None)

    def test_a_fault_of_ours_in_one_leaves_it_to_the_next(self):
        world = self.world()
        world.power.off = lambda peer: 1 / 0
        world.cut('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual((['storage'], []), (self.fences(world), world.ceph.doubles))

    def test_a_client_that_was_never_seen_is_off_too(self):
        """Under the storage fence, without a range, such an instance waits."""
        for power, moved in ((HOSTS, True), (('c2',), False)):
            with self.subTest(power=power):
                world = self.world(power=power, ranged=False)
                for image, clients in world.ceph.images.items():
                    if 'run0' in image:
                        clients.clear()
                world.nova.boot('c1', 1, 'late')
                world.ceph.images['vms/late0_disk'].clear()
                world.settle(2)
                world.cut('c1')
                world.settle(60)
                self.assertIs(moved, ('late0', 's1') in self.acts(world, 'evacuate'))

    def test_a_host_of_which_no_client_was_ever_seen_can_be_switched_off(self):
        world = self.world()
        world.nova.boot('c2', 1, 'late')
        world.ceph.images['vms/late0_disk'].clear()
        world.settle(10)
        world.cut('c2')
        world.run(world.over)
        self.assertRecovered(world, 'c2')
        self.assertEqual(['power'], self.fences(world))

    def test_a_disk_on_the_host_itself_is_lost_with_it_however_it_is_fenced(self):
        world = self.world()
        del world.ceph.images['vms/run0_disk']
        world.nova._set('run0')         # so that it is read again
        world.settle(10)
        world.cut('c1')
        world.run(world.over)
        self.assertEqual('left', world.moves()['run0'].state)
        self.assertNotIn('run0', [ident for ident, _ in self.acts(world, 'evacuate')])

    def test_a_disk_that_another_host_uses_too_is_not_safe_because_this_one_is_off(self):
        world = self.world()
        world.ceph.start('run0', 'c2')
        world.nova._set('run0')
        world.settle(10)
        world.cut('c1')
        world.settle(60)
        self.assertIn('is also used from', world.moves()['run0'].reason)
        self.assertNotIn('run0', [ident for ident, _ in self.acts(world, 'evacuate')])

    def test_what_hosts_are_worth_also_for_who_only_reads(self):
        world = self.world(power=('c1',))
        world.write_down()
        found = world.storage.protections(world.collector.snapshot)
        self.assertEqual(('power+storage', 'none'), (found['c1'][0], found['c2'][0]))
        self.assertEqual({'c1'}, world.store.switched_off())

    def test_killed_at_every_gate_on_the_way_to_the_second_fence(self):
        world = self.world(quiet=5.0)
        world.power.moods['c1'] = sim_power.DEAD
        start = len(world.gates)
        world.cut('c1')
        world.run(world.over)
        gates = world.gates[start:]
        first, last = gates.index('before off'), gates.index('after add')
        for number in range(first - 2, last + 5):
            with self.subTest(gate=number, name=gates[number]):
                world = self.world(quiet=5.0)
                world.power.moods['c1'] = sim_power.DEAD
                world.kill_at = len(world.gates) + number
                world.cut('c1')
                world.run(world.over)
                self.assertRecovered(world)
                self.assertEqual([], world.ceph.doubles)


class ReturnTest(PowerBase):
    """A host that was switched off is switched on again by somebody."""

    options = {'power': HOSTS, 'return_after': 2.0}

    def gone(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        world.settle(8)
        return world

    def back(self, world):
        world.nova.restart_compute('c1')
        host = world.nova.hosts['c1']
        host.alive = host.powered = host.linked = True
        world.run(lambda: self.recovery(world).released_at is not None)

    def test_it_is_put_back_into_service_and_killed_at_every_gate_of_that(self):
        world = self.gone()
        start = len(world.gates)
        self.back(world)
        self.assertEqual(
            [('lift', 'done'), ('force_up', 'done'), ('enable', 'done')],
            [(s.kind, s.state) for s in world.store.steps(self.recovery(world).id)
             if s.kind in ('lift', 'force_up', 'enable')])
        gates = world.gates[start:]
        self.assertIn('after force_down', gates)
        for number, name in enumerate(gates):
            with self.subTest(gate=number, name=name):
                world = self.gone()
                world.kill_at = len(world.gates) + number
                self.back(world)
                world.settle(3)
                host = world.nova.hosts['c1']
                self.assertEqual((True, False, True),
                                 (host.enabled, host.forced_down, host.powered))
                self.assertRecovered(world)

    def test_switched_on_with_its_old_guests_it_stays_out(self):
        """Its nova-compute beats, and Nova has not said that the old guests are gone."""
        world = self.gone()
        host = world.nova.hosts['c1']
        host.alive = host.powered = host.linked = True
        world.settle(60)
        self.assertIsNone(self.recovery(world).released_at)
        self.assertTrue(host.forced_down)
        self.assertEqual([], world.store.steps(self.recovery(world).id, ('lift', 'force_up')))
        self.assertTrue([e for e in world.store.events() if 'are not cleaned up on c1' in e.text])
