"""tools/least_policy.py: the policy file for a role of our own."""

import subprocess
import sys

import testtools

from tests.unit import test_no_shell
from tools import least_policy

ADMIN = 'rule:context_is_admin'
TOOL = test_no_shell.ROOT / 'tools/least_policy.py'


def in_force(**checks):
    """What the generator prints: all that is needed, open to administrators, and these."""
    found = {'context_is_admin': 'role:admin',
             **dict.fromkeys(least_policy.NEEDED['nova'], ADMIN), **checks}
    return ['# a comment', *(f'"{name}": "{check}"' for name, check in found.items())]


def policies(lines):
    """{policy: check} of a file."""
    return {name.strip('"'): check.strip('"') for name, check in
            (line.split(': ', 1) for line in lines)}


class LeastPolicyTest(testtools.TestCase):
    def test_what_is_needed_is_for_the_role_as_well(self):
        made = policies(least_policy.policy('nova', in_force()))
        for name in least_policy.NEEDED['nova']:
            self.assertEqual('(role:admin) or role:vmha', made[name])

    def test_the_role_is_an_administrator_and_nothing_else_takes_it_for_one(self):
        made = policies(least_policy.policy('nova', in_force(
            delete=ADMIN, old='is_admin:True', alias=f'rule:project_reader or {ADMIN}',
            negated=f'not {ADMIN}')))
        self.assertEqual('(role:admin) or role:vmha', made['context_is_admin'])
        self.assertEqual('role:admin', made['delete'])
        self.assertEqual('role:admin', made['old'])
        self.assertEqual('rule:project_reader or role:admin', made['alias'])
        self.assertEqual('not role:admin', made['negated'])
        self.assertNotIn(ADMIN, str(made))

    def test_what_was_changed_here_stays(self):
        made = policies(least_policy.policy('nova', in_force(
            context_is_admin='role:boss and role:x', other='role:member', mine=f'not {ADMIN}')))
        self.assertEqual('(role:boss and role:x) or role:vmha', made['context_is_admin'])
        self.assertEqual('not (role:boss and role:x)', made['mine'])
        self.assertNotIn('other', made)

    def test_what_everybody_may_stays_so(self):
        name = next(iter(least_policy.NEEDED['nova']))
        self.assertNotIn(name, policies(least_policy.policy('nova', in_force(**{name: ''}))))

    def test_in_neutron_the_role_is_shown_all_and_is_no_administrator(self):
        made = policies(least_policy.policy('neutron', [
            '"context_is_admin": "role:admin"', '"context_is_advsvc": "role:advsvc"',
            '"admin_only": "rule:context_is_admin"', '"get_port": "rule:admin_only"',
            '"get_network": "rule:shared or rule:context_is_advsvc"']))
        self.assertEqual({'context_is_advsvc': '(role:advsvc) or role:vmha',
                          'get_port': '(rule:admin_only) or role:vmha',
                          'get_network': 'rule:shared or role:advsvc'}, made)

    def test_a_neutron_that_has_no_such_policy_any_more(self):
        error = self.assertRaises(KeyError, least_policy.policy, 'neutron', [
            '"context_is_admin": "role:admin"', '"get_port": "rule:context_is_admin"'])
        self.assertIn('context_is_advsvc', str(error))

    def test_a_list_that_is_not_whole(self):
        lines = in_force()[:-1]
        missing = list(least_policy.NEEDED['nova'])[-1]
        error = self.assertRaises(KeyError, least_policy.policy, 'nova', lines)
        self.assertIn(missing, str(error))
        done = subprocess.run([sys.executable, TOOL, 'nova'], input='\n'.join(lines), text=True,
                              capture_output=True, timeout=60)
        self.assertEqual((1, ''), (done.returncode, done.stdout))
        self.assertIn(missing, done.stderr)

    def test_not_of_its_own_output(self):
        """Or what made one an administrator would be the role itself."""
        made = least_policy.policy('nova', in_force())
        self.assertRaises(ValueError, least_policy.policy, 'nova', made)

    def test_as_a_program(self):
        done = subprocess.run([sys.executable, TOOL, 'nova', '--role', 'mine'], text=True,
                              input='\n'.join(in_force()), capture_output=True, timeout=60,
                              check=True)
        self.assertEqual(least_policy.policy('nova', in_force(), 'mine'), done.stdout.splitlines())
