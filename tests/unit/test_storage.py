"""What is known of the storage: what is read when, and what stays on record."""

import dataclasses
import datetime
import types
import unittest

from tests.unit import clock as clocks
from tests.unit import sim_ceph
from tests.unit import sim_nova
from vmha_nova import disks
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import storage

POOLS = disks.Pools(('vms',), ('volumes',), ('images',))


class Store:
    """The part of db.store.Store that is used here, in memory."""

    def __init__(self):
        self.known_clients, self.known_disks, self.out = {}, {}, []
        self.known_backends = {}

    def clients(self, host=None):
        return {c: row for c, row in self.known_clients.items() if host in (None, row[0])}

    def disks(self, host=None):
        return {i: r for i, r in self.known_disks.items() if host in (None, r.host)}

    def backends(self):
        return dict(self.known_backends)

    def save_backends(self, term, seen):
        self.known_backends.update(seen)

    def recoveries(self, unreleased):
        return [types.SimpleNamespace(host=h) for h in self.out]

    def save_clients(self, term, seen, forgotten):
        self.known_clients.update(seen)
        for client in forgotten:
            del self.known_clients[client]

    def save_disks(self, term, records, forgotten=()):
        self.known_disks.update((r.instance_id, r) for r in records)
        for ident in forgotten:
            del self.known_disks[ident]


class Base(unittest.TestCase):
    def setUp(self):
        self.clock = clocks.Clock(sim_nova.START)
        self.nova = sim_nova.SimNova(self.clock, ('c1', 'c2'))
        self.ceph = self.nova.ceph = sim_ceph.SimCeph(self.clock, self.nova)
        self.store = Store()
        self.nodes = {h: model.ComputeNode(h, address=ip) for h, ip in self.ceph.ips.items()}
        self.asked = []                 # sets of images
        real = self.ceph.users_of
        self.ceph.users_of = lambda images: (self.asked.append(set(images)), real(images))[1]
        self.attached = lambda ident: {}
        self.fresh()
        self.nova.boot('c1', 2, 'run')

    def fresh(self, **options):
        self.storage = storage.Storage(
            self.ceph, self.store, self.snapshot, lambda ident: self.attached(ident), self.clock,
            POOLS, interval=10.0, **options)
        self.storage.lead = types.SimpleNamespace(term=1)

    def snapshot(self):
        by_host = {}
        for i in self.nova.servers_.values():
            by_host.setdefault(i.host, set()).add(i.id)
        return model.Cluster(
            nodes=self.nodes, instances=dict(self.nova.servers_), nodes_at=self.clock(),
            instances_at=self.clock(), by_host={h: frozenset(i) for h, i in by_host.items()})

    def look(self, seconds=0.0):
        end = self.clock() + datetime.timedelta(seconds=seconds)
        self.asked.clear()
        self.storage.look()
        while self.clock() < end:
            self.clock.tick(1.0)
            self.storage.look()

    def change(self, ident, **values):
        self.nova.servers_[ident] = dataclasses.replace(self.nova.servers_[ident], **values)


class LookTest(Base):
    def test_nothing_is_read_while_nothing_changes(self):
        self.look()
        self.assertEqual({'run0', 'run1'}, set(self.store.known_disks))
        self.look(30)
        self.assertEqual([], self.asked)

    def test_nothing_is_written_before_it_leads(self):
        self.storage.lead.term = None
        self.look(20)
        self.assertEqual([], self.ceph.calls)

    def test_what_changed_is_read_at_once(self):
        self.look()
        self.clock.tick(1)
        self.change('run0', stamp='later')
        self.look()
        self.assertEqual([{'vms/run0_disk'}], self.asked)

    def test_who_has_a_new_client_is_read_when_the_old_one_is_gone(self):
        self.look()
        self.ceph.leave('run0', 'c1')
        client = self.ceph.start('run0', 'c1')
        self.look(storage.LOST + storage.PATIENCE + 10)
        self.assertIn(client, self.store.known_disks['run0'].images['vms/run0_disk'])

    def test_clients_are_put_on_record_with_their_host(self):
        self.look()
        self.assertEqual({'c1'}, {row[0] for row in self.store.known_clients.values()})
        self.ceph.others['10.9.9.9:0/5'] = 'client.nova'
        self.look(11)
        self.assertEqual(2, len(self.store.known_clients))

    def test_gone_clients_are_forgotten_but_for_those_of_hosts_that_are_out(self):
        self.look()
        self.nova.hosts['c1'].powered = False
        self.store.out = ['c1']
        self.clock.tick(storage.REMEMBER.total_seconds() + 60)
        self.look()
        self.assertEqual(2, len(self.store.known_clients))
        self.store.out = []
        self.clock.tick(11)
        self.look()
        self.assertEqual({}, self.store.known_clients)

    def test_a_client_that_stays_is_not_forgotten(self):
        self.look()
        for _ in range(60):
            self.clock.tick(1800)
            self.look()
        self.assertEqual(2, len(self.store.known_clients))

    def test_a_batch_at_a_time_and_the_rest_at_the_next_look(self):
        self.fresh(batch=1)
        self.look()
        self.assertEqual(1, len(self.store.known_disks))
        self.look(1)
        self.assertEqual(2, len(self.store.known_disks))

    def test_a_deleted_instance_is_forgotten_after_a_day(self):
        self.look()
        del self.nova.servers_['run0']
        self.look(20)
        self.assertIn('run0', self.store.known_disks)
        self.clock.tick(storage.REMEMBER.total_seconds())
        self.look()
        self.assertEqual({'run1'}, set(self.store.known_disks))

    def test_what_is_on_record_is_taken_over(self):
        self.look()
        self.fresh()
        self.look()
        self.assertEqual([], self.asked)


class TroubleTest(Base):
    def broken(self, *idents):
        real = self.ceph.users_of

        def users_of(images):
            if any(i in image for image in images for i in idents):
                self.asked.append(set(images))
                raise exception.Unreachable('its parent is gone')
            return real(images)
        self.ceph.users_of = users_of

    def test_one_that_cannot_be_read_is_not_asked_for_at_every_look(self):
        self.broken('run0')
        self.look()
        self.assertEqual({'run1'}, set(self.store.known_disks))
        self.look(storage.PATIENCE - 5)
        self.assertEqual([], self.asked)
        self.look(10)
        self.assertTrue(self.asked)

    def test_nobody_is_asked_one_by_one_for_long_while_nothing_answers(self):
        self.nova.boot('c1', 50, 'more')
        self.broken('run', 'more')
        self.look()
        self.assertEqual(1 + storage.IN_A_ROW, len(self.asked))

    def test_cinder_not_answering_is_that_instances_trouble(self):
        def attached(ident):
            raise exception.Unreachable('Cinder')
        self.attached = attached
        self.nova.boot('c1', 1, 'vol', kept=(), volumes=('v1',))
        self.look(5)
        self.assertEqual({'run0', 'run1'}, set(self.store.known_disks))
        self.attached = lambda ident: {}
        self.ceph.start('vol0', 'c1', 'volumes', 'volume-v1')
        self.look(storage.PATIENCE)
        self.assertIn('vol0', self.store.known_disks)

    def test_a_missing_disk_is_looked_for_again_but_not_soon(self):
        disk = self.ceph.images.pop('vms/run0_disk')
        self.look(storage.AGAIN - 20)
        self.assertTrue(self.store.known_disks['run0'].problem)
        self.assertEqual(1, len(self.asked))
        self.ceph.images['vms/run0_disk'] = disk
        self.look(30)
        self.assertFalse(self.store.known_disks['run0'].problem)

    def test_what_is_being_built_is_not_said_to_miss_its_disk(self):
        disk = self.ceph.images.pop('vms/run0_disk')
        self.change('run0', task_state='spawning')
        self.look()
        self.assertNotIn('run0', self.store.known_disks)
        self.ceph.images['vms/run0_disk'] = disk
        self.change('run0', task_state='')
        self.look(storage.PATIENCE)
        self.assertEqual('rbd:vms', self.store.known_disks['run0'].backend)


class FenceTest(Base):
    """What the engine asks."""

    def setUp(self):
        super().setUp()
        self.look()

    def backing(self, ident='run0', host='c1', fenced=None):
        return self.storage.backed(self.snapshot(), host, fenced).instances[ident].backing

    def test_whole_needs_a_client_on_record_and_all_of_them_within(self):
        self.assertTrue(self.storage.whole('c1'))
        self.assertTrue(self.storage.whole('c1', ['10.0.0.1', '10.0.7.1']))
        self.assertFalse(self.storage.whole('c1', []))
        self.assertFalse(self.storage.whole('c1', ['10.0.7.1']))
        self.assertFalse(self.storage.whole('c2'))
        self.store.known_clients['10.0.7.1:0/9'] = 'c1', 'client.nova', self.clock()
        self.assertFalse(self.storage.whole('c1'))
        self.fresh(ranged=False)
        self.assertFalse(self.storage.whole('c1'))

    def test_who_only_reads_the_record_needs_no_map(self):
        self.fresh()
        self.storage.ceph = object()
        self.storage.load()
        self.assertTrue(self.storage.whole('c1'))
        self.assertFalse(self.storage.whole('c2'))

    def test_an_address_that_two_hosts_claim_is_no_hosts(self):
        self.assertEqual(['10.0.0.1'], self.storage.addresses('c1'))
        self.nodes = {**self.nodes, 'c2': model.ComputeNode('c2', address='10.0.0.1')}
        self.assertEqual([], self.storage.addresses('c1'))
        self.assertFalse(self.storage.whole('c1'))

    def test_a_new_map_is_heeded(self):
        self.storage.addresses('c1')
        self.ceph.ips['c1'] = '10.0.7.1'
        self.clock.tick(11)
        self.look()
        self.assertEqual(['10.0.0.1', '10.0.7.1'], self.storage.addresses('c1'))

    def test_clients_are_those_connected_and_those_of_images(self):
        self.store.known_clients.clear()
        self.assertEqual(2, len(self.storage.clients('c1')))
        self.store.known_clients['10.0.0.1:0/9'] = 'c1', 'client.nova', self.clock()
        self.assertEqual(3, len(self.storage.clients('c1')))
        self.assertEqual([], self.storage.clients('c2'))

    def test_what_a_fence_covers_stays_covered_and_nothing_else(self):
        self.change('run0', stamp='our own evacuation')
        self.change('run1', stamp='the same')
        fenced = {'whole': False, 'covered': ['run0']}
        self.assertEqual(model.Backing('rbd:vms'), self.backing('run0', fenced=fenced))
        self.assertTrue(self.backing('run1', fenced=fenced).unsure)

    def test_what_was_not_known_is_not_covered_by_what_is_read_later(self):
        fenced = {'whole': False, 'covered': []}
        self.assertIn('not known when', self.backing(fenced=fenced).unsure)
        self.assertFalse(self.backing(fenced={'whole': True, 'covered': []}).unsure)

    def test_covered_without_a_record_is_not_enough(self):
        del self.store.known_disks['run0']
        fenced = {'whole': True, 'covered': ['run0']}
        self.assertTrue(self.backing(fenced=fenced).unsure)

    def test_the_instances_of_other_hosts_are_as_they_were(self):
        self.nova.boot('c2', 1, 'other')
        cluster = self.storage.backed(self.snapshot(), 'c1')
        self.assertIsNone(cluster.instances['other0'].backing)
        self.assertEqual({'run0', 'run1', 'other0'}, set(cluster.instances))
        self.assertEqual(3, len(cluster.instances))

    def test_backends_follow_the_nodes(self):
        self.fresh(everywhere='rbd:vms')
        cluster = self.snapshot()
        first = self.storage.with_backends(cluster)
        self.assertEqual('rbd:vms', first.nodes['c2'].backend)
        self.nodes = {**self.nodes, 'c2': dataclasses.replace(
            self.nodes['c2'], enabled=True, backend='local')}
        second = self.storage.with_backends(self.snapshot())
        self.assertEqual(('local', True), (second.nodes['c2'].backend,
                                           second.nodes['c2'].enabled))
        self.assertIs(first.nodes['c1'], second.nodes['c1'])

    def test_backends_follow_what_is_seen(self):
        self.assertEqual('', self.storage.with_backends(self.snapshot()).nodes['c2'].backend)
        self.clock.tick(1)
        self.nova.boot('c2', 1, 'other')
        self.look()
        self.assertEqual('rbd:vms',
                         self.storage.with_backends(self.snapshot()).nodes['c2'].backend)

    def test_ready_asks_for_the_pools_of_its_disks_and_their_parents(self):
        self.ceph.not_active = {'volumes': 'half of it is gone'}
        self.assertEqual('', self.storage.ready('c1'))
        self.ceph.not_active = {'images': 'half of it is gone'}
        self.assertEqual('pool images: half of it is gone', self.storage.ready('c1'))
        self.assertEqual('', self.storage.ready('c2'), 'it has no disks')

    def test_the_osds_are_enough_to_say_that_a_pool_is_not_ready(self):
        def inactive(pools, known):
            raise exception.Unreachable('no manager')
        self.ceph.not_active, self.ceph.inactive = {'vms': ''}, inactive
        self.assertIn('1 of its placement groups', self.storage.ready('c1'))
