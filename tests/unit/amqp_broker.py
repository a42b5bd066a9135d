"""A message bus of one's own: as much of RabbitMQ as a publisher sees of it.

It speaks AMQP 0-9-1 on a port of the loopback, to any number of clients, keeps what was declared,
bound and published, and confirms it, or not. It delivers nothing. What the real RabbitMQ says is
for the functional tests.
"""

import dataclasses
import json
import socket
import socketserver
import struct
import threading

from amqp import serialization

METHOD, HEADER, BODY, HEARTBEAT, END = 1, 2, 3, 8, 0xCE
START, START_OK, TUNE, OPEN, OPEN_OK, CLOSE, CLOSE_OK = (
    (10, n) for n in (10, 11, 30, 40, 41, 50, 51))
PUBLISH, ACK, NACK = (60, 40), (60, 80), (60, 120)
DECLARE_EXCHANGE, DECLARE_QUEUE, BIND = (40, 10), (50, 10), (50, 20)
CONFIRMS = (85, 10)
# What is answered to a method, and with which values.
ANSWERS = {
    START_OK: (TUNE, 'BlB', (10, 131072, 60)), OPEN: (OPEN_OK, 's', ('',)),
    CLOSE: (CLOSE_OK, '', ()), (20, 10): ((20, 11), 'S', ('',)), (20, 40): ((20, 41), '', ()),
    CONFIRMS: ((85, 11), '', ()), DECLARE_EXCHANGE: ((40, 11), '', ()),
    DECLARE_QUEUE: ((50, 11), 'sll', ('', 0, 0)), BIND: ((50, 21), '', ()),
}


@dataclasses.dataclass(frozen=True)
class Message:
    """A message as it was published."""

    exchange: str
    routing_key: str
    persistent: bool
    body: dict

    @property
    def notification(self):
        """oslo.messaging's notification in it."""
        return json.loads(self.body['oslo.message'])


class Broker:
    """
    :ivar confirms: what a publisher gets to hear: 'ack', 'nack', or '' for nothing at all
    :ivar silent: even a new connection hears nothing
    :ivar refuses: nobody has the right password
    :ivar durable: {exchange or queue that was declared: whether it outlasts the broker}
    :ivar messages: those for which there was a queue
    """

    def __init__(self, port=0):
        self.confirms, self.silent, self.refuses = 'ack', False, False
        self.durable, self.bound, self.messages = {}, set(), []
        self._server = socketserver.ThreadingTCPServer(('127.0.0.1', port), self._serve, False)
        self._server.daemon_threads, self._server.allow_reuse_address = True, True
        self._server.server_bind()
        self._server.server_activate()
        self.port = self._server.server_address[1]
        self.url = f'rabbit://somebody:secret@127.0.0.1:{self.port}/'

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, one, _address, _server):
        try:
            _Client(self, one).serve()
        except OSError:
            pass                        # it has gone


class _Client:
    """A connection of somebody."""

    def __init__(self, broker, one):
        self._broker, self._socket = broker, one
        self._confirming, self._tag = False, 0
        self._publishing, self._size, self._body = None, 0, b''
        self._persistent = False

    def serve(self):
        assert self._read(8) == b'AMQP\0\0\x09\x01'
        if self._broker.silent:
            while self._socket.recv(4096):
                pass
            return
        features = {'capabilities': {'publisher_confirms': True, 'basic.nack': True}}
        self._send(0, START, 'ooFSS', (0, 9, features, 'PLAIN AMQPLAIN', 'en_US'))
        while True:
            kind, channel, size = struct.unpack('>BHI', self._read(7))
            data = self._read(size + 1)[:-1]
            if kind == METHOD:
                self._method(channel, struct.unpack('>HH', data[:4]), data[4:])
            elif kind == HEADER:
                self._header(data)
            elif kind == BODY:
                self._body += data
            if kind in (HEADER, BODY) and len(self._body) == self._size:
                self._published(channel)

    def _method(self, channel, method, data):
        if method == START_OK and self._broker.refuses:
            self._send(0, CLOSE, 'BsBB', (403, 'ACCESS_REFUSED - Login was refused', 0, 0))
            raise ConnectionResetError
        if method == CONFIRMS:
            self._confirming = True
        elif method == DECLARE_EXCHANGE:
            _, name, _kind, _passive, durable = _loads('Bssbb', data)
            self._broker.durable[name] = durable
        elif method == DECLARE_QUEUE:
            _, name, _passive, durable = _loads('Bsbb', data)
            self._broker.durable[name] = durable
        elif method == BIND:
            _, _queue, exchange, key = _loads('Bsss', data)
            self._broker.bound.add((exchange, key))
        elif method == PUBLISH:
            _, *self._publishing = _loads('Bss', data)
        if method in ANSWERS:
            self._send(channel, *ANSWERS[method])

    def _header(self, data):
        self._size, flags = struct.unpack('>QH', data[4:14])
        # Content type, encoding, headers and delivery mode, which are always there.
        assert flags >> 12 == 0b1111, flags
        *_, mode = _loads('ssFo', data[14:])
        self._persistent, self._body = mode == 2, b''

    def _published(self, channel):
        exchange, key = self._publishing
        if (exchange, key) in self._broker.bound:
            self._broker.messages.append(
                Message(exchange, key, self._persistent, json.loads(self._body)))
        self._tag += 1
        if self._confirming and self._broker.confirms:
            self._send(channel, ACK if self._broker.confirms == 'ack' else NACK,
                       'Lbb', (self._tag, False, False))

    def _send(self, channel, method, kinds, values):
        data = struct.pack('>HH', *method) + serialization.dumps(kinds, values)
        self._socket.sendall(
            struct.pack('>BHI', METHOD, channel, len(data)) + data + bytes([END]))

    def _read(self, size):
        data = b''
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data


def free_port():
    """A port on which nobody listens."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        return free.getsockname()[1]


def _loads(kinds, data):
    return serialization.loads(kinds, data, 0)[0]
