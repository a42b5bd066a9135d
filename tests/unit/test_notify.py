"""Hosts reported by others: vmha-notify, and the examples in etc/vmha, as their users run them.

They run as processes against a broker of their own, and what they publish is given to the listener
of the engine.
"""

import contextlib
import datetime
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from tests.unit import amqp_broker
from vmha_nova import cmd  # noqa: F401  before oslo.messaging: see there
from vmha_nova.cmd import notify
from vmha_nova.db import store
from vmha_nova import messaging

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / 'etc/vmha/vmha-send-host-down.py'
AGENT = ROOT / 'etc/vmha/vmha-pacemaker-alert.sh'
UTC = datetime.timezone.utc
ENOUGH = 60         # seconds for a process that is expected to end by itself


def now():
    return datetime.datetime.now(UTC)


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.bin = self.folder / 'bin'
        self.bin.mkdir()

    def program(self, name, text):
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def configuration(self, url, name='vmha.conf'):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'[DEFAULT]\ntransport_url = {url}\n' if url else '')
        return path

    def run_it(self, *command, **environment):
        """Run something to its end; nothing of the caller's environment is there."""
        return subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=ENOUGH, check=False, env={
                'PATH': f'{self.bin}:/usr/bin:/bin', 'PYTHONPATH': str(ROOT), **environment})

    def notify(self, url, *words, timeout=20):
        return self.run_it(
            sys.executable, '-P', '-m', 'vmha_nova.cmd.notify', '--config-file',
            self.configuration(url), '--timeout', timeout, *words)

    def received(self, broker):
        """The reports that the engine makes of what was published."""
        made = store.Store(now, connection=f'sqlite:///{self.folder}/vmha.sqlite')
        made.upgrade()
        dispatcher = messaging._Dispatcher(messaging.HostDownEndpoint(made, lambda: None))
        for message in broker.messages:
            self.assertEqual((messaging.EXCHANGE, 'vmha.error', True),
                             (message.exchange, message.routing_key, message.persistent))
            dispatcher.dispatch(type('Incoming', (), {
                'ctxt': {}, 'message': message.notification})())
        self.assertEqual([], made.events(), 'nothing of it was malformed')
        return made.failures()


class NotifyTest(Base):
    """The whole program, against a broker."""

    def test_what_is_sent_is_a_report(self):
        with amqp_broker.Broker() as broker:
            done = self.notify(
                broker.url, 'compute1', '--reason', 'no power in rack 7', '--source', 'rack',
                '--detected-at', '2026-01-01T01:00:00+01:00', '--evidence', 'pdu=pdu3=a',
                '--evidence', '{"outlet": 7, "äöü": null}')
        self.assertEqual((0, '', ''), (done.returncode, done.stdout, done.stderr))
        self.assertEqual({'vmha': True, 'vmha.error': True}, broker.durable,
                         'as the listener declares them')
        report, = self.received(broker)
        self.assertEqual(
            ('compute1', 'rack', 'no power in rack 7', datetime.datetime(2026, 1, 1, tzinfo=UTC),
             {'pdu': 'pdu3=a', 'outlet': 7, 'äöü': None}),
            (report.host, report.source, report.reason, report.detected_at, report.evidence))

    def test_a_refusal_is_no_success(self):
        with amqp_broker.Broker() as broker:
            broker.confirms = 'nack'
            done = self.notify(broker.url, 'compute1', '--reason', 'x', timeout=2)
        self.assertNotSent('MessageNacked', done)
        self.assertEqual(1, len(self.received(broker)), 'tried again, and the same each time')

    def test_a_wrong_password_is_said(self):
        with amqp_broker.Broker() as broker:
            broker.refuses = True
            done = self.notify(broker.url, 'compute1', '--reason', 'x', timeout=2)
        self.assertNotSent('ACCESS_REFUSED', done)

    def test_a_confirm_that_does_not_come_is_no_success(self):
        with amqp_broker.Broker() as broker:
            broker.confirms = ''
            done = self.notify(broker.url, 'compute1', '--reason', 'x', timeout=2)
        self.assertNotSent('has not confirmed it within 2 s; it may have it all the same', done)

    def test_a_bus_that_is_silent_is_not_waited_for_longer_than_told(self):
        with amqp_broker.Broker() as broker:
            broker.silent = True
            begin = time.monotonic()
            done = self.notify(broker.url, 'compute1', '--reason', 'x', timeout=2)
        self.assertNotSent('has not confirmed it within 2 s', done)
        self.assertLess(time.monotonic() - begin, 2 + 15, 'the program starts and ends, too')

    def test_a_bus_that_is_away_is_waited_for(self):
        port = amqp_broker.free_port()
        done = []
        thread = threading.Thread(target=lambda: done.append(self.notify(
            f'rabbit://u:secret@127.0.0.1:{port}/', 'compute1', '--reason', 'x', timeout=40)))
        thread.start()
        time.sleep(3)
        with amqp_broker.Broker(port) as broker:
            thread.join(ENOUGH)
        self.assertEqual((0, ''), (done[0].returncode, done[0].stderr))
        self.assertEqual(['compute1'], [f.host for f in self.received(broker)])

    def test_what_is_wrong_is_one_line(self):
        nobody = f'rabbit://u:secret@127.0.0.1:{amqp_broker.free_port()}/'
        for words, url in (('Connection refused', nobody), ('message bus: ', 'nonsense'),
                           ('set [DEFAULT] transport_url', '')):
            done = self.notify(url, 'compute1', '--reason', 'x', timeout=2)
            self.assertNotSent(words, done)
            self.assertNotIn('secret', done.stderr)
        done = self.run_it(sys.executable, '-P', '-m', 'vmha_nova.cmd.notify', 'compute1',
                           '--reason', 'x', '--config-file', self.folder / 'nosuch')
        self.assertNotSent('nosuch', done)

    def test_the_configuration_of_its_own_is_found(self):
        program = self.program('vmha-notify', f'#!{sys.executable} -P\nimport sys\n'
                               'from vmha_nova.cmd import notify\nsys.exit(notify.main())\n')
        with amqp_broker.Broker() as broker:
            # As in /etc/vmha, where nobody may write here.
            self.configuration(broker.url, '.vmha/vmha-notify.conf')
            done = self.run_it(program, 'compute1', '--reason', 'x', HOME=str(self.folder))
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertEqual(['compute1'], [f.host for f in self.received(broker)])

    def assertNotSent(self, words, done):
        self.assertEqual((1, ''), (done.returncode, done.stdout), done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(1, done.stderr.count('\n'), done.stderr)
        self.assertIn('compute1 was not reported: ', done.stderr)


class CommandLineTest(unittest.TestCase):
    """What needs no broker, for nothing is sent."""

    def main(self, *words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = notify.main(list(words))
            except SystemExit as e:
                status = e.code
        return status, out.getvalue(), err.getvalue()

    def test_a_dry_run_prints_what_would_be_sent(self):
        before = now()
        status, out, err = self.main('compute1', '--reason', 'x', '--evidence', 'a=', '--dry-run')
        self.assertEqual((0, ''), (status, err))
        payload = json.loads(out)
        found = messaging.parse_host_down(payload)
        self.assertEqual(('compute1', 'x', 'vmha-notify', {'a': ''}),
                         tuple(found[k] for k in ('host', 'reason', 'source', 'evidence')))
        self.assertLessEqual(before, found['detected_at'])
        self.assertLessEqual(found['detected_at'], now())
        _, out, _ = self.main('compute1', '--reason', 'x', '--detected-at', '2026-01-01T00:00:00',
                              '--dry-run')
        self.assertEqual('2026-01-01T00:00:00+00:00', json.loads(out)['detected_at'])

    def test_what_the_listener_would_drop_is_not_sent(self):
        good = ('compute1', '--reason', 'x')
        for words, why in (
                ((), 'HOST'), (('compute1',), '--reason'),
                (('', '--reason', 'x'), 'host is empty'),
                ((' ', '--reason', 'x'), 'host is empty'),
                (('x' * 256, '--reason', 'x'), 'longer than 255'),
                ((*good, '--source', 'x' * 256), 'longer than 255'),
                ((*good, '--detected-at', 'yesterday'), '--detected-at'),
                ((*good, '--detected-at', ''), '--detected-at'),
                ((*good, '--evidence', 'outlet'), 'neither KEY=VALUE nor'),
                ((*good, '--evidence', '=7'), 'neither KEY=VALUE nor'),
                ((*good, '--evidence', '{"outlet": }'), 'no JSON'),
                ((*good, '--evidence', '{"outlet": NaN}'), 'NaN is no number'),
                ((*good, '--evidence', 'a=\udcff'), 'no text'),
                ((*good, '--timeout', '0'), 'number of seconds'),
                ((*good, '--timeout', 'nan'), 'number of seconds'),
                ((*good, '--force'), '--force')):
            status, out, err = self.main(*words)
            self.assertEqual((2, ''), (status, out), words)
            self.assertIn(why, err.splitlines()[-1], words)

    def test_help_and_version(self):
        status, out, _ = self.main('--help')
        self.assertEqual(0, status)
        for word in ('--detected-at', 'Exit status: 0'):
            self.assertIn(word, out)
        self.assertEqual(0, self.main('--version')[0])


class ExampleTest(Base):
    def test_a_few_lines_of_oslo_messaging(self):
        with amqp_broker.Broker() as broker:
            # Where eventlet is installed, it complains.
            done = self.run_it(sys.executable, '-W', 'ignore', EXAMPLE, 'compute1',
                               'it does not answer',
                               VMHA_TRANSPORT_URL=f'{broker.url}?amqp_durable_queues=true')
        self.assertEqual((0, '', ''), (done.returncode, done.stdout, done.stderr))
        self.assertEqual({'vmha': True, 'vmha.error': True}, broker.durable)
        report, = self.received(broker)
        self.assertEqual(('compute1', 'my-monitor', 'it does not answer'),
                         (report.host, report.source, report.reason))
        self.assertTrue(report.evidence)

    def test_without_an_address_it_says_what_it_wants(self):
        done = self.run_it(sys.executable, EXAMPLE, 'compute1', 'it does not answer')
        self.assertEqual(1, done.returncode)
        self.assertIn('VMHA_TRANSPORT_URL=', done.stderr)
        self.assertNotIn('vmha_nova', EXAMPLE.read_text())


def alert(kind, **values):
    """The environment of an alert agent, as Pacemaker 2.1 gives it; rc and the like only where
    the kind has them.
    """
    return {
        'CRM_alert_kind': kind, 'CRM_alert_version': '2.1.5', 'CRM_alert_node_sequence': '7',
        'CRM_alert_recipient': '', 'CRM_alert_timestamp': '12:00:01.123456',
        'CRM_alert_timestamp_epoch': '1767225601', 'CRM_alert_timestamp_usec': '023456',
        **{f'CRM_alert_{k}': v for k, v in values.items()}}


def lost(node='c1', **values):
    return alert('node', **dict(dict(node=node, nodeid='3', desc='lost'), **values))


def fenced(action, node='c1', rc='0', words='OK', **values):
    # The task is the name of the event, whatever the manual says.
    return alert('fencing', **dict(dict(
        node=node, task='st_notify_fence', rc=rc,
        desc=f'Operation {action} of {node} by c2 for pacemaker-controld.812@c2: {words} '
             '(ref=5f1c)'), **values))


class PacemakerTest(Base):
    """The alert agent, with a vmha-notify that only writes its arguments down."""

    def setUp(self):
        super().setUp()
        self.program('vmha-notify', '#!/bin/sh\nprintf "%s\\0" "$@" >"$0.args"\n')

    def calls(self, environment, **options):
        """What vmha-notify was called with, parsed; None: it was not called."""
        done = self.run_it(AGENT, **environment, **options)
        self.assertEqual((0, '', ''), (done.returncode, done.stdout, done.stderr))
        written = self.bin / 'vmha-notify.args'
        if not written.exists():
            return None
        words = written.read_bytes().decode().split('\0')[:-1]
        written.unlink()
        args = notify._parser().parse_args(words)
        args.payload = notify._payload(args)
        return args

    def test_a_node_that_is_lost(self):
        args = self.calls(lost())
        self.assertEqual(
            ('c1', 'pacemaker', 'Pacemaker has lost the node c1', '2026-01-01T00:00:01Z', None),
            (args.host, args.source, args.reason, args.detected_at, args.config_file))
        self.assertEqual({'event': 'lost', 'node': 'c1', 'reporter': os.uname().nodename},
                         args.payload['evidence'])

    def test_only_off_is_of_a_source_of_its_own(self):
        for action, source in (('off', 'pacemaker-off'), ('reboot', 'pacemaker')):
            args = self.calls(fenced(action))
            self.assertEqual(('c1', source, action),
                             (args.host, args.source, args.payload['evidence']['action']))
            self.assertEqual(f'Pacemaker: Operation {action} of c1 by c2 for '
                             'pacemaker-controld.812@c2: OK (ref=5f1c)', args.reason)
            self.assertEqual(source, self.calls(fenced('?', task=action)).source, 'as documented')

    def test_everything_else_is_ignored(self):
        for environment in (
                {}, lost(desc='member'), lost(desc=''), fenced('off', rc='-62', words='No data'),
                fenced('off', rc=''), fenced('on'), fenced('off', desc='Operation off of c1'),
                # Of another node, or only in what a fence device says.
                fenced('off', desc='Operation off of c11 by c2 for x@c2: OK (ref=1)'),
                fenced('on', words='OK (Operation off of c1 by nobody)'),
                alert('resource', node='c1', desc='ok', rc='0', task='off', rsc='vip'),
                alert('attribute', node='c1', attribute_name='off', attribute_value='lost')):
            self.assertIsNone(self.calls(environment), environment)

    def test_a_reboot_is_never_taken_for_off(self):
        args = self.calls(fenced('reboot', words='OK (Operation off of c1 by fence_x)'))
        self.assertEqual('pacemaker', args.source)

    def test_how_nova_names_the_node(self):
        hosts = self.folder / 'hosts'
        hosts.write_text('# c2 x\nc1   compute1.example.org  # rack 7\n\n'
                         'controller1 -\nc3 compute3')
        for node, host in (('c1', 'compute1.example.org'), ('c2', 'c2.example.net'),
                           ('controller1', None), ('c3', 'compute3'), ('c', 'c.example.net')):
            args = self.calls(lost(node), vmha_hosts=str(hosts), vmha_domain='example.net')
            self.assertEqual(host, args and args.host, node)
        self.assertEqual('c1', self.calls(lost()).host)
        self.assertEqual('-c1', self.calls(lost('-c1')).host)

    def test_without_the_names_nothing_is_guessed(self):
        done = self.run_it(AGENT, **lost(), vmha_hosts=str(self.folder / 'nosuch'))
        self.assertEqual(1, done.returncode)
        self.assertIn('node c1 not reported', done.stderr)
        self.assertFalse((self.bin / 'vmha-notify.args').exists())

    def test_options(self):
        self.assertIsNone(self.calls(lost(), vmha_kinds='fencing'))
        self.assertIsNotNone(self.calls(fenced('off'), vmha_kinds='fencing'))
        self.assertIsNone(self.calls(fenced('off'), vmha_kinds='node'))
        args = self.calls(lost(), vmha_config='/etc/my vmha.conf')
        self.assertEqual(['/etc/my vmha.conf'], args.config_file)

    def test_an_old_pacemaker_that_gives_no_seconds(self):
        environment = lost()
        del environment['CRM_alert_timestamp_epoch']
        self.assertIsNone(self.calls(environment).detected_at)

    def test_what_could_not_be_sent_is_said(self):
        self.program('vmha-notify', '#!/bin/sh\necho "the bus is away" >&2\nexit 1\n')
        done = self.run_it(AGENT, **lost())
        self.assertEqual(1, done.returncode)
        self.assertIn('c1 not reported: the bus is away', done.stderr)
        done = self.run_it(AGENT, **lost(), vmha_notify='/opt/nosuch/vmha-notify')
        self.assertEqual(1, done.returncode)
        self.assertIn('c1 not reported', done.stderr)

    def test_the_real_program(self):
        program = self.program('real', f'#!/bin/sh\nexec {sys.executable} -P -m '
                                       'vmha_nova.cmd.notify "$@"\n')
        with amqp_broker.Broker() as broker:
            options = dict(vmha_notify=str(program), vmha_config=str(
                self.configuration(broker.url)), vmha_domain='example.org')
            for environment in (lost(), lost('c2'), fenced('off', 'c3')):
                done = self.run_it(AGENT, **environment, **options)
                self.assertEqual((0, '', ''), (done.returncode, done.stdout, done.stderr))
        when = datetime.datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
        self.assertEqual(
            [('c1.example.org', 'pacemaker', when), ('c2.example.org', 'pacemaker', when),
             ('c3.example.org', 'pacemaker-off', when)],
            [(f.host, f.source, f.detected_at) for f in self.received(broker)])
