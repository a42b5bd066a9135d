"""Fence agents as processes, and the file with their parameters."""

import os
import pathlib
import stat
import tempfile
import textwrap
import time
import unittest
from unittest import mock

from vmha_nova import exception
from vmha_nova.fencing import agents
from vmha_nova.fencing import parameters

SECRET = 'pa$$=w0rd; #%x y'
#: An agent that keeps its state in files of the folder that its parameter ``plug`` names.
AGENT = '''\
#!/bin/sh
while read -r line; do
    case $line in
        plug=*) dir=${line#plug=};;
        action=*) action=${line#action=};;
        password=*) password=${line#password=};;
    esac
done
echo "$action|$#|$password" >>"$dir/calls"
mood=$(cat "$dir/mood" 2>/dev/null)
case $mood in
    hang) sleep 60 & echo $! >"$dir/child"; wait;;
    denied) for at in $(date +%H:%M:%S,%N) 12:00:00,1; do
            echo "2026-01-01 $at ERROR: Unable to connect with $password" >&2; done
        echo >&2; echo "Please use '-h' for usage" >&2; exit 1;;
    two) exit 2;;
esac
case $action in
    off) [ "$mood" = stuck ] || echo OFF >"$dir/power"; echo 'Success: Powered OFF';;
    status) power=$(cat "$dir/power"); echo "Status: $power"; [ "$power" = ON ] || exit 2;;
esac
'''


class Base(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        program = self.folder / 'fence_test'
        program.write_text(AGENT)
        program.chmod(0o755)
        (self.folder / 'power').write_text('ON\n')
        self.agents = agents.Agents(10.0, f'{folder.name}:/usr/bin:/bin')
        self.peer = parameters.Peer('c1', 'fence_test', {
            'plug': folder.name, 'password': SECRET})

    def mood(self, word):
        (self.folder / 'mood').write_text(word)

    def calls(self):
        return (self.folder / 'calls').read_text().splitlines()


class AgentsTest(Base):
    def test_off_and_status_with_all_parameters_on_standard_input(self):
        self.assertEqual(agents.Answer(False, 'Status: ON'), self.agents.status(self.peer))
        self.assertEqual('Success: Powered OFF', self.agents.off(self.peer))
        self.assertEqual(agents.Answer(True, 'Status: OFF'), self.agents.status(self.peer))
        self.assertEqual([f'{action}|0|{SECRET}' for action in ('status', 'off', 'status')],
                         self.calls())

    def test_a_refusal_is_the_same_line_each_time_and_tells_no_secret(self):
        self.mood('denied')
        found = set()
        for call in (self.agents.off, self.agents.off, self.agents.off):
            with self.assertRaises(exception.FenceFailed) as caught:
                call(self.peer)
            found.add(str(caught.exception))
        self.assertEqual({'fence_test: off: Unable to connect with ***'}, found)

    def test_one_that_hangs_is_ended_with_its_children(self):
        self.mood('hang')
        begun = time.monotonic()
        with self.assertRaisesRegex(exception.FenceFailed, 'no answer within 2 s'):
            agents.Agents(2.0, f'{self.folder}:/usr/bin:/bin').status(self.peer)
        self.assertLess(time.monotonic() - begun, 30)
        child = int((self.folder / 'child').read_text())
        for _ in range(100):            # killed, but maybe not yet taken in by init
            try:
                state = pathlib.Path(f'/proc/{child}/stat').read_text().rpartition(')')[2].split()
            except OSError:
                return
            if state[0] == 'Z':
                return
            time.sleep(0.1)
        self.fail('the child of the agent lives')

    def test_exit_status_2_alone_is_not_off(self):
        """It is also how an interpreter ends that cannot read its program."""
        self.mood('two')
        self.assertRaises(exception.FenceFailed, self.agents.status, self.peer)

    def test_words_alone_are_not_off(self):
        (self.folder / 'fence_test').write_text('#!/bin/sh\necho "Status: OFF"\n')
        self.assertFalse(self.agents.status(self.peer).off)

    def test_one_that_is_not_installed(self):
        for name in ('fence_absent', '../fence_test', f'{self.folder}/fence_test', 'sh', ''):
            peer = parameters.Peer('c1', name, {})
            self.assertIn('is not installed', self.agents.problem(peer))
            with self.assertRaisesRegex(exception.FenceFailed, 'is not installed'):
                self.agents.off(peer)
        self.assertEqual('', self.agents.problem(self.peer))

    def test_one_that_cannot_be_run(self):
        (self.folder / 'fence_test').write_text('#!/no/such/interpreter\n')
        with self.assertRaisesRegex(exception.FenceFailed, 'No such file'):
            self.agents.off(self.peer)

    def test_a_name_without_an_address(self):
        for name in ('ip', 'ipaddr'):
            peer = parameters.Peer('c1', 'fence_test', {name: 'bmc1.invalid'})
            with mock.patch('socket.getaddrinfo', side_effect=OSError(-2, 'Name unknown')):
                self.assertEqual('bmc1.invalid does not resolve: Name unknown',
                                 self.agents.unresolved(peer))
        self.assertEqual('', self.agents.unresolved(
            parameters.Peer('c1', 'fence_test', {'ip': '127.0.0.1'})))

    def test_what_is_another_one_each_time_is_left_out(self):
        for address in ('0x7f00', '0x7f01'):
            self.assertEqual('Failed: refused', agents.words(
                f'12:00:01,2 ERROR: Failed: <urllib3.connection object at {address}>: refused\n'
                'Failed: refused\n', {}))

    def test_values_of_unknown_parameters_are_masked_too(self):
        self.assertEqual('at 10.0.0.1: ***, ***', agents.words(
            'at 10.0.0.1: hidden, a%2Fb', {'ip': '10.0.0.1', 'snmp_x': 'hidden', 'y': 'a/b'}))


class PowerFileTest(unittest.TestCase):
    GOOD = """\
        # power
        [DEFAULT]
        agent = fence_ipmilan
        lanplus = 1
        username = admin
        [c1]
        ip = 10.0.0.1
        password = pa$$=w0rd; #%x y
        [c2]
        agent = ironic
        """

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / 'power.conf'
        self.write(self.GOOD)
        self.file = parameters.Parameters(str(self.path))

    def write(self, text, mode=0o600):
        self.path.write_text(textwrap.dedent(text))
        self.path.chmod(mode)

    def refused(self, words):
        with self.assertRaises(exception.ConfigurationError) as caught:
            self.file.all()
        text = str(caught.exception)
        self.assertIn(words, text)
        self.assertNotIn('\n', text)
        self.assertNotIn('w0rd', text)

    def test_hosts_with_their_own_and_common_parameters(self):
        one = self.file.of('c1')
        self.assertEqual(('fence_ipmilan', {
            'lanplus': '1', 'username': 'admin', 'ip': '10.0.0.1', 'password': SECRET}),
            (one.agent, dict(one.values)))
        self.assertEqual('ironic', self.file.of('c2').agent)
        with self.assertRaisesRegex(exception.ConfigurationError, 'c3 has no section in'):
            self.file.of('c3')
        self.assertNotIn('w0rd', repr(one))

    def test_the_sample_is_such_a_file(self):
        sample = pathlib.Path(__file__).parents[2] / 'etc/vmha/power.conf.example'
        self.write(sample.read_text())
        self.assertEqual(
            {'compute1': 'fence_ipmilan', 'compute2': 'fence_ipmilan',
             'compute3': 'fence_redfish', 'compute4': 'ironic'},
            {host: peer.agent for host, peer in self.file.all().items()})
        self.assertEqual('another one', self.file.of('compute2').values['password'])

    def test_it_is_read_again_when_it_has_changed(self):
        self.file.all()
        self.write('[c9]\nagent = fence_redfish\n')
        self.assertEqual({'c9'}, set(self.file.all()))

    def test_one_that_others_can_read_is_refused(self):
        self.file.all()
        for mode in (0o640, 0o604, 0o660, 0o644):
            self.path.chmod(mode)
            self.refused(f'has mode {mode:04o}')
        self.path.chmod(0o400)
        self.file.all()

    def test_one_of_another_user_is_refused(self):
        owner = os.stat(self.path).st_uid
        with mock.patch('os.geteuid', return_value=owner + 1):
            self.refused(f'belongs to the user {owner}')
        with mock.patch('os.geteuid', return_value=0):      # vmha-status, run by root
            self.file.all()

    def test_one_that_is_missing_or_no_file(self):
        self.path.unlink()
        self.refused('No such file')
        os.mkfifo(self.path, 0o600)     # is not waited for
        self.refused('is no file')
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path).st_mode))

    def test_what_makes_no_sense_is_named_by_its_line(self):
        for text, words in (
                ('password = w0rd\n', 'line 1'),
                ('[c1]\nagent = x\nw0rd w0rd\n', 'line 3'),
                ('[c1]\nagent = x\n[c1]\nagent = w0rd\n', 'line 3: [c1]'),
                ('[c1]\nagent = x\nip = w0rd\nip = w0rd\n', 'line 4: [c1] ip'),
                ('[c1]\nip = w0rd\n', '[c1] has no agent'),
                ('[c1]\nagent = x\naction = on\n', '[c1] action must not be set'),
                ('[c1]\nagent = x\ndebug_file = /w0rd\n', '[c1] debug_file must not be set'),
                ('[c1]\nagent = x\npassword = w0rd\n  w0rd\n', '[c1] password has more than one')):
            self.write(text)
            self.refused(words)

    def test_one_that_is_no_text(self):
        self.path.write_bytes(b'[c1]\nagent = \xff\xfe\n')
        self.refused('is no UTF-8 text')
