"""The commands and their client in front of the real application, without a socket between."""

import io
import json
import types

from keystoneauth1 import session as keystone
from keystoneauth1 import token_endpoint
import requests
from werkzeug import test

from tests.unit import api_case
from vmha_nova.osc import client

ROOT = 'http://vmha.invalid:15870'


class Wsgi(requests.adapters.BaseAdapter):
    """Takes requests to a WSGI application. ``seen``: (method, path with query) of each."""

    def __init__(self, app):
        super().__init__()
        self.app = test.Client(app)
        self.seen = []
        self.headers = []               # of each, as they were sent
        self.error = None               # raised in place of an answer

    def send(self, request, **_options):
        """See requests."""
        self.seen.append((request.method, request.path_url))
        self.headers.append(request.headers)
        if self.error is not None:
            raise self.error
        made = self.app.open(request.path_url, base_url=ROOT, method=request.method,
                             headers=list(request.headers.items()), data=request.body)
        answer = requests.Response()
        answer.status_code, answer.reason = made.status_code, made.status.split(' ', 1)[1]
        answer.headers.update(made.headers)
        answer.raw, answer.url, answer.request = io.BytesIO(made.data), request.url, request
        return answer

    def close(self):
        """See requests."""


class Terminal(io.StringIO):
    """Something to write to that is a terminal."""

    encoding = 'utf-8'

    def isatty(self):
        """It is."""
        return True


class OscCase(api_case.ApiCase):
    """``run`` runs a command; ``out`` and ``err`` are what it has written."""

    def setUp(self):
        super().setUp()
        self.http = Wsgi(self.wsgi)

    def make_client(self, token='admin', endpoint=ROOT, **options):
        """A client with the token of a persona."""
        http = requests.Session()
        http.mount('http://', self.http)
        auth = token_endpoint.Token(endpoint, token)
        return client.Client(keystone.Session(auth=auth, session=http), **options)

    def run_command(self, command, *argv, persona='admin', stdout=None):
        """Run a command as the program does and return its exit status."""
        stdout = io.StringIO() if stdout is None else stdout
        app = types.SimpleNamespace(
            stdout=stdout, stderr=io.StringIO(),
            client_manager=types.SimpleNamespace(vmha=self.make_client(persona)))
        one = command(app, None)
        parser = one.get_parser('openstack vmha')
        try:
            return one.run(parser.parse_args(argv))
        finally:
            self.out, self.err = app.stdout.getvalue(), app.stderr.getvalue()

    def json(self, command, *argv, **options):
        """What a command prints as JSON."""
        self.assertEqual(0, self.run_command(command, *argv, '-f', 'json', **options))
        return json.loads(self.out)
