"""What the channels saw of one host, and what that tells at a moment."""

import unittest

from vmha_nova.monitor import channels as c
from vmha_nova.monitor import history

SETTINGS = c.Settings()


class HistoryTest(unittest.TestCase):
    def setUp(self):
        self.one = history.History('c1', SETTINGS)
        for at in (0, 2, 4):
            self.round(at, c.ANSWERS, c.ANSWERS)
            self.nova(at, 'b1')
            self.ceph(at, c.UP)

    def round(self, at, management, storage, took=0.1):
        self.one.on_round(c.Round('c1', at, at + took, {
            c.MANAGEMENT: {c.Target('10.0.0.1', 22): management},
            c.STORAGE: {c.Target('10.9.0.1', 6800): storage}}))

    def nova(self, at, beat, **values):
        self.one.on_nova(c.NovaLook(at, at + 0.1, {'c1': beat}, **values))

    def ceph(self, at, word):
        self.one.on_storage(c.StorageLook(at, at + 0.1, {'c1': (word, '')}))

    def silent(self, at, word=c.REFUSED):
        for i in range(3):
            self.round(at + i * 0.3, word, word)

    def heartbeat(self, at):
        return self.one.signs(at).heartbeat

    def test_the_first_look_since_the_silence_may_show_a_beat_from_before(self):
        self.silent(6)
        self.assertEqual(c.UNKNOWN, self.heartbeat(7))
        self.nova(6.8, 'b1')
        self.assertEqual(c.UNKNOWN, self.heartbeat(7))
        self.nova(7.3, 'b1')
        self.assertEqual(c.QUIET, self.heartbeat(7.5))

    def test_a_look_that_began_before_the_silence_counts_for_nothing(self):
        self.nova(5.9, 'b1')
        self.silent(6)
        self.nova(6.8, 'b1')
        self.assertEqual(c.UNKNOWN, self.heartbeat(7))

    def test_who_beats_while_it_is_silent_lives_until_that_ends_for_long(self):
        self.silent(6)
        for at, beat in ((6.8, 'b1'), (7.3, 'b2'), (7.8, 'b2'), (15, 'b2'), (30, 'b2')):
            self.nova(at, beat)
            self.assertIn(self.heartbeat(at + 0.2), (c.FRESH, c.UNKNOWN), at)
        self.assertEqual(c.FRESH, self.heartbeat(30.2))
        self.nova(33, 'b2')
        self.assertEqual(c.MISSING, self.heartbeat(33.2))

    def test_what_nova_was_not_asked_is_not_missing(self):
        self.assertEqual(c.FRESH, self.heartbeat(10))
        self.assertEqual(c.UNKNOWN, self.heartbeat(60))

    def test_a_cell_that_is_down(self):
        self.nova(60, 'b1', unknown=frozenset(['c1']))
        self.assertEqual(c.UNKNOWN, self.heartbeat(60))

    def test_an_answer_begins_anew(self):
        self.silent(6)
        self.nova(6.8, 'b1')
        self.nova(7.3, 'b1')
        self.round(8, c.ANSWERS, c.REFUSED)
        self.assertEqual(c.FRESH, self.heartbeat(8))
        self.assertEqual(0.0, self.one.signs(9).silent)
        self.silent(10)
        self.assertEqual(c.UNKNOWN, self.heartbeat(11))

    def test_osds_that_fell_with_the_host_and_long_before(self):
        self.silent(6)
        self.ceph(7, c.DOWN)
        self.assertEqual(c.DOWN, self.one.signs(7.5).osds)
        self.round(8, c.ANSWERS, c.ANSWERS)
        for at in (20, 30, 38):
            self.ceph(at, c.DOWN)
        self.silent(40)
        self.assertEqual(c.DOWN_BEFORE, self.one.signs(41).osds)

    def test_three_of_four(self):
        network = lambda at: self.one.signs(at).networks[c.MANAGEMENT]  # noqa: E731
        for at, word, expected in (
                (6, c.REFUSED, c.ANSWERS), (6.3, c.REFUSED, c.ANSWERS),
                (6.6, c.ANSWERS, c.ANSWERS),
                (6.9, c.REFUSED, c.ANSWERS),    # three of the last four; but it has just answered
                (7.2, c.REFUSED, c.ANSWERS), (7.7, c.REFUSED, c.REFUSED)):
            self.round(at, word, word, took=0.0)
            self.assertEqual(expected, network(at + 0.01), at)

    def test_what_is_lost_takes_longer_than_what_refuses(self):
        self.silent(6, c.LOST)
        self.assertEqual(c.ANSWERS, self.one.signs(7).networks[c.STORAGE])
        self.silent(10, c.LOST)
        self.assertEqual(c.LOST, self.one.signs(11).networks[c.STORAGE])

    def test_our_own_faults_are_no_silence(self):
        self.silent(6, c.UNKNOWN)
        self.assertFalse(self.one.suspect)
        self.assertTrue(self.one.signs(25).stale)
        self.assertEqual({c.UNKNOWN}, set(self.one.signs(25).networks.values()))

    def test_evidence_is_for_json(self):
        self.silent(6)
        self.assertEqual({
            'heartbeat': 'unknown', 'beatless_seconds': 6.9, 'osds': 'up', 'silent_seconds': 1.0,
            'networks': {'management': {'reading': 'refused', '10.0.0.1:22': 'refused'},
                         'storage': {'reading': 'refused', '10.9.0.1:6800': 'refused'}}},
            self.one.evidence(self.one.signs(7)))
