"""The fence by power by itself: what counts as off, how long it is tried, what it is worth."""

import unittest
from unittest import mock

from tests.unit import clock as clocks
from tests.unit import sim_nova
from tests.unit import sim_power
from vmha_nova import exception
from vmha_nova.fencing import fences
from vmha_nova.fencing import none
from vmha_nova.fencing import power


class Base(unittest.TestCase):
    def setUp(self):
        self.clock = clocks.Clock(sim_nova.START)
        self.nova = sim_nova.SimNova(self.clock, ('c1', 'c2'))
        self.bmcs = sim_power.SimPower(self.nova, ['c1'])
        self.leads = True
        self.fence = power.PowerFence(
            self.bmcs, self.bmcs, self.bmcs, {'control'}, 20.0, self.check_lead, self.clock,
            lambda: self.clock().timestamp(), self.clock.tick)

    def check_lead(self):
        if not self.leads:
            raise exception.TermLost('another engine leads')

    def put_up(self):
        return self.fence.fence('c1', self.fence.plan('c1'))

    def actions(self):
        return [action for action, _ in self.bmcs.calls]


class FenceTest(Base):
    def test_off_is_what_the_status_says(self):
        evidence = self.put_up()
        self.assertFalse(self.nova.hosts['c1'].powered)
        self.assertEqual(['off', 'status'], self.actions())
        self.assertEqual(
            ('power', 'fence_sim', 'Status: OFF', 1, True, self.clock().isoformat()),
            tuple(evidence[k] for k in ('driver', 'agent', 'status_answer', 'orders', 'whole',
                                        'off_at')))

    def test_one_that_is_off_already(self):
        self.nova.hosts['c1'].powered = False
        self.assertEqual('Status: OFF', self.put_up()['status_answer'])

    def test_an_order_that_was_answered_well_and_did_nothing_is_no_fence(self):
        self.bmcs.moods['c1'] = sim_power.STUCK
        begun = self.clock()
        with self.assertRaisesRegex(exception.FenceFailed, 'still "Status: ON"'):
            self.put_up()
        self.assertGreater(self.actions().count('off'), 1, 'told again')
        self.assertEqual(20, (self.clock() - begun).total_seconds(), 'looked once more at the end')

    def test_one_that_needs_a_second_order(self):
        self.bmcs.moods['c1'] = sim_power.SLOW
        self.assertEqual(2, self.put_up()['orders'])

    def test_one_that_does_not_answer(self):
        self.bmcs.moods['c1'] = sim_power.DEAD
        with self.assertRaisesRegex(exception.FenceFailed, 'fence_sim: off: no answer'):
            self.put_up()

    def test_an_order_that_failed_and_a_machine_that_is_off(self):
        """The agent was given up, and the BMC did it all the same."""
        self.nova.hosts['c1'].powered = False
        self.bmcs.off = self.refuse
        self.assertEqual('too slow', self.put_up()['order_answer'])

    def test_what_is_only_on_record_counts_after_an_order_that_was_taken(self):
        """Ironic shows what it last wrote; somebody may have switched it on since."""
        self.nova.hosts['c1'].powered = False
        self.bmcs.off, self.bmcs.live = self.refuse, False
        self.assertRaises(exception.FenceFailed, self.put_up)

    def refuse(self, peer):
        raise exception.FenceFailed('too slow')

    def test_an_engine_that_leads_no_more_switches_nothing_off(self):
        plan = self.fence.plan('c1')
        self.leads = False
        self.assertRaises(exception.TermLost, self.fence.fence, 'c1', plan)
        self.assertEqual([], self.bmcs.calls)

    def test_what_it_cannot_do_is_said_before_anything_is_done(self):
        with self.assertRaisesRegex(exception.FenceFailed, 'c2 has no section'):
            self.fence.plan('c2')
        with self.assertRaisesRegex(exception.FenceFailed, 'this engine runs on control'):
            self.fence.plan('control')
        self.assertEqual([], self.bmcs.calls)


class KeepTest(Base):
    def setUp(self):
        super().setUp()
        self.evidence = {**self.put_up(), 'covered': ['i1']}
        self.bmcs.calls.clear()

    def test_it_is_not_asked_all_the_time(self):
        self.assertIsNone(self.fence.keep('c1', self.evidence))
        self.assertEqual([], self.bmcs.calls)
        self.clock.tick(power.TRUSTED)
        self.assertIsNone(self.fence.keep('c1', self.evidence))
        self.assertEqual(['status'], self.actions())

    def test_one_that_is_on_again_is_planned_anew_and_not_yet_touched(self):
        self.clock.tick(power.TRUSTED)
        self.nova.hosts['c1'].powered = True
        plan = self.fence.keep('c1', self.evidence)
        self.assertEqual((['i1'], 'power'), (plan['covered'], plan['driver']))
        self.assertNotIn('off_at', plan)
        self.assertEqual(['status'], self.actions())

    def test_a_bmc_that_fell_silent_proves_nothing(self):
        self.clock.tick(power.TRUSTED)
        self.bmcs.moods['c1'] = sim_power.DEAD
        self.assertIsNone(self.fence.keep('c1', self.evidence))


class ProtectTest(Base):
    def test_levels_with_and_without_another_fence(self):
        for level, with_power in (('none', 'power'), ('storage', 'power+storage')):
            found = self.fence.protect({'c1': (level, 'why'), 'c2': (level, 'why')})
            self.assertEqual((with_power, level), (found['c1'][0], found['c2'][0]))
            self.assertIn('c2 has no section', found['c2'][1])

    def test_a_trouble_is_logged_once_until_it_is_another_one(self):
        self.bmcs.unresolved = lambda peer: 'bmc1 does not resolve'
        with self.assertLogs('vmha_nova.fencing.power') as logged:
            for _ in range(3):
                self.assertEqual('none', self.fence.protect({'c1': ('none', '')})['c1'][0])
            self.bmcs.problem = lambda peer: 'fence_sim is not installed'
            self.fence.protect({'c1': ('none', '')})
        self.assertEqual(2, len(logged.output), logged.output)

    def test_whether_it_could_be_switched_off_is_said_without_looking_names_up(self):
        self.bmcs.unresolved = None
        self.assertTrue(self.fence.powered('c1'))
        self.assertFalse(self.fence.powered('c2'))


class FencesTest(unittest.TestCase):
    def test_only_orders_that_work(self):
        for given, good in ((['none'], True), (['storage'], True), (['power'], True),
                            (['power', 'storage'], True), (['storage', 'power'], False),
                            (['power', 'none'], False), (['power', 'power'], False), ([], False)):
            conf = mock.Mock()
            conf.fence.driver = given
            if good:
                self.assertEqual(tuple(given), fences.order(conf))
            else:
                self.assertRaises(exception.ConfigurationError, fences.order, conf)

    def test_none_alone_needs_the_operators_word(self):
        found = fences.Fences(none.NoFence(True))
        self.assertEqual(('none', None), (found.name, found.lasting))
        self.assertIsNone(found.of({'driver': 'storage'}))


