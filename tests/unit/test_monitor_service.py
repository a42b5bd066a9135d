"""The process vmha-monitor: what it takes and refuses at the start, and a run of it."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

from tests.unit import fake_nova
from vmha_nova.conf import opts
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova.monitor import addresses
from vmha_nova.monitor import channels as c
from vmha_nova.monitor import looks
from vmha_nova.monitor import service

CONF = """\
[DEFAULT]
transport_url = fake://
[database]
connection = sqlite:///{folder}/db
[service_credentials]
auth_type = password
auth_url = {url}/identity/v3
interface = public
username = vmha
password = x
project_name = service
user_domain_id = default
project_domain_id = default
[coordination]
backend_url = {lock}
[monitor]
interval = 0.3
retry_interval = 0.1
connect_timeout = 0.3
silent_after = 1.5
nova_interval = 0.5
heartbeat_silence = 4
{more}
"""


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def conf(self, more='', url='http://127.0.0.1:9', lock=''):
        self.path = os.path.join(self.folder, 'vmha.conf')
        with open(self.path, 'w', encoding='ascii') as stream:
            stream.write(CONF.format(folder=self.folder, more=more, url=url, lock=lock))
        return opts.load([f'--config-file={self.path}'], '')


class CheckTest(Case):
    def refused(self, words, more, **values):
        with self.assertRaisesRegex(exception.ConfigurationError, words):
            service.check(self.conf(more, **values))

    def test_what_does_not_fit_together(self):
        service.check(self.conf())
        self.refused('failures', 'failures = 5')
        self.refused('not address:port', 'witnesses = 10.0.0.1')
        self.refused('in brackets', 'witnesses = ::1:22')
        self.refused('backend_url', '', lock='pigeon://x')
        conf = self.conf()
        conf.set_override('nova_interval', 3.0, 'monitor')
        with self.assertRaisesRegex(exception.ConfigurationError, 'heartbeat_silence'):
            service.make_settings(conf)

    def test_every_setting_is_an_option(self):
        settings = service.make_settings(self.conf())
        self.assertEqual((0.3, 1.5, False), (
            settings.interval, settings.silent_after, settings.storage))

    def test_the_defaults_are_those_of_the_values(self):
        conf = opts.load([], '', default_config_files=[])
        found = service.make_settings(conf)
        self.assertEqual(c.Settings(storage=False), found)


class AddressesTest(Case):
    def places(self, more, lookup=None):
        return addresses.Addresses(self.conf(more).monitor, **(
            {'lookup': lookup} if lookup else {}))

    def test_what_nova_tells_unless_the_operator_says_otherwise(self):
        places = self.places('management_addresses = c1:10.0.0.1+10.0.1.1,c2:fd00::2\n'
                             'management_ports = 22,9100\nstorage_addresses = c2:10.9.0.2\n'
                             'storage_ports = 6789')
        self.assertEqual([], places.resolve())
        osd = c.Target('10.9.0.1', 6800)
        self.assertEqual({
            c.MANAGEMENT: tuple(c.Target(ip, port) for ip in ('10.0.0.1', '10.0.1.1')
                                for port in (22, 9100)),
            c.STORAGE: (osd,)}, places.targets('c1', '10.5.5.5', [osd]))
        self.assertEqual({
            c.MANAGEMENT: (c.Target('fd00::2', 22), c.Target('fd00::2', 9100)),
            c.STORAGE: (c.Target('10.9.0.2', 6789),)}, places.targets('c2', ''))
        self.assertEqual({c.MANAGEMENT: (c.Target('10.5.5.5', 22), c.Target('10.5.5.5', 9100))},
                         places.targets('c3', '10.5.5.5'))
        self.assertEqual({}, places.targets('c4', '127.0.0.1'))     # that would be ourselves
        self.assertEqual({}, places.targets('c5', ''))

    def test_a_name_that_does_not_resolve_is_one_line(self):
        def lookup(name, *args, **values):
            if name == 'nowhere':
                raise socket.gaierror(-2, 'Name or service not known')
            return [(0, 0, 0, '', ('10.0.0.7', 0))]
        places = self.places('management_addresses = c1:nowhere,c2:there\n'
                             'witnesses = there:80', lookup)
        (problem,) = places.resolve()
        self.assertIn("'nowhere' of c1 does not resolve", problem)
        self.assertEqual({c.MANAGEMENT: (c.Target('10.0.0.7', 22),)}, places.targets('c2', ''))
        self.assertEqual({}, places.targets('c1', '10.5.5.5'))
        self.assertEqual((c.Target('10.0.0.7', 80),), places.witnesses())

    def test_a_name_that_is_lost_keeps_its_address(self):
        answers = [[(0, 0, 0, '', ('10.0.0.7', 0))], OSError('no DNS')]
        places = self.places('management_addresses = c1:there', mock.Mock(side_effect=answers))
        places.resolve()
        self.assertEqual(1, len(places.resolve()))
        self.assertEqual((c.Target('10.0.0.7', 22),), places.targets('c1', '')[c.MANAGEMENT])

    def test_addresses_without_ports(self):
        self.assertIn('no storage_ports', self.places('storage_addresses = c1:10.0.0.1')
                      .resolve()[0])


class LookerTest(unittest.TestCase):
    def test_one_that_hangs_hinders_nobody_and_errors_are_said_once(self):
        hang, took = threading.Event(), []
        self.addCleanup(hang.set)

        def slow():
            hang.wait(10)

        def failing():
            raise exception.Unreachable('no answer')
        one = looks.Looker('slow', slow, took.append, 0.01, time.monotonic)
        two = looks.Looker('failing', failing, took.append, 0.01, time.monotonic)
        with self.assertLogs('vmha_nova.monitor.looks') as logs:
            one.start()
            two.start()
            time.sleep(0.3)
            begin = time.monotonic()
            one.stop()
            two.stop()
            self.assertLess(time.monotonic() - begin, 0.2)
        self.assertEqual(['failing: no answer'], [r.getMessage() for r in logs.records])

    def test_haste(self):
        took = []
        one = looks.Looker('Nova', lambda: 1, took.append, 60.0, time.monotonic)
        self.addCleanup(one.stop)
        one.start()
        time.sleep(0.2)
        self.assertEqual(1, len(took))
        with mock.patch.object(looks, 'SOONEST', 0.05):
            one.set_hurry(True)
            time.sleep(0.5)
            one.set_hurry(False)
        self.assertGreater(len(took), 4)


class ProcessTest(Case):
    """Three hosts, which are listeners on loopback. One hangs, then answers again."""

    def setUp(self):
        super().setUp()
        self.nova = fake_nova.FakeNova().start()
        self.addCleanup(self.nova.stop)
        for host in ('c1', 'c2', 'c3'):
            self.nova.add_host(host)
        self.sockets = {}
        port = 0
        for i in (1, 2, 3):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((f'127.8.0.{i}', port))
            port = sock.getsockname()[1]
            sock.listen(0)
            self.addCleanup(sock.close)
            self.sockets[f'c{i}'] = sock
        self.serving = set(self.sockets)
        self.running = True
        serving = threading.Thread(target=self.serve, daemon=True)
        serving.start()
        self.addCleanup(lambda: (setattr(self, 'running', False), serving.join(5)))
        self.beating = set(self.sockets)
        self.store = store.Store(lambda: fake_nova.START,
                                 connection=f'sqlite:///{self.folder}/db')
        self.store.upgrade()
        self.conf('management_addresses = c1:127.8.0.1,c2:127.8.0.2,c3:127.8.0.3\n'
                  f'management_ports = {port}', self.nova.url, f'file://{self.folder}/locks')
        self.log = pathlib.Path(self.folder, 'log')

    def serve(self):
        beat = 0
        while self.running:
            for host in list(self.serving):
                self.sockets[host].setblocking(False)
                try:
                    while True:
                        self.sockets[host].accept()[0].close()
                except OSError:
                    pass
            beat += 1
            for host in self.beating if beat % 20 == 0 else ():
                self.nova.services[host]['updated_at'] = f'2026-11-23T12:00:{beat / 1000:09.6f}'
            time.sleep(0.02)

    def start(self):
        with open(self.log, 'ab') as log:
            one = subprocess.Popen(
                [sys.executable, '-m', 'vmha_nova.cmd.monitor', f'--config-file={self.path}'],
                stdout=log, stderr=log)
        self.addCleanup(lambda: one.poll() is None and (one.kill(), one.wait()))
        return one

    def wait_for(self, words, seconds=20):
        end = time.monotonic() + seconds
        while words not in self.log.read_text():
            if time.monotonic() > end:
                self.fail(f'{words!r} is not in the log:\n{self.log.read_text()}')
            time.sleep(0.05)

    def test_a_run(self):
        one = self.start()
        self.wait_for('watching 3 hosts')
        self.wait_for('this process leads')
        time.sleep(1.5)
        self.beating.discard('c2')
        self.serving.discard('c2')
        hanging = [socket.socket() for _ in range(4)]
        for sock in hanging:
            self.addCleanup(sock.close)
            sock.setblocking(False)
            sock.connect_ex(self.sockets['c2'].getsockname())
        self.wait_for('verdict of c2: probably-dead')
        self.wait_for('reported c2 down: probably-dead (try 1)')
        self.serving.add('c2')
        self.beating.add('c2')
        self.wait_for('verdict of c2: alive')
        self.assertNotIn('verdict of c1', self.log.read_text())
        told = [n for n in self.store.outbox() if n.event_type == 'vmha.host.verdict']
        self.assertEqual(('c2', 'probably-dead'),
                         (told[0].payload['host'], told[0].payload['verdict']))
        begin = time.monotonic()
        one.send_signal(signal.SIGTERM)
        self.assertEqual(0, one.wait(15))
        self.assertLess(time.monotonic() - begin, 6)
        self.assertNotIn('Traceback', self.log.read_text())

    def test_it_says_why_it_does_not_start(self):
        self.conf('failures = 9')
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'vmha_nova.cmd.monitor',
             f'--config-file={self.path}'], capture_output=True, text=True, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn('vmha-monitor: [monitor] failures (9) must not be more', done.stderr)
