"""A proxy on loopback before Nova's API, in which a named fault happens to a named call.

>>> proxy = FaultProxy('http://127.0.0.1:8774')
>>> lead(lab, proxy.url)                                    # who uses the interface "admin"
>>> proxy.fail('evacuate', '504')                           # the next one, once
>>> proxy.fail('evacuate', 'reset', thing=server_id, times=None)     # those of one server, always
>>> proxy.fail(None, 'expired token')                       # the next one, whichever it is
>>> proxy.struck                                            # [(call, fault), …]
>>> proxy.delay = 7.0                                       # seconds that every answer takes more
>>> proxy.close()

Everything else passes as it is. The Host header does, too, so that links in Nova's answers lead
through the proxy.
"""

import http.client
import http.server
import json
import re
import socket
import struct
import threading
import urllib.parse

_GIVE_UP = 120.0                        # seconds that a client is kept waiting at most


def _service(key, value):
    return lambda _query, body: body.get(key) == value


#: The calls of a recovery: name -> (method, path below /v2.1, what query and body must be).
CALLS = {
    'list services': ('GET', '/os-services', None),
    'force down': ('PUT', '/os-services/([^/]+)', _service('forced_down', True)),
    'disable': ('PUT', '/os-services/([^/]+)', _service('status', 'disabled')),
    'enable': ('PUT', '/os-services/([^/]+)', _service('status', 'enabled')),
    'list hypervisors': ('GET', '/os-hypervisors/detail', None),
    'list aggregates': ('GET', '/os-aggregates', None),
    'list groups': ('GET', '/os-server-groups', None),
    'list servers': ('GET', '/servers/detail', lambda query, _body: 'host' not in query),
    'list servers of a host': ('GET', '/servers/detail', lambda query, _body: 'host' in query),
    'list evacuations': ('GET', '/os-migrations', None),
    'show server': ('GET', '/servers/(?!detail)([^/]+)', None),
    'evacuate': ('POST', '/servers/([^/]+)/action', lambda _query, body: 'evacuate' in body),
    'stop': ('POST', '/servers/([^/]+)/action', lambda _query, body: 'os-stop' in body),
    'start': ('POST', '/servers/([^/]+)/action', lambda _query, body: 'os-start' in body),
}
ACTS = ('force down', 'disable', 'enable', 'evacuate', 'stop', 'start')
#: Name -> whether Nova gets the request, and what the client gets: a status, or how it is left.
FAULTS = {
    '500': (False, 500), '502': (False, 502), '503': (False, 503), '504': (False, 504),
    'expired token': (False, 401), 'timeout': (False, 'silence'), 'reset': (False, 'reset'),
    '502, done': (True, 502), '504, done': (True, 504), 'timeout, done': (True, 'silence'),
    'reset, done': (True, 'reset'), 'half an answer': (True, 'half'),
}


class FaultProxy:
    """See the module.

    :ivar url: where it listens
    :ivar struck: the faults that have happened: (call, fault)
    :ivar delay: seconds before a request is passed on
    """

    def __init__(self, upstream):
        found = urllib.parse.urlsplit(upstream)
        self.upstream = found.hostname, found.port
        self.delay = 0.0
        self.struck = []
        self.closing = threading.Event()
        self._faults, self._lock = [], threading.Lock()
        self._server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), type('Handler', (_Handler,), {'proxy': self}))
        self._server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def fail(self, call, fault, thing=None, times=1):
        """Have it happen so many times, None: always; ``thing``: only to calls about that id.

        :param call: None: to whichever of CALLS comes
        """
        if call not in (*CALLS, None) or fault not in FAULTS:
            raise ValueError(f'{call}: {fault}')
        with self._lock:
            self._faults.append([call, fault, thing, times])

    def heal(self):
        """Let everything pass from now on."""
        with self._lock:
            self._faults.clear()

    def close(self):
        """Listen no more; who is kept waiting is let go."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, method, target, body):
        """The fault of a request that has just come, None for most."""
        name, thing = recognise(method, target, body)
        with self._lock:
            for one in self._faults:
                if name and one[0] in (None, name) and one[2] in (None, thing) and one[3] != 0:
                    one[3] = one[3] and one[3] - 1
                    self.struck.append((name, one[1]))
                    return one[1]
        return None


def lead(lab, url=None):
    """Have Keystone name another place for Nova as the interface "admin"; None: its own."""
    session, urls = lab.session(), lab.urls
    own = urls['compute_url']
    service, = session.get(f'{urls["auth_url"]}/services?type=compute').json()['services']
    one, = session.get(f'{urls["auth_url"]}/endpoints?interface=admin&service_id={service["id"]}'
                       ).json()['endpoints']
    session.patch(f'{urls["auth_url"]}/endpoints/{one["id"]}', json={'endpoint': {
        'url': own if url is None else url + own[own.index('/v2.1'):]}})


def recognise(method, target, body):
    """Which of CALLS a request is, and the id that it is about; None each."""
    url = urllib.parse.urlsplit(target)
    query = urllib.parse.parse_qs(url.query)
    try:
        content = json.loads(body or b'{}')
    except ValueError:
        content = {}
    for name, (wanted, path, fits) in CALLS.items():
        match = re.fullmatch('.*/v2.1' + path, url.path)
        if method == wanted and match and (fits is None or fits(query, content)):
            return name, match[1] if match.groups() else None
    return None, None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    proxy = None

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass                        # the client or Nova has gone, as after a fault of ours

    def _handle(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self.proxy.closing.wait(self.proxy.delay)
        fault = self.proxy.fault(self.command, self.path, body)
        if fault is None:
            self.wfile.write(self._forward(body))
            return
        forwarded, what = FAULTS[fault]
        answer = self._forward(body) if forwarded else b''
        self.close_connection = True
        if what == 'silence':
            self.proxy.closing.wait(_GIVE_UP)
        elif what == 'half':
            self.wfile.write(answer[:len(answer) // 2])
        elif what == 'reset':
            # Close with an RST instead of a FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack('ii', 1, 0))
            self.connection.close()
        else:
            self.wfile.write(_made_up(what))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle

    def _forward(self, body):
        """What Nova answers, as it goes over the wire."""
        connection = http.client.HTTPConnection(*self.proxy.upstream, timeout=_GIVE_UP)
        try:
            connection.putrequest(self.command, self.path, skip_host=True,
                                  skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in (
                'connection', 'keep-alive', 'transfer-encoding', 'content-length')]
            return _wire(answer.status, answer.reason, headers, content)
        finally:
            connection.close()


def _wire(status, reason, headers, content):
    lines = [f'HTTP/1.1 {status} {reason}', *(f'{n}: {v}' for n, v in headers),
             f'Content-Length: {len(content)}', '', '']
    return '\r\n'.join(lines).encode('latin-1') + content


def _made_up(status):
    """An answer of who stands before Nova; of Nova's own for 500 and for 401."""
    reason = http.HTTPStatus(status).phrase
    if status in (500, 401):
        content = json.dumps({'computeFault' if status == 500 else 'error': {
            'code': status, 'message': reason}}).encode()
        headers = [('Content-Type', 'application/json'), ('x-compute-request-id', 'req-made-up'),
                   ('x-openstack-request-id', 'req-made-up')]
        if status == 401:
            headers.append(('WWW-Authenticate', 'Keystone uri="http://127.0.0.1/identity"'))
    else:
        content, headers = f'<html><h1>{status} {reason}</h1></html>'.encode(), [
            ('Content-Type', 'text/html')]
    return _wire(status, reason, [*headers, ('Connection', 'close')], content)
