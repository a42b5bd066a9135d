"""The quickstart with real guests, as far as it goes without any."""

import io
import os
import pathlib
import tempfile
import types
import unittest

from tests.lab import guest
from tests.lab import powercord
from tests.lab import quickstart
from tests.lab import watch


class PowerCordTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / 'console.log'
        self.path.touch()
        os.utime(self.path, (1000.0, 1000.0))
        self.cord = powercord.PowerCord(quickstart._options(['--storage', 'ceph']), io.StringIO())
        self.cord.guests = [powercord.Guest('u1', 'rbd-1', 'rbd', self.path),
                           powercord.Guest('u2', 'local', 'local', self.path)]
        self.cord.staying = {'u2'}
        self.said = {}                  # host -> console of u1 there
        self.cord.lab = types.SimpleNamespace(
            hosts=['compute1', 'compute4'], lines=self.lines,
            counts=lambda ident, host: [n for n in self.lines(ident, host) if n.what == 'COUNT'])

    def lines(self, ident, host):
        return guest.console(self.said.get(host, '')) if ident == 'u1' else []

    def row(self, last=7):
        self.cord.guests[0].first_at = self.cord.guests[0].first_at and 1012.5
        return self.cord.guests[0].row(last)

    def test_what_counts_on_the_dead_host_is_no_recovery(self):
        self.said['compute1'] = 'VMHA COUNT 7 boot=00000000000000aa t=1.0\n'
        self.assertFalse(self.cord.look_at_guests())
        self.assertEqual((None, None, None), tuple(
            self.row()[key] for key in ('outage_s', 'first_after', 'lost')))

    def test_a_guest_that_has_booted_and_written_nothing_is_not_back(self):
        self.said['compute4'] = 'VMHA START 7 boot=00000000000000bb t=9.0\n'
        self.assertFalse(self.cord.look_at_guests())

    def test_nothing_lost(self):
        self.said['compute4'] = ('VMHA START 8 boot=00000000000000bb t=9.0\n'
                                 'VMHA COUNT 9 boot=00000000000000bb t=9.3\n')
        self.assertTrue(self.cord.look_at_guests())
        self.assertEqual({'name': 'rbd-1', 'storage': 'rbd', 'outage_s': 12.5, 'last_before': 7,
                          'first_after': 9, 'lost': 0}, self.row())

    def test_two_numbers_lost(self):
        self.said['compute4'] = ('VMHA START 5 boot=00000000000000bb t=9.0\n'
                                 'VMHA COUNT 6 boot=00000000000000bb t=9.3\n')
        self.cord.look_at_guests()
        self.assertEqual(2, self.row()['lost'])

    def confirm(self, lost, local=None):
        return self.cord.confirm({'guests': [
            {'name': 'rbd-1', 'storage': 'rbd', 'outage_s': 1.0, 'last_before': 7,
             'first_after': 8, 'lost': lost},
            {'name': 'local', 'storage': 'local', 'outage_s': None, 'last_before': 7,
             'first_after': local, 'lost': None}]})

    def test_what_is_good(self):
        self.assertTrue(self.confirm(0))
        self.assertFalse(self.confirm(1))
        self.assertFalse(self.confirm(None))
        self.assertFalse(self.confirm(0, local=1))
        self.assertIn('left alone', self.cord.stream.getvalue())


class StayedTest(unittest.TestCase):
    """Nova's word on a server that had to be left alone."""

    def problems(self, host, records=()):
        before = {'id': 'u1', 'name': 'local', 'status': 'ACTIVE'}
        after = {'OS-EXT-SRV-ATTR:host': host, 'status': 'ACTIVE'}
        return watch.stayed(before, after, records, 'compute1', '', None).problems

    def test_there(self):
        self.assertEqual((), self.problems('compute1'))

    def test_moved(self):
        self.assertIn('was to stay', self.problems('compute4')[0])

    def test_tried(self):
        self.assertIn('left alone', self.problems('compute1', [{}])[0])
