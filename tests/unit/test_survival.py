"""What the document says it survives: broken versions that tests catch, and figures of runs."""

import os
import pathlib
import random
import tempfile
import unittest

from tests.mutations import runner
from tests.mutations import table
from tests import survival

SAMPLE = 2                              # broken versions that are tried whole
SEED = os.environ.get('VMHA_SEED', 'survival')


class MutationsTest(unittest.TestCase):

    def test_each_can_be_made(self):
        self.assertEqual([], [p for p in map(runner.problem, table.MUTATIONS) if p])

    def test_names_and_tests(self):
        names = [one.name for one in table.MUTATIONS]
        self.assertEqual(len(names), len(set(names)))
        loader = unittest.TestLoader()
        for test in {one.test for one in table.MUTATIONS}:
            loader.loadTestsFromName(test)
        self.assertEqual([], loader.errors)

    def test_some_are_caught(self):
        """All of them: tools/mutations.py --all."""
        chosen = random.Random(SEED).sample(table.MUTATIONS, SAMPLE)
        for one in runner.run(chosen, lambda text: None):
            self.assertTrue(one['caught'], f'{one["name"]}: {one["seen"]} (VMHA_SEED={SEED})')

    def test_what_changes_nothing_is_not_caught(self):
        one = table.Mutation('none', 'decide', 'nothing', 'vmha_nova/lead.py', 'LOG = logging',
                             'LOG  = logging',
                             'tests.unit.test_survival.MutationsTest.test_names_and_tests')
        found, = runner.run([one], lambda text: None)
        self.assertEqual((False, 'the test passes'), (found['caught'], found['seen']))

    def test_an_error_is_no_catch(self):
        one = table.Mutation('none', 'decide', 'all', 'vmha_nova/decide.py', 'import heapq',
                             'import no_such_module',
                             'tests.unit.test_scenarios.ScenarioTest.test_host_dies')
        found, = runner.run([one], lambda text: None)
        self.assertFalse(found['caught'])
        self.assertIn('an error instead of a failure', found['seen'])

    def test_a_text_that_is_not_there_once(self):
        one = table.Mutation('none', 'decide', 'all', 'vmha_nova/decide.py', 'no such', '', '')
        self.assertIn('0 times', runner.problem(one))


class PageTest(unittest.TestCase):

    def test_the_document_has_the_tables_of_the_figures_beside_them(self):
        for name, text in survival.texts().items():
            self.assertEqual(text, (survival.FIGURES / name).read_text(encoding='utf-8'),
                             'python -m tests.survival makes it anew')

    def test_each_broken_version_was_tried_and_caught(self):
        found = runner.load(survival.FIGURES / 'mutations.json')
        self.assertEqual([(one.name, one.breaks, one.test) for one in table.MUTATIONS],
                         [(one['name'], one['breaks'], one['test']) for one in found])
        self.assertEqual([], [one['name'] for one in found if not one['caught']])

    def test_what_the_lab_has_shown_is_there_once_it_was_tried(self):
        with tempfile.TemporaryDirectory() as folder:
            figures = pathlib.Path(folder)
            self.assertEqual('', survival.lab(figures))
            (figures / 'calls.inc').write_text('')
            self.assertIn('.. include:: /_figures/calls.inc', survival.lab(figures))

    def test_figures(self):
        text = survival.exploration(dict(
            scenarios=3, seeds=2000, steps=88000, kills=5, cpu_s=120, commits={'abc': 2000},
            happened={'die': 7, 'cut': 9}, failed=[{'seed': 1}]))
        self.assertIn('* - seeds, each a cloud and what happens to it\n     - 2,000\n', text)
        self.assertIn('* - events that were let happen\n     - 16\n', text)
        self.assertIn('* - ``cut``\n     - A host loses its cable', text)
        self.assertLess(text.index('``cut``'), text.index('``die``'))
        self.assertIn('abc (2,000 seeds)', text)
