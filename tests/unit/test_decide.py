"""decide(): room, groups, tiers, load, order, and the reasons in words."""

import dataclasses
import datetime

import testtools

from tests.unit import topology as t
from vmha_nova import decide
from vmha_nova import model

DEAD = 'dead1'


class Case(testtools.TestCase):

    def decide(self, nodes, instances, groups=(), failed=(DEAD,), policy=None, **values):
        """The plan when ``failed`` die; ``nodes`` are the others. ``values``: of model.Failed."""
        dead = [] if DEAD in {n.host for n in nodes} else [t.node(DEAD)]
        cluster = t.cluster([*dead, *nodes], instances, groups)
        return decide.decide(cluster, [model.Failed(host, **values) for host in failed],
                             policy or model.Policy(), t.NOW)

    def one(self, nodes, instance=None, others=(), **values):
        """The placement of one instance of the dead host."""
        instance = instance or t.instance('i', DEAD)
        plan = self.decide(nodes, [instance, *others], **values)
        return {p.instance.id: p for p in plan.placements}[instance.id]

    def assert_goes_to(self, target, *args, **values):
        placement = self.one(*args, **values)
        self.assertEqual(target, placement.target, placement.reason)
        self.assertFalse(placement.left)

    def assert_unplaced(self, reason, *args, **values):
        placement = self.one(*args, **values)
        self.assertEqual(('', reason, False),
                         (placement.target, placement.reason, placement.left))

    def assert_left(self, reason, *args, **values):
        placement = self.one(*args, **values)
        self.assertEqual(('', reason, True), (placement.target, placement.reason, placement.left))


class RoomTest(Case):

    def test_each_class_counts(self):
        for name in t.CAPACITY:
            used = {**dict.fromkeys(t.CAPACITY, 0), name: t.CAPACITY[name]}
            self.assert_unplaced(f'no target: 1 host lacks {name} (n1)', [t.node('n1', used=used)],
                                 t.instance('i', DEAD, vcpu=1, memory=1, disk=1))

    def test_the_last_bit_of_room_is_room(self):
        self.assert_goes_to('n1', [t.node('n1', used=t.amounts(vcpu=99))])
        self.assert_unplaced('no target: 1 host lacks VCPU (n1)',
                             [t.node('n1', used=t.amounts(vcpu=99))],
                             t.instance('i', DEAD, vcpu=2))

    def test_a_class_that_is_not_there(self):
        self.assert_unplaced('no target: 1 host offers no CUSTOM_GPU (n1)', [t.node('n1')],
                             t.instance('i', DEAD, needs=t.amounts(1, 1000, CUSTOM_GPU=1)))
        self.assert_unplaced('no target: 1 host offers no DISK_GB (n1)',
                             [t.node('n1', capacity=t.amounts(100, 100_000))],
                             t.instance('i', DEAD, disk=1))

    def test_no_disk_needed_where_there_is_none(self):
        self.assert_goes_to('n1', [t.node('n1', capacity=t.amounts(100, 100_000))],
                            t.instance('i', DEAD, needs={
                                'VCPU': 1, 'MEMORY_MB': 1000, 'DISK_GB': 0}))

    def test_a_class_that_is_not_needed_may_be_overcommitted(self):
        self.assert_goes_to('n1', [t.node('n1', used=t.amounts(disk=2000))])

    def test_the_plan_counts_what_it_has_placed(self):
        plan = self.decide([t.node('n1')], t.instances(DEAD, 3, vcpu=40))
        self.assertEqual(['n1', 'n1', ''], [p.target for p in plan.placements])

    def test_moves_under_way_are_counted(self):
        moving = t.instance('moving', DEAD, vcpu=90)
        values = dict(others=[moving], settled=frozenset({'moving'}),
                      instance=t.instance('i', DEAD, vcpu=20))
        self.assert_goes_to('n1', [t.node('n1')], **values)
        self.assert_unplaced('no target: 1 host lacks VCPU (n1)', [t.node('n1')], **values,
                             pledged={'moving': 'n1'})

    def test_moves_under_way_of_instances_nobody_knows(self):
        self.assert_goes_to('n1', [t.node('n1')], pledged={'gone': 'n1', 'lost': 'nowhere'})

    def test_a_move_under_way_gets_no_second_target(self):
        self.assert_unplaced('its move to n1 is under way', [t.node('n1'), t.node('n2')],
                             pledged={'i': 'n1'})


class GroupTest(Case):

    def anti(self, *members, **values):
        return [t.group('g', 'anti-affinity', *members, **values)]

    def test_no_target_beside_a_member(self):
        member = t.instance('m', 'n1')
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)], others=[member],
                            groups=self.anti('i', 'm'))
        self.assert_unplaced('no target: 1 host has a member of its anti-affinity group (n1)',
                             [t.node('n1')], others=[member], groups=self.anti('i', 'm'))

    def test_members_of_one_plan_keep_apart(self):
        plan = self.decide([t.node('n1'), t.node('n2', 0.9)], t.instances(DEAD, 3),
                           self.anti('i1', 'i2', 'i3'))
        self.assertEqual(['n1', 'n2', ''], [p.target for p in plan.placements])

    def test_several_are_allowed_on_a_host(self):
        plan = self.decide([t.node('n1')], t.instances(DEAD, 3),
                           self.anti('i1', 'i2', 'i3', max_per_host=2))
        self.assertEqual(['n1', 'n1', ''], [p.target for p in plan.placements])

    def test_a_member_on_its_way_counts_where_it_goes(self):
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)],
                            others=[t.instance('m', DEAD)], groups=self.anti('i', 'm'),
                            pledged={'m': 'n1'}, settled=frozenset({'m'}))

    def test_so_does_one_that_the_used_amounts_contain_already(self):
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)],
                            others=[t.instance('m', DEAD)], groups=self.anti('i', 'm'),
                            bound={'m': 'n1'}, settled=frozenset({'m'}))

    def test_soft_anti_affinity_prefers_and_does_not_insist(self):
        groups = [t.group('g', 'soft-anti-affinity', 'i', 'm', 'k')]
        member = t.instance('m', 'n1')
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)], others=[member],
                            groups=groups)
        self.assert_goes_to('n1', [t.node('n1')], others=[member], groups=groups)
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)], groups=groups,
                            others=[member, t.instance('k', 'n1'), t.instance('j', 'n2')])

    def test_soft_anti_affinity_takes_the_least_crowded(self):
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)], others=[
            t.instance('m', 'n1'), t.instance('k', 'n1'), t.instance('l', 'n2')],
            groups=[t.group('g', 'soft-anti-affinity', 'i', 'm', 'k', 'l')])

    def test_soft_affinity_prefers_and_does_not_insist(self):
        groups = [t.group('g', 'soft-affinity', 'i', 'm')]
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9)],
                            others=[t.instance('m', 'n2')], groups=groups)
        self.assert_goes_to('n1', [t.node('n1'), t.node('n2', up=False)],
                            others=[t.instance('m', 'n2')], groups=groups)

    def test_soft_affinity_takes_the_host_of_most_members(self):
        self.assert_goes_to('n2', [t.node('n1'), t.node('n2', 0.9), t.node('n3')], others=[
            t.instance('m', 'n1'), t.instance('k', 'n2'), t.instance('l', 'n2')],
            groups=[t.group('g', 'soft-affinity', 'i', 'm', 'k', 'l')])

    def test_soft_affinity_keeps_a_plan_together(self):
        plan = self.decide([t.node(f'n{n}') for n in range(1, 4)], t.instances(DEAD, 3),
                           [t.group('g', 'soft-affinity', 'i1', 'i2', 'i3')])
        self.assertEqual(['n1', 'n1', 'n1'], [p.target for p in plan.placements])

    def test_a_preference_does_not_leave_the_tier(self):
        self.assert_goes_to('s1', [t.spare('s1'), t.node('n1')], others=[t.instance('m', 'n1')],
                            groups=[t.group('g', 'soft-affinity', 'i', 'm')])


class TierTest(Case):

    def test_a_loaded_spare_comes_before_an_idle_node(self):
        placement = self.one([t.node('n1'), t.spare('s1', 0.8)])
        self.assertEqual(('s1', 'spare, load 81 % after placement'),
                         (placement.target, placement.reason))

    def test_ordinary_nodes_when_the_spares_are_full(self):
        plan = self.decide([t.node('n1'), t.spare('s1')], t.instances(DEAD, 3, vcpu=50))
        self.assertEqual(['s1', 's1', 'n1'], [p.target for p in plan.placements])
        self.assertEqual('ordinary node, load 50 % after placement', plan.placements[2].reason)

    def test_spares_only(self):
        policy = model.Policy(spares_only=True)
        self.assert_goes_to('s1', [t.node('n1'), t.spare('s1')], policy=policy)
        self.assert_unplaced('no target: 1 host lacks VCPU (s1); policy allows spares only',
                             [t.node('n1'), t.spare('s1', 1)], policy=policy)
        self.assert_unplaced('no spare, and policy allows no other node', [t.node('n1')],
                             policy=policy)

    def test_spares_of_another_pool(self):
        self.assert_unplaced('no target: 1 host serves as spare of pool b (s1)',
                             [t.spare('s1', pool='b')])
        self.assert_goes_to('s2', [
            t.node(DEAD, pool='b'), t.spare('s1'), t.spare('s2', 0.9, pool='b')])

    def test_the_pool_of_an_ordinary_node_is_no_rule(self):
        self.assert_goes_to('n1', [t.node('n1', pool='b')])

    def test_a_spare_already_in_use_is_still_a_spare(self):
        self.assert_goes_to('s1', [t.node('n1'), t.spare('s1', 0.5, enabled=True, parked=False)])

    def test_spares_to_enable_are_named_once_and_in_order_of_use(self):
        plan = self.decide(
            [t.spare('s1', 0.2), t.spare('s2', 0.1), t.spare('s3', parked=False, enabled=True),
             t.spare('s4', 0.9), t.node('n1')], t.instances(DEAD, 8, vcpu=20))
        self.assertEqual({'s1', 's2', 's3'}, {p.target for p in plan.placements})
        self.assertEqual(('s2', 's1'), plan.spares)


class LoadTest(Case):
    """Load: the mean of the largest allocated share and the CPU share, after placement."""

    def load(self, node, **values):
        return self.one([node], t.instance('i', DEAD, 10, 5_000, 0), **values).reason

    def test_not_measured(self):
        self.assertEqual('ordinary node, load 30 % after placement', self.load(
            t.node('n1', used=t.amounts(vcpu=20, memory=10_000))))

    def test_memory_or_disk_may_be_the_largest_share(self):
        for used in (t.amounts(vcpu=20, memory=65_000), t.amounts(vcpu=20, disk=700)):
            self.assertEqual('ordinary node, load 50 % after placement',
                             self.load(t.node('n1', used=used)))

    def test_measured(self):
        self.assertEqual('ordinary node, load 60 % after placement', self.load(
            t.node('n1', used=t.amounts(vcpu=20), cpu_share=0.8, cpu_share_at=t.ago(180))))

    def test_a_measurement_too_old(self):
        self.assertEqual('ordinary node, load 30 % after placement', self.load(
            t.node('n1', used=t.amounts(vcpu=20), cpu_share=0.8, cpu_share_at=t.ago(181))))

    def test_moves_under_way_are_in_both_shares(self):
        self.assertEqual('ordinary node, load 50 % after placement', self.load(
            t.node('n1', used=t.amounts(vcpu=20), cpu_share=0.2, cpu_share_at=t.NOW),
            others=[t.instance('m', DEAD, 20, 1)], pledged={'m': 'n1'}, settled=frozenset('m')))

    def test_no_vcpu_there(self):
        self.assertEqual('ordinary node, load 25 % after placement', self.one(
            [t.node('n1', used={}, capacity={'MEMORY_MB': 10_000, 'PCPU': 10})],
            t.instance('i', DEAD, needs={'MEMORY_MB': 5_000, 'PCPU': 1})).reason)

    def test_what_counts_is_the_load_after_placement(self):
        # Now 0 % and 10 %; with the instance 60 % and 16 %.
        small = t.node('n1', capacity={name: amount // 10 for name, amount in t.CAPACITY.items()})
        self.assert_goes_to('n2', [small, t.node('n2', 0.1)], t.instance('i', DEAD, 6, 6_000))

    def test_a_busy_cpu_counts_where_allocations_are_equal(self):
        self.assert_goes_to('n2', [
            t.node('n1', cpu_share=0.6, cpu_share_at=t.NOW),
            t.node('n2', cpu_share=0.2, cpu_share_at=t.NOW)])

    def test_a_plan_spreads(self):
        plan = self.decide([t.node('n1'), t.node('n2'), t.node('n3', 0.5)],
                           t.instances(DEAD, 6, vcpu=10))
        self.assertEqual(['n1', 'n2', 'n1', 'n2', 'n1', 'n2'],
                         [p.target for p in plan.placements])

    def test_equal_load_goes_to_whom_the_plan_has_given_least(self):
        # With the first on it, n1 is as loaded as n2; the second would make both 30 %.
        plan = self.decide([t.node('n1', 0.1), t.node('n2', 0.2)],
                           t.instances(DEAD, 2, vcpu=10, memory=1))
        self.assertEqual(['n1', 'n2'], [p.target for p in plan.placements])

    def test_then_the_name_decides(self):
        self.assert_goes_to('n1', [t.node('n2'), t.node('n3'), t.node('n1')])


class OrderTest(Case):

    def order(self, instances, nodes=None, **values):
        plan = self.decide(nodes or [t.node('n1')], instances, **values)
        return [p.instance.id for p in plan.placements]

    def test_priority_first(self):
        self.assertEqual(['c', 'd', 'a', 'b'], self.order([
            t.instance('a', DEAD), t.instance('b', DEAD, priority=0, vcpu=90),
            t.instance('c', DEAD, priority=100), t.instance('d', DEAD, priority=51)]))

    def test_priority_decides_who_gets_the_room(self):
        plan = self.decide([t.node('n1')], [
            t.instance('a', DEAD, vcpu=60), t.instance('b', DEAD, vcpu=60, priority=60)])
        self.assertEqual([('b', 'n1', 60), ('a', '', 50)],
                         [(p.instance.id, p.target, p.priority) for p in plan.placements])

    def test_a_priority_that_cannot_be_read_counts_as_50_and_is_named(self):
        for text in ('high', '101', '-1', '5.5', '', '1_0', '٣'):
            placement = self.one([t.node('n1')], t.instance('i', DEAD, priority=text))
            self.assertEqual(50, placement.priority)
            self.assertEqual(
                f"ordinary node, load 1 % after placement; vmha:priority {text!r} is not a number "
                'from 0 to 100, 50 was used', placement.reason)

    def test_largest_first(self):
        # Of the failed host: 20 % of the memory, 15 % of the CPUs, 10 % of the disk.
        self.assertEqual(['m', 'c', 'd', 's'], self.order([
            t.instance('c', DEAD, vcpu=15), t.instance('d', DEAD, disk=100),
            t.instance('m', DEAD, memory=20_000), t.instance('s', DEAD)]))

    def test_largest_first_on_a_host_whose_capacity_is_not_known(self):
        # Together they need 20 VCPU and 40000 MiB: 75 % of the former, half of the latter.
        self.assertEqual(['c', 'm', 's'], self.order([
            t.instance('c', DEAD, vcpu=15, memory=10_000),
            t.instance('m', DEAD, vcpu=1, memory=20_000),
            t.instance('s', DEAD, vcpu=4, memory=10_000)],
            [t.node(DEAD, capacity={}), t.node('n1')]))

    def test_then_the_id(self):
        self.assertEqual(['a', 'b', 'c'], self.order(
            [t.instance(i, DEAD) for i in ('c', 'a', 'b')]))

    def test_several_failed_hosts_are_one_order(self):
        self.assertEqual(['b', 'a', 'd', 'c'], self.order(
            [t.instance('a', DEAD, vcpu=20), t.instance('b', 'dead2', vcpu=30),
             t.instance('c', DEAD), t.instance('d', 'dead2', vcpu=2)],
            [t.node('dead2'), t.node('n1')], failed=(DEAD, 'dead2')))

    def test_settled_instances_are_left_out(self):
        self.assertEqual(['i1', 'i3'], self.order(
            t.instances(DEAD, 3), settled=frozenset({'i2', 'unheard-of'})))

    def test_a_host_named_twice(self):
        self.assertEqual(['i1', 'i2'], self.order(t.instances(DEAD, 2), failed=(DEAD, DEAD)))

    def test_nothing_there(self):
        self.assertEqual([], self.order([t.instance('i', 'n1')]))


class ReasonTest(Case):
    """Why nothing takes an instance, in one line."""

    def test_no_candidate(self):
        self.assert_unplaced('no spare and no other node', [])

    def test_reasons_are_grouped_and_counted(self):
        self.assert_unplaced(
            'no target: 2 hosts lack MEMORY_MB (n2, s1), 1 host is in another zone (n9)',
            [t.node('n9', zone='az2'), t.spare('s1', used=t.amounts(memory=100_000)),
             t.node('n2', used=t.amounts(memory=99_001))])

    def test_three_names_are_enough(self):
        self.assert_unplaced('no target: 5 hosts are forced down (n1, n2, n3, …)',
                             [t.node(f'n{n}', forced_down=True) for n in (5, 2, 4, 1, 3)])

    def test_three_names_are_all(self):
        self.assert_unplaced('no target: 3 hosts are down in Nova (n1, n2, n3)',
                             [t.node(f'n{n}', up=False) for n in (1, 2, 3)])

    def test_verbs_follow_the_number(self):
        nodes = [t.node('n1', traits=frozenset({'X'})), t.node('n2', traits=frozenset({'X'})),
                 t.spare('s1', pool='b'), t.spare('s2', pool='b'),
                 t.node('n3', 1), t.node('n4', 1),
                 t.node('n5', capacity={'VCPU': 1}), t.node('n6', capacity={'VCPU': 1})]
        self.assert_unplaced(
            'no target: 2 hosts have forbidden trait X (n1, n2), 2 hosts lack VCPU (n3, n4), '
            '2 hosts offer no MEMORY_MB (n5, n6), 2 hosts serve as spare of pool b (s1, s2)',
            nodes, t.instance('i', DEAD, extra_specs={'trait:X': 'forbidden'}))

    def test_too_many_kinds_are_cut_short(self):
        reason = self.one([t.node(f'n{n:02}', enabled=False, disabled_reason=f'ticket {n:02}')
                           for n in range(12)]).reason
        self.assertTrue(reason.startswith('no target: 1 host is disabled (ticket 00) (n00), '))
        self.assertTrue(reason.endswith('(ticket 07) (n07), and 4 more for other reasons'), reason)

    def test_other_failed_hosts(self):
        self.assert_unplaced('no target: 1 host has failed itself (dead2)', [t.node('dead2')],
                             failed=(DEAD, 'dead2'))

    def test_a_reason_of_its_own_is_not_that_of_others(self):
        plan = self.decide([t.node('n1', 1)], [*t.instances(DEAD, 3), t.instance('m', 'n1')],
                           [t.group('g', 'anti-affinity', 'i2', 'm')],
                           tried={'i3': frozenset({'n1'})})
        self.assertEqual(['no target: 1 host lacks VCPU (n1)',
                          'no target: 1 host has a member of its anti-affinity group (n1)',
                          'no target: 1 host has failed to take it before (n1)'],
                         [p.reason for p in plan.placements])

    def test_refused_for_what_the_plan_put_there(self):
        plan = self.decide([t.node('n1'), t.node('n2', 1)], t.instances(DEAD, 2, vcpu=60))
        self.assertEqual('no target: 2 hosts lack VCPU (n1, n2)', plan.placements[1].reason)


class HelperTest(Case):

    def test_target_problem(self):
        policy = model.Policy()
        self.assertEqual('', decide.target_problem(t.node('n1'), policy, t.NOW))
        self.assertEqual('', decide.target_problem(t.spare('s1'), policy, t.NOW))
        self.assertEqual('is forced down', decide.target_problem(
            t.node('n1', forced_down=True), policy, t.NOW))

    def test_leave_reason(self):
        instance = t.instance('i', DEAD, vm_state='paused')
        cluster = t.cluster([], [instance])
        self.assertEqual('Nova cannot carry paused through an evacuation',
                         decide.leave_reason(instance, cluster, model.Policy()))
        self.assertEqual('', decide.leave_reason(
            dataclasses.replace(instance, known=False), cluster, model.Policy()))

    def test_each_host_alone(self):
        cluster = t.cluster(
            [t.node('n1'), t.node('n2', 0.5), t.node('n3', zone='az2'), t.spare('s1', zone='az2')],
            [t.instance('a', 'n1', vcpu=60), t.instance('b', 'n2'), t.instance('c', 'n3'),
             t.instance('d', 's1')])
        plan = decide.each_alone(cluster, model.Policy(), t.NOW)
        plans = {host: plan(host) for host in ('n1', 'n2', 'n3', 's1')}
        self.assertEqual(
            {'n1': [('a', '')], 'n2': [('b', 'n1')], 'n3': [('c', 's1')],
             's1': [('d', 'n3')]},
            {host: [(p.instance.id, p.target) for p in plan.placements]
             for host, plan in plans.items()})
        self.assertEqual(('s1',), plans['n3'].spares)

    def test_the_load_of_yesterday_is_not_that_of_today(self):
        cluster = t.cluster([t.node(DEAD), t.node('n1', cpu_share=0.96, cpu_share_at=t.NOW)],
                            [t.instance('i', DEAD)])
        for days, target in ((0, ''), (1, 'n1')):
            plan = decide.decide(cluster, [model.Failed(DEAD)], model.Policy(),
                                 t.NOW + datetime.timedelta(days=days))
            self.assertEqual(target, plan.placements[0].target)
