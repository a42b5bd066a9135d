"""The adapter to Ceph, against a cluster made up for it."""

import datetime
import errno
import time

import testtools

from tests.unit import fake_rados
from vmha_nova import ceph
from vmha_nova.ceph import placement
from vmha_nova.ceph import wire
from vmha_nova import exception

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc)
LATER = NOW + datetime.timedelta(days=400)
SOON = NOW + datetime.timedelta(hours=1)
YEAR = 365 * 86400
A, B = '10.0.0.11:0/1', '10.0.0.12:0/2'


class Base(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.patch(wire, 'GRACE', 0.2)
        self.patch(wire, '_PARTING', 0.1)
        self.fake = fake_rados.FakeCluster()
        self.addCleanup(self.fake.released.set)
        self.ceph = ceph.Ceph('/etc/ceph/ceph.conf', 'vmha', '/key', 0.3, lambda: NOW,
                              self.fake.rados, self.fake.rbd)
        self.addCleanup(self.ceph.close)

    def raises(self, error, words, call, *args, **more):
        raised = self.assertRaises(exception.VmhaError, call, *args, **more)
        self.assertIs(error, type(raised), repr(raised))
        self.assertIn(words, str(raised))


class LookTest(Base):
    """What the cluster looks like."""

    def test_map(self):
        found = self.ceph.map()
        self.assertEqual((20, NOW, fake_rados.FSID), (found.epoch, found.seen_at, found.fsid))
        self.assertEqual(['compute1', 'compute2'], [osd.bucket for osd in found.osds])

    def test_half_a_map_is_none(self):
        del self.fake.osds[0]['cluster_addrs']
        self.raises(exception.Unreachable, 'osd dump: not the answer expected', self.ceph.map)

    def test_quorum(self):
        self.assertEqual({'a', 'b', 'c'}, self.ceph.quorum())
        self.fake.monitors = {}
        self.raises(exception.Unreachable, 'no monitor in quorum', self.ceph.quorum)

    def test_space(self):
        self.fake.replies['df'] = {'pools': [], 'stats_by_class': {}}
        self.assertEqual({}, dict(self.ceph.space().pools))

    def test_ask(self):
        self.fake.replies['config dump'] = [{'name': 'x'}]
        self.assertEqual([{'name': 'x'}], self.ceph.ask('config dump', who='mon'))
        self.assertIn(('config dump', {'who': 'mon'}), self.fake.log)
        self.fake.codes['auth ls'] = errno.EACCES
        self.raises(exception.Rejected, 'allow command "auth ls"', self.ceph.ask, 'auth ls')

    def test_inactive(self):
        def group(pgid, state, acting):
            return {'pgid': pgid, 'state': state, 'acting': acting}
        self.fake.pools['volumes'] = 4
        self.fake.osds.append(fake_rados.osd(2, '10.0.0.13', up=False))
        self.fake.groups = {'pg_ready': True, 'pg_stats': [
            group('3.0', 'active+clean', [0, 1]), group('3.1', 'active+clean', [0, 2]),
            group('4.0', 'active+clean', [0, 1]), group('40.1', 'down', [])]}
        self.assertEqual({'vms': '3.1 reported when osd.2 was up', 'x': 'no such pool'},
                         self.ceph.inactive(['vms', 'volumes', 'x'], self.ceph.map()))

    def test_a_manager_that_knows_nothing_yet(self):
        self.fake.groups = {'pg_ready': False, 'pg_stats': []}
        self.raises(exception.Unreachable, 'not heard', self.ceph.inactive, ['vms'],
                    self.ceph.map())

    def test_no_manager(self):
        self.fake.hanging.add('pg dump')
        begin = time.monotonic()
        self.raises(exception.Unreachable, 'no answer in time', self.ceph.inactive, ['vms'],
                    self.ceph.map())
        self.assertLess(time.monotonic() - begin, 2.0)


class ClientTest(Base):
    """Who writes."""

    def setUp(self):
        super().setUp()
        self.fake.monitors = {
            'a': [fake_rados.session(A), fake_rados.session('10.0.0.1:0/1', 'client.vmha')],
            'b': [fake_rados.session(B, 'client.cinder', caps='allow r')], 'c': []}

    def test_clients_of_all_monitors_but_us(self):
        self.assertEqual({A: 'client.nova', B: 'client.cinder'}, self.ceph.clients())
        self.assertEqual(1, self.fake.asked('sessions b'))

    def test_every_monitor_must_answer(self):
        for fault in (self.fake.hanging.add, lambda what: self.fake.codes.update(
                {what: errno.ETIMEDOUT})):
            fault('sessions b')
            begin = time.monotonic()
            self.raises(exception.Unreachable, 'sessions of mon.b', self.ceph.clients)
            self.assertLess(time.monotonic() - begin, 2.0)
            self.fake.hanging.clear()

    def test_every_session_must_be_understood(self):
        self.fake.monitors['c'] = [fake_rados.session('?/0')]
        self.raises(exception.Unreachable, 'mon.c', self.ceph.clients)
        self.fake.monitors['c'] = [{}]
        self.raises(exception.Unreachable, 'mon.c', self.ceph.clients)

    def test_the_cap_for_it(self):
        self.fake.codes['sessions a'] = errno.EACCES
        self.raises(exception.Rejected, 'allow command "sessions"', self.ceph.clients)

    def test_monitor_caps(self):
        self.assertEqual({'client.nova': 'profile rbd', 'client.vmha': 'profile rbd',
                          'client.cinder': 'allow r'}, self.ceph.monitor_caps())

    def test_users(self):
        """Those who watch, and those who hold the lock: after a crash only the lock is left."""
        self.fake.images = {'vms/1': ([A], [A, B]), 'vms/2': ([], []), 'vms/3': ([A], [])}
        self.assertEqual({A, B}, self.ceph.users('vms/1'))
        self.assertEqual(frozenset(), self.ceph.users('vms/2'))
        self.assertEqual({'vms/1': {A, B}, 'vms/3': {A}, 'vms/4': None},
                         self.ceph.users_of(['vms/1', 'vms/3', 'vms/4']))

    def test_an_address_that_cannot_be_read_is_not_left_out(self):
        self.fake.images = {'vms/1': ([A, 'what?'], [])}
        self.raises(exception.Unreachable, 'users of vms/1', self.ceph.users, 'vms/1')

    def test_contents_in_a_pool_that_nobody_watches(self):
        self.fake.pools['coded'] = 9
        self.fake.images['vms/a'] = ([A], [])
        self.fake.data_pools['vms/a'] = 'coded'
        self.raises(exception.Rejected, 'contents are in pool coded', self.ceph.users, 'vms/a')
        named = ceph.Ceph('/etc/ceph/ceph.conf', 'vmha', '/key', 0.3, lambda: NOW,
                          self.fake.rados, self.fake.rbd, data_pools=['coded'])
        self.addCleanup(named.close)
        self.assertEqual({A}, named.users('vms/a'))

    def test_our_own_address(self):
        self.assertEqual({'10.0.0.1'}, self.ceph.own_addresses())

    def test_no_such_image(self):
        self.raises(exception.NotFound, 'vms/1', self.ceph.users, 'vms/1')
        self.assertFalse(self.ceph.has_image('vms/1'))

    def test_an_image_that_is_there_and_cannot_be_opened(self):
        """A parent that is missing is reported with the same errno."""
        self.fake.images = {'vms/1': ([A], [])}
        self.fake.broken = {'vms/1'}
        self.raises(exception.Unreachable, 'it is there', self.ceph.users, 'vms/1')
        self.raises(exception.Unreachable, '1 of 1', self.ceph.users_of, ['vms/1'])
        self.assertTrue(self.ceph.has_image('vms/1'))

    def test_only_the_cluster_says_that_there_is_none(self):
        for fault in (errno.ETIMEDOUT, errno.EIO):
            self.fake.codes['stat'] = self.fake.codes['open'] = fault
            self.raises(exception.Unreachable, 'vms/1', self.ceph.has_image, 'vms/1')
            self.raises(exception.Unreachable, 'vms/1', self.ceph.users, 'vms/1')
        self.raises(exception.Rejected, 'no pool', self.ceph.has_image, 'nowhere/1')
        self.raises(exception.Rejected, 'no pool', self.ceph.users, 'nowhere/1')
        self.raises(exception.Rejected, 'no pool', self.ceph.users_of, ['nowhere/1'])
        self.raises(exception.Rejected, 'pool/name', self.ceph.has_image, 'vms')

    def test_the_cap_for_images(self):
        self.fake.codes['open'] = errno.EPERM
        self.raises(exception.Rejected, "osd 'profile rbd-read-only pool=vms'",
                    self.ceph.users, 'vms/1')

    def test_one_that_is_not_read_fails_them_all(self):
        self.fake.images = {f'vms/{n}': ([A], []) for n in range(50)}
        self.fake.broken = {'vms/7', 'vms/8'}
        self.raises(exception.Unreachable, '2 of 50 images not read', self.ceph.users_of,
                    self.fake.images)


class FenceTest(Base):
    """The blocklist."""

    def add(self, entries=(), ranges=(), ends=LATER):
        self.fake.ends = ends.isoformat()
        return self.ceph.add(entries, ranges, YEAR)

    def test_add(self):
        self.assertEqual({}, self.add([A, 'v1:' + B], ['10.0.0.11/32', 'cidr:[fd00::7]:0/128']))
        self.assertEqual({A, B}, self.ceph.map().entries)
        self.assertEqual({'10.0.0.11/32', 'fd00::7/128'}, self.ceph.map().ranges)
        self.assertEqual({}, self.add([A], ['10.0.0.11/32']))

    def test_add_takes_anything_that_can_be_gone_through_once(self):
        self.assertEqual({}, self.add(iter([A]), iter(['10.0.0.11/32'])))
        self.assertEqual({A}, self.ceph.map().entries)

    def test_only_single_clients_and_addresses(self):
        """With nonce 0 Ceph takes the whole address, and a short prefix is half a data centre."""
        for entries, ranges in ((['10.0.0.11:0/0'], []), ([A, ''], []), (['10.0.0.11'], []),
                                ([], ['10.0.0.0/24']), ([], ['0.0.0.0/0']), ([], [A]),
                                ([], ['fd00::/64'])):
            self.raises(exception.FenceFailed, 'not put on the blocklist', self.add, entries,
                        ranges)
        self.assertEqual(0, self.fake.asked('osd blocklist'))

    def test_what_failed_is_named(self):
        self.fake.codes['osd blocklist'] = errno.ETIMEDOUT
        self.raises(exception.Unreachable, f'{A}, {B}', self.add, [A, B])
        self.fake.codes['osd blocklist'] = errno.EACCES
        self.raises(exception.FenceFailed, 'allow command "osd blocklist"', self.add, [A])

    def test_one_that_hangs_holds_up_nobody(self):
        self.fake.hanging.add('osd blocklist')
        begin = time.monotonic()
        self.raises(exception.Unreachable, B, self.add, [A, B])
        self.assertLess(time.monotonic() - begin, 2.0)

    def test_what_ends_early_is_told(self):
        """Somebody's entry of an hour is there already, and Ceph does not prolong it."""
        self.add([A], ends=SOON)
        self.assertEqual({A: SOON}, self.add([A, B]))
        self.assertEqual({A, B}, self.ceph.map().entries)

    def test_under_a_range_it_is_renewed(self):
        self.add([A], ends=SOON)
        self.assertEqual({}, self.add([A], ['10.0.0.11/32']))
        self.assertEqual(LATER.isoformat(), self.fake.blocklist[A])

    def test_under_a_range_that_ends_early_too_it_is_not(self):
        """Between the old entry and the new one there would be none."""
        self.add([A], ['10.0.0.11/32'], ends=SOON)
        self.fake.log.clear()
        self.assertEqual({A: SOON, '10.0.0.11/32': SOON}, self.add([A], ['10.0.0.11/32']))
        self.assertNotIn('rm', [args['blocklistop'] for what, args in self.fake.log
                                if what == 'osd blocklist'])

    def test_remove_range(self):
        self.add([A], ['10.0.0.11/32', '10.0.0.12/32'])
        self.ceph.remove_range('10.0.0.11/32')
        self.ceph.remove_range('10.0.0.11/32')
        found = self.ceph.map()
        self.assertEqual(({'10.0.0.12/32'}, {A}), (found.ranges, found.entries))
        self.raises(exception.Rejected, 'no range', self.ceph.remove_range, A)

    def test_mark_dead(self):
        self.ceph.mark_dead([1])
        self.assertEqual([True, False], [osd.up for osd in self.ceph.map().osds])
        self.fake.codes['osd down'] = errno.EACCES
        self.raises(exception.Rejected, 'allow command "osd down"', self.ceph.mark_dead, {0})


class ProbeTest(Base):
    """Asking the OSDs."""

    def test_all_answer(self):
        self.fake.pools['volumes'] = 4
        self.assertEqual({}, self.ceph.unanswered(20, ['vms', 'volumes'], 5.0))
        self.assertEqual(frozenset(), self.ceph.enforced(20, ['vms'], 5.0))
        self.assertEqual(2, self.fake.asked('wait_for_latest_osdmap'))

    def test_some_do_not(self):
        self.fake.silent = {('vms', 2), ('vms', 5), ('vms', 6)}
        self.fake.primary = {('vms', 2): 7, ('vms', 5): 9, ('vms', 6): -1}
        begin = time.monotonic()
        missing = self.ceph.unanswered(20, ['vms'], 0.1)
        self.assertLess(time.monotonic() - begin, 1.0)
        self.assertEqual([2, 5, 6], list(missing['vms']))
        self.assertEqual([2, 5, 6], [placement.group(name, 8) for name in missing['vms'].values()])
        # Nobody leads the last one: nobody writes there either.
        self.assertEqual({7, 9}, self.ceph.enforced(20, ['vms'], 0.1))
        self.assertEqual(['connected'], [r.state for r in self.fake.connections])

    def test_they_answer_in_the_end(self):
        self.fake.silent = {('vms', 2)}
        self.ceph.unanswered(20, ['vms'], 0.05)
        self.assertEqual(1, self.ceph._cluster._calls.hung)
        self.fake.released.set()
        until = time.monotonic() + 5.0
        while self.ceph._cluster._calls.hung and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(0, self.ceph._cluster._calls.hung)

    def test_monitors_that_are_behind(self):
        self.raises(exception.Unreachable, 'at OSD map 20, not at 21',
                    self.ceph.unanswered, 21, ['vms'], 5.0)
        self.assertEqual(0, self.fake.asked('wait_for_latest_osdmap'))

    def test_no_such_pool(self):
        self.raises(exception.Rejected, 'no pool x', self.ceph.unanswered, 20, ['vms', 'x'], 5.0)

    def test_a_pool_of_another_kind(self):
        self.fake.hash = 1
        self.raises(exception.Rejected, 'unknown hash', self.ceph.enforced, 20, ['vms'], 5.0)

    def test_refusals(self):
        for code, error, words in (
                (errno.EPERM, exception.Rejected, 'profile rbd-read-only'),
                (errno.ESHUTDOWN, exception.Unreachable, 'blocklist'),
                (errno.EIO, exception.Unreachable, 'EIO')):
            self.fake.codes['aio_stat'] = code
            self.raises(error, words, self.ceph.unanswered, 20, ['vms'], 5.0)
            self.raises(error, words, self.ceph.enforced, 20, ['vms'], 5.0)

    def test_a_timeout_is_no_answer(self):
        self.fake.codes['aio_stat'] = errno.ETIMEDOUT
        self.assertEqual(8, len(self.ceph.unanswered(20, ['vms'], 0.1)['vms']))

    def test_whatever_hangs(self):
        for what in ('osd dump', 'wait_for_latest_osdmap', 'open_ioctx', 'connect'):
            self.fake.hanging = {what}
            self.ceph.close()
            begin = time.monotonic()
            try:
                found = self.ceph.unanswered(20, ['vms'], 0.1)
            except exception.Unreachable:
                found = 'no answer'
            self.assertNotEqual({}, found, what)
            self.assertLess(time.monotonic() - begin, 2.0, what)

    def test_no_pools(self):
        self.assertEqual({}, self.ceph.unanswered(20, [], 5.0))
