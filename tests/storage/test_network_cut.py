"""A host loses its cable while its guests run: the case in which two guests could write."""

from tests.lab import copies
from tests.lab import guest
from tests.storage import base


class CutTest(base.StorageTest):
    """The cable is back as soon as Nova has taken the call, while the second guest starts."""

    def cut_for_a_while(self):
        """A guest whose host was cut off until its evacuation began; returns its id."""
        ident = self.boot('rbd')[0]
        self.wait_recorded(ident)
        self.lab.cut(self.SOURCE)
        self.report()
        self.wait('Nova has taken the call', lambda: self.recovery() and any(
            m.accepted_at for m in self.moves().values()), 90)
        self.before = self.counts(ident, self.SOURCE)
        self.lab.join(self.SOURCE)
        self.wait('it counts on the spare', lambda: self.counts(ident, self.SPARE), 120)
        return ident

    def overlaps(self, ident):
        """Pairs of boots that wrote to its disk at the same time."""
        return guest.overlaps(self.on_disk(f'vms/{ident}_disk'))


class FencedTest(CutTest):
    """The fence comes first, and stays until nova-compute has cleaned up."""

    def test_one_writer_at_a_time_and_the_old_guest_gets_errors(self):
        ident = self.cut_for_a_while()
        fence = self.store.steps(self.recovery().id, 'fence')[0]
        self.assertEqual('done', fence.state)
        self.assertGreater(self.moves()[ident].intent_at, fence.ended_at)
        self.wait('the old guest gets errors', lambda: any(
            line.what == 'IOERROR' for line in self.lines(ident, self.SOURCE)), 120)
        self.assertIn(ident, self.lab.guests(self.SOURCE), 'it is there, and alive')
        self.wait_over()
        self.assertEqual(self.before, self.counts(ident, self.SOURCE), 'it has written more')
        self.assertGoesOn(ident)
        self.assertEqual([], self.overlaps(ident))

        # Its heartbeats are back, but nothing has cleaned up: it stays out.
        self.wait('it says why the host stays out', lambda: any(
            'restart nova-compute' in e.text for e in self.store.events()), 60)
        self.assertTrue(self.ceph.command('osd dump')['range_blocklist'])
        self.assertTrue(self.cloud.service(self.SOURCE)['forced_down'])
        self.lab.restart_compute(self.SOURCE)
        self.wait('the range is lifted', lambda: any(
            s.state == 'done' for s in self.store.steps(self.recovery().id, 'lift')), 90)
        self.assertEqual({}, self.lab.guests(self.SOURCE), 'its old copy is gone')
        dump = self.ceph.command('osd dump')
        self.assertFalse(dump['range_blocklist'])
        self.assertTrue(dump['blocklist'], 'single entries stay')
        self.lab.bring_back(self.SOURCE)
        self.wait('it is in service again', lambda: self.recovery().released_at, 60)
        self.assertTrue(self.boot('rbd'), 'new guests run there')


class UnfencedTest(CutTest):
    """The same with the fence switched off: the test above can fail."""

    overrides = {'fence.driver': 'none', 'fence.unsafe_without_fence': 'true'}

    def wait_recorded(self, *idents):
        """Nobody reads the storage."""

    def test_two_guests_write_to_one_disk(self):
        with copies.Copies(self.lab) as witness:
            ident = self.cut_for_a_while()
            for host in (self.SOURCE, self.SPARE):
                begin = len(self.counts(ident, host))
                self.wait(f'it counts on {host}', lambda host=host, begin=begin: (
                    len(self.counts(ident, host)) > begin + 20), 120)
        self.assertTrue(self.overlaps(ident))
        self.assertEqual({self.SOURCE, self.SPARE}, set(witness.wrong[-1][1][ident]))
