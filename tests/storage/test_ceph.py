"""The adapter to Ceph against a real cluster: four hosts with an OSD each, clients that write."""

import contextlib
import errno
import pathlib
import tempfile
import time
import unittest
import uuid

from tests.lab import bindings
from tests.lab.common import wait_until
from tests.lab.network import STORAGE
from tests.lab.storage import StorageLab
from tests.lab.writer import Writer
from vmha_nova import ceph
from vmha_nova import exception

YEAR = 365 * 86400
TIMEOUT = 3.0                           # of the adapter
BOUND = 2 * TIMEOUT + 3                 # seconds that no call may last

class CephTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-functional-ceph-'))
        cls.addClassCleanup(folder.rmdir)
        cls.lab = StorageLab.up(folder / 'lab')
        cls.addClassCleanup(cls.lab.down)
        bindings.expose()

    def setUp(self):
        super().setUp()
        self.ceph = self.adapter('vmha')
        self.addCleanup(self.healthy)

    def adapter(self, user):
        made = ceph.Ceph(str(self.lab.ceph.conf_file), user, str(self.lab.ceph.keyring(user)),
                         TIMEOUT)
        self.addCleanup(made.close)
        return made

    def healthy(self):
        """Everything runs, and nothing of the tests' is on the blocklist."""
        for name in ('mon', 'mgr'):
            if not self.lab.ceph.alive(name):
                self.lab.ceph.revive(name)
        for host, box in self.lab.boxes.items():
            if not box.alive():
                self.lab.start_host(host)
            elif not self.lab.ceph.alive(f'osd.{host}'):
                self.lab.ceph.start_osd(host)
        self.lab.ceph.wait_clean()
        for one in self.ceph.map().ranges:
            self.ceph.remove_range(one)

    def image(self, *features):
        """A new image, with the features named and no others: 'pool/name'."""
        import rbd
        name = uuid.uuid4().hex
        ioctx = self.lab.ceph.pool('vms')
        self.addCleanup(ioctx.close)
        rbd.RBD().create(ioctx, name, 64 << 20, old_format=False,
                         features=sum(getattr(rbd, f'RBD_FEATURE_{f}') for f in features) or 1)
        return f'vms/{name}'

    def writer(self, host, image):
        """A writer that writes."""
        made = Writer(self.lab, host, image)
        self.addCleanup(made.stop)
        made.wait('wrote')
        return made

    @contextlib.contextmanager
    def frozen(self, name):
        """Within, a daemon is stopped where it stands."""
        self.lab.ceph.freeze(name)
        try:
            yield
        finally:
            self.lab.ceph.thaw(name)

    def unreachable(self, call, *args):
        """It says so, in time."""
        begin = time.monotonic()
        with self.assertRaises(exception.Unreachable):
            call(*args)
        self.assertLess(time.monotonic() - begin, BOUND, call.__name__)

    # -- clients --------------------------------------------------------------------------------
    def test_clients_seen_and_fenced(self):
        """Two hosts write to one image; the fence of one ends it there, and only there."""
        image = self.image('LAYERING')
        one, two = self.writer('compute1', image), self.writer('compute2', image)
        clients = self.ceph.clients()
        for writer in (one, two):
            self.assertEqual('client.nova', clients[writer.address])
            self.assertEqual(self.lab.network.address(writer.host, STORAGE),
                             writer.address.partition(':')[0])
        self.assertEqual({one.address, two.address}, self.ceph.users(image))
        self.assertEqual({image: {one.address, two.address}, 'vms/none': None},
                         self.ceph.users_of([image, 'vms/none']))
        before = self.ceph.map()
        self.assertEqual({}, self.ceph.add([one.address], [], YEAR))
        after = self.ceph.map()
        self.assertGreater(after.epoch, before.epoch)
        self.assertEqual({one.address}, after.entries - before.entries)
        self.assertEqual(frozenset(), self.ceph.enforced(after.epoch, ['vms'], 5.0))
        proven = time.monotonic()
        self.assertEqual(errno.ESHUTDOWN, one.wait('error'))
        two.wait('wrote', proven + 1.0)
        self.assertEqual([], two.said('error'))
        # The last write that was taken was taken before that was proven. (Its line needs a
        # moment to get here.)
        self.assertLess(one.said('wrote')[-1][0], proven + 0.1)
        self.assertEqual([], one.said('revived'))
        # It still holds a session: a fenced client can be found for as long as it lives.
        self.assertIn(one.address, self.ceph.clients())

    def test_a_client_that_dies(self):
        """Its session is over at once; its lock stays, and tells who it was."""
        image = self.image('LAYERING', 'EXCLUSIVE_LOCK')
        writer = self.writer('compute1', image)
        address = writer.address
        self.assertIn(address, self.ceph.clients())
        writer.stop()
        wait_until('the end of its session', lambda: address not in self.ceph.clients(), 5, 0.02)
        self.assertEqual({address}, self.ceph.users(image))

    def test_images(self):
        image = self.image()
        self.assertTrue(self.ceph.has_image(image))
        self.assertEqual(frozenset(), self.ceph.users(image))
        self.assertFalse(self.ceph.has_image(image + 'x'))
        with self.assertRaises(exception.NotFound):
            self.ceph.users(image + 'x')
        for call in (self.ceph.users, self.ceph.has_image):
            with self.assertRaises(exception.Rejected) as caught:
                call('nowhere/x')
            self.assertNotIsInstance(caught.exception, exception.NotFound)

    def test_a_clone(self):
        """Also one whose parent is lost: it is there all the same."""
        import rbd
        parent, child = self.image('LAYERING').partition('/')[2], uuid.uuid4().hex
        ioctx = self.lab.ceph.pool('vms')
        self.addCleanup(ioctx.close)
        with rbd.Image(ioctx, parent) as opened:
            opened.create_snap('s')
            opened.protect_snap('s')
            ident = opened.id()
        rbd.RBD().clone(ioctx, parent, 's', ioctx, child)
        self.assertEqual(frozenset(), self.ceph.users(f'vms/{child}'))
        ioctx.remove_object(f'rbd_header.{ident}')
        with self.assertRaises(exception.VmhaError) as caught:
            self.ceph.users_of([f'vms/{child}'])
        self.assertNotIsInstance(caught.exception, exception.NotFound)
        self.assertTrue(self.ceph.has_image(f'vms/{child}'))

    # -- ranges ---------------------------------------------------------------------------------
    def test_a_range(self):
        """The whole address is cut off, but not the OSD there; and what lifting it brings back."""
        lost, kept, other = (self.writer(host, self.image('LAYERING'))
                             for host in ('compute1', 'compute1', 'compute2'))
        ip = self.lab.network.address('compute1', STORAGE)
        self.assertEqual({}, self.ceph.add([kept.address], [f'{ip}/32'], YEAR))
        storage = self.ceph.map()
        self.assertIn(f'{ip}/32', storage.ranges)
        self.assertEqual(frozenset(), self.ceph.enforced(storage.epoch, ['vms'], 5.0))
        for writer in (lost, kept):
            self.assertEqual(errno.ESHUTDOWN, writer.wait('error'))
        late = Writer(self.lab, 'compute1', self.image())
        self.addCleanup(late.stop)
        self.assertEqual(errno.ESHUTDOWN, late.wait('error'))
        self.assertIn(late.address, self.ceph.clients())
        # The OSD beside them serves, and may even start anew.
        self.lab.ceph.kill_osd('compute1')
        wait_until('osd down', lambda: not self.lab.ceph.osd_up('compute1'), 60)
        self.lab.ceph.start_osd('compute1')
        self.lab.ceph.wait_clean()
        self.assertEqual({}, self.ceph.unanswered(storage.epoch, ['vms'], 5.0))
        other.wait('wrote', time.monotonic())
        # Lifting it brings clients back to life that have no entry of their own.
        self.ceph.remove_range(f'{ip}/32')
        lifted = time.monotonic()
        storage = self.ceph.map()
        self.assertNotIn(f'{ip}/32', storage.ranges)
        self.assertIn(kept.address, storage.entries)
        lost.wait('revived', lifted)
        kept.wait('still', lifted + 3.0)
        self.assertEqual([], kept.said('revived'))

    def test_an_entry_that_was_there_before(self):
        """Ceph does not prolong it. Under a range it can be renewed; else it is told."""
        entry, other = '10.90.0.99:0/1', '10.90.0.98:0/1'
        self.assertEqual({}, self.ceph.add([entry], [], 600))
        early = self.ceph.add([entry, other], [], YEAR)
        self.assertEqual({entry}, set(early))
        self.assertEqual({}, self.ceph.add([entry], ['10.90.0.99/32'], YEAR))
        self.assertIn(entry, self.ceph.map().entries)

    def test_many_at_once(self):
        entries = [f'10.90.0.97:0/{n}' for n in range(1, 201)]
        begin = time.monotonic()
        self.ceph.add(entries, ['10.90.0.97/32'], YEAR)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertLessEqual(set(entries), self.ceph.map().entries)

    # -- the map and the OSDs ---------------------------------------------------------------------
    def test_map(self):
        found = self.ceph.map()
        self.assertEqual(list(self.lab.boxes), [osd.bucket for osd in found.osds])
        for osd in found.osds:
            ip = self.lab.network.address(osd.bucket, STORAGE)
            self.assertEqual((True, True, {ip}), (osd.up, osd.inside, osd.addresses))
            self.assertEqual(4, len(osd.ports))
        self.assertEqual((3, 2), (found.pools['vms'].size, found.pools['vms'].min_size))
        self.assertEqual({'a'}, self.ceph.quorum())
        self.assertEqual(found.fsid, self.ceph.ask('status')['fsid'])
        self.assertGreater(self.ceph.space().pools['vms'].available, 1 << 30)

    def test_a_killed_osd(self):
        """Its ports refuse, and that is told from one that lives and from one that is silent."""
        osd = self.ceph.map().osds[0]
        self.assertFalse(ceph.refusing(osd.ports, 1.0))
        epoch = self.ceph.map().epoch
        with self.frozen('osd.compute1'):
            self.assertEqual({0}, self.ceph.enforced(epoch, ['vms'], 1.0))
            self.assertFalse(ceph.refusing(osd.ports, 1.0))
        self.assertEqual({}, self.ceph.unanswered(epoch, ['vms'], 10.0))
        self.lab.ceph.kill_osd('compute1')
        wait_until('its ports refuse', lambda: ceph.refusing(osd.ports, 1.0), 10, 0.02)
        self.ceph.mark_dead([0])
        self.assertFalse(self.ceph.map().osds[0].up)

    def test_a_cable_is_pulled(self):
        osd = self.ceph.map().osds[0]
        self.lab.network.cut('compute1')
        self.addCleanup(self.lab.network.join, 'compute1')
        begin = time.monotonic()
        self.assertFalse(ceph.refusing(osd.ports, 1.0))
        self.assertLess(time.monotonic() - begin, 2.0)

    def test_two_osds_down(self):
        self.assertEqual({}, self.ceph.inactive(['vms', 'images'], self.ceph.map()))
        for host in ('compute1', 'compute2'):
            self.lab.kill_host(host)
        down = wait_until('both down', lambda: [self.ceph.map()] if sum(
            osd.up for osd in self.ceph.map().osds) == 2 else [], 60)[0]
        # At once, though the manager's reports are older.
        self.assertIn('vms', self.ceph.inactive(['vms', 'none'], down))
        self.assertIn('none', self.ceph.inactive(['vms', 'none'], down))
        self.assertIn('vms', self.ceph.unanswered(down.epoch, ['vms'], 2.0))
        for host in ('compute1', 'compute2'):
            self.lab.start_host(host)
        self.lab.ceph.wait_clean()
        storage = self.ceph.map()
        self.assertEqual({}, self.ceph.unanswered(storage.epoch, ['vms', 'images'], 5.0))
        self.assertEqual({}, self.ceph.inactive(['vms', 'images'], storage))

    def test_one_host_down(self):
        """Of three replicas two are enough: ready again within seconds."""
        self.lab.kill_host('compute3')
        wait_until('down', lambda: not self.ceph.map().osds[2].up, 60)
        wait_until('all groups answer', lambda: not self.ceph.unanswered(
            self.ceph.map().epoch, ['vms', 'images', 'volumes'], 2.0), 20)

    # -- what fails -------------------------------------------------------------------------------
    def test_a_frozen_monitor(self):
        image = self.image()
        storage = self.ceph.map()
        with self.frozen('mon'):
            for call in (
                    (self.ceph.map,), (self.ceph.clients,), (self.ceph.quorum,),
                    (self.ceph.space,), (self.ceph.users, image), (self.ceph.has_image, image),
                    (self.ceph.add, ['10.90.0.96:0/1'], [], 60), (self.ceph.mark_dead, [77]),
                    (self.ceph.remove_range, '10.90.0.96/32'), (self.ceph.monitor_caps,),
                    (self.ceph.unanswered, 1, ['vms'], 1.0),
                    (self.ceph.enforced, 1, ['vms'], 1.0),
                    (self.ceph.inactive, ['vms'], storage)):
                self.unreachable(*call)
        self.works_again(image)

    def test_a_killed_monitor(self):
        image = self.image()
        self.ceph.map()
        self.lab.ceph.kill('mon')
        for call in ((self.ceph.map,), (self.ceph.clients,), (self.ceph.users, image),
                     (self.ceph.add, ['10.90.0.96:0/1'], [], 60)):
            self.unreachable(*call)
        fresh = self.adapter('vmha')
        self.unreachable(fresh.map)
        self.lab.ceph.revive('mon')
        self.works_again(image)
        self.assertEqual(frozenset({'a'}), fresh.quorum())

    def works_again(self, image):
        def works():
            try:
                return [self.ceph.map()]
            except exception.Unreachable:
                return []
        wait_until('the adapter works again', works, 30, 0.1)
        self.lab.ceph.wait_clean()
        self.assertEqual(frozenset(), self.ceph.users(image))
        self.assertIsInstance(self.ceph.clients(), dict)
        self.assertEqual({}, self.ceph.add(['10.90.0.96:0/2'], [], YEAR))
        self.assertEqual({}, self.ceph.unanswered(self.ceph.map().epoch, ['vms'], 5.0))

    def test_no_manager(self):
        storage = self.ceph.map()
        self.lab.ceph.kill('mgr')
        self.unreachable(self.ceph.inactive, ['vms'], storage)
        self.assertEqual({}, self.ceph.unanswered(storage.epoch, ['vms'], 5.0))
        self.lab.ceph.revive('mgr')

        def answers():
            try:
                return self.ceph.inactive(['vms'], self.ceph.map()) == {}
            except exception.Unreachable:
                return False
        wait_until('the manager', answers, 60)

    def test_we_are_fenced_ourselves(self):
        """By mistake, or with the host we run on: a new client is made, and that one works."""
        image = self.image()
        self.ceph.users(image)
        other = self.adapter('admin')
        mine, = (a for a, name in other.clients().items() if name == 'client.vmha')
        other.add([mine], [], 600)
        with contextlib.suppress(exception.Unreachable):
            self.ceph.users(image)
        self.assertEqual(frozenset(), self.ceph.users(image))

    def test_a_stranger(self):
        """A configuration that is wrong is told from a cluster that does not answer."""
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(folder.rmdir)
        conf = str(self.lab.ceph.conf_file)
        for path, keyring in ((str(folder / 'none.conf'), ''), (conf, str(folder / 'no.keyring'))):
            made = ceph.Ceph(path, 'vmha', keyring, TIMEOUT)
            self.addCleanup(made.close)
            with self.assertRaises(exception.ConfigurationError):
                made.map()

    # -- caps -------------------------------------------------------------------------------------
    def test_the_least_caps(self):
        """All above was done with them. This is what they do not allow."""
        import rados
        caps = self.ceph.monitor_caps()
        self.assertEqual('allow r, allow command "sessions", allow command "osd blocklist", '
                         'allow command "osd down"', caps['client.vmha'])
        for prefix in ('auth ls', 'config-key dump', 'osd blocklist clear'):
            with self.assertRaises(exception.Rejected) as caught:
                self.ceph.ask(prefix)
            self.assertIn(f'client.vmha lacks the cap mon \'allow command "{prefix}"',
                          str(caught.exception))
        cluster = rados.Rados(conffile=str(self.lab.ceph.conf_file), name='client.vmha',
                              conf={'keyring': str(self.lab.ceph.keyring('vmha'))})
        self.addCleanup(cluster.shutdown)
        cluster.connect()
        ioctx = cluster.open_ioctx('vms')
        self.addCleanup(ioctx.close)
        with self.assertRaises(rados.Error) as refused:
            ioctx.write_full('vmha', b'x')
        self.assertEqual(errno.EPERM, refused.exception.errno)

    def test_caps_that_are_missing(self):
        nova = self.adapter('nova')
        with self.assertRaises(exception.Rejected) as caught:
            nova.clients()
        self.assertIn('client.nova lacks the cap mon \'allow command "sessions"\'',
                      str(caught.exception))
        # 'profile rbd' lets every guest's client put others on the blocklist, and no more.
        with self.assertRaises(exception.Rejected) as caught:
            nova.remove_range('10.90.0.95/32')
        self.assertIn('allow command "osd blocklist"', str(caught.exception))
