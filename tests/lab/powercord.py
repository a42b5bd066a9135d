"""The quickstart with real guests: each counts on its disk, and shows what it lost.

Two have root disks on Ceph's RBD, one is booted from a Cinder volume, one has a file of its host
for a disk. The last must stay where it is: evacuated, it would begin with an empty disk.
"""

import dataclasses
import time

from tests.lab.common import wait_until
from tests.lab import lab as labs
from tests.lab import quickstart
from tests.lab.quickstart import VICTIM
from tests.lab import show
from tests.lab import vmha

#: Storage and number of the guests; nova-compute is restarted for those with a local disk.
GUESTS = (('local', 1), ('rbd', 2), ('volume', 1))
_RECORDED_SECONDS = 60


@dataclasses.dataclass
class Guest:
    """What is seen of one guest.

    :ivar path: of its console on the host that dies
    :ivar first_after: the first number that it wrote on another host, None while there is none
    :ivar found: the number that it found on its disk there
    :ivar first_at: when that first number was seen, seconds since 1970, by this machine's clock
    """

    id: str
    name: str
    storage: str
    path: object
    first_after: int | None = None
    found: int | None = None
    first_at: float | None = None

    def row(self, before):
        """What the report says of it. ``before``: the last number it wrote on the dead host."""
        back = self.first_after is not None
        return {
            'name': self.name, 'storage': self.storage,
            # The console's file was last written when it said that number.
            'outage_s': round(self.first_at - self.path.stat().st_mtime, 2) if back else None,
            'last_before': before, 'first_after': self.first_after,
            'lost': max(0, before - self.found) if back else None}


class PowerCord(quickstart.Quickstart):
    """One run; options and output as of Quickstart."""

    UNSAFE = ''
    FENCE = (' Before it moves anything from a host, it has Ceph take nothing from the clients of '
             'that host any more, and waits until every OSD keeps to that.')
    DEATH = ('all its processes get a SIGKILL at once: guests, nova-compute, libvirt, and the '
             'OSD that keeps a part of everybody\'s data')
    STAY = (' The guest with a local disk must have been left alone.')

    def __init__(self, options, stream=None):
        super().__init__(options, stream)
        self.guests = []

    def up(self):
        """A cloud on Ceph, and the guests."""
        self.head(f'A small OpenStack cloud on this machine, with Ceph and libvirt, and with '
                  f'{self.options.hosts} compute nodes in network namespaces. Nothing is fake: '
                  'each node has a disk of Ceph\'s (OSD), and real guests in QEMU, emulated. '
                  f'Four of them boot on {VICTIM}; each writes an increasing number to its disk, '
                  'makes sure that it is there, and says it on its console.')
        with self.progress.phase('the cloud'):
            self.lab = labs.Lab.up(self.folder, self.options.hosts, storage='ceph',
                                   virt='libvirt', progress=self.progress)
        self.service = vmha.Vmha(self.lab)
        with self.progress.phase(f'guests on {VICTIM}'):
            for storage, number in GUESTS:
                self.guests += [
                    Guest(server['id'], server['name'], storage, self.lab.console_file(
                        server['id'], VICTIM))
                    for server in self.lab.boot(VICTIM, number, storage=storage, name=storage)]
        self.staying = {guest.id for guest in self.guests if guest.storage == 'local'}

    def prepare(self):
        """As ever, until it is on record which clients of Ceph the guests are."""
        super().prepare()
        store = self.service.store()

        def recorded():
            known = store.disks()
            return all(guest.id in known and (known[guest.id].problem or all(
                known[guest.id].images.values())) for guest in self.guests)

        with self.progress.phase('clients of Ceph on record'):
            wait_until('clients of Ceph on record', recorded, _RECORDED_SECONDS, 0.2)

    def look_at_guests(self):
        """See who counts elsewhere; whether all do that are to."""
        for guest in self.guests:
            if guest.first_after is None:
                self._look_at(guest)
        return all(guest.first_after is not None or guest.id in self.staying
                   for guest in self.guests)

    def _look_at(self, guest):
        for host in self.lab.hosts:
            counts = self.lab.counts(guest.id, host) if host != VICTIM else ()
            if counts:
                guest.first_after, guest.first_at = counts[0].count, time.time()
                guest.found = next(line.count for line in self.lab.lines(guest.id, host)
                                   if line.what == 'START')

    def report(self, rows, problem, found, begun):
        """As ever, with the guests, and when the fence was in force."""
        fences = rows.recovery and [
            step.ended_at for step in rows.store.steps(rows.recovery.id, 'fence')
            if step.state == 'done']
        return super().report(rows, problem, found, begun) | {
            'storage': 'ceph',
            'fence_in_force_s': quickstart.since(begun, fences[0]) if fences else None,
            'guests': [guest.row(self.lab.counts(guest.id, VICTIM)[-1].count)
                       for guest in self.guests]}

    def confirm(self, report):
        """Show what the guests found; whether nothing is lost, and the local one is left alone."""
        self.say('What the guests say. Every number was on the disk before it was said, so the '
                 'first that is found there after the move may not be lower than the last that '
                 'was said before. "Outage" counts from the last number to the next one.')
        show.table(('guest', 'disk', 'outage (s)', 'last before', 'first after', 'lost'), [
            (row['name'], row['storage'], row['outage_s'], row['last_before'],
             '(left alone)' if row['first_after'] is None else row['first_after'], row['lost'])
            for row in report['guests']], self.stream)
        lost = [row['lost'] for row in report['guests'] if row['storage'] != 'local']
        local = [row['first_after'] for row in report['guests'] if row['storage'] == 'local']
        return lost == [0] * len(lost) and local == [None]
