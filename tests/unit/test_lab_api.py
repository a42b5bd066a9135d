"""The lab's side of the REST API: accounts, catalogue, and how `openstack` is run."""

import contextlib
import io
import os
import pathlib
import tempfile
import types
import unittest
from unittest import mock

from keystoneauth1.identity import v3

from tests.lab import bootstrap
from tests.lab import cli
from tests.lab.common import LabError
from tests.lab import lab as labs
from tests.lab import openstack
from tests.lab import ports
from tests.lab import state
from tests.lab import vmha


class ApiCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.lab = labs.Lab(state.State(
            folder=self.folder, venv=self.folder / 'venv', bind='127.0.0.1', settings={},
            ports=dict(zip(ports.NAMES, range(21000, 21100), strict=False)), hosts=['compute1']))
        self.lab.state.save()


class Keystone:
    """Answers what is made with its name as its id, and keeps who was granted what."""

    def __init__(self):
        self.made, self.granted = {}, []

    def get(self, url, **_):
        names = ('admin', 'member', 'reader', 'service')
        return self._answer({'roles': [{'name': name, 'id': f'id-{name}'} for name in names]})

    def post(self, url, json, **_):
        (kind, content), = json.items()
        self.made.setdefault(kind, []).append(content)
        return self._answer({kind: {'id': f'id-{content.get("name", "")}'}})

    def put(self, url, **_):
        self.granted.append(url.partition('/v3/')[2].replace('id-', ''))

    @staticmethod
    def _answer(content):
        return types.SimpleNamespace(json=lambda: content)


class AccountsTest(ApiCase):
    def setUp(self):
        super().setUp()
        self.keystone = Keystone()
        bootstrap.accounts(self.keystone, self.lab.state)

    def roles(self, user):
        """``{(place, role)}`` of a user."""
        return {tuple(one.split(f'/users/{user}/roles/')) for one in self.keystone.granted
                if f'/users/{user}/' in one}

    def test_every_account_has_its_roles_and_no_more(self):
        self.assertEqual({('projects/service', 'admin'), ('projects/service', 'service')},
                         self.roles('vmha'))
        self.assertEqual({('projects/demo', 'vmha_reader')}, self.roles('reader'))
        self.assertEqual({('projects/demo', 'member')}, self.roles('member'))
        self.assertEqual({('projects/service', 'service')}, self.roles('monitor'))
        self.assertEqual({('system', 'reader')}, self.roles('system-reader'))

    def test_there_is_a_user_for_whatever_credentials_there_are(self):
        users = {one['name'] for one in self.keystone.made['user']} | {'admin'}
        self.assertLessEqual(self.lab.credentials.keys(), users)
        projects = {one['name'] for one in self.keystone.made['project']} | {'admin'}
        for credentials in self.lab.credentials.values():
            v3.Password(**credentials)
            self.assertIn(credentials.get('project_name', 'demo'), projects)

    def test_the_catalogue_has_the_root_of_the_api(self):
        found = [one for one in self.keystone.made['endpoint']
                 if one['service_id'] == 'id-vmha']
        self.assertEqual({'public', 'internal', 'admin'}, {one['interface'] for one in found})
        self.assertEqual({self.lab.urls['vmha_url']}, {one['url'] for one in found})
        self.assertIn({'type': 'vmha', 'name': 'vmha'}, self.keystone.made['service'])


class EnvTest(ApiCase):
    def lines(self, account):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(0, cli.main(['env', '--account', account, '--dir',
                                          str(self.folder)]))
        return output.getvalue().splitlines()

    def test_what_another_account_has_and_this_one_has_not_is_unset(self):
        unset, *exports = self.lines('system-reader')
        self.assertIn('export OS_SYSTEM_SCOPE=all', exports)
        self.assertIn(' OS_PROJECT_NAME ', unset)
        unset, *exports = self.lines('reader')
        self.assertIn('export OS_PROJECT_NAME=demo', exports)
        self.assertIn('OS_SYSTEM_SCOPE', unset.split())
        self.assertNotIn('OS_PROJECT_NAME', unset.split())

    def test_accounts_that_are_not_there(self):
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
            self.lines('nobody')
        self.assertIn('system-reader', said.getvalue())


class OpenstackTest(ApiCase):
    """With a shell script in the place of the program."""

    def program(self, script):
        path = self.folder / 'openstack'
        path.write_text(f'#!/bin/sh\n{script}\n')
        path.chmod(0o755)
        patched = mock.patch.object(openstack, 'PROGRAM', path)
        patched.start()
        self.addCleanup(patched.stop)
        return vmha.Vmha(self.lab)

    def test_what_it_prints_is_decoded(self):
        service = self.program('echo "[\\"$OS_USERNAME\\", \\"$*\\"]"')
        self.assertEqual(['reader', 'vmha status -f json'],
                         service.openstack('reader', 'vmha', 'status'))
        self.assertEqual('["admin", "vmha pause"]\n',
                         service.openstack('admin', 'vmha', 'pause', json=False))

    def test_the_callers_shell_changes_nothing(self):
        service = self.program('env')
        with mock.patch.dict(os.environ, OS_TOKEN='x', OS_CLOUD='y', PATH='/nowhere'):
            lines = service.openstack('system-reader', json=False).splitlines()
        self.assertFalse([one for one in lines if one.startswith(('OS_TOKEN', 'OS_CLOUD'))])
        self.assertIn('OS_SYSTEM_SCOPE=all', lines)
        self.assertFalse([one for one in lines if one.startswith('OS_PROJECT_NAME')])

    def test_variables_of_ones_own(self):
        service = self.program('env')
        lines = service.openstack('admin', json=False, OS_PASSWORD='wrong',
                                  OS_USERNAME=None).splitlines()
        self.assertIn('OS_PASSWORD=wrong', lines)
        self.assertFalse([one for one in lines if one.startswith('OS_USERNAME')])

    def test_a_failure_says_what_was_printed(self):
        service = self.program('echo out; echo no such host >&2; exit 3')
        with self.assertRaisesRegex(LabError, 'vmha status.*exit status 3\nno such host'):
            service.openstack('admin', 'vmha', 'status')
        ran = service.try_openstack('admin', 'vmha', 'status')
        self.assertEqual((3, 'out\n', 'no such host\n'), (ran.status, ran.stdout, ran.stderr))

    def test_what_is_no_json_is_shown(self):
        with self.assertRaisesRegex(LabError, 'hello'):
            self.program('echo hello').openstack('admin', 'vmha', 'status')

    def test_a_terminal_for_what_it_says(self):
        self.program('[ -t 2 ] && echo "$OS_USERNAME" >&2; echo out; exit 4')
        ran = openstack.run_on_terminal(self.lab, 'reader', 'vmha')
        self.assertEqual((4, '', 'reader'), (ran.status, ran.stdout, ran.stderr.strip()))
        self.program('echo half way >&2; exec sleep 60')
        with self.assertRaisesRegex(LabError, 'not finished after 0.2 s.*\nhalf way'):
            openstack.run_on_terminal(self.lab, 'reader', timeout=0.2)

    def test_one_that_hangs(self):
        with self.assertRaisesRegex(LabError, 'not finished after 0.2 s\nhalf way'):
            self.program('echo half way >&2; exec sleep 60').openstack('admin', timeout=0.2)


class ApiProcessTest(ApiCase):
    """With a shell script in the place of uWSGI."""

    def service(self, script):
        (self.folder / 'bin').mkdir()
        uwsgi = self.folder / 'bin' / 'uwsgi'
        uwsgi.write_text(f'#!/bin/sh\n{script}\n')
        uwsgi.chmod(0o755)
        patched = mock.patch.object(vmha.sys, 'executable', str(uwsgi.with_name('python')))
        patched.start()
        self.addCleanup(patched.stop)
        for folder in (self.lab.log, self.lab.state.data):
            folder.mkdir()
        return vmha.Vmha(self.lab)

    def test_one_that_ends_shows_its_log(self):
        service = self.service('echo "no app: $VMHA_CONFIG_FILES"; exit 1')
        with mock.patch.object(vmha.services, 'speaks_http', return_value=False), \
                self.assertRaisesRegex(LabError, f'vmha-api has ended\n[^$]*{service.conf_file}'):
            service.start_api()

    def test_it_is_among_the_labs_processes(self):
        loaded = 'echo "WSGI app 0 ready in 1 seconds"'
        service = self.service('echo "$*"; ls -d "$PROMETHEUS_MULTIPROC_DIR"; '
                               f'{loaded}; sleep 0.5; {loaded}; exec sleep 60')
        with mock.patch.object(vmha.services, 'speaks_http', side_effect=(False, True)) as asked:
            service.start_api()
        self.assertEqual(self.lab.urls['vmha_url'], asked.call_args.args[0])
        self.addCleanup(service.stop_api)
        self.assertIn('vmha-api', self.lab.pids())
        with self.assertRaisesRegex(LabError, 'runs already'):
            service.start_api()
        words = service.api_log.read_text().splitlines()
        self.assertIn('vmha_nova.wsgi.api:application', words[0])
        self.assertIn('--processes 2', words[0])
        self.assertEqual(str(self.lab.state.data / 'vmha-metrics'), words[1])
        self.assertEqual(2, len(words[2:]), 'both have loaded it')

    def test_an_environment_without_it(self):
        service = self.service('')
        (self.folder / 'bin' / 'uwsgi').unlink()
        with self.assertRaisesRegex(LabError, 'pyuwsgi is in test-requirements.txt'):
            service.start_api()
