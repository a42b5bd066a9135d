"""The engine's own port for its metrics: nothing else is there, and nobody is held up by it."""

import socket
import time
from unittest import mock
import urllib.error
import urllib.request

from tests.unit import test_metrics
from vmha_nova import metrics


class PortTest(test_metrics.Base):
    def serve(self, address='127.0.0.1'):
        with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET) as free:
            free.bind((address, 0))
            port = free.getsockname()[1]
        self.metrics.serve(address, port)
        self.addCleanup(self.metrics.stop)
        return port

    def get(self, port, path='/metrics', host='127.0.0.1', **values):
        end = time.monotonic() + 10
        while True:
            try:
                return urllib.request.urlopen(urllib.request.Request(
                    f'http://{host}:{port}{path}', **values), timeout=10)
            except urllib.error.HTTPError:
                raise
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def test_metrics_and_nothing_else(self):
        port = self.serve()
        with self.get(port) as answer:
            self.assertTrue(answer.headers['Content-Type'].startswith('text/plain; version='))
            self.assertEqual(1, test_metrics.samples(answer.read())['vmha_up'])
        self.get(port, '/metrics?x=1').close()
        for path, values, code in (('/', {}, 404), ('/metrics/x', {}, 404),
                                   ('/metrics', {'method': 'POST', 'data': b'x'}, 501)):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.get(port, path, **values)
            self.assertEqual(code, caught.exception.code)
            caught.exception.close()

    def test_over_ipv6(self):
        self.get(self.serve('::1'), host='[::1]').close()

    def test_it_ends(self):
        port = self.serve()
        self.get(port).close()
        begin = time.monotonic()
        self.metrics.stop()
        self.assertLess(time.monotonic() - begin, 1.5)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port), timeout=5)

    def test_a_port_that_is_taken_is_waited_for(self):
        with socket.socket() as taken, mock.patch.object(metrics, 'BIND_AGAIN', 0.1):
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            port = taken.getsockname()[1]
            with self.assertLogs(metrics.LOG, 'ERROR') as logs:
                self.metrics.serve('127.0.0.1', port)
                self.addCleanup(self.metrics.stop)
                time.sleep(0.5)
        self.assertEqual(1, len(logs.output))
        self.assertIn(f'port {port}: [Errno 98] Address already in use', logs.output[0])
        self.get(port).close()

    def test_clients_that_say_nothing_do_not_add_up(self):
        port = self.serve()
        self.get(port).close()
        idle = [socket.create_connection(('127.0.0.1', port), timeout=10)
                for _ in range(metrics.CLIENTS)]
        time.sleep(0.3)
        with socket.create_connection(('127.0.0.1', port), timeout=3) as one:
            self.assertEqual(b'', one.recv(1), 'closed at once')
        for one in idle:
            one.close()
        self.get(port).close()

    def test_a_bug_ends_no_thread_but_its_own(self):
        answers = [ValueError('x'), self.metrics.exposition()]
        with mock.patch.object(self.metrics, 'exposition', side_effect=answers):
            port = self.serve()
            with self.assertLogs(metrics.LOG, 'ERROR'), self.assertRaises(OSError):
                time.sleep(0.5)                 # until it listens
                urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=5)
            self.get(port).close()
