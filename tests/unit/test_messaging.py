"""What a message becomes: a row, a hint, or a line in the journal; never an end of listening."""

import datetime
import logging
import os
import sys
import tempfile
import types
import unittest

from oslo_config import cfg
import oslo_messaging

from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova import messaging

HANDLED = oslo_messaging.NotificationResult.HANDLED
REQUEUE = oslo_messaging.NotificationResult.REQUEUE


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Collector:
    """Remembers what it was told."""

    def __init__(self):
        self.pokes, self.metrics, self.asked = 0, [], []

    def poke(self):
        self.pokes += 1

    def ask(self, instance_id):
        self.asked.append(instance_id)

    def on_metrics(self, host, metrics):
        self.metrics.append((host, metrics))


class Base(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.store = store.Store(now, connection='sqlite:///' + os.path.join(folder.name, 'db'))
        self.store.upgrade()
        self.woken = []

    def wake(self):
        self.woken.append(1)


class HostDownTest(Base):
    GOOD = {'host': 'c1', 'reason': 'no power', 'source': 'rack', 'evidence': {'pdu': 'off'},
            'detected_at': '2026-01-01T00:00:00+00:00'}

    def setUp(self):
        super().setUp()
        self.endpoint = messaging.HostDownEndpoint(self.store, self.wake)

    def send(self, payload, event_type=messaging.HOST_DOWN):
        return self.endpoint.error({}, 'rack', event_type, payload, {})

    def test_a_report_is_a_row_before_it_is_acknowledged(self):
        self.assertEqual(HANDLED, self.send(self.GOOD))
        report, = self.store.failures()
        self.assertEqual(('c1', 'rack', 'no power', {'pdu': 'off'}, 'new'),
                         (report.host, report.source, report.reason, report.evidence,
                          report.state))
        self.assertEqual(datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
                         report.detected_at)
        self.assertTrue(self.woken)

    def test_the_same_message_again_changes_nothing(self):
        for _ in range(3):
            self.send(self.GOOD)
        self.assertEqual([2], [f.repeats for f in self.store.failures()])

    def test_malformed_messages_change_nothing_and_are_counted(self):
        bad = [None, [], 'text', 7, {}, {**self.GOOD, 'host': ''}, {**self.GOOD, 'host': 5},
               {**self.GOOD, 'host': 'x' * 300}, {**self.GOOD, 'detected_at': 'yesterday'},
               {**self.GOOD, 'evidence': 'none'}]
        bad += [{k: v for k, v in self.GOOD.items() if k != missing}
                for missing in messaging.NEEDED]
        for payload in bad:
            self.assertEqual(HANDLED, self.send(payload), payload)
        self.assertEqual(HANDLED, self.send(self.GOOD, 'something.else'))
        self.assertEqual(HANDLED, self.send(self.GOOD, None))
        self.assertEqual([], self.store.failures())
        events = self.store.events()
        self.assertEqual(len(bad) + 2, sum(e.repeats + 1 for e in events))
        self.assertTrue(all(e.kind == 'malformed' for e in events))
        self.assertIn('no text in host', ' '.join(e.text for e in events))

    def test_while_the_row_cannot_be_written_the_message_waits(self):
        self.endpoint.stopping.set()    # do not sleep in between

        def away(*args, **kwargs):
            raise exception.StoreUnavailable('database: gone')
        self.endpoint.store = type('Store', (), {'report_failure': away, 'note': away})()
        self.assertEqual(REQUEUE, self.send(self.GOOD))
        self.assertEqual(REQUEUE, self.send({}))

    def test_what_the_database_will_never_take_does_not_come_back_for_ever(self):
        def too_long(**_values):
            raise exception.StoreRefused('database: (1406) Data too long')
        self.store.report_failure = too_long
        self.assertEqual(HANDLED, self.send(self.GOOD))
        event, = self.store.events()
        self.assertEqual('malformed', event.kind)
        self.assertIn("from 'rack' cannot be stored and was dropped: database: (1406)", event.text)

    def test_what_cannot_be_taken_apart_does_not_come_back_for_ever(self):
        incoming = type('Incoming', (), {'ctxt': {}, 'message': {
            'priority': None, 'event_type': messaging.HOST_DOWN, 'payload': {}}})()
        self.assertEqual(HANDLED, messaging._Dispatcher(self.endpoint).dispatch(incoming))
        self.assertEqual(['malformed'], [e.kind for e in self.store.events()])
        incoming.message = {}
        self.assertEqual(HANDLED, messaging._Dispatcher(self.endpoint).dispatch(incoming))
        self.assertIn('without a known priority', self.store.events()[-1].text)
        incoming.message = {'priority': 'ERROR', 'event_type': messaging.HOST_DOWN,
                            'payload': self.GOOD}
        messaging._Dispatcher(self.endpoint).dispatch(incoming)
        self.assertEqual(['c1'], [f.host for f in self.store.failures()])

    def test_evidence_of_ours_cannot_come_from_outside(self):
        self.send({**self.GOOD, 'evidence': {'beats': 0, 'baseline': 'x', 'pdu': 'off'}})
        self.assertEqual({'pdu': 'off'}, self.store.failures()[0].evidence)


class NovaTest(Base):
    def setUp(self):
        super().setUp()
        self.collector, self.moved, self.under_way = Collector(), [], False
        self.endpoint = messaging.NovaEndpoint(
            self.store, self.collector, types.SimpleNamespace(
                wake=self.wake, moved=lambda: self.moved.append(1),
                follows=lambda: self.under_way))

    def send(self, event_type, data):
        return self.endpoint.info({}, 'nova', event_type, {'nova_object.data': data}, {})

    def service(self, **values):
        return self.send('service.update', {'host': 'c1', 'binary': 'nova-compute',
                                            'forced_down': True, **values})

    def test_somebody_forces_a_host_down(self):
        self.service()
        self.service()
        report, = self.store.failures()
        self.assertEqual(('c1', 'nova', 1), (report.host, report.source, report.repeats))

    def test_the_echo_of_our_own_force_down_is_recognised(self):
        report, _ = self.store.report_failure('c1', 'test')
        self.store.open_recovery(self.store.take_lead('e'), report, '')
        self.service()
        self.assertEqual(1, len(self.store.failures()))

    def test_other_service_updates_are_no_reports(self):
        self.service(forced_down=False)
        self.service(binary='nova-conductor')
        self.assertEqual([], self.store.failures())
        self.assertEqual(0, self.collector.pokes, 'no server has changed')

    def test_instances_that_move_are_looked_at(self):
        self.send('instance.rebuild.end', {'uuid': 'i'})
        self.send('compute_task.rebuild_server.error', {'instance_uuid': 'i'})
        self.send('instance.update', {'uuid': 'i'})
        self.assertEqual((3, 2), (self.collector.pokes, len(self.moved)))

    def test_while_moves_are_followed_the_loop_lists_what_changes(self):
        self.under_way = True
        self.send('instance.rebuild.end', {'uuid': 'i'})
        self.send('instance.update', {'uuid': 'i'})
        self.assertEqual((0, 1), (self.collector.pokes, len(self.moved)))

    def test_a_volume_that_comes_or_goes_is_asked_for(self):
        for event in ('attach.start', 'attach.end', 'detach.end', 'extend.end'):
            self.send(f'instance.volume_{event}', {'uuid': event})
        self.assertEqual(['attach.end', 'detach.end'], self.collector.asked)

    def test_load_arrives(self):
        metrics = [{'nova_object.data': {'name': 'cpu.percent', 'value': 7}}]
        self.send('metrics.update', {'host': 'c1', 'metrics': metrics})
        self.assertEqual([('c1', metrics)], self.collector.metrics)

    def test_nonsense_is_dropped(self):
        for payload in (None, 'x', {}, {'nova_object.data': None}, {'nova_object.data': {}}):
            self.assertEqual(HANDLED, self.endpoint.info({}, 'n', 'service.update', payload, {}))
        self.assertEqual([], self.store.failures())


class TransportTest(unittest.TestCase):
    def conf(self, url=None):
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        if url:
            oslo_messaging.conffixture.ConfFixture(conf).transport_url = url
        return conf

    def test_no_transport_says_what_to_do(self):
        with self.assertRaisesRegex(exception.ConfigurationError, 'set .DEFAULT. transport_url'):
            messaging.transport(self.conf(), '')

    def test_nonsense(self):
        for url in ('nonsense', 'nosuch://u:p@h:1/'):
            with self.assertRaisesRegex(exception.ConfigurationError, 'message bus'):
                messaging.transport(self.conf(), url)


class UndecodableTest(Base):
    def test_what_only_the_library_sees_is_noted_too(self):
        handler = messaging.Undecodable(self.store)
        try:
            raise ValueError('Extra data: line 1')
        except ValueError:
            record = logging.LogRecord('oslo_messaging._drivers.impl_rabbit', logging.ERROR, '',
                                       1, 'Failed to process message ... skipping it.', (),
                                       sys.exc_info())
        handler.handle(record)
        handler.handle(record)
        event, = self.store.events()
        self.assertEqual(('malformed', 1), (event.kind, event.repeats))
        self.assertIn('Extra data', event.text)
