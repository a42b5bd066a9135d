"""What an operator can say through `openstack vmha`, and what the engine makes of it."""

import re
import time

from tests.functional import api_case
from tests.lab import openstack


class PauseTest(api_case.ApiTest):
    def test_paused_a_dead_host_waits_and_everything_says_so(self):
        self.boot(2, stopped=0)
        self.start()
        self.wait_snapshot(2)
        said = self.ask('pause', '--reason', 'switch work')
        self.assertEqual((True, 'switch work', 'admin'),
                         (said['paused'], said['reason'], said['user']))
        self.lab.kill_host(self.SOURCE)
        self.ask('failure', 'report', self.SOURCE)
        self.wait('the host is found dead', lambda: (
            'no heartbeat of compute1' in self.failure().detail), 30)
        # A new engine keeps to it as well.
        self.vmha.kill_engine()
        self.vmha.start_engine()
        report = self.failure()
        self.assertEqual('checking', report.state)
        self.assertIn('recoveries are paused by admin: switch work', report.detail)
        ran = self.run_('failure', 'report', self.SOURCE, '--wait', '--timeout', '3')
        self.assertSaid('recoveries are paused by admin', ran, status=2)
        self.assertSaid('Report 1 of compute1 is not over after 3.0s', ran, status=2)
        commands = ('failure list', 'failure show 1', 'recovery list', 'host list',
                    'host show compute1', 'capacity show', 'load list',
                    'plan show --host compute1', 'event list', 'status')
        for ran in self.all_of([('reader', words.split()) for words in commands]):
            with self.subTest(words=ran.words):
                self.assertSaid('recoveries are paused by admin: switch work', ran)
        self.assertIn('it would wait: ', self.planned(self.SOURCE)[1])
        self.assertEqual([], self.store.recoveries())
        self.assertFalse(self.cloud.service(self.SOURCE)['forced_down'])
        self.assertEqual([], self.cloud.migrations(self.SOURCE))

        said = self.ask('resume')
        self.assertEqual((False, 'admin'), (said['paused'], said['user']))
        self.wait('it begins', self.recovery, 10)
        self.assertSaid('compute1 is recovered: 2 moved',
                        self.run_('recovery', 'show', self.SOURCE, '--wait'))
        self.assertNotIn('paused', self.run_('status').stderr)
        self.assertRecovered()


class MaintenanceTest(api_case.ApiTest):
    def test_in_maintenance_for_a_time_and_reported_while_no_engine_runs(self):
        self.boot(2, stopped=1)
        self.start()
        self.wait_snapshot(2)
        until = time.monotonic() + 25
        self.ask('host', 'set', self.SOURCE, '--maintenance', '--until', '+25s', json=False)
        self.lab.kill_host(self.SOURCE)
        ran = self.run_('failure', 'report', self.SOURCE, '--wait')
        self.assertSaid('is dismissed: compute1 is in maintenance; end it with', ran, status=1)
        shown = self.ask('host', 'show', self.SOURCE)
        self.assertTrue(shown['maintenance'])
        self.assertIsNotNone(shown['maintenance_until'])
        self.assertLess(time.monotonic(), until, 'too slow: the time was over by itself')
        self.wait('the time of its maintenance is over', lambda: (
            not self.store.marks()[self.SOURCE].maintenance), 40)
        self.assertGreater(time.monotonic(), until - 1)

        self.vmha.stop_engine()
        self.ask('failure', 'report', self.SOURCE, '--reason', 'still dead')
        self.assertEqual(('new', 'still dead'), (self.failure().state, self.failure().reason))
        shown = self.ask('host', 'show', self.SOURCE)
        self.assertEqual((False, None), (shown['maintenance'], shown['maintenance_until']))
        self.vmha.start_engine()
        ran = openstack.run_on_terminal(self.lab, 'admin', 'vmha', 'failure', 'report',
                                        self.SOURCE, '--wait')
        self.assertSaid('compute1 is recovered: 2 moved', ran)
        self.assertRecovered()
        # On a terminal there is a bar, which is drawn again and again in one line.
        bars = re.findall(r'\rcompute1 \[([█▒░]+)\] .*?\x1b\[K', ran.stderr)
        self.assertGreater(len(set(bars)), 1, ran)
        self.assertNotIn('\n', ran.stderr[ran.stderr.index(bars[0]):ran.stderr.rindex(bars[-1])])
        self.assertEqual(['dismissed', 'accepted'], [f.state for f in self.reports()])


class RoomTest(api_case.ApiTest):
    """The only spare has room for two small servers, and for no large one."""

    overrides = {'recovery.spares_only': 'true', 'storm.max_hosts': 1}

    def test_too_little_room_then_approved_aborted_and_tried_again(self):
        filler, = self.cloud.boot(self.SPARE, 1, name='filler', flavor=self.flavor(
            'filler', self.memory(self.SPARE) - 200))
        large = self.boot(1, stopped=0, name='large', flavor=self.flavor('large', 1024),
                          metadata={'vmha:priority': '90'})
        small = self.boot(1, stopped=0, name='small')
        other, = self.cloud.boot('compute2', 1, name='other')
        self.start()
        self.wait_snapshot(2)
        plan, said = self.planned(self.SOURCE)
        self.assertIn('compute1: 1 to compute4, 1 without a place', said)
        self.assertEqual((None, False), (plan['large']['Target'], plan['large']['Left']))
        self.assertEqual(self.SPARE, plan['small']['Target'])
        self.wait('the check of the capacity knows', lambda: (
            not {row['Host']: row for row in self.ask('capacity', 'show')}[self.SOURCE]['Fits']))
        problem, = self.ask('capacity', 'show', self.SOURCE)
        self.assertEqual(('large', plan['large']['Reason']), (problem['Name'], problem['Reason']))

        # What was planned is what happens: one moves, and what has no place is named.
        self.lab.kill_host(self.SOURCE)
        self.ask('failure', 'report', self.SOURCE)
        self.wait('one has moved, one cannot', lambda: (
            self.recovery() and self.recovery().stage == 'moving'
            and self.recovery().state == 'held'), 60)
        ran = self.run_('recovery', 'show', self.SOURCE, '--wait', '--timeout', '1')
        self.assertSaid('compute1 is held: 1 of ', ran, 2)
        first, = self.ask('recovery', 'list', '--state', 'held')
        moves = self.assertGoesBy(plan, first['ID'])
        self.assertEqual(('moved', 'unplaced'), (moves['small']['State'], moves['large']['State']))

        # A second host is more than may be recovered at a time, until somebody approves.
        self.lab.kill_host('compute2')
        self.ask('failure', 'report', 'compute2')
        second = self.wait('the second one is held', lambda: next(
            (r for r in self.store.recoveries() if r.host == 'compute2' and r.state == 'held'),
            None), 30)
        self.assertIn('the limit is 1 ([storm] max_hosts); approve with "openstack vmha recovery '
                      f'approve {second.id}"', second.reason)
        self.assertFalse(self.cloud.service('compute2')['forced_down'])
        ran = self.run_('recovery', 'approve', second.id, '--wait', '--timeout', '90')
        self.assertSaid('compute2 is recovered: 1 moved', ran)
        self.assertEqual('held', self.store.recovery(first['ID']).state)

        # The first one is given up; with room it is tried again.
        ran = self.run_('recovery', 'abort', self.SOURCE, '--wait', '--timeout', '30')
        self.assertSaid('compute1 is aborted: ', ran)
        left = self.moved(self.SOURCE)['large']
        self.assertEqual(('left', 'aborted by an operator'), (left['State'], left['Reason']))
        self.cloud.call('DELETE', f'/servers/{filler["id"]}')
        self.wait('there is room', lambda: self.memory(self.SPARE) > 1024, 30)
        ran = self.run_('recovery', 'retry', self.SOURCE, '--wait', '--timeout', '120')
        self.assertSaid('compute1 is recovered: 2 moved', ran)
        hosts = {one['id']: one['OS-EXT-SRV-ATTR:host'] for one in self.cloud.servers()}
        self.assertEqual({self.SPARE}, {hosts[one] for one in (*large, *small, other['id'])})
        records = self.cloud.migrations(self.SOURCE, migration_type='evacuation')
        self.assertEqual(2, len(records), records)
