"""A recovery drawn over time, from values to lines."""

import datetime
import re
import unittest

from vmha_nova.osc import axis
from vmha_nova.osc import text
from vmha_nova.osc import timeline

START = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
IDENT = '0f0f0f0f-1111-2222-3333-444444444444'


def at(seconds):
    """Seconds after the report as the API writes a time, or None."""
    return None if seconds is None else (START + datetime.timedelta(seconds=seconds)).isoformat()


def move(number, name, state='moved', target='spare1', reason='', times=(None,) * 4, attempts=1):
    """A move; ``times``: intent, accepted, landed, ended in seconds after the report."""
    values = dict(zip(('intent_at', 'accepted_at', 'landed_at', 'ended_at'), map(at, times),
                      strict=True))
    return dict(id=number, instance_id=f'{number:08x}-1111-2222-3333-444444444444', name=name,
                state=state, target=target, reason=reason, attempts=attempts,
                meaning='Has a target and waits for its turn.', **values)


def step(kind, begun, ended, state='done', subject='compute1', detail=''):
    """A step."""
    return dict(kind=kind, subject=subject, state=state, detail=detail, at=at(begun),
                ended_at=at(ended))


def recovery(state='recovered', reason='', ended=60, steps=()):
    """A recovery; ``ended``: seconds after the report, None: it is not over."""
    return dict(id=IDENT, host='compute1', state=state, reason=reason, reported_at=at(0),
                ended_at=at(ended), steps=list(steps))


def draw(one, moves, now=60.0, width=100, fancy=True):
    """The lines, having made sure that they fit."""
    lines = timeline.draw(one, moves, START + datetime.timedelta(seconds=now), width, fancy)
    for line in lines:
        assert text.width(line) <= max(width, 60), f'{text.width(line)} columns: {line}'
    return lines


def line_of(lines, name):
    """The one line that begins with a name."""
    found = [line for line in lines if line.startswith(f'{name} ')]
    assert len(found) == 1, (name, lines)
    return found[0]


class TimelineTest(unittest.TestCase):

    def test_all_of_it(self):
        lines = draw(
            recovery(reason='2 moved', steps=[step('fence', 10, 20, detail='power off confirmed'),
                                              step('force_down', 20, 20)]),
            [move(1, 'web', times=(30, 40, 50, 50)), move(2, 'db', times=(20, 30, 40, 60))],
            width=120)
        self.assertEqual(
            f'compute1: recovered in 1m00s, 2 moved Recovery {IDENT}; 0 is 2026-03-01 12:00:00Z, '
            'when it was reported; it ended at 2026-03-01 12:01:00Z', ' '.join(lines[:3]))
        self.assertRegex(lines[4], '^ {13}0 +10s +20s +30s +40s +50s$')
        self.assertRegex(lines[5], '^ {13}(┬─+){6}$')
        self.assertEqual(lines[4].index('10s'), lines[5].index('┬', 14))
        fence = line_of(lines, 'fence')
        self.assertAlmostEqual(lines[4].index('10s'), fence.index('▒'), delta=1)
        self.assertAlmostEqual(lines[4].index('20s'), fence.index('◆'), delta=1)
        web, db = line_of(lines, 'web'), line_of(lines, 'db')
        self.assertRegex(web, r'^web +░+█+● +spare1 moved in 20s$')
        self.assertRegex(db, r'^db +░+█+▓+● +spare1 moved in 40s$')
        self.assertLess(db.index('░'), web.index('░'))
        self.assertLess(lines.index(db), lines.index(web))      # in the order they began
        self.assertIn('power off confirmed', ' '.join(lines))
        self.assertIn('+20s compute1 done', line_of(lines, 'force_down'))
        legend = '   '.join(lines[-2:])
        for words in ('░ Nova is asked', '█ Nova rebuilds it', '● moved', '◆ done'):
            self.assertIn(words, legend)
        for words in ('failed', 'under way', 'gone', 'nothing happened'):
            self.assertNotIn(words, legend)

    def test_bars_are_where_the_axis_says(self):
        moves = [move(n, f'vm-{n}', times=(n, n, n + 2, n + 2)) for n in range(0, 120, 7)]
        lines = draw(recovery(ended=130), moves, width=140)
        labels, ticks = (next(i for i, x in enumerate(lines) if '┬' in x) + d for d in (-1, 0))
        zero = lines[ticks].index('┬')
        minute = lines[labels].index('1m')
        per_second = (minute - zero) / 60
        for one in moves:
            line = line_of(lines, one['name'])
            begins = re.search('[░█●]', line).start()
            self.assertAlmostEqual(zero + one['id'] * per_second, begins, delta=2.01)

    def test_what_is_not_simply_moved_has_its_reason(self):
        reasons = {'locked': 'it is locked by its owner', 'big': 'spare1 has 2 of 64 VCPU free',
                   'broken': 'it is on spare1, in ERROR: no such image', 'late': '',
                   'fly': 'Nova rebuilds it on spare1', 'away': 'deleted before its turn came',
                   'lost': 'outcome unknown; nothing is sent for 90 s'}
        moves = [
            move(1, 'locked', 'left', '', reasons['locked'], (None, None, None, 5)),
            move(2, 'big', 'unplaced', '', reasons['big']),
            move(3, 'broken', 'failed', 'spare1', reasons['broken'], (5, 6, None, 20), 3),
            move(4, 'late', 'waiting', 'spare2'),
            move(5, 'fly', 'accepted', 'spare1', reasons['fly'], (30, 31, None, None)),
            move(6, 'away', 'gone', '', reasons['away'], (None, None, None, 9)),
            move(7, 'lost', 'unsure', 'spare2', reasons['lost'], (40, None, None, None))]
        for width in (60, 80, 120, 200):
            for fancy in (True, False):
                lines = draw(recovery('moving', 'at it', None), moves, 60, width, fancy)
                said = ' '.join(' '.join(lines).split())
                for name, reason in reasons.items():
                    self.assertIn(reason, said)
                    line_of(lines, name)
                self.assertIn('spare2 waiting: Has a target and waits for its turn.', said)
                self.assertIn('spare1 failed (attempt 3)', said)
        self.assertRegex(line_of(lines, 'fly'), r'=+>')         # ASCII, up to now
        self.assertIn('>', line_of(lines, 'fly'))
        self.assertEqual('', ''.join(c for line in lines for c in line if not c.isascii()))
        self.assertIn('compute1: moving after 1m00s, ', lines[0])
        self.assertIn('at it', lines[0])

    def test_under_way_lasts_until_now(self):
        flying = [move(1, 'fly', 'accepted', times=(10, 11, None, None))]
        short, long = (line_of(draw(recovery('moving', ended=None),
                                    flying + [move(2, 'x', times=(0, 0, 100, 100))], now), 'fly')
                       for now in (20, 100))
        self.assertLess(short.count('█'), long.count('█'))
        self.assertIn('▶', short)

    def test_a_try_that_came_to_nothing(self):
        lines = draw(recovery('moving', ended=None), [
            move(1, 'again', 'unplaced', '', 'refused by Nova; another node is looked for',
                 (10, 12, None, None)),
            move(2, 'left', 'left', '', 'aborted by an operator', (10, 12, None, 50))], 60)
        for name in ('again', 'left'):
            line = line_of(lines, name)
            self.assertRegex(line, '✗')
            self.assertLess(line.index('✗'), 40)                # not up to now, or to the abort

    def test_a_long_hold_is_left_out(self):
        one = recovery(ended=7270, steps=[step('fence', 7200, 7209), step('lift', 90000, 90001)])
        lines = draw(one, [move(n, f'vm-{n}', times=(7210 + n, 7211 + n, 7230 + n, 7230 + n))
                           for n in range(9)])
        self.assertRegex(line_of(lines, 'vm-3'), r'┆ +░?█{8,}●')
        self.assertIn('≈', lines[5])
        self.assertIn('2h30s', lines[4])
        self.assertIn('┆ time in which nothing happened', ' '.join(lines[-2:]))
        # What was done a day after the end does not make the rest small.
        self.assertRegex(line_of(lines, 'lift'), r'^lift +\+1d01h compute1 done in 1.0s$')

    def test_acts_that_failed_or_are_under_way(self):
        lines = draw(recovery('held', 'not fenced', None, [
            step('fence', 5, 10, 'failed', detail='the BMC does not answer'),
            step('fence', 20, None, 'intended', 'compute1b')]), [], 60)
        rows = [line for line in lines if line.startswith('fence ')]
        self.assertRegex(rows[0], r'▒*✗ .*compute1 failed in 5.0s')
        self.assertRegex(rows[1], r'▒+▶ .*compute1b intended')
        self.assertIn('the BMC does not answer', ' '.join(lines))
        self.assertIn('No instance of it is known yet.', lines)

    def test_nothing_at_all(self):
        for now in (-300, 0, 0.2):      # a clock that is behind, too
            lines = draw(recovery('confirmed', 'no heartbeat', None), [], now)
            self.assertIn('compute1: confirmed after 0', lines[0])
        self.assertIn('There was no instance to move.', draw(recovery('dismissed'), []))

    def test_names(self):
        lines = draw(recovery(), [
            move(1, 'web', times=(1, 2, 3, 3)), move(2, 'web', times=(1, 2, 3, 3)),
            move(3, '', times=(1, 2, 3, 3)), move(4, '中文的名字', times=(1, 2, 3, 3)),
            move(5, 'evil\x1b[2J\nname', times=(1, 2, 3, 3)),
            move(7, 'quiet', 'left', '', 'a\x1b[31mfault\r\nof its guest'),
            move(6, 'a-very-long-name-' * 9 + 'end', times=(1, 2, 3, 3))], width=80)
        for name in ('web 00000001', 'web 00000002', '中文的名字', 'evil?[2J name'):
            line_of(lines, name)
        self.assertTrue(any(x.startswith('00000003-1') for x in lines))
        self.assertTrue(any(x.split()[0].endswith('end') for x in lines if x))
        self.assertNotIn('\x1b', ''.join(lines))
        self.assertIn('left: a?[31mfault of its guest', line_of(lines, 'quiet'))
        # Bars begin below each other, whatever the script of the name.
        self.assertEqual(1, len({text.width(x[:x.index('●')]) for x in lines if '●' in x
                                 and 'moved in' in x}))

    def test_hundreds_of_moves(self):
        moves = [move(n, f'instance-{n:04}', times=(n, n + 1, n + 20, n + 20), target='spare-007')
                 for n in range(600)]
        lines = draw(recovery(ended=640), moves, width=80)
        self.assertEqual(600, sum('spare-007 moved in 20s' in line for line in lines))
        self.assertLess(len(lines), 615)                        # one line each
        narrow = draw(recovery(ended=640), moves, width=10)
        self.assertEqual(600, sum('spare-007 moved in 20s' in line for line in narrow))

    def test_long_targets_keep_to_the_width(self):
        moves = [move(1, 'web', 'failed', 'compute-rack-17.example.org', 'x ' * 60, (1, 2, 3, 9))]
        lines = draw(recovery('partial', '1 failed', 20), moves, width=60)
        self.assertIn('compute-rack-17.example.org failed', ' '.join(lines))


class AxisTest(unittest.TestCase):

    def test_a_straight_one(self):
        one = axis.Axis([(0, 0), (10, 100)], 101)
        self.assertEqual([0, 50, 100, 100, 0], [one.column(s) for s in (0, 50, 100, 900, -5)])
        self.assertEqual([], one.breaks())
        self.assertEqual([(0, '0'), (10, '10s')], one.ticks()[:2])

    def test_breaks(self):
        one = axis.Axis([(0, 5), (3600, 3630), (90000, 90060)], 80)
        self.assertEqual(2, len(one.breaks()))
        columns = [one.column(s) for s in (0, 5, 3600, 3630, 90000, 90060)]
        self.assertEqual(sorted(columns), columns)
        first, second = one.breaks()
        self.assertTrue(columns[1] < first < columns[2] and columns[3] < second < columns[4])
        self.assertGreater(columns[5] - columns[4], 30)         # a minute is wide
        self.assertLess(columns[5], 80)

    def test_a_short_wait_is_drawn(self):
        self.assertEqual([], axis.Axis([(0, 1), (50, 51)], 50).breaks())

    def test_labels_do_not_touch(self):
        for spans in ([(0, 0.01)], [(0, 7)], [(0, 86400 * 40)], [(7, 9)], [(0, 3), (9000, 9001)],
                      [(0, 1), (999, 1000), (99999, 100000)], [(-3, 50)],
                      [(0, 1), (100000, 100060)], [(99990, 100001)]):
            for width in range(16, 130):
                ticks = axis.Axis(spans, width).ticks()
                self.assertTrue(ticks, (spans, width))
                for (column, label), (after, _) in zip(ticks, ticks[1:], strict=False):
                    self.assertLess(column + len(label), after)
                self.assertLessEqual(ticks[-1][0] + len(ticks[-1][1]), width)

    def test_labels(self):
        self.assertEqual(['0', '15s', '1m30s', '2h', '1d2h'],
                         [axis.label(s) for s in (0, 15, 90, 7200, 93600)])
