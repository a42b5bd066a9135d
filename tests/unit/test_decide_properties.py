"""decide(): what holds for every cloud, checked against the rules written once more, naively.

The examples are the same in every run. VMHA_EXAMPLES=5000 tries that many, and others each time.
"""

import collections
import dataclasses
import fractions
import os
import random

import hypothesis
from hypothesis import strategies as st
import testtools

from tests.unit import topology as t
from vmha_nova import decide
from vmha_nova import model

EXAMPLES = os.environ.get('VMHA_EXAMPLES')
settings = hypothesis.settings(
    max_examples=int(EXAMPLES or 300), derandomize=not EXAMPLES, database=None, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck))

# -- clouds --------------------------------------------------------------------------------------
CAPACITY = t.amounts(10, 10_000, 100)
SSD, RESERVED = t.aggregate('ssd', disk='ssd'), t.aggregate('reserved', filter_tenant_id='p1, p3')
NODES = [
    dict(up=False), dict(forced_down=True), dict(maintenance=True), dict(enabled=False),
    dict(capacity={}), dict(has_room=False), dict(zone='az2'), dict(zone=''), dict(pool='b'),
    dict(backend='rbd:other'), dict(backend=''), dict(traits=frozenset({'T'})),
    dict(aggregates=(SSD,)), dict(aggregates=(RESERVED,)), dict(aggregates=(SSD, RESERVED)),
    dict(capacity=t.amounts(10, 10_000)), dict(capacity=t.amounts(4, 20_000, 50)),
    dict(cpu_share=0.5, cpu_share_at=t.NOW), dict(cpu_share=0.2, cpu_share_at=t.ago(60)),
    dict(cpu_share=0.97, cpu_share_at=t.ago(60)), dict(cpu_share=0.97, cpu_share_at=t.ago(600)),
    dict(parked=True, enabled=False), dict(parked=False)]
INSTANCES = [
    dict(extra_specs={'trait:T': 'required'}), dict(extra_specs={'trait:T': 'forbidden'}),
    dict(extra_specs={'aggregate_instance_extra_specs:disk': 'ssd'}),
    dict(extra_specs={'aggregate_instance_extra_specs:disk': '<or> nvme <or> ssd'}),
    dict(project_id='p1'), dict(project_id='p2'), dict(priority=90), dict(priority=10),
    dict(priority='x'), dict(vm_state='stopped'), dict(vm_state='paused'), dict(vm_state='error'),
    dict(task_state='deleting'), dict(task_state='migrating'), dict(task_state='rebuilding'),
    dict(metadata={'vmha:protect': 'no'}), dict(known=False, needs={}), dict(needs={}),
    dict(zone='')]
FLAVOURS = [(1, 1000, 0), (1, 3000, 0), (2, 2000, 10), (4, 1000, 0), (2, 4000, 20)]
POLICIES = [model.Policy()] * 5 + [
    model.Policy(spares_only=True), model.Policy(evacuate_error=True),
    model.Policy(need_same_backend=False), model.Policy(max_cpu_share=0.4),
    model.Policy(untouched_projects=frozenset({'p2'}))]
GROUPS = ['affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity']


class Maker:
    """Makes up a cloud from a seed.

    Hypothesis chooses the seed and the sizes. Everything has dice of its own, so that a smaller
    cloud of the same seed is a part of the larger one, which is how a failure is made small.
    """

    def __init__(self, seed):
        self.seed = seed

    def dice(self, name):
        return random.Random(f'{self.seed} {name}')

    def peculiar(self, dice, choices):
        """What is unlike the ordinary: mostly nothing."""
        return {name: value for change in dice.choices(choices, k=dice.choice([0, 0, 0, 0, 1, 2]))
                for name, value in change.items()}

    def node(self, host):
        dice = self.dice(host)
        # A peculiar failed host says little: nothing of it can be placed.
        changes = {} if host.startswith('dead') and dice.random() < 0.7 else (
            self.peculiar(dice, NODES))
        capacity = changes.setdefault('capacity', CAPACITY)
        tenths = dice.choice([[0], [0, 1, 2, 3, 5, 6, 8, 10]])      # idle ones are often alike
        return dice.choice([t.spare, t.node, t.node])(host, used={
            name: amount * dice.choice(tenths) // 10 for name, amount in capacity.items()},
            **changes)

    def instance(self, id, hosts):
        dice = self.dice(id)
        return t.instance(id, dice.choice(hosts), *dice.choice(FLAVOURS),
                          **self.peculiar(dice, INSTANCES))

    def groups(self, ids):
        members = {}
        for id in ids:
            name = self.dice(f'group of {id}').choice(['', '', 'a', 'b'])
            members.setdefault(name, []).append(id)
        return [t.group(name, self.dice(f'group {name}').choice(GROUPS), *found,
                        max_per_host=self.dice(f'most {name}').choice([1, 1, 2]))
                for name, found in members.items() if name]

    def failed(self, host, ids, others):
        fates, chosen = {'settled': [], 'pledged': [], 'tried': [], '': []}, {}
        for id in ids:
            dice = self.dice(f'fate of {id}')
            fates[dice.choice([*fates, '', '', '', ''])].append(id)
            chosen[id] = dice.choice(others or ['nowhere'])
        return model.Failed(host, settled=frozenset(fates['settled'] + fates['pledged']),
                            pledged={id: chosen[id] for id in fates['pledged']},
                            tried={id: frozenset({chosen[id]}) for id in fates['tried']})

    def case(self, dead, alive, moving, staying):
        """(cluster, failed, policy)."""
        hosts = [f'dead{n}' for n in range(dead)]
        others = [f'n{n}' for n in range(alive)]
        there = [self.instance(f'i{n}', hosts) for n in range(moving)]
        there += [self.instance(f'o{n}', others) for n in range(staying) if others]
        cluster = t.cluster([self.node(host) for host in hosts + others], there,
                            self.groups([i.id for i in there]))
        failed = [self.failed(host, [i.id for i in cluster.on(host)], others) for host in hosts]
        return cluster, failed, self.dice('policy').choice(POLICIES)


def cases(dead=2, moving=12):
    return st.builds(lambda seed, *sizes: Maker(seed).case(*sizes), st.integers(0, 2**32),
                     st.integers(1, dead), st.sampled_from([6, 8, 4, 5, 3, 2, 1, 0]),
                     st.integers(1, moving), st.integers(0, 5))


# -- the rules, once more ------------------------------------------------------------------------
class Naive:
    """One instance after another against every node; nothing is remembered but what is placed."""

    def __init__(self, cluster, failed, policy):
        self.cluster = cluster
        self.policy = policy
        self.dead = [f.host for f in failed]
        self.tried = {(i, h) for f in failed for i, hosts in f.tried.items() for h in hosts}
        self.arriving = [(i, h) for f in failed for i, h in f.pledged.items()]  # (id, host)

    def source(self, instance):
        return self.cluster.nodes[instance.host]

    def arriving_at(self, host):
        return [self.cluster.instances[i] for i, h in self.arriving if h == host]

    def group(self, instance):
        found = [g for g in self.cluster.groups.values() if instance.id in g.members]
        return found[0] if found else None

    def members_on(self, group, host):
        moving = dict(self.arriving)
        return sum(moving.get(m, self.cluster.instances[m].host) == host for m in group.members)

    def is_left(self, instance):
        group = self.group(instance)
        return instance.known and (
            instance.metadata.get('vmha:protect') == 'no'
            or instance.project_id in self.policy.untouched_projects
            or instance.task_state != ''
            or instance.vm_state == 'paused'
            or (instance.vm_state == 'error' and not self.policy.evacuate_error)
            or (group is not None and group.policy == 'affinity'))

    def is_ready(self, node):
        return (node.up and not node.forced_down and not node.maintenance and node.has_room
                and node.capacity != {}
                and (node.enabled or (node.spare and node.parked))
                and not (self.is_measured(node) and node.cpu_share > self.policy.max_cpu_share))

    def is_measured(self, node):
        return node.cpu_share is not None and node.cpu_share_at >= t.ago(180)

    def is_like(self, instance, node):
        source, specs = self.source(instance), instance.extra_specs
        zone = source.zone or instance.zone
        same = source.backend != '' and source.backend == node.backend
        disk = specs.get('aggregate_instance_extra_specs:disk')
        return (zone != '' and node.zone == zone
                and (same or not self.policy.need_same_backend)
                and (node.pool == source.pool or not node.spare)
                and (node.spare or not self.policy.spares_only)
                and not (specs.get('trait:T') == 'required' and 'T' not in node.traits)
                and not (specs.get('trait:T') == 'forbidden' and 'T' in node.traits)
                and (disk is None or SSD in node.aggregates)
                and (RESERVED not in node.aggregates or instance.project_id == 'p1'))

    def has_room(self, instance, node):
        return all(
            node.used.get(name, 0) + sum(i.needs.get(name, 0) for i in self.arriving_at(node.host))
            + amount <= node.capacity.get(name, 0) for name, amount in instance.needs.items())

    def is_apart(self, instance, node):
        group = self.group(instance)
        return (group is None or group.policy != 'anti-affinity'
                or self.members_on(group, node.host) < group.max_per_host)

    def fits(self, instance, node):
        return (node.host not in self.dead
                and (instance.id, node.host) not in self.tried
                and instance.known and instance.needs != {}
                and self.is_ready(node) and self.is_like(instance, node)
                and self.has_room(instance, node) and self.is_apart(instance, node))

    def load(self, instance, node):
        new = [*self.arriving_at(node.host), instance]
        shares = {name: fractions.Fraction(
            node.used[name] + sum(i.needs.get(name, 0) for i in new), capacity)
            for name, capacity in node.capacity.items()}
        cpu = shares['VCPU']
        if self.is_measured(node):
            cpu = fractions.Fraction(node.cpu_share) + fractions.Fraction(
                sum(i.needs['VCPU'] for i in new), node.capacity['VCPU'])
        return (max(shares.values()) + cpu) / 2

    def preference(self, instance, node):
        group = self.group(instance)
        sign = {'soft-affinity': -1, 'soft-anti-affinity': 1}.get(group.policy, 0) if group else 0
        return sign * self.members_on(group, node.host) if sign else 0

    def targets(self, instance):
        """The nodes of the first tier that has any."""
        fit = [n for n in self.cluster.nodes.values() if self.fits(instance, n)]
        return [n for n in fit if n.spare] or fit


def shuffled(mapping):
    return dict(reversed(list(mapping.items())))


class PropertyTest(testtools.TestCase):

    def decide(self, case):
        cluster, failed, policy = case
        return decide.decide(cluster, failed, policy, t.NOW)

    def replay(self, case, plan=None):
        """Yield (Naive as it stands before it, Placement) of each instance not left alone."""
        naive = Naive(*case)
        for placement in (plan or self.decide(case)).placements:
            if not placement.left:
                yield naive, placement
            if placement.target:
                naive.arriving.append((placement.instance.id, placement.target))

    @settings
    @hypothesis.given(cases())
    def test_nothing_is_forgotten(self, case):
        cluster, failed, _ = case
        settled = set().union(*(f.settled for f in failed))
        there = [i.id for f in failed for i in cluster.on(f.host) if i.id not in settled]
        plan = self.decide(case)
        self.assertEqual(sorted(there), sorted(p.instance.id for p in plan.placements))
        for p in plan.placements:
            self.assertTrue(p.reason)
            self.assertFalse(p.left and p.target)

    @settings
    @hypothesis.given(cases())
    def test_what_policy_leaves_alone_is_left_and_nothing_else(self, case):
        naive = Naive(*case)
        for p in self.decide(case).placements:
            self.assertEqual(naive.is_left(p.instance), p.left, p.reason)

    @settings
    @hypothesis.given(cases())
    def test_no_host_gets_more_than_it_has(self, case):
        cluster, failed, _ = case
        arriving = collections.defaultdict(collections.Counter)
        for p in self.decide(case).placements:
            arriving[p.target].update(p.instance.needs)
        for f in failed:
            for id, host in f.pledged.items():
                if host in arriving:
                    arriving[host].update(cluster.instances[id].needs)
        for p in self.decide(case).placements:
            if p.target:
                node = cluster.nodes[p.target]
                for name in p.instance.needs:
                    self.assertLessEqual(node.used.get(name, 0) + arriving[p.target][name],
                                         node.capacity[name])

    @settings
    @hypothesis.given(cases())
    def test_no_rule_is_broken(self, case):
        for naive, p in self.replay(case):
            if p.target:
                node = naive.cluster.nodes[p.target]
                for rule in (naive.is_like, naive.has_room, naive.is_apart, naive.fits):
                    self.assertTrue(rule(p.instance, node), (rule, p))
                self.assertTrue(naive.is_ready(node), p)

    @settings
    @hypothesis.given(cases())
    def test_no_failed_host_is_a_target(self, case):
        failed = {f.host for f in case[1]}
        self.assertEqual(set(), failed & {p.target for p in self.decide(case).placements})

    @settings
    @hypothesis.given(cases())
    def test_what_is_unplaced_had_no_target_when_its_turn_came(self, case):
        for naive, p in self.replay(case):
            if not p.target:
                self.assertEqual([], naive.targets(p.instance), p)

    @settings
    @hypothesis.given(cases())
    def test_spares_before_ordinary_nodes(self, case):
        for naive, p in self.replay(case):
            if p.target and not naive.cluster.nodes[p.target].spare:
                self.assertFalse(any(n.spare for n in naive.targets(p.instance)), p)

    @settings
    @hypothesis.given(cases())
    def test_preference_then_load(self, case):
        for naive, p in self.replay(case):
            if p.target:
                node = naive.cluster.nodes[p.target]
                found = naive.targets(p.instance)
                best = min(naive.preference(p.instance, n) for n in found)
                self.assertEqual(best, naive.preference(p.instance, node), p)
                least = min(naive.load(p.instance, n) for n in found
                            if naive.preference(p.instance, n) == best)
                self.assertLess(naive.load(p.instance, node) - least, 1e-9, p)

    @settings
    @hypothesis.given(cases())
    def test_order(self, case):
        cluster = case[0]

        def size(instance):
            capacity = cluster.nodes[instance.host].capacity
            together = collections.Counter()
            for i in cluster.on(instance.host):
                together.update(i.needs)
            return max((fractions.Fraction(amount, capacity.get(name) or together[name])
                        for name, amount in instance.needs.items()), default=0)

        found = [(-{'90': 90, '10': 10}.get(p.instance.metadata.get('vmha:priority'), 50),
                  -size(p.instance), p.instance.id) for p in self.decide(case).placements]
        self.assertEqual(sorted(found), found)

    @settings
    @hypothesis.given(cases())
    def test_the_same_case_has_the_same_plan(self, case):
        cluster, failed, policy = case
        again = dataclasses.replace(
            cluster, nodes={host: dataclasses.replace(
                n, used=shuffled(n.used), capacity=shuffled(n.capacity))
                for host, n in shuffled(cluster.nodes).items()},
            **{name: shuffled(getattr(cluster, name))
               for name in ('instances', 'groups', 'by_host', 'group_of')})
        failed = [dataclasses.replace(f, tried=shuffled(f.tried), pledged=shuffled(f.pledged))
                  for f in failed]
        self.assertEqual(self.decide(case), self.decide((again, failed, policy)))
        self.assertEqual(self.decide(case), self.decide((again, failed[::-1], policy)))

    @settings
    @hypothesis.given(cases())
    def test_the_spares_are_those_to_be_enabled(self, case):
        plan = self.decide(case)
        used = dict.fromkeys(p.target for p in plan.placements if p.target)
        self.assertEqual(tuple(host for host in used if case[0].nodes[host].parked), plan.spares)

    @settings
    @hypothesis.given(cases())
    def test_a_reason_counts_every_candidate(self, case):
        cluster, _, policy = case
        for _, p in self.replay(case):
            if p.reason.startswith('no target: '):
                counted = sum(int(word) for word, following in zip(
                    p.reason.split(), p.reason.split()[1:], strict=False)
                    if following in ('host', 'hosts', 'more'))
                self.assertEqual(
                    sum(n.spare or not policy.spares_only for n in cluster.nodes.values()
                        if n.host != p.instance.host), counted, p.reason)

    def lost(self, case, node):
        """The ids that have a target in the case, and none when the node is there as well."""
        cluster, failed, policy = case
        larger = dataclasses.replace(cluster, nodes={**cluster.nodes, node.host: node})
        before = {p.instance.id for p in self.decide(case).placements if p.target}
        after = {p.instance.id
                 for p in self.decide((larger, failed, policy)).placements if p.target}
        return before - after

    @settings
    @hypothesis.given(cases(dead=1))
    def test_an_empty_spare_takes_the_place_of_nobody_it_can_take(self, case):
        cluster, failed, _ = case
        source = cluster.nodes[failed[0].host]
        new = t.spare('new', pool=source.pool, zone=source.zone, backend=source.backend,
                      aggregates=(SSD,), traits=frozenset({'T'}),
                      capacity={name: 10 * amount for name, amount in CAPACITY.items()})
        # It cannot take the second of a group that keeps apart: the spare may let one before it
        # in order be placed, and that one may need the host this one had.
        unfit = {id for g in cluster.groups.values() if g.policy == 'anti-affinity'
                 for id in g.members}
        unfit |= {i.id for i in cluster.instances.values()
                  if i.extra_specs.get('trait:T') == 'forbidden'}
        self.assertEqual(set(), self.lost(case, new) - unfit)

    @settings
    @hypothesis.given(cases(moving=1), st.integers(0, 2**32))
    def test_any_other_node_does_no_harm_to_a_single_instance(self, case, seed):
        for n in range(10):
            self.assertEqual(set(), self.lost(case, Maker(seed).node(f'new{n}')))

    @settings
    @hypothesis.given(cases())
    def test_each_host_alone_is_what_decide_says(self, case):
        cluster, _, policy = case
        plan = decide.each_alone(cluster, policy, t.NOW)
        for host in cluster.by_host:
            self.assertEqual(self.decide((cluster, [model.Failed(host)], policy)), plan(host))
