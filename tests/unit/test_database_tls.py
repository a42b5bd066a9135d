"""A database that is to be spoken to with TLS is never spoken to without."""

import socket
import struct
import threading

import requests
import testtools

from vmha_nova.db import store
from vmha_nova import exception

CLIENT_SSL = 1 << 11
#: What MySQL's servers say first: version 10, "8", thread 1, half a salt, capabilities, …
CAPABILITIES = 0xf7ff & ~CLIENT_SSL


def greeting():
    """The first packet of a server that knows no TLS."""
    body = (b'\x0a8\0' + struct.pack('<I', 1) + b'12345678\0' + struct.pack('<H', CAPABILITIES)
            + b'\x21' + struct.pack('<HHB', 2, 0x0008, 21) + bytes(10) + b'123456789012\0'
            + b'mysql_native_password\0')
    return struct.pack('<I', len(body))[:3] + b'\0' + body


class PlainServer(threading.Thread):
    """Greets whoever comes, and keeps what they say.

    :ivar heard: bytes
    """

    def __init__(self):
        super().__init__(daemon=True)
        self._socket = socket.create_server(('127.0.0.1', 0))
        self._socket.settimeout(10)
        self.port = self._socket.getsockname()[1]
        self.heard = b''

    def run(self):
        with self._socket, self._socket.accept()[0] as connection:
            connection.settimeout(5)
            connection.sendall(greeting())
            self.heard = connection.recv(1000)


class DatabaseTlsTest(testtools.TestCase):
    def connect(self, query):
        """What becomes of it, and what the server has heard."""
        server = PlainServer()
        server.start()
        self.addCleanup(server.join, 10)
        found = store.Store(None, max_retries=0, connection=(
            f'mysql+pymysql://vmha:secret@127.0.0.1:{server.port}/vmha{query}'))
        error = self.assertRaises(exception.StoreUnavailable, found.version)
        server.join(10)
        return str(error), server.heard

    def test_a_server_that_knows_no_tls_learns_nothing(self):
        error, heard = self.connect(f'?ssl_ca={requests.certs.where()}')
        self.assertIn('SSL is required', error)
        self.assertEqual(b'', heard)

    def test_without_ssl_ca_it_is_spoken_to(self):
        _error, heard = self.connect('')
        self.assertIn(b'vmha', heard)
