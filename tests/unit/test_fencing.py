"""The storage fence by itself: what it plans, does, keeps and takes back."""

import datetime
import types
import unittest

from tests.unit import clock as clocks
from tests.unit import sim_ceph
from tests.unit import sim_nova
from vmha_nova import exception
from vmha_nova.fencing import none
from vmha_nova.fencing import storage
from vmha_nova import model

ONE, TWO = '10.0.0.1:0/1', '10.0.0.1:0/2'
RANGE = '10.0.0.1/32'
HOUR = 3600.0


class Base(unittest.TestCase):
    def setUp(self):
        self.clock = clocks.Clock(sim_nova.START)
        self.ceph = sim_ceph.SimCeph(self.clock, sim_nova.SimNova(self.clock, ('c1', 'c2', 'c3')))
        self.clients, self.addresses = [ONE], ['10.0.0.1']
        self.osds = (model.Osd(0, False, True, 'c1', frozenset(['10.0.0.1']),
                               (('10.0.0.1', 6800),)),)
        self.leads = True
        self.refuse = False
        self.asked = []
        self.storage = types.SimpleNamespace(
            addresses=lambda host: self.addresses, clients=lambda host: self.clients,
            whole=lambda host, addresses: bool(self.clients and addresses),
            osds=lambda host: self.osds, disk_pools=lambda known: ['vms'],
            ready=lambda host: '', check_lead=self.check_lead)
        self.fence = self.make()

    def make(self, ranged=True):
        return storage.StorageFence(
            self.ceph, self.storage, HOUR, ranged, patience=2.0,
            refusing=lambda ports: self.asked.append(ports) or self.refuse,
            monotonic=lambda: self.clock().timestamp(), sleep=self.clock.tick)

    def check_lead(self):
        if not self.leads:
            raise exception.TermLost('another engine leads')

    def put_up(self):
        return self.fence.fence('c1', {**self.fence.plan('c1'), 'covered': ['i1']})

    def end(self, *texts, after):
        for text in texts:
            self.ceph.ends[text] = self.clock() + datetime.timedelta(seconds=after)

    def left(self, text):
        return (self.ceph.ends[text] - self.clock()).total_seconds()


class PlanTest(Base):
    def test_what_is_nobodys_yet_is_ours(self):
        plan = self.fence.plan('c1')
        self.assertEqual(([ONE], [RANGE], [RANGE], True), (
            plan['entries'], plan['ranges'], plan['ours'], plan['whole']))
        self.assertNotIn('add', self.ceph.calls)

    def test_somebody_elses_range_is_not_unless_it_was_ours_before(self):
        self.ceph.ranges.add(RANGE)
        self.assertEqual([], self.fence.plan('c1')['ours'])
        self.assertEqual([RANGE], self.fence.plan('c1', {RANGE})['ours'])

    def test_without_ranges_it_is_for_the_clients_on_record_only(self):
        self.fence = self.make(ranged=False)
        plan = self.fence.plan('c1')
        self.assertEqual(([ONE], [], [], False), (
            plan['entries'], plan['ranges'], plan['ours'], plan['whole']))

    def test_whole_is_what_the_ranges_of_this_very_plan_hold(self):
        self.addresses = []
        self.assertFalse(self.fence.plan('c1')['whole'])

    def test_of_nothing_known_there_is_no_plan(self):
        self.addresses, self.clients = [], []
        self.assertRaises(exception.FenceFailed, self.fence.plan, 'c1')
        self.clients = [ONE]
        self.assertEqual([], self.fence.plan('c1')['ranges'])


class FenceTest(Base):
    def test_the_evidence_has_the_plan_and_the_map_that_is_in_force(self):
        evidence = self.put_up()
        self.assertEqual(({ONE}, {RANGE}), (self.ceph.entries, self.ceph.ranges))
        self.assertEqual((self.ceph.epoch, ['vms'], ['i1'], []), (
            evidence['epoch'], evidence['pools'], evidence['covered'],
            evidence['osds_told_dead']))

    def test_the_osds_are_asked_for_the_map_that_was_read_back(self):
        asked = []
        self.ceph.enforced = lambda epoch, pools, seconds: (
            asked.append((epoch, pools)), frozenset())[1]
        self.put_up()
        self.assertEqual([(self.ceph.epoch, ['vms'])], asked)

    def test_what_the_map_does_not_show_is_not_in_force(self):
        self.ceph.add = lambda *args: {}        # taken, says the monitor
        with self.assertRaisesRegex(exception.FenceFailed, '10.0.0.1'):
            self.put_up()

    def test_a_map_that_lags_is_waited_for(self):
        real, maps = self.ceph.map, [self.ceph.map()] * 3
        self.ceph.map = lambda: maps.pop() if maps else real()
        self.put_up()
        self.assertEqual([], maps)

    def test_every_osd_that_leads_has_to_use_it_also_the_hosts_own(self):
        """That one may live, and would take what a client beside it writes."""
        for late in ({1}, {0}):
            self.ceph.late = late
            with self.assertRaisesRegex(exception.FenceFailed, f'osd.{min(late)}'):
                self.put_up()

    def test_what_is_there_and_ends_soon_is_renewed(self):
        self.ceph.entries.add(ONE)
        self.end(ONE, after=60)
        self.put_up()
        self.assertLess(HOUR / 2, self.left(ONE))

    def test_an_engine_that_leads_no_more_adds_nothing(self):
        plan = self.fence.plan('c1')
        self.leads = False
        self.assertRaises(exception.TermLost, self.fence.fence, 'c1', plan)
        self.assertEqual(set(), self.ceph.ranges)

    def test_osds_are_told_dead_only_where_both_signs_agree(self):
        for up, refuse, dead in ((False, True, [0]), (False, False, []), (True, True, [])):
            with self.subTest(up=up, refuse=refuse):
                self.refuse = refuse
                self.osds = (model.Osd(0, up, True, 'c1', frozenset(['10.0.0.1']),
                                       (('10.0.0.1', 6800),)),)
                self.ceph.calls.clear()
                self.assertEqual(dead, self.put_up()['osds_told_dead'])
                self.assertEqual(bool(dead), 'mark_dead' in self.ceph.calls)

    def test_osds_without_a_port_prove_nothing_by_their_silence(self):
        self.refuse = True
        self.osds = (model.Osd(0, False, True, 'c1'),)
        self.assertEqual([], self.put_up()['osds_told_dead'])

    def test_a_fence_stands_even_if_the_osds_could_not_be_told_dead(self):
        self.refuse = True
        self.ceph.mark_dead = self.unreachable
        self.assertEqual([], self.put_up()['osds_told_dead'])

    def unreachable(self, *args):
        raise exception.Unreachable('no monitor answers')


class KeepTest(Base):
    def setUp(self):
        super().setUp()
        self.evidence = self.put_up()

    def test_there_is_nothing_to_do_while_all_is_in_force(self):
        self.assertIsNone(self.fence.keep('c1', self.evidence))

    def test_what_is_missing_is_planned_and_not_yet_done(self):
        self.ceph.ranges.clear()
        plan = self.fence.keep('c1', {**self.evidence, 'ours': []})
        self.assertEqual([RANGE], plan['ours'], 'ours, once it was put back by us')
        self.assertEqual(set(), self.ceph.ranges, 'recorded first')
        self.fence.fence('c1', plan)
        self.assertEqual({RANGE}, self.ceph.ranges)

    def test_a_missing_client_is_put_back_and_makes_no_range_ours(self):
        self.ceph.entries.clear()
        plan = self.fence.keep('c1', {**self.evidence, 'ours': []})
        self.assertEqual([], plan['ours'])
        self.fence.fence('c1', plan)
        self.assertEqual({ONE}, self.ceph.entries)

    def test_clients_seen_since_are_added_and_none_forgotten(self):
        self.clients = [TWO]
        plan = self.fence.keep('c1', self.evidence)
        self.assertEqual([ONE, TWO], plan['entries'])
        self.assertEqual(['i1'], plan['covered'])

    def test_osds_are_not_told_dead_again(self):
        self.asked.clear()
        self.ceph.ranges.clear()
        done = self.fence.fence('c1', self.fence.keep('c1', self.evidence))
        self.assertEqual(([], []), (self.asked, done['osds_told_dead']))

    def test_it_is_renewed_before_it_ends(self):
        for _ in range(40):
            self.clock.tick(HOUR / 10)
            plan = self.fence.keep('c1', self.evidence)
            if plan is not None:
                self.assertTrue(self.ceph.fenced(TWO), 'it has lapsed')
                self.assertIn(ONE, self.ceph.entries)
                self.evidence = self.fence.fence('c1', plan)
            self.assertLess(HOUR / 8, min(self.left(ONE), self.left(RANGE)))

    def test_a_new_engine_renews_it_for_it_does_not_know_when_it_ends(self):
        self.end(ONE, RANGE, after=30)
        self.fence = self.make()
        self.fence.fence('c1', self.fence.keep('c1', self.evidence))
        self.assertLess(HOUR / 2, min(self.left(ONE), self.left(RANGE)))
        self.assertIsNone(self.fence.keep('c1', self.evidence))

    def test_when_renewing_fails_it_is_tried_again(self):
        self.clock.tick(HOUR / 3)
        self.ceph.add, real = self.fail_once, self.ceph.add
        plan = self.fence.keep('c1', self.evidence)
        self.assertRaises(exception.Unreachable, self.fence.fence, 'c1', plan)
        self.ceph.add = real
        self.assertIsNotNone(self.fence.keep('c1', self.evidence))

    def fail_once(self, *args):
        raise exception.Unreachable('no monitor answers')

    def test_while_a_range_is_made_anew_each_client_has_its_own_entry(self):
        self.end(ONE, RANGE, after=30)
        real, seen = self.ceph.remove_range, []

        def remove(cidr):
            seen.append(set(self.ceph.entries))
            real(cidr)
        self.ceph.remove_range = remove
        self.clients = [ONE, TWO]
        self.fence.fence('c1', self.fence.keep('c1', self.evidence))
        self.assertEqual([{ONE, TWO}], seen)

    def test_somebody_elses_range_is_left_as_it_is(self):
        self.end(RANGE, after=30)
        self.fence.fence('c1', {**self.evidence, 'ours': []})
        self.assertEqual(30, self.left(RANGE))


class LiftTest(Base):
    def test_ranges_are_lifted_and_entries_stay(self):
        self.put_up()
        self.ceph.ranges.add('10.0.0.9/32')
        self.fence.lift({RANGE})
        self.assertEqual(({ONE}, {'10.0.0.9/32'}), (self.ceph.entries, self.ceph.ranges))
        self.fence.lift({RANGE})        # again does no harm

    def test_one_that_is_there_still_was_not_lifted(self):
        self.put_up()
        self.ceph.remove_range = lambda cidr: None
        self.assertRaises(exception.FenceFailed, self.fence.lift, {RANGE})

    def test_an_engine_that_leads_no_more_lifts_nothing(self):
        self.put_up()
        self.leads = False
        self.assertRaises(exception.TermLost, self.fence.lift, {RANGE})
        self.assertEqual({RANGE}, self.ceph.ranges)


class NoFenceTest(unittest.TestCase):
    def test_it_needs_the_operators_word(self):
        self.assertRaises(exception.ConfigurationError, none.NoFence, False)
        fence = none.NoFence(True)
        plan = fence.plan('c1')
        self.assertEqual(plan, fence.fence('c1', plan))
        self.assertEqual('none', plan['driver'])
        self.assertFalse(fence.lasting)
