"""What Ceph's answers are made into: addresses, maps, sessions, placement."""

import collections
import datetime
import ipaddress

import hypothesis
from hypothesis import strategies as st
import testtools

from tests.unit import fake_rados
from vmha_nova.ceph import placement
from vmha_nova.ceph import records
from vmha_nova import model

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 5, 4, tzinfo=UTC)
IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
NONCES = st.integers(0, 2 ** 32 - 1)
PORTS = st.integers(0, 65535)
patiently = hypothesis.settings(derandomize=True, database=None, deadline=None)
NOISE = st.one_of(st.text(), st.text('0123456789.:/[]v', max_size=30))


def bracketed(ip):
    return f'[{ip}]' if ip.version == 6 else str(ip)


class AddressTest(testtools.TestCase):

    @patiently
    @hypothesis.given(IPS, PORTS, NONCES, st.sampled_from(['', 'any:', 'v1:', 'v2:']))
    def test_a_client_is_written_one_way(self, ip, port, nonce, kind):
        text = f'{bracketed(ip)}:{port}/{nonce}'
        self.assertEqual(text, records.entry(kind + text))
        self.assertEqual(text, records.entry(records.entry(text)))
        self.assertEqual(str(ip), records.ip_of(kind + text))
        self.assertEqual(nonce != 0, records.names_one(kind + text))

    @patiently
    @hypothesis.given(IPS, st.data(), st.booleans())
    def test_a_range_is_written_one_way(self, ip, data, ceph):
        bits = data.draw(st.integers(0, ip.max_prefixlen))
        text = f'cidr:{bracketed(ip)}:0/{bits}' if ceph else f'{bracketed(ip)}/{bits}'
        expected = ipaddress.ip_network((str(ip), bits), strict=False)
        self.assertEqual(str(expected), records.cidr(text))
        self.assertEqual(bits == ip.max_prefixlen, records.names_one_ip(text))

    def test_a_range_without_brackets(self):
        self.assertEqual('fd00::7/128', records.cidr('[fd00::7]/128'))
        self.assertEqual('fd00::7/128', records.cidr('fd00::7/128'))
        self.assertTrue(records.names_one_ip('fd00::7/128'))
        self.assertEqual('fd00::7/128', records.cidr(records.cidr('cidr:[fd00::7]:0/128')))

    @patiently
    @hypothesis.given(IPS, PORTS, NONCES)
    def test_a_client_is_no_range(self, ip, port, nonce):
        """10.0.0.7:0/32 is one client; taken for a range it would be a whole address."""
        text = f'{bracketed(ip)}:{port}/{nonce}'
        self.assertEqual('', records.cidr(text))

    @patiently
    @hypothesis.given(NOISE)
    def test_no_text_is_too_strange(self, text):
        for made in (records.entry(text), records.cidr(text)):
            self.assertIn(made, ('', records.entry(made), records.cidr(made)))
        self.assertEqual(bool(records.entry(text)), bool(records.ip_of(text)))
        self.assertIs(type(records.names_one(text)), bool)
        self.assertIs(type(records.names_one_ip(text)), bool)

    def test_what_is_no_client(self):
        for text in ('', '10.0.0.7', '10.0.0.7:0', '10.0.0.7/32', '10.0.0.7:0/', '10.0.0:0/1',
                     'fd00::7:0/1', '[10.0.0.7]:0/1', '10.0.0.7:65536/1', '10.0.0.7:0/4294967296',
                     '-', ':/0', '10.0.0.7:0/1 ', 'v3:10.0.0.7:0/1', '10.0.0.7:0/1\n',
                     '10.0.0.٧:0/1', '[fe80::1%eth0]:0/1'):
            self.assertEqual('', records.entry(text), text)

    def test_covered(self):
        self.assertTrue(records.covered('10.0.0.7:0/1', {'10.0.0.6/31'}))
        self.assertTrue(records.covered('[fd00::7]:0/1', {'10.0.0.7/32', 'fd00::7/128'}))
        self.assertFalse(records.covered('10.0.0.7:0/1', {'10.0.0.8/32', 'fd00::7/128'}))
        self.assertFalse(records.covered('10.0.0.7:0/1', ()))


class SessionTest(testtools.TestCase):

    def test_only_clients(self):
        """A manager's own clients are no guests: cutting them off would stop its modules."""
        self.assertEqual({'10.0.0.11:0/5': 'client.nova', '[fd00::7]:0/6': 'client.cinder'},
                         records.clients([
                             fake_rados.session('10.0.0.11:0/5'),
                             fake_rados.session('[fd00::7]:0/6', 'client.cinder'),
                             fake_rados.session('10.0.0.12:6800/7', 'osd.1', 'osd'),
                             fake_rados.session('10.0.0.10:0/8', 'mgr.a', 'mgr'),
                             fake_rados.session('10.0.0.10:0/9', 'mgr.a', 'client'),
                             fake_rados.session('10.0.0.10:3300/0', '', 'mon')]))

    def test_a_client_without_an_address_is_not_overlooked(self):
        broken = fake_rados.session('(unrecognized address family 0)/0')
        self.assertRaises(ValueError, records.clients, [broken])
        del broken['addrs']
        self.assertRaises(KeyError, records.clients, [broken])

    def test_monitor_caps(self):
        self.assertEqual({'client.nova': 'allow r'}, records.monitor_caps([
            fake_rados.session('10.0.0.11:0/5', caps='allow r'),
            fake_rados.session('10.0.0.12:6800/7', 'osd.1', 'osd', 'allow profile osd')]))

    def test_quorum(self):
        self.assertEqual({'a', 'b'}, records.quorum({'quorum_names': ['a', 'b']}))
        self.assertRaises(ValueError, records.quorum, {'quorum_names': []})

    def test_space(self):
        space = records.space({
            'pools': [{'name': 'vms', 'stats': {'stored': 10, 'max_avail': 90}}],
            'stats_by_class': {'ssd': {'total_bytes': 400, 'total_used_raw_bytes': 40,
                                       'total_avail_bytes': 360}}})
        self.assertEqual(records.Usage(100, 10, 90), space.pools['vms'])
        self.assertEqual(records.Usage(400, 40, 360), space.classes['ssd'])


class MapTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = fake_rados.FakeCluster()

    def map(self):
        return records.storage_map(self.fake._osd_dump(), self.fake._osd_tree(), NOW)

    def test_everything(self):
        self.fake.blocklist = {'v1:10.0.0.7:0/1': fake_rados.ENDS}
        self.fake.ranges = {'10.0.0.8/32': fake_rados.ENDS}
        self.fake.osds[1]['up'] = self.fake.osds[1]['in'] = 0
        self.assertEqual(model.StorageMap(
            fsid=fake_rados.FSID, epoch=20, seen_at=NOW, flags=frozenset({'noout', 'sortbitwise'}),
            entries=frozenset({'10.0.0.7:0/1'}), ranges=frozenset({'10.0.0.8/32'}),
            pools={'vms': model.Pool(3, 'vms', 3, 2)},
            osds=tuple(model.Osd(
                n, up, up, f'compute{n + 1}', frozenset({ip}),
                ((ip, 6800), (ip, 6801), (ip, 6802), (ip, 6803)))
                for n, ip, up in ((0, '10.0.0.11', True), (1, '10.0.0.12', False)))), self.map())

    def test_two_networks(self):
        self.fake.osds = [fake_rados.osd(
            0, '10.0.0.11', cluster_addrs=fake_rados.osd(0, '[fd00::b]')['cluster_addrs'])]
        osd, = self.map().osds
        self.assertEqual({'10.0.0.11', 'fd00::b'}, osd.addresses)
        self.assertIn(('fd00::b', 6802), osd.ports)

    def test_an_osd_that_never_started(self):
        nowhere = {'addrvec': [{'type': 'none', 'addr': ':/0', 'nonce': 0}]}
        portless = {'addrvec': [{'type': 'v2', 'addr': '10.0.0.11:0', 'nonce': 0}]}
        self.fake.osds = [fake_rados.osd(0, '', public_addrs=nowhere, cluster_addrs=portless),
                          fake_rados.osd(1, '', public_addrs={'addrvec': []},
                                         cluster_addrs={'addrvec': []})]
        for osd in self.map().osds:
            self.assertEqual(((), frozenset()), (osd.ports, osd.addresses))

    def test_an_entry_that_cannot_be_read_is_not_relied_on(self):
        self.fake.blocklist = {'what is this': fake_rados.ENDS, '10.0.0.7:0/1': fake_rados.ENDS}
        self.fake.ranges = {'10.0.0.7/77': fake_rados.ENDS}
        self.assertEqual(({'10.0.0.7:0/1'}, frozenset()), (self.map().entries, self.map().ranges))

    def test_when_entries_end(self):
        self.fake.blocklist = {'10.0.0.7:0/1': '2026-05-04T01:00:00.5+0000'}
        self.fake.ranges = {'10.0.0.8/32': '2026-05-04T02:00:00'}
        self.assertEqual(
            ({'10.0.0.7:0/1': NOW.replace(hour=1, microsecond=500000)},
             {'10.0.0.8/32': NOW.replace(hour=2)}), records.blocklist(self.fake._osd_dump()))

    def test_hosts(self):
        tree = {'nodes': [
            {'id': -1, 'name': 'root', 'type': 'root', 'children': [-2, -4, 9]},
            {'id': -2, 'name': 'rack', 'type': 'rack', 'children': [-3]},
            {'id': -3, 'name': 'c1', 'type': 'host', 'children': [0, -5]},
            {'id': -5, 'name': 'tray', 'type': 'tray', 'children': [1]},
            {'id': -4, 'name': 'c2', 'type': 'host', 'children': [2]},
            *({'id': n, 'name': f'osd.{n}', 'type': 'osd'} for n in (0, 1, 2, 9, 12))]}
        self.assertEqual({0: 'c1', 1: 'c1', 2: 'c2'}, records.hosts(tree))


class ReadyTest(testtools.TestCase):
    """A pool of size 3, min_size 2; osd.0, 1 and 2 are up, osd.3 is not."""

    def why(self, state='active+clean', acting=(0, 1, 2), min_size=2):
        return records.not_ready([{'pgid': '3.a', 'state': state, 'acting': list(acting)}],
                                 model.Pool(3, 'vms', 3, min_size), frozenset({0, 1, 2}))

    def test_ready(self):
        self.assertEqual('', self.why())
        self.assertEqual('', self.why('active+undersized+degraded', (0, 1)))

    def test_states(self):
        for state in ('peering', 'down', 'unknown', 'undersized+degraded+peered',
                      'stale+active+clean', 'activating', 'inactive'):
            self.assertEqual(f'3.a {state}', self.why(state))

    def test_a_report_older_than_the_failure(self):
        self.assertEqual('3.a reported when osd.3 was up', self.why(acting=(0, 1, 3)))

    def test_too_few(self):
        self.assertEqual('3.a on 1 OSDs, needs 2', self.why(acting=(0, 2147483647, -1)))
        self.assertEqual('', self.why(acting=(0, 2147483647, -1), min_size=1))

    def test_nothing_reported(self):
        self.assertIn('no placement group', records.not_ready(
            [], model.Pool(3, 'vms', 3, 2), frozenset({0})))

    def test_many(self):
        groups = [{'pgid': f'3.{n}', 'state': 'down', 'acting': [0]} for n in range(8)]
        self.assertEqual('3.0, 3.1, 3.2, 3.3, 3.4 and 3 more down', records.not_ready(
            groups, model.Pool(3, 'vms', 3, 2), frozenset({0})))


class PlacementTest(testtools.TestCase):

    # As a real cluster answered (ceph osd map): the hash, and the group of 16, 23 and 100.
    KNOWN = {
        'a': (0x29eec818, 8, 8, 24),
        'rbd_id.disk': (0x9b1fd58e, 14, 14, 14),
        'rbd_header.1234567890ab': (0x8d24fa67, 7, 7, 39),
        'rbd_data.10d7c2ae8944a.0000000000000000': (0xf3d95338, 8, 8, 56),
        'exactly-12ch': (0xf00a7aa2, 2, 2, 34),
        'a name with spaces and more than twenty-four bytes': (0xe40fa75a, 10, 10, 90),
        'größe': (0x9e8ea870, 0, 16, 48),
    }

    def test_as_ceph_does(self):
        for name, (hashed, *groups) in self.KNOWN.items():
            self.assertEqual(hashed, placement.rjenkins(name.encode()), name)
            self.assertEqual(groups, [placement.group(name, n) for n in (16, 23, 100)], name)

    @patiently
    @hypothesis.given(st.integers(1, 300))
    def test_a_name_for_every_group(self, groups):
        names = placement.names(groups)
        self.assertEqual(list(range(groups)), [placement.group(n, groups) for n in names])

    @patiently
    @hypothesis.given(st.text(), st.integers(1, 5000))
    def test_growing_splits_groups(self, name, groups):
        """With one group more, a name stays where it was, or is in the new one."""
        self.assertIn(placement.group(name, groups + 1), (placement.group(name, groups), groups))

    def test_an_even_spread(self):
        counts = collections.Counter(placement.group(f'rbd_data.{n:016x}', 64)
                                     for n in range(6400))
        self.assertEqual(64, len(counts))
        self.assertTrue(all(50 < count < 160 for count in counts.values()), counts)
