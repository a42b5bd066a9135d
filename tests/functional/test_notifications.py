"""What the engine tells on the message bus, and to Prometheus, of a whole recovery.

The listener is one as somebody else would write it: oslo.messaging, on the exchange ``vmha`` and
the topic ``notifications``. With VMHA_SAMPLES set to a folder, what it hears is written there, one
message of each kind: the samples of the documentation.
"""

import json
import os
import pathlib
import socket
import threading
import time
import urllib.error
import urllib.request

import kombu
from oslo_config import cfg
import oslo_messaging
from prometheus_client import parser

from tests.functional import base
from tests.functional import test_store_mariadb
from tests.unit import test_metrics
from vmha_nova import notifier
from vmha_nova import views


class Heard:
    """A second listener; ``messages`` are dicts as they came, each with its priority."""

    def __init__(self, transport_url, exchange='vmha', topic='notifications'):
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        self.messages = []
        bus = oslo_messaging.get_notification_transport(
            conf, url=transport_url + '?amqp_durable_queues=true')
        self._server = oslo_messaging.get_notification_listener(
            bus, [oslo_messaging.Target(exchange=exchange, topic=topic)], [self])
        self._server.start()

    def _take(self, priority, publisher_id, event_type, payload, metadata):
        self.messages.append(dict(
            metadata, priority=priority.upper(), publisher_id=publisher_id,
            event_type=event_type, payload=payload))

    def info(self, ctxt, *message):
        self._take('info', *message)

    def warn(self, ctxt, *message):
        self._take('warn', *message)

    def error(self, ctxt, *message):
        self._take('error', *message)

    def of(self, event_type):
        """Payloads of the messages whose type begins so."""
        return [m['payload'] for m in self.messages if m['event_type'].startswith(event_type)]

    def forget(self, seconds=1.0):
        """Forget what is there, and what earlier tests have left in the queues."""
        before = None
        while before != len(self.messages):
            before = len(self.messages)
            time.sleep(seconds)
        self.messages.clear()

    def stop(self):
        self._server.stop()
        self._server.wait()


class Proxy:
    """A way to the message bus that can be cut, or swallow everything."""

    def __init__(self, host, port):
        self._to = host, port
        self._mode = 'open'
        self._sockets = set()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode):
        """open; cut: connections end, also new ones; silent: nothing comes through."""
        self._mode = mode
        if mode == 'cut':
            for one in list(self._sockets):
                self._end(one)

    def close(self):
        self._listener.close()
        self.set('cut')

    def _end(self, one):
        self._sockets.discard(one)
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()

    def _accept(self):
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            if self._mode == 'cut':
                client.close()
                continue
            server = socket.create_connection(self._to)
            self._sockets |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        try:
            while data := one.recv(65536):
                while self._mode == 'silent':
                    time.sleep(0.1)
                other.sendall(data)
        except OSError:
            pass
        self._end(one)
        self._end(other)


class NotificationsTest(base.LabTest):
    def setUp(self):
        super().setUp()
        self.bus = self.lab.urls['transport_url']
        self.heard = Heard(self.bus)
        self.addCleanup(self.heard.stop)
        self.heard.forget()

    def configure(self, **overrides):
        with socket.create_server(('127.0.0.1', 0)) as free:
            self.port = free.getsockname()[1]
        super().configure(**{
            'oslo_messaging_notifications__driver': 'messagingv2', 'metrics__listen': '127.0.0.1',
            'metrics__port': str(self.port), **overrides})

    def figures(self):
        """What the engine's port says: {name: {labels' values: value}}; no labels: ''."""
        return self.figures_at(f'http://127.0.0.1:{self.port}/metrics')

    @staticmethod
    def figures_at(url):
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = {}
            for family in parser.text_string_to_metric_families(answer.read().decode()):
                for one in family.samples:
                    found.setdefault(one.name, {})[','.join(
                        v for _, v in sorted(one.labels.items()))] = one.value
        return found

    def told(self):
        """Wait until nothing is left to be told, and until it has come."""
        self.wait('everything is told', lambda: not self.store.outbox(), 60)
        self.heard_all()

    def heard_all(self):
        last = None
        while last != len(self.heard.messages):
            last = len(self.heard.messages)
            time.sleep(1.0)

    def test_a_whole_recovery_is_told_and_measured(self):
        self.configure()
        self.boot(4, stopped=1)
        self.start()
        before = self.figures()
        self.die()
        self.wait_over()
        self.assertRecovered()
        self.told()
        self.assertToldOf(self.recovery())
        self.assertMeasured(before)
        self.vmha.stop_engine()
        with self.assertRaises(urllib.error.URLError):
            self.figures()
        self.write_samples()

    def assertToldOf(self, recovery):
        """The listener has heard what the database holds, in the order in which it happened."""
        messages, moves = self.heard.messages, self.store.moves(recovery.id)
        self.assertEqual(len(messages), len({m['message_id'] for m in messages}), 'each once')
        for message in messages:
            self.assertEqual((f'vmha-engine.{socket.gethostname()}', 'INFO'),
                             (message['publisher_id'], message['priority']))
        self.assertEqual(sorted(messages, key=lambda m: m['timestamp']), messages)
        self.assertEqual(
            ['confirmed', 'fenced', 'down_in_nova', 'moving', 'recovered'],
            [p['state'] for p in self.heard.of('vmha.recovery.')])
        self.assertEqual(views.recovery(recovery, {'moved': len(moves)}),
                         self.heard.of('vmha.recovery.')[-1])
        report, = self.reports()
        self.assertEqual('new', self.heard.of('vmha.host.reported')[0]['state'])
        self.assertEqual([views.failure(report)], self.heard.of('vmha.host.accepted'))
        marks = self.heard.of('vmha.host.updated')
        self.assertEqual(views.mark(self.store.marks()[self.SPARE]), marks[-1])
        self.assertEqual(len(self.before), len(moves))
        for move in moves:
            story = [p for p in self.heard.of('vmha.move.') if p['id'] == move.id]
            states = [p['state'] for p in story]
            self.assertEqual(('waiting', 'moved'), (states[0], states[-1]), states)
            self.assertIn('accepted', states)
            self.assertEqual(dict(views.move(move), host=self.SOURCE), story[-1])

    def assertMeasured(self, before):
        after, recovery = self.figures(), self.recovery()
        moves = self.store.moves(recovery.id)
        count, total = (f'vmha_recovery_phase_seconds_{what}' for what in ('count', 'sum'))
        self.assertEqual({'detect': 0, 'fence': 0, 'accept': 0, 'active': 0}, before[count])
        self.assertEqual({'detect': 1, 'fence': 1, 'accept': len(moves), 'active': len(moves)},
                         after[count])
        report, = self.reports()
        for phase, seconds in (
                ('detect', [recovery.created_at - report.detected_at]),
                ('accept', [m.accepted_at - recovery.reported_at for m in moves]),
                ('active', [m.ended_at - recovery.reported_at for m in moves])):
            self.assertAlmostEqual(sum(s.total_seconds() for s in seconds),
                                   after[total][phase], delta=0.1)
        self.assertGreater(after[total]['fence'], 0)
        self.assertEqual(len(moves), after['vmha_move_changes_total']['moved'])
        self.assertEqual(len(moves), after['vmha_moves']['moved'])
        self.assertEqual((0, 1), (before['vmha_recoveries']['recovered'],
                                  after['vmha_recoveries']['recovered']))
        self.assertEqual({'all': 4, 'spare': 1, 'out': 1, 'maintenance': 0},
                         {k: after['vmha_hosts'][k] for k in
                          ('all', 'spare', 'out', 'maintenance')})
        self.assertEqual({'': 1}, after['vmha_up'])
        self.assertLess(after['vmha_engine_last_write_age_seconds'][''], 15)
        self.assertLess(after['vmha_snapshot_age_seconds'][''], 30)
        self.assertEqual({'': 0}, after['vmha_notifications_waiting'])

    def write_samples(self):
        folder = os.environ.get('VMHA_SAMPLES')
        if folder:
            for message in self.heard.messages:
                path = pathlib.Path(folder) / f'{message["event_type"]}.json'
                path.write_text(json.dumps(message, indent=4) + '\n', encoding='utf-8')

    def test_without_a_bus_for_what_is_told_hosts_are_recovered_all_the_same(self):
        """It is away during the recovery, the engine is killed meanwhile: nothing is lost."""
        address = self.bus.rpartition('@')[2].strip('/').partition(',')[0]
        host, _, port = address.rpartition(':')
        proxy = Proxy(host, int(port))
        self.addCleanup(proxy.close)
        self.configure(oslo_messaging_notifications__transport_url=self.bus.replace(
            address, f'127.0.0.1:{proxy.port}'))
        self.boot(3, stopped=0)
        self.start()
        self.told()                             # that the spare is marked, for example
        self.assertTrue(self.heard.messages)
        self.heard.forget()
        proxy.set('cut')
        self.die()
        self.wait_over()
        self.assertRecovered()
        waiting = self.store.outbox()
        self.assertEqual('vmha.host.reported', waiting[0].event_type)
        self.assertIn('vmha.recovery.recovered', [n.event_type for n in waiting])
        self.assertEqual(len(waiting), self.figures()['vmha_notifications_waiting'][''])
        self.wait('it is said', lambda: any(
            e.kind == 'notifications' and 'notifications wait' in e.text
            for e in self.store.events()), 30)
        self.assertEqual([], self.heard.messages)
        self.vmha.kill_engine()
        self.vmha.start_engine()
        proxy.set('open')
        self.told()
        self.assertToldOf(self.recovery())
        # The bus falls silent on an open connection: the engine ends in time nevertheless.
        proxy.set('silent')
        self.store.set_mark('compute2', pool='b')
        time.sleep(3 * notifier.IDLE)
        begin = time.monotonic()
        self.vmha.stop_engine()
        self.assertLess(time.monotonic() - begin, 12)
        # That another pool without a spare was made is told as well.
        self.assertEqual('vmha.host.updated', self.store.outbox()[0].event_type)

    def test_a_topic_that_another_service_has_taken(self):
        """Queues that do not outlast RabbitMQ are what OpenStack's services make by default."""
        with kombu.Connection(self.bus.replace('rabbit://', 'amqp://')) as one:
            queue = kombu.Queue('taken.info', durable=False, channel=one.channel())
            queue.declare()
            self.configure(oslo_messaging_notifications__topics='taken')
            self.start()
            try:
                self.wait('it is said', lambda: any(
                    e.kind == 'notifications' and 'PRECONDITION_FAILED' in e.text
                    and 'topics a name that only this service uses' in e.text
                    for e in self.store.events()), 30)
            finally:
                queue.delete()
            self.wait('it is sent once the queue is gone', lambda: not self.store.outbox(),
                      notifier.AGAIN_MAX + 10)

    def test_each_process_of_the_api_shows_the_figures_of_all(self):
        self.configure()
        self.start()
        self.vmha.start_api()
        for _ in range(20):
            urllib.request.urlopen(self.vmha.api_url + '/v1', timeout=10).close()
        for _ in range(5):
            found = self.figures_at(self.vmha.api_url + '/metrics')
            self.assertEqual(20, found['vmha_api_requests_total']['GET,/v1,2xx'])
            self.assertEqual(20, found['vmha_api_request_seconds_count']['GET,/v1'])
            self.assertEqual({'': 1}, found['vmha_up'])
            self.assertEqual(4, found['vmha_hosts']['all'])
        self.assertEqual(self.figures()['vmha_hosts'], found['vmha_hosts'], 'as the engine says')
        self.vmha.stop_api()


class MariadbGaugesTest(test_metrics.GaugesTest):
    """The same figures from a real MariaDB."""

    def url(self):
        return base.the_lab().urls['vmha_database_url']

    def setUp(self):
        test_store_mariadb.emptied()
        self.addCleanup(test_store_mariadb.emptied)
        super().setUp()
