"""Times and texts of the commands, as they are typed and shown."""

import datetime
import unittest

from vmha_nova.osc import text

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)


class TimeTest(unittest.TestCase):

    def test_durations(self):
        for seconds, shown in ((-5, '0.0s'), (3.21, '3.2s'), (9.96, '10s'), (59.4, '59s'),
                               (59.6, '1m00s'), (62, '1m02s'), (7385, '2h03m'),
                               (273600, '3d04h')):
            self.assertEqual(shown, text.duration(seconds))

    def test_until(self):
        for typed, sent in (('+30m', '2026-03-01T12:30:00+00:00'),
                            ('+2h', '2026-03-01T14:00:00+00:00'),
                            ('+1d', '2026-03-02T12:00:00+00:00'),
                            ('+1h30m', '2026-03-01T13:30:00+00:00'),
                            ('2026-03-02T18:00', '2026-03-02T18:00:00+00:00'),
                            ('2026-03-02T18:00+02:00', '2026-03-02T18:00:00+02:00'),
                            ('2026-03-02T18:00:05Z', '2026-03-02T18:00:05+00:00'),
                            ('2026-03-02', '2026-03-02T00:00:00+00:00'), ('never', None)):
            self.assertEqual(sent, text.until(typed, NOW), typed)

    def test_until_that_is_no_time(self):
        for typed in ('', '+', '2h', '+2', '+2w', '+m', 'tomorrow', '+99999999999d', '+1m2h'):
            with self.assertRaises(ValueError, msg=typed) as raised:
                text.until(typed, NOW)
            self.assertNotIn('Invalid isoformat', str(raised.exception))

    def test_a_time_is_shown_in_utc(self):
        self.assertEqual('2026-03-01 10:00:00Z', text.clock(text.time('2026-03-01T12:00+02:00')))

    def test_counts(self):
        self.assertEqual('18 moved, 2 failed', text.tally({'failed': 2, 'moved': 18, 'left': 0}))
        self.assertEqual(['1 host', '0 hosts'], [text.count(n, 'host') for n in (1, 0)])


class WidthTest(unittest.TestCase):

    def test_widths(self):
        for value, columns in (('abc', 3), ('中文', 4), ('e\u0301', 1), ('a\u200bb', 2)):
            self.assertEqual(columns, text.width(value), value)

    def test_cut(self):
        self.assertEqual('short', text.cut('short', 5))
        self.assertEqual('long…', text.cut('longer', 5))
        self.assertEqual('lo..', text.cut('longer', 4, '..'))
        self.assertEqual('中…', text.cut('中文字', 4))

    def test_the_end_of_a_name_tells_it_apart(self):
        names = [text.cut(f'web-frontend-of-shop-{n:04}', 12, middle=True) for n in range(50)]
        self.assertEqual(50, len(set(names)))
        self.assertEqual({12}, set(map(text.width, names)))

    def test_wrapped_lines_fit_and_lose_nothing(self):
        for value in ('one two three four', 'a' * 25 + ' b', '中文' * 9, 'x', ''):
            for room in (2, 5, 8, 40):
                lines = text.wrap(value, room)
                self.assertTrue(all(text.width(line) <= room for line in lines), lines)
                self.assertEqual(value.replace(' ', ''), ''.join(lines).replace(' ', ''))

    def test_parts_are_not_broken(self):
        self.assertEqual(['a b   c d', 'e f'], text.wrap_parts(['a b', 'c d', 'e f'], 9))

    def test_nothing_is_obeyed_by_a_terminal(self):
        self.assertEqual('a b?[31mred', text.clean('a\r\nb\x1b[31mred'))

    def test_encodings(self):
        self.assertTrue(text.encodable('█', 'utf-8'))
        for encoding in ('ascii', 'latin-1', None, 'no-such-encoding'):
            self.assertFalse(text.encodable('█', encoding))
            self.assertEqual('?a', text.shown('█a', encoding))
        self.assertEqual('█a', text.shown('█a', 'utf-8'))
