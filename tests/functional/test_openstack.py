"""`openstack vmha`: one recovery, and what every command says of it to everybody."""

import concurrent.futures
import importlib.metadata
import re
import unittest

import requests

from tests.functional import api_case
from tests.functional import base
from tests.lab import process
from tests.lab import state
from tests.lab import vmha

READERS = ('admin', 'reader', 'system-reader')
EVERYBODY = (*READERS, 'member')

LOOK_AND_ACT = 'recoveries:show recoveries:act'

#: What every command is called with, ``{recovery}`` being the recovery's id; the policies that it
#: takes, in order; and what it says if it can do nothing, as the recovery is over.
COMMANDS = {
    'vmha host list': ('--long', 'hosts:list'),
    'vmha host show': ('compute1', 'hosts:show'),
    'vmha host set': ('compute2 --pool p1', 'hosts:update'),
    'vmha failure list': ('--long', 'failures:list'),
    'vmha failure show': ('1', 'failures:show'),
    'vmha failure report': ('compute1 --reason again', 'failures:create'),
    'vmha recovery list': ('--long', 'recoveries:list'),
    'vmha recovery show': ('{recovery} --timeline', 'recoveries:show'),
    'vmha recovery approve': ('{recovery}', LOOK_AND_ACT, 'there is nothing to approve'),
    'vmha recovery abort': ('{recovery}', LOOK_AND_ACT, 'there is nothing to abort'),
    'vmha recovery retry': ('{recovery}', LOOK_AND_ACT, 'there is nothing to try again'),
    'vmha recovery release': ('{recovery}', 'recoveries:act'),
    'vmha move list': ('{recovery} --long', 'moves:list'),
    'vmha plan show': ('--host compute2', 'plans:create'),
    'vmha capacity show': ('--long', 'capacity:list'),
    'vmha load list': ('--long', 'load:list'),
    'vmha event list': ('--long', 'events:list'),
    'vmha pause': ('--reason work', 'pause:update'),
    'vmha resume': ('', 'pause:update'),
    'vmha status': ('', 'status:show'),
}

#: Policies that only the administrator is given, and those that every reader is.
WRITES = ('hosts:update', 'failures:create', 'recoveries:act', 'pause:update')
READS = tuple({right for _, rights, *_ in COMMANDS.values() for right in rights.split()}
              - set(WRITES))


class Scene(api_case.ApiTest):
    """compute1 dies with six servers that move and two that do not; there are two spares."""

    spares = ('compute3', 'compute4')
    overrides = {'recovery.window': 3}

    def play(self):
        """From a cloud where nothing has happened to a recovery that is over."""
        self.start()
        self.boot(6, stopped=1)
        self.boot(1, stopped=0, name='loner', metadata={'vmha:protect': 'no'})
        paused, = self.boot(1, stopped=0, name='paused')
        self.cloud.action(paused, {'pause': None})
        self.wait('a server is paused', lambda: (
            self.cloud.server(paused)['status'] == 'PAUSED'), 30)
        self.wait_snapshot(8)
        # A host that was never measured is compared by another number.
        self.wait('the spares are measured', lambda: (
            self.store.loads().keys() >= set(self.spares)), 60)
        self.wait('the plan knows that one is paused', lambda: (
            self.planned(self.SOURCE)[0]['paused']['Left']), 30)
        self.plan, self.forecast = self.planned(self.SOURCE)
        self.lab.kill_host(self.SOURCE)
        self.reported = self.run_('failure', 'report', self.SOURCE, '--reason',
                                  'power cord pulled', '--wait', '-f', 'json')


class OpenstackTest(unittest.TestCase):
    """What is seen of that, by whom."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.scene = Scene()
        cls.addClassCleanup(cls.scene.doCleanups)
        cls.scene.setUp()
        cls.scene.play()
        cls.vmha = cls.scene.vmha

    def setUp(self):
        super().setUp()
        self.assertEqual(0, self.scene.reported.status, self.scene.reported)
        self.recovery = self.scene.recovery().id

    def test_a_report_is_followed_to_the_end_of_the_recovery(self):
        said = self.scene.reported.stderr.splitlines()
        found = self.scene.reported.json()
        self.assertEqual(('accepted', 'recovered', {'moved': 6, 'left': 2}),
                         (found['state'], found['recovery_state'], found['moves']))
        self.assertEqual('power cord pulled', found['reason'])
        for words in ('checking, waiting whether the heartbeat of compute1 has stopped',
                      'compute1: moving, '):
            self.assertTrue([line for line in said if words in line], (words, said))
        self.assertIn('compute1 is recovered: 2 left, 6 moved', said[-1])
        # It shows how far it is while it goes on, not only in the end.
        self.assertGreater(len({line.partition('/8 moved')[0][-1:] for line in said
                                if '/8 moved' in line}), 1, said)

    def test_what_was_planned_is_what_happened(self):
        self.assertIn('compute1: 3 to compute3, 3 to compute4, 2 left alone', self.scene.forecast)
        moves = self.scene.assertGoesBy(self.scene.plan, self.recovery)
        self.assertEqual({'moved', 'left'}, {move['State'] for move in moves.values()})
        now = {one['id']: one['OS-EXT-SRV-ATTR:host'] for one in self.scene.cloud.servers()}
        for name, row in self.scene.plan.items():
            self.assertEqual(row['Target'] or 'compute1', now[row['Instance ID']], name)

    def test_the_timeline_explains_every_instance(self):
        ran = self.vmha.try_openstack('reader', 'vmha', 'recovery', 'show', 'compute1',
                                      '--timeline', COLUMNS='120')
        self.assertEqual(0, ran.status, ran)
        lines = ran.stdout.splitlines()
        for name, row in self.scene.plan.items():
            line, = [one for one in lines if one.startswith(f'{name} ')]
            words = f'{row["Target"]} moved in ' if row['Target'] else f'left: {row["Reason"]}'
            self.assertIn(words, line)
        for act in ('force_down', 'disable', 'enable_spare'):
            self.assertTrue([line for line in lines if line.startswith(act)], (act, lines))

    def test_every_command_as_everybody(self):
        """Whoever may read may read all; a member of a project is told which right is missing.

        A third of what changes nothing, another one with VMHA_SEED; all of it with VMHA_ALL=1.
        """
        self.assertEqual({one.name.replace('_', ' ') for one in importlib.metadata.entry_points(
            group='openstack.vmha.v1')}, COMMANDS.keys(), 'a command without a test')
        # Those that change something come last, one by one.
        calls = [(account, command) for account in EVERYBODY for command in COMMANDS
                 if account != 'admin' or not self.missing('reader', command)]
        calls = base.sample(calls, len(calls) // 3)
        for (account, command), ran in zip(calls, self.call(calls), strict=True):
            with self.subTest(account=account, command=command):
                if missing := self.missing(account, command):
                    self.assertRefused(missing, ran)
                else:
                    self.assertEqual(0, ran.status, ran)
                    self.assertTrue(ran.stdout, ran)
        for command in COMMANDS:
            if self.missing('reader', command):
                ran, = self.call([('admin', command)])
                with self.subTest(account='admin', command=command):
                    self.assertTakenUp(command, ran)
        self.assertEqual('p1', self.scene.store.marks()['compute2'].pool)
        self.assertFalse(self.scene.store.paused().paused)

    @staticmethod
    def missing(account, command):
        """The first right that somebody lacks for a command, None: there is none."""
        lacks = {'admin': (), 'member': READS + WRITES}.get(account, WRITES)
        return next((right for right in COMMANDS[command][1].split() if right in lacks), None)

    def call(self, calls):
        """Run ``(account, command)`` of COMMANDS."""
        return self.scene.all_of([(account, [
            *command.split()[1:], *COMMANDS[command][0].format(recovery=self.recovery).split()])
            for account, command in calls])

    def assertRefused(self, right, ran):
        """It says that this right is missing, and prints nothing else."""
        self.assertEqual('', ran.stdout, ran)
        self.scene.assertSaid(f'Policy vmha:{right} does not allow this', ran, status=1)
        self.assertRegex(ran.stderr, 'the token is for .+ on (project |the whole system)', ran)

    def assertTakenUp(self, command, ran):
        """It was done, or it says why it makes no sense."""
        if len(COMMANDS[command]) > 2:
            self.scene.assertSaid(COMMANDS[command][2], ran, status=1)
        else:
            self.assertEqual(0, ran.status, ran)

    def test_a_service_reports_and_does_not_force(self):
        ran = self.scene.run_('failure', 'report', 'compute2', '--source', 'pinger',
                              account='monitor')
        self.assertEqual(0, ran.status, ran)
        self.assertEqual('monitor', self.scene.store.failures()[-1].evidence['reporter']['user'])
        ran = self.scene.run_('failure', 'report', 'compute2', '--force', account='monitor')
        self.assertRefused('failures:force', ran)

    def test_who_is_not_known_is_told_so(self):
        bare = {name: None for one in self.scene.lab.credentials.values()
                for name in map('OS_{}'.format, map(str.upper, one))}
        given = {**bare, 'OS_AUTH_TYPE': 'admin_token', 'OS_ENDPOINT': self.vmha.api_url}
        session = self.scene.lab.session('reader')
        revoked = session.get_token()
        self.assertEqual(0, self.scene.run_('host', 'list', account='reader', **given,
                                            OS_TOKEN=revoked).status)
        session.delete(self.scene.lab.urls['auth_url'] + '/auth/tokens',
                       headers={'X-Subject-Token': revoked})
        for changes in ({'OS_PASSWORD': 'wrong'}, {**given, 'OS_TOKEN': 'gAAAAABm-nonsense'},
                        {**given, 'OS_TOKEN': revoked}):
            with self.subTest(**changes):
                ran = self.scene.run_('host', 'list', account='reader', **changes)
                self.assertEqual((1, ''), (ran.status, ran.stdout), ran)
                self.assertRegex(ran.stderr, '401|token', ran)
                self.assertNotIn('Traceback', ran.stderr)
        answer = requests.get(f'{self.vmha.api_url}/v1/hosts', timeout=30,
                              headers={'X-Auth-Token': revoked})
        self.assertEqual(401, answer.status_code)
        error, = answer.json()['errors']
        self.assertEqual((401, answer.headers['x-openstack-request-id']),
                         (error['status'], error['request_id']))
        self.assertIn(self.scene.lab.urls['auth_url'], answer.headers['WWW-Authenticate'])

    def test_a_spare_is_kept_free_and_let_go(self):
        def status():
            return self.scene.cloud.service('compute2')['status']
        self.scene.ask('host', 'set', 'compute2', '--spare', json=False)
        self.scene.wait('its scheduling is off', lambda: status() == 'disabled', 20)
        self.scene.wait('the API knows that it is ours', lambda: (
            self.scene.ask('host', 'show', 'compute2')['parked']), 20)
        self.scene.ask('host', 'set', 'compute2', '--no-spare', json=False)
        self.scene.wait('its scheduling is on again', lambda: status() == 'enabled', 20)

    def test_what_does_not_exist_is_said(self):
        nobody = '00000000-0000-0000-0000-000000000000'
        cases = (
            (('host', 'show', 'compute99'), 'compute99'),
            (('host', 'set', 'compute99', '--spare'), 'compute99'),
            (('failure', 'show', '99'), '99'),
            (('failure', 'report', 'compute99'), 'openstack compute service list'),
            (('recovery', 'show', nobody), nobody),
            (('recovery', 'abort', nobody), nobody),
            (('plan', 'show', '--host', 'compute99'), 'compute99'),
            (('host', 'list', '--marker', 'compute99'), 'compute99'))
        for (_, said), ran in zip(cases, self.scene.all_of(
                [('admin', words) for words, _ in cases]), strict=True):
            with self.subTest(words=ran.words):
                self.scene.assertSaid(said, ran, status=1)

    def test_metrics_health_and_documents_need_no_token(self):
        for path, kind, words in (('/metrics', 'text/plain', 'vmha_moves{state="moved"} 6.0'),
                                  ('/healthcheck', 'text/plain', ''),
                                  ('/v1/openapi.json', 'application/json', '"openapi":'),
                                  ('/', 'application/json', '"versions":')):
            with self.subTest(path=path):
                answer = requests.get(self.vmha.api_url + path, timeout=30)
                self.assertEqual(200, answer.status_code, answer.text)
                self.assertIn(kind, answer.headers['Content-Type'])
                self.assertIn(words, answer.text)

    def test_two_processes_answer_and_count_together(self):
        def counted():
            text = requests.get(f'{self.vmha.api_url}/metrics', timeout=30).text
            values = re.findall(
                r'^vmha_api_requests_total{method="GET",route="/v1",.*} (.+)$', text, re.M)
            return sum(map(float, values))
        before = counted()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: requests.get(
                f'{self.vmha.api_url}/v1', timeout=30).status_code, range(40)))
        self.assertEqual({200}, set(answers))
        self.assertEqual([before + 40] * 6, [counted() for _ in range(6)])
        lab_state = state.load(self.scene.lab.dir)
        master = lab_state.processes[vmha.API]
        self.assertEqual(1 + 2, len(process.members(master, lab_state.mark)))
