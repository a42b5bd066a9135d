"""The commands, in front of the real application."""

import configparser
import csv
import datetime
import importlib
import inspect
import io
import json
import os
import pathlib
import unittest
from unittest import mock

from osc_lib import exceptions

from tests.unit import api_case
from tests.unit import osc_case
from vmha_nova.api import schemas
from vmha_nova.db import models
from vmha_nova.osc import base
from vmha_nova.osc import capacity
from vmha_nova.osc import client
from vmha_nova.osc import columns
from vmha_nova.osc import control
from vmha_nova.osc import event
from vmha_nova.osc import failure
from vmha_nova.osc import host
from vmha_nova.osc import load
from vmha_nova.osc import move
from vmha_nova.osc import plan
from vmha_nova.osc import recovery
from vmha_nova.osc import text
from vmha_nova import states

NOW = api_case.NOW
SETUP = pathlib.Path(__file__).resolve().parents[2] / 'setup.cfg'


def entry_points():
    """The commands that setup.cfg names: name -> class."""
    found = configparser.ConfigParser()
    found.read(SETUP)
    lines = found['options.entry_points']['openstack.vmha.v1'].strip().splitlines()
    for name, _, place in (line.partition(' = ') for line in lines):
        module, _, attribute = place.partition(':')
        yield name, getattr(importlib.import_module(module), attribute)


class NamesTest(unittest.TestCase):

    def test_every_command_is_there_and_says_what_it_is_for(self):
        found = dict(entry_points())
        self.assertEqual(20, len(found))
        for command in found.values():
            self.assertTrue(issubclass(command, base.Common))
            first, _, _ = inspect.getdoc(command).partition('\n\n')
            self.assertTrue(first.endswith('.') and first[0].isupper(), command)
            self.assertNotIn(first, map(inspect.getdoc, command.__mro__[1:]))

    def test_words_are_those_of_the_service(self):
        for ours, theirs in ((failure.STATES, states.FAILURE), (recovery.STATES, states.RECOVERY),
                             (move.STATES, states.MOVE)):
            self.assertEqual(tuple(theirs), ours)
        for module in (host, load, failure, recovery, move, capacity):
            name = {'host': 'hosts', 'failure': 'failures', 'recovery': 'recoveries',
                    'move': 'moves'}.get(module.__name__.rpartition('.')[2],
                                         module.__name__.rpartition('.')[2])
            query = getattr(schemas, name)(1000)
            self.assertEqual(tuple(query['properties']['sort_key']['enum']), module.SORT)


class CommandTest(osc_case.OscCase):

    def setUp(self):
        super().setUp()
        self.ident = self.fill()
        # The commands' clock; the engine's is that of the rows.
        patch = mock.patch.object(text, 'now', lambda: self.now)
        patch.start()
        self.addCleanup(patch.stop)

    def column(self, command, title, *argv, **options):
        """One column of a list."""
        return [row[title] for row in self.json(command, *argv, **options)]

    # -- values ---------------------------------------------------------------------------------
    def test_json_has_values_and_tables_have_words(self):
        rows = self.json(host.List, '--long')
        self.assertEqual({'compute1', 'compute2', 'spare1'}, {r['Host'] for r in rows})
        dead, busy, spare = rows
        self.assertEqual((False, 0.5, 'storage', 1, True), tuple(dead[k] for k in (
            'Up', 'Load', 'Protection', 'Unprotected', 'Fits')))
        self.assertEqual((True, 'gold', None, None), tuple(spare[k] for k in (
            'Spare', 'Pool', 'Protection', 'Fits')))
        self.assertEqual(NOW + api_case.LONG,
                         datetime.datetime.fromisoformat(busy['Maintenance Until']))
        self.run_command(host.List, '--long')
        for words in ('| no ', '| yes ', '| 50% ', '| unknown ', '| 2036-02-27 12:00:00Z '):
            self.assertIn(words, self.out)
        self.assertNotIn('None', self.out)
        self.assertNotIn('True', self.out)

    def test_csv(self):
        self.run_command(load.List, '-f', 'csv', '-c', 'Host', '-c', 'Load')
        self.assertEqual([['Host', 'Load'], ['compute1', '0.5'], ['compute2', '0.25'],
                          ['spare1', '0.0']], list(csv.reader(io.StringIO(self.out))))

    def test_every_list_and_everything_shown_is_json(self):
        for command, *argv in (
                (host.List, '--long'), (host.Show, 'compute2'), (failure.List, '--long'),
                (failure.Show, '1'), (recovery.List, '--long'), (recovery.Show, self.ident),
                (recovery.Show, 'compute1', '--timeline'), (move.List, 'compute1', '--long'),
                (plan.Show, '--host', 'compute1', '--long'), (capacity.Show, '--long'),
                (capacity.Show, 'compute2'), (load.List, '--long'), (event.List, '--long'),
                (control.Status,), (control.Pause, '--reason', 'why'), (control.Resume,)):
            self.assertTrue(self.json(command, *argv), (command, argv))
            for form in ('table', 'yaml', 'value'):
                self.assertEqual(0, self.run_command(command, *argv, '-f', form))
                self.assertTrue(self.out.strip())

    def test_lists_and_dicts_stay_what_they_are(self):
        self.assertEqual({'pings': 3}, self.json(failure.Show, '1')['evidence'])
        shown = self.json(recovery.Show, self.ident)
        self.assertEqual({'moved': 1, 'failed': 1}, shown['moves'])
        self.assertEqual('fence', shown['steps'][0]['kind'])
        self.assertEqual([[], ['spare1']], self.column(move.List, 'Tried', self.ident, '--long'))
        self.assertEqual([[], ['spare1']], self.column(capacity.Show, 'Spares', '--long'))
        self.run_command(recovery.Show, self.ident)
        self.assertIn('| 1 failed, 1 moved ', self.out)
        self.assertIn('2026-03-01 12:00:00Z fence compute1: done', self.out)
        self.assertIn('2026-03-01 12:00:00Z 6 at a time', self.out)

    def test_nothing_is_obeyed_by_a_terminal(self):
        fault = 'no image\n\x1b[2Jgone'
        self.add(api_case.move(self.ident, 3, 'failed', reason=fault))
        self.assertEqual([fault], self.column(move.List, 'Reason', self.ident, '--state', 'failed',
                                              '--sort', 'name:desc', '--limit', '1'))
        for command, *argv in ((move.List, self.ident), (recovery.Show, self.ident, '--timeline')):
            self.run_command(command, *argv)
            self.assertIn('?[2Jgone', self.out)
            self.assertNotIn('\x1b', self.out)
        self.store.pause(True, 'the\x1b[2Jswitch', 'ann')
        self.run_command(host.List)
        self.assertIn('the?[2Jswitch', self.err)

    def test_sorting_a_column_with_gaps(self):
        self.assertEqual(['compute2', 'compute1', 'spare1'], self.column(
            host.List, 'Host', '--sort-column', 'Protection'))
        self.assertEqual([2, 1, 0], self.column(host.List, 'Instances', '--sort-column',
                                                'Instances', '--sort-descending'))
        cells = [columns.Cell(None), 3, columns.Known(1)]
        self.assertEqual([1, 3, None], [getattr(c, '_value', c) for c in sorted(cells)])

    # -- hosts ----------------------------------------------------------------------------------
    def test_filters_of_hosts(self):
        for argv, expected in (
                ((), ['compute1', 'compute2', 'spare1']), (('--spare',), ['spare1']),
                (('--no-spare',), ['compute1', 'compute2']), (('--zone', 'az2'), ['compute2']),
                (('--pool', 'gold'), ['spare1']), (('--maintenance',), ['compute2']),
                (('--limit', '2'), ['compute1', 'compute2']),
                (('--marker', 'compute1', '--limit', '1'), ['compute2']),
                (('--sort', 'load'), ['spare1', 'compute2', 'compute1']),
                (('--sort', 'host:desc'), ['spare1', 'compute2', 'compute1'])):
            self.assertEqual(expected, self.column(host.List, 'Host', *argv), argv)

    def test_unprotected_hosts(self):
        self.add(api_case.node('a-good'), api_case.capacity('a-good', fits=True),
                 api_case.node('word'), api_case.capacity('word', protection='word'),
                 api_case.node('none'), api_case.capacity('none', protection='none'))
        self.assertEqual(['compute1', 'compute2', 'none', 'spare1'],
                         self.column(host.List, 'Host', '--unprotected'))
        self.assertEqual(['compute1', 'compute2'],
                         self.column(host.List, 'Host', '--unprotected', '--limit', '2'))
        for protection, number, expected in (('storage', 0, False), ('word', 0, False),
                                             ('none', 0, True), (None, 0, True),
                                             ('storage', 1, True), ('storage', None, True)):
            self.assertIs(expected, host.unprotected(dict(
                protection=protection, unprotected_instances=number)))

    def test_marking_a_host(self):
        set_, marks = host.Set, lambda: self.store.marks().get('compute1')
        self.assertEqual(0, self.run_command(set_, 'compute1', '--spare', '--pool', 'gold',
                                             '--backend', 'rbd:vms'))
        self.assertEqual(('', ''), (self.out, self.err))
        self.assertEqual((True, 'gold', 'rbd:vms', False),
                         (marks().spare, marks().pool, marks().backend, marks().maintenance))
        self.run_command(set_, 'compute1', '--maintenance', '--until', '+2h')
        self.assertEqual((True, NOW + datetime.timedelta(hours=2), True),
                         (marks().maintenance, marks().maintenance_until, marks().spare))
        self.run_command(set_, 'compute1', '--maintenance', '--until', 'never')
        self.assertEqual((True, None), (marks().maintenance, marks().maintenance_until))
        self.run_command(set_, 'compute1', '--no-maintenance', '--no-spare', '--pool', '',
                         '--backend', '')
        self.assertEqual((False, False, '', ''), (marks().maintenance, marks().spare,
                                                  marks().pool, marks().backend))

    def test_marks_that_make_no_sense(self):
        for argv, words in (((), 'nothing to set'),
                            (('--until', '+2h'), 'give --maintenance'),
                            (('--no-maintenance', '--until', '+2h'), 'give --maintenance'),
                            (('--maintenance', '--until', 'soon'), '+2h or +1d'),
                            (('--maintenance', '--until', '2020-01-01'), 'is over'),
                            (('--backend', 'nfs'), 'backend')):
            with self.assertRaises((exceptions.CommandError, client.BadRequest)) as raised:
                self.run_command(host.Set, 'compute1', *argv)
            self.assertIn(words, str(raised.exception))
        # Only what only the API can judge was sent to it.
        self.assertEqual(['PATCH', 'PATCH'], [method for method, _ in self.http.seen])
        self.assertNotIn('compute1', self.store.marks())

    def test_an_unknown_host(self):
        for command, *argv in ((host.Show, 'nobody'), (host.Set, 'nobody', '--spare'),
                               (failure.Report, 'nobody'), (plan.Show, '--host', 'nobody'),
                               (capacity.Show, 'nobody')):
            with self.assertRaises(client.NotFound) as raised:
                self.run_command(command, *argv)
            self.assertIn('nobody', str(raised.exception))
            self.assertIn('openstack vmha', str(raised.exception))

    # -- failures -------------------------------------------------------------------------------
    def test_a_report(self):
        found = self.json(failure.Report, 'compute2', '--reason', 'it burns')
        self.assertEqual(('new', 'it burns', 'operator', False, None), tuple(found[k] for k in (
            'state', 'reason', 'source', 'forced', 'recovery_id')))
        self.assertEqual('', self.err)
        self.run_command(failure.Report, 'compute2')
        self.assertIn('compute2 is reported already: report 2 is new', self.err)
        found = self.json(failure.Report, 'compute2', '--force', '--source', 'ann')
        self.assertEqual((True, 'reported by an operator (forced by admin)', 'ann'),
                         (found['forced'], found['reason'], found['source']))
        self.assertEqual([3, 2], self.column(failure.List, 'ID', '--host', 'compute2'))
        self.assertEqual([1], self.column(failure.List, 'ID', '--state', 'accepted'))
        self.assertEqual([1, 2, 3], self.column(failure.List, 'ID', '--sort', 'id'))

    def test_waiting(self):
        self.assertEqual(2, self.run_command(failure.Report, 'compute2', '--wait', '--timeout',
                                             '0', '-f', 'json'))
        self.assertEqual('new', json.loads(self.out)['state'])
        self.assertIn('it goes on, and "openstack vmha failure show 2" shows it', self.err)
        with self.store._writer() as session:
            session.get(models.HostFailure, 2).state = 'duplicate'
            session.get(models.HostFailure, 2).recovery_id = self.ident
            session.add(models.HostFailure(
                id=3, host='compute2', source='operator', reason='', detected_at=NOW,
                received_at=NOW, evidence={}, forced=True, state='accepted', detail='', repeats=0,
                recovery_id=self.ident))
        with mock.patch.object(client.Client, 'report', lambda vmha, *_a, **_k: (
                vmha.failure(3), True)):
            self.assertEqual(1, self.run_command(failure.Report, 'compute2', '--wait', '-f',
                                                 'json'))
        self.assertEqual('partial', json.loads(self.out)['recovery_state'])
        self.assertEqual({'moved': 1, 'failed': 1}, json.loads(self.out)['moves'])
        for command in (failure.Report, recovery.Show, recovery.Retry):
            self.http.seen.clear()
            with self.assertRaises(exceptions.CommandError):
                self.run_command(command, 'compute1', '--timeout', '5')
            self.assertEqual([], self.http.seen)

    # -- recoveries -----------------------------------------------------------------------------
    def test_a_host_in_place_of_an_id(self):
        self.add(api_case.recovery('compute1', state='aborted', ended_at=NOW,
                                   created_at=NOW - datetime.timedelta(days=9)))
        self.assertEqual(self.ident, self.json(recovery.Show, 'compute1')['id'])
        self.assertEqual(2, len(self.json(recovery.List, '--host', 'compute1')))
        with self.assertRaises(exceptions.CommandError) as raised:
            self.run_command(recovery.Show, 'compute2')
        self.assertIn('openstack vmha recovery list', str(raised.exception))
        with self.assertRaises(client.NotFound):
            self.run_command(recovery.Show, '0f0f0f0f-1111-2222-3333-444444444444')
        self.assertEqual(['info', 'warning'],
                         self.column(event.List, 'Level', '--recovery', 'compute1'))
        self.assertEqual(['vm-2'], self.column(move.List, 'Name', 'compute1', '--state', 'failed'))

    def test_filters_of_recoveries(self):
        self.add(api_case.recovery('compute2', state='held', resume='moving', reason='room'))
        self.assertEqual(['compute2'], self.column(recovery.List, 'Host', '--open'))
        self.assertEqual(['compute1'], self.column(recovery.List, 'Host', '--state', 'partial'))
        self.assertEqual(['compute1', 'compute2'],
                         self.column(recovery.List, 'Host', '--sort', 'host'))
        self.assertEqual(['moving'], self.column(recovery.List, 'Stage', '--open', '--long'))

    def test_what_is_asked_of_a_recovery(self):
        one = api_case.recovery('compute2', state='held', resume='moving')
        self.add(one)
        for command, wanted, wish in (
                (recovery.Approve, 'compute2', 'approve'), (recovery.Abort, one.id, 'abort'),
                (recovery.Retry, 'compute1', 'retry'), (recovery.Release, 'compute1', 'release')):
            self.assertEqual(wish, self.json(command, wanted)['wish'])
        with self.assertRaises(client.Conflict) as raised:
            self.run_command(recovery.Approve, 'compute1')
        self.assertIn('is over (partial): there is nothing to approve', str(raised.exception))

    def test_all_that_wait_to_begin_are_approved_at_once(self):
        self.add(*(api_case.recovery(host, state='held', resume=stage) for host, stage in (
            ('c1', 'confirmed'), ('c2', 'confirmed'), ('c3', 'moving'), ('c4', 'fenced'))))
        self.assertEqual(['c1', 'c2'], sorted(self.json(recovery.Approve, '--all')['approved']))
        wishes = {r['host']: r['wish'] for r in self.make_client().recoveries()}
        self.assertEqual(('approve', 'approve', '', ''),
                         tuple(wishes[f'c{n}'] for n in range(1, 5)))

    def test_one_that_ends_meanwhile_stops_no_other(self):
        self.add(*(api_case.recovery(host, state='held', resume='confirmed')
                   for host in ('c1', 'c2')))
        act = client.Client.act

        def late(self_, ident, action):
            if self_.recovery(ident)['host'] == 'c1':
                raise client.Conflict('it is over (dismissed)', 409)
            return act(self_, ident, action)
        with mock.patch.object(client.Client, 'act', late):
            self.assertEqual(['c2'], self.json(recovery.Approve, '--all')['approved'])
        self.assertIn('c1: it is over', self.err)

    def test_one_or_all(self):
        for argv in ((), ('compute1', '--all'), ('--all', '--wait')):
            self.assertRaises(exceptions.CommandError, self.run_command, recovery.Approve, *argv)

    def test_acting_and_waiting(self):
        over = api_case.recovery('compute2', state='aborted', ended_at=NOW, reason='2 left')
        self.add(over)
        ended = dict(self.make_client().recovery(over.id), wish='')
        with mock.patch.object(client.Client, 'act', lambda *_: ended):
            # As it is found after the act: over, and as it had been before it began.
            for command, status in ((recovery.Abort, 0), (recovery.Approve, 1)):
                with mock.patch.object(client.Client, 'recovery', side_effect=[
                        dict(ended, ended_at=None), ended]):
                    self.assertEqual(status, self.run_command(command, over.id, '--wait'))
        # An engine that has refused: nothing is pending, and it ended when it had ended before.
        self.store.note('warning', 'wish', 'its fence was lifted', recovery_id=over.id)
        with mock.patch.object(client.Client, 'act', lambda *_: ended), (
                mock.patch.object(client.Client, 'recovery', lambda *_: ended)):
            self.assertEqual(1, self.run_command(recovery.Retry, over.id, '--wait'))
        self.assertIn('its fence was lifted', self.err)
        self.assertEqual(2, self.run_command(recovery.Retry, 'compute1', '--wait', '--timeout',
                                             '0'))
        self.assertIn('partial (to retry)', self.err)
        self.assertEqual(1, self.run_command(recovery.Show, over.id, '--wait'))
        self.assertIn('compute2 is aborted: 2 left', self.err)

    def test_the_timeline(self):
        with mock.patch.dict(os.environ, COLUMNS='70'):
            self.assertEqual(0, self.run_command(recovery.Show, 'compute1', '--timeline'))
        lines = self.out.splitlines()
        self.assertTrue(lines[0].startswith('compute1: partial in'))
        self.assertTrue(all(len(line) <= 70 for line in lines))
        self.assertTrue(self.out.isascii())
        self.assertIn('failed: it did not start', self.out)
        found = self.json(recovery.Show, 'compute1', '--timeline')
        self.assertEqual(['moved', 'failed'], [m['state'] for m in found['timeline']])
        with mock.patch.dict(os.environ, COLUMNS='100'):
            self.run_command(recovery.Show, 'compute1', '--timeline',
                             stdout=osc_case.Terminal())
        self.assertIn('◆', self.out)

    # -- plans ----------------------------------------------------------------------------------
    def test_a_plan(self):
        found = self.json(plan.Show, '--host', 'compute1')
        self.assertEqual([('spare1', False, ''), (None, False, 'no room')],
                         [(p['Target'], p['Left'], p['Reason']) for p in found])
        self.assertEqual([
            'compute1: 1 to spare1, 1 without a place', 'compute1: there is a pause',
            'Spares that would be taken: spare1', 'Not known: Placement did not answer',
            'As of 2026-03-01 12:00:00Z'], self.err.splitlines())
        for argv in (('--host', 'compute1', '--host', 'compute2'),
                     ('--host', 'compute1', 'compute2', '--host', 'compute1')):
            self.assertEqual(['compute1', 'compute1', 'compute2', 'compute2'],
                             self.column(plan.Show, 'Host', *argv))

    def test_capacity(self):
        self.assertEqual(['compute2'], self.column(capacity.Show, 'Host', '--unfit'))
        self.assertEqual([0.5, None], self.column(capacity.Show, 'Storage Fill'))
        found = self.json(capacity.Show, 'compute2')
        self.assertEqual(['spare1 has no room'], [p['Reason'] for p in found])
        self.assertEqual([
            'compute2 does not fit: 0 of 1 instance would have a place, 1 would wait',
            'Protection: none (no storage fence)', 'Spares that would be taken: spare1',
            'As of 2026-03-01 12:00:00Z'], self.err.splitlines())
        with self.assertRaisesRegex(client.ClientError, 'spare1.* has not been worked out yet: '
                                    'vmha-engine checks each host'):
            self.run_command(capacity.Show, 'spare1')
        self.run_command(capacity.Show, 'compute1')
        self.assertIn('compute1 fits: 1 of 2 instances would have a place, 1 would be left alone',
                      self.err)
        self.assertIn('The storage would be 50% full without its disks', self.err)
        with self.assertRaises(exceptions.CommandError):
            self.run_command(capacity.Show, 'compute1', '--unfit')

    def test_capacity_of_a_storage_that_did_not_answer(self):
        self.add(api_case.node('compute3'),
                 api_case.capacity('compute3', instances=1, placeable=1, fits=None))
        self.run_command(capacity.Show, 'compute3')
        self.assertIn('compute3 fits if the storage has room: 1 of 1 instance would have a place\n'
                      'How full the storage would be without its disks is not known\n', self.err)
        self.run_command(capacity.Show)
        self.assertRegex(self.out, r'compute3 +\| unknown ')

    # -- the service ----------------------------------------------------------------------------
    def test_pause_and_status(self):
        self.assertIs(True, self.json(control.Pause, '--reason', 'the switch')['paused'])
        found = self.json(control.Status)
        self.assertEqual((True, 'the switch', 'admin', 3, True, 'storage'), tuple(
            found[k] for k in ('paused', 'paused_reason', 'paused_user', 'engine_term',
                               'engine_alive', 'fence')))
        self.assertIn('recoveries are paused by admin: the switch (go on with', self.err)
        self.assertIs(False, self.json(control.Resume)['paused'])

    def test_notice_is_given_once_by_what_shows_hosts_or_recoveries(self):
        self.store.pause(True, 'the switch', 'ann')
        for command, *argv in ((host.List,), (host.Show, 'compute1'), (load.List,),
                               (capacity.Show,), (capacity.Show, 'compute1'), (recovery.List,),
                               (recovery.Show, 'compute1'), (move.List, 'compute1'),
                               (recovery.Show, 'compute1', '--timeline'), (failure.List,),
                               (failure.Report, 'compute2'), (plan.Show, '--host', 'compute1')):
            self.http.seen.clear()
            self.run_command(command, *argv)
            self.assertEqual(1, self.err.count('Note: recoveries are paused by ann: the switch'))
            self.assertEqual(1, self.http.seen.count(('GET', '/v1/status')))

    def test_notice_of_what_is_old(self):
        self.now += datetime.timedelta(seconds=61)
        self.run_command(host.List)
        self.assertIn('Note: no engine seems to run (the last sign of controller:42', self.err)
        self.assertIn('Note: what the engine knows of the cloud is 1m01s old', self.err)

    def test_a_status_that_cannot_be_read_is_no_failure(self):
        with mock.patch.object(client.Client, 'status', side_effect=client.Unavailable('away')):
            self.assertEqual(3, len(self.json(host.List)))
        self.assertEqual('', self.err)

    def test_a_member_is_refused_in_words(self):
        for command, *argv in (
                (host.List,), (host.Show, 'compute1'), (host.Set, 'compute1', '--spare'),
                (failure.List,), (failure.Show, '1'), (failure.Report, 'compute1'),
                (recovery.List,), (recovery.Show, self.ident), (recovery.Approve, self.ident),
                (recovery.Abort, self.ident), (recovery.Retry, self.ident),
                (recovery.Release, self.ident), (move.List, self.ident),
                (plan.Show, '--host', 'compute1'), (capacity.Show,), (load.List,), (event.List,),
                (control.Pause,), (control.Resume,), (control.Status,)):
            with self.assertRaises(client.Forbidden) as raised:
                self.run_command(command, *argv, persona='member')
            self.assertIn('vmha_reader', str(raised.exception))

    def test_options_that_are_wrong(self):
        for command, *argv in ((host.List, '--sort', 'colour'), (host.List, '--sort', 'host:up'),
                               (host.List, '--limit', '0'), (host.List, '--limit', 'x'),
                               (failure.Show, 'x'), (recovery.List, '--state', 'red'),
                               (failure.Report, 'compute1', '--wait', '--timeout', '-1'),
                               (failure.Report, 'compute1', '--wait', '--timeout', 'nan'),
                               (host.Set, 'compute1', '--spare', '--no-spare')):
            with self.assertRaises(SystemExit) as raised, mock.patch('sys.stderr', io.StringIO()):
                self.run_command(command, *argv)
            self.assertEqual(2, raised.exception.code)
