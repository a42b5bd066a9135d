"""Something goes wrong with the calls of a recovery to a real Nova: everybody is recovered, once.

One call and one fault each: a sample, another one with VMHA_SEED; with VMHA_ALL=1 all there are.
What came of each is kept in the folder VMHA_FAULTS, if that is set, and is not done again; the
table in the documents is made of it.
"""

import datetime
import os

from tests.functional import base
from tests.lab import cases
from tests.lab import fault_proxy
from tests.lab import vmha
from tests.lab import watch

SAMPLE = 2
# Where every guest comes back as it was, nothing is stopped or started.
ONCE = [(call, fault) for call in fault_proxy.CALLS if call not in ('stop', 'start')
        for fault in fault_proxy.FAULTS]
FOR_EVER = [(call, fault) for call in ('evacuate', 'show server')
            for fault in fault_proxy.FAULTS]


class FaultTest(base.LabTest):
    """Nova's endpoint of the kind 'admin', which nobody else uses, leads through the proxy."""

    overrides = {'service_credentials.interface': 'admin',
                 'service_credentials.request_timeout': 5, 'recovery.max_faults': 2,
                 # Longer than Nova's own patience in the lab, 20 s.
                 'recovery.quiet_period': 25}

    def setUp(self):
        super().setUp()
        self.proxy = fault_proxy.FaultProxy(self.lab.urls['compute_url'])
        self.addCleanup(self.proxy.close)
        fault_proxy.lead(self.lab, self.proxy.url)
        self.addCleanup(fault_proxy.lead, self.lab)

    def recover(self, call, fault, thing=None, times=1):
        """Let compute1 die while that goes wrong."""
        self.start()
        self.proxy.fail(call, fault, thing, times)
        rows = watch.Rows(self.store, self.SOURCE, datetime.datetime.now(datetime.timezone.utc))
        changes, said = [], vmha.follow(self.vmha.log_file)
        self.die()

        def over():
            changes.extend(rows.look())
            return rows.over
        self.wait('the recovery is over', over, 300)
        self.proxy.heal()
        # A list that was only made to keep the picture fresh may not come within a recovery.
        if call in fault_proxy.ACTS or call == 'list evacuations':
            self.assertIn((call, fault), self.proxy.struck)
        recovery = self.recovery()
        return {
            'call': call, 'fault': fault, 'times': 'once' if times else 'always',
            'struck': len(self.proxy.struck), 'answer': cases.answer(changes, said()),
            'seen': cases.troubles(changes, said()),
            'seconds': round((recovery.ended_at - recovery.reported_at).total_seconds(), 1)}

    def again(self):
        """A clean state for the next one."""
        self.proxy.heal()
        self.proxy.struck.clear()
        self._clean()

    def each(self, cells, one):
        kept = cases.Cases(os.environ.get('VMHA_FAULTS'))
        for call, fault in base.sample(cells, SAMPLE):
            name = self._testMethodName, call, fault
            if kept.done(*name):
                continue
            with self.subTest(call=call, fault=fault, seed=base.SEED):
                kept.keep(one(call, fault), *name)
            self.again()

    def test_once(self):
        def one(call, fault):
            self.boot(4, stopped=1)
            case = self.recover(call, fault)
            _moves, records = self.assertRecovered()
            self.assertEqual(4, len(records), 'none twice')
            return case
        self.each(ONCE, one)

    def test_for_ever_on_one_server(self):
        def one(call, fault):
            self.boot(4, stopped=0)
            bad = sorted(self.before)[0]
            case = self.recover(call, fault, bad, None)
            moves = self.moves()
            records = self.cloud.migrations(self.SOURCE, migration_type='evacuation')
            mine = [r for r in records if r['instance_uuid'] in self.before]
            self.assertEqual({1}, {sum(r['instance_uuid'] == i for r in mine)
                                   for i in self.before if i != bad}, 'none twice')
            for ident, move in moves.items():
                if ident != bad:
                    self.assertEqual('moved', move.state, move)
            # What Nova has done without its answer coming through is seen in its lists. And a
            # server that cannot be shown is moved where the lists were read right before.
            if call == 'evacuate' and fault_proxy.FAULTS[fault][0] or (
                    call == 'show server' and moves[bad].state == 'moved'):
                self.assertEqual('moved', moves[bad].state, moves[bad])
                self.assertEqual('recovered', self.recovery().state, self.state())
                return case
            self.assertEqual('partial', self.recovery().state, self.state())
            self.assertEqual('failed', moves[bad].state, moves[bad])
            self.assertRegex(moves[bad].reason, 'calls (without an answer|that came to nothing)')
            self.assertNotIn(bad, {r['instance_uuid'] for r in mine})
            return case
        self.each(FOR_EVER, one)
