"""How far a recovery is, in words and as a bar; following it until it is over."""

import datetime
import io
import re
import unittest

from tests.unit import api_case
from tests.unit import osc_case
from vmha_nova.db import models
from vmha_nova import model
from vmha_nova.osc import base
from vmha_nova.osc import client
from vmha_nova.osc import progress
from vmha_nova.osc import text
from vmha_nova.osc import wait
from vmha_nova import states

NOW = api_case.NOW
IDENT = '0f0f0f0f-1111-2222-3333-444444444444'


def seconds(number):
    """So many seconds, to be added to a time."""
    return datetime.timedelta(seconds=number)


def recovery(state='moving', reason='', wish='', ended=None, **moves):
    """A recovery as the API shows it; ``ended``: seconds after the report."""
    return dict(id=IDENT, host='compute1', state=state, reason=reason, wish=wish, moves=moves,
                reported_at=NOW.isoformat(),
                ended_at=None if ended is None else (NOW + seconds(ended)).isoformat())


class LineTest(unittest.TestCase):

    def test_the_words_are_those_of_the_service(self):
        self.assertEqual(states.IN_FLIGHT, set(progress.UNDER_WAY))
        self.assertEqual(states.MOVE_FINAL, set(progress.OVER))

    def test_counts(self):
        self.assertEqual('', progress.counts(recovery()))
        self.assertEqual(
            '12/20 moved, 3 under way, 1 failed, 2 left, 1 gone, 1 unplaced',
            progress.counts(recovery(moved=12, failed=1, left=2, gone=1, unplaced=1, sending=1,
                                     accepted=2)))

    def test_the_bar(self):
        for moves, drawn in (({}, '.' * 10), ({'waiting': 5}, '.' * 10),
                             ({'moved': 5, 'waiting': 5}, '#####.....'),
                             ({'moved': 3, 'left': 1, 'failed': 1, 'accepted': 5}, '#####====='),
                             ({'moved': 999, 'accepted': 1}, '#########='),
                             ({'waiting': 999, 'sending': 1}, '=.........'),
                             ({'gone': 3}, '##########')):
            self.assertEqual(drawn.replace('.', '-'), progress.bar(moves, False, 10), moves)
            self.assertEqual(10, len(progress.bar(moves, True, 10)))

    def test_the_line_fits(self):
        one = recovery('held', 'no place to go: ' + 'x' * 300, moved=5, unplaced=5)
        for width in (30, 60, 79, 200):
            for fancy in (True, False):
                line = progress.line(one, NOW + seconds(62), width, fancy)
                self.assertEqual(width, text.width(line))
                self.assertEqual(not fancy, line.isascii())
        self.assertIn('1m02s, held, 5/10 moved, 5 unplaced, no place', line)

    def test_a_clock_that_is_behind(self):
        self.assertIn(' 0.0s, moving', progress.line(recovery(), NOW - seconds(90), 80, True))

    def test_when_it_is_over(self):
        self.assertFalse(progress.ended(recovery()))
        self.assertTrue(progress.ended(recovery('partial', ended=9)))
        self.assertTrue(progress.ended(recovery('partial', ended=9, wish='release')))
        self.assertFalse(progress.ended(recovery('partial', ended=9, wish='retry')))
        self.assertEqual(9, progress.elapsed(recovery('partial', ended=9), NOW + seconds(99)))

    def test_the_end(self):
        for state, wanted, status in (
                ('recovered', 'recovered', 0), ('partial', 'recovered', 1),
                ('aborted', 'recovered', 1), ('aborted', 'aborted', 0),
                ('dismissed', 'recovered', 1)):
            found, words = progress.verdict(recovery(state, 'why', ended=3), (wanted,))
            self.assertEqual(status, found)
            self.assertTrue(words.startswith(f'compute1 is {state}: why'))
            self.assertEqual(state in ('partial', 'aborted') and bool(status), 'retry' in words)

    def test_what_it_is_held_for(self):
        for reason, paused, words in (
                ('the limit is 2; "openstack vmha recovery approve x"', False, 'approve x'),
                ('the limit is 2; "vmha-manage recovery approve x"', False,
                 f'openstack vmha recovery approve {IDENT}" lets it go on'),
                ('an operator waits', True, 'openstack vmha resume'),
                ('3 instances have no place to go; db: no room', False,
                 'plan show --host compute1'),
                ('the BMC does not answer', False, 'It goes on by itself when that changes')):
            said = ' '.join(progress.held(recovery('held', reason), paused))
            self.assertIn(f'compute1 is held: {reason}.', said)
            self.assertIn(words, said)


class NoticeTest(unittest.TestCase):

    def notices(self, now=NOW, **changes):
        """The notices, by kind, of a service that is well but for some changes."""
        status = dict(dict(
            paused=dict(paused=False, reason='', user='', at=None),
            engine=dict(holder='c1:1', term=1, renewed_at=NOW.isoformat(), alive=True),
            snapshot=dict(instances_at=NOW.isoformat(), nodes_at=NOW.isoformat(),
                          written_at=NOW.isoformat(), problems=[], unknown_hosts=[])), **changes)
        return dict(base.notices(status, now))

    def snapshot(self, age, **more):
        """A snapshot so many seconds old."""
        return dict(dict(nodes_at=NOW.isoformat(), written_at=NOW.isoformat(), problems=[],
                         instances_at=(NOW - seconds(age)).isoformat()), **more)

    def test_all_is_well(self):
        self.assertEqual({}, self.notices())
        self.assertEqual({}, self.notices(snapshot=self.snapshot(59)))

    def test_a_clock_of_the_user_that_is_wrong(self):
        self.assertEqual({}, self.notices(NOW + seconds(4000)))
        self.assertEqual(['snapshot'], list(self.notices(NOW - seconds(4000),
                                                         snapshot=self.snapshot(61))))

    def test_a_pause(self):
        for user, reason in (('ann', 'the switch'), ('', '')):
            said = self.notices(paused=dict(paused=True, reason=reason, user=user, at=None))
            self.assertEqual({'paused': states.paused(model.Pause(True, reason, user))}, said,
                             'the words of whatever waits for it')

    def test_no_engine(self):
        dead = dict(holder='c1:1', term=1, renewed_at=NOW.isoformat(), alive=False)
        said = self.notices(NOW + seconds(3600), engine=dead)
        self.assertIn('the last sign of c1:1 is of 2026-03-01 12:00:00Z', said['engine'])
        self.assertIn('1h00m old', said['snapshot'])
        self.assertIn('no engine seems to run:', self.notices(engine=None)['engine'])
        self.assertIn('no engine seems to run:',
                      self.notices(engine=dict(dead, renewed_at=None))['engine'])

    def test_what_is_old(self):
        said = self.notices(snapshot=self.snapshot(61, problems=['Nova does not answer']))
        self.assertIn('1m01s old', said['snapshot'])
        self.assertIn('Nova does not answer', said['snapshot'])
        self.assertIn('short', self.notices(snapshot=self.snapshot(0, nodes_at=None))['snapshot'])
        self.assertIn('not known', self.notices(snapshot=None)['snapshot'])


class WaitTest(osc_case.OscCase):
    """The engine is played by what is done while the command sleeps."""

    def setUp(self):
        super().setUp()
        self.fill()
        self.slept = []
        self.script = []                # functions, one for each time that is slept

    def sleep(self, length):
        """Time passes, and the engine works."""
        self.slept.append(length)
        self.now += seconds(length)
        self.change(models.Leader, 1, renewed_at=self.now)
        self.change(models.Snapshot, 1, nodes_at=self.now, instances_at=self.now)
        if self.script:
            self.script.pop(0)()

    def change(self, table, ident, **values):
        """Change a row."""
        with self.store._writer() as session:
            row = session.get(table, ident)
            for name, value in values.items():
                setattr(row, name, value)

    def wait(self, stream=None, timeout=None, persona='admin'):
        """A Wait that takes no time."""
        self.stream = io.StringIO() if stream is None else stream
        return wait.Wait(self.make_client(persona), wait.Screen(self.stream, 120), timeout,
                         now=lambda: self.now, clock=lambda: self.now.timestamp(),
                         sleep=self.sleep)

    def play(self, table, ident, *changes):
        """Let the engine make these changes, one a second."""
        self.script += [lambda c=c: self.change(table, ident, **c) for c in changes]

    def said(self):
        """The lines that were written."""
        return self.stream.getvalue().splitlines()

    def open_recovery(self, **values):
        """A recovery that is under way."""
        one = api_case.recovery('compute2', **values)
        self.add(one)
        self.add(*(api_case.move(one.id, n, 'waiting') for n in range(2)))
        return one.id

    def test_from_the_report_to_the_end(self):
        report, _ = self.make_client().report('compute2')
        ident = self.open_recovery(state='confirmed')
        moves = [m['id'] for m in self.make_client().moves(ident)]
        self.play(models.HostFailure, report['id'],
                  dict(state='checking', detail='its beat is new'),
                  dict(state='accepted', recovery_id=ident))
        self.play(models.Recovery, ident, dict(state='moving', reason='2 instances'))
        self.play(models.Move, moves[0], dict(state='accepted'), dict(state='moved'))
        self.play(models.Move, moves[1], dict(state='moved'))
        self.play(models.Recovery, ident, dict(
            state='recovered', reason='2 moved', ended_at=NOW + seconds(9)))
        status, report, one = self.wait().failure(report)
        self.assertEqual((0, 'accepted', 'recovered'), (status, report['state'], one['state']))
        self.assertEqual([
            '+0.0s report 2 of compute2: new, Reported; the engine has not looked at it yet.',
            '+1.0s report 2 of compute2: checking, its beat is new',
            '+2.0s compute2: confirmed, 0/2 moved',
            '+3.0s compute2: moving, 0/2 moved, 2 instances',
            '+4.0s compute2: moving, 0/2 moved, 1 under way',
            '+5.0s compute2: moving, 1/2 moved',
            '+6.0s compute2: moving, 2/2 moved',
            'compute2 is recovered: 2 moved'], self.said())

    def test_nothing_changes(self):
        ident = self.open_recovery(reason='at it')
        self.play(models.Recovery, ident, *[dict(reason='at it')] * 50,
                  dict(state='partial', reason='1 failed', ended_at=NOW))
        status, _ = self.wait().recovery(ident)
        self.assertEqual(1, status)
        self.assertEqual(2, len(self.said()))
        self.assertEqual([1.0] * 51, self.slept)

    def test_a_report_that_is_not_acted_upon(self):
        report, _ = self.make_client().report('compute2')
        self.play(models.HostFailure, report['id'], dict(state='dismissed', detail='it is alive'))
        self.assertEqual((1, None), self.wait().failure(report)[::2])
        self.assertEqual('Report 2 of compute2 is dismissed: it is alive', self.said()[-1])

    def test_a_report_of_what_is_dealt_with_already(self):
        report, _ = self.make_client().report('compute1')
        self.play(models.HostFailure, report['id'], dict(
            state='duplicate', detail='that was dealt with', recovery_id=self.recovery.id))
        status, _, one = self.wait().failure(report)
        self.assertEqual((1, 'partial'), (status, one['state']))
        self.assertIn('Report 2 of compute1 is a duplicate: that was dealt with', self.said())

    def test_a_hold(self):
        ident = self.open_recovery(state='held', resume='confirmed', reason='the BMC is silent')
        self.play(models.Recovery, ident, {}, dict(reason='no place to go'), {}, {},
                  dict(state='moving', reason='go'), dict(state='held', reason='no place to go'),
                  dict(state='recovered', ended_at=NOW))
        self.assertEqual(0, self.wait().recovery(ident)[0])
        held = [line for line in self.said() if 'is held: ' in line]
        self.assertEqual(['the BMC is silent.', 'no place to go.', 'no place to go.'],
                         [line.partition('held: ')[2] for line in held])
        self.assertTrue(any(f'recovery abort {ident}' in line for line in self.said()))

    def test_a_hold_that_was_just_approved(self):
        ident = self.open_recovery(state='held', resume='confirmed', reason='the limit',
                                   wish='approve')
        self.play(models.Recovery, ident, {}, dict(wish=''), dict(state='recovered', ended_at=NOW))
        self.wait().recovery(ident)
        said = self.said()
        self.assertEqual('+0.0s compute2: held (to approve), 0/2 moved, the limit', said[0])
        self.assertEqual('compute2 is held: the limit.', said[1])   # after it was taken up

    def test_a_hold_in_a_pause(self):
        self.store.pause(True, 'the switch', 'ann')
        ident = self.open_recovery(state='held', resume='confirmed', reason='waits')
        self.play(models.Recovery, ident, *[{}] * 25, dict(state='recovered', ended_at=NOW))
        self.wait().recovery(ident)
        # The service is looked at now and then, and what is so each time is said once.
        self.assertEqual(3, self.http.seen.count(('GET', '/v1/status')))
        self.assertEqual(1, sum(line.startswith('Note: recoveries are paused by ann')
                                for line in self.said()))
        self.assertIn('Recoveries are paused: "openstack vmha resume" lets it go on.', self.said())

    def test_the_timeout(self):
        ident = self.open_recovery()
        status, one = self.wait(timeout=2.5).recovery(ident)
        self.assertEqual((2, 'moving', [1.0, 1.0, 0.5]), (status, one['state'], self.slept))
        self.assertIn(f'"openstack vmha recovery show {ident} --wait" shows it', self.said()[-1])
        report, _ = self.make_client().report('compute2')
        self.slept.clear()
        status, report, one = self.wait(timeout=0).failure(report)
        self.assertEqual((2, 'new', None, []), (status, report['state'], one, self.slept))
        self.assertIn(f'"openstack vmha failure show {report["id"]}" shows it', self.said()[-1])

    def test_the_timeout_is_of_both(self):
        report, _ = self.make_client().report('compute2')
        ident = self.open_recovery()
        self.play(models.HostFailure, report['id'], {}, {}, dict(state='accepted',
                                                                recovery_id=ident))
        self.assertEqual(2, self.wait(timeout=5).failure(report)[0])
        self.assertEqual(5, sum(self.slept))

    def test_an_interrupt(self):
        def interrupt():
            raise KeyboardInterrupt

        ident = self.open_recovery()
        for terminal in (False, True):
            self.script.append(interrupt)
            with self.assertRaises(KeyboardInterrupt):
                self.wait(osc_case.Terminal() if terminal else None).recovery(ident)
            self.assertEqual('The recovery goes on without this command; "openstack vmha recovery '
                             f'show {ident} --wait" shows it.', self.said()[-1])
        report, _ = self.make_client().report('compute2')
        self.script.append(interrupt)
        with self.assertRaises(KeyboardInterrupt):
            self.wait().failure(report)
        self.assertIn('Report 2 of compute2 goes on without this command', self.said()[-1])

    def test_an_api_that_is_away_for_a_while(self):
        ident = self.open_recovery()

        def away(error):
            self.http.error = error

        def over():
            away(None)
            self.change(models.Recovery, ident, state='recovered', ended_at=NOW)

        error = osc_case.requests.exceptions.ConnectionError('refused')
        self.script += [lambda: away(error), lambda: None, lambda: away(None),
                        lambda: away(error), over]
        self.assertEqual(0, self.wait().recovery(ident)[0])
        self.assertEqual(2, sum(x.startswith('Still trying: the API does not answer')
                                for x in self.said()), self.said())
        ident = self.open_recovery()
        self.script += [lambda: away(error)]
        with self.assertRaises(client.Unavailable):
            self.wait(timeout=4).recovery(ident)

    def test_a_right_that_is_lost(self):
        with self.assertRaises(client.Forbidden):
            self.wait(persona='member').recovery(self.recovery.id)

    def test_a_retry_that_is_not_taken_up(self):
        vmha = self.make_client()
        before = vmha.recovery(self.recovery.id)
        vmha.act(self.recovery.id, 'retry')
        self.script += [lambda: None, lambda: (
            self.change(models.Recovery, self.recovery.id, wish=''),
            self.store.note('warning', 'wish', 'retry is not possible: its fence was lifted',
                            recovery_id=self.recovery.id))]
        status, _ = self.wait().recovery(self.recovery.id, before)
        self.assertEqual(1, status)
        self.assertEqual('retry is not possible: its fence was lifted', self.said()[-1])
        self.assertTrue(any('partial (to retry)' in line for line in self.said()))

    def test_a_retry(self):
        vmha = self.make_client()
        before = vmha.recovery(self.recovery.id)
        vmha.act(self.recovery.id, 'retry')
        self.play(models.Recovery, self.recovery.id, dict(wish='', state='moving', ended_at=None),
                  dict(state='recovered', reason='2 moved', ended_at=NOW + seconds(77)))
        self.assertEqual(0, self.wait().recovery(self.recovery.id, before)[0])
        self.assertEqual('compute1 is recovered: 2 moved', self.said()[-1])

    def test_on_a_terminal(self):
        ident = self.open_recovery(state='held', resume='confirmed', reason='the BMC is silent')
        self.play(models.Recovery, ident, {}, dict(state='moving', reason='go'),
                  dict(state='recovered', reason='2 moved', ended_at=NOW + seconds(9)))
        self.wait(osc_case.Terminal()).recovery(ident)
        written = self.stream.getvalue()
        drawn = re.findall(r'\r(compute2 \[.*?\] .*?)\x1b\[K', written)
        self.assertEqual(4, len(drawn), written)
        self.assertTrue(all(text.width(line) < 120 for line in drawn))
        self.assertIn('compute2 is held: the BMC is silent.\n', written)
        self.assertTrue(written.endswith('\ncompute2 is recovered: 2 moved\n'))
        self.assertIn('9.0s, recovered, 0/2 moved', drawn[-1])

    def test_a_line_that_stays_does_not_hit_the_one_that_is_drawn(self):
        screen = wait.Screen(osc_case.Terminal(), 80)
        screen.show('drawn', 'said', 1)
        screen.show('drawn', 'said', 2)         # the same: nothing is written
        screen.say('stays')
        screen.show('drawn', 'said', 3)
        screen.close()
        screen.close()
        self.assertEqual('\rdrawn\x1b[K\r\x1b[Kstays\n\rdrawn\x1b[K\n', screen.stream.getvalue())

    def test_an_output_that_knows_little(self):
        stream = osc_case.Terminal()
        stream.encoding = 'ascii'
        screen = wait.Screen(stream, 80)
        screen.say('é')
        self.assertFalse(screen.fancy)
        self.assertEqual('?\n', stream.getvalue())
