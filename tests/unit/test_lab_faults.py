"""What the lab makes of faults in a recovery, as far as it goes without one."""

import datetime
import json
import pathlib
import tempfile
import types
import unittest

from tests.lab import cases
from tests.lab import failures
from tests.lab import fault_proxy
from tests.lab import fault_tables
from tests.lab import faults
from tests.lab import survival
from tests.lab import watch
from vmha_nova import marks
from vmha_nova import model

FIGURES = pathlib.Path(__file__).resolve().parents[2] / 'doc' / 'source' / '_figures'
NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
BEFORE = {'a': 'ACTIVE', 'b': 'SHUTOFF'}
CASE = {'fault': 'rabbitmq', 'moment': 'one has moved + 0.50 s', 'where': 'moving, 1 of 4 moved',
        'servers': 4, 'recovered': 3, 'named': ['it is full'], 'lost': 0, 'doubled': 0, 'terms': 0,
        'seen': [], 'seconds': 15.0, 'seconds_without_fault': 10.5, 'problems': []}
CALL = {'call': 'evacuate', 'fault': '502', 'times': 'once', 'struck': 1, 'answer': 'looked for',
        'seen': ['outcome unknown'], 'seconds': 35.2}


def changes(*found):
    return [watch.Change(NOW, kind, 'x', state, text) for kind, state, text in found]


class MomentTest(unittest.TestCase):
    def test_ten_moments_are_at_ten_marks_and_can_be_met_again(self):
        for name in faults.FAULTS:
            found = [faults.moment(name, number, '1') for number in range(10)]
            self.assertEqual(10, len({one.mark for one in found}))
            self.assertEqual(found, [faults.moment(name, number, '1') for number in range(10)])
            self.assertNotEqual(found, [faults.moment(name, n, '2') for n in range(10)])
            self.assertLess(max(one.delay for one in found), faults.DELAY)

    def test_a_mark_that_has_passed_is_passed(self):
        step = types.SimpleNamespace
        move = types.SimpleNamespace(intent_at=NOW, accepted_at=NOW, ended_at=NOW)
        end = faults.Progress(object(), object(), tuple(
            step(kind=kind) for kind in ('fence', 'force_down', 'disable', 'enable_spare')),
            (move,) * 4)
        self.assertTrue(all(passed(end) for passed in faults.MARKS.values()))
        self.assertEqual(['the report is sent'], [
            mark for mark, passed in faults.MARKS.items() if passed(faults.Progress())])


class TwiceTest(unittest.TestCase):
    def test_what_counts_as_twice(self):
        for statuses, attempts, wanted in (
                ([], 0, False), (['done'], 1, False), (['done'], 0, False),
                (['failed', 'done'], 2, False), (['done', 'completed'], 2, True),
                (['accepted', 'done'], 2, True), (['error', 'done'], 1, True)):
            self.assertEqual(wanted, survival.twice(statuses, attempts), statuses)


class VerifyTest(unittest.TestCase):
    """A cloud after a recovery of two servers, in which all is as it must be, and then is not."""

    def setUp(self):
        super().setUp()
        self.servers = {name: {
            'id': name, 'status': status, 'OS-EXT-STS:task_state': None,
            'OS-EXT-SRV-ATTR:host': 'compute4'} for name, status in BEFORE.items()}
        self.records = [{'instance_uuid': name, 'status': 'done'} for name in BEFORE]
        self.moves = {name: types.SimpleNamespace(
            instance_id=name, state='moved', reason='', target='compute4', attempts=1)
            for name in BEFORE}
        self.services = {host: {'host': host, 'forced_down': False, 'status': 'enabled',
                                'disabled_reason': None} for host in ('compute1', 'compute4')}
        self.services['compute1'].update(
            forced_down=True, status='disabled', disabled_reason='vmha: recovery r1')
        self.services['compute4'].update(status='disabled', disabled_reason=marks.SPARE_REASON)
        self.steps = [types.SimpleNamespace(kind='force_down', state='intended')]
        self.marks = {'compute4': model.HostMark('compute4', spare=True, parked=True)}

    def verified(self):
        """What a Case says of it: its counts, and the problems."""
        store = types.SimpleNamespace(
            moves=lambda _id: list(self.moves.values()), marks=lambda: self.marks,
            steps=lambda kind, subject: self.steps if subject == 'compute1' else [])
        cloud = types.SimpleNamespace(
            servers=lambda: list(self.servers.values()), services=lambda _binary: [
                *self.services.values()], migrations=lambda *_, **__: self.records)
        case = survival.Case(types.SimpleNamespace(
            cloud=cloud, store=store, lab=types.SimpleNamespace(hosts=list(self.services))),
            None, None)
        found = case._verify(BEFORE, types.SimpleNamespace(id='r1'))
        case._verify_owned(types.SimpleNamespace(id='r1'))
        return found, case.problems

    def test_all_is_well(self):
        found, problems = self.verified()
        self.assertEqual([], problems)
        self.assertEqual((2, [], 0, 0), (found['recovered'], found['named'], found['lost'],
                                         found['doubled']))

    def test_a_server_that_is_named_is_not_lost(self):
        self.moves['a'].state, self.moves['a'].reason = 'failed', 'it is full'
        found, problems = self.verified()
        self.assertEqual(([], ['it is full'], 1),
                         (problems, found['named'], found['recovered']))

    def test_each_thing_that_must_not_be(self):
        def no_reason():
            self.moves['a'].state = 'failed'
        for wrong, words in (
                (lambda: self.servers.pop('a'), 'Nova does not list it'),
                (lambda: self.servers['a'].update(status='SHUTOFF'), 'lost: a, was ACTIVE'),
                (lambda: self.servers['a'].update({'OS-EXT-SRV-ATTR:host': 'compute1'}), 'lost'),
                (lambda: self.servers['a'].update({'OS-EXT-STS:task_state': 'x'}), 'lost'),
                (lambda: self.moves.pop('a'), 'lost'), (no_reason, 'lost'),
                (lambda: self.records.append(self.records[0]), 'evacuated twice: a'),
                (lambda: self.steps.clear(), 'compute1 is forced down, and nobody owns that'),
                (lambda: self.marks.clear(), 'compute4 is disabled'),
                (lambda: self.services['compute1'].update(disabled_reason='mine'),
                 'compute1 is disabled (mine), and nobody owns that')):
            with self.subTest(words):
                self.setUp()
                wrong()
                self.assertIn(words, '; '.join(self.verified()[1]))


class WordsTest(unittest.TestCase):
    def test_only_what_is_no_part_of_a_recovery_without_a_fault(self):
        self.assertEqual([], cases.troubles(changes(
            ('move', 'waiting', 'for c4: chosen'), ('move', 'moved', 'active on c4'),
            ('recovery', 'moving', '4 instances'), ('step', 'done', 'force_down'),
            ('journal', 'info', 'pace'), ('journal', 'warning', 'no spare is free'),
            ('journal', 'warning', 'c1 stays out: it is off'))))

    def test_each_once_and_without_ids(self):
        ident = '6d1f4c3e-0a53-4c8e-9d0b-5f8f2f7b7e01'
        self.assertEqual(['held: Nova is away', 'lost …'], cases.troubles(changes(
            ('recovery', 'held', 'Nova is away'), ('move', 'unsure', f'lost {ident}'),
            ('move', 'unsure', f'lost {ident}'))))

    def test_what_was_logged_without_what_differs_from_run_to_run(self):
        self.assertEqual(
            ["nothing is done while database: Can't connect to …",
             'AMQP server on … is unreachable'], cases.troubles([], """
2026-03-01 12:00:01.500 7 INFO vmha_nova.engine [-] vm:7 leads with term 2
2026-03-01 12:00:01.600 7 WARNING vmha_nova.engine [-] c1 is taken for dead: no heartbeat
2026-03-01 12:00:02.000 7 ERROR vmha_nova.engine [-] nothing is done while database: \
Can't connect to '127.0.0.1': vmha_nova.exception.StoreUnavailable: database
2026-03-01 12:00:02.1 7 ERROR oslo.messaging [-] [4] AMQP server on 127.0.0.1:2108 is unreachable\
. Trying again in 2 seconds
2026-03-01 12:00:04.1 7 ERROR oslo.messaging [-] [5] AMQP server on 127.0.0.1:2108 is unreachable\
. Trying again in 4 seconds
"""))

    def test_the_strongest_answer_counts(self):
        said = [('step', 'failed', 'x'), ('move', 'unsure', 'x'),
                ('move', 'unplaced', 'another node is looked for'), ('move', 'failed', 'x')]
        self.assertEqual(['retried', 'looked for', 'decided again', 'named'],
                         [cases.answer(changes(*said[:n + 1])) for n in range(4)])
        self.assertEqual('looked for', cases.answer([], 'evacuate vm-1: outcome unknown (504)'))


class CasesTest(unittest.TestCase):
    def test_what_is_done_is_not_done_again(self):
        with tempfile.TemporaryDirectory() as folder:
            kept = cases.Cases(pathlib.Path(folder) / 'new')
            self.assertFalse(kept.done('evacuate', '502, done', 1))
            kept.keep(CALL, 'evacuate', '502, done', 1)
            kept.keep(CASE, 'evacuate', '502', 1)
            self.assertTrue(kept.done('evacuate', '502, done', 1))
            self.assertEqual([CASE, CALL], sorted(kept.all(), key=len, reverse=True))

    def test_nobody_asked_for_a_folder(self):
        kept = cases.Cases()
        kept.keep(CASE, 'x')
        self.assertFalse(kept.done('x'))


class TablesTest(unittest.TestCase):
    def shown(self, *found):
        with tempfile.TemporaryDirectory() as folder:
            for number, case in enumerate(found):
                cases.Cases(folder).keep(case, number)
            path = pathlib.Path(folder, 'gathered')
            path.write_text(failures.gathered(folder), encoding='utf-8')
            self.assertEqual(list(found), json.loads(path.read_text(encoding='utf-8')))
            self.assertEqual(failures.text(folder), failures.text(path))
            return failures.text(folder)

    def test_faults_of_a_call_with_the_same_answer_are_one_row(self):
        other = {**CALL, 'fault': '504', 'seconds': 12.0}
        self.assertEqual(
            [('evacuate', 'once', '502; 504', 'looked for', 'outcome unknown', '12 to 35')],
            fault_tables.calls([other, CALL])[1])
        self.assertIn('   * - evacuate\n     - once\n     - 502\n', self.shown(CALL))

    def test_a_fault_that_has_met_no_call_says_so(self):
        row, = fault_tables.calls([{**CALL, 'struck': 0}])[1]
        self.assertEqual('did not come in this recovery', row[3])

    def test_moments_of_a_fault(self):
        lost = {**CASE, 'lost': 1, 'recovered': 2, 'seconds': None}
        what = faults.FAULTS['rabbitmq'].what
        self.assertEqual([(what, 2, 5, 2, 1, 0, '4.5 s', '4.5 s')],
                         fault_tables.summary([CASE, lost])[1])
        self.assertEqual(
            (what, 'one has moved + 0.50 s: moving, 1 of 4 moved',
             '3 of 4 recovered; named: it is full', 0, 0, '15.0 s; 10.5 s'),
            fault_tables.moments([CASE])[1][0])
        self.assertEqual(2, self.shown(CASE).count('list-table'))

    def test_the_documents_have_the_tables_of_the_figures_beside_them(self):
        for name in ('faults', 'calls'):
            self.assertEqual(failures.text(FIGURES / f'{name}.json'),
                             (FIGURES / f'{name}.inc').read_text(encoding='utf-8'))


class ProxyTest(unittest.TestCase):
    def test_whichever_call_comes(self):
        proxy = fault_proxy.FaultProxy('http://127.0.0.1:1')
        self.addCleanup(proxy.close)
        proxy.fail(None, 'expired token')
        self.assertIsNone(proxy.fault('GET', '/', b''))
        self.assertEqual('expired token', proxy.fault('GET', '/v2.1/os-services', b''))
        self.assertIsNone(proxy.fault('GET', '/v2.1/os-services', b''))
        self.assertEqual([('list services', 'expired token')], proxy.struck)
