"""A password in an address that makes no sense is not in what is said of it."""

import configparser
import contextlib
import io
import logging
import pathlib
import subprocess
import sys
import tempfile
import traceback

import testtools

from vmha_nova.cmd import notify
from vmha_nova.conf import opts
from vmha_nova import coordination
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova import messaging

#: As people write them who copy a password from elsewhere; and worse.
ADDRESSES = (
    '{scheme}://vmha:Hidden/1@host:1/v', '{scheme}://vmha:Hidden#1@host/v',
    '{scheme}://vmha:Hidden?1@host/v', '{scheme}://vmha:Hidden[1@host/v',
    '{scheme}://vmha:Hidden%1@host/v', '{scheme}://vmha:Hidden%2F1@host/v', '{scheme}://vmha:1@host:Hidden/v',
    '//vmha:Hidden@host:1/v', 'Hidden', '{scheme}:vmha:Hidden@host', 'nosuch://vmha:Hidden@host/v')


def bus(conf, address):
    messaging.transport(conf, address)


def database(_conf, address):
    store.Store(None, connection=address, max_retries=0).version()


def lock(_conf, address):
    coordination.check(address, 'me')


class AddressTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.said = io.StringIO()
        handler = logging.StreamHandler(self.said)
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)

    def test_each(self):
        conf = opts.load([], '', default_config_files=[])
        refused = 0
        for call, scheme in ((bus, 'rabbit'), (database, 'mysql+pymysql'), (lock, 'mysql')):
            for address in ADDRESSES:
                with self.subTest(f'{call.__name__}: {address}'):
                    try:
                        call(conf, address.format(scheme=scheme))
                    except exception.VmhaError as e:
                        refused += 1
                        said = ''.join(traceback.format_exception(e))
                        # The lines of the program that the trace shows are those of this file.
                        self.assertNotIn('Hidden', said)
        self.assertGreater(refused, 20)
        self.assertNotIn('Hidden', self.said.getvalue())

    def test_a_daemon_ends_with_one_line(self):
        """Not with a trace, in which the library's words would stand."""
        for section, option, address in (
                ('DEFAULT', 'transport_url', 'rabbit://vmha:Hidden/1@host:5672/'),
                ('database', 'connection', 'mysql+pymysql://vmha:1@host:Hidden/vmha')):
            with self.subTest(address):
                status, said = self.run_daemon(section, option, address)
                self.assertEqual(1, status)
                self.assertIn('is no address that can be read', said)
                self.assertNotIn('Hidden', said)
                self.assertNotIn('Traceback', said)

    def run_daemon(self, section, option, address):
        """vmha-engine's exit status, and what it has said."""
        given = {'DEFAULT': {'transport_url': 'rabbit://vmha:1@host:5672/'}}
        given.setdefault(section, {})[option] = address
        with self.config(given) as path:
            done = subprocess.run(
                [sys.executable, '-m', 'vmha_nova.cmd.engine', '--config-file', path],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def test_who_reports_a_host_is_told_the_same(self):
        with self.config({'DEFAULT': {'transport_url': 'rabbit://vmha:Hidden/1@host/'}}) as path, \
                contextlib.redirect_stderr(io.StringIO()) as said:
            status = notify.main(['compute1', '--reason', 'x', '--config-file', path])
        self.assertEqual(notify.NOT_SENT, status)
        self.assertIn('is no address that can be read', said.getvalue())
        self.assertNotIn('Hidden', said.getvalue())

    @contextlib.contextmanager
    def config(self, sections):
        parser = configparser.ConfigParser(interpolation=None, default_section='')
        parser.read_dict({
            'fence': {'unsafe_without_fence': 'true'},
            'service_credentials': {
                'auth_type': 'password', 'auth_url': 'http://127.0.0.1:1/v3', 'username': 'x',
                'password': 'HiddenToo', 'project_name': 'x', 'user_domain_name': 'x',
                'project_domain_name': 'x'}})
        for section, values in sections.items():
            parser.has_section(section) or parser.add_section(section)
            parser[section].update(values)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'vmha.conf')
            with path.open('w', encoding='utf-8') as stream:
                parser.write(stream)
            yield str(path)
