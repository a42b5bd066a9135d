"""A guest's boot image is read from its own host, as soon as that has a copy."""

import pathlib
import subprocess
import tempfile
import time
import unittest

from tests.lab.common import Progress
from tests.lab import guest
from tests.lab import packages
from tests.lab.storage import StorageLab
from vmha_nova.ceph import placement

MEGABYTES = 64                          # of the boot image that a guest reads
BEHIND = 33                             # MiB before what it reads


class LocalBootTest(unittest.TestCase):
    """compute4 has just joined, and holds no copy of anything."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-boot-'))
        self.addCleanup(self.folder.rmdir)
        packages.ensure_packages(Progress(), packages.LIBVIRT)
        self.kernel, self.initrd = guest.build()
        self.lab = StorageLab.up(self.folder / 'lab', 4, without=('compute4',))
        self.addCleanup(self.lab.down)
        self.ceph = self.lab.ceph

    def make_image(self):
        """A boot image of random bytes, as Glance keeps it: protected by a snapshot."""
        import rbd
        with self.ceph.pool('images') as ioctx:
            size = (BEHIND + MEGABYTES) << 20
            rbd.RBD().create(ioctx, 'boot', size, old_format=False)
            with rbd.Image(ioctx, 'boot') as image, open('/dev/urandom', 'rb') as random:
                for at in range(BEHIND << 20, size, 4 << 20):
                    image.write(random.read(4 << 20), at)
                image.create_snap('snap')
                image.protect_snap('snap')

    def boot(self, name):
        """Boot a guest on compute4 from a clone; the bytes each host's OSD served meanwhile."""
        import rbd
        with self.ceph.pool('images') as images, self.ceph.pool('vms') as vms:
            rbd.RBD().clone(images, 'boot', 'snap', vms, name, features=rbd.RBD_FEATURE_LAYERING)
        before = self.served()
        console = self.folder / 'lab' / f'{name}.log'
        with console.open('w', encoding='utf-8') as output:
            qemu = subprocess.Popen(self.lab.boxes['compute4'].command([
                'qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '96', '-nodefaults',
                '-display', 'none', '-no-reboot', '-kernel', self.kernel, '-initrd', self.initrd,
                '-append', f'{guest.COMMAND_LINE} scan={MEGABYTES}', '-serial', 'stdio', '-drive',
                (f'file=rbd:vms/{name}:id=nova:conf=/etc/ceph/ceph.conf,format=raw,if=virtio,'
                 'cache=none')]), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            end = time.monotonic() + 120
            while not guest.console(console.read_text(encoding='utf-8')):
                self.assertLess(time.monotonic(), end, console.read_text(encoding='utf-8'))
                time.sleep(0.2)
        finally:
            qemu.kill()
            qemu.wait()
        self.assertIn('VMHA SCANNED', console.read_text(encoding='utf-8'))
        after = self.served()
        return {host: after[host] - before.get(host, 0) for host in after}

    def served(self):
        """Bytes that clients have read from each OSD so far, by its host."""
        numbers = {self.ceph.osd_id(host): host for host in self.lab.boxes}
        return {numbers[osd['osd']]: self.ceph.command(
            'perf dump', target=osd['osd'])['osd']['op_r_out_bytes']
            for osd in self.ceph.command('osd dump')['osds']}

    def test_a_host_that_has_just_joined_boots_at_once_and_from_its_own_disk_later(self):
        self.make_image()
        served = self.boot('early')
        self.assertNotIn('compute4', served)
        self.assertGreaterEqual(sum(served.values()), MEGABYTES << 20)

        self.ceph.add_osd('compute4')
        self.ceph.wait_clean(180)
        # What was written last in a group is served by a replica after the group's next write, if
        # that comes when all have the one before: one group of sixteen was late for it once.
        with self.ceph.pool('images') as ioctx:
            for _ in range(2):
                for name in placement.names(16):
                    ioctx.write_full(name, b'x')
                    ioctx.remove_object(name)
                time.sleep(1)
        served = self.boot('late')
        share = served['compute4'] / sum(served.values())
        print(f'{share:.1%} of {sum(served.values()) >> 20} MiB came from its own disk: {served}')
        self.assertGreaterEqual(sum(served.values()), MEGABYTES << 20)
        self.assertGreaterEqual(share, 0.95)
