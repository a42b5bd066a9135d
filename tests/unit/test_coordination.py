"""Who leads: by a lock in a folder, and by one that hangs, is lost, or is away."""

import tempfile
import threading
import time
import unittest

from vmha_nova import coordination
from vmha_nova import exception


class LockFileTest(unittest.TestCase):
    """Two processes on one machine; a lock of tooz's file driver belongs to its object."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = f'file://{folder.name}'

    def member(self, name):
        one = coordination.Leadership(self.url, 'vmha-monitor', name)
        self.addCleanup(one.stop)
        return one

    def test_one_leads_and_the_other_takes_over(self):
        one, two = self.member('one'), self.member('two')
        one.cycle()
        two.cycle()
        self.assertEqual((True, False), (one.leads(), two.leads()))
        for _ in range(3):
            one.cycle()
            two.cycle()
            self.assertEqual((True, False), (one.leads(), two.leads()))
        one._leave()
        self.assertFalse(one.leads())
        two.cycle()
        self.assertTrue(two.leads())

    def test_as_threads(self):
        one = self.member('one')
        one.start()
        end = time.monotonic() + 5
        while not one.leads() and time.monotonic() < end:
            time.sleep(0.02)
        self.assertTrue(one.leads())
        one.stop()
        self.assertFalse(one.leads())
        two = self.member('two')
        two.cycle()
        self.assertTrue(two.leads())


class Backend:
    """A coordinator with one lock that fails as told."""

    def __init__(self):
        self.held = self.acquired = False
        self.owner = True
        self.trouble, self.hang = None, threading.Event()
        self.connected = 0

    def __call__(self, url, member, **options):
        self.connected += 1
        self.options = options
        self._fail()
        return self

    def _fail(self):
        if self.trouble:
            raise self.trouble

    def start(self):
        self._fail()

    def stop(self):
        self._fail()

    def get_lock(self, name):
        return self

    def heartbeat(self):
        self._fail()
        return True

    def acquire(self, blocking):
        self._fail()
        self.acquired = not self.held
        return self.acquired

    def is_still_owner(self):
        if self.owner is None:
            raise NotImplementedError
        return self.owner

    def release(self):
        self.acquired = False


class TroubleTest(unittest.TestCase):
    def setUp(self):
        self.now = 100.0
        self.backend = Backend()
        self.one = coordination.Leadership(
            'etcd3+http://x', 'lock', 'me', lease=15, monotonic=lambda: self.now,
            connect=self.backend)

    def test_no_backend_is_to_be_alone(self):
        alone = coordination.Leadership('', 'lock', 'me')
        alone.start()
        self.assertTrue(alone.leads())
        alone.stop()
        self.assertFalse(alone.leads())

    def test_who_leads_stops_before_the_backend_lets_another_one(self):
        for lease in (5, 6, 7.5, 15, 60):
            one = coordination.Leadership('etcd3+http://x', 'lock', 'me', lease,
                                          lambda: self.now, self.backend)
            one.cycle()
            kept = self.backend.options['lock_timeout']
            self.assertEqual(kept, self.backend.options['timeout'])
            self.assertIsInstance(kept, int)
            self.assertLess(kept, lease)
            self.now += kept - 0.5
            self.assertFalse(one.leads(), lease)

    def test_a_backend_that_goes_away_for_a_moment_changes_nothing(self):
        self.one.cycle()
        self.backend.trouble = ConnectionError('gone')
        for _ in range(9):
            self.now += 1.0
            self.assertEqual(coordination.CYCLE, self.one.cycle())
            self.assertTrue(self.one.leads())
            self.assertEqual('the lock of the lead: gone', self.one.problem)
        self.backend.trouble = None
        self.one.cycle()
        self.now += 9.0
        self.assertTrue(self.one.leads())
        self.assertEqual('', self.one.problem)
        self.assertEqual(1, self.backend.connected)

    def test_one_that_stays_away_ends_the_lead(self):
        self.one.cycle()
        self.backend.trouble = ConnectionError('gone')
        for _ in range(11):
            self.now += 1.0
            self.one.cycle()
        self.assertFalse(self.one.leads())
        self.backend.trouble = None
        self.one.cycle()
        self.assertTrue(self.one.leads())

    def test_a_backend_that_hangs_ends_it_in_time(self):
        """The thread is inside the library; only time passes."""
        self.one.cycle()
        self.now += 9.9
        self.assertTrue(self.one.leads())
        self.now += 0.2
        self.assertFalse(self.one.leads())

    def test_who_was_away_for_too_long_takes_the_lock_anew(self):
        """The lease may have run out, and a driver that does not know of it says it is ours."""
        self.backend.owner = None
        self.one.cycle()
        self.now += 40
        self.one.cycle()
        self.assertFalse(self.one.leads())
        self.assertEqual(1, self.backend.connected)
        self.backend.held = True                # by another one by now
        self.one.cycle()
        self.assertFalse(self.one.leads())
        self.assertEqual(2, self.backend.connected)

    def test_a_lock_that_somebody_broke(self):
        self.one.cycle()
        self.backend.owner = False
        self.one.cycle()
        self.assertFalse(self.one.leads())

    def test_a_backend_nobody_knows(self):
        for url in ('carrier-pigeon://x', 'x'):
            with self.assertRaisesRegex(exception.ConfigurationError, 'backend_url'):
                coordination.check(url, 'me')
        coordination.check('', 'me')
