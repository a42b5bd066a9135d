"""A part of the cloud is killed in the middle of a recovery: all are recovered, once, or named.

One moment of each fault; another one with VMHA_SEED, which takes two minutes where Nova loses a
call for good. All of them, by hand: ``bench faults``.
"""

import unittest

from tests.functional import base
from tests.lab import faults
from tests.lab import survival


class SurvivalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ground = survival.Ground(base.the_lab(), settings={'recovery.move_timeout': 60})
        cls.addClassCleanup(cls.ground.end)
        cls.ground.begin()

    def survive(self, name, number=0):
        """A case without problems; returns it."""
        case = self.ground.case(faults.FAULTS[name], faults.moment(name, number, base.SEED))
        self.assertEqual([], case['problems'], case)
        self.assertEqual(survival.SERVERS, case['recovered'] + len(case['named']), case)
        return case

    def all_recovered(self, name, number=0):
        """The same, and nobody only named."""
        case = self.survive(name, number)
        self.assertEqual([], case['named'], case)

    def test_the_only_engine(self):
        self.all_recovered('engine')

    def test_the_engine_that_leads(self):
        self.all_recovered('leader')

    def test_the_engine_that_waits(self):
        self.all_recovered('follower')

    def test_rabbitmq(self):
        self.survive('rabbitmq')

    def test_the_database(self):
        self.survive('mariadb')

    def test_nova_api(self):
        """It may die when it has written down what it was about to pass on."""
        self.survive('nova-api')

    def test_nova_conductor(self):
        self.survive('nova-conductor')

    def test_nova_scheduler(self):
        self.survive('nova-scheduler')

    def test_nova_compute_of_the_spare(self):
        self.survive('spare')

    def test_a_slow_keystone(self):
        self.all_recovered('keystone-slow')
