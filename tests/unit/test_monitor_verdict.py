"""What is made of a host, for every combination of what the channels can tell."""

import dataclasses
import itertools
import unittest

from vmha_nova.monitor import channels as c
from vmha_nova.monitor import verdict

SETTINGS = c.Settings()
ALL = list(itertools.product(
    c.HEARTBEAT, c.OSDS, c.NETWORK, c.NETWORK, (0.0, 3.0, 10.0, 40.0), (0, 5), ('', 'no Nova')))


def signs(heartbeat=c.FRESH, osds=c.UP, management=c.ANSWERS, storage=c.ANSWERS, silent=0.0,
          flapping=0, cut_off=''):
    return c.Signs(heartbeat, osds, {c.MANAGEMENT: management, c.STORAGE: storage}, silent,
                   beatless=26.0, flapping=flapping, cut_off=cut_off)


def every():
    for combination in ALL:
        one = signs(*combination)
        yield one, verdict.judge(one, SETTINGS)


class TotalTest(unittest.TestCase):
    def test_every_combination_has_a_verdict_and_a_reason(self):
        for one, found in every():
            self.assertIn(found.what, verdict.VERDICTS, one)
            self.assertTrue(found.reason, one)
            self.assertNotIn('\n', found.reason)

    def test_networks_that_are_not_there(self):
        for networks in ({}, {c.MANAGEMENT: c.LOST}, {c.STORAGE: c.LOST}):
            for heartbeat, osds in itertools.product(c.HEARTBEAT, c.OSDS):
                found = verdict.judge(c.Signs(heartbeat, osds, networks, 10.0), SETTINGS)
                self.assertIn(found.what, verdict.VERDICTS)
                if c.MANAGEMENT not in networks:
                    self.assertNotEqual(verdict.DEAD, found.what)

    def test_cut_off_is_all_that_is_said(self):
        for one, found in every():
            self.assertEqual(bool(one.cut_off), found.what == verdict.CUT_OFF, one)

    def test_dead_needs_every_channel(self):
        said = 0
        for one, found in every():
            if found.what != verdict.DEAD:
                continue
            said += 1
            self.assertIn(one.heartbeat, (c.QUIET, c.MISSING), one)
            self.assertIn(one.osds, (c.DOWN, c.DOWN_BEFORE), one)
            self.assertNotIn(c.ANSWERS, one.networks.values(), one)
            self.assertNotEqual(c.UNKNOWN, one.networks[c.MANAGEMENT], one)
            if one.osds == c.DOWN_BEFORE:
                self.assertEqual(c.MISSING, one.heartbeat, one)
            if c.REFUSED not in one.networks.values():
                self.assertGreaterEqual(one.silent, SETTINGS.silent_after, one)
            if one.flapping:
                self.assertGreaterEqual(one.silent, SETTINGS.flap_hold, one)
        self.assertGreater(said, 10)

    def test_what_is_reported_never_answers(self):
        for one, found in every():
            if found.what in (verdict.DEAD, verdict.PROBABLY_DEAD):
                self.assertNotIn(c.ANSWERS, one.networks.values(), one)
                self.assertNotEqual(c.FRESH, one.heartbeat, one)
                self.assertNotEqual(c.UNKNOWN, one.heartbeat, one)

    def test_more_signs_of_life_never_make_it_worse(self):
        """Where one channel tells of life instead of death, 'dead' is not said for it."""
        for one, found in every():
            if found.what in (verdict.DEAD, verdict.PROBABLY_DEAD):
                alive = [dataclasses.replace(one, heartbeat=c.FRESH)]
                alive += [dataclasses.replace(one, networks={**one.networks, name: c.ANSWERS})
                          for name in one.networks]
                for other in alive:
                    self.assertNotIn(verdict.judge(other, SETTINGS).what,
                                     (verdict.DEAD, verdict.PROBABLY_DEAD), other)


class TableTest(unittest.TestCase):
    """The rows of the design, and what happens to the parts of a host."""

    def said(self, *args, **values):
        return verdict.judge(signs(*args, **values), SETTINGS).what

    def test_the_rows(self):
        lost, answers = (c.LOST, c.LOST), (c.ANSWERS, c.ANSWERS)
        rows = [
            ((c.MISSING, c.DOWN, *lost, 10.0), verdict.DEAD),
            ((c.QUIET, c.DOWN, *lost, 10.0), verdict.DEAD),
            ((c.QUIET, c.UP, *lost, 6.0), verdict.PROBABLY_DEAD),
            ((c.QUIET, c.NONE, *lost, 6.0), verdict.PROBABLY_DEAD),
            ((c.MISSING, c.UP, *answers), verdict.COMPUTE_DOWN),
            ((c.MISSING, c.UP, c.LOST, c.ANSWERS), verdict.ISOLATED),
            ((c.MISSING, c.UP, *lost, 40.0), verdict.ISOLATED),
            ((c.FRESH, c.DOWN, *answers), verdict.STORAGE_TROUBLE),
            ((c.FRESH, c.UP, *answers), verdict.ALIVE)]
        for args, expected in rows:
            self.assertEqual(expected, self.said(*args), args)

    def test_killed_processes_are_dead_at_once(self):
        self.assertEqual(verdict.DEAD, self.said(c.QUIET, c.DOWN, c.REFUSED, c.REFUSED, 1.0))

    def test_silence_takes_longer(self):
        self.assertEqual(verdict.UNCLEAR, self.said(c.QUIET, c.DOWN, c.LOST, c.LOST, 5.9))

    def test_an_osd_killed_alone_where_management_never_answered(self):
        self.assertEqual(verdict.UNCLEAR, self.said(c.QUIET, c.DOWN, c.UNKNOWN, c.REFUSED, 3.0))

    def test_sshd_restarts_on_a_host_whose_osds_have_been_down_for_days(self):
        self.assertEqual(verdict.UNCLEAR, self.said(
            c.QUIET, c.DOWN_BEFORE, c.REFUSED, c.REFUSED, 3.0))

    def test_only_the_storage_cable(self):
        self.assertEqual(verdict.STORAGE_TROUBLE, self.said(c.FRESH, c.UP, c.ANSWERS, c.LOST))
        self.assertEqual(verdict.STORAGE_TROUBLE, self.said(c.FRESH, c.DOWN, c.ANSWERS, c.LOST))

    def test_only_the_management_cable_before_the_heartbeat_is_missed(self):
        self.assertEqual(verdict.ALIVE, self.said(c.FRESH, c.UP, c.LOST, c.ANSWERS))

    def test_nova_compute_is_down_on_a_host_with_trouble_with_its_storage(self):
        """The storage is the worse news, and may be why; that no beat comes is said with it."""
        for osds, stored in ((c.UP, c.LOST), (c.DOWN, c.LOST), (c.DOWN, c.REFUSED),
                             (c.DOWN, c.ANSWERS), (c.DOWN, c.UNKNOWN)):
            found = verdict.judge(signs(c.MISSING, osds, c.ANSWERS, stored), SETTINGS)
            self.assertEqual(verdict.STORAGE_TROUBLE, found.what, (osds, stored))
            self.assertIn('no heartbeat for', found.reason)

    def test_a_host_that_flaps_must_be_silent_for_long(self):
        self.assertEqual(verdict.UNCLEAR, self.said(
            c.MISSING, c.DOWN, c.LOST, c.LOST, 40.0, flapping=5))
        self.assertEqual(verdict.DEAD, self.said(
            c.MISSING, c.DOWN, c.LOST, c.LOST, 60.0, flapping=5))
