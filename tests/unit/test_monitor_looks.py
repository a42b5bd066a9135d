"""What vmha-monitor makes of one look at Nova after the other."""

import dataclasses
import unittest

from vmha_nova import model
from vmha_nova.monitor import looks
from vmha_nova.nova import records


class BeatsTest(unittest.TestCase):
    """Nova's updated_at is that of the row, which others write to as well."""

    def setUp(self):
        super().setUp()
        self.service = model.Service(
            host='c1', id='1', up=True, enabled=True, disabled_reason='', forced_down=False,
            beat='12:00')
        self.look = looks.NovaLooks(self, lambda: 0.0)

    def services(self):
        return records.ServiceList([self.service])

    def hypervisors(self):
        return []

    def beat(self, **changes):
        """The beat of the host, after something has changed in Nova."""
        self.service = dataclasses.replace(self.service, **changes)
        found = self.look()
        self.changed = 'c1' in found.changed
        return found.beats['c1']

    def test_a_beat_is_a_beat(self):
        first = self.beat()
        self.assertEqual(first, self.beat())
        self.assertNotEqual(first, self.beat(beat='12:10'))

    def test_to_force_down_disable_or_enable_is_no_beat(self):
        first = self.beat()
        for changes in ({'forced_down': True, 'beat': '12:11'},
                        {'enabled': False, 'disabled_reason': 'dead', 'beat': '12:12'},
                        {'enabled': True, 'forced_down': False, 'beat': '12:13'}):
            self.assertEqual(first, self.beat(**changes))
            self.assertTrue(self.changed, 'that it has not beaten cannot be told')
            self.assertEqual(first, self.beat(), 'nor is it one later')
            self.assertFalse(self.changed)
        self.assertNotEqual(first, self.beat(beat='12:20'))
