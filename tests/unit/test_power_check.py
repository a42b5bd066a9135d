"""What is found out about the fence by power before it is needed: at start, and by preflight."""

import os
import tempfile

import testtools

from tests.unit import test_service
from tests.unit import test_status
from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova.fencing import agents
from vmha_nova import service
from vmha_nova import unchecked

AGENT = '''\
#!/bin/sh
case $(cat) in
    *password=wrong*) echo 'Unable to log in' >&2; exit 1;;
    *action=off*) echo off >>"$0.calls";;
esac
echo 'Status: ON'
'''
FILE = '''\
[DEFAULT]
agent = fence_vmha_test
[compute1]
password = right
[compute2]
password = wrong
[compute3]
agent = fence_vmha_absent
[nobody]
'''


class PowerBase:
    """An agent in a folder of its own, and a file with parameters."""

    def make_power(self):
        agent = os.path.join(self.folder, 'fence_vmha_test')
        with open(agent, 'w', encoding='ascii') as stream:
            stream.write(AGENT)
        os.chmod(agent, 0o755)
        self.agent = agent
        self.patch(agents, 'PATH', f'{self.folder}:/usr/bin:/bin')
        self.path = os.path.join(self.folder, 'power.conf')
        self.write_file(FILE)

    def write_file(self, text, mode=0o600):
        with open(self.path, 'w', encoding='ascii') as stream:
            stream.write(text)
        os.chmod(self.path, mode)


class StartTest(PowerBase, testtools.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.make_power()

    def conf(self, driver='power'):
        path = os.path.join(self.folder, 'vmha.conf')
        with open(path, 'w', encoding='ascii') as stream:
            stream.write(test_service.CONF.format(
                database=f'sqlite:///{self.folder}/db', backend='rbd:vms').replace(
                '[fence]', f'[fence]\npower_file = {self.path}\ndriver = {driver}'))
        return opts.load([f'--config-file={path}'], '')

    def refused(self, words, conf):
        error = self.assertRaises(exception.ConfigurationError, service.check, conf)
        self.assertIn(words, str(error))

    def test_what_is_wrong_with_a_host_is_a_line_and_keeps_nobody_else_from_being_fenced(self):
        conf = self.conf()
        service.make_store(conf).upgrade()
        with self.assertLogs('vmha_nova.fencing.power', 'WARNING') as logged:
            service.check(conf)
        self.assertEqual(['compute3 cannot be switched off: fence_vmha_absent is not installed'],
                         [record.getMessage() for record in logged.records])

    def test_a_file_that_cannot_be_used_is_refused(self):
        os.chmod(self.path, 0o644)
        self.refused('has mode 0644', self.conf())
        os.unlink(self.path)
        self.refused('No such file', self.conf())

    def test_an_order_that_does_not_work(self):
        self.refused('[fence] driver = storage, power: it is one of',
                     self.conf('storage, power'))

    def test_which_fences_and_which_storage(self):
        made = service.make_fence(self.conf())
        self.assertEqual(('power', None), (made.name, made.lasting))
        made = service.make_fence(self.conf('power, storage'))
        self.assertEqual(('power, storage', 'storage'), (made.name, made.lasting.name))
        for driver, kind in (('power', unchecked.NamedStorage),
                             ('none', unchecked.UncheckedStorage)):
            self.assertIs(kind, type(service.make_storage(
                self.conf(driver), None, None, None, None)))

    def test_the_word_for_no_fence_does_not_open_targets_with_disks_elsewhere(self):
        """The file of this test gives it, and has a fence by power."""
        conf = self.conf()
        self.assertTrue(conf.fence.unsafe_without_fence)
        self.assertTrue(service.make_policy(conf).need_same_backend)
        self.assertFalse(service.make_policy(self.conf('none')).need_same_backend)


class PreflightTest(PowerBase, test_status.Base):
    def setUp(self):
        super().setUp()
        self.make_power()
        self.settings['fence'] = 'power, storage'
        plain = test_status.CONF
        self.patch(test_status, 'CONF', plain.replace(
            '[fence]', f'[fence]\npower_file = {self.path}'))

    def found(self):
        return {(f['level'], f['what']) for f in self.preflight()[1]}

    def test_each_host_by_what_its_bmc_says(self):
        found = self.found()
        lines = {what for level, what in found if level == 'warning'}
        for line in ('compute2 cannot be switched off: fence_vmha_test: status: Unable to log in',
                     'compute3 cannot be switched off: fence_vmha_absent is not installed',
                     f'spare1 has no section in {self.path}',
                     f'{self.path} has a section [nobody]: Nova has no such compute node'):
            self.assertIn(line, lines)
        self.assertFalse([line for line in lines if line.startswith('compute1 ')])
        self.assertFalse(os.path.exists(self.agent + '.calls'), 'nothing was switched off')

    def test_a_file_that_others_can_read(self):
        os.chmod(self.path, 0o604)
        line = (f'[fence] power_file: {self.path} has mode 0604, so that others can get at the '
                'passwords in it: chmod 600')
        self.assertIn(('error', line), self.found())
