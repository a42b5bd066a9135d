"""What is wrong gives one clear line, a row where an operator looks, and no action."""

import json
import subprocess
import time

from keystoneauth1 import exceptions
import kombu

from tests.functional import base
from tests.lab import common
from vmha_nova import messaging


class BadMessageTest(base.LabTest):
    def setUp(self):
        super().setUp()
        self.boot(1, stopped=0)
        self.start()

    def publish(self, body, content_type='application/json'):
        """Put raw bytes where host-down notifications go."""
        url = self.lab.urls['transport_url'].replace('rabbit://', 'amqp://')
        with kombu.Connection(url) as connection:
            producer = connection.Producer()
            producer.publish(
                body, exchange=kombu.Exchange('vmha', type='topic', durable=True,
                                              auto_delete=False),
                routing_key='vmha.error', content_type=content_type, content_encoding='utf-8')

    def envelope(self, payload, **values):
        """A message as oslo.messaging packs it."""
        inner = {'event_type': messaging.HOST_DOWN, 'publisher_id': 'test', 'priority': 'ERROR',
                 'message_id': '1', 'timestamp': '', 'payload': payload, **values}
        return json.dumps({'oslo.version': '2.0', 'oslo.message': json.dumps(inner)})

    def waiting(self):
        """How many messages are in the queue, the one that is being handled not counted."""
        url = self.lab.urls['transport_url'].replace('rabbit://', 'amqp://')
        with kombu.Connection(url) as connection:
            return connection.default_channel.queue_declare(
                'vmha.error', passive=True).message_count

    def test_a_row_each_and_no_action(self):
        bodies = (
                ('{"this is": no JSON', 'application/json'), ('plain text', 'text/plain'),
                ('[]', 'application/json'), (b'\xff\xfe\x00', 'application/octet-stream'),
                (self.envelope({}), 'application/json'),
                (self.envelope('text'), 'application/json'),
                (self.envelope({'host': self.SOURCE}), 'application/json'),
                (self.envelope({}, event_type='something.else'), 'application/json'),
                (self.envelope({}, priority=None), 'application/json'))
        for body, content_type in bodies:
            self.publish(body, content_type)

        def malformed():
            return sum(e.repeats + 1 for e in self.store.events() if e.kind == 'malformed')
        self.wait('every one is noted', lambda: malformed() >= len(bodies), 30)
        self.assertEqual([], self.store.failures())
        self.wait('none of them comes back', lambda: not self.waiting(), 10)
        time.sleep(2)
        self.assertEqual(len(bodies), malformed(), self.store.events())

        # The listener still listens: what makes sense is taken, and judged.
        self.vmha.publish_host_down('compute99', 'typing error', 'test')
        self.vmha.publish_host_down(self.SOURCE, 'false alarm', 'test')
        for _ in range(3):
            self.vmha.publish_host_down(self.SOURCE, 'false alarm again', 'test')
        self.lab.kill_host(self.SPARE)
        self.vmha.publish_host_down(self.SPARE, 'it really is down', 'test')
        self.wait('all are judged', lambda: len(self.store.failures()) >= 3 and not
                  self.store.failures(open_only=True), 60)
        said = {f.host: (f.state, f.detail) for f in self.store.failures()}
        self.assertIn("no compute node 'compute99'", said['compute99'][1])
        self.assertIn('is alive', said[self.SOURCE][1])
        self.assertIn('holds no instances', said[self.SPARE][1])
        self.assertEqual({'dismissed'}, {state for state, _ in said.values()})
        self.assertEqual(3, self.reports()[0].repeats)
        self.assertEqual([], self.store.recoveries())
        self.assertFalse(self.cloud.service(self.SOURCE)['forced_down'])
        self.assertEqual([], [r for r in self.cloud.migrations(self.SOURCE)
                              if r['instance_uuid'] in self.before])

    def test_reports_wait_in_the_queue_while_no_engine_runs(self):
        self.vmha.stop_engine()
        self.die()
        time.sleep(1)
        self.assertEqual([], self.store.failures())
        self.vmha.start_engine()
        self.wait_over()
        self.assertRecovered()


class BadConfigurationTest(base.LabTest):
    def engine(self, seconds=30):
        """Run vmha-engine to its end: (exit status, stderr)."""
        done = subprocess.run(self.vmha.command('engine'), capture_output=True, text=True,
                              timeout=seconds, stdin=subprocess.DEVNULL, cwd='/',
                              env=self.vmha.environment())
        return done.returncode, done.stderr

    def assertRefused(self, words):
        status, said = self.engine()
        self.assertEqual(1, status, said)
        self.assertIn(words, said.splitlines()[-1])
        self.assertNotIn('Traceback', said)
        return said

    def test_no_word_for_no_fence(self):
        self.vmha.sync()
        self.configure(fence__unsafe_without_fence='false')
        self.assertRefused('unsafe_without_fence = true')
        self.assertIn('unsafe_without_fence', self.vmha.store().events()[-1].text)

    def test_no_transport(self):
        self.vmha.sync()
        self.configure(DEFAULT__transport_url='rabbit://')
        self.assertRefused('set [DEFAULT] transport_url')

    def test_no_tables(self):
        self.assertRefused('vmha-manage db sync')

    def test_no_account(self):
        self.vmha.sync()
        self.configure(service_credentials__auth_type='')
        self.assertRefused('auth_type')

    def test_keystone_is_away_and_comes(self):
        """The engine waits, says so in one line, and goes on by itself."""
        self.boot(1, stopped=0)
        self.vmha.sync()
        self.vmha.set_spare(self.SPARE)
        self.lab.stop('keystone')
        self.addCleanup(lambda: self.lab.alive('keystone') or self.lab.start('keystone'))
        with self.assertRaises((common.LabError, exceptions.ClientException)):
            self.vmha.start_engine(timeout=8)       # it runs, but is not ready
        self.store = self.vmha.store()
        self.wait('the engine says what is missing', lambda: [
            e for e in self.store.events() if e.kind == 'cluster'], 60)
        self.lab.start('keystone')
        self.die()
        self.wait_over()
        self.assertRecovered()
