"""How many evacuations may be in flight: by hand, by chance, and on a cloud in virtual time."""

import datetime
import unittest

import hypothesis
from hypothesis import strategies as st

from tests.unit import pace_cloud
from vmha_nova import model
from vmha_nova import pace

START = pace_cloud.START
POLICY = model.Policy(window=24, window_start=6, window_per_target=8, window_per_target_start=3)
WELL = st.sampled_from([True] * 9 + [False])
# Seconds; a clock that jumps back, and calls from the future, among them.
PASSED, TOOK = st.sampled_from([0, 0.5, 3, 100, -50]), st.sampled_from([0, 0.1, 2, 40, -5])


def at(seconds):
    return START + datetime.timedelta(seconds=seconds)


def node(host='a', silent=0.0):
    return model.ComputeNode(host, heartbeat=model.Heartbeat('x', at(0), at(silent)))


class PropertyTest(unittest.TestCase):

    @hypothesis.given(
        st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20),
        st.lists(st.tuples(WELL, st.sampled_from(['a', 'b', '']), PASSED, TOOK,
                           st.integers(-2, 60)), min_size=40, max_size=90), st.floats(0, 100))
    @hypothesis.settings(deadline=None, max_examples=200, suppress_health_check=[
        hypothesis.HealthCheck.data_too_large, hypothesis.HealthCheck.too_slow])
    def test_no_window_leaves_its_bounds(self, window, first, per_target, first_there, told,
                                         silent):
        policy = model.Policy(window=window, window_start=first, window_per_target=per_target,
                              window_per_target_start=first_there)
        found, now = pace.start(policy, START), 0
        for well, host, passed, took, flying in told:
            now += passed
            found = (pace.landed(found, host or 'a', at(now - took), flying, at(now)) if well
                     else pace.trouble(found, host, at(now - took), at(now)))
            self.assertTrue(1 <= found.window.size <= window, found)
            for host in 'ab':
                self.assertTrue(1 <= pace.room(found, node(host, silent))[0] <= per_target)
            self.assertIsInstance(pace.describe(found, [node('a', silent)]), str)

    @hypothesis.given(st.lists(st.tuples(WELL, st.integers(1, 20)), min_size=60,
                               max_size=90))
    @hypothesis.settings(deadline=None, max_examples=100, suppress_health_check=[
        hypothesis.HealthCheck.data_too_large, hypothesis.HealthCheck.too_slow])
    def test_it_does_not_depend_on_how_long_a_second_is(self, told):
        """What is measured is compared with what was measured, and with nothing else."""
        ends = []
        for second in (1, 3):
            found, now = pace.start(POLICY, START), 0
            for well, took in told:
                sent, now = now, now + took * second
                found = (pace.landed(found, 'a', at(sent), found.window.size, at(now)) if well
                         else pace.trouble(found, 'a', at(sent), at(now)))
            ends.append((found.window.size, pace.room(found, node())[0]))
        self.assertEqual(*ends)


class CloudTest(unittest.TestCase):
    """Scenarios on a simulated cloud."""

    def adaptive(self, cloud, **policy):
        return pace_cloud.Adaptive(cloud, **dict(
            dict(window=24, window_start=6, window_per_target=8, window_per_target_start=3),
            **policy))

    def test_nearly_as_fast_as_the_best_fixed_window_whatever_that_is(self):
        for seconds in (4.0, 12.0):     # everything three times slower, with the same options
            for knee in (2, 4, 8, 16):
                fixed = {size: pace_cloud.evacuate(
                    pace_cloud.Cloud(knee, seconds), pace_cloud.Fixed(size), 200)
                    for size in (2, 4, 8, 16, 200)}
                cloud = pace_cloud.Cloud(knee, seconds)
                pacer = self.adaptive(cloud)
                took = pace_cloud.evacuate(cloud, pacer, 200)
                with self.subTest(knee=knee, seconds=seconds, sizes=pacer.sizes):
                    self.assertEqual(knee, min(fixed, key=fixed.get), 'the cloud has a knee')
                    self.assertLess(took / fixed[knee], 1.15)
                    self.assertLess(took / fixed[200], 0.8, 'than all at once')

    def test_and_with_instances_that_differ(self):
        for knee in (2, 4, 8, 16):
            ratios = []
            for seed in range(5):
                best = min(pace_cloud.evacuate(
                    pace_cloud.Cloud(knee, noise=0.3, seed=seed), pace_cloud.Fixed(size), 200)
                    for size in (2, 4, 8, 16))
                cloud = pace_cloud.Cloud(knee, noise=0.3, seed=seed)
                ratios.append(pace_cloud.evacuate(cloud, self.adaptive(cloud), 200) / best)
            with self.subTest(knee=knee, ratios=ratios):
                self.assertLess(sum(ratios) / len(ratios), 1.2)

    def test_it_grows_where_the_cloud_has_room(self):
        cloud = pace_cloud.Cloud(100)
        pacer = self.adaptive(cloud, window_start=2)
        pace_cloud.evacuate(cloud, pacer, 200)
        self.assertEqual([2, 4, 8, 16, 24], pacer.sizes[:5])

    def test_it_shrinks_where_fewer_are_as_fast(self):
        cloud = pace_cloud.Cloud(4)
        pacer = self.adaptive(cloud, window_start=12)
        pace_cloud.evacuate(cloud, pacer, 300)
        self.assertLessEqual(max(pacer.sizes[-6:]), 7, pacer.sizes)

    def test_a_cloud_that_gets_slow_and_fast_again(self):
        cloud = pace_cloud.Cloud(16)
        pacer = self.adaptive(cloud)
        pace_cloud.evacuate(cloud, pacer, 200)
        self.assertGreaterEqual(pacer.size, 12, pacer.sizes)
        cloud.knee = 3
        pace_cloud.evacuate(cloud, pacer, 300)
        self.assertLessEqual(pacer.size, 6, pacer.sizes)
        cloud.knee = 16
        pace_cloud.evacuate(cloud, pacer, 600)
        self.assertGreaterEqual(pacer.size, 10, pacer.sizes)

    def test_it_recovers_from_trouble(self):
        cloud = pace_cloud.Cloud(8)
        pacer = self.adaptive(cloud)
        for _ in range(4):
            for host in cloud.hosts:
                cloud.now += 1
                pacer.trouble(host, cloud.clock(), 6)
        self.assertEqual(1, pacer.size)
        self.assertEqual({1}, {pacer.room(host) for host in cloud.hosts})
        pace_cloud.evacuate(cloud, pacer, 300)
        self.assertTrue(6 <= pacer.size <= 14, pacer.sizes)
        self.assertLess(1, min(pacer.room(host) for host in cloud.hosts))

    def test_a_target_that_is_slow_gets_less(self):
        cloud = pace_cloud.Cloud(100, targets=4, own={'t0': 1})
        pacer = self.adaptive(cloud)
        pace_cloud.evacuate(cloud, pacer, 80)
        slow, *well = [pacer.room(host) for host in cloud.hosts]
        self.assertEqual([8, 8, 8], well)
        self.assertLess(slow, 3, 'what it began with')

    def test_where_something_else_is_the_limit_it_does_not_grow(self):
        cloud = pace_cloud.Cloud(100)
        pacer = self.adaptive(cloud)
        for _ in range(30):
            pace_cloud.evacuate(cloud, pacer, 3)
        self.assertEqual([6], pacer.sizes)


class ByHandTest(unittest.TestCase):

    def test_it_begins_at_its_start_within_its_bounds(self):
        found = pace.start(POLICY, START)
        self.assertEqual((6, 3), (found.window.size, pace.room(found, node())[0]))
        found = pace.start(model.Policy(window=2, window_per_target=1), START)
        self.assertEqual((2, 1), (found.window.size, pace.room(found, node())[0]))
        self.assertEqual('2 at a time, at most 2: to begin with',
                         pace.describe(found, [node()]))

    def test_what_was_sent_together_is_one_trouble(self):
        found = pace.start(POLICY, START)
        for host in 'aabbcc':
            found = pace.landed(found, host, at(0), 3, at(4))
        for host in 'aaabc':
            found = pace.trouble(found, host, at(0), at(5))
        self.assertEqual((3, 2), (found.window.size, pace.room(found, node())[0]))
        found = pace.trouble(found, 'd', at(6), at(7))
        self.assertEqual((1, 1), (found.window.size, pace.room(found, node('d'))[0]))

    def test_calls_that_are_not_answered_are_no_targets_trouble(self):
        found = pace.start(POLICY, START)
        for number in range(2):
            found = pace.trouble(found, '', at(number), at(number))
        self.assertEqual((1, 3), (found.window.size, pace.room(found, node())[0]))
        self.assertEqual('1 at a time, at most 24: a call was not answered',
                         pace.describe(found, [node()]))

    def test_what_a_target_refuses_again_is_its_own_trouble(self):
        found = pace.start(POLICY, START)
        for number in range(10):
            found = pace.trouble(found, 'full', at(number), at(number))
        self.assertEqual((3, 1, 3), (found.window.size, *(
            pace.room(found, node(host))[0] for host in ('full', 'well'))))

    def test_what_was_sent_at_another_window_does_not_count(self):
        found = pace.trouble(pace.start(POLICY, START), 'a', at(0), at(10))
        for _ in range(20):
            found = pace.landed(found, 'b', at(9), 6, at(20))
        self.assertEqual((3, 0), (found.window.size, found.window.landed))

    def test_a_target_whose_heartbeats_fall_behind_gets_less(self):
        found = pace.start(POLICY, START)
        for _ in range(20):
            found = pace.landed(found, 'a', at(0), 6, at(4))
        self.assertEqual([8, 8, 4, 4, 1, 1], [pace.room(found, node(silent=s))[0]
                                              for s in (0, 18, 19, 24, 25, 500)])
        self.assertIn('4 to a: its last heartbeat is 20 s old',
                      pace.describe(found, [node(silent=20)]))
        self.assertEqual(8, pace.room(found, model.ComputeNode('a'))[0], 'nothing is known')

    def test_it_says_why(self):
        found, now = pace.start(POLICY, START), 0
        texts = [pace.describe(found, [])]
        for took in (4, 8, 8, 8):
            for _ in range(found.window.size * found.window.rounds):
                found = pace.landed(found, 'a', at(now), found.window.size, at(now + took))
            now += took
            texts.append(pace.describe(found, []))
        self.assertEqual([
            '6 at a time, at most 24: to begin with',
            '12 at a time, at most 24: to see if that is faster',
            '7 at a time, at most 24: 12 at a time are 1.00 times as fast as 6',
            '5 at a time, at most 24: to see if that is as fast',
            '7 at a time, at most 24: 7 at a time are 1.40 times as fast as 5'], texts)
        found = pace.trouble(found, 'a', at(now), at(now))
        self.assertEqual('3 at a time, at most 24: an evacuation to a was refused or failed; '
                         '4 to a: one was refused or failed',
                         pace.describe(found, [node()]))
