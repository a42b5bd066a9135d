"""The API as a whole: who is let in, what is said when something is wrong, what needs no token."""

import os
import re
import unittest.mock

from keystonemiddleware import auth_token
from oslo_policy import policy

from tests.unit import api_case
from vmha_nova.api import routes
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova import policies

# Which personas each policy is for.
EVERYBODY = {'admin', 'system_admin', 'reader', 'system_reader', 'service'}
ADMINS = {'admin', 'system_admin'}
ALLOWED = {
    'vmha:hosts:list': EVERYBODY, 'vmha:hosts:show': EVERYBODY, 'vmha:hosts:update': ADMINS,
    'vmha:load:list': EVERYBODY, 'vmha:failures:list': EVERYBODY,
    'vmha:failures:show': EVERYBODY, 'vmha:failures:create': ADMINS | {'service'},
    'vmha:recoveries:list': EVERYBODY, 'vmha:recoveries:show': EVERYBODY,
    'vmha:recoveries:act': ADMINS, 'vmha:moves:list': EVERYBODY, 'vmha:plans:create': EVERYBODY,
    'vmha:capacity:list': EVERYBODY, 'vmha:capacity:show': EVERYBODY,
    'vmha:events:list': EVERYBODY, 'vmha:status:show': EVERYBODY, 'vmha:pause:update': ADMINS}
BODIES = {
    'vmha:hosts:update': {'host': {'spare': True}},
    'vmha:failures:create': {'failure': {'host': 'compute2'}},
    'vmha:recoveries:act': {'action': 'retry'},
    'vmha:plans:create': {'plan': {'hosts': ['compute1']}},
    'vmha:pause:update': {'pause': {'paused': True, 'reason': 'work on the network'}}}


def table():
    return routes.table(1000, lambda call: None, metrics=True)


class PersonaTest(api_case.ApiCase):
    """Every route, as everybody."""

    def setUp(self):
        super().setUp()
        self.known = dict(host='compute2', failure_id='1', recovery_id=self.fill())

    def test_everybody_may_what_they_may(self):
        for route in table():
            if not route.policy:
                continue
            path = route.path.format(**self.known)
            for persona in api_case.PERSONAS:
                with self.subTest(route=route.name, persona=persona):
                    answer = self.call(route.method, path, BODIES.get(route.policy), persona)
                    if persona in ALLOWED[route.policy]:
                        self.assertIn(answer.status_code, (200, 202), answer.text)
                    else:
                        self.assertEqual(403, answer.status_code, answer.text)
                        self.assertIn(route.policy, self.detail(answer.json))

    def test_nobody_without_a_token(self):
        for route in table():
            if route.policy:
                path = route.path.format(**self.known)
                for token in (None, 'expired', 'made up', 'é'):
                    with self.subTest(route=route.name, token=token):
                        answer = self.call(route.method, path, BODIES.get(route.policy), token)
                        self.assertEqual(401, answer.status_code, answer.text)
                        self.assertIn('X-Auth-Token', self.detail(answer.json))
                        self.assertIn('keystone.invalid', answer.headers['WWW-Authenticate'])

    def test_headers_that_only_the_middleware_sets_are_worth_nothing(self):
        answer = self.call('GET', '/v1/hosts', None, 'member', 403, headers={
            'X-Roles': 'admin', 'X-Identity-Status': 'Confirmed', 'X-Is-Admin': '1',
            'OpenStack-System-Scope': 'all'})
        self.assertIn('roles member, reader on project demo', self.detail(answer.json))
        self.call('GET', '/v1/hosts', None, None, 401, headers={
            'X-Roles': 'admin', 'X-Identity-Status': 'Confirmed', 'X-User-Id': 'root'})

    def test_a_refusal_says_which_roles_would_do(self):
        self.assertEqual(
            'Policy vmha:pause:update does not allow this: it wants role:admin, and the token is '
            'for the roles vmha_reader on project demo.',
            self.detail(self.put('/v1/pause', {'pause': {'paused': True}}, 'reader', 403)))
        self.assertFalse(self.store.paused().paused)

    def test_force_is_for_admins(self):
        body = {'failure': {'host': 'compute2', 'force': True}}
        self.assertIn('vmha:failures:force',
                      self.detail(self.post('/v1/failures', body, 'service', 403)))
        self.assertEqual(1, len(self.get('/v1/failures')['failures']))
        self.post('/v1/failures', body, 'admin', 202)

    def report(self, persona, status, **values):
        return self.post('/v1/failures', {'failure': dict(values, host='compute2')}, persona,
                         status)

    def test_the_name_of_a_source_that_is_acted_upon_is_no_way_around_that(self):
        self.conf.set_override('trust', {'default': 'confirm', 'cutter': 'act', 'old': 'ignore'},
                               'detection')
        self.start()
        detail = self.detail(self.report('service', 403, source='cutter'))
        self.assertIn('vmha:failures:source', detail)
        self.assertIn('what cutter reports is acted on unchecked', detail)
        self.assertIn('role:admin', detail)
        self.assertEqual(1, len(self.store.failures()))
        for persona, source in (('service', 'pinger'), ('service', 'old'), ('admin', 'cutter'),
                                ('system_admin', 'cutter')):
            with self.subTest(persona=persona, source=source):
                self.store.set_failure(3, self.store.failures()[-1].id, 'accepted')
                made = self.report(persona, 202, source=source)['failure']
                self.assertEqual(source, made['source'])

    def test_nor_is_no_name_at_all(self):
        for trust in ({'operator': 'act'}, {'default': 'act', 'other': 'confirm'}):
            with self.subTest(trust):
                self.conf.set_override('trust', trust, 'detection')
                self.start()
                self.assertIn('what operator reports', self.detail(self.report('service', 403)))
                self.report('service', 200 if 'default' in trust else 202, source='other')

    def test_whose_word_is_acted_upon_can_be_set(self):
        with open(f'{self.folder}/policy.yaml', 'w') as file:
            file.write('"vmha:failures:source": "rule:admin or user_id:id-of-service"\n')
        self.conf.set_override('policy_file', file.name, 'oslo_policy')
        self.conf.set_override('trust', {'cutter': 'act'}, 'detection')
        self.start()
        self.report('service', 202, source='cutter')

    def test_the_rights_come_before_what_is_asked(self):
        """Who may not ask learns nothing: neither what there is nor what would be right."""
        for path in ('/v1/hosts/nowhere', '/v1/recoveries/none', '/v1/hosts?limit=none',
                     '/v1/failures/0'):
            self.call('GET', path, None, 'member', 403)
        self.call('POST', '/v1/failures', {'nonsense': 1}, 'member', 403)


class PolicyTest(api_case.ApiCase):

    def test_every_policy_is_asked_for_where_it_says(self):
        documented = {}
        for rule in policies.list_rules():
            if isinstance(rule, policy.DocumentedRuleDefault):
                documented[rule.name] = {(o['method'], o['path']) for o in rule.operations}
        more = documented.pop('vmha:failures:force') | documented.pop('vmha:failures:source')
        used = {}
        for route in table():
            if route.policy:
                used.setdefault(route.policy, set()).add((route.method, route.path))
        self.assertEqual(documented, used)
        self.assertLessEqual(more, {(r.method, r.path) for r in table()})

    def test_a_domain_is_no_scope(self):
        enforcer = policies.enforcer(self.conf)
        for name in ALLOWED:
            for roles, domain, allowed in ((['admin'], None, True), (['admin'], 'default', False)):
                self.assertEqual(allowed, enforcer.authorize(
                    name, {}, dict(roles=roles, domain_id=domain)), name)

    def test_the_operator_has_the_last_word(self):
        with open(f'{self.folder}/policy.yaml', 'w') as file:
            file.write('"reader": "role:auditor"\n')
        self.conf.set_override('policy_file', file.name, 'oslo_policy')
        self.start()
        self.assertIn('it wants (role:admin or role:auditor or role:service)',
                      self.detail(self.get('/v1/hosts', 'reader', 403)))
        self.get('/v1/hosts')

    def rules(self, text):
        with open(f'{self.folder}/policy.yaml', 'w') as file:
            file.write(text)
        self.conf.set_override('policy_file', file.name, 'oslo_policy')

    def test_rules_that_make_no_sense_keep_it_from_starting(self):
        for text, words in (
                ('"vmha:pause:update": "rule:nope"', 'vmha:pause:update'),
                ('"alias": "role:a or rule:nope"\n"vmha:pause:update": "rule:alias"', 'alias'),
                ('"reader": "rule:reader"', 'reader'), ('"reader": 5', 'policy_file'),
                ('- reader', 'policy_file')):
            with self.subTest(text):
                self.rules(text)
                with self.assertRaisesRegex(exception.ConfigurationError, words) as caught:
                    self.start()
                self.assertIn('policy.yaml', str(caught.exception))
                self.assertNotIn('\n', str(caught.exception))

    def test_a_rule_that_vanishes_while_it_runs(self):
        """The file is read again when it changes; nobody is let in by what is not there."""
        self.rules('"auditors": "role:auditor"\n"vmha:pause:update": "rule:auditors"\n')
        self.start()
        self.assertIn('it wants role:auditor,',
                      self.detail(self.put('/v1/pause', BODIES['vmha:pause:update'], status=403)))
        self.rules('"vmha:pause:update": "rule:auditors and rule:old-ones"\n')
        os.utime(f'{self.folder}/policy.yaml', (4e9, 4e9))
        self.assertIn('it wants (rule:auditors and rule:old-ones),',
                      self.detail(self.put('/v1/pause', BODIES['vmha:pause:update'], status=403)))


class VersionTest(api_case.ApiCase):

    HEADER = 'OpenStack-API-Version'

    def ask(self, header, status):
        answer = self.call('GET', '/v1/hosts', status=status, headers={self.HEADER: header})
        return answer

    def test_there_is_one_version(self):
        for header in ('vmha 1.0', 'vmha latest', 'compute 2.90, vmha 1.0', 'compute 2.90',
                       ' vmha 1.0 '):
            with self.subTest(header):
                answer = self.ask(header, 200)
                self.assertEqual('vmha 1.0', answer.headers[self.HEADER])
                self.assertEqual(self.HEADER, answer.headers['Vary'])
        answer = self.call('GET', '/v1/hosts', status=200)
        self.assertEqual('vmha 1.0', answer.headers[self.HEADER])

    def test_there_are_no_others(self):
        for header in ('vmha 1.1', 'vmha 2.0', 'compute 2.90,vmha 1.17', 'vmha 1.00'):
            with self.subTest(header):
                error = self.ask(header, 406).json['errors'][0]
                self.assertEqual(('1.0', '1.0'), (error['min_version'], error['max_version']))

    def test_what_is_no_version(self):
        for header in ('vmha', 'vmha 1', 'vmha one', '', 'vmha 1.0 2.0', 'vmha 0.1', 'vmha 1.٠',
                       'vmha ' + '1' * 5000, ',', 'compute new', 'vmha 1.0;', 'vmha\t1.0'):
            with self.subTest(header[:20]):
                self.assertIn(self.HEADER, self.detail(self.ask(header, 400).json))

    def test_an_error_says_which_version_has_answered(self):
        answer = self.call('GET', '/v1/hosts/nowhere', status=404)
        self.assertEqual('vmha 1.0', answer.headers[self.HEADER])

    def test_documents(self):
        versions = self.get('/', None)['versions']
        self.assertEqual([('v1', '1.0', '1.0')],
                         [(v['id'], v['min_version'], v['max_version']) for v in versions])
        self.assertEqual('http://localhost/v1', versions[0]['links'][0]['href'])
        self.assertEqual(dict(version=versions[0]), self.get('/v1', None))

    def test_behind_a_proxy(self):
        self.conf.set_override('enable_proxy_headers_parsing', True, 'oslo_middleware')
        answer = self.call('GET', '/', None, None, 200, headers={
            'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'cloud.example.org',
            'X-Forwarded-Prefix': '/vmha'})
        self.assertEqual('https://cloud.example.org/vmha/v1',
                         answer.json['versions'][0]['links'][0]['href'])


class ErrorTest(api_case.ApiCase):

    def error(self, answer, status):
        self.assertEqual(status, answer.status_code, answer.text)
        self.assertEqual('application/json', answer.headers['Content-Type'])
        [error] = answer.json['errors']
        self.assertEqual(status, error['status'])
        self.assertEqual(answer.headers['x-openstack-request-id'], error['request_id'])
        self.assertRegex(error['request_id'], '^req-[0-9a-f-]{36}$')
        self.assertEqual([], error['links'])
        return error

    def test_no_such_address(self):
        for path in ('/v1/nothing', '/v2/hosts', '/v1/hosts/', '/v1//hosts', '/v1/hosts/a/b',
                     '/v1/recoveries/1/moves/2', '/v1/../etc/passwd', '/%00', '/é'):
            with self.subTest(path):
                error = self.error(self.call('GET', path), 404)
                self.assertEqual(('vmha.not-found', 'Not Found'), (error['code'], error['title']))

    def test_no_such_method(self):
        for method, path, allowed in (
                ('DELETE', '/v1/hosts', 'GET, HEAD'), ('PUT', '/v1/failures', 'GET, HEAD, POST'),
                ('OPTIONS', '/v1/hosts/compute1', 'GET, HEAD, PATCH'),
                ('GET', '/v1/pause', 'PUT'), ('TRACE', '/v1/hosts', 'GET, HEAD'),
                ('NONSENSE', '/v1', 'GET, HEAD')):
            with self.subTest(f'{method} {path}'):
                answer = self.call(method, path)
                self.error(answer, 405)
                self.assertEqual(allowed, answer.headers['Allow'])

    def test_the_database_is_away(self):
        with (unittest.mock.patch.object(self.store, 'reading', side_effect=(
                exception.StoreUnavailable('database: (2003) at db.internal:3306'))),
              self.assertLogs('vmha_nova.api', 'ERROR') as logs):
            error = self.error(self.call('GET', '/v1/hosts'), 503)
        self.assertIn('The database does not answer', error['detail'])
        self.assertNotIn('db.internal', error['detail'])
        self.assertIn('db.internal', logs.output[0])

    def test_what_the_database_cannot_take(self):
        with (unittest.mock.patch.object(self.store, 'pause', side_effect=(
                exception.StoreRefused('database: (1406) Data too long at db.internal:3306'))),
              self.assertLogs('vmha_nova.api', 'ERROR') as logs):
            error = self.error(self.call('PUT', '/v1/pause', {'pause': {'paused': True}}), 400)
        self.assertIn('too long', error['detail'])
        self.assertNotIn('db.internal', error['detail'])
        self.assertIn('db.internal', logs.output[0])

    def test_a_database_that_refuses_connections(self):
        self.store = store.Store(lambda: self.now, max_retries=0,
                                 connection='mysql+pymysql://vmha:secret@127.0.0.1:1/vmha')
        self.start()
        for method, path, body in (('GET', '/v1/hosts', None),
                                   ('PUT', '/v1/pause', {'pause': {'paused': True}})):
            with self.assertLogs('vmha_nova.api', 'ERROR') as logs:
                self.error(self.call(method, path, body), 503)
            self.assertNotIn('secret', logs.output[0])

    def test_tables_that_are_not_there(self):
        """The same with a real database: it was emptied."""
        self.drop_tables()
        for method, path, body in (
                ('GET', '/v1/hosts', None), ('GET', '/v1/load', None),
                ('GET', '/v1/capacity/a', None), ('GET', '/v1/recoveries/a/moves', None),
                ('GET', '/v1/failures/1', None), ('GET', '/v1/status', None),
                ('POST', '/v1/failures', {'failure': {'host': 'a'}}),
                ('PUT', '/v1/pause', {'pause': {'paused': True}}),
                ('PATCH', '/v1/hosts/a', {'host': {'spare': True}})):
            with self.subTest(path), self.assertLogs('vmha_nova.api', 'ERROR'):
                self.error(self.call(method, path, body), 503)
        self.assertEqual(200, self.call('GET', '/healthcheck', None, None).status_code)

    def test_an_error_nobody_thought_of(self):
        self.planner.error = ZeroDivisionError('the secret of the universe')
        with self.assertLogs('vmha_nova.api', 'ERROR') as logs:
            error = self.error(self.call('POST', '/v1/plans', {'plan': {'hosts': ['a']}}), 500)
        self.assertNotIn('secret', error['detail'])
        self.assertIn('the secret of the universe', logs.output[0])

    def test_keystone_is_away(self):
        with unittest.mock.patch(
                'keystonemiddleware.auth_token._identity.IdentityServer.verify_token',
                side_effect=auth_token.ServiceError('Keystone said 500')):
            self.tokens.cleanUp()           # ask Keystone
            try:
                error = self.error(self.call('GET', '/v1/hosts'), 503)
            finally:
                self.tokens.setUp()
        self.assertIn('The token cannot be checked: Keystone', error['detail'])

    def test_an_error_in_the_middleware(self):
        with (unittest.mock.patch('keystonemiddleware.auth_token.AuthProtocol.fetch_token',
                                  side_effect=RuntimeError('no endpoint')),
              self.assertLogs('vmha_nova.api', 'ERROR')):
            self.error(self.call('GET', '/v1/hosts'), 503)

    def test_names_of_markup_and_of_sql_are_names(self):
        for name in ('<script>alert(1)</script>', "x' OR '1'='1", '"; DROP TABLE node; --',
                     '{{7*7}}', '%s%n', '\N{GRINNING FACE}', 'é' * 255, '-- ', '\\'):
            with self.subTest(name):
                self.error(self.client.get(f'/v1/hosts/{_quoted(name)}',
                                           headers={'X-Auth-Token': 'admin'}), 404)
                self.assertEqual([], self.get('/v1/hosts', zone=name)['hosts'])
                self.assertEqual([], self.get('/v1/events', kind=name)['events'])
                answer = self.call('GET', '/v1/hosts', marker=name)
                self.error(answer, 400)
                self.assertEqual('application/json', answer.headers['Content-Type'])
        self.store.snapshot_info()                  # the tables are all there


def _quoted(name):
    return ''.join(f'%{b:02x}' for b in name.encode())


class WithoutTokenTest(api_case.ApiCase):

    def metrics(self):
        self.seen = []

        class Metrics:
            exposition = staticmethod(lambda: (b'vmha_up 1\n', 'text/plain; charset=utf-8'))
            observe_request = staticmethod(lambda *args: self.seen.append(args))
        return Metrics()

    def test_healthcheck(self):
        answer = self.call('GET', '/healthcheck', None, None, 200)
        self.assertRegex(answer.headers['x-openstack-request-id'], '^req-')
        self.assertEqual(204, self.call('HEAD', '/healthcheck', None, None).status_code)

    def test_metrics(self):
        answer = self.call('GET', '/metrics', None, None, 200)
        self.assertEqual('vmha_up 1\n', answer.text)
        self.assertEqual('text/plain; charset=utf-8', answer.headers['Content-Type'])

    def test_requests_are_measured_by_route(self):
        self.fill()
        self.call('GET', '/v1/hosts/compute1')
        self.call('GET', '/v1/hosts/nowhere')
        self.call('GET', '/v1/hosts/compute1', None, 'member')
        self.call('GET', '/v1/hosts/compute1', None, None)
        self.call('GET', '/v1/nowhere')
        self.call('GET', '/healthcheck', None, None)
        host = '/v1/hosts/{host}'
        self.assertEqual(
            [('GET', host, 200), ('GET', host, 404), ('GET', host, 403), ('GET', '', 401),
             ('GET', '', 404), ('GET', '/healthcheck', 200)], [seen[:3] for seen in self.seen])
        self.assertTrue(all(0 <= seen[3] < 60 for seen in self.seen))

    def test_there_need_not_be_any(self):
        self.metrics = lambda: None
        self.start()
        self.call('GET', '/metrics', status=404)
        self.assertNotIn('/metrics', self.get('/v1/openapi.json', None)['paths'])

    def test_the_openapi_document(self):
        document = self.get('/v1/openapi.json', None)
        self.assertTrue(document['openapi'].startswith('3.'))
        for route in table():
            operation = document['paths'][route.path][route.method.lower()]
            self.assertEqual(bool(route.policy), bool(operation['security']))
            named = {p['name'] for p in operation['parameters'] if p['in'] == 'path'}
            self.assertEqual(set(re.findall('{(.*?)}', route.path)), named)
        names = [o['operationId'] for p in document['paths'].values() for o in p.values()]
        self.assertEqual(len(names), len(set(names)))
