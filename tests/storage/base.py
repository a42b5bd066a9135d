"""One cloud with Ceph and libvirt for all of these tests, and a clean state for each.

Set VMHA_TEST_STORAGE_LAB to the folder of such a lab that is up (four hosts) to use that one; it
is left running. VMHA_ALL=1 runs those as well that continuous integration has no time for.
"""

import atexit
import contextlib
import os
import pathlib
import tempfile
import unittest

from tests.lab import case
from tests.lab.common import LabError
from tests.lab import fresh
from tests.lab import guest
from tests.lab import lab
from tests.lab import vmha

_lab = None

#: What only runs where somebody asks for everything.
all_only = unittest.skipUnless(os.environ.get('VMHA_ALL', '') not in ('', '0'),
                               'takes minutes: VMHA_ALL=1 or tools/run_tests.sh --all runs it')


def the_lab():
    """The lab, brought up by the first test that asks."""
    global _lab
    if _lab is None:
        mine = os.environ.get('VMHA_TEST_STORAGE_LAB')
        if mine:
            _lab = lab.Lab.load(mine)
        else:
            folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-storage-')) / 'lab'
            atexit.register(_end, folder)
            _lab = lab.Lab.up(folder, hosts=4, storage='ceph', virt='libvirt',
                              network='ovs')
    return _lab


def _end(folder):
    """Stop the lab; VMHA_KEEP_LOGS keeps its folder."""
    keep = 'VMHA_KEEP_LOGS' in os.environ
    lab.tear_down(folder, wipe=not keep)
    if not keep:
        folder.parent.rmdir()


class StorageTest(case.RecoveryTest):
    """With libvirt and Ceph: real guests, which count."""

    overrides = {}

    def setUp(self):
        super().setUp()
        self.lab = the_lab()
        self.cloud = self.lab.cloud()
        self.ceph = self.lab.ceph
        self.vmha = vmha.Vmha(self.lab)
        self.addCleanup(self._clean)
        self._clean()
        self.vmha.configure(self.overrides)
        self.vmha.sync()
        self.vmha.set_spare(self.SPARE)
        self.vmha.start_engine()
        self.store = self.vmha.store()

    def _clean(self):
        """Nothing of us runs, and the cloud is as it was when it came up."""
        for kill in (self.vmha.kill_monitor, self.vmha.kill_engine):
            with contextlib.suppress(LabError):     # never started
                kill()
        fresh.freshen(self.lab)

    # -- guests ---------------------------------------------------------------------------------
    def boot(self, storage='rbd', count=1, host=None, **options):
        """Guests on the host that will die; returns their ids once all of them count."""
        host = host or self.SOURCE
        servers = self.lab.boot(host, count, storage=storage, name=storage, **options)
        idents = [s['id'] for s in servers]
        for ident in idents:
            self.wait(f'{storage} guest counts', lambda ident=ident: self.counts(ident, host), 60)
        return idents

    def lines(self, ident, host):
        """The lines that a guest has written to its console on a host."""
        return guest.console(self.lab.console(ident, host))

    def counts(self, ident, host):
        """The numbers it has reported there as written."""
        return [line.count for line in self.lines(ident, host) if line.what == 'COUNT']

    def on_disk(self, image):
        """What a guest has written to its disk ``pool/name``: guest.Records."""
        import rbd
        pool, _, name = image.partition('/')
        with self.ceph.pool(pool) as ioctx, rbd.Image(ioctx, name, read_only=True) as opened:
            return guest.records(opened.read(0, guest.SLOT * (guest.RING + 1)))

    def wait_recorded(self, *idents):
        """Wait until the engine has on record who uses their disks, as they are in Nova now."""
        def recorded():
            known = self.store.disks()
            return all(i in known and (all(known[i].images.values()) or known[i].problem)
                       and known[i].stamp.startswith(self.cloud.server(i)['updated'])
                       for i in idents)
        self.wait('disks on record', recorded, 60)

    def assertGoesOn(self, ident, host=None):
        """Its counter goes on elsewhere from the last number it had reported, or above."""
        before = self.counts(ident, self.SOURCE)
        host = host or self.SPARE
        after = self.wait(f'{ident} counts on {host}', lambda: self.counts(ident, host), 90)
        start = [n for n in self.lines(ident, host) if n.what == 'START'][0]
        self.assertGreaterEqual(start.count, before[-1], 'what was acknowledged is lost')
        self.assertEqual(start.count + 1, after[0])
