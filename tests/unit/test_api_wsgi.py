"""The module that WSGI servers load: a process of its own each time, as there."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

from tests.unit import api_case

GOOD = """\
[database]
connection = sqlite:///{database}
[fence]
driver = none
unsafe_without_fence = true
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:1/v3
www_authenticate_uri = http://127.0.0.1:1/v3
username = vmha
password = secret
project_name = service
user_domain_id = default
project_domain_id = default
http_request_max_retries = 0
"""
# Loads the application and asks it for some addresses.
PROGRAM = """\
import json, sys
from werkzeug.test import Client
from vmha_nova.wsgi.api import application
client = Client(application)
print(json.dumps([client.get(path, headers={'X-Auth-Token': 'x'}).status_code
                  for path in sys.argv[1:]]))
"""


class WsgiTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def load(self, *texts, paths=(), **environ):
        """Load the application with configuration files of these texts."""
        names = []
        for number, text in enumerate(texts):
            names.append(f'{self.folder}/{number}.conf')
            with open(names[-1], 'w') as file:
                file.write(text.format(database=api_case.empty()))
        environ = dict(os.environ, HOME=self.folder, VMHA_CONFIG_FILES=';'.join(names),
                       PYTHONWARNINGS='ignore', **environ)
        environ.pop('PROMETHEUS_MULTIPROC_DIR', None)
        return subprocess.run([sys.executable, '-c', PROGRAM, *paths], env=environ,
                              capture_output=True, text=True, timeout=120)

    def refused(self, *texts, **environ):
        """The one line with which it ends."""
        ran = self.load(*texts, **environ)
        self.assertEqual(1, ran.returncode, ran.stderr)
        lines = [line for line in ran.stderr.splitlines() if line.startswith('vmha-api: ')]
        self.assertEqual(1, len(lines), ran.stderr)
        self.assertNotIn('Traceback', ran.stderr)
        return lines[0]

    def test_it_answers(self):
        ran = self.load(GOOD, paths=['/', '/healthcheck', '/metrics', '/v1/openapi.json',
                                     '/v1/nothing', '/v1/hosts'])
        self.assertEqual(0, ran.returncode, ran.stderr)
        # There is no Keystone.
        self.assertEqual([200, 200, 200, 200, 503, 503], json.loads(ran.stdout.splitlines()[-1]))

    def test_a_later_file_counts(self):
        self.assertIn('heartbeat_silence', self.refused(
            GOOD, '[detection]\nheartbeat_silence = 1\n'))

    def test_no_account(self):
        self.assertIn('[keystone_authtoken] auth_type is not set',
                      self.refused(GOOD.partition('[keystone')[0]))

    def test_an_account_of_no_known_kind(self):
        self.assertIn('[keystone_authtoken]: ',
                      self.refused(GOOD.replace('= password', '= handshake')))

    def test_policies_that_cannot_be_read(self):
        name = f'{self.folder}/policy.yaml'
        with open(name, 'w') as file:
            file.write('"reader": "role:a\n  - [')
        self.assertIn(f'policy_file {name}', self.refused(
            GOOD, f'[oslo_policy]\npolicy_file = {name}\n'))

    def test_policies_with_a_rule_that_is_not_there(self):
        name = f'{self.folder}/policy.yaml'
        with open(name, 'w') as file:
            file.write('"vmha:pause:update": "rule:nope"\n')
        self.assertIn(f"policy_file {name}: Policies ['vmha:pause:update']", self.refused(
            GOOD, f'[oslo_policy]\npolicy_file = {name}\n'))

    def test_a_value_that_cannot_be(self):
        self.assertIn('max_limit', self.refused(GOOD, '[api]\nmax_limit = 5000\n'))

    def test_no_tables(self):
        self.assertIn('vmha-manage db sync', self.refused(
            GOOD.replace('{database}', f'{self.folder}/other.sqlite')))

    def test_a_file_that_is_not_there(self):
        ran = self.load(GOOD)
        self.assertEqual(0, ran.returncode, ran.stderr)
        os.remove(f'{self.folder}/0.conf')
        environ = dict(os.environ, VMHA_CONFIG_FILES=f'{self.folder}/0.conf')
        ran = subprocess.run([sys.executable, '-W', 'ignore', '-c', PROGRAM], env=environ,
                             capture_output=True, text=True, timeout=120)
        self.assertEqual((1, 'vmha-api: '), (ran.returncode, ran.stderr.splitlines()[-1][:10]))

    def test_a_database_that_is_away_may_come(self):
        ran = self.load(GOOD.replace('sqlite:///{database}',
                                     'mysql+pymysql://vmha:secret@127.0.0.1:1/vmha'),
                        paths=['/', '/metrics'])
        self.assertEqual(0, ran.returncode, ran.stderr)
        self.assertEqual([200, 200], json.loads(ran.stdout.splitlines()[-1]))
        self.assertIn('the tables cannot be checked', ran.stdout)
        self.assertNotIn('secret', ran.stdout + ran.stderr)
