"""The example alert rules: they are valid, fire when they should, and name what is exposed."""

import os
import pathlib
import re
import tempfile
import unittest

from prometheus_client import parser
import yaml

from tests.unit import clock as clocks
from tests.unit import promtool
from tests.unit import topology
from vmha_nova.db import snapshot
from vmha_nova.db import store
from vmha_nova import metrics
from vmha_nova import model
from vmha_nova.monitor import verdict

HERE = pathlib.Path(__file__).parent
RULES = HERE.parents[1] / 'etc/vmha/vmha-alerts.yaml'
TESTS = HERE / 'alerts_test.yaml'


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())['groups']
            for rule in group['rules']]


def expositions():
    """What engine, API and monitor show of a database in which there is some of everything."""
    with tempfile.TemporaryDirectory() as folder:
        clock = clocks.Clock(topology.NOW)
        made = store.Store(clock, connection='sqlite:///' + os.path.join(folder, 'db'),
                           sqlite_synchronous=False)
        made.upgrade()
        term, snapshots = made.take_lead('e'), snapshot.Snapshots(made)
        made.set_mark('s1', spare=True)
        snapshots.write_nodes(term, [snapshot.NodeRow(
            snapshot.as_written(topology.spare('s1')), '', 0, 0.0)])
        snapshots.write_capacity(term, [model.Capacity(
            'c1', clock(), 1, 1, 0, 0, True, 0.5, 'storage', '', (), ())])
        snapshots.write_info(term, topology.cluster([]), clock())
        engine, api = metrics.EngineMetrics(made, clock), metrics.Metrics(made, clock)
        for note in made.outbox():
            engine.observe(note)
        api.observe_request('GET', '/v1/hosts', 200, 0.01)
        monitor = metrics.MonitorMetrics(verdict.VERDICTS)
        return [one.exposition()[0] for one in (engine, api, monitor)]


class PromtoolTest(unittest.TestCase):
    def setUp(self):
        self.program = promtool.promtool()      # an error says what to do; no skip for lack of it
        if self.program is None:
            self.skipTest('promtool is not on the PATH, and this system has no apt')

    def check(self, *words, **values):
        return promtool.check(self.program, *words, **values)

    def test_the_rules_are_valid(self):
        status, said = self.check('check', 'rules', RULES)
        self.assertEqual(0, status, said)
        self.assertIn(f'{len(rules())} rules found', said)

    def test_the_rules_fire_when_they_should(self):
        status, said = self.check('test', 'rules', TESTS)
        self.assertEqual(0, status, said)

    def test_a_rule_that_is_wrong_would_be_found(self):
        broken = RULES.read_text()
        for old, new in (('max(vmha_paused) == 1', 'max(vmha_paused) == 0'),
                         ('for: 24h', 'for: 48h')):
            self.assertIn(old, broken)
            broken = broken.replace(old, new)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / RULES.name).write_text(broken)
            (path / TESTS.name).write_text(
                TESTS.read_text().replace('../../etc/vmha/', ''))
            status, said = self.check('test', 'rules', path / TESTS.name)
        self.assertNotEqual(0, status)
        self.assertIn('VmhaPaused', said)
        self.assertIn('VmhaHostOut', said)

    def test_what_is_exposed_is_well_formed(self):
        for body in expositions():
            self.assertEqual((0, ''), self.check('check', 'metrics', stdin=body))
        status, said = self.check('check', 'metrics', stdin=b'# TYPE x counter\nx 1\n')
        self.assertNotEqual(0, status, said)


class RulesTest(unittest.TestCase):
    def setUp(self):
        self.exposed = {}                       # name -> [labels]
        for body in expositions():
            for family in parser.text_string_to_metric_families(body.decode()):
                for sample in family.samples:
                    self.exposed.setdefault(sample.name, []).append(sample.labels)

    def test_every_metric_they_name_is_exposed(self):
        named = set()
        for rule in rules():
            for name, _, selector in re.findall(r'(vmha_\w+)(\{([^}]*)\})?', rule['expr']):
                named.add(name)
                self.assertIn(name, self.exposed, rule['alert'])
                wanted = dict(re.findall(r'(\w+)="([^"]*)"', selector))
                self.assertTrue(any(wanted.items() <= labels.items()
                                    for labels in self.exposed[name]),
                                f'{rule["alert"]}: no {name} with {wanted}')
        self.assertGreater(len(named), 10)

    def test_each_has_a_test_and_says_what_to_do(self):
        fired = set(re.findall(r'alertname="(\w+)", alertstate="firing"', TESTS.read_text()))
        self.assertEqual({rule['alert'] for rule in rules()}, fired)
        for rule in rules():
            self.assertIn(rule['labels']['severity'], ('critical', 'warning', 'info'))
            self.assertEqual({'summary', 'action'}, set(rule['annotations']), rule['alert'])

    def test_the_labels_that_tests_give_are_exposed(self):
        """A rule that is tested with a label that nothing has would never fire."""
        for name, selector in re.findall(r"series: '(vmha_\w+)(?:\{([^}]*)\})?'",
                                         TESTS.read_text()):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', selector))
            # instance is Prometheus' own; the bounds of buckets are any.
            kept = {k: v for k, v in labels.items() if k not in ('instance', 'le')}
            self.assertTrue(any(kept.items() <= one.items()
                                for one in self.exposed.get(name, ())), (name, kept))
