"""The scenarios of tests/scenarios, what they cover together, and exploration from seeds."""

import datetime
import json
import logging
import pathlib
import re
import tempfile
import unittest
from unittest import mock

from tests.scenarios import campaign
from tests.scenarios import events
from tests.scenarios import explore
from tests.scenarios import invariants
from tests.scenarios import makers
from tests.scenarios import memory
from tests.scenarios import simulator
from tests.scenarios import world as worlds
from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova.monitor import verdict
from vmha_nova import recovery
from vmha_nova import states

# Transitions that states.py allows, and that no code takes: each is safe, and none is needed.
UNUSED = {
    ('recovery', 'down_in_nova', 'recovered'), ('recovery', 'down_in_nova', 'partial'),
    ('move', 'sending', 'left'), ('move', 'accepted', 'waiting'), ('step', 'intended', 'undone')}

# The table of verdicts in the design: its rows, by the scenario that shows each, and the word of
# the monitor and of the engine that must be in its log.
ROWS = {
    'monitor-row-1-dead': ('compute-down -> probably-dead', 'recovered'),
    'monitor-row-2-dead': ('-> dead', 'recovered'),
    'monitor-row-3-probably-dead-power': ('alive -> probably-dead', 'done: the host is off'),
    'monitor-row-3-probably-dead-storage': ('probably-dead -> dead', 'recovered'),
    'monitor-row-4-compute-down': ('alive -> compute-down', 'compute-down -> alive'),
    'monitor-row-5-isolated': ('alive -> isolated', 'isolated -> alive'),
    'monitor-row-5-isolated-by-policy': ('alive -> isolated', 'recovered'),
    'monitor-row-6-storage-trouble': ('alive -> storage-trouble', 'storage-trouble -> alive'),
    'monitor-row-6-storage-cable': ('alive -> storage-trouble', 'storage-trouble -> alive'),
    'monitor-row-7-cut-off': ('monitor cut', 'monitor healed'),
    'monitor-row-7-storage-cut': ('monitor storage-cut', 'monitor healed')}
NOTHING_DONE = ('monitor-row-4-compute-down', 'monitor-row-5-isolated',
                'monitor-row-6-storage-trouble', 'monitor-row-6-storage-cable',
                'monitor-row-7-cut-off', 'monitor-row-7-storage-cut')

# Why a move is where it is, at its end or while it waits.
REASONS = (
    r'failed.*: refused by Nova: ', r'failed.*\(attempt 3 of 3\)',
    r'failed.*: \d+ calls without an answer', r'failed.*: Nova has not finished the evacuation',
    r'failed.*: Nova took the call and shows no record of it', r'failed.*: it is on .*, in ERROR',
    r'failed.*: Nova ended the evacuation as .* with the instance on',
    r'failed.*: it is on .*, but active where it was stopped', r'failed.*: Nova has it on no host',
    r'gone.*: deleted before its turn came', r'gone.*: deleted while it was being moved',
    r'gone.*: deleted: Nova does not know it any more', r'gone.*: it was on .* before its turn',
    r'gone.*: somebody else has moved it to', r'left.*: its owner asked for no protection',
    r'left.*: policy leaves project', r'left.*: it is being deleted',
    r'left.*: it was being moved',
    r'left.*: somebody evacuates or rebuilds it', r'left.*: Nova cannot carry paused',
    r'left.*: Nova cannot carry suspended', r'left.*: Nova cannot carry rescued',
    r'left.*: Nova cannot carry resized', r'left.*: it was in ERROR before',
    r'left.*: Nova cannot evacuate a member of a strict-affinity',
    r'left.*: its disk .* is not on',
    r'left.*: aborted by an operator', r'left.*: .* sends heartbeats: it is alive',
    r'unplaced.*: no target: .* lacks? VCPU', r'unplaced.*: no target: .* forced down',
    r'unplaced.*: no target: .* anti-affinity group', r'unplaced.*: no target: .* image backend',
    r'unplaced.*: .*No valid host', r'unplaced.*: .*has failed to take it before',
    r'unplaced.*disabled', r'unsure.*: outcome unknown', r'unsure.*task state',
    r'unsure.*: Nova evacuates it already', r'waiting.*: not sent, will be tried again',
    r'waiting.*: Nova shows no trace of the call')

LINE = re.compile(r' *[\d.]+  (report|recovery|move|step) [^:]*: (?:(\w+) -> )?(\w+)')


class ScenarioTest(unittest.TestCase):
    """A test for each folder."""

    maxDiff = None

    def play(self, name):
        scenario = simulator.load(name)
        self.assertTrue(scenario.readme.strip(), 'a README says what should happen')
        self.assertEqual(scenario.expected, simulator.run(scenario).story.text(),
                         f'tools/scenario.py {name} --update, if this is right')


class KilledTest(unittest.TestCase):
    """The engine is killed at each gate: before and after every write and every act."""

    def play(self, name, every, guests, seconds):
        scenario = simulator.load(name)
        gates = len(simulator.run(scenario).gates)
        self.assertLess(40, gates)
        for gate in range(0, gates, every):
            world = simulator.run(scenario, [gate])
            where = f'{name}, killed at gate {gate} of {gates}\n{world.story.text()}'
            self.assertEqual(1, world.restarts, where)
            self.assertEqual('recovered', world.newest('c1').state, where)
            self.assertEqual(guests, {
                s.id: (s.host, s.vm_state) for s in world.nova.servers_.values()}, where)
            self.assertLess(world.seconds(), seconds, where)

    def test_a_recovery(self):
        self.play('message-on-the-bus', 1, {'web': ('s1', 'active')}, 80)

    def test_a_fence_by_power_and_the_way_back(self):
        self.play('return-power-fence', 5, {
            'web': ('s1', 'active'), 'db': ('s1', 'active'), 'idle': ('s1', 'stopped')}, 130)


class CoverageTest(unittest.TestCase):
    """By the logs, which the tests above hold against what happens."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.logs = {p.parent.name: p.read_text()
                    for p in simulator.FOLDER.glob(f'*/{simulator.LOG}')}
        cls.text = '\n'.join(cls.logs.values())

    def test_every_transition(self):
        seen = {(kind, old or '', new) for kind, old, new in LINE.findall(self.text)}
        tables = {'report': states.FAILURE_NEXT, 'recovery': states.RECOVERY_NEXT,
                  'move': states.MOVE_NEXT,
                  'step': {'intended': set(states.STEP) - {'intended'}}}
        allowed = {(kind, old, new) for kind, table in tables.items()
                   for old, some in table.items() for new in some}
        missing = sorted(' '.join(one) for one in allowed - seen - UNUSED)
        self.assertEqual([], missing, 'transitions that no scenario shows')
        self.assertEqual(set(), UNUSED & seen, 'these are used after all')

    def test_every_state(self):
        seen = {(kind, new) for kind, _, new in LINE.findall(self.text)}
        self.assertEqual(
            {*(('report', s) for s in states.FAILURE), *(('recovery', s) for s in states.RECOVERY),
             *(('move', s) for s in states.MOVE), *(('step', s) for s in states.STEP)}
            - {('step', 'undone')}, seen)

    def test_every_reason_why_a_move_is_where_it_is(self):
        lines = [line for line in self.text.split('\n') if '  move ' in line]
        missing = [r for r in REASONS if not any(re.search(r, line) for line in lines)]
        self.assertEqual([], missing)

    def test_every_row_of_the_table_of_verdicts(self):
        for name, words in ROWS.items():
            for word in words:
                self.assertIn(word, self.logs[name], name)
        for name in NOTHING_DONE:
            self.assertNotIn('  recovery ', self.logs[name], name)

    def test_every_verdict_of_the_monitor(self):
        told = set(re.findall(r'monitor: \w+: \S* -> (\S+):', self.text))
        # What is told of no host, as nothing is said then, and what is no news.
        self.assertEqual(set(verdict.VERDICTS) - {verdict.CUT_OFF, verdict.UNCLEAR}, told)

    def test_there_are_enough(self):
        self.assertLessEqual(60, len(self.logs))
        self.assertEqual(set(simulator.all_names()), set(self.logs), 'without an expected log')


class SimulatorTest(unittest.TestCase):
    """What is wrong with a scenario is said."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def bad(self, what='die c1', when='1', topology='hosts: {c1: }\n'):
        path = self.folder / 'x'
        path.mkdir(exist_ok=True)
        for file, text in zip(simulator.FILES, ('x', topology, f'- {when}: {what}\n'),
                              strict=True):
            (path / file).write_text(text)
        try:
            simulator.run(simulator.load('x', self.folder))
        except worlds.BadScenario as e:
            return str(e)
        raise AssertionError('it was taken')

    def test_in_words(self):
        self.assertIn('there is no scenario', self._unknown())
        self.assertIn("'explode' is no event; there are: ", self.bad('explode c1'))
        self.assertIn('die HOST: A host loses its power', self.bad('die'))
        self.assertIn("'die c9'", self.bad('die c9'))
        self.assertIn('is no time', self.bad(when='soon'))
        self.assertIn('no host and no guest c9', self.bad(when='c9 is held'))
        self.assertIn('vcpu is not known', self.bad(topology='hosts: {c1: {vcpu: 1}}\n'))
        self.assertIn('policy or limits', self.bad(topology='hosts: {c1: }\npolicy: {x: 1}\n'))
        self.assertIn('fence is one of', self.bad(topology='hosts: {c1: }\nfence: wood\n'))
        self.assertIn('is no name of a guest', self.bad(
            topology='hosts: {c1: }\nguests: {c1: [off]}\n'))

    def _unknown(self):
        with self.assertRaises(worlds.BadScenario) as caught:
            simulator.load('nothing-like-this')
        return str(caught.exception)

    def test_what_never_comes_is_said(self):
        self.assertIn("'c1 is held' never came", self.bad(when='c1 is held'))

    def test_a_scenario_is_the_same_in_every_run(self):
        scenario = simulator.load('everything-at-once')
        texts = {simulator.run(scenario).story.text() for _ in range(2)}
        self.assertEqual({scenario.expected}, texts)

    def nova(self):
        world = worlds.World({'hosts': {'c1': None, 'c2': None}, 'guests': {'c1': ['web']},
                              'fence': 'power'})
        return world, world.nova

    def test_what_is_switched_off_runs_nothing_when_it_gets_power(self):
        world, nova = self.nova()
        world.power.off(world.power.of('c1'))
        events.Events(world).happen('switch-on c1 hangs=yes')
        self.assertEqual(set(), nova.writers('web'))

    def test_a_start_leaves_alone_who_is_evacuated_and_the_next_one_runs_it(self):
        world, nova = self.nova()
        nova.lose_power('c1')
        nova.begin('web', 'c2')
        while not nova.copies['web']:   # it runs, and has not landed
            nova.tick(0.5)
        nova.hosts['c2'].alive = False
        nova.switch_on('c1')
        nova.tick(9)
        self.assertEqual(({'c2'}, 'c1', 'completed'), (
            nova.copies['web'], nova.servers_['web'].host, nova.records[0].status))
        nova.restart_compute('c1')
        self.assertEqual({'c1', 'c2'}, nova.copies['web'])

    def test_every_event_has_words(self):
        for name in events.names():
            self.assertRegex(events.usage(name), ': [A-Z`].*[.…]')


class InvariantTest(unittest.TestCase):
    """What must never happen is seen when it does."""

    def setUp(self):
        super().setUp()
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def world(self, **topology):
        return worlds.World(dict({
            'hosts': {'c1': None, 'c2': None, 's1': {'spare': True}},
            'guests': {'c1': ['web']}}, **topology))

    def broken(self, number, world, seconds=60):
        with self.assertRaisesRegex(invariants.Broken, f'invariant {number} '):
            while world.seconds() < seconds:
                world.step()

    def test_a_fence_that_does_nothing(self):
        world = self.world()
        fence = world.engine.work.guard.fence.lasting
        fence.fence, fence.keep = lambda host, plan: plan, lambda host, evidence: None
        events.Events(world).happen('cut c1')
        events.Events(world).happen('report c1')
        self.broken(1, world)

    def test_two_copies_that_write(self):
        world = self.world()
        world.step()
        world.nova.put('web', host='c2')
        self.broken(1, world)

    def test_a_guest_that_nobody_has_named(self):
        world = self.world()
        world.engine.work._finish = lambda *arguments: recovery.Go('recovered', 'no last list')
        for text in ('cut c1', 'report c1'):
            events.Events(world).happen(text)
        while world.stands('web') != 'accepted':
            world.step()
        world.add_guest('c1', 'db')     # a last list would show it
        self.broken(2, world)

    def test_a_second_call(self):
        world = self.world()
        world.step()
        world.nova.twice.append('web')
        self.broken(8, world)

    def test_what_nobody_owns(self):
        world = self.world()
        world.step()
        world.nova.hosts['c2'].forced_down = True
        self.broken(9, world)

    def test_an_act_that_is_not_on_record(self):
        world = self.world()
        world.step()
        world.nova.enable('id-s1')
        self.broken(4, world)

    def test_what_others_have_disabled(self):
        world = self.world()
        world.step()
        world.nova.disabled('c2', 'mine')
        world.nova.enable('id-c2')
        self.broken('[46]', world)


class MemoryTest(unittest.TestCase):
    """The store of all scenarios keeps what the production store promises."""

    def test_what_fails_half_way_is_not_written(self):
        found = memory.memory()
        found.reset(lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
                    lambda *arguments: None)
        term = found.take_lead('e')
        recovery = found.open_recovery(term, found.report_failure('c1', 'test')[0], '')
        found.save_moves(term, recovery.id, new=[dict(instance_id='i', state='moved')])
        with self.assertRaises(exception.InvalidTransition):
            found.save_moves(term, recovery.id, new=[dict(instance_id='j', state='waiting')],
                             changed={1: dict(state='sending')})
        self.assertEqual(['i'], [m.instance_id for m in found.moves(recovery.id)])

    def test_what_was_begun_is_undone(self):
        found = memory.memory()
        found.reset(lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
                    lambda *arguments: None)
        with self.assertRaises(KeyError), found.leading(found.take_lead('e')) as session:
            session.add(models.HostMark(host='c1'))
            session.flush()
            raise KeyError
        self.assertEqual({}, found.marks())


class ExploreTest(unittest.TestCase):
    """Seeds; tools/scenario.py explore --seeds A-B tries others."""

    SEEDS, PART = 1000, 50

    def explore(self, first):
        for found in explore.explore_all(range(first, first + self.PART)):
            self.assertEqual('', found.problem, (
                f'tools/scenario.py explore --seeds {found.seed}-{found.seed} makes it small\n'
                f'{found.log}'))

    def test_a_seed_is_the_same_in_every_run(self):
        self.assertEqual(explore.explore(7).log, explore.explore(7).log)

    def test_a_failure_is_made_small_and_written_as_a_scenario(self):
        case = next(c for c in map(explore.make, range(1, 99)) if 'storage' == c.topology['fence'])
        case.happenings = [(3.0, 'rebuild 4'), (4.0, 'die c1'), (5.0, 'pause'),
                           (6.0, 'report c1 force=yes')]
        original, explore.attempt = explore.attempt, self._fails_when_paused
        self.addCleanup(setattr, explore, 'attempt', original)
        small = explore.shrink(explore.attempt(case))
        self.assertEqual([(5.0, 'pause')], small.happenings)
        self.assertEqual((), small.kills)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'found'
            explore.write(small, path)
            loaded = simulator.load('found', path.parent)
            self.assertIn('it is paused', loaded.readme)
            self.assertEqual([('5.0', ['pause'])], loaded.events)

    def test_who_is_evacuated_after_nova_compute_has_started_is_cleaned_up(self):
        # An operator insisted, and the cable was back right before the pause was over: the first
        # beat is none that counts, as somebody has enabled the host in the same moment.
        case = explore.make(1)
        case.topology = {'hosts': {'c1': None, 's1': {'spare': True}}, 'guests': {'c1': ['web']},
                         'nova': {'beat': 2.0}}
        case.happenings, case.kills, case.pauses, case.returns = [
            (4.0, 'pause'), (4.0, 'cut c1 management'), (4.0, 'report c1 force=yes'),
            (10.0, 'disable c1 mine')], (), {}, True
        self.assertEqual('', explore.attempt(case).problem, case.log)
        asked = case.log.index('restart nova-compute there')
        self.assertIn('* start-compute c1', case.log[asked:])

    def test_every_kind_of_event_is_drawn(self):
        drawn = {text.split()[0] for seed in range(1, 2000)
                 for _, text in explore.make(seed).happenings}
        self.assertEqual(set(events.names()) - set(makers.LEFT_OUT), drawn)

    @staticmethod
    def _fails_when_paused(case):
        if any(text == 'pause' for _, text in case.happenings):
            case.problem = 'it is paused at 5 s'
        case.happened = case.happenings
        return case


class CampaignTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_what_is_there_is_not_tried_again(self):
        said = []
        self.assertEqual(0, campaign.run(self.folder, 1, 3, say=said.append))
        self.assertEqual(2, len(said))
        self.assertRegex(said[1], r'^1-3: \d+ steps, .* 0 failed; .* 0 parts to go')
        found = campaign.summary(self.folder)
        self.assertEqual(3, found['seeds'])
        self.assertLess(30, found['steps'])
        self.assertLess(3, sum(found['happened'].values()))
        self.assertEqual([3], list(found['commits'].values()))
        self.assertEqual(0, campaign.run(self.folder, 1, 3, say=said.append))
        self.assertEqual(['1 of 1 parts are there'], said[2:])

    def test_the_summary_of_another_one_counts(self):
        part = {'failed': [], 'cpu_s': 1.0, 'steps': 10, 'kills': 2, 'happened': {'die': 1}}
        one, other = self.folder / 'one', self.folder / 'other'
        for folder, first, last, commit in ((one, 1, 500, 'a'), (one, 501, 600, 'b'),
                                            (other, 1001, 1500, 'b')):
            folder.mkdir(exist_ok=True)
            (folder / f'{first}-{last}.json').write_text(json.dumps(
                {**part, 'first': first, 'last': last, 'commits': {commit: last - first + 1}}))
        (other / '1-600.json').write_text(json.dumps(campaign.summary(one)))
        found = campaign.summary(other)
        self.assertEqual((1, 1500, 1100, 30), tuple(
            found[key] for key in ('first', 'last', 'seeds', 'steps')))
        self.assertEqual(({'a': 500, 'b': 600}, {'die': 3}), (found['commits'], found['happened']))

    def test_a_failure_is_kept_and_stops_nothing(self):
        def attempt(case):
            case.steps, case.happened, case.injected = 5, case.happenings[:2], 1
            case.problem = 'it breaks at 3 s' if case.seed == 2 else ''
            return case
        with mock.patch.object(explore, 'attempt', attempt):
            campaign.try_part(self.folder, 1, 3)
        found = campaign.summary(self.folder)
        self.assertEqual((15, 3), (found['steps'], sum(found['happened'].values())))
        self.assertEqual([dict(seed=2, problem='it breaks at 3 s')], found['failed'])
        self.assertTrue((self.folder / 'seed-2' / 'events.yaml').exists())
        self.assertEqual(1, campaign.run(self.folder, 1, 3, say=lambda text: None))


def _test(method, *arguments):
    def test(self):
        getattr(self, method)(*arguments)
    return test


for _name in simulator.all_names():
    setattr(ScenarioTest, 'test_' + _name.replace('-', '_'), _test('play', _name))
for _first in range(1, ExploreTest.SEEDS, ExploreTest.PART):
    setattr(ExploreTest, f'test_seeds_from_{_first}', _test('explore', _first))
