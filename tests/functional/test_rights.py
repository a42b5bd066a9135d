"""Each right of the least there are is needed: without it, what needs it fails, and names it."""

import contextlib

import kombu
import sqlalchemy as sa

from tests.functional import least_case
from tests.lab import accounts
from tools import least_policy
from vmha_nova.cmd import status
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova import messaging
from vmha_nova import service

NOTHING = '00000000-0000-0000-0000-000000000000'
MINE = 'os_compute_api:'

#: What needs a policy besides what preflight reads: functions of the adapter and of a server's id.
ACTS = {
    'os-services:update': lambda nova, _: nova.enable(nova.services()[0].id),
    'os-hypervisors:show': lambda nova, _: nova.hypervisor(NOTHING),
    'servers:show': lambda nova, server: nova.server(server),
    'servers:index': lambda nova, _: nova.server(NOTHING),
    'os-evacuate': lambda nova, server: nova.evacuate(server, 'nowhere'),
    'os-admin-actions:reset_state': lambda nova, server: nova.reset_to_active(server),
    'servers:start': lambda nova, server: nova.start(server),
    'servers:stop': lambda nova, server: nova.stop(server),
    'os-migrations:index': lambda nova, _: nova.evacuations('compute1'),
    'os-migrations:index:all_projects': lambda nova, _: nova.evacuations('compute1'),
}
#: Those whose lack Nova hides: it leaves something out, or gives more than was asked for.
HIDDEN = {'servers:allow_all_filters', 'os-migrations:index:host'}

#: What administrators may do, and this account may not: (method, path, body).
FORBIDDEN = (
    ('DELETE', '/servers/{server}', None),
    ('POST', '/servers/{server}/action', {'reboot': {'type': 'HARD'}}),
    ('POST', '/servers/{server}/action', {'os-migrateLive': {
        'host': 'compute2', 'block_migration': 'auto'}}),
    ('POST', '/servers/{server}/action', {'migrate': None}),
    ('POST', '/servers/{server}/action', {'rebuild': {'imageRef': NOTHING}}),
    ('POST', '/servers/{server}/action', {'os-getConsoleOutput': {}}),
    ('POST', '/servers/{server}/action', {'lock': None}),
    ('GET', '/servers/{server}/diagnostics', None),
    ('POST', '/os-aggregates', {'aggregate': {'name': 'mine'}}),
    ('DELETE', '/os-services/{service}', None),
    ('POST', '/flavors', {'flavor': {'name': 'mine', 'vcpus': 1, 'ram': 1, 'disk': 1}}),
    ('PUT', '/os-quota-sets/{project}', {'quota_set': {'cores': 1}}),
    ('GET', '/os-simple-tenant-usage', None),
)


class PolicyTest(least_case.LeastCase):
    """Of Nova and Placement."""

    database, parts = 'sqlite', ('keystone',)

    def setUp(self):
        super().setUp()
        self.vmha.sync()

    def test_each_policy_is_needed_and_named(self):
        server, = self.boot(1, stopped=0)
        for name in least_policy.NEEDED['nova']:
            with self.subTest(name):
                self.allow('nova', without=[name])
                if name.removeprefix(MINE) in HIDDEN:
                    continue
                self.assertIn(name, self.said(name.removeprefix(MINE), server))
        self.allow('nova')
        self.assertEqual('', self.read())
        for name in least_policy.NEEDED['placement']:
            self.allow('placement', without=[name])
            self.assertIn(name, self.read())

    def test_a_filter_that_nova_drops_makes_a_list_long_and_nothing_wrong(self):
        server, = self.boot(1, stopped=0)
        self.allow('nova', without=[MINE + 'servers:allow_all_filters'])
        collector = service.make_collector(self.vmha.conf(), self.nova())
        collector.refresh()
        self.assertEqual((), collector.reconcile('compute2'))
        self.assertEqual([server], [one.id for one in collector.reconcile('compute1')])

    def test_more_is_not_allowed(self):
        server, = self.boot(1, stopped=0)
        session = self.mine()
        known = {'server': server, 'service': self.cloud.service('compute2')['id'],
                 'project': self.cloud.server(server)['tenant_id']}
        for method, path, body in FORBIDDEN:
            with self.subTest(method=method, path=path, body=body):
                answer = session.request(
                    self.lab.urls['compute_url'] + path.format(**known), method, json=body,
                    raise_exc=False, headers={'OpenStack-API-Version': 'compute 2.87'})
                self.assertEqual(403, answer.status_code, answer.text)
        self.assertEqual('ACTIVE', self.cloud.server(server)['status'])

    def mine(self):
        return service.make_session(self.vmha.conf())

    def nova(self):
        return service.make_nova(self.vmha.conf())

    def said(self, name, server):
        """What is said where a policy is missing: by preflight, or of the act."""
        if name not in ACTS:
            return self.read()
        with self.assertRaises(exception.Rejected) as caught:
            ACTS[name](self.nova(), server)
        return str(caught.exception)

    def read(self):
        """What preflight says of Nova and Placement."""
        facts = status.Gathering(self.vmha.conf()).facts()
        return ' '.join(found.what for found in facts.problems
                        if found.what.startswith('Nova'))


class DatabaseTest(least_case.LeastCase):
    parts = ('database',)
    RUN = {
        'SELECT': lambda store_: store_.marks(),
        'INSERT': lambda store_: store_.note('info', 'test', 'text'),
        'UPDATE': lambda store_: [store_.take_lead('a') for _ in range(2)],
        'DELETE': lambda store_: store_.sent(store_.take_lead('a'), [1]),
    }

    def store(self, user, what):
        return store.Store(service.clock, connection=self.database_url(user, what))

    def test_each_right_of_the_programs(self):
        self.store('vmha_migrate', 'migrate').upgrade()
        for right, call in self.RUN.items():
            with self.subTest(right):
                self.change('REVOKE', right, 'FROM', 'vmha_run')
                with self.assertDenied(right):
                    call(self.store('vmha_run', 'database'))
                self.change('GRANT', right, 'TO', 'vmha_run')
                call(self.store('vmha_run', 'database'))

    def test_the_programs_change_no_tables(self):
        with self.assertDenied('CREATE'):
            self.store('vmha_run', 'database').upgrade()

    def test_each_right_of_the_migration(self):
        for right in ('CREATE', 'ALTER', 'INDEX'):
            with self.subTest(right):
                accounts.sql(self.lab.state, 'CREATE OR REPLACE DATABASE vmha;')
                self.change('REVOKE', right, 'FROM', 'vmha_migrate')
                with self.assertDenied(right):
                    self.store('vmha_migrate', 'migrate').upgrade()
                self.change('GRANT', right, 'TO', 'vmha_migrate')

    def change(self, verb, right, word, user):
        accounts.sql(self.lab.state, f"{verb} {right} ON vmha.* {word} '{user}'@'%';")

    @contextlib.contextmanager
    def assertDenied(self, right):
        with self.assertRaises((exception.VmhaError, sa.exc.DBAPIError)) as caught:
            yield
        self.assertIn(f'{right} command denied', str(caught.exception))


class BusTest(least_case.LeastCase):
    parts = ('bus',)

    def setUp(self):
        super().setUp()
        self.permissions = {words[1]: words[2:] for words in self.bus_commands()
                            if words[0] == 'set_permissions'}
        self.addCleanup(self.drop_reports)

    def drop_reports(self):
        """No engine is to find them later."""
        with self.connected(self.lab.urls['transport_url']) as connection:
            connection.channel().queue_purge('vmha.error')

    def test_each_right_of_a_reporter(self):
        conf = self.configured(self.bus_url('vmha-reporter', 'reporter'))

        def report():
            messaging.publish_host_down(conf, 'compute1', 'test', 'test', retry=0, seconds=10)
        report()
        for number, kind in enumerate(('configure', 'write', 'read')):
            with self.subTest(kind):
                self.permit('vmha-reporter', number)
                self.assertRaisesRegex(exception.Unreachable, 'ACCESS_REFUSED', report)
        # It has put something there, and cannot read it, nor what is Nova's.
        with self.connected(self.bus_url('vmha-reporter', 'reporter')) as connection:
            for name in ('vmha.error', 'versioned_notifications.info', 'conductor'):
                with self.subTest(name), self.assertRaisesRegex(Exception, 'ACCESS_REFUSED'):
                    kombu.Queue(name, channel=connection.channel()).get()

    @staticmethod
    def connected(url):
        return kombu.Connection(url.replace('rabbit:', 'amqp:'))

    def permit(self, user, without=None):
        """Give the account what the documents say, or all but one."""
        rights = ['^$' if number == without else right
                  for number, right in enumerate(self.permissions[user])]
        accounts.rabbitmqctl(self.lab.state, 'set_permissions', user, *rights)

    def configured(self, url):
        self.vmha.configure({'DEFAULT.transport_url': url}, self.database)
        return self.vmha.conf()
