"""Every scenario of tests/scenarios: its log is as expected, and the invariants hold all the way."""

import unittest

from tests.scenarios import simulator


class ScenarioTest(unittest.TestCase):
    """A test for each folder."""

    maxDiff = None

    def play(self, name):
        scenario = simulator.load(name)
        self.assertTrue(scenario.readme.strip(), 'a README says what should happen')
        self.assertEqual(scenario.expected, simulator.run(scenario).story.text(),
                         f'tools/scenario.py {name} --update, if this is right')


def _test(name):
    def test(self):
        self.play(name)
    test.__doc__ = name
    return test


for _name in simulator.all_names():
    setattr(ScenarioTest, 'test_' + _name.replace('-', '_'), _test(_name))
