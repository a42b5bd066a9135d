"""Connects on real sockets, to addresses of the loopback network."""

import errno
import os
import random
import socket
import time
import unittest

from vmha_nova.monitor import channels as c
from vmha_nova.monitor import probe

SETTINGS = c.Settings(interval=0.2, retry_interval=0.05, connect_timeout=0.3)


def listener(address='127.0.0.1', backlog=64):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, 0))
    sock.listen(backlog)
    return sock


class Case(unittest.TestCase):
    def prober(self, settings=SETTINGS, **values):
        one = probe.Prober(settings, time.monotonic, random.Random(0), **values)
        self.addCleanup(one.close)
        return one

    def listen(self, *args):
        sock = listener(*args)
        self.addCleanup(sock.close)
        return sock, c.Target(*sock.getsockname())

    def hanging(self):
        """A port that answers nothing: its queue is full, and nobody accepts."""
        sock, target = self.listen('127.0.0.1', 0)
        for _ in range(4):
            full = socket.socket()
            full.setblocking(False)
            full.connect_ex((target.address, target.port))
            self.addCleanup(full.close)
        time.sleep(0.05)
        return target

    def refusing(self):
        sock = listener()
        target = c.Target(*sock.getsockname())
        sock.close()
        return target

    def rounds(self, prober, seconds):
        found, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            found += prober.poll(0.05)
        return found

    def first(self, prober, host):
        for _ in range(100):
            for one in prober.poll(0.05):
                if one.host == host:
                    return one
        self.fail(f'{host} was not probed')


class WordsTest(Case):
    def said(self, target):
        prober = self.prober()
        prober.watch('c1', {c.MANAGEMENT: [target]})
        found = self.first(prober, 'c1')
        self.assertEqual({c.MANAGEMENT}, set(found.found))
        return found.found[c.MANAGEMENT][target], found.ended - found.began

    def test_a_port_that_listens(self):
        word, took = self.said(self.listen()[1])
        self.assertEqual(c.ANSWERS, word)
        self.assertLess(took, 0.2)

    def test_a_port_that_refuses(self):
        self.assertEqual(c.REFUSED, self.said(self.refusing())[0])

    def test_a_port_that_hangs_costs_its_timeout(self):
        word, took = self.said(self.hanging())
        self.assertEqual(c.LOST, word)
        self.assertAlmostEqual(0.3, took, delta=0.15)

    def test_our_own_faults_tell_nothing(self):
        for error in (errno.ENETUNREACH, errno.EMFILE, errno.EADDRNOTAVAIL, errno.EACCES):
            self.assertEqual(c.UNKNOWN, probe._word(error), os.strerror(error))

    def test_ipv6(self):
        sock = socket.socket(socket.AF_INET6)
        self.addCleanup(sock.close)
        try:
            sock.bind(('::1', 0))
        except OSError as e:
            self.skipTest(f'no IPv6: {e}')
        sock.listen()
        self.assertEqual(c.ANSWERS, self.said(c.Target('::1', sock.getsockname()[1]))[0])

    def test_an_echo(self):
        if why := probe.can_echo():
            self.skipTest(f'no echo: {why}')
        self.assertEqual(c.ANSWERS, self.said(c.Target('127.0.0.1', 0))[0])


class RoundsTest(Case):
    def test_one_that_hangs_hinders_nobody(self):
        prober = self.prober()
        prober.watch('hangs', {c.MANAGEMENT: [self.hanging()]})
        prober.watch('works', {c.MANAGEMENT: [self.listen()[1]]})
        found = self.rounds(prober, 2.0)
        works = [one for one in found if one.host == 'works']
        self.assertGreaterEqual(len(works), 6)
        self.assertLess(max(one.ended - one.began for one in works), 0.2)

    def test_one_that_refuses_is_asked_again_soon_and_not_for_ever(self):
        prober = self.prober()
        sock, target = self.listen()
        prober.watch('c1', {c.MANAGEMENT: [target]})
        before = self.rounds(prober, 1.0)
        self.assertLess(len(before), 8)
        sock.close()
        after = self.rounds(prober, 1.0)
        self.assertGreater(len(after), 12)
        self.rounds(prober, 1.5)
        self.assertLess(len(self.rounds(prober, 1.0)), 8)

    def test_a_network_that_never_answered_makes_no_haste(self):
        prober = self.prober()
        prober.watch('c1', {c.MANAGEMENT: [self.listen()[1]], c.STORAGE: [self.refusing()]})
        self.assertLess(len(self.rounds(prober, 1.0)), 8)

    def test_sockets_are_bounded(self):
        prober = self.prober(max_sockets=8)
        target = self.hanging()
        for i in range(40):
            prober.watch(f'c{i}', {c.MANAGEMENT: [target]})
        most, seen, end = 0, set(), time.monotonic() + 3
        while time.monotonic() < end:
            seen |= {one.host for one in prober.poll(0.02)}
            most = max(most, prober.open_sockets)
        self.assertLessEqual(most, 8)
        self.assertEqual(40, len(seen))         # and everybody gets its turn

    def test_who_is_watched_no_more(self):
        prober = self.prober()
        prober.watch('c1', {c.MANAGEMENT: [self.listen()[1]]})
        self.first(prober, 'c1')
        prober.watch('c1', {})
        self.rounds(prober, 0.3)
        self.assertEqual([], self.rounds(prober, 0.6))

    def test_what_answered_while_we_were_kept_from_running_is_not_late(self):
        prober = self.prober(c.Settings(interval=0.01, connect_timeout=0.2))
        prober.watch('c1', {c.MANAGEMENT: [self.listen()[1]]})
        prober._selector, real = _Asleep(prober._selector), prober._selector
        found = self.first(prober, 'c1')
        self.assertEqual({c.ANSWERS}, set(found.found[c.MANAGEMENT].values()))
        prober._selector = real


class _Asleep:
    """A selector whose process does not run for half a second."""

    def __init__(self, selector):
        self._selector = selector

    def __getattr__(self, name):
        return getattr(self._selector, name)

    def select(self, timeout):
        time.sleep(0.5)
        return self._selector.select(0)


class ThousandTest(Case):
    """1,000 hosts every 2 s from one process. Figures are ratios: machines differ."""

    def test_a_thousand_hosts(self):
        sock, target = self.listen('0.0.0.0', 4096)
        prober = self.prober(c.Settings())
        for i in range(1000):
            address = f'127.{1 + i // 250}.1.{1 + i % 250}'
            prober.watch(f'c{i}', {c.MANAGEMENT: [c.Target(address, target.port)]})
        begin, cpu, found, most = time.monotonic(), time.process_time(), [], 0
        sock.setblocking(False)
        theirs = 0.0
        while time.monotonic() < begin + 6:
            found += prober.poll(0.05)
            most = max(most, prober.open_sockets)
            before = time.process_time()
            try:
                while True:
                    sock.accept()[0].close()
            except OSError:
                pass
            theirs += time.process_time() - before
        share = (time.process_time() - cpu - theirs) / (time.monotonic() - begin)
        self.assertEqual(1000, len({one.host for one in found}))
        self.assertGreaterEqual(len(found), 2000)       # each twice at least, in six seconds
        words = {w for one in found for w in one.found[c.MANAGEMENT].values()}
        self.assertEqual({c.ANSWERS}, words)
        self.assertLess(most, 512)
        self.assertLess(share, 0.5, f'{share:.0%} of a core, at most {most} sockets')
