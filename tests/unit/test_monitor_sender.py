"""Reports on the message bus while that works, is away, or hangs."""

import datetime
import threading
import time
import unittest
from unittest import mock

from oslo_messaging._drivers import impl_fake

from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import messaging

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class SenderTest(unittest.TestCase):
    def setUp(self):
        self.conf = opts.load([], '', default_config_files=[])
        self.conf.set_override('transport_url', 'fake://', 'notifications')
        self.sent, self.drivers, self.trouble = [], [], None
        self.release = threading.Event()
        self.addCleanup(self.release.set)

        def send(driver, target, ctxt, message, **values):
            self.drivers.append(driver)
            if self.trouble == 'hang':
                self.release.wait(10)
            elif self.trouble:
                raise ConnectionError(f'{self.trouble}\nand a second line')
            self.sent.append((target.exchange, target.topic, message['event_type'],
                              message['priority'], message['payload']))
        patch = mock.patch.object(
            impl_fake.FakeDriver, 'send_notification',
            lambda driver, target, ctxt, message, *args, **values: send(
                driver, target, ctxt, message))
        patch.start()
        self.addCleanup(patch.stop)
        self.sender = messaging.HostDownSender(self.conf, seconds=0.2)
        self.addCleanup(self.sender.close)

    def send(self, host='c1'):
        self.sender.send(host, 'no answer', 'vmha-monitor', {'osds': 'down'}, AT)

    def test_what_is_sent(self):
        self.send()
        ((exchange, topic, event_type, priority, payload),) = self.sent
        self.assertEqual(('vmha', 'vmha.error', 'compute.host.down', 'ERROR'),
                         (exchange, topic, event_type, priority))
        self.assertEqual(dict(host='c1', source='vmha-monitor', reason='no answer',
                              detected_at=AT, evidence={'osds': 'down'}),
                         messaging.parse_host_down(payload))

    def test_one_connection_for_all(self):
        self.send()
        self.send('c2')
        self.assertEqual(1, len(set(self.drivers)))

    def test_a_bus_that_refuses_is_said_and_then_connected_to_anew(self):
        self.trouble = 'gone'
        error = self.assertRaises(exception.Unreachable, self.send)
        self.trouble = None
        self.send()
        self.assertEqual(1, len(self.sent))
        self.assertEqual(2, len(set(self.drivers)))
        del error

    def test_a_bus_that_hangs_holds_nobody_up_and_loses_nothing(self):
        self.trouble = 'hang'
        begin = time.monotonic()
        for _ in range(20):
            with self.assertRaises(exception.Unreachable):
                self.send()
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual(1, len(self.drivers))          # not one more thread for each
        self.trouble = None
        self.release.set()
        time.sleep(0.2)
        self.assertEqual(1, len(self.sent))             # what it had in its hands
        self.send()
        self.assertEqual(2, len(self.sent))

    def test_who_reports_once_is_told_of_failure(self):
        self.trouble = 'gone'
        with self.assertRaisesRegex(exception.Unreachable, '^message bus: gone'):
            messaging.publish_host_down(self.conf, 'c1', 'fire', 'operator')
        self.trouble = None
        messaging.publish_host_down(self.conf, 'c1', 'fire', 'operator')
        self.assertEqual('fire', self.sent[-1][-1]['reason'])

    def test_no_address_of_a_bus(self):
        self.conf.set_override('transport_url', '', 'notifications')
        with self.assertRaises(exception.ConfigurationError):
            messaging.HostDownSender(self.conf)
