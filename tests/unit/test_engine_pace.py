"""The pace of a recovery on a simulated Nova."""

from tests.unit import sim
from tests.unit import sim_nova
from tests.unit import test_engine
from vmha_nova import exception


class PaceTest(test_engine.Base):
    """Three nodes are there for what was on c1."""

    def world(self, count=12, **options):
        world = super().world(**dict(dict(
            hosts=('c1', 'c2', 's1', 's2'), spares=('s1', 's2'), window=24, window_start=2,
            window_per_target=8, window_per_target_start=2, spares_only=True), **options))
        world.nova.boot('c1', count, 'run-more')
        world.settle()
        return world

    def watch(self, world, until=None):
        """Run to the end; returns the most that were in flight at a time: in all, and per host."""
        most = {}

        def done():
            flying = [r.target for r in world.nova.records if r.status in sim_nova.FLYING]
            for host in {*flying}:
                most[host] = max(most.get(host, 0), flying.count(host))
            most['all'] = max(most.get('all', 0), len(flying))
            return (until or world.over)()
        world.run(done)
        return most

    def pace(self, world):
        """What the recovery's record says of it."""
        return [e.text for e in world.store.events(world.store.recoveries()[-1].id, kind='pace')]

    def test_it_grows_while_nova_is_fast_and_the_record_says_so(self):
        world = self.world(30)
        world.die('c1')
        most = self.watch(world)
        self.assertRecovered(world)
        self.assertGreaterEqual(most['all'], 8)
        self.assertEqual(['2 at a time, at most 24: to begin with',
                          '4 at a time, at most 24: to see if that is faster'],
                         self.pace(world)[:2])

    def test_few_calls_are_without_an_answer_at_a_time(self):
        world = self.world(30, window_start=12, window_per_target_start=6)
        unanswered = []

        def done():
            if world.store.recoveries():
                unanswered.append(sum(m.state == 'sending' for m in world.moves().values()))
            return world.over()
        world.die('c1')
        world.run(done)
        self.assertRecovered(world)
        self.assertGreaterEqual(max(unanswered), 4, 'a third of the window')
        self.assertLessEqual(max(unanswered), 8)

    def test_the_limits_of_operators_are_kept(self):
        for window, most in ((3, {'all': 3, 's1': 2, 's2': 2}), (9, {'all': 4, 's1': 2, 's2': 2})):
            world = self.world(20, window=window, window_start=9, window_per_target=2,
                               window_per_target_start=9)
            world.die('c1')
            self.assertEqual(most, self.watch(world))
            self.assertRecovered(world)

    def test_trouble_makes_it_smaller_once_for_what_was_sent_together(self):
        refused = 'an evacuation to s1 was refused or failed'
        unanswered = 'a call was not answered'
        for trouble, why in ((exception.Rejected('no', 409), refused),
                             (exception.OutcomeUnknown('504'), unanswered),
                             (exception.Unreachable('429, slow down'), unanswered)):
            world = self.world(window_start=8, window_per_target_start=4)
            world.nova.faults['evacuate'] = [trouble] * 3
            world.die('c1')
            self.watch(world)
            self.assertRecovered(world)
            with self.subTest(trouble):
                self.assertEqual(
                    ['8 at a time, at most 24: to begin with',
                     f'4 at a time, at most 24: {why}'],
                    [text.split(';')[0] for text in self.pace(world)[:2]])

    def test_a_target_that_refuses_gets_less_and_the_others_do_not_wait_for_it(self):
        world = self.world(20, window_start=8, window_per_target_start=4)
        world.nova.refuses.add('s1')
        world.die('c1')
        self.watch(world, lambda: any(r.status == 'error' for r in world.nova.records))
        most = self.watch(world, lambda: sum(r.status == 'error' for r in world.nova.records) > 5)
        self.watch(world)
        self.assertRecovered(world)
        self.assertGreater(most['s2'], 3)
        self.assertTrue(any('1 to s1: one was refused or failed' in text
                            for text in self.pace(world)), self.pace(world))
        self.assertTrue(all(int(text.split()[0]) >= 4 for text in self.pace(world)),
                        'all of them have slowed down for one')
        world.settle()
        self.assertIsNone(world.engine.work.flight.pace, 'the next one begins anew')

    def test_a_target_whose_heartbeats_are_late_gets_less(self):
        world = self.world(20, window_start=12, window_per_target_start=6)
        world.nova.hosts['s1'].beat_at = world.clock() + 1000 * (world.clock() - sim.START)
        world.settle(8)
        world.die('c1')
        most = self.watch(world)
        self.assertRecovered(world)
        self.assertEqual((1, 8), (most['s1'], most['s2']))
        self.assertTrue(any('1 to s1: its last heartbeat is' in text
                            for text in self.pace(world)), self.pace(world))

    def test_a_target_that_is_slow_gets_less(self):
        world = self.world(40, window_start=12, window_per_target_start=4)
        real = world.nova._claim

        def claim(record):
            world.nova.rebuild = 20.0 if record.target == 's1' else 3.0
            real(record)
        world.nova._claim = claim
        world.die('c1')
        self.watch(world)
        self.assertRecovered(world)
        self.assertTrue(any('times as long as others' in text for text in self.pace(world)),
                        self.pace(world))

    def test_an_engine_that_is_new_begins_at_the_start_and_counts_what_is_under_way(self):
        world = self.world(30, window_start=4, window_per_target_start=4)
        world.nova.rebuild = 20.0
        world.die('c1')
        self.watch(world, lambda: len(
            [r for r in world.nova.records if r.status in sim_nova.FLYING]) > 4)
        world.start()
        flying = len([r for r in world.nova.records if r.status in sim_nova.FLYING])
        sent = len(world.nova.records)
        world.settle(5)
        self.assertEqual(sent, len(world.nova.records), f'{flying} are under way, 4 may be')
        self.watch(world)
        self.assertRecovered(world)
        self.assertEqual(2, sum(text.endswith('to begin with') for text in self.pace(world)))

    def test_killed_at_every_gate_while_it_grows_and_shrinks(self):
        def world():
            made = super(PaceTest, self).world(
                quiet=5.0, window=4, window_start=2, window_per_target_start=2)
            made.nova.faults['evacuate'] = [exception.Rejected('no', 409)]
            return made
        first = world()
        before = len(first.gates)
        first.die('c1')
        first.run(first.over)
        gates = [(n, name) for n, name in enumerate(first.gates[before:])
                 if name.split()[1] in ('evacuate', 'note')]
        self.assertIn('note', {name.split()[1] for _, name in gates})
        for number, name in gates:
            with self.subTest(gate=number, name=name):
                one = world()
                one.kill_at = len(one.gates) + number
                one.die('c1')
                self.assertLessEqual(self.watch(one)['all'], 4)
                self.assertRecovered(one)
                self.assertGreater(len(one.gates), one.kill_at, 'it was killed')
