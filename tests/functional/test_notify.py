"""Hosts reported by others, on a real RabbitMQ: vmha-notify, and the examples in etc/vmha.

The hosts live, so that all reports are checked and dismissed: what counts is that they arrive.
"""

import pathlib
import stat
import subprocess
import sys
import time

from tests.functional import base
from tests.functional import test_notifications

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / 'etc/vmha'
ENOUGH = 60         # seconds


class NotifyTest(base.LabTest):
    def setUp(self):
        super().setUp()
        self.bus = self.lab.urls['transport_url']

    def run_it(self, *command, **environment):
        return subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=ENOUGH, check=False, env={**self.vmha.environment(), **environment})

    def notify(self, *words):
        return self.run_it(*self.vmha.command('notify'), *words)

    def assertSent(self, done):
        self.assertEqual((0, '', ''), (done.returncode, done.stdout, done.stderr))

    def test_all_ways_of_the_manual_arrive_also_before_the_engine_has_run(self):
        self.assertSent(self.notify('compute1', '--reason', 'no power', '--source', 'rack',
                                    '--evidence', '{"outlet": 7}'))
        self.assertSent(self.run_it(
            sys.executable, '-W', 'ignore', EXAMPLES / 'vmha-send-host-down.py', 'compute2',
            'no answer', VMHA_TRANSPORT_URL=f'{self.bus}?amqp_durable_queues=true'))
        program = self.lab.state.data / 'vmha-notify'
        words = ' '.join(f"'{word}'" for word in self.vmha.command('notify'))
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.addCleanup(program.unlink)
        self.assertSent(self.run_it(
            EXAMPLES / 'vmha-pacemaker-alert.sh', vmha_notify=str(program),
            CRM_alert_kind='fencing', CRM_alert_node='compute3', CRM_alert_rc='0',
            CRM_alert_task='st_notify_fence', CRM_alert_timestamp_epoch=str(int(time.time())),
            CRM_alert_desc='Operation off of compute3 by c2 for pacemaker-controld.812@c2: OK'))
        self.start()
        self.wait('all three are there, and dismissed, for their hosts live', lambda: sorted(
            (f.host, f.source, f.state) for f in self.store.failures()) == [
                ('compute1', 'rack', 'dismissed'), ('compute2', 'my-monitor', 'dismissed'),
                ('compute3', 'pacemaker-off', 'dismissed')], 120)
        first = min(self.store.failures(), key=lambda f: f.host)
        self.assertEqual(('no power', 7), (first.reason, first.evidence['outlet']))
        self.assertEqual([], [e.text for e in self.store.events() if e.kind == 'malformed'])
        self.assertEqual([], self.store.recoveries())

    def test_what_is_not_sent_is_said_in_time(self):
        account, _, address = self.bus.removeprefix('rabbit://').strip('/').rpartition('@')
        host, _, port = address.partition(',')[0].rpartition(':')
        proxy = test_notifications.Proxy(host, int(port))
        self.addCleanup(proxy.close)
        self.configure(DEFAULT__transport_url=f'rabbit://{account}@127.0.0.1:{proxy.port}/')
        for mode, words in (('cut', 'message bus: '),
                            ('silent', 'has not confirmed it within 4 s')):
            proxy.set(mode)
            begin = time.monotonic()
            done = self.notify('compute1', '--reason', 'x', '--timeout', '4')
            self.assertLess(time.monotonic() - begin, 4 + 15)
            self.assertEqual((1, ''), (done.returncode, done.stdout))
            self.assertIn(words, done.stderr)
        self.configure(DEFAULT__transport_url=f'rabbit://nobody:wrong@{host}:{port}/')
        done = self.notify('compute1', '--reason', 'x', '--timeout', '4')
        self.assertEqual(1, done.returncode)
        self.assertIn('ACCESS_REFUSED', done.stderr)
        self.assertNotIn('wrong', done.stderr)
