"""The contract of tests/contract against the simulated Nova, and the rules that it is made of.

tests/functional/test_contract.py holds the same tests against the real Nova of the lab.
"""

import ast
import contextlib
import dataclasses
import inspect
import itertools
import pathlib
import types
import unittest

from tests.contract import cases
from tests.contract import stage
from tests.scenarios import cloud
from tests.unit import clock as clocks
from tests.unit import nova_broken
from tests.unit import nova_rules
from tests.unit import sim_nova
from vmha_nova import model
from vmha_nova import nova

TICK = 0.5                              # seconds
# What the adapter offers, and the simulator, and is not Nova's; or the simulator need not have.
OTHERS = {'attachments', 'max_microversion', 'reset_to_active'}


class SimStage(stage.Stage):
    """A simulated cloud.

    :param simulator: sim_nova.SimNova, or a class with its methods
    """

    def __init__(self, simulator):
        self.nova = simulator(clocks.Clock(sim_nova.START), stage.HOSTS)
        self._numbers = itertools.count(1)

    def now(self):
        return self.nova.clock()

    def pause(self, seconds):
        while seconds > 0:
            self.nova.tick(min(TICK, seconds))
            seconds -= TICK

    def boot(self, host, count=1, stopped=0, group=None):
        made = [f's{next(self._numbers)}' for _ in range(count)]
        for number, name in enumerate(made):
            self.nova.add(name, host, needs=stage.FLAVOR, **(dict(
                vm_state='stopped', power_state=4) if number < stopped else {}))
        if group:
            old = self.nova.groups_[group]
            self.nova.groups_[group] = dataclasses.replace(old, members=old.members | {*made})
        return made

    def delete(self, ident):
        self.nova.delete(ident)

    def put(self, ident, vm_state):
        self.nova._set(ident, vm_state=vm_state)

    def kill(self, host):
        self.nova.hosts[host].alive = False

    def start(self, host):
        if not self.nova.hosts[host].alive:
            self.nova.restart_compute(host)
            self.nova.hosts[host].alive = True
            self.pause(self.nova.beat)

    @contextlib.contextmanager
    def full(self, host):
        one = self.nova.hosts[host]
        memory, one.memory = one.memory, self.nova.used(host)['MEMORY_MB']
        yield
        one.memory = memory

    @contextlib.contextmanager
    def lost_cell(self):
        self.nova.down.update(stage.HOSTS)
        yield
        self.nova.down.clear()

    def group(self, policy):
        ident = f'g{next(self._numbers)}'
        self.nova.groups_[ident] = model.ServerGroup(ident, policy, frozenset())
        return ident

    def aggregate(self, name, host, metadata):
        self.nova.aggregates_[host] = (model.Aggregate(name, metadata),)

    def trait(self, host, name):
        self.nova.traits[host] = {name}

    def close(self):
        pass


def against(scene, simulator):
    """A test class of a scene on a simulator."""
    return type(f'{scene.__name__}{simulator.__name__}Test', (scene, unittest.TestCase), {
        'make_stage': staticmethod(lambda: SimStage(simulator)), '__module__': __name__})


for _scene in cases.SCENES:
    for _simulator in (sim_nova.SimNova, cloud.Nova):
        _case = against(_scene, _simulator)
        globals()[_case.__name__] = _case
del _case


class RulesTest(unittest.TestCase):
    """There is one source of the rules, and nothing is without one, or without a test."""

    def test_every_rule_has_a_test_and_every_test_a_rule(self):
        tests = [name for scene in cases.SCENES for name in cases.tests_of(scene)]
        self.assertEqual(sorted(nova_rules.RULES), sorted(tests))

    def test_every_rule_is_kept_by_a_method_of_the_simulator(self):
        kept = nova_rules.kept_by(sim_nova.SimNova)
        self.assertEqual(set(nova_rules.RULES), {n for names in kept.values() for n in names})

    def test_a_rule_that_is_not_known_cannot_be_kept(self):
        with self.assertRaises(KeyError):
            nova_rules.obeys('water_flows_uphill')

    def test_everything_that_the_adapter_offers_is_simulated_by_rules(self):
        offered = {name for name, _ in inspect.getmembers(nova.Nova) if name[0] != '_'}
        kept = nova_rules.kept_by(sim_nova.SimNova)
        ruled = {name for name in offered if name in kept}
        # stop and start, …: what a rule is about may be in a method that they call.
        self.assertEqual(OTHERS, offered - ruled)

    def test_what_refuses_says_by_which_rule(self):
        tree = ast.parse(pathlib.Path(sim_nova.__file__).read_text())
        simulator = next(n for n in tree.body if isinstance(n, ast.ClassDef)
                         and n.name == 'SimNova')
        refusing = {method.name for method in simulator.body
                    if isinstance(method, ast.FunctionDef) and any(
                        isinstance(n, ast.Raise) for n in ast.walk(method))}
        # These raise what tests have put there, or what a caller asks for.
        self.assertEqual({'_fault', '_cell'}, refusing - set(nova_rules.kept_by(
            sim_nova.SimNova)))

    def test_the_scenarios_nova_changes_no_rule(self):
        """It notes what is true, reads nothing when Nova is away, and leaves the rest to it."""
        own = {name for name in vars(cloud.Nova) if name in nova_rules.kept_by(sim_nova.SimNova)}
        for name in own:
            self.assertIn(f'super().{name}(', inspect.getsource(getattr(cloud.Nova, name)))


class BrokenTest(unittest.TestCase):
    """Each rule is broken in the simulator, once: its test has to fail."""

    SOURCE = pathlib.Path(sim_nova.__file__).read_text()

    def play(self, rule):
        old, new = nova_broken.CHANGES[rule]
        self.assertEqual(1, self.SOURCE.count(old), f'{old!r} is not there, or more than once')
        module = types.ModuleType('broken')
        exec(compile(self.SOURCE.replace(old, new), 'broken', 'exec'), module.__dict__)
        scene = next(s for s in cases.SCENES if rule in cases.tests_of(s))
        result = unittest.TestResult()
        unittest.TestSuite([against(scene, module.SimNova)(f'test_{rule}')]).run(result)
        self.assertEqual([], result.errors)
        self.assertEqual(1, len(result.failures), f'{rule} can be broken unnoticed: {old!r}')

    def test_there_is_one_for_each(self):
        self.assertEqual(set(nova_rules.RULES), set(nova_broken.CHANGES))


def _test(rule):
    def test(self):
        self.play(rule)
    return test


for _rule in nova_broken.CHANGES:
    setattr(BrokenTest, f'test_{_rule}', _test(_rule))
