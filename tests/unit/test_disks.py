"""Whose client it is, where the disks are, and what a fence means for an instance."""

import dataclasses
import datetime
import unittest

from hypothesis import given
from hypothesis import strategies as st

from vmha_nova import disks
from vmha_nova import model

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
POOLS = disks.Pools(('vms',), ('volumes',), ('images',))


def nodes(*hosts, **addresses):
    return {h: model.ComputeNode(h, address=addresses.get(h.partition('.')[0], ''))
            for h in hosts}


def storage(*osds):
    """osds: (bucket, ip, up)."""
    return model.StorageMap('f', 1, NOW, osds=tuple(
        model.Osd(n, up, True, bucket, frozenset([ip] if ip else []), ((ip, 6800),))
        for n, (bucket, ip, up) in enumerate(osds)))


def guest(**values):
    return model.Instance(**{**dict(
        id='i1', name='one', host='c1', vm_state='active', power_state=1, stamp='s', kept=('',)),
        **values})


class AddressTest(unittest.TestCase):
    def test_an_address_is_its_osds_hosts(self):
        owner, problems = disks.addresses(nodes('c1', 'c2'), storage(
            ('c1', '10.0.0.1', True), ('c2', '10.0.0.2', False)))
        self.assertEqual(({'10.0.0.1': 'c1', '10.0.0.2': 'c2'}, ()), (owner, problems))

    def test_novas_address_and_the_operators_word_count_too(self):
        owner, _ = disks.addresses(nodes('c1', 'c2', c1='192.0.2.1'), storage(),
                                   {'c2': ['192.0.2.7', '2001:db8::1']})
        self.assertEqual({'192.0.2.1': 'c1', '192.0.2.7': 'c2', '2001:db8::1': 'c2'}, owner)

    def test_what_two_hosts_claim_is_nobodys(self):
        owner, problems = disks.addresses(nodes('c1', 'c2', c1='10.0.0.2'), storage(
            ('c2', '10.0.0.2', True)), {'c1': ['10.0.0.1']})
        self.assertEqual({'10.0.0.1': 'c1'}, owner)
        self.assertIn('10.0.0.2 is claimed by c1, c2', problems[0])

    def test_an_address_every_host_has_is_nobodys(self):
        owner, _ = disks.addresses(nodes('c1', c1='127.0.0.1'), storage(
            ('c1', '0.0.0.0', True), ('c1', '::1', True), ('c1', 'fe80::1', True)))
        self.assertEqual({}, owner)

    def test_however_an_address_is_written_it_is_the_same(self):
        owner, problems = disks.addresses(
            nodes('c1', 'c2', c1='FD00::1', c2='fd00:0::1'), storage(), {'c1': [' 10.0.0.7 ']})
        self.assertEqual({'10.0.0.7': 'c1'}, owner)
        self.assertIn('fd00::1 is claimed by c1, c2', problems[0])

    def test_an_operators_word_that_cannot_be_used_is_said(self):
        owner, problems = disks.addresses(nodes('c1'), storage(), {
            'c1': ['storage-c1', '127.0.0.1'], 'typo': ['10.0.0.9']})
        self.assertEqual({}, owner)
        for part in ("'storage-c1' of c1", "'127.0.0.1' of c1", 'no compute node typo'):
            self.assertTrue(any(part in p for p in problems), part)

    def test_buckets_are_matched_with_and_without_domain(self):
        for host, bucket in (('c1', 'c1'), ('c1.example.org', 'c1'), ('c1', 'c1.example.org')):
            with self.subTest(host=host, bucket=bucket):
                found = disks.osds_of(host, nodes(host), storage((bucket, '10.0.0.1', True)))
                self.assertEqual([0], [o.id for o in found])

    def test_a_short_name_that_two_hosts_have_is_matched_by_address_only(self):
        two = nodes('c1.a', 'c1.b')
        self.assertEqual((), disks.osds_of('c1.a', two, storage(('c1', '10.0.0.1', True))))
        two['c1.b'] = model.ComputeNode('c1.b', address='10.0.0.1')
        known = storage(('c1', '10.0.0.1', True))
        self.assertEqual((), disks.osds_of('c1.a', two, known))
        self.assertEqual(1, len(disks.osds_of('c1.b', two, known)))

    def test_two_full_names_are_two_hosts(self):
        self.assertEqual((), disks.osds_of('c1.a', nodes('c1.a'), storage(
            ('c1.b', '10.0.0.1', True))))

    def test_other_bucket_names_are_matched_by_address(self):
        known = storage(('rack7-node3', '10.0.0.1', True))
        self.assertEqual(1, len(disks.osds_of('c1', nodes('c1', c1='10.0.0.1'), known)))

    def test_ip_of_a_client(self):
        self.assertEqual('10.0.0.7', disks.ip_of('10.0.0.7:0/12'))
        self.assertEqual('2001:db8::1', disks.ip_of('[2001:db8::1]:0/12'))


class OsdStateTest(unittest.TestCase):
    def what(self, *ups, age=1.0, known=True):
        known = storage(*(('c1', '10.0.0.1', up) for up in ups)) if known else None
        return disks.osd_state('c1', nodes('c1'), known, age, 30.0)

    def test_every_state(self):
        self.assertEqual('down', self.what(False, False).what)
        self.assertEqual('partly', self.what(False, True).what)
        self.assertEqual('up', self.what(True).what)
        self.assertEqual('none', self.what().what)
        self.assertEqual('stale', self.what(False, age=31.0).what)
        self.assertEqual('unknown', self.what(known=False).what)
        self.assertEqual(NOW, self.what(False).seen_at)

    def test_a_flag_for_which_ceph_takes_none_for_down_is_named(self):
        known = dataclasses.replace(storage(('c1', '10.0.0.1', True)), flags={'nodown'})
        self.assertIn('flag nodown', disks.osd_state('c1', nodes('c1'), known, 1.0, 30.0).text)


class RecordTest(unittest.TestCase):
    owner = {'10.0.0.1': 'c1', '10.0.0.2': 'c2'}

    def record(self, instance, users, attached=model.NOTHING, before=None):
        return disks.record(instance, disks.images(instance, POOLS, attached), users, self.owner,
                            NOW, before)

    def test_clients_count_by_address_never_by_image(self):
        """While it is migrated, both hosts have its image open."""
        found = self.record(guest(), {'vms/i1_disk': {'10.0.0.1:0/1', '10.0.0.2:0/2'}})
        self.assertEqual({'vms/i1_disk': ['10.0.0.1:0/1']}, found.images)
        self.assertEqual(('rbd:vms', '', []), (found.backend, found.problem, found.strange))

    def test_every_disk_is_looked_for(self):
        instance = guest(kept=('', '.eph0', '.swap'), volumes=('v1',))
        self.assertEqual({'i1_disk', 'i1_disk.eph0', 'i1_disk.swap', 'volume-v1'},
                         set(disks.images(instance, POOLS)))
        found = self.record(instance, dict.fromkeys(
            ('vms/i1_disk', 'vms/i1_disk.eph0', 'volumes/volume-v1'), ()))
        self.assertIn('i1_disk.swap', found.problem)

    def test_a_root_disk_that_is_not_there_is_local(self):
        found = self.record(guest(), {'vms/i1_disk': None})
        self.assertEqual('local', found.backend)
        self.assertIn('looked for vms/i1_disk', found.problem)

    def test_cinder_names_the_place_of_a_volume(self):
        instance = guest(kept=(), volumes=('v1',))
        found = self.record(instance, {'fast/volume-x': ()}, {'v1': 'fast/volume-x'})
        self.assertEqual(('', ''), (found.problem, found.backend))
        found = self.record(instance, {'volumes/volume-v1': ()}, {'v1': ''})
        self.assertIn('not on the storage', found.problem)

    def test_a_dying_guest_keeps_the_clients_on_record(self):
        before = self.record(guest(), {'vms/i1_disk': {'10.0.0.1:0/1'}})
        again = self.record(guest(), {'vms/i1_disk': ()}, before=before)
        self.assertEqual({'vms/i1_disk': ['10.0.0.1:0/1']}, again.images)
        restarted = self.record(guest(stamp='later'), {'vms/i1_disk': ()}, before=before)
        self.assertEqual({'vms/i1_disk': []}, restarted.images)

    def test_what_a_record_means(self):
        running = self.record(guest(), {'vms/i1_disk': {'10.0.0.1:0/1'}})
        silent = self.record(guest(), {'vms/i1_disk': ()})
        strange = self.record(guest(), {'vms/i1_disk': {'10.9.9.9:0/1'}})
        local = self.record(guest(), {'vms/i1_disk': None})
        off = guest(vm_state='stopped', power_state=4)
        for instance, found, whole, backend, local_, unsure in (
                (guest(), running, False, 'rbd:vms', '', ''),
                (guest(), running, True, 'rbd:vms', '', ''),
                (guest(), silent, False, '', '', 'no storage client'),
                (guest(), silent, True, 'rbd:vms', '', ''),
                (guest(), strange, True, '', '', '10.9.9.9'),
                (guest(), local, True, '', 'not on the storage', ''),
                (guest(), None, True, '', '', 'was not read'),
                (guest(stamp='later'), running, True, '', '', 'was not read'),
                (guest(host='c2'), running, True, '', '', 'was not read'),
                (guest(kept=()), running, True, '', '', 'no disk'),
                (off, silent, False, 'rbd:vms', '', '')):
            with self.subTest(instance=instance, found=found, whole=whole):
                backing = disks.backing(instance, found, whole)
                self.assertEqual(backend, backing.backend)
                self.assertIn(local_, backing.local)
                self.assertIn(unsure, backing.unsure)
                self.assertEqual((bool(local_), bool(unsure)),
                                 (bool(backing.local), bool(backing.unsure)))

    def test_a_guest_on_volumes_alone_needs_no_backend(self):
        instance = guest(kept=(), volumes=('v1',))
        found = self.record(instance, {'volumes/volume-v1': {'10.0.0.1:0/1'}})
        self.assertEqual(model.Backing(), disks.backing(instance, found, False))

    @given(st.lists(st.sampled_from(['10.0.0.1:0/1', '10.0.0.2:0/2', '10.9.9.9:0/3'])),
           st.booleans(), st.sampled_from(['active', 'stopped', 'error', 'paused']),
           st.integers(0, 7), st.booleans())
    def test_never_cleared_with_a_disk_elsewhere_or_an_unfenced_client(
            self, users, there, vm_state, power, whole):
        instance = guest(vm_state=vm_state, power_state=power)
        found = self.record(instance, {'vms/i1_disk': users if there else None})
        backing = disks.backing(instance, found, whole)
        if not backing.local and not backing.unsure:
            self.assertTrue(there)
            self.assertEqual('rbd:vms', backing.backend)
            recorded = '10.0.0.1:0/1' in found.images['vms/i1_disk']
            self.assertTrue(whole or recorded or (vm_state, power) == ('stopped', 4))


class BackendTest(unittest.TestCase):
    def seen(self, *backends):
        instances = [guest(id=f'i{n}') for n in range(len(backends))]
        records = {i.id: model.DiskRecord(
            i.id, 'c1', 's', {f'vms/{i.id}_disk': ['10.0.0.1:0/1']} if b != 'local' else {}, b,
            '', (), (), NOW) for i, b in zip(instances, backends, strict=True)}
        return disks.backends(instances, records)

    def test_what_is_always_seen_is_known(self):
        self.assertEqual({'c1': {'rbd:vms'}}, self.seen('rbd:vms', 'rbd:vms'))
        self.assertEqual('rbd:vms', disks.backend('', 'rbd:vms', ''))

    def test_what_is_mixed_is_not_known_unless_the_operator_says(self):
        self.assertEqual({'c1': {'rbd:vms', 'local'}}, self.seen('rbd:vms', 'local'))
        self.assertEqual('', disks.backend('', '', 'rbd:vms'))
        self.assertEqual('rbd:vms', disks.backend('rbd:vms', '', ''))

    def test_words_that_are_no_place(self):
        for word in ('', 'local', 'rbd:vms'):
            self.assertEqual('', disks.backend_problem(word))
        for word in ('vms', 'rbd', 'rbd:', 'Local'):
            self.assertIn('rbd:', disks.backend_problem(word))

    def test_the_word_about_all_hosts_counts_where_nothing_was_seen(self):
        self.assertEqual('rbd:vms', disks.backend('', None, 'rbd:vms'))
        self.assertEqual('local', disks.backend('', 'local', 'rbd:vms'))
        self.assertEqual('', disks.backend('', None, ''))


class RememberedTest(unittest.TestCase):
    """Of thousands of nodes and instances, only what is asked for or has changed is made."""

    def test_a_node_that_is_as_it_was_is_not_made_again(self):
        backends, there = disks.Backends(), nodes('c1', 'c2')
        first = backends.of(model.Cluster(nodes=there), {'c1': 'rbd:fast'}, 'rbd:vms')
        self.assertEqual(['rbd:fast', 'rbd:vms'], [n.backend for n in first.nodes.values()])
        there = {**there, 'c2': dataclasses.replace(there['c2'], up=True)}
        second = backends.of(model.Cluster(nodes=there), {'c1': 'rbd:fast'}, 'rbd:vms')
        self.assertIs(first.nodes['c1'], second.nodes['c1'])
        self.assertTrue(second.nodes['c2'].up)
        third = backends.of(model.Cluster(nodes=there), {'c1': 'rbd:slow'}, 'rbd:vms')
        self.assertEqual('rbd:slow', third.nodes['c1'].backend)

    def test_what_backs_an_instance_is_worked_out_when_it_is_asked_for(self):
        asked = []

        def backing(instance):
            asked.append(instance.id)
            return model.Backing('rbd:vms')
        found = disks.Backed({n: model.Instance(n) for n in ('a', 'b', 'c')}, backing)
        self.assertEqual((3, ['a', 'b', 'c'], True, None), (
            len(found), sorted(found), 'b' in found, found.get('d')))
        asked.clear()
        self.assertEqual('rbd:vms', found['b'].backing.backend)
        self.assertEqual(['b'], asked)


class FillTest(unittest.TestCase):
    """How full the storage is once what a host held is made anew on the others."""

    def fill(self, *osds, **usage):
        map_ = storage(*osds)
        return disks.fill_without(disks.by_host(nodes('c1', 'c2', 'c3'), map_), map_, {
            int(name[3:]): pair for name, pair in usage.items()})

    def test_a_host_takes_its_room_with_it_and_not_its_data(self):
        found = self.fill(('c1', '', True), ('c2', '', True), ('c3', '', True),
                          osd0=(200, 50), osd1=(100, 50), osd2=(100, 20))
        self.assertEqual({'c1': 120 / 200, 'c2': 120 / 300, 'c3': 120 / 300}, found)

    def test_two_disks_of_a_host(self):
        found = self.fill(('c1', '', True), ('c1', '', True), ('c2', '', True),
                          osd0=(100, 10), osd1=(100, 10), osd2=(100, 10))
        self.assertEqual({'c1': 30 / 100, 'c2': 30 / 200}, found)

    def test_with_a_disk_of_which_nothing_is_known_nothing_is(self):
        osds = ('c1', '', True), ('c2', '', True)
        for usage in ({}, dict(osd0=(100, 10)), dict(osd0=(100, 10), osd1=(0, 0))):
            self.assertEqual(dict(c1=None, c2=None), self.fill(*osds, **usage))

    def test_the_only_host_with_disks(self):
        self.assertEqual({'c1': 1.0}, self.fill(('c1', '', True), osd0=(100, 10)))
        self.assertEqual({}, self.fill())
