"""What was written down to be told is sent: all of it, in order, at least once."""

import json
import os
import pathlib
import socket
import tempfile
import threading
import time
import unittest
from unittest import mock

from oslo_config import cfg
import oslo_messaging
from oslo_messaging._drivers import impl_fake

from tests.unit import clock as clocks
from tests.unit import topology
from vmha_nova import cmd  # noqa: F401  before oslo.messaging: see there
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova import lead
from vmha_nova import notifier
from vmha_nova import views


SAMPLES = pathlib.Path(__file__).parents[2] / 'doc/source/_samples'


class Metrics:
    """Remembers what it was told."""

    def __init__(self):
        self.seen = []

    def observe(self, note):
        self.seen.append(note.event_type)


class Listener:
    """A consumer that somebody else has written, on the topic of OpenStack's notifications."""

    def __init__(self, conf, topic='notifications', exchange='vmha'):
        self.got = []                   # (priority, publisher, event type, payload, metadata)
        self._server = oslo_messaging.get_notification_listener(
            oslo_messaging.get_notification_transport(conf, 'fake://'),
            [oslo_messaging.Target(exchange=exchange, topic=topic)], [self])

    def __getattr__(self, priority):
        if priority not in ('audit', 'debug', 'info', 'warn', 'error', 'critical', 'sample'):
            raise AttributeError(priority)

        def heard(ctxt, publisher_id, event_type, payload, metadata):
            self.got.append((priority, publisher_id, event_type, payload, metadata))
        return heard

    def events(self):
        return [one[2] for one in self.got]

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop()

    def wait(self, count, seconds=10):
        """Until so many messages have come; that no other comes is for the test to say."""
        end = time.monotonic() + seconds
        while len(self.got) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.got


class Base(unittest.TestCase):
    driver = ('messagingv2',)
    words = 'the bus is away'

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.clock = clocks.Clock(topology.NOW)
        self.store = store.Store(
            self.clock, connection='sqlite:///' + os.path.join(folder.name, 'db'),
            sqlite_synchronous=False)
        self.store.upgrade()
        self.lead = lead.Lead(self.store)
        self.lead.take('e')
        self.metrics = Metrics()
        self.conf = self.configure()
        self.notifier = self.make()
        self.addCleanup(impl_fake.FakeExchangeManager.cleanup)

    def configure(self, url='fake://', **options):
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        notifier.options(conf)
        for name, value in dict(
                dict(driver=list(self.driver), transport_url=url), **options).items():
            conf.set_override(name, value, notifier.GROUP)
        return conf

    def make(self):
        return notifier.Notifier(self.conf, self.store, self.lead, self.metrics,
                                 lambda: self.clock().timestamp())

    def recover(self):
        """A host dies and one of its two instances is moved, as rows."""
        term = self.lead.term
        report, _ = self.store.report_failure('c1', 'rack', 'no power')
        self.store.set_failure(term, report.id, 'checking', 'wait')
        recovery = self.store.open_recovery(term, report, 'dead')
        self.store.set_recovery(term, recovery.id, state='held', reason='too many', resume='')
        self.store.set_recovery(term, recovery.id, state='fenced')
        self.store.set_recovery(term, recovery.id, state='down_in_nova')
        self.store.set_recovery(term, recovery.id, state='moving')
        self.store.save_moves(term, recovery.id, new=[
            dict(instance_id=i, state='waiting', target='s1', tried=[], known=[])
            for i in ('a', 'b')])
        a, b = self.store.moves(recovery.id)
        self.store.save_moves(term, recovery.id, changed={a.id: dict(state='moved')})
        self.store.save_moves(term, recovery.id, changed={b.id: dict(state='failed')})
        self.store.set_recovery(term, recovery.id, state='partial', ended_at=self.clock())
        return recovery.id

    EVENTS = [
        'vmha.host.reported', 'vmha.host.checking', 'vmha.host.accepted',
        'vmha.recovery.confirmed', 'vmha.recovery.held', 'vmha.recovery.fenced',
        'vmha.recovery.down_in_nova', 'vmha.recovery.moving', 'vmha.move.waiting',
        'vmha.move.waiting', 'vmha.move.moved', 'vmha.move.failed', 'vmha.recovery.partial']

    def fail_at(self, event_type, times=1):
        """The bus does not take notifications of a type, so many times."""
        true, left = impl_fake.FakeDriver.send_notification, [times]

        def send(driver, target, ctxt, message, *args, **values):
            if message['event_type'] == event_type and left[0]:
                left[0] -= 1
                raise oslo_messaging.MessageDeliveryFailure(self.words)
            return true(driver, target, ctxt, message, *args, **values)
        # The cleanup of a fake transport would forget what others have sent.
        self.closed = []
        for name, function in (('send_notification', send),
                               ('cleanup', lambda driver: self.closed.append(driver))):
            patch = mock.patch.object(impl_fake.FakeDriver, name, function)
            patch.start()
            self.addCleanup(patch.stop)
        return left


class SendTest(Base):
    def test_a_recovery_as_a_second_listener_hears_it(self):
        with Listener(self.conf) as heard, Listener(self.conf, 'vmha') as reports:
            recovery_id = self.recover()
            notes = self.store.outbox()
            self.assertEqual(notifier.IDLE, self.notifier.cycle())
            heard.wait(len(self.EVENTS))
            # There is a queue for each priority; within one the order is that of the rows.
            priorities = {'vmha.recovery.held': 'warn', 'vmha.move.failed': 'error',
                          'vmha.recovery.partial': 'error'}
            by_priority = {}
            for priority, publisher, event_type, payload, _metadata in heard.got:
                self.assertEqual(f'vmha-engine.{socket.gethostname()}', publisher)
                by_priority.setdefault(priority, []).append((event_type, payload))
            wanted = {}
            for note in notes:
                wanted.setdefault(priorities.get(note.event_type, 'info'), []).append(
                    (note.event_type, note.payload))
            self.assertEqual(wanted, by_priority)
            self.assertEqual([], reports.got, "the host-down listener's topic is left alone")
        self.assertEqual(self.EVENTS, [n.event_type for n in notes])
        last = next(p for _, _, kind, p, _ in heard.got if kind == 'vmha.recovery.partial')
        self.assertEqual(
            views.recovery(self.store.recovery(recovery_id), {'moved': 1, 'failed': 1}), last)
        move = next(p for _, _, kind, p, _ in heard.got if kind == 'vmha.move.failed')
        self.assertEqual(
            dict(views.move(self.store.moves(recovery_id)[1]), host='c1'), move)
        self.assertEqual([], self.store.outbox())
        self.assertEqual(self.EVENTS, self.metrics.seen)

    def test_the_time_is_that_of_the_change_and_the_topics_are_the_configured_ones(self):
        self.conf.set_override('topics', ['alarms', 'billing'], notifier.GROUP)
        self.notifier = self.make()
        with Listener(self.conf, 'alarms') as one, Listener(self.conf, 'billing') as two:
            self.store.set_mark('c1', spare=True)
            self.clock.tick(3600)
            self.notifier.cycle()
            one.wait(1)
            two.wait(1)
        self.assertEqual(['vmha.host.updated'], one.events())
        self.assertEqual(one.got, two.got)
        self.assertEqual('2026-03-01 12:00:00', one.got[0][4]['timestamp'])

    def test_more_than_one_batch_goes_on_at_once(self):
        for n in range(notifier.BATCH + 1):
            self.store.set_mark('c1', pool=str(n))
        self.assertEqual(0.0, self.notifier.cycle())
        self.assertEqual(1, len(self.store.outbox()))
        self.assertEqual(notifier.IDLE, self.notifier.cycle())
        self.assertEqual([], self.store.outbox())

    def test_who_does_not_lead_sends_nothing(self):
        self.recover()
        self.lead.term = None
        self.assertEqual(notifier.IDLE, self.notifier.cycle())
        self.assertEqual(len(self.EVENTS), len(self.store.outbox()))
        self.lead.take('e')
        self.store.take_lead('another')
        with Listener(self.conf) as heard:
            self.assertRaises(exception.TermLost, self.notifier.cycle)
            time.sleep(0.2)
            self.assertEqual([], heard.got)
        self.assertEqual(len(self.EVENTS), len(self.store.outbox()))

    def test_no_driver_no_message_but_the_metrics_count(self):
        self.conf.set_override('driver', [], notifier.GROUP)
        self.conf.set_override('transport_url', 'rabbit://', notifier.GROUP)    # none is needed
        self.recover()
        self.make().cycle()
        self.assertEqual([], self.store.outbox())
        self.assertEqual(self.EVENTS, self.metrics.seen)

    def test_a_driver_that_only_logs(self):
        self.conf.set_override('driver', ['log'], notifier.GROUP)
        self.store.set_mark('c1', spare=True)
        with self.assertLogs('oslo.messaging.notification.vmha.host.updated') as logs:
            self.make().cycle()
        self.assertIn('"spare": true', logs.output[0])
        self.assertEqual([], self.store.outbox())

    def test_configured_nonsense_is_said_at_the_start(self):
        for wrong, words in ((dict(driver=['rabbit']), 'there is no rabbit; there are'),
                             (dict(url='rabbit://'), 'no message bus'),
                             (dict(url='nosuch://h/'), 'message bus')):
            self.conf = self.configure(**wrong)
            with self.assertRaisesRegex(exception.ConfigurationError, words):
                self.make()


class SamplesTest(Base):
    def test_the_samples_of_the_documentation_are_still_like_that(self):
        self.recover()
        self.store.set_mark('c1', spare=True)
        real = {note.event_type.split('.')[1] + str('spare' in note.payload): note.payload.keys()
                for note in self.store.outbox()}
        paths = sorted(SAMPLES.glob('vmha.*.json'))
        self.assertGreater(len(paths), 10)
        for path in paths:
            message = json.loads(path.read_text())
            event_type, payload = message['event_type'], message['payload']
            self.assertEqual(path.stem, event_type)
            self.assertEqual({'message_id', 'timestamp', 'priority', 'publisher_id',
                              'event_type', 'payload'}, message.keys())
            self.assertEqual(notifier.PRIORITY.get(event_type, 'info').upper(),
                             message['priority'])
            noun = event_type.split('.')[1]
            self.assertEqual(real[noun + str('spare' in payload)], payload.keys(), path)
            if noun != 'host':
                self.assertEqual(event_type.split('.')[2], payload['state'])


class FailureTest(Base):
    def test_what_could_not_be_sent_waits_and_the_order_stays(self):
        self.recover()
        left = self.fail_at('vmha.recovery.fenced', times=2)
        with Listener(self.conf) as heard:
            at = self.EVENTS.index('vmha.recovery.fenced')
            self.assertEqual(1.0, self.notifier.cycle())
            self.assertEqual(self.EVENTS[at:], [n.event_type for n in self.store.outbox()])
            self.assertEqual(2.0, self.notifier.cycle(), 'a longer pause')
            self.assertEqual(0, left[0])
            self.assertEqual(notifier.IDLE, self.notifier.cycle())
            got = [e for p, _, e, _, _ in heard.wait(len(self.EVENTS)) if p == 'info']
        self.assertEqual([e for e in self.EVENTS if e not in notifier.PRIORITY], got)
        self.assertEqual(self.EVENTS, self.metrics.seen)
        event, = [e for e in self.store.events() if e.kind == 'notifications']
        self.assertEqual(('warning', 'notifications wait: the bus is away'),
                         (event.level, event.text))

    def test_the_pause_grows_to_half_a_minute_and_begins_anew(self):
        self.store.set_mark('c1', spare=True)
        left = self.fail_at('vmha.host.updated', times=8)
        with self.assertLogs(notifier.LOG) as logs:
            self.assertEqual([1, 2, 4, 8, 16, 30, 30, 30],
                             [self.notifier.cycle() for _ in range(8)])
            self.assertEqual(notifier.IDLE, self.notifier.cycle())
        self.assertEqual(['WARNING', 'INFO'], [r.levelname for r in logs.records], 'once each')
        self.assertEqual([], self.store.outbox())
        left[0] = 1
        self.store.set_mark('c1', spare=False)
        self.assertEqual(1, self.notifier.cycle())
        # What has failed once is not used again: it could wait for its broker for ever.
        self.assertEqual(9, len({id(driver) for driver in self.closed}))

    def test_other_words_are_said_now_and_then(self):
        self.store.set_mark('c1', spare=True)
        self.fail_at('vmha.host.updated', times=4)
        with self.assertLogs(notifier.LOG) as logs:
            for words, seconds in (('reset', 0), ('refused', 1), ('refused', 60), ('refused', 60)):
                self.words = words
                self.clock.tick(seconds)
                self.notifier.cycle()
        self.assertEqual(['notifications wait: reset', 'notifications wait: refused'],
                         [r.getMessage() for r in logs.records])

    def test_a_bus_that_never_was_there(self):
        with socket.socket() as taken:          # nobody listens there
            taken.bind(('127.0.0.1', 0))
            self.conf = self.configure(f'rabbit://u:p@127.0.0.1:{taken.getsockname()[1]}/')
            self.notifier = self.make()
            self.recover()
            begin = time.monotonic()
            self.assertEqual([1.0, 2.0], [self.notifier.cycle() for _ in range(2)])
            self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(self.EVENTS, [n.event_type for n in self.store.outbox()])
        self.assertEqual([], self.metrics.seen)
        self.assertIn('refused', self.store.events()[-1].text)

    def test_retry_says_how_often(self):
        self.conf.set_override('retry', 1, notifier.GROUP)
        self.notifier = self.make()
        self.store.set_mark('c1', spare=True)
        self.store.report_failure('c1', 'rack')
        self.fail_at('vmha.host.updated', times=2)
        with Listener(self.conf) as heard:
            self.assertEqual(1.0, self.notifier.cycle())
            with self.assertLogs(notifier.LOG, 'ERROR') as logs:
                self.notifier.cycle()
            heard.wait(1)
        self.assertIn('is lost: the bus is away', logs.output[0])
        self.assertEqual(['vmha.host.reported'], heard.events())
        self.assertEqual([], self.store.outbox())

    def test_a_queue_that_others_have_made_otherwise(self):
        words = notifier._words(Exception("(406) PRECONDITION_FAILED - inequivalent arg\n'x'"))
        self.assertIn('give [oslo_messaging_notifications] topics a name that only', words)
        self.assertNotIn('\n', words)


class Killed(BaseException):
    """kill -9 of the engine."""


class CrashTest(Base):
    def killed(self, name, before):
        """The store of an engine that dies around a call."""
        true = getattr(self.store, name)

        def call(*args):
            if not before:
                true(*args)
            raise Killed
        setattr(self.store, name, call)
        self.assertRaises(Killed, self.notifier.cycle)
        setattr(self.store, name, true)
        self.notifier = self.make()     # of the next engine
        self.lead.take('next')

    def test_between_sending_and_deleting_is_twice_and_the_same(self):
        self.recover()
        with Listener(self.conf) as heard:
            self.killed('sent', before=True)
            heard.wait(len(self.EVENTS))
            self.notifier.cycle()
            heard.wait(2 * len(self.EVENTS))
        self.assertEqual([], self.store.outbox())
        ids = [metadata['message_id'] for *_, metadata in heard.got]
        self.assertEqual(2 * len(self.EVENTS), len(ids))
        self.assertEqual(len(self.EVENTS), len(set(ids)), 'the second has the id of the first')

    def test_before_sending_or_after_deleting_is_once(self):
        self.recover()
        with Listener(self.conf) as heard:
            self.killed('leader', before=True)
            self.killed('sent', before=False)
            self.notifier.cycle()
            heard.wait(len(self.EVENTS))
            time.sleep(0.2)
        self.assertEqual(sorted(self.EVENTS), sorted(heard.events()))

    def test_a_database_that_is_away_for_a_moment_is_no_reason_to_send_again(self):
        self.recover()
        true = self.store.sent

        def away(*_):
            raise exception.StoreUnavailable('database: gone')
        self.store.sent = away
        with Listener(self.conf) as heard:
            self.assertRaises(exception.StoreUnavailable, self.notifier.cycle)
            self.store.sent = true
            self.store.set_mark('c1', spare=True)
            self.notifier.cycle()
            heard.wait(len(self.EVENTS) + 1)
            time.sleep(0.2)
        events = [*self.EVENTS, 'vmha.host.updated']
        self.assertEqual(sorted(events), sorted(heard.events()))
        self.assertEqual(events, self.metrics.seen)

    def test_a_row_that_gets_the_number_of_one_that_is_gone(self):
        """The deletion worked, its answer was lost; SQLite counts from 1 again."""
        self.store.set_mark('c1', spare=True)
        true = self.store.sent

        def lost(*args):
            true(*args)
            raise exception.StoreUnavailable('database: gone')
        self.store.sent = lost
        with Listener(self.conf) as heard:
            first, = self.store.outbox()
            self.assertRaises(exception.StoreUnavailable, self.notifier.cycle)
            self.store.sent = true
            self.clock.tick(1)
            self.store.set_mark('c1', spare=False)
            second, = self.store.outbox()
            self.assertEqual(first.id, second.id)
            self.notifier.cycle()
            heard.wait(2)
        self.assertEqual([True, False], [payload['spare'] for _, _, _, payload, _ in heard.got])


class LoopTest(Base):
    def start(self):
        thread = threading.Thread(target=self.notifier.run, daemon=True)
        thread.start()
        self.addCleanup(self.notifier.stop, thread)
        return thread

    def test_it_sends_as_rows_come_and_ends_when_told(self):
        with Listener(self.conf) as heard:
            thread = self.start()
            self.store.set_mark('c1', spare=True)
            heard.wait(1)
            self.store.set_mark('c1', spare=False)
            heard.wait(2)
            begin = time.monotonic()
            self.notifier.stop(thread)
            self.assertLess(time.monotonic() - begin, 1)
        self.assertFalse(thread.is_alive())
        self.assertEqual(['vmha.host.updated'] * 2, heard.events())

    def test_another_engine_leads(self):
        thread = self.start()
        self.store.take_lead('another')
        self.store.set_mark('c1', spare=True)
        thread.join(10)
        self.assertFalse(thread.is_alive())
        self.assertEqual(1, len(self.store.outbox()))

    def test_nothing_else_ends_it(self):
        errors = [exception.StoreUnavailable('gone'), ValueError('a bug')]
        true = self.store.outbox

        def outbox(*args):
            if errors:
                raise errors.pop(0)
            return true(*args)
        self.store.outbox = outbox
        with mock.patch.multiple(notifier, IDLE=0.01, AGAIN_MAX=0.01), \
                Listener(self.conf) as heard:
            self.start()
            self.store.set_mark('c1', spare=True)
            heard.wait(1)
        self.assertEqual(['vmha.host.updated'], heard.events())
        self.assertIn('a bug', self.store.events()[-1].text)
