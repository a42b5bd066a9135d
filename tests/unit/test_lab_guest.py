"""The guest that counts: what its console and its disk are read as."""

import dataclasses
import unittest

from tests.lab import guest

OLD, NEW = '00000000000000aa', '00000000000000bb'


def slot(count, boot, found, time=1000.0):
    """The bytes of a slot, as the guest writes it."""
    return f'VMHA {count} {boot} {found} {time:.3f} 0\n'.encode().ljust(guest.SLOT, b'\0')


def disk(*slots):
    """A disk whose slot 0 is empty, with these slots in the ring."""
    return b'\0' * guest.SLOT + b''.join(slots)


class ConsoleTest(unittest.TestCase):
    def test_what_is_reported(self):
        found = guest.console(f'VMHA START 7 boot={OLD} t=1000.250\r\n'
                              f'VMHA COUNT 8 boot={OLD} t=1000.500\r\n'
                              f'VMHA IOERROR 9 boot={OLD} t=1000.750 Input/output error\r\n')
        self.assertEqual(
            [('START', 7, OLD, 1000.25), ('COUNT', 8, OLD, 1000.5), ('IOERROR', 9, OLD, 1000.75)],
            [dataclasses.astuple(one) for one in found])

    def test_a_line_counts_when_it_is_complete(self):
        line = f'VMHA COUNT 12 boot={OLD} t=1000.500'
        self.assertEqual([], guest.console(line))
        self.assertEqual([12], [one.count for one in guest.console(line + '\n')])

    def test_what_others_write_is_left_out(self):
        text = ('[    0.512] virtio_blk virtio0: [vda] 8192 512-byte logical blocks\n'
                'VMHA MODULE virtio: No such file or directory\nVMHA SCANNED\n'
                'VMHA NODISK No such device\nVMHA COUNT x boot=00 t=1\n')
        self.assertEqual([], guest.console(text))
        self.assertEqual([], guest.console(''))

    def test_what_the_firmware_writes_before_it_in_the_same_line(self):
        found = guest.console(f'\x1b[2J\x1bcVMHA START 0 boot={OLD} t=5.0\n')
        self.assertEqual([guest.Line('START', 0, OLD, 5.0)], found)


class RecordsTest(unittest.TestCase):
    def test_by_number_wherever_they_are(self):
        found = guest.records(disk(slot(9, NEW, 7, 1002.5), slot(8, OLD, 0), slot(7, OLD, 0)))
        self.assertEqual([7, 8, 9], [record.count for record in found])
        self.assertEqual(guest.Record(9, NEW, 7, 1002.5), found[-1])

    def test_what_was_never_written_is_none(self):
        empty = b'\0' * guest.SLOT
        self.assertEqual([], guest.records(b''))
        self.assertEqual([], guest.records(disk(empty, empty)))
        self.assertEqual([1], [r.count for r in guest.records(disk(empty, slot(1, OLD, 0)))])

    def test_slot_0_is_not_in_the_ring(self):
        self.assertEqual([], guest.records(slot(5, OLD, 0)))

    def test_what_is_behind_the_ring_is_not_in_it(self):
        ring = b'\0' * guest.SLOT * (guest.RING + 1)
        self.assertEqual([], guest.records(ring + slot(5, OLD, 0)))
        last = ring[:-guest.SLOT] + slot(5, OLD, 0)
        self.assertEqual([5], [record.count for record in guest.records(last)])

    def test_a_slot_that_is_torn_is_none(self):
        self.assertEqual([], guest.records(disk(slot(5, OLD, 0)[:20].ljust(guest.SLOT, b'\0'))))


class OverlapsTest(unittest.TestCase):
    @staticmethod
    def written(*parts):
        """Records of (boot, what it found, first number, last one)."""
        return [guest.Record(count, boot, found, 1000.0)
                for boot, found, first, last in parts for count in range(first, last + 1)]

    def test_one_after_the_other(self):
        self.assertEqual([], guest.overlaps([]))
        self.assertEqual([], guest.overlaps(self.written((OLD, 0, 1, 9))))
        self.assertEqual([], guest.overlaps(self.written((OLD, 0, 1, 9), (NEW, 9, 10, 20))))

    def test_three_one_after_the_other(self):
        found = self.written((OLD, 0, 1, 9), (NEW, 9, 10, 20), ('c' * 16, 20, 21, 30))
        self.assertEqual([], guest.overlaps(found))

    def test_the_old_one_writes_on_after_the_new_one_has_started(self):
        found = self.written((OLD, 0, 1, 12), (NEW, 9, 10, 11))
        self.assertEqual([(OLD, NEW)], guest.overlaps(found))

    def test_their_clocks_do_not_matter(self):
        found = [guest.Record(1, OLD, 0, 2000.0), guest.Record(2, NEW, 1, 1000.0)]
        self.assertEqual([], guest.overlaps(found))

    def test_two_that_started_from_the_same_number(self):
        found = self.written((OLD, 5, 6, 9), (NEW, 5, 6, 9))
        self.assertEqual({(OLD, NEW), (NEW, OLD)}, set(guest.overlaps(found)))

    def test_what_was_written_and_never_acknowledged_is_no_overlap(self):
        found = self.written((OLD, 0, 1, 10), (NEW, 10, 11, 20))
        self.assertEqual([], guest.overlaps(found))


class ArchiveTest(unittest.TestCase):
    def test_what_the_kernel_unpacks(self):
        data, at, found = guest.cpio({'init': b'12345', 'modules/a.ko': b'x'}), 0, {}
        while at < len(data):
            self.assertEqual(b'070701', data[at:at + 6])
            fields = [int(data[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in range(13)]
            mode, size, name_size = fields[1], fields[6], fields[11]
            name = data[at + 110:at + 110 + name_size - 1].decode()
            body = at + (110 + name_size + 3) // 4 * 4
            found[name] = mode, data[body:body + size]
            at = body + (size + 3) // 4 * 4
        self.assertEqual(['modules', 'init', 'modules/a.ko', 'TRAILER!!!'], list(found))
        self.assertEqual((0o040755, b''), found['modules'])
        self.assertEqual((0o100755, b'12345'), found['init'])
