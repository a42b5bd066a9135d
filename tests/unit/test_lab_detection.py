"""What the lab makes of what a monitor says, as far as it goes without one."""

import os
import pathlib
import tempfile
import types
import unittest
from unittest import mock

from tests.lab import bench_detection
from tests.lab import cli
from tests.lab import copies
from tests.lab import failures
from tests.lab import network
from tests.lab import verdicts

FIGURES = pathlib.Path(__file__).resolve().parents[2] / 'doc' / 'source' / '_figures'
LOG = '''
2026-03-01 12:00:00.000 7 INFO vmha_nova.monitor.service [-] watching 4 hosts
2026-03-01 12:00:01.500 7 INFO vmha_nova.monitor.service [-] verdict of c1: dead: it refuses: all
2026-03-01 12:00:01.600 7 INFO vmha_nova.monitor.reporter [-] reported c1 down: dead (try 1)
2026-03-01 12:00:11.600 7 INFO vmha_nova.monitor.reporter [-] reported c1 down: dead (try 2)
2026-03-01 12:00:12.000 7 WARNING vmha_nova.monitor.service [-] cut off: nothing answers
2026-03-01 12:00:13.000 7 INFO vmha_nova.monitor.service [-] no longer cut off
2026-03-01 12:00:14.000 7 INFO vmha_nova.monitor.service [-] verdict of c.2: probably-dead: quiet
'''


class VerdictsTest(unittest.TestCase):
    def test_what_the_log_tells(self):
        first, second = verdicts.verdicts(LOG)
        self.assertEqual(('c1', 'dead', 'it refuses: all'),
                         (first.host, first.verdict, first.reason))
        self.assertEqual(('c.2', 'probably-dead', 12.5),
                         (second.host, second.verdict, second.at - first.at))
        self.assertEqual([second], verdicts.verdicts(LOG, first.at + 1))

    def test_a_report_that_is_repeated_is_one(self):
        self.assertEqual([('c1', 'dead')],
                         [(r.host, r.verdict) for r in verdicts.reports(LOG)])

    def test_doubt_begins_and_ends(self):
        self.assertEqual(['cut-off', ''], [d.verdict for d in verdicts.doubts(LOG)])


class TableTest(unittest.TestCase):
    ROW = failures.Row('it died', 'dead', 2.04, 'moved', 'ran on')

    def test_a_row_takes_the_place_of_an_older_one(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'rows.json'
            with mock.patch.dict(os.environ, {failures.VARIABLE: str(path)}):
                for row in (failures.Row('it died', 'unclear', 1.0, '', ''),
                            failures.Row('b', 'alive', None, 'nothing', 'ran on'), self.ROW):
                    failures.append(row)
            self.assertEqual(['it died', 'b'], [row.what for row in failures.load(path)])
            self.assertEqual(self.ROW, failures.load(path)[0])

    def test_nobody_asked_for_rows(self):
        with mock.patch.dict(os.environ):
            os.environ.pop(failures.VARIABLE, None)
            failures.append(self.ROW)

    def test_as_text(self):
        text = failures.table([self.ROW])
        self.assertIn('   * - it died\n     - dead\n     - 2.0 s\n     - moved\n', text)

    def test_the_documents_have_the_tables_of_the_figures_beside_them(self):
        for name in ('failures', 'detection'):
            self.assertEqual(failures.text(FIGURES / f'{name}.json'),
                             (FIGURES / f'{name}.inc').read_text(encoding='utf-8'))


class CopiesTest(unittest.TestCase):
    """Two hosts have one guest: harmless only while one of them is shut out."""

    def look(self, *fenced):
        net = network.Network('vmha1', ['compute1', 'compute2'])
        dump = {'range_blocklist': {
            f'cidr:{net.address(host, network.STORAGE)}:0/32': '' for host in fenced}}
        witness = copies.Copies(types.SimpleNamespace(
            hosts=net.hosts, network=net,
            ceph=types.SimpleNamespace(command=lambda *_: dump)))
        with mock.patch.object(copies, 'where', return_value={'g'}):
            witness._look()
        self.assertEqual(2, witness.most)
        return bool(witness.wrong)

    def test_two_copies(self):
        self.assertTrue(self.look())
        self.assertFalse(self.look('compute1'))

    def test_a_witness_that_has_gone_says_so(self):
        witness = copies.Copies(None)
        with mock.patch.object(copies, '_INTERVAL', 0.01), witness:
            witness._thread.join(5)
        self.assertIn('NoneType', witness.problem)


class BenchTest(unittest.TestCase):
    def test_median_and_maximum_of_each_kind(self):
        found = bench_detection.summary({'refused': [
            {'detect_s': s, 'outage_s': 10 * s} for s in (2.0, 3.0, 7.0)], 'silent_power': []})
        self.assertEqual({'refused': {'median': 3.0, 'max': 7.0}}, found['detect_s'])
        self.assertEqual({'refused': {'median': 30.0, 'max': 70.0}}, found['outage_s'])

    def test_its_options_are_its_own(self):
        with mock.patch.object(bench_detection, 'main', return_value=3) as main:
            self.assertEqual(3, cli.main(['bench', 'detection', '--repeats', '1', '--dir', 'd']))
        main.assert_called_once_with(['--repeats', '1', '--dir', 'd'])
