"""The connection to Ceph: nothing hangs for long, and every failure has its meaning."""

import contextlib
import errno
import socket
import sys
import threading
import time
from unittest import mock

import testtools

from tests.unit import fake_rados
from vmha_nova.ceph import wire
from vmha_nova import exception

NEVER = 30.0


def eventually(predicate):
    until = time.monotonic() + 5.0
    while not predicate() and time.monotonic() < until:
        time.sleep(0.005)
    return predicate()


class CallsTest(testtools.TestCase):
    """Calls that hang."""

    def setUp(self):
        super().setUp()
        self.calls = wire.Calls(most_hung=3)
        self.free = threading.Event()
        self.addCleanup(self.free.set)

    def hang(self):
        job = self.calls.start('hang', lambda job: self.free.wait(NEVER))
        self.assertRaises(exception.Unreachable, job.result, time.monotonic())
        return job

    def test_the_result(self):
        job = self.calls.start('add', lambda job: 1 + 1)
        self.assertEqual(2, job.result(time.monotonic() + NEVER))
        self.assertEqual(0, self.calls.hung)

    def test_the_error(self):
        job = self.calls.start('fail', lambda job: {}['x'])
        self.assertRaises(KeyError, job.result, time.monotonic() + NEVER)
        self.assertEqual(0, self.calls.hung)

    def test_the_caller_is_not_held_up(self):
        job = self.calls.start('hang', lambda job: self.free.wait(NEVER))
        begin = time.monotonic()
        error = self.assertRaises(exception.Unreachable, job.result, begin + 0.05)
        self.assertLess(time.monotonic() - begin, 1.0)
        self.assertIn('hang: no answer in time', str(error))

    def test_those_that_hang_are_few(self):
        for _ in range(3):
            self.hang()
        error = self.assertRaises(exception.Unreachable, self.calls.start, 'more', print)
        self.assertIn('3 calls', str(error))
        self.free.set()
        self.assertTrue(eventually(lambda: self.calls.hung == 0))
        self.assertEqual(7, self.calls.start('more', lambda job: 7).result(
            time.monotonic() + NEVER))

    def test_given_up_once(self):
        """Two that wait for one job count one that hangs, and it comes back once."""
        job = self.hang()
        job.leave()
        self.assertEqual(1, self.calls.hung)
        self.free.set()
        self.assertTrue(eventually(lambda: self.calls.hung == 0))
        time.sleep(0.02)
        self.assertEqual(0, self.calls.hung)

    def test_back_in_the_last_moment(self):
        job = self.calls.start('quick', lambda job: 5)
        job.done.wait()
        self.assertFalse(self.calls.give_up(job))
        self.assertEqual(5, job.result(time.monotonic() - 1.0))
        self.assertEqual(0, self.calls.hung)

    def test_no_more_threads(self):
        with mock.patch.object(threading.Thread, 'start', side_effect=RuntimeError('enough')):
            self.assertRaises(exception.Unreachable, self.calls.start, 'more', print)


class Base(testtools.TestCase):

    timeout = 0.2

    def setUp(self):
        super().setUp()
        self.patch(wire, 'GRACE', 0.1)
        self.patch(wire, '_PARTING', 0.1)
        self.fake = fake_rados.FakeCluster()
        self.addCleanup(self.fake.released.set)
        self.cluster = wire.Cluster('/etc/ceph/ceph.conf', 'vmha', '/key', self.timeout,
                                    self.fake.rados, most_hung=8)
        self.addCleanup(self.cluster.close)

    def ask(self, prefix='quorum_status'):
        return self.cluster.run(prefix, lambda rados: wire.command(rados.mon_command, prefix),
                                "mon 'allow r'")

    def states(self):
        return [rados.state for rados in self.fake.connections]


class ClusterTest(Base):
    """When it connects, and when it connects again."""

    def test_limits(self):
        wire.Cluster('/c', 'vmha', '/key', 7.5, self.fake.rados).run('x', lambda rados: None)
        (conf_file, name, conf), = [args for what, args in self.fake.log if what == 'conf']
        self.assertEqual(('/c', 'client.vmha'), (conf_file, name))
        self.assertEqual('/key', conf['keyring'])
        for option in ('rados_mon_op_timeout', 'rados_osd_op_timeout', 'client_mount_timeout'):
            self.assertEqual('8', conf[option], option)

    def test_the_keyring_may_be_left_to_ceph(self):
        wire.Cluster('/c', 'client.x', rados=self.fake.rados).run('x', lambda rados: None)
        (_, name, conf), = [args for what, args in self.fake.log if what == 'conf']
        self.assertEqual('client.x', name)
        self.assertNotIn('keyring', conf)

    def test_one_connection_for_all(self):
        self.assertEqual([], self.fake.connections)
        for _ in range(3):
            self.ask()
        self.assertEqual(['connected'], self.states())

    def test_many_at_once_share_one(self):
        jobs = [self.cluster.start('x', lambda rados: rados) for _ in range(8)]
        found = {job.result(self.cluster.deadline()) for job in jobs}
        self.assertEqual(set(self.fake.connections), found)
        self.assertEqual(1, len(found))

    def test_anew_after_a_failure(self):
        self.ask()
        for code in (errno.ETIMEDOUT, errno.ESHUTDOWN, errno.EIO):
            self.fake.codes['quorum_status'] = code
            self.assertRaises(exception.Unreachable, self.ask)
            self.fake.codes.clear()
            self.ask()
        self.assertEqual(['shut down'] * 3 + ['connected'], self.states())

    def test_not_anew_after_a_refusal(self):
        for code in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EINVAL):
            self.fake.codes['quorum_status'] = code
            self.assertRaises(exception.Rejected, self.ask)
        self.assertEqual(['connected'], self.states())

    def test_an_answer_that_hangs(self):
        self.fake.hanging.add('quorum_status')
        begin = time.monotonic()
        self.assertRaises(exception.Unreachable, self.ask)
        self.assertLess(time.monotonic() - begin, 2.0)
        self.fake.hanging.clear()
        self.ask()                      # through a new one: the old one may be stuck
        self.assertEqual(['connected', 'connected'], self.states())
        self.fake.released.set()        # and only now nobody uses the old one any more
        self.assertTrue(eventually(lambda: self.states() == ['shut down', 'connected']))

    def test_in_use_it_is_not_shut_down(self):
        entered, leave = threading.Event(), threading.Event()
        self.addCleanup(leave.set)
        job = self.cluster.start('use', lambda rados: (
            entered.set(), leave.wait(NEVER), rados.state)[2])
        self.assertTrue(entered.wait(NEVER))
        self.fake.codes['quorum_status'] = errno.ETIMEDOUT
        self.assertRaises(exception.Unreachable, self.ask)
        self.cluster.close()
        leave.set()
        self.assertEqual('connected', job.result(time.monotonic() + NEVER))
        self.assertTrue(eventually(lambda: self.states() == ['shut down']))

    def test_no_monitor_answers(self):
        self.fake.codes['connect'] = errno.ETIMEDOUT
        self.assertRaises(exception.Unreachable, self.ask)
        self.assertEqual(['shut down'], self.states())
        self.fake.codes.clear()
        self.ask()

    def test_nothing_is_sent_for_one_who_has_gone(self):
        """Connecting took too long: what the caller wanted done is not done behind his back."""
        self.fake.hanging.add('connect')
        jobs = [self.cluster.start('act', lambda rados: wire.command(
            rados.mon_command, 'osd down', ids=['0'], definitely_dead=True)) for _ in range(3)]
        for job in jobs:
            self.assertRaises(exception.Unreachable, job.result, self.cluster.deadline())
        self.fake.released.set()
        self.assertTrue(eventually(lambda: self.cluster._calls.hung == 0))
        self.assertEqual(0, self.fake.asked('osd down'))
        self.assertLessEqual(self.fake.asked('connect'), 1)

    def test_a_disconnect_that_hangs(self):
        self.ask()
        self.fake.hanging.add('shutdown')
        begin = time.monotonic()
        self.cluster.close()
        self.assertLess(time.monotonic() - begin, 2.0)
        self.ask()

    def test_at_the_end_of_the_process(self):
        self.ask()
        wire._close_all()
        self.assertEqual(['shut down'], self.states())

    def test_each(self):
        def double(rados, item):
            if item == 3:
                raise fake_rados.Error('three', errno.ETIMEDOUT)
            return 2 * item
        found = dict(self.cluster.each('double {}', range(5), double, 2))
        error = found.pop(3)
        self.assertEqual({0: 0, 1: 2, 2: 4, 4: 8}, found)
        self.assertEqual((exception.Unreachable, 'double 3: three'), (type(error), str(error)))

    def test_each_not_all_at_once(self):
        counts, now, lock = [], [], threading.Lock()

        def count(rados, item):
            with lock:
                now.append(item)
                counts.append(len(now))
            time.sleep(0.005)
            with lock:
                now.remove(item)
        self.assertEqual(40, len(list(self.cluster.each('{}', range(40), count, 4))))
        self.assertLessEqual(max(counts), 4)
        self.assertGreater(max(counts), 1)

    def test_each_when_all_hang(self):
        """As many as may hang; the rest fails at once."""
        begin = time.monotonic()
        found = list(self.cluster.each(
            '{}', range(100), lambda rados, item: self.fake.released.wait(NEVER), 4))
        self.assertLess(time.monotonic() - begin, 5.0)
        self.assertEqual(100, len(found))
        self.assertTrue(all(isinstance(e, exception.Unreachable) for _, e in found))


class MeaningTest(Base):
    """What failures mean."""

    def fails(self, error, **faults):
        self.fake.codes = faults
        raised = self.assertRaises(exception.VmhaError, self.ask)
        self.assertIs(error, type(raised), repr(raised))
        self.assertNotIn('\n', str(raised))
        return str(raised)

    def test_answers(self):
        for code, error in (
                (errno.ENOENT, exception.NotFound), (errno.EINVAL, exception.Rejected),
                (errno.EACCES, exception.Rejected), (errno.EPERM, exception.Rejected),
                (errno.ETIMEDOUT, exception.Unreachable), (errno.ESHUTDOWN, exception.Unreachable),
                (errno.EIO, exception.Unreachable), (errno.EAGAIN, exception.Unreachable),
                (errno.EBUSY, exception.Unreachable)):
            self.assertIn('quorum_status: ', self.fails(error, quorum_status=code))

    def test_a_missing_cap_is_named(self):
        for code in (errno.EACCES, errno.EPERM):
            self.assertIn("client.vmha lacks the cap mon 'allow r'",
                          self.fails(exception.Rejected, quorum_status=code))

    def test_we_are_blocklisted_ourselves(self):
        self.assertIn('on the blocklist', self.fails(exception.Unreachable,
                                                     quorum_status=errno.ESHUTDOWN))

    def test_the_configuration(self):
        self.assertIn('/etc/ceph/ceph.conf', self.fails(exception.ConfigurationError,
                                                        conf=errno.ENOENT))
        self.assertIn('client.vmha', self.fails(exception.ConfigurationError,
                                                connect=errno.ENOENT))
        self.assertIn('refuse the key of client.vmha', self.fails(exception.Rejected,
                                                                  connect=errno.EACCES))

    def test_what_is_no_answer(self):
        for text in (b'no JSON', b'\xff'):
            self.patch(fake_rados.FakeRados, 'mon_command', lambda *_, t=text: (0, t, ''))
            self.fails(exception.Unreachable)

    def test_errors_of_any_kind(self):
        for error, expected in (
                (fake_rados.Error('two\n  lines', 5), 'x: two lines'),
                (RuntimeError(), 'x: RuntimeError'),
                (fake_rados.Error('y' * 1000, 5), 'x: ' + 'y' * 400),
                (exception.Unreachable('x: known'), 'x: known'),
                (exception.Unreachable('known'), 'x: known')):
            raised = self.assertRaises(exception.Unreachable, self.raising, error)
            self.assertEqual(expected, str(raised))
        kept = self.assertRaises(exception.Rejected, self.raising, exception.NotFound('gone', 2))
        self.assertEqual((exception.NotFound, 2), (type(kept), kept.code))

    def raising(self, error):
        with wire.translated('x'):
            raise error

    def test_no_bindings(self):
        wire.binding.cache_clear()
        self.addCleanup(wire.binding.cache_clear)
        with mock.patch.dict(sys.modules, {'rados': None}):
            raised = self.assertRaises(exception.ConfigurationError, wire.Cluster, '/c', 'vmha')
        self.assertIn('python3-rados', str(raised))

    def test_a_pool_that_is_missing_is_no_missing_image(self):
        def open_(rados):
            with wire.pool(rados, 'nowhere'):
                pass
        raised = self.assertRaises(exception.Rejected, self.cluster.run, 'x', open_)
        self.assertIs(exception.Rejected, type(raised))
        self.assertIn('there is no pool nowhere', str(raised))


class RefusingTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.stack = self.enterContext(contextlib.ExitStack())

    def listener(self, backlog=5):
        server = self.stack.enter_context(socket.socket())
        server.bind(('127.0.0.1', 0))
        if backlog is not None:
            server.listen(backlog)
        return server.getsockname()

    def test_all_refuse(self):
        self.assertTrue(wire.refusing([self.listener(None), self.listener(None)], 5.0))

    def test_one_accepts(self):
        self.assertFalse(wire.refusing([self.listener(None), self.listener()], 5.0))

    def test_one_is_silent(self):
        """A queue that is full lets further connections wait."""
        silent = self.listener(0)
        for _ in range(3):
            waiting = self.stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent)
        begin = time.monotonic()
        self.assertFalse(wire.refusing([self.listener(None), silent, silent, silent], 0.2))
        self.assertLess(time.monotonic() - begin, 1.0)

    def test_none_at_all(self):
        self.assertFalse(wire.refusing([], 5.0))

    def test_no_time(self):
        self.assertFalse(wire.refusing([self.listener(None)], 0.0))

    def test_no_way_there(self):
        self.assertFalse(wire.refusing([('no such name.invalid', 1)], 1.0))
