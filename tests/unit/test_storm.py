"""Too many hosts fail: nothing begins by itself, one loud word, and an operator decides."""

import dataclasses
import datetime
import unittest

import hypothesis
from hypothesis import strategies as st

from tests.unit import test_engine
from tests.unit import topology
from vmha_nova import model
from vmha_nova import storm

FREE = model.Limits(0, 0, rate=0)


class ExcessTest(unittest.TestCase):
    """The pure part: which limit, and what is said."""

    cluster = model.Cluster(nodes={n.host: n for n in [
        model.ComputeNode(f'h{i}', zone=f'z{i % 2}', aggregates=(
            model.Aggregate('rack1' if i < 3 else 'rack2'),)) for i in range(8)]})

    def limit(self, waiting, failed=(), recent=(), **limits):
        limits = dataclasses.replace(FREE, **limits)
        return {h: e.limit for h, e in storm.excesses(
            waiting, failed, recent, self.cluster, limits).items()}

    def test_of_the_cloud_all_wait_also_the_first(self):
        self.assertEqual({}, self.limit(['h0', 'h1'], hosts=2))
        self.assertEqual(dict.fromkeys(['h0', 'h1', 'h2'], 'max_hosts'),
                         self.limit(['h0', 'h1', 'h2'], hosts=2))
        self.assertEqual({'h2': 'max_hosts'}, self.limit(['h2'], ['h0', 'h1'], hosts=2))
        self.assertEqual({}, self.limit([], ['h0', 'h1', 'h2'], hosts=2))

    def test_of_a_zone_only_its_own_wait(self):
        self.assertEqual({'h0': 'max_zone_hosts', 'h2': 'max_zone_hosts'},
                         self.limit(['h0', 'h2', 'h1'], zone_hosts=1))
        self.assertEqual({'h0': 'max_zone_percent', 'h2': 'max_zone_percent',
                          'h4': 'max_zone_percent'},
                         self.limit(['h0', 'h2', 'h4', 'h1', 'h3'], zone_percent=50))

    def test_of_an_aggregate_only_its_own_wait(self):
        self.assertEqual({'h0': 'max_aggregate_hosts', 'h1': 'max_aggregate_hosts'},
                         self.limit(['h0', 'h1', 'h3'], aggregate_hosts=1))
        self.assertEqual({'h0': 'max_aggregate_percent', 'h1': 'max_aggregate_percent'},
                         self.limit(['h0', 'h1', 'h3', 'h4'], aggregate_percent=50))

    def test_a_share_is_exceeded_above_it_not_at_it(self):
        four = ['h0', 'h1', 'h2', 'h3']
        self.assertEqual({}, self.limit(four, percent=50))
        self.assertEqual(5, len(self.limit([*four, 'h4'], percent=50)))

    def test_the_rate_counts_what_is_over_and_what_waits(self):
        self.assertEqual({}, self.limit(['h0'], recent=['h1'], rate=2))
        self.assertEqual({'h0': 'max_rate'}, self.limit(['h0'], recent=['h1', 'h2'], rate=2))
        self.assertEqual(3, len(self.limit(['h0', 'h1', 'h2'], rate=2)))

    def test_one_host_alone_is_no_storm(self):
        self.assertEqual({}, self.limit(['h0'], percent=1, zone_percent=1, hosts=1, rate=1,
                                        zone_hosts=1, aggregate_hosts=1, aggregate_percent=1))

    def test_what_is_said_names_the_limit_the_hosts_and_the_commands(self):
        found = storm.excesses(['h0'], ['h1', 'h2'], [], self.cluster,
                               dataclasses.replace(FREE, hosts=2))
        text = storm.waits_for_word(found['h0'], 'ID')
        for words in ('3 of 8 hosts of the cloud', '(h0, h1, h2)', '[storm] max_hosts',
                      'openstack vmha recovery approve ID', 'recovery approve --all'):
            self.assertIn(words, text)
        many = model.Cluster(nodes={f'n{i:03}': model.ComputeNode(f'n{i:03}')
                                    for i in range(200)})
        text = storm.loud(storm.excesses(many.nodes, [], [], many, model.Limits()))
        self.assertIn('and 190 more', text)
        self.assertLess(len(text), 1000)

    @hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    @hypothesis.given(st.data())
    def test_whatever_fails(self, data):
        """A limit lets nothing begin while more hosts count, and holds nothing while fewer do."""
        some = st.frozensets(st.sampled_from(sorted(self.cluster.nodes)))
        waiting, failed, recent = data.draw(some), data.draw(some), data.draw(some)
        number = st.integers(0, 8)
        limits = model.Limits(*(data.draw(number) * k for k in (1, 13, 1, 13, 1, 13, 1)))
        found = storm.excesses(waiting, failed, recent, self.cluster, limits)
        self.assertLessEqual(found.keys(), waiting)
        down = waiting | failed
        for host in waiting:
            node = self.cluster.nodes[host]
            groups = [(down, 8, limits.hosts, limits.percent)] + [
                (down & {n.host for n in self.cluster.nodes.values() if same(n)},
                 sum(map(same, self.cluster.nodes.values())), most, share)
                for same, most, share in (
                    (lambda n, z=node.zone: n.zone == z, limits.zone_hosts, limits.zone_percent),
                    (lambda n, a=node.aggregates: n.aggregates == a, limits.aggregate_hosts,
                     limits.aggregate_percent))]
            expected = any(len(some) > 1 and (
                (most and len(some) > most) or (share and len(some) / total > share / 100))
                for some, total, most, share in groups) or bool(
                    limits.rate and len(waiting | recent) > limits.rate)
            self.assertEqual(expected, host in found)
            if host in found:
                self.assertIn(host, found[host].hosts)

    def test_who_is_silent(self):
        now = topology.NOW
        ago = now - datetime.timedelta(seconds=13)
        cluster = model.Cluster(nodes={
            'mute': model.ComputeNode('mute', heartbeat=model.Heartbeat('a', ago, now)),
            'beats': model.ComputeNode('beats', heartbeat=model.Heartbeat('a', now, now)),
            'new': model.ComputeNode('new')})

        def silent(**evidence):
            return storm.silent([
                model.HostFailure(1, h, '', '', now, now, evidence, False, 'checking', '', 0, None)
                for h in ('mute', 'beats', 'new', 'strange')], cluster, 12.5)
        self.assertEqual({'mute'}, silent(beats=1))
        self.assertEqual({'mute', 'beats'}, silent(beats=0), 'who knows, before it beats')
        self.assertEqual({'mute', 'beats'}, silent())
        # Closed: a beat that came soon after may have been on its way.
        self.assertEqual({'mute', 'beats'}, silent(baseline='a', empty=True))
        self.assertEqual({'mute', 'beats'}, silent(baseline='0', empty=True))
        now -= datetime.timedelta(seconds=12)
        self.assertEqual({'mute', 'beats'}, silent(baseline='0', empty=True))
        now -= datetime.timedelta(seconds=1)
        self.assertEqual({'mute'}, silent(baseline='0', empty=True))


class Base(test_engine.Base):
    """Four hosts with guests and one spare."""

    HOSTS = ('c1', 'c2', 'c3', 'c4', 's1')

    def world(self, hosts=HOSTS, **options):
        world = super().world(hosts=hosts, **options)
        for host in hosts:
            if host not in ('c1', 's1'):
                world.nova.boot(host, 2, f'{host}-')
        world.settle()
        return world

    def told(self, world):
        return [n for n in world.store.outbox(1000)
                if n.event_type in ('vmha.cloud.storm', 'vmha.cloud.calm')]

    def states(self, world):
        return {r.host: r.state for r in world.store.recoveries()}

    def held(self, world, *hosts):
        """Wait until these, and no others, are held; returns host -> recovery."""
        world.run(lambda: {h for h, s in self.states(world).items() if s == 'held'} == set(hosts))
        return {r.host: r for r in world.store.recoveries()}

    def untouched(self, world):
        self.assertEqual([], self.acts(world, 'force_down') + self.acts(world, 'evacuate'))
        self.assertEqual([], world.store.steps(kind=('fence', 'force_down')))

    def three_of_four(self, **options):
        world = self.world(**options)
        for host in ('c1', 'c2', 'c3'):
            world.die(host)
        return world


class StormTest(Base):
    def test_three_of_four_die_at_once_nothing_begins_and_it_is_said_once(self):
        world = self.three_of_four()
        found = self.held(world, 'c1', 'c2', 'c3')
        world.settle(60)
        world.start()                   # another engine has no need to say it again
        world.settle(10)
        self.untouched(world)
        for recovery in found.values():
            words = '3 of 5 hosts of the cloud have failed (c1, c2, c3), the limit is 2'
            self.assertIn(words, world.store.recovery(recovery.id).reason)
            self.assertIn(f'approve {recovery.id}', recovery.reason)
        note, = self.told(world)
        self.assertEqual('vmha.cloud.storm', note.event_type)
        self.assertEqual(['c1', 'c2', 'c3'], note.payload['hosts'])
        self.assertEqual(found['c1'].id, note.payload['held'][0]['recovery_id'])
        event, = (e for e in world.store.events() if e.kind == 'storm')
        self.assertEqual('error', event.level)
        self.assertIn('--all', event.text)

    def test_hosts_that_die_together_are_counted_before_the_first_is_found_dead(self):
        world = self.world()
        for host in ('c1', 'c2', 'c3'):         # the last beats are not of the same moment
            world.die(host)
            world.settle(1)
        self.held(world, 'c1', 'c2', 'c3')
        self.untouched(world)

    def test_a_report_that_is_dismissed_at_once_makes_no_storm(self):
        world = self.world(spares_only=True)
        world.store.set_mark('c3', maintenance=True)
        world.die('c1')
        world.die('c2')
        world.run(lambda: len(world.store.recoveries()) == 2)
        world.store.report_failure('c3', 'test')
        world.run(world.over)
        self.assertEqual([], self.told(world))

    def test_approved_one_by_one_that_one_begins_and_what_was_under_way_goes_on(self):
        world = self.three_of_four()
        found = self.held(world, 'c1', 'c2', 'c3')
        world.store.wish(found['c2'].id, 'approve')
        world.run(lambda: world.nova.hosts['c2'].forced_down)
        world.settle(2)
        self.assertEqual({'c2'}, {s.subject for s in world.store.steps(kind='fence')})
        world.run(lambda: self.states(world)['c2'] == 'recovered')
        world.run(world.over)           # two are within the limit: they begin by themselves
        self.assertEqual(['vmha.cloud.storm', 'vmha.cloud.calm'],
                         [n.event_type for n in self.told(world)])
        for host in ('c1', 'c2', 'c3'):
            self.assertRecovered(world, host)

    def test_approved_all_recovered_as_far_as_there_is_room_and_the_rest_is_named(self):
        world = self.world()
        for host in ('s1', 'c4'):
            world.nova.hosts[host].vcpus = 6
        world.settle(6)
        for host in ('c1', 'c2', 'c3'):
            world.die(host)
        for recovery in self.held(world, 'c1', 'c2', 'c3').values():
            world.store.wish(recovery.id, 'approve')
        world.settle(90)
        self.assertEqual([], world.nova.twice)
        moves = [m for r in world.store.recoveries() for m in world.store.moves(r.id)]
        self.assertEqual(12, len(moves))
        self.assertEqual(10, sum(m.state == 'moved' for m in moves))
        for move in moves:
            if move.state != 'moved':
                self.assertEqual('unplaced', move.state)
                self.assertRegex(move.reason, 'VCPU|no room')

    def test_a_storm_that_passes_by_itself(self):
        world = self.three_of_four()
        self.held(world, 'c1', 'c2', 'c3')
        for host in ('c2', 'c3'):       # it was their network
            world.nova.hosts[host].alive = world.nova.hosts[host].powered = True
        world.run(world.over)
        self.assertEqual({'c1': 'recovered', 'c2': 'dismissed', 'c3': 'dismissed'},
                         self.states(world))
        world.settle(5)                 # and the next one is told of again
        for host in ('c2', 'c3', 'c4'):
            world.die(host)
        self.held(world, 'c2', 'c3', 'c4')
        self.assertEqual(['vmha.cloud.storm', 'vmha.cloud.calm', 'vmha.cloud.storm'],
                         [n.event_type for n in self.told(world)])

    def test_one_more_while_others_are_under_way_waits_alone(self):
        world = self.world()
        world.nova.rebuild = 60
        world.die('c1')
        world.die('c2')
        world.run(lambda: set(self.states(world).values()) == {'moving'})
        world.die('c3')
        self.held(world, 'c3')
        world.run(world.over)
        self.assertEqual({'recovered'}, set(self.states(world).values()))

    def test_of_a_zone(self):
        world = self.world(limits=dataclasses.replace(FREE, zone_hosts=1))
        for host in ('c2', 'c3'):
            world.nova.hosts[host].zone = 'az2'
        for ident, server in list(world.nova.servers_.items()):
            world.nova._set(ident, zone=world.nova.hosts[server.host].zone)
        world.settle(6)
        for host in ('c1', 'c2', 'c3'):
            world.die(host)
        found = self.held(world, 'c2', 'c3')
        self.assertIn('of zone az2', found['c2'].reason)
        world.run(lambda: self.states(world)['c1'] == 'recovered')

    def test_of_an_aggregate_in_per_cent(self):
        world = self.world(limits=dataclasses.replace(FREE, aggregate_percent=50))
        rack = (model.Aggregate('rack7'),)
        world.nova.aggregates = lambda: {'c2': rack, 'c3': rack, 'c4': rack}
        world.settle(6)
        for host in ('c1', 'c2', 'c3'):
            world.die(host)
        found = self.held(world, 'c2', 'c3')
        self.assertIn('2 of 3 hosts of aggregate rack7', found['c2'].reason)
        self.assertIn('50 %', found['c2'].reason)
        world.run(lambda: self.states(world)['c1'] == 'recovered')

    def test_the_rate_also_of_hosts_that_are_recovered_by_now(self):
        world = self.world(limits=dataclasses.replace(FREE, rate=2))
        for number, host in enumerate(('c1', 'c2'), 1):
            world.die(host)
            world.run(lambda n=number: len(world.store.recoveries()) == n and world.over())
        world.die('c3')
        found = self.held(world, 'c3')
        self.assertIn('within 10 minutes', found['c3'].reason)
        world.run(world.over, seconds=700)      # it goes on when those are long ago
        self.assertEqual({'recovered'}, set(self.states(world).values()))

    def empty(self, *gone, source='test', **options):
        """A world in which c2 and c3 hold nothing; these hosts die at once."""
        world = test_engine.Base.world(self, hosts=self.HOSTS, **options)
        world.nova.boot('c4', 2, 'c4-')
        world.settle()
        for host in gone:
            world.die(host, source=source)
        return world

    def test_hosts_that_hold_nothing_count_as_well(self):
        for source in ('test', 'vmha-monitor'):     # and no heartbeat is waited for of that one
            with self.subTest(source=source):
                world = self.empty('c2', 'c3', 'c1', source=source, trust={
                    'default': 'confirm', 'vmha-monitor': 'act'})
                found = self.held(world, 'c1')
                self.assertIn('3 of 5 hosts of the cloud have failed (c1, c2, c3)',
                              found['c1'].reason)
                for _ in range(3):      # as long as they are silent
                    world.settle(300)
                world.start()
                world.settle(60)
                self.untouched(world)
                self.assertEqual(['vmha.cloud.storm'], [n.event_type for n in self.told(world)])
                for host in ('c2', 'c3'):
                    world.nova.hosts[host].alive = world.nova.hosts[host].powered = True
                world.run(world.over)
                self.assertRecovered(world)
                self.assertEqual('vmha.cloud.calm', self.told(world)[-1].event_type)

    def test_hosts_that_held_nothing_and_died_long_ago_or_are_back_do_not_count(self):
        world = self.empty('c2', limits=dataclasses.replace(FREE, hosts=1))
        for _ in range(2):
            world.settle(350)
        world.die('c3')
        world.settle(60)
        world.nova.hosts['c3'].alive = world.nova.hosts['c3'].powered = True
        world.settle(60)
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual([], self.told(world))

    def test_the_rate_counts_hosts_that_held_nothing(self):
        world = self.empty('c2', limits=dataclasses.replace(FREE, rate=2))
        world.settle(60)
        world.nova.hosts['c2'].alive = world.nova.hosts['c2'].powered = True
        world.settle(60)
        world.die('c3')
        world.die('c1')
        found = self.held(world, 'c1')
        self.assertIn('within 10 minutes', found['c1'].reason)
        world.run(world.over, seconds=700)
        self.assertRecovered(world)

    def test_killed_at_each_gate_it_is_told_once_and_nothing_begins(self):
        world = self.three_of_four()
        start = len(world.gates)
        self.held(world, 'c1', 'c2', 'c3')
        gates = list(enumerate(world.gates[start:]))
        first = next(n for n, name in gates if name == 'before open_recovery')
        self.assertIn('before turn', [name for _, name in gates[first:]])
        for number, name in gates[first:]:
            with self.subTest(gate=number, name=name):
                world = self.world()
                world.kill_at = len(world.gates) + number
                for host in ('c1', 'c2', 'c3'):
                    world.die(host)
                self.held(world, 'c1', 'c2', 'c3')
                world.settle(3)
                self.untouched(world)
                self.assertEqual(1, len(self.told(world)))


class ApprovalTest(Base):
    """An approval is for this death, and for what was asked."""

    def test_to_begin_is_not_to_go_on_although_the_host_beats(self):
        world = self.three_of_four(window=1)
        found = self.held(world, 'c1', 'c2', 'c3')
        world.store.wish(found['c1'].id, 'approve')
        world.run(lambda: world.store.recovery(found['c1'].id).stage == 'fenced')
        self.assertFalse(world.store.recovery(found['c1'].id).approved)
        world.run(lambda: self.acts(world, 'evacuate'))
        self.assertFalse(world.store.recovery(found['c1'].id).approved)
        world.nova.hosts['c1'].alive = True
        world.run(lambda: 'heartbeats' in world.store.recovery(found['c1'].id).reason)
        count = len(self.acts(world, 'evacuate'))
        world.settle(20)
        self.assertEqual(count, len(self.acts(world, 'evacuate')))

    def test_to_go_on_although_it_beats_ends_with_these_beats(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.nova.hosts['c1'].alive = True
        recovery = self.held(world, 'c1')['c1']
        world.store.wish(recovery.id, 'approve')
        count = len(self.acts(world, 'evacuate'))
        world.run(lambda: len(self.acts(world, 'evacuate')) > count)
        world.nova.hosts['c1'].alive = False
        world.run(lambda: not world.store.recovery(recovery.id).approved)
        world.nova.hosts['c1'].alive = True
        world.run(lambda: world.store.recovery(recovery.id).state == 'held')


class QueuedTest(Base):
    """A fence that waits for its turn has not begun."""

    def queued(self, **options):
        world = self.world(**options)
        world.executor.slow = {'put_up'}
        world.die('c1')
        world.run(lambda: world.executor._waiting)
        return world

    def test_a_pause_reaches_it(self):
        world = self.queued()
        world.store.pause(True, user='ann')
        world.executor.let()            # at once, before the loop has seen the pause
        world.settle(5)
        self.untouched(world)
        self.assertIn('paused by ann', world.store.recoveries()[0].reason)
        world.executor.slow = set()
        world.store.pause(False)
        world.run(world.over)
        self.assertRecovered(world)

    def test_it_is_said_to_wait_before_its_turn_comes(self):
        world = self.queued()
        world.store.pause(True, user='ann')
        world.settle(3)
        self.assertEqual('held', world.store.recoveries()[0].state)
        world.executor.let()
        self.untouched(world)

    def test_a_storm_reaches_it(self):
        world = self.queued(storage=True)
        world.die('c2')
        world.die('c3')
        self.held(world, 'c1', 'c2', 'c3')
        world.executor.let()
        world.settle(3)
        self.untouched(world)
        self.assertEqual(set(), world.ceph.entries)
