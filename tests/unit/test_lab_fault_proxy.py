"""Every call of a recovery to Nova, and every fault: what the service makes of it.

A small Nova on loopback, and before it the proxy in which the faults happen.
"""

from tests.lab import fault_proxy
from tests.unit import test_nova
from vmha_nova import exception
from vmha_nova import nova

HASTY = 0.5                             # seconds


class FaultProxyTest(test_nova.Base):

    def setUp(self):
        super().setUp()
        self.fake.add_host('c1')
        self.one = self.fake.add_server('c1')
        self.service_id = self.fake.services['c1']['id']
        self.proxy = fault_proxy.FaultProxy(self.fake.url)
        self.addCleanup(self.proxy.close)
        self.fake.catalog['compute'] = self.proxy.url + '/v2.1'
        self.nova = nova.Nova(self.fake.session(), 'R', 'public', timeout=HASTY)
        self.nova._ready()
        self.nova.services()            # the token and the versions are known
        self.calls = {
            'list services': self.nova.services,
            'force down': lambda: self.nova.force_down(self.service_id, True),
            'disable': lambda: self.nova.disable(self.service_id, 'why'),
            'enable': lambda: self.nova.enable(self.service_id),
            'list hypervisors': self.nova.hypervisors,
            'list aggregates': self.nova.aggregates,
            'list groups': self.nova.groups,
            'list servers': self.nova.servers,
            'list servers of a host': lambda: self.nova.servers(host='c1'),
            'list evacuations': lambda: self.nova.evacuations('c1'),
            'show server': lambda: self.nova.server(self.one),
            'evacuate': lambda: self.nova.evacuate(self.one, 'c2'),
            'stop': lambda: self.nova.stop(self.one),
            'start': lambda: self.nova.start(self.one)}

    def test_all_calls_are_here(self):
        self.assertEqual(set(fault_proxy.CALLS), set(self.calls))

    def test_what_passes_is_what_it_was(self):
        direct = nova.Nova(self.session, 'R', 'public')
        self.assertEqual(direct.services(), self.nova.services())
        self.assertEqual(direct.server(self.one), self.nova.server(self.one))
        for name, call in self.calls.items():
            self.proxy.fail(name, '500', thing='another')
            call()
        self.assertEqual([], self.proxy.struck)

    def test_every_call_and_every_fault(self):
        for name, call in self.calls.items():
            for fault, (arrives, _) in fault_proxy.FAULTS.items():
                with self.subTest(call=name, fault=fault):
                    self.fake.calls.clear()
                    self.proxy.struck.clear()
                    self.proxy.fail(name, fault)
                    wanted = exception.OutcomeUnknown if name in fault_proxy.ACTS else (
                        exception.Unreachable)
                    if fault == 'expired token':
                        call()          # a new one is fetched
                        arrives = True
                    else:
                        raised = self.assertRaises(exception.VmhaError, call)
                        self.assertIs(wanted, type(raised), repr(raised))
                    self.assertEqual([(name, fault)], self.proxy.struck)
                    if name in fault_proxy.ACTS:    # never twice
                        self.assertEqual(int(arrives), sum(
                            c.method in ('POST', 'PUT') for c in self.fake.calls))
                    call()              # and the next one works

    def test_for_ever_and_for_one_server_only(self):
        other = self.fake.add_server('c1')
        self.proxy.fail('evacuate', '503', thing=self.one, times=None)
        for _ in range(3):
            self.assertRaises(exception.OutcomeUnknown, self.nova.evacuate, self.one, 'c2')
        self.nova.evacuate(other, 'c2')
        self.proxy.heal()
        self.nova.evacuate(self.one, 'c2')

    def test_a_name_that_is_none(self):
        self.assertRaises(ValueError, self.proxy.fail, 'evacuates', '500')
        self.assertRaises(ValueError, self.proxy.fail, 'evacuate', '501')
