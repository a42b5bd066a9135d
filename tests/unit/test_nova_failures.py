"""What every failure of a call to Nova means, against a small Nova on loopback."""

import socket

from keystoneauth1 import exceptions as ks_exc
import requests
import testtools
import urllib3

from tests.unit import test_nova
from vmha_nova import exception
from vmha_nova import nova
from vmha_nova.nova import wire

HTML = {'body': b'<html><h1>Welcome</h1></html>', 'headers': {'Content-Type': 'text/html'}}


class FailureTest(test_nova.Base):
    """Every way a call can go wrong, and the error that says what it means."""

    def setUp(self):
        super().setUp()
        self.fake.add_host('c1')
        self.one = self.fake.add_server('c1')
        self.service_id = self.fake.services['c1']['id']
        self.hasty = nova.Nova(self.session, 'R', 'public', timeout=0.5)
        for adapter in (self.nova, self.hasty):     # the token and the versions are known
            adapter.services()
            adapter._ready()
        self.fake.calls.clear()

    ACT_PATHS = (('POST', '/v2.1/servers'), ('PUT', '/v2.1/os-services'))

    def read_fails(self, error, kind='answer', **how):
        self.fake.fail('GET', '/v2.1/os-services', kind, **how)
        adapter = self.hasty if kind == 'hang' else self.nova
        raised = self.assertRaises(exception.VmhaError, adapter.services)
        self.assertIs(error, type(raised), f'{kind} {how}: {raised!r}')
        self.assertNotIn('\n', str(raised))
        return raised

    def acts_fail(self, error, kind='answer', **how):
        """Through novaclient and through the SDK; sent exactly once."""
        adapter = self.hasty if kind == 'hang' else self.nova
        for method, path in self.ACT_PATHS:
            self.fake.calls.clear()
            self.fake.fail(method, path, kind, times=2, **how)
            raised = self.assertRaises(exception.VmhaError, *{
                'POST': (adapter.evacuate, self.one, 'c2'),
                'PUT': (adapter.force_down, self.service_id, True)}[method])
            self.assertIs(error, type(raised), f'{method} {kind} {how}: {raised!r}')
            self.assertNotIn('\n', str(raised))
            self.assertEqual(1, self.fake.count(method), f'{method} {kind} {how}')
            self.fake.faults.clear()
        return raised

    def test_reads(self):
        for kind in ('reset', 'hang', 'cut', 'half'):
            self.read_fails(exception.Unreachable, kind)
        for status in (500, 502, 503, 504, 408, 429):
            self.read_fails(exception.Unreachable, status=status)
        self.read_fails(exception.Unreachable, status=200, **HTML)
        self.read_fails(exception.Unreachable, status=200, body=b'[]')
        self.read_fails(exception.Unreachable, status=200, body=b'{"services": [{"host": "c1"}]}')
        self.read_fails(exception.Rejected, 'error', status=409, message='busy')
        self.read_fails(exception.Rejected, 'error', status=404, message='no such path')

    def test_a_read_that_policy_forbids(self):
        raised = self.read_fails(exception.Rejected, 'error', status=403,
                                 message="Policy doesn't allow os_compute_api:os-services:list")
        self.assertEqual(403, raised.code)
        self.assertIn('os-services:list', str(raised))
        self.assertIn('role', str(raised))

    def test_a_404_must_be_about_the_thing(self):
        error = self.assertRaises(exception.NotFound, self.nova.server, 'no-such-id')
        self.assertEqual(404, error.code)
        # A proxy that has lost its way answers 404 to everything; nothing is gone for that.
        for how in ({**HTML}, {'body': b'{"itemNotFound": {"message": "no"}}'}):
            self.fake.fail('GET', '/v2.1/servers', status=404, **how)
            self.assertRaises(exception.Unreachable, self.nova.server, self.one)

    def test_a_404_to_an_account_that_is_no_admin_any_more(self):
        self.fake.admin = False
        error = self.assertRaises(exception.Rejected, self.nova.server, self.one)
        self.assertEqual(403, error.code)
        self.assertIn('Only administrators', str(error))

    def test_acts(self):
        for kind in ('reset', 'hang', 'cut'):
            self.acts_fail(exception.OutcomeUnknown, kind)
        for status in (500, 502, 503, 504, 408):
            self.acts_fail(exception.OutcomeUnknown, status=status, headers={'Retry-After': '0'})
        self.acts_fail(exception.OutcomeUnknown, status=200, **HTML)
        self.acts_fail(exception.OutcomeUnknown, 'half')
        self.acts_fail(exception.OutcomeUnknown, 'error', status=500, message='Unexpected')
        self.acts_fail(exception.OutcomeUnknown, 'error', status=408, message='too slow')

    def test_acts_that_are_refused(self):
        raised = self.acts_fail(exception.Rejected, 'error', status=409,
                                message="Cannot 'evacuate' instance\nwhile it is paused")
        self.assertEqual(409, raised.code)
        self.assertIn("Cannot 'evacuate' instance while it is paused", str(raised))
        self.acts_fail(exception.Rejected, 'error', status=400, message='Compute is in use')
        raised = self.acts_fail(exception.Rejected, 'error', status=403,
                                message="Policy doesn't allow os_compute_api:os-evacuate")
        self.assertIn('os_compute_api:os-evacuate', str(raised))
        self.assertIn('role', str(raised))
        # A limiter's answer says that nobody acted; refusals that are not Nova's say nothing.
        self.acts_fail(exception.Unreachable, status=429)
        self.acts_fail(exception.OutcomeUnknown, status=403, **HTML)
        self.acts_fail(exception.OutcomeUnknown, status=404, **HTML)

    def test_what_an_act_does_not_find(self):
        self.assertRaises(exception.NotFound, self.nova.evacuate, 'no-such-id', 'c2')
        self.assertRaises(exception.NotFound, self.nova.enable, 'no-such-id')
        self.fake.fail('POST', '/v2.1/servers', 'error', status=404,
                       message='Compute host c9 not found.')
        error = self.assertRaises(exception.Rejected, self.nova.evacuate, self.one, 'c9')
        self.assertEqual((exception.Rejected, 404), (type(error), error.code))

    def test_an_act_is_not_sent_on_by_a_redirection(self):
        self.acts_fail(exception.OutcomeUnknown, status=307, headers={
            'Location': f'{self.fake.url}/v2.1/servers/{self.one}/action',
            'x-compute-request-id': 'req-1', 'x-openstack-request-id': 'req-1'})

    def test_a_refused_token_is_replaced(self):
        # 401 is a refusal: sending again after it sends nothing twice.
        self.fake.fail('POST', '/v2.1/servers', 'error', status=401, message='old token')
        self.nova.evacuate(self.one, 'c2')
        self.assertEqual((2, 2), (self.fake.count('POST'), self.fake.tokens))
        self.fake.fail('POST', '/v2.1/servers', 'error', status=401, message='no', times=2)
        error = self.assertRaises(exception.Rejected, self.nova.evacuate, self.one, 'c2')
        self.assertEqual(401, error.code)
        # Nova refused, and Keystone gives no new token.
        self.fake.fail('POST', '/v2.1/servers', 'error', status=401, message='old token')
        self.fake.fail('POST', '/identity', status=500)
        self.assertRaises(exception.Unreachable, self.nova.evacuate, self.one, 'c2')

    def test_nova_refuses_connections(self):
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
        # As if the port had closed after everything else was found out.
        self.nova._connection.compute.endpoint_override = f'http://127.0.0.1:{port}/v2.1'
        self.nova._client.client.endpoint_override = f'http://127.0.0.1:{port}/v2.1'
        texts = set()
        for _ in range(2):
            texts.add(str(self.assertRaises(exception.Unreachable, self.nova.services)))
            texts.add(str(self.assertRaises(
                exception.Unreachable, self.nova.evacuate, self.one, 'c2')))
            texts.add(str(self.assertRaises(
                exception.Unreachable, self.nova.force_down, self.service_id, True)))
        self.assertEqual(3, len(texts), 'a problem that lasts is said in the same words')

    def test_the_caller_was_handling_another_error(self):
        # Its chain of contexts ends in a refused connection, which is not this request's.
        try:
            requests.get('http://127.0.0.1:1/', timeout=1)
        except requests.ConnectionError:
            self.acts_fail(exception.OutcomeUnknown, 'reset')
            self.acts_fail(exception.OutcomeUnknown, 'hang')

    def test_keystone_is_away(self):
        fresh = nova.Nova(self.fake.session(), 'R', 'public', timeout=2.0)
        for kind in ('reset', 'hang', 'answer'):
            self.fake.fail('POST', '/identity', kind)
            self.assertRaises(exception.Unreachable, fresh.evacuate, self.one, 'c2')
            self.fake.fail('POST', '/identity', kind)
            self.assertRaises(exception.Unreachable, fresh.services)
        self.assertEqual(0, self.fake.count())
        fresh.evacuate(self.one, 'c2')

    def test_keystone_has_moved(self):
        fresh = nova.Nova(self.fake.session(), 'R', 'public')
        self.fake.fail('POST', '/identity', status=307, headers={
            'Location': f'{self.fake.url}/identity/v3/auth/tokens'})
        fresh.evacuate(self.one, 'c2')

    def test_wrong_password(self):
        fresh = nova.Nova(self.fake.session(), 'R', 'public')
        self.fake.fail('POST', '/identity', status=401)
        self.assertRaises(exception.Unreachable, fresh.evacuate, self.one, 'c2')

    def test_a_service_that_is_not_in_the_catalog_yet(self):
        compute = self.fake.catalog.pop('compute')
        session = self.fake.session()
        fresh = nova.Nova(session, 'R', 'public')
        self.assertRaises(exception.Unreachable, fresh.services)
        self.assertRaises(exception.Unreachable, fresh.evacuate, self.one, 'c2')
        self.fake.catalog['compute'] = compute
        session.invalidate()
        self.assertEqual(['c1'], [service.host for service in fresh.services()])

    def test_no_versions_to_be_had(self):
        fresh = nova.Nova(self.fake.session(), 'R', 'public')
        self.fake.fail('GET', '/v2.1', status=503, times=3)
        error = self.assertRaises(exception.Unreachable, fresh.evacuate, self.one, 'c2')
        self.assertIn(f'compute at {self.fake.url}/v2.1', str(error))
        self.fake.faults.clear()
        fresh.evacuate(self.one, 'c2')
        self.assertEqual((2, 96), fresh.max_microversion)


class ProofTest(testtools.TestCase):
    """Which errors prove that nothing was sent, raised as keystoneauth raises them."""

    def proves(self, cause, kind=ks_exc.ConnectFailure):
        try:
            try:
                raise cause
            except requests.RequestException:
                raise kind('cannot connect')    # noqa: B904, as keystoneauth does
        except ks_exc.ConnectionError as error:
            return wire.never_sent(error)

    def wrapped(self, reason, kind=requests.ConnectionError):
        return kind(urllib3.exceptions.MaxRetryError(None, '/', reason))

    def test_proofs(self):
        new = urllib3.exceptions.NewConnectionError
        self.assertTrue(self.proves(self.wrapped(new(None, 'refused'))))
        self.assertTrue(self.proves(self.wrapped(
            urllib3.exceptions.NameResolutionError('nova', None, socket.gaierror()))))
        self.assertTrue(self.proves(
            self.wrapped(urllib3.exceptions.ConnectTimeoutError(), requests.ConnectTimeout),
            ks_exc.ConnectTimeout))
        self.assertTrue(self.proves(self.wrapped(urllib3.exceptions.ProxyError(
            'proxy', new(None, 'refused')), requests.exceptions.ProxyError)))
        self.assertTrue(wire.never_sent(ks_exc.EndpointNotFound()))

    def test_what_differs_each_time_is_not_said(self):
        for text in ('<urllib3.connection.HTTPConnection object at 0x7fe1>: Failed: refused',
                     'Failed: refused (Request-ID: req-0a-1)\n'):
            self.assertEqual('Failed: refused', wire._line(text))

    def test_no_proofs(self):
        self.assertFalse(self.proves(requests.ReadTimeout('slow'), ks_exc.ConnectTimeout))
        self.assertFalse(self.proves(requests.ConnectionError(
            urllib3.exceptions.ProtocolError('Connection aborted.', ConnectionResetError()))))
        self.assertFalse(self.proves(self.wrapped(urllib3.exceptions.SSLError('alert'),
                                                  requests.exceptions.SSLError), ks_exc.SSLError))
        self.assertFalse(wire.never_sent(ValueError()))
