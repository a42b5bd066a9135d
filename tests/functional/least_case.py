"""Accounts with the least rights, made as the documents say, for what is called `vmha` there."""

import contextlib
import pathlib
import secrets
import shlex
import urllib.parse

from tests.functional import api_case
from tests.lab import accounts
from tests.lab.common import LabError
from tests.lab import state
from tools import least_policy

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / 'doc/source/_examples'
#: Services of the lab whose policies give the role what it needs.
POLICIES = ('nova', 'placement')


class LeastCase(api_case.ApiTest):
    """The engine's account has the role 'vmha', and the API's the role 'service'.

    :ivar secrets: ``{what: password}``, each with a part that is nowhere else
    """

    database = 'mariadb'
    #: Which of the accounts are made; the others are those that have all rights.
    parts = ('keystone', 'database', 'bus')

    def setUp(self):
        self.secrets = {what: self.secret(what) for what in (
            'database', 'migrate', 'bus', 'reporter', 'engine', 'api')}
        super().setUp()

    @staticmethod
    def secret(what):
        """A password with characters that have a meaning in addresses."""
        # That of RabbitMQ may have no slash: see messaging.transport.
        end = '@:%+' if what in ('bus', 'reporter') else '/@:%+'
        return f'Hidden{what.capitalize()}{secrets.token_hex(4)}{end}'

    def configure(self, **overrides):
        """Make the accounts first; the parts of vmha.conf that name them."""
        for part in self.parts:
            getattr(self, f'make_{part}_accounts')()
        super().configure(**{**self.named(), **overrides})

    def named(self):
        """What vmha.conf says of these accounts: {'group__option': value}."""
        said = {'keystone': {'service_credentials__username': 'vmha-least',
                             'service_credentials__password': self.secrets['engine'],
                             'keystone_authtoken__username': 'vmha-api',
                             'keystone_authtoken__password': self.secrets['api']},
                'database': {'database__connection': self.database_url('vmha_run', 'database')},
                'bus': {'DEFAULT__transport_url': self.bus_url('vmha', 'bus')}}
        return {name: value for part in self.parts for name, value in said[part].items()}

    # -- Keystone, and the policies of those that it opens the door to ---------------------------
    def make_keystone_accounts(self):
        session, lab_state = self.lab.session(), self.lab.state
        accounts.keystone(session, lab_state, 'vmha-least', self.secrets['engine'], 'vmha')
        accounts.keystone(session, lab_state, 'vmha-api', self.secrets['api'], 'service')
        for service in POLICIES:
            self.allow(service)
            self.addCleanup(self.policy_file(service).unlink)
        accounts.wait_in_force(self.lab, 'vmha-least', self.secrets['engine'])

    def policy_file(self, service):
        return accounts.policy_file(self.lab.state, service)

    def allow(self, service, without=()):
        """Install the policies that the documents' tool makes, or all but some of them."""
        if service not in self.policies:
            self.policies[service] = accounts.policies(self.lab.state, service)
        lines = least_policy.policy(service, self.policies[service])
        for name in without:
            lines = [line.replace(' or role:vmha', '') if line.startswith(f'"{name}": ') else line
                     for line in lines]
        self.policy_file(service).write_text('\n'.join(lines) + '\n', encoding='utf-8')

    policies = {}

    # -- database ---------------------------------------------------------------------------------
    def make_database_accounts(self):
        """As doc/source/_examples/least.sql has them; 'vmha' is another one's name in the lab."""
        text = (EXAMPLES / 'least.sql').read_text(encoding='utf-8')
        text = text.replace("'MIGRATE_PASSWORD'", f"'{self.secrets['migrate']}'").replace(
            "'PASSWORD'", f"'{self.secrets['database']}'").replace("'vmha'@", "'vmha_run'@")
        self.drop_database_accounts()
        accounts.sql(self.lab.state, text.replace('CREATE DATABASE', 'CREATE OR REPLACE DATABASE'))
        self.addCleanup(self.drop_database_accounts)

    def drop_database_accounts(self):
        accounts.sql(self.lab.state, "DROP USER IF EXISTS 'vmha_run'@'%', 'vmha_migrate'@'%';")

    def database_url(self, user, what):
        return (f'mysql+pymysql://{user}:{quoted(self.secrets[what])}@{self.lab.bind}:'
                f'{self.lab.ports["mariadb"]}/vmha')

    # -- message bus ------------------------------------------------------------------------------
    def make_bus_accounts(self):
        """As doc/source/_examples/least-rabbitmq.txt has them."""
        for words in self.bus_commands():
            if words[0] == 'add_user':
                with contextlib.suppress(LabError):     # left by a test that was killed
                    accounts.rabbitmqctl(self.lab.state, 'delete_user', words[1])
                self.addCleanup(accounts.rabbitmqctl, self.lab.state, 'delete_user', words[1])
            accounts.rabbitmqctl(self.lab.state, *words)

    def bus_commands(self):
        text = (EXAMPLES / 'least-rabbitmq.txt').read_text(encoding='utf-8')
        known = {'PASSWORD': self.secrets['bus'], 'REPORTER_PASSWORD': self.secrets['reporter']}
        return [[known.get(word, word) for word in shlex.split(line)[2:]]
                for line in text.splitlines()]

    def bus_url(self, user, what):
        plain = self.lab.urls['transport_url']
        return plain.replace(f'openstack:{state.PASSWORD}@',
                             f'{user}:{quoted(self.secrets[what])}@')


def quoted(text):
    """A password as it is written in an address."""
    return urllib.parse.quote(text, safe='')
