"""The client in front of the real application."""

import datetime
import json
import logging
import types

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa
from keystoneauth1 import fixture
from keystoneauth1 import plugin as auth
from keystoneauth1 import session as keystone
import requests

from tests.unit import api_case
from tests.unit import osc_case
from vmha_nova.api import schemas
from vmha_nova.osc import client
from vmha_nova.osc import plugin

NOW = api_case.NOW


class ClientTest(osc_case.OscCase):

    def setUp(self):
        super().setUp()
        self.vmha = self.make_client()

    # -- what there is --------------------------------------------------------------------------
    def test_hosts(self):
        self.fill()
        self.assertEqual(['compute1', 'compute2', 'spare1'],
                         [h['host'] for h in self.vmha.hosts()])
        self.assertEqual(['spare1'], [h['host'] for h in self.vmha.hosts(spare=True, zone=None)])
        self.assertIs(False, self.vmha.host('compute1')['up'])
        until = (NOW + datetime.timedelta(hours=2)).isoformat()
        found = self.vmha.set_host('compute1', maintenance=True, maintenance_until=until)
        self.assertIs(True, found['maintenance'])
        self.assertEqual(NOW + datetime.timedelta(hours=2), datetime.datetime.fromisoformat(
            self.vmha.host('compute1')['maintenance_until']))

    def test_load_capacity_plan(self):
        self.fill()
        self.assertEqual([0.5, 0.25, 0.0], [x['load'] for x in self.vmha.load(
            sort_key='load', sort_dir='desc')])
        self.assertEqual(['compute2'], [c['host'] for c in self.vmha.capacity(fits=False)])
        self.assertEqual('spare1 has no room',
                         self.vmha.capacity_of('compute2')['problems'][0]['reason'])
        self.assertEqual(['compute1', 'spare1'], self.vmha.plan(('compute1', 'spare1'))['hosts'])

    def test_failures(self):
        self.fill()
        report, new = self.vmha.report('compute2', reason='no light', evidence={'led': 'off'})
        self.assertEqual(('new', True), (report['state'], new))
        self.assertEqual('off', report['evidence']['led'])
        again, new = self.vmha.report('compute2')
        self.assertEqual((report['id'], False), (again['id'], new))
        self.assertEqual(1, self.vmha.failure(report['id'])['repeats'])
        self.assertEqual([2, 1], [f['id'] for f in self.vmha.failures()])

    def test_recoveries(self):
        ident = self.fill()
        self.assertEqual([ident], [r['id'] for r in self.vmha.recoveries(open=False)])
        self.assertEqual(['fence'], [s['kind'] for s in self.vmha.recovery(ident)['steps']])
        self.assertEqual(['moved', 'failed'], [m['state'] for m in self.vmha.moves(ident)])
        self.assertEqual('retry', self.vmha.act(ident, 'retry')['wish'])
        self.assertEqual(['info', 'warning'],
                         [e['level'] for e in self.vmha.events(recovery_id=ident)])

    def test_the_newest_recovery_of_a_host(self):
        self.fill()
        self.add(api_case.recovery('compute1', id='f' * 8 + '-0000-0000-0000-' + 'f' * 12,
                                   created_at=NOW - datetime.timedelta(days=1)))
        self.assertEqual(self.recovery.id, self.vmha.newest_recovery('compute1')['id'])
        self.assertIsNone(self.vmha.newest_recovery('compute2'))

    def test_the_service(self):
        self.fill()
        self.assertIs(True, self.vmha.pause('the switch is replaced')['paused'])
        self.assertEqual('the switch is replaced', self.vmha.status()['paused']['reason'])
        self.assertIs(False, self.vmha.resume()['paused'])
        self.assertIs(True, self.vmha.status()['engine']['alive'])

    # -- how it asks ----------------------------------------------------------------------------
    def test_the_microversion(self):
        for wanted, sent in ((None, 'vmha 1.0'), ('1', 'vmha 1.0'), ('latest', 'vmha latest')):
            options = {} if wanted is None else dict(api_version=wanted)
            vmha = self.make_client(service_type='evacuation', **options)
            vmha.status()
            self.assertEqual(sent, self.http.headers[-1]['OpenStack-API-Version'])
        with self.assertRaises(client.BadRequest) as raised:
            self.make_client(api_version='1.7').status()
        self.assertEqual(406, raised.exception.status)

    def test_names_are_quoted(self):
        for name in ('../status', 'a/b?c#d', 'é', '100%'):
            with self.assertRaises(client.NotFound) as raised:
                self.vmha.host(name)
            self.assertIn('vmha host list', str(raised.exception))

    def test_a_limit_is_of_all(self):
        self.add(*(api_case.node(f'c{n:04}') for n in range(250)))
        for limit, requests_ in ((1, 1), (100, 1), (101, 1), (None, 1)):
            self.http.seen.clear()
            self.assertEqual(250 if limit is None else limit,
                             len(list(self.vmha.hosts(limit=limit))))
            self.assertEqual(requests_, len(self.http.seen))

    def test_nothing_is_asked_before_it_is_wanted(self):
        self.vmha.hosts()
        self.assertEqual([], self.http.seen)

    # -- what goes wrong ------------------------------------------------------------------------
    def test_refusals(self):
        ident = self.fill()
        vmha = self.make_client
        for kind, status, words, call in (
                (client.Unauthorized, 401, 'clouds.yaml', lambda: vmha('expired').status()),
                (client.Forbidden, 403, 'vmha:hosts:update', lambda: vmha('reader').set_host(
                    'compute1', spare=True)),
                (client.Forbidden, 403, 'needs vmha_reader', lambda: list(vmha('member').hosts())),
                (client.NotFound, 404, 'see "openstack vmha recovery list"',
                 lambda: vmha().recovery('nobody')),
                (client.NotFound, 404, 'see "openstack vmha failure list"',
                 lambda: vmha().failure(99)),
                (client.NotFound, 404, 'see "openstack vmha host list"',
                 lambda: vmha().plan(['nobody'])),
                (client.BadRequest, 400, 'marker', lambda: list(vmha().hosts(marker='nobody'))),
                (client.BadRequest, 400, 'known here', lambda: list(vmha().hosts(colour='red'))),
                (client.Conflict, 409, 'nothing to approve',
                 lambda: vmha().act(ident, 'approve'))):
            with self.assertRaises(kind) as raised:
                call()
            error = raised.exception
            self.assertIs(kind, type(error))
            self.assertEqual(status, error.status)
            self.assertIn(words, str(error))
            self.assertRegex(error.request_id, '^req-')
            self.assertTrue(str(error).startswith(error.detail.rstrip(' .')))

    def test_nothing_that_writes_is_sent_twice(self):
        self.fill()
        ident = self.recovery.id
        pauses = []
        self.addCleanup(setattr, keystone.time, 'sleep', keystone.time.sleep)
        keystone.time.sleep = pauses.append
        logging.getLogger('keystoneauth').setLevel(logging.ERROR)
        self.addCleanup(logging.getLogger('keystoneauth').setLevel, logging.NOTSET)
        patient = self.make_client(read_retries=2)
        self.http.error = requests.exceptions.ConnectionError('refused')
        for times, call in (
                (1, lambda: patient.report('compute2')), (1, patient.pause), (1, patient.resume),
                (1, lambda: patient.act(ident, 'retry')), (1, lambda: patient.plan(['compute1'])),
                (1, lambda: patient.set_host('compute1', spare=True)),
                (3, patient.status), (3, lambda: list(patient.hosts())),
                (1, self.vmha.status)):
            self.http.seen.clear()
            with self.assertRaises(client.Unavailable) as raised:
                call()
            self.assertEqual(times, len(self.http.seen))
            self.assertIn('does not answer', str(raised.exception))
            self.assertIn('endpoint list --service vmha', str(raised.exception))
        self.assertEqual(4, len(pauses))

    def test_a_database_that_is_away(self):
        self.http = osc_case.Wsgi(broken(
            {'errors': [{'detail': 'The database does not answer'}]}, '503 Away'))
        for call in (lambda vmha: vmha.status(), lambda vmha: vmha.pause()):
            with self.assertRaises(client.Unavailable) as raised:
                call(self.make_client())
            self.assertIn('The database does not answer: try again', str(raised.exception))
        self.assertEqual(2, len(self.http.seen))

    def test_answers_of_others(self):
        for body, status, kind, words in (
                ('<html>It works!</html>', '200 OK', client.ServerError, 'It ends in no /v1'),
                ('<html>no</html>', '404 Not Found', client.NotFound, 'HTTP 404 Not Found'),
                ('[]', '500 Oops', client.ServerError, 'HTTP 500 Oops'),
                ('{"errors": []}', '502 Bad Gateway', client.Unavailable, 'Bad Gateway'),
                ({'error': {'message': 'The request needs authentication.'}}, '401 Unauthorized',
                 client.Unauthorized, 'The request needs authentication: check'),
                ('', '418 Teapot', client.ClientError, 'HTTP 418 Teapot')):
            self.http = osc_case.Wsgi(broken(body, status))
            with self.assertRaises(kind) as raised:
                self.make_client().status()
            self.assertIs(kind, type(raised.exception))
            self.assertIn(words, str(raised.exception))

    def test_no_endpoint(self):
        for error, kind, words in (
                (ksa.EndpointNotFound(), client.NoEndpoint, 'openstack endpoint create'),
                (ksa.Unauthorized('wrong password'), client.Unauthorized, 'wrong password'),
                (ksa.ConnectFailure('refused'), client.Unavailable, 'refused'),
                (ksa.ConnectFailure('no way to X: HTTPConnectionPool(host=X): Max'),
                 client.Unavailable, '(no way to X)'),
                (ksa.MissingAuthPlugin(), client.ClientError, 'MissingAuthPlugin')):
            vmha = client.Client(Failing(error))
            with self.assertRaises(kind) as raised:
                vmha.status()
            self.assertIn(words, str(raised.exception))
            self.assertIsInstance(raised.exception, client.ClientError)

    def test_a_catalogue_without_it(self):
        http = requests.Session()
        http.mount('http://', self.http)
        vmha = client.Client(keystone.Session(auth=Catalogue('compute'), session=http))
        with self.assertRaises(client.NoEndpoint) as raised:
            vmha.status()
        self.assertIn('no endpoint of type vmha', str(raised.exception))
        vmha = client.Client(keystone.Session(auth=Catalogue('vmha'), session=http),
                             region_name='one', interface='internal')
        self.assertEqual('storage', vmha.status()['fence'])

    def test_the_actions_are_those_of_the_api(self):
        self.assertEqual(('approve', 'abort', 'retry', 'release'), schemas.ACTIONS)


class PagesTest(osc_case.OscCase):
    """An API whose pages are short."""

    settings = {'max_limit': 2}

    def test_pages_are_followed(self):
        self.fill()
        vmha = self.make_client()
        for query in ({}, dict(sort_key='load', sort_dir='desc'), dict(limit=101)):
            self.http.seen.clear()
            self.assertEqual({'compute1', 'compute2', 'spare1'},
                             {h['host'] for h in vmha.hosts(**query)})
            self.assertEqual(2, len(self.http.seen))
        self.http.seen.clear()
        self.assertEqual(2, len(list(vmha.load(limit=2))))
        self.assertEqual(1, len(self.http.seen))
        self.assertEqual(['compute2', 'spare1'],
                         [h['host'] for h in vmha.hosts(marker='compute1')])


class PluginTest(osc_case.OscCase):

    def test_what_openstack_is_given(self):
        calls = []
        parser = types.SimpleNamespace(add_argument=lambda *a, **k: calls.append((a, k)))
        self.assertIs(parser, plugin.build_option_parser(parser))
        self.assertEqual('--' + plugin.API_VERSION_OPTION.replace('_', '-'), calls[0][0][0])
        self.assertIn(plugin.DEFAULT_API_VERSION, plugin.API_VERSIONS)
        http = requests.Session()
        http.mount('http://', self.http)
        instance = types.SimpleNamespace(
            session=keystone.Session(auth=Catalogue('vmha'), session=http), region_name='one',
            interface='internal', _api_version={'vmha': '1'}, get_configuration=lambda: {})
        self.assertEqual('storage', plugin.make_client(instance).status()['fence'])
        self.assertEqual('vmha 1.0', self.http.headers[-1]['OpenStack-API-Version'])
        instance.region_name = 'two'
        with self.assertRaises(client.NoEndpoint):
            plugin.make_client(instance).status()
        instance.get_configuration = lambda: {'vmha_endpoint_override': osc_case.ROOT}
        self.assertEqual('storage', plugin.make_client(instance).status()['fence'])


def broken(body, status):
    """A WSGI application that always gives one answer."""
    def app(_environ, start_response):
        start_response(status, [('Content-Type', 'application/json')])
        return [(body if isinstance(body, str) else json.dumps(body)).encode()]
    return app


class Failing(adapter.Adapter):
    """A session that cannot even ask."""

    def __init__(self, error):
        super().__init__(None)
        self.error = error

    def request(self, *_args, **_options):
        raise self.error


class Catalogue(auth.BaseAuthPlugin):
    """An account of a cloud with one service."""

    def __init__(self, kind):
        super().__init__()
        self.token = fixture.V3Token()
        self.token.set_project_scope()
        self.token.add_service(kind).add_endpoint('internal', osc_case.ROOT, region='one')

    def get_token(self, _session, **_options):
        return 'admin'

    def get_endpoint(self, _session, service_type=None, interface=None, region_name=None,
                     **_options):
        for service in self.token.root['catalog']:
            for one in service['endpoints'] if service['type'] == service_type else ():
                if (one['interface'], one['region']) == (interface, region_name):
                    return one['url']
        return None
