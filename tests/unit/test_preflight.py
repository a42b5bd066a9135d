"""What preflight finds, of facts as values: each thing when it is so, and not when it is not."""

import dataclasses

import testtools

from tests.unit import topology
from vmha_nova import disks
from vmha_nova import model
from vmha_nova import preflight

HOSTS = ('c1', 'c2', 'c3', 's1')
POOLS = disks.Pools(('vms',), ('volumes',), ('images',))
GRANTS = 'allow r, allow command "sessions", allow command "osd blocklist"'


def cluster(*nodes, instances=(), **values):
    """Three ordinary nodes and a spare; ``nodes`` replace those of the same name."""
    usual = [topology.node(h) for h in HOSTS[:3]] + [topology.spare('s1')]
    found = {n.host: n for n in (*usual, *nodes)}
    return topology.cluster(found.values(), instances, **values)


def pool(name, size=3, min_size=2, rule=0):
    return {'pool_name': name, 'size': size, 'min_size': min_size, 'crush_rule': rule}


def dump(**values):
    return {'pools': [pool(p) for p in ('vms', 'volumes', 'images')],
            'flags': 'sortbitwise,purged_snapdirs', 'require_min_compat_client': 'octopus',
            'osds': [{'osd': n, 'state': ['exists', 'up']} for n in range(4)], **values}


def crush(*steps):
    """A CRUSH map with one rule; a step is (op, num, type)."""
    return {'types': [{'type_id': n, 'name': name} for n, name in enumerate(
                ('osd', 'host', 'chassis', 'rack'))],
            'rules': [{'rule_id': 0, 'steps': [
                {'op': 'take', 'item': -1},
                *({'op': op, 'num': num, 'type': kind} for op, num, kind in steps),
                {'op': 'emit'}]}]}


def storage(hosts=HOSTS, **pools):
    return model.StorageMap(
        'f', 1, topology.NOW,
        osds=tuple(model.Osd(n, True, True, h) for n, h in enumerate(hosts)),
        pools={p: model.Pool(n, p, *pools.get(p, (3, 2)))
               for n, p in enumerate(('vms', 'volumes', 'images'))})


def monitors(addresses=('10.0.1.1', '10.0.1.2', '10.0.1.3'), quorum=None):
    return {'mons': [{'rank': n, 'name': 'abcde'[n], 'public_addrs': {'addrvec': [
                {'type': 'v2', 'addr': f'{ip}:3300', 'nonce': 0},
                {'type': 'v1', 'addr': f'{ip}:6789', 'nonce': 0}]}}
                for n, ip in enumerate(addresses)],
            'quorum': list(range(len(addresses))) if quorum is None else quorum}


def good(**values):
    """Facts in which nothing is wrong."""
    return preflight.Facts(**{**dict(
        pools=POOLS, fence=('storage',), cluster=cluster(), recorded=set(HOSTS),
        owner={f'10.0.0.{n}': h for n, h in enumerate(HOSTS, 1)}, storage=storage(),
        dump=dump(), crush=crush(('chooseleaf_firstn', 0, 'host')), monitors=monitors(),
        config={'client': {'rbd_read_from_replica_policy': 'localize'}},
        usage=dict.fromkeys(range(4), (1000, 400)),
        own_caps=f'{GRANTS}, allow command "osd down"',
        caps={'client.nova': 'profile rbd'}, nova_confs={'nova.conf': {}}), **values})


class Base(testtools.TestCase):
    def assertNothing(self, **values):
        self.assertEqual([], preflight.findings(good(**values)))

    def assertFound(self, level, what, why='', todo='', **values):
        """One finding, with these words in it; returns it."""
        found = preflight.findings(good(**values))
        self.assertEqual(1, len(found), found)
        self.assertEqual(level, found[0].level, found)
        for words, text in ((what, found[0].what), (why, found[0].why), (todo, found[0].todo)):
            self.assertIn(words, text)
        return found[0]


class AllTest(Base):
    def test_nothing(self):
        self.assertNothing()

    def test_what_was_not_read_is_not_judged(self):
        self.assertEqual([], preflight.findings(preflight.Facts(
            fence=('storage',), nova_confs={'nova.conf': {}})))

    def test_marks_that_could_not_be_read_are_not_taken_for_none(self):
        self.assertNothing(recorded=None, cluster=cluster(
            topology.node('s1', backend=''), instances=[topology.instance(
                'a', 'c1', backing=model.Backing(unsure='x'))]))

    def test_errors_first_and_notes_last(self):
        mine = preflight.Finding('error', 'x', 'y', 'z')
        found = preflight.findings(good(problems=(mine,), ranged=False, nova_confs={},
                                        dump=dump(flags='nodown')))
        self.assertEqual(['error', 'error', 'warning', 'note'], [f.level for f in found])
        self.assertIs(mine, found[0])

    def test_an_answer_of_another_shape_is_a_finding_and_ends_no_other_check(self):
        found = preflight.findings(good(monitors={}, dump=dump(flags='noout')))
        self.assertEqual(["an answer of Ceph is not what was expected (KeyError: 'mons')"],
                         [f.what for f in found if 'noout' not in f.what])
        self.assertIn('(quorum)', found[1].why)
        self.assertEqual(2, len(found))


class FenceTest(Base):
    def test_none(self):
        self.assertFound('warning', 'no fence', 'would write beside its copy',
                         '[fence] driver = storage', fence=('none',))

    def test_no_ranges(self):
        self.assertFound('warning', 'fence_range = false', todo='fence_range = true',
                         ranged=False)

    def test_own_account_may_not_blocklist(self):
        for caps in ('', 'allow r', 'profile rbd', 'profile rbd-read-only',
                     'allow r, allow command "osd blocklist" with blocklistop=add',
                     'allow command "osd blocklist ls"', 'allow service mon rw'):
            found = preflight.findings(good(own_caps=caps, user='client.x'))
            self.assertEqual(['error', 'warning'], [f.level for f in found], caps)
            self.assertIn(f'client.x may not blocklist (monitor caps: {caps or "none"})',
                          found[0].what)
            self.assertIn('no host can be fenced', found[0].why)
            self.assertIn('allow command "osd blocklist"', found[0].todo)

    def test_own_account_may_not_mark_down(self):
        self.assertFound('warning', 'client.vmha may not mark OSDs down', 'hang for longer',
                         'allow command "osd down"', own_caps=GRANTS)

    def test_own_account_may(self):
        for caps in ('allow *', 'allow r; allow rw', 'allow rwx', 'allow all',
                     'allow service osd rw',
                     'allow command="osd blocklist", allow command=\'osd down\''):
            self.assertNothing(own_caps=caps)

    def test_a_user_of_disks_may_not_blocklist(self):
        for caps in ('', 'allow r', 'profile rbd-read-only', 'profile osd',
                     'allow command "osd down"'):
            self.assertFound('error', 'client.cinder may not blocklist', 'does not boot',
                             "ceph auth caps client.cinder mon 'profile rbd'",
                             caps={'client.nova': 'profile rbd', 'client.cinder': caps})

    def test_a_user_of_disks_may(self):
        for caps in ('profile rbd', 'allow profile rbd', 'allow r, profile rbd', 'allow *',
                     'profile "rbd"', 'allow r, allow command "osd blocklist"',
                     'allow r, allow command "osd blocklist" with blocklistop=add'):
            self.assertNothing(caps={'client.nova': caps})

    def test_no_client_on_record(self):
        busy = cluster(instances=topology.instances('c2', 1))
        self.assertNothing(recorded={'c2'}, cluster=busy)
        self.assertFound('warning', 'no storage client is on record of c2', 'cannot be fenced',
                         'host_addresses', recorded={'c1'}, cluster=busy)


class SpareTest(Base):
    def test_none(self):
        bare = cluster(topology.node('s1'))
        self.assertFound('warning', 'no node is a spare', 'ordinary nodes', '--spare',
                         cluster=bare)
        self.assertFound('error', 'no node is a spare', 'no room', cluster=bare,
                         policy=model.Policy(spares_only=True))

    def test_none_of_that_pool_or_zone(self):
        self.assertFound('warning', 'no spare serves c1, c3', '', '--pool', cluster=cluster(
            topology.node('c1', pool='rack1'), topology.node('c3', zone='az2')))
        self.assertNothing(cluster=cluster(topology.node('c1', pool='rack1'),
                                           topology.spare('s2', pool='rack1')))

    def test_that_can_take_nothing(self):
        for unfit, why in ((dict(up=False), 'is down in Nova'),
                           (dict(maintenance=True), 'is in maintenance'),
                           (dict(parked=False, disabled_reason='mine'), 'is disabled (mine)')):
            down = topology.spare('s1', **unfit)
            self.assertFound('error', f's1 ({why})', 'less room', cluster=cluster(down))
            self.assertFound('warning', f's1 ({why})',
                             cluster=cluster(down, topology.spare('s2')))

    def test_what_placement_did_not_say_is_not_held_against_them(self):
        self.assertNothing(cluster=cluster(topology.spare('s1', capacity={}), problems=('x',)))


class BackendTest(Base):
    def test_not_known(self):
        self.assertFound('warning', 'not known of s1', 'empty', '--backend rbd:POOL',
                         cluster=cluster(topology.spare('s1', backend='')))
        everywhere = cluster(*(topology.node(h, backend='') for h in HOSTS[:3]),
                             topology.spare('s1', backend=''))
        self.assertFound('error', 'not known of c1, c2, c3, s1', cluster=everywhere)
        self.assertNothing(cluster=everywhere, policy=model.Policy(need_same_backend=False))

    def test_another_one(self):
        self.assertFound('warning', 'not kept in rbd:vms, as elsewhere, on c3 (local)',
                         'cannot be moved', 'images_type',
                         cluster=cluster(topology.node('c3', backend='local')))

    def test_the_operators_word_against_what_was_seen(self):
        self.assertNothing(seen={'c1': {'rbd:vms'}, 'c2': set()})
        self.assertFound('error', 'c1 is said to keep disks in rbd:vms, and disks of instances '
                         'there are in local', 'the data is lost', 'host set c1 --backend',
                         seen={'c1': {'local'}})

    def test_seen_in_two_places(self):
        self.assertFound('warning', 'not known of c1 (seen: local, rbd:vms)',
                         cluster=cluster(topology.node('c1', backend='')),
                         seen={'c1': {'local', 'rbd:vms'}})


class InstanceTest(Base):
    def test_left_alone_by_reason(self):
        some = [topology.instance(f'i{n}', 'c1', backing=model.Backing(
            local=f'its disk 0bd0762c-8a5c-4e83-a2c8-16ce2103f60{n}_disk is not there'))
            for n in range(7)]
        self.assertFound('warning', '7 instances would be left alone: its disk … is not there '
                         '(name-i0, name-i1, name-i2, name-i3, name-i4 and 2 more)',
                         'stays down', cluster=cluster(instances=some))
        self.assertFound('warning', '1 instance would be left alone: Nova cannot carry paused',
                         cluster=cluster(instances=[topology.instance(
                             'i', 'c1', vm_state='paused')]))

    def test_would_wait(self):
        self.assertFound('warning', '1 instance would wait: not read (name-i)',
                         'not evacuated', 'vmha-engine', cluster=cluster(instances=[
                             topology.instance('i', 'c1', backing=model.Backing(unsure='not read'))
                         ]))

    def test_would_move(self):
        self.assertNothing(cluster=cluster(instances=[topology.instance(
            'i', 'c1', backing=model.Backing('rbd:vms'))]))


class ControlTest(Base):
    def test_by_address_and_by_name(self):
        self.assertFound('warning', 'c2 also carries a control service: Keystone, '
                         'nova-conductor', 'dies with the host', 'move it', services={
                             'Keystone': {'keystone.example.org', '10.0.0.2'},
                             'nova-conductor': {'c2'}, 'the database': {'10.0.1.1', None}})
        self.assertNothing(services={'Keystone': {'10.0.1.1'}, 'nova-conductor': {'ctl1'}})

    def test_this_machine(self):
        self.assertFound('warning', 'this machine is the compute node c3', 'dies with it',
                         'where no instances are', here={'c3'})

    def test_monitor(self):
        on_c1 = monitors(('10.0.0.1', '10.0.1.2', '10.0.1.3'))
        self.assertFound('warning', 'c1 also carries the monitor a', '15 to 17 s longer',
                         'move the monitor', monitors=on_c1)


class PoolTest(Base):
    def broken(self, **values):
        return dump(pools=[pool('vms', **values), pool('volumes'), pool('images')])

    def test_size_and_min_size(self):
        self.assertFound('error', 'pool vms keeps a single copy (size 1)', 'only copy',
                         'ceph osd pool set vms size 3', dump=self.broken(size=1, min_size=1))
        self.assertFound('error', 'pool vms takes writes with a single copy left (min_size 1)',
                         'data is lost', 'ceph osd pool set vms min_size 2',
                         dump=self.broken(min_size=1))
        self.assertFound('error', 'pool vms takes no write with one copy less (size 2, '
                         'min_size 2)', 'hang', 'ceph osd pool set vms size 3',
                         dump=self.broken(size=2))

    def test_missing(self):
        self.assertFound('warning', 'there is no pool volumes', todo='volume_pools',
                         dump=dump(pools=[pool('vms'), pool('images')]))

    def test_others_do_not_matter(self):
        self.assertNothing(dump=dump(pools=[*dump()['pools'], pool('rgw', 1, 1)]))

    def test_failure_domain(self):
        one = disks.Pools(('vms',))
        for steps in ([('chooseleaf_firstn', 0, 'osd')], [('choose_indep', 0, 'osd')],
                      [('choose_indep', 2, 'host'), ('choose_indep', 2, 'osd')]):
            self.assertFound('error', 'copies of pool vms may lie on one host (failure domain '
                             'osd)', 'all copies', 'whose failure domain is host', pools=one,
                             crush=crush(*steps))
        self.assertFound('error', 'failure domain not known', pools=one,
                         crush={**crush(), 'rules': []})
        for steps in ([('chooseleaf_firstn', 0, 'rack')],
                      [('choose_firstn', 0, 'host'), ('choose_firstn', 1, 'osd')],
                      [('choose_firstn', 2, 'rack'), ('chooseleaf_firstn', 2, 'host')]):
            self.assertNothing(crush=crush(*steps))


class FlagTest(Base):
    def test_of_the_cluster(self):
        for flag, level, todo in (
                ('noout', 'warning', 'ceph osd unset noout'), ('norecover', 'warning', ''),
                ('nobackfill', 'warning', ''), ('norebalance', 'warning', ''),
                ('noin', 'warning', ''), ('noup', 'error', ''), ('nodown', 'error', ''),
                ('pauserd', 'error', 'ceph osd unset pause'),
                ('pausewr', 'error', 'ceph osd unset pause'),
                ('full', 'error', 'free space')):
            found = self.assertFound(level, f'the cluster has the flag {flag}',
                                     dump=dump(flags=f'sortbitwise,{flag}'))
            self.assertEqual(todo or f'ceph osd unset {flag}', found.todo)
        self.assertNothing(dump=dump(flags='noscrub,nodeep-scrub,sortbitwise'))

    def test_of_a_host_a_class_or_an_osd(self):
        for name, more in (('c1', dict(crush_node_flags={'c1': ['noout']})),
                           ('ssd', dict(device_class_flags={'ssd': ['noout']})),
                           ('osd.7', dict(osds=[{'osd': 7, 'state': ['up', 'noout']}]))):
            self.assertFound('warning', f'{name} has the flag noout', 'not made anew',
                             f'ceph osd unset-group noout {name}', dump=dump(**more))


class SpaceTest(Base):
    def test_too_little(self):
        self.assertNothing(usage=dict.fromkeys(range(4), (1000, 630)))
        self.assertFound('error', 'without one of c1, c2, c3, s1 the storage would be up to '
                         '87% full', 'takes no write', 'add disks',
                         usage=dict.fromkeys(range(4), (1000, 650)))

    def test_the_largest_host_is_the_one(self):
        self.assertFound('error', 'without one of c1 the', usage={
            0: (3000, 500), 1: (1000, 500), 2: (1000, 700), 3: (1000, 900)})

    def test_osds_that_are_out_take_nothing(self):
        out = storage()
        out = dataclasses.replace(out, osds=(
            *out.osds[:3], dataclasses.replace(out.osds[3], inside=False)))
        usage = dict.fromkeys(range(4), (1000, 600))
        self.assertNothing(usage=usage)
        self.assertIn('90% full', ' '.join(f.what for f in preflight.findings(
            good(usage=usage, storage=out))))

    def test_what_is_not_known(self):
        usage = dict.fromkeys(range(3), (1000, 900))
        self.assertFound('warning', 'how much is on osd.3 is not known', 'cannot be checked',
                         'ceph osd df', usage=usage)
        self.assertFound('warning', 'how much is on osd.3', usage={**usage, 3: (0, 0)})

    def test_too_few_hosts(self):
        few = dict(pools=disks.Pools(('vms',)), usage=dict.fromkeys(range(4), (1000, 1)))
        self.assertFound('warning', 'pool vms wants 3 copies, and OSDs are on 3 hosts',
                         'cannot be made anew', 'add a host',
                         storage=storage(HOSTS[:3]), **few)
        self.assertFound('warning', 'OSDs are on 1 host', storage=storage(HOSTS[:1]), **few)

    def test_a_copy_on_every_host_is_one_to_spare(self):
        self.assertNothing(storage=storage(images=(4, 2)))


class QuorumTest(Base):
    def test_too_few(self):
        self.assertFound('warning', '1 monitor only', 'stands still', 'run three',
                         monitors=monitors(['10.0.1.1']))

    def test_one_is_away(self):
        self.assertFound('warning', 'monitors out of quorum: b', 'another one',
                         monitors=monitors(quorum=[0, 2]))


class LockTest(Base):
    def test_stale(self):
        self.assertFound('warning', '2 images locked by clients that are no more: vms/a, vms/b',
                         'half a minute', 'rbd lock rm', stale_locks={'vms/b', 'vms/a'})


class LocalReadTest(Base):
    LOCAL = {'client': {'rbd_read_from_replica_policy': 'localize', 'crush_location': 'host=a'}}

    def test_old_clients(self):
        for least in ('luminous', 'nautilus', 'unknown', ''):
            self.assertFound('warning', 'require_min_compat_client', 'own host', 'octopus',
                             dump=dump(require_min_compat_client=least))
        self.assertNothing(dump=dump(require_min_compat_client='squid'))

    def test_not_in_the_cluster(self):
        for config in ({}, {'client': {'rbd_read_from_replica_policy': 'default'}},
                       {'client.cinder': self.LOCAL['client']}):
            self.assertFound('warning', 'the configuration in the cluster does not set '
                             'rbd_read_from_replica_policy = localize', 'over the network',
                             '--ceph-conf', config=config)
        for section in ('global', 'client', 'client.nova'):
            self.assertNothing(config={section: self.LOCAL['client']})

    def test_a_file_of_a_node(self):
        self.assertNothing(config={}, ceph_confs={'f': self.LOCAL})
        self.assertNothing(config=None, ceph_confs={'f': self.LOCAL})
        self.assertFound('warning', 'f does not set rbd_read_from_replica_policy = localize and '
                         'crush_location', 'over the network', 'crush_location = host=NAME',
                         config={}, ceph_confs={'f': {}})
        self.assertFound('warning', 'f does not set crush_location', ceph_confs={'f': {}})

    def test_a_file_counts_more_than_the_cluster(self):
        self.assertFound('warning', 'f does not set rbd_read_from_replica_policy', ceph_confs={
            'f': {'client.nova': {'rbd_read_from_replica_policy': 'default'}, **self.LOCAL}})


class NovaConfTest(Base):
    def test_resume(self):
        for value, bad in (('true', True), ('1', True), ('Yes', True), ('false', False)):
            facts = dict(nova_confs={'f': {'DEFAULT': {
                'resume_guests_state_on_host_boot': value}}})
            if bad:
                self.assertFound('error', 'f: resume_guests_state_on_host_boot is true',
                                 'run elsewhere', 'false', **facts)
            else:
                self.assertNothing(**facts)

    def test_not_looked_at(self):
        self.assertFound('note', 'resume_guests_state_on_host_boot was not checked', '',
                         '--nova-conf', nova_confs={})
