"""The quickstart, as far as it goes without a cloud."""

import contextlib
import datetime
import io
import json
import os
import pathlib
import subprocess
import tempfile
import types
import unittest
from unittest import mock

from tests.lab.common import LabError
from tests.lab import lab as labs
from tests.lab import ports
from tests.lab import quickstart
from tests.lab import show
from tests.lab import state
from tests.lab import vmha
from tests.lab import watch
from vmha_nova.db.store import Store
from vmha_nova import service

SCRIPT = vmha.ROOT / 'tools' / 'quickstart.sh'
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def server(ident='u1', host='compute1', status='ACTIVE', task=None):
    return {'id': ident, 'name': f'vm-{ident[1:]}', 'status': status,
            'OS-EXT-SRV-ATTR:host': host, 'OS-EXT-STS:task_state': task}


def record(ident='u1', dest='compute4', status='done'):
    return {'instance_uuid': ident, 'dest_compute': dest, 'status': status}


class FolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class ScriptTest(FolderTest):
    def help(self, *words):
        # With so little in the environment, anything but a text would fail.
        return subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=30,
                              env={'PATH': '/usr/bin:/bin', 'HOME': str(self.folder)},
                              check=True).stdout

    def test_help_installs_nothing(self):
        self.assertIn('usage:', self.help('--plain', '--help'))
        self.assertEqual([], list(self.folder.iterdir()))

    def test_help_names_every_option(self):
        text = self.help('-h')
        actions = quickstart._parser()._actions
        self.assertGreater(len(actions), 8)
        for action in actions:
            option = action.option_strings[-1]
            self.assertIn(f'\n  {option}' if option != '--help' else option, text)
            if action.type is int:
                self.assertRegex(text, rf'\n  {option} +[NS] .*\({action.default}\)')


class OptionsTest(FolderTest):
    def refuse(self, *words):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as caught:
            quickstart.main(words)
        self.assertEqual(2, caught.exception.code)
        return errors.getvalue()

    def test_what_cannot_be(self):
        self.assertIn('--hosts', self.refuse('--hosts', '1', '--spares', '0'))
        self.assertIn('--spares', self.refuse('--hosts', '3', '--spares', '3'))
        self.assertIn('--stopped', self.refuse('--servers', '2', '--stopped', '3'))
        self.assertIn('--database', self.refuse('--database', 'oracle'))

    def test_with_ceph_there_are_four_guests_on_four_hosts(self):
        self.assertIn('four guests', self.refuse('--storage', 'ceph', '--servers', '5'))
        self.assertIn('--hosts', self.refuse('--storage', 'ceph', '--hosts', '3'))
        self.assertEqual(3, quickstart._options(['--storage', 'ceph']).servers)

    def test_a_report_that_cannot_be_written_is_said_at_once(self):
        self.assertIn('--report', self.refuse('--report', str(self.folder / 'no' / 'r.json')))

    def test_the_last_hosts_are_the_spares(self):
        options = quickstart._options(['--hosts', '5', '--spares', '2'])
        self.assertEqual(['compute4', 'compute5'],
                         quickstart.Quickstart(options, io.StringIO()).spares)


class CleanupTest(FolderTest):
    """What is left of a run that did not get far."""

    def setUp(self):
        super().setUp()
        self.output = io.StringIO()
        self.lab = self.folder / 'lab'
        self.lab.mkdir()
        (self.lab / state.SIGN).touch()

    def run_with(self, error):
        options = quickstart._options(['--dir', str(self.lab)])
        with mock.patch.object(labs.Lab, 'up', side_effect=error), \
                self.assertRaises(type(error)):
            quickstart.Quickstart(options, self.output).run()

    def test_a_cloud_that_does_not_come_up_leaves_its_logs(self):
        self.run_with(LabError('keystone has ended'))
        self.assertTrue(self.lab.exists())

    def test_interrupted_it_leaves_nothing(self):
        self.run_with(KeyboardInterrupt())
        self.assertFalse(self.lab.exists())

    def test_a_lab_of_somebody_else_stays(self):
        (self.lab / 'lab.json').write_text('{}')
        self.run_with(KeyboardInterrupt())
        self.assertTrue(self.lab.exists())


class ConclusionTest(FolderTest):
    """What makes a run good, and what the report says."""

    def conclude(self, findings, problem='', servers=2):
        path = self.folder / 'report.json'
        options = quickstart._options(['--servers', str(servers), '--report', str(path)])
        run = quickstart.Quickstart(options, io.StringIO())
        run.lab = types.SimpleNamespace(log=self.folder)
        rows = types.SimpleNamespace(named={}, recovery=None, moves=[
            types.SimpleNamespace(accepted_at=START + datetime.timedelta(seconds=s))
            for s in (4, 3)] + [types.SimpleNamespace(accepted_at=None)])
        witness = types.SimpleNamespace(findings=lambda named: findings)
        good = run.conclude(rows, problem, witness, START)
        self.assertEqual(not good, 'FAILED' in run.stream.getvalue())
        return good, json.loads(path.read_text())

    def finding(self, number, seconds=5.0, records=1, problems=()):
        return watch.Finding(f'u{number}', f'vm-{number}', 'ACTIVE', 'compute4', 'compute4',
                             'ACTIVE', records, seconds, problems)

    def test_all_are_well(self):
        good, report = self.conclude([self.finding(1), self.finding(2, 7.0)])
        self.assertTrue(good)
        self.assertEqual((2, 2, 0, 0, 3.0, 7.0), tuple(report[key] for key in (
            'servers', 'recovered', 'failed', 'twice', 'first_evacuate_accepted_s',
            'all_active_s')))
        self.assertEqual(['compute4'], report['spare_hosts'])
        self.assertEqual(['vm-1', 'vm-2'], [move['name'] for move in report['moves']])

    def test_one_is_not(self):
        good, report = self.conclude(
            [self.finding(1), self.finding(2, None, 2, ('2 evacuation records',))])
        self.assertFalse(good)
        self.assertEqual((1, 1, 1, None), tuple(report[key] for key in (
            'recovered', 'failed', 'twice', 'all_active_s')))

    def test_one_was_not_there_to_begin_with(self):
        self.assertFalse(self.conclude([self.finding(1)])[0])

    def test_it_was_not_over(self):
        good, report = self.conclude([self.finding(1), self.finding(2)], 'too slow')
        self.assertEqual((False, 'too slow'), (good, report['problem']))


class ConfigurationTest(FolderTest):
    def setUp(self):
        super().setUp()
        lab_state = state.State(
            folder=self.folder, venv=self.folder, bind='127.0.0.1', hosts=['compute1'],
            settings={}, ports=dict.fromkeys(ports.NAMES, 21000))
        self.vmha = vmha.Vmha(labs.Lab(lab_state))

    def test_the_service_takes_it(self):
        lab_state = self.vmha.lab.state
        lab_state.data.mkdir()
        self.vmha.configure({'recovery.window': 4, 'DEFAULT.debug': 'true'})
        conf = self.vmha.conf()
        policy = service.make_policy(conf)
        self.assertEqual((4, 5.0, 30.0), (policy.window, policy.heartbeat_silence, policy.quiet))
        self.assertTrue(conf.debug)
        service.make_nova(conf)
        self.vmha.store().upgrade()
        self.assertEqual({}, self.vmha.store().marks())

    def test_the_other_database(self):
        self.vmha.configure(database='mariadb')
        self.assertEqual(self.vmha.lab.urls['vmha_database_url'],
                         self.vmha.conf().database.connection)

    def test_an_engine_that_was_never_started(self):
        self.vmha.lab.state.save()
        self.assertRaises(LabError, self.vmha.stop_engine)


class RowsTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.now = START
        self.store = Store(lambda: self.now, connection=f'sqlite:///{self.folder / "db"}')
        self.store.upgrade()
        self.term = self.store.take_lead('test')
        self.rows = watch.Rows(self.store, 'compute1', START)

    def pass_(self, seconds):
        self.now += datetime.timedelta(seconds=seconds)

    def look(self):
        return [(show.seconds(c.at, START), c.kind, c.subject, c.state, c.text)
                for c in self.rows.look()]

    def move(self, number, **values):
        return dict({'instance_id': f'u{number}', 'name': f'vm-{number}', 'project_id': 'p',
                     'was': 'active', 'priority': 50, 'position': number, 'tried': [], 'known': [],
                     'state': 'waiting', 'target': 'compute4', 'reason': 'spare'}, **values)

    def test_a_recovery(self):
        report, _new = self.store.report_failure('compute1', 'test', 'no answer')
        self.assertEqual([(0, 'report', 'compute1', 'new', 'no answer')], self.look())
        self.pass_(2)
        recovery = self.store.open_recovery(self.term, report, 'silent (for 2 s)')
        self.store.save_moves(self.term, recovery.id, new=[self.move(1), self.move(2)])
        found = self.look()
        self.assertEqual([(2, 'report', 'compute1', 'accepted', 'silent'),
                          (2, 'recovery', 'compute1', 'confirmed', 'silent (for 2 s)')], found[:2])
        self.assertEqual(['for compute4: spare'] * 2, [text for *_, text in found[2:]])
        self.assertEqual([], self.look())
        self.pass_(1)
        first = self.store.moves(recovery.id)[0]
        self.store.save_moves(self.term, recovery.id, changed={first.id: dict(
            state='sending', reason='asking', intent_at=self.now, target='compute3')})
        self.assertEqual([(3, 'move', 'vm-1', 'sending', 'asking')], self.look())
        self.assertEqual({'u1': 'compute3', 'u2': 'compute4'}, self.rows.named)
        self.assertEqual('1 waiting, 1 sending', self.rows.tally())
        self.assertFalse(self.rows.over)

    def test_seconds_that_are_counted_are_no_change(self):
        report, _new = self.store.report_failure('compute1', 'test', 'no answer')
        self.store.set_failure(self.term, report.id, 'checking', 'waiting (1 of 5 s)')
        self.assertEqual(1, len(self.look()))
        self.store.set_failure(self.term, report.id, 'checking', 'waiting (2 of 5 s)')
        self.assertEqual([], self.look())

    def test_a_report_that_is_dismissed_ends_it(self):
        report, _new = self.store.report_failure('compute1', 'test', 'no answer')
        self.store.set_failure(self.term, report.id, 'dismissed', 'it is alive')
        self.look()
        self.assertTrue(self.rows.over)
        self.assertEqual('report dismissed, it is alive', show.where(self.rows))

    def test_where_a_move_landed_is_not_where_it_was_to_go(self):
        report, _new = self.store.report_failure('compute1', 'test', 'no answer')
        recovery = self.store.open_recovery(self.term, report, 'silent')
        self.store.save_moves(self.term, recovery.id, new=[self.move(
            1, state='accepted', accepted_at=self.now)])
        self.look()
        move = self.store.moves(recovery.id)[0]
        self.store.save_moves(self.term, recovery.id, changed={move.id: dict(
            state='moved', target='compute2', ended_at=self.now)})
        self.look()
        self.assertEqual({'u1': 'compute4'}, self.rows.named)


class WitnessTest(unittest.TestCase):
    def examine(self, after, records, before=None, named='compute4'):
        return watch.examine(before or server(), after, records, 'compute1', named, 1.0).problems

    def test_good(self):
        for status in ('done', 'completed'):
            self.assertEqual((), self.examine(server(host='compute4'), [record(status=status)]))
        self.assertEqual((), self.examine(
            server(host='compute4', status='SHUTOFF'), [record()], server(status='SHUTOFF')))

    def test_bad(self):
        there = server(host='compute4')
        for after, records, problem in (
                (server(), [], 'still on compute1'),
                (server(host='compute2'), [record(dest='compute2')],
                 'on compute2, and compute4 was named'),
                (None, [record()], 'not listed, and was ACTIVE'),
                (server(host='compute4', status='SHUTOFF'), [record()], 'SHUTOFF, and was ACTIVE'),
                (server(host='compute4', task='rebuilding'), [record()], 'still rebuilding'),
                (there, [], '0 evacuation records'),
                (there, [record(), record()], '2 evacuation records'),
                (there, [record(status='failed')], 'its evacuation record is "failed"'),
                (there, [record(dest='compute2')], 'its evacuation record names compute2')):
            self.assertIn(problem, self.examine(after, records))

    def test_a_target_that_nobody_named(self):
        self.assertIn('on compute4, and no host was named',
                      self.examine(server(host='compute4'), [record()], named=''))

    def test_who_is_home(self):
        answers = [[server('u1'), server('u2', status='SHUTOFF')]]
        cloud = types.SimpleNamespace(servers=lambda host=None: answers[-1],
                                      migrations=lambda *_, **__: [record('u1'), record('u2')])
        clock = [0.0]
        witness = watch.Witness(cloud, 'compute1', lambda: clock[0])
        for seconds, first, second in (
                (1, server('u1', 'compute4', task='rebuilding'), server('u2', status='SHUTOFF')),
                (2, server('u1', 'compute4'), server('u2', 'compute4')),
                (3, server('u1', 'compute4'), server('u2', 'compute4', 'SHUTOFF'))):
            self.assertFalse(witness.all_home)
            answers.append([first, second])
            clock[0] = seconds
            witness.look()
        self.assertTrue(witness.all_home)
        found = witness.findings({'u1': 'compute4', 'u2': 'compute4'})
        self.assertEqual([('vm-1', 2, ()), ('vm-2', 3, ())],
                         [(f.name, f.seconds, f.problems) for f in found])

    def test_it_asks_only_where_more_is_claimed_than_it_has_seen(self):
        asked = []
        cloud = types.SimpleNamespace(
            servers=lambda host=None: asked.append(host) or [
                server('u1', 'compute1' if host else 'compute4')])
        with mock.patch.object(watch, '_LOOK_SECONDS', 0.01), \
                watch.Witness(cloud, 'compute1', lambda: 7.0) as witness:
            witness._thread.join(0.1)
            self.assertEqual(['compute1'], asked)
            witness.claimed = 1
            witness._thread.join(10)
        self.assertEqual({'u1': 7.0}, witness.home)


class ShowTest(unittest.TestCase):
    def test_few(self):
        self.assertEqual('vm-1, vm-2', show.few(['vm-2', 'vm-1']))
        self.assertEqual('vm-3 ... vm-11', show.few([f'vm-{n}' for n in range(11, 2, -1)]))
        self.assertEqual('db, vm-1, vm-5, vm-6', show.few(['vm-6', 'vm-5', 'vm-1', 'db']))

    def test_table(self):
        stream = io.StringIO()
        show.table(('name', 's'), [('vm-10', 1.25), ('x', None)], stream)
        self.assertEqual('  name   s\n  vm-10  1.2\n  x\n', stream.getvalue())

    def change(self, subject, state_='waiting', text='spare', kind='move'):
        return watch.Change(START, kind, subject, state_, text)

    def test_plain_lines(self):
        stream = io.StringIO()
        later = START - datetime.timedelta(seconds=1.25)
        with show.Plain(later, stream) as screen:
            screen.changes([self.change('vm-1'), self.change('c1', 'new', 'silent', 'report'),
                            self.change('vm-2'), self.change('vm-3', text='other'),
                            self.change('vm-1', 'moved')])
        self.assertEqual([
            '+ 1.2 s server 2 servers waiting spare', '+ 1.2 s report c1 new silent',
            '+ 1.2 s server vm-3 waiting other', '+ 1.2 s server vm-1 moved spare'],
            [' '.join(line.split()) for line in stream.getvalue().splitlines()])

    def test_what_is_done_makes_room_first(self):
        moves = [types.SimpleNamespace(name=n, state=s) for n, s in (
            ('a', 'moved'), ('b', 'failed'), ('c', 'accepted'), ('d', 'moved'), ('e', 'waiting'))]
        for most, names in ((5, 'abcde'), (4, 'bcde'), (3, 'bce'), (2, 'bc')):
            self.assertEqual(names, ''.join(m.name for m in show.fitting(moves, most)))

    def test_the_live_table(self):
        stream = io.StringIO()
        move = types.SimpleNamespace(
            name='vm-1', priority=50, was='active', target='compute4', state='accepted',
            reason='[odd] words', intent_at=START, ended_at=None)
        rows = mock.Mock(report=mock.Mock(state='accepted'), moves=[move],
                         recovery=mock.Mock(state='moving'))
        rows.tally.return_value = '1 accepted'
        with mock.patch.dict(os.environ, {'COLUMNS': '120', 'LINES': '30'}), \
                show.Live(START, stream) as screen:
            screen.draw(rows)
            screen.changes([self.change('c1', 'done', 'fence', 'step'), self.change('vm-1')])
            screen._console.print(screen._render())
        text = stream.getvalue()
        for part in ('moving; 1 accepted', 'vm-1', 'compute4', '[odd] words', 'fence'):
            self.assertIn(part, text)
        self.assertNotIn('waiting', text)


if __name__ == '__main__':
    unittest.main()
