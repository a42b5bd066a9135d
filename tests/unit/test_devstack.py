"""The DevStack plugin, in every phase, on every kind of node."""

import base64
import os
import pathlib
import stat
import struct
import subprocess
import tempfile

import testtools

from tests.unit import devstack_case
from tests.unit.devstack_case import SUBNODE


class DevstackCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def node(self, name='node1', **settings):
        return devstack_case.Node(self.folder / name, self.folder / 'cluster', name=name,
                                  **settings)

    def subnode(self, number, **settings):
        return self.node(f'node{number}', services=settings.pop('services', SUBNODE),
                         HOST_IP=f'10.0.0.{number}', **settings)

    def refusal(self, node, *phases):
        error = self.assertRaises(subprocess.CalledProcessError, node.run, 'stack.sh',
                                  *(phases or ('stack pre-install',)))
        self.assertEqual(9, error.returncode, error.stderr)
        return error.stderr

    def assertIni(self, wanted, found):
        """The sections have these options, whatever else they have."""
        for section, options in wanted.items():
            have = found.get(section, {})
            self.assertEqual(options, {name: have.get(name) for name in options}, section)


class OneNodeTest(DevstackCase):
    """Nova's fake hypervisor, no Ceph."""

    def setUp(self):
        super().setUp()
        self.one = self.node(VIRT_DRIVER='fake', VMHA_SPARE_HOSTS='node11,node12')

    def test_the_service_is_installed_with_what_it_needs(self):
        self.one.stack()
        self.assertEqual([[str(devstack_case.ROOT), 'memcached,mysql,osc,service']],
                         self.one.asked('setup_develop'))
        self.assertEqual([], self.one.asked('install_package'))
        self.assertEqual([], self.one.asked('ceph'))

    def test_vmha_conf(self):
        self.one.stack()
        self.assertIni({
            'DEFAULT': {'debug': 'True'},
            'database': {
                'connection': 'mysql+pymysql://root:secret@127.0.0.1/vmha?charset=utf8mb4&plugin=x'},
            'service_credentials': {'username': 'vmha', 'region_name': 'RegionOne'},
            'keystone_authtoken': {'username': 'vmha', 'service_token_roles_required': 'True'},
            'oslo_middleware': {'enable_proxy_headers_parsing': 'True'},
            'notifications': {'nova_topics': 'vmha_notifications', 'nova_pool': ''},
            'detection': {'heartbeat_silence': '25'},
            'fence': {'driver': 'none', 'unsafe_without_fence': 'True'},
        }, self.one.ini('etc/vmha/vmha.conf'))
        self.assertEqual([['vmha', '/etc/vmha/vmha.conf']], self.one.asked('iniset_rpc_backend'))
        mode = os.stat(self.one.folder / 'etc/vmha/vmha.conf').st_mode
        self.assertEqual(0o640, stat.S_IMODE(mode))

    def test_the_file_is_made_from_the_sample(self):
        self.one.stack()
        self.assertIn('#debug = false', (self.one.folder / 'etc/vmha/vmha.conf').read_text())
        (words,) = self.one.asked('oslo-config-generator')
        config = words[words.index('--config-file') + 1]
        self.assertTrue(pathlib.Path(config).exists(), config)

    def test_hosts_that_beat_seldom_are_waited_for(self):
        self.one.stack(NOVA_SERVICE_REPORT_INTERVAL='120')
        found = self.one.ini('etc/vmha/vmha.conf')
        self.assertIni({'detection': {'heartbeat_silence': '300'},
                        'monitor': {'heartbeat_silence': '300'}}, found)

    def test_nova_conf(self):
        self.one.stack()
        self.assertIni({
            'DEFAULT': {'my_ip': '10.0.0.1', 'compute_monitors': 'cpu.virt_driver',
                        'resume_guests_state_on_host_boot': 'False'},
            'notifications': {'notification_format': 'versioned',
                              'versioned_notifications_topics': 'vmha_notifications'},
            'libvirt': {'images_type': None},
        }, self.one.ini('nova.conf'))
        # Neutron's part is written in the background.
        self.assertIn(['configure_neutron_nova'], self.one.asked('async_wait'))

    def test_what_others_listen_to_stays(self):
        with (self.one.folder / 'nova.conf').open('a') as file:
            file.write('[notifications]\nversioned_notifications_topics = theirs\n')
        for _ in range(2):
            self.one.stack(NOVA_NOTIFICATION_FORMAT='unversioned')
            self.assertIni({'notifications': {
                'notification_format': 'both',
                'versioned_notifications_topics': 'theirs,vmha_notifications'}},
                self.one.ini('nova.conf'))

    def test_the_account_the_catalog_and_the_database(self):
        self.one.stack()
        self.assertEqual([['vmha', 'admin']], self.one.asked('create_service_user'))
        self.assertEqual([['vmha_reader']], self.one.asked('get_or_create_role'))
        self.assertEqual([['vmha', 'RegionOne', 'http://10.0.0.1/vmha']],
                         self.one.asked('get_or_create_endpoint'))
        self.assertEqual(1, len(self.one.asked('get_or_create_service', 'vmha', 'vmha')))
        conf = ['--config-file', '/etc/vmha/vmha.conf']
        self.assertEqual([[*conf, 'db', 'sync'],
                          [*conf, 'host', 'set', 'node11', '--spare', '--offline'],
                          [*conf, 'host', 'set', 'node12', '--spare', '--offline']],
                         self.one.asked('vmha-manage'))
        self.assertLess(self.one.place('recreate_database', 'vmha'), self.one.place('mysql'))
        self.assertLess(self.one.place('mysql'), self.one.place('vmha-manage'))
        self.assertIn('ALTER DATABASE vmha CHARACTER SET utf8mb4', self.one.asked('mysql')[0])

    def test_three_services_run(self):
        self.one.stack()
        ini = '/etc/vmha/vmha-api-uwsgi.ini'
        self.assertEqual([
            ['vmha-api', f'/bin/uwsgi --procname-prefix vmha-api --ini {ini}', '', '',
             'PROMETHEUS_MULTIPROC_DIR=/data/vmha/metrics VMHA_CONFIG_FILES=/etc/vmha/vmha.conf'],
            ['vmha-engine', '/bin/vmha-engine --config-file /etc/vmha/vmha.conf'],
            ['vmha-monitor', '/bin/vmha-monitor --config-file /etc/vmha/vmha.conf'],
        ], self.one.asked('run_process'))
        self.assertLess(self.one.place('stack extra:'), self.one.place('run_process'))
        self.assertEqual([['60', 'http://10.0.0.1/vmha/healthcheck']],
                         self.one.asked('wait_for_service'))
        self.assertIni({'uwsgi': {'module': 'vmha_nova.wsgi.api:application',
                                  'exec-asap': 'find /data/vmha/metrics -type f -delete'}},
                       self.one.ini('etc/vmha/vmha-api-uwsgi.ini'))
        self.assertEqual([[]], self.one.asked('the', 'end'))

    def test_only_what_is_enabled_runs(self):
        self.one.stack(DISABLED_SERVICES='vmha-api,vmha-monitor')
        self.assertEqual(['vmha-engine'], [words[0] for words in self.one.asked('run_process')])
        self.assertEqual([], self.one.asked('write_uwsgi_config'))
        self.one.stack(DISABLED_SERVICES='vmha-api,vmha-engine,vmha-monitor')
        for call in ('run_process', 'setup_develop', 'recreate_database', 'create_service_user'):
            self.assertEqual([], self.one.asked(call))

    def test_a_second_run_changes_nothing(self):
        self.one.stack()
        before, calls = self.one.files(), self.one.calls
        self.one.stack()
        self.assertEqual(before, self.one.files())
        self.assertEqual(calls, self.one.calls)

    def test_nothing_is_left(self):
        before = self.one.files()
        self.one.stack()
        (self.one.folder / 'systemd').mkdir()
        (self.one.folder / 'systemd/devstack@vmha-engine.service').write_text('[Unit]')
        self.one.unstack()
        self.assertEqual([['vmha-monitor'], ['vmha-engine'], ['vmha-api']],
                         self.one.asked('stop_process'))
        self.assertEqual([['service', 'delete', 'vmha'],
                          ['user', 'delete', '--domain', 'Default', 'vmha'],
                          ['role', 'delete', 'vmha_reader']],
                         self.one.asked('openstack', '--os-cloud', 'devstack-system-admin'))
        self.assertIn('DROP DATABASE IF EXISTS vmha', self.one.asked('mysql')[0])
        # Of what is not ours, nothing.
        self.assertEqual([['vmha.info'], ['vmha_notifications.info']],
                         self.one.asked('rabbitmqctl', 'delete_queue'))
        # Nova would make its queue anew.
        self.assertLess(self.one.place('stop_nova'), self.one.place('rabbitmqctl'))
        self.one.clean()
        after = self.one.files()
        self.assertEqual({'apache', 'data', 'etc', 'nova.conf', 'systemd'},
                         {name for name in after if after[name] != before.get(name, '')})

    def test_twice_unstacked(self):
        self.one.stack()
        for _ in range(2):
            self.one.unstack()
            self.assertEqual([[]], self.one.asked('the', 'end'))

    def test_without_a_fence_nothing_is_begun(self):
        self.one.settings['VIRT_DRIVER'] = 'libvirt'
        said = self.refusal(self.one)
        self.assertIn('VMHA_CEPH=True', said)
        self.assertEqual([['stack pre-install:']], self.one.calls)
        self.one.stack(VMHA_UNSAFE_WITHOUT_FENCE='True')
        self.assertIni({'fence': {'driver': 'none', 'unsafe_without_fence': 'True'}},
                       self.one.ini('etc/vmha/vmha.conf'))


class SubnodeTest(DevstackCase):

    def test_nova_is_told_and_nothing_else_is_done(self):
        two = self.subnode(2)
        before = two.files()
        two.stack()
        after = two.files()
        self.assertEqual({'nova.conf'}, {n for n in after if after[n] != before.get(n, '')})
        self.assertIni({'DEFAULT': {'compute_monitors': 'cpu.virt_driver',
                                    'resume_guests_state_on_host_boot': 'False'}},
                       two.ini('nova.conf'))
        self.assertEqual({'async_wait', 'the'},
                         {c[0] for c in two.calls if not c[0].startswith('stack ')})
        two.unstack()
        two.clean()
        self.assertEqual(after, two.files())

    def test_a_second_engine_uses_the_database_that_is_there(self):
        two = self.subnode(2, services=f'{SUBNODE},vmha-engine', VMHA_UNSAFE_WITHOUT_FENCE='True')
        two.stack()
        self.assertEqual(['vmha-engine'], [words[0] for words in two.asked('run_process')])
        self.assertIn('database', two.ini('etc/vmha/vmha.conf'))
        for call in ('recreate_database', 'create_service_user', 'vmha-manage', 'mysql'):
            self.assertEqual([], two.asked(call))
        two.unstack()
        for call in ('openstack', 'mysql', 'rabbitmqctl'):
            self.assertEqual([], two.asked(call))
        two.clean()
        self.assertNotIn('etc/vmha', two.files())

    def test_a_node_without_nova_is_left_alone(self):
        node = self.node(services='c-vol')
        before = node.files()
        node.stack()
        self.assertEqual(before, node.files())


class CephTest(DevstackCase):
    """A cluster from the nodes' own disks."""

    def setUp(self):
        super().setUp()
        self.one = self.node(VMHA_CEPH='True')

    def sizes(self, node):
        """{pool: [size, min_size]} as it was set last."""
        found = {}
        for pool, option, value, *_ in node.asked('ceph', 'osd', 'pool', 'set'):
            found.setdefault(pool, {})[option] = int(value)
        return {pool: [set_['size'], set_['min_size']] for pool, set_ in found.items()}

    def test_the_distributions_packages(self):
        self.one.stack()
        first, later = self.one.asked('install_package', '--no-install-recommends')
        self.assertEqual({'ceph-common', 'ceph-mgr', 'ceph-mon', 'ceph-osd', 'python3-rados',
                          'python3-rbd'}, set(first))
        self.assertEqual(['qemu-block-extra'], later)
        two = self.subnode(2, VMHA_CEPH='True')
        two.stack()
        self.assertEqual({'ceph-common', 'ceph-osd', 'python3-rados', 'python3-rbd'},
                         set(two.asked('install_package', '--no-install-recommends')[0]))
        self.assertIn('not supported', self.refusal(self.node('three', VMHA_CEPH='True',
                                                              FEDORA='yes')))

    def test_the_first_node_has_a_monitor_a_manager_and_an_osd(self):
        self.one.stack()
        self.assertEqual([['ceph-mon@node1'], ['ceph-mgr@node1'], ['ceph-osd@0']],
                         self.one.asked('systemctl', 'enable', '--now'))
        self.assertLess(self.one.place('ceph-mon'), self.one.place('systemctl'))
        (mkfs,) = self.one.asked('ceph-osd')
        self.assertEqual(str(16 << 30), mkfs[mkfs.index('--bluestore-block-size') + 1])
        self.assertIni({
            'global': {'fsid': '99999999-8888-7777-6666-555555555555', 'mon_host': '10.0.0.1'},
            'osd': {'public_addr': '10.0.0.1'}, 'client': {'crush_location': 'host=node1'},
        }, self.one.ini('etc/ceph/ceph.conf'))
        self.assertIn(['client', 'rbd_read_from_replica_policy', 'localize'],
                      self.one.asked('ceph', 'config', 'set'))

    def test_pools_and_users(self):
        self.one.stack()
        self.assertEqual({'vms', 'volumes', 'images'},
                         {w[0] for w in self.one.asked('ceph', 'osd', 'pool', 'create')})
        users = {words[0]: words[1:] for words in self.one.asked('ceph', 'auth', 'get-or-create')}
        self.assertEqual({'mgr.node1', 'client.nova', 'client.cinder', 'client.glance',
                          'client.vmha'}, set(users))
        everywhere = ', '.join(f'profile rbd pool={p}' for p in ('vms', 'volumes', 'images'))
        self.assertEqual(['mon', 'profile rbd', 'mgr', 'profile rbd pool=vms', 'osd', everywhere],
                         users['client.nova'])
        # What the installation guide gives it, and no more.
        guide = (devstack_case.ROOT / 'doc/source/install.rst').read_text()
        self.assertIn(f"mon='{users['client.vmha'][1]}'", guide)
        self.assertEqual(everywhere.replace('rbd p', 'rbd-read-only p'), users['client.vmha'][5])
        self.assertNotIn('profile rbd ', users['client.vmha'][5])

    def test_openstack_is_on_it(self):
        self.one.stack()
        self.assertIni({'libvirt': {
            'images_type': 'rbd', 'images_rbd_pool': 'vms',
            'images_rbd_ceph_conf': '/etc/ceph/ceph.conf', 'rbd_user': 'nova',
            'rbd_secret_uuid': '7c9c6e0e-2b1d-4e53-9a55-6d0b8f1f3a01'}}, self.one.ini('nova.conf'))
        self.assertIni({
            'DEFAULT': {'show_image_direct_url': 'True'},
            'glance_store': {'default_store': 'rbd', 'rbd_store_user': 'glance',
                             'rbd_store_pool': 'images'}}, self.one.ini('glance-api.conf'))
        self.assertIni({
            'fence': {'driver': 'storage', 'unsafe_without_fence': None},
            'ceph': {'conf_file': '/etc/ceph/ceph.conf', 'user': 'vmha',
                     'keyring': '/etc/ceph/ceph.client.vmha.keyring', 'ephemeral_pools': 'vms',
                     'volume_pools': 'volumes', 'image_pools': 'images',
                     'hosts_backend': 'rbd:vms'}}, self.one.ini('etc/vmha/vmha.conf'))
        for user in ('nova', 'cinder', 'glance', 'vmha'):
            text = (self.one.folder / f'etc/ceph/ceph.client.{user}.keyring').read_text()
            self.assertIn(f'[client.{user}]', text)
        self.assertEqual(2, len(self.one.asked('virsh', 'secret-set-value')))

    def test_cinder_takes_it_by_itself(self):
        text = ('source "$SANDBOX/../functions"; source "$DEVSTACK/override-defaults"; '
                'echo $CINDER_ENABLED_BACKENDS $CINDER_BACKUP_DRIVER $GLANCE_SHOW_DIRECT_URL')
        (self.folder / 'functions').symlink_to(devstack_case.STUBS / 'functions')
        for ceph, wanted in (('True', 'ceph:ceph swift True'), ('False', '')):
            said = subprocess.run(
                ['bash', '-c', text], env={**self.one.environment, 'VMHA_CEPH': ceph},
                capture_output=True, text=True, check=True).stdout
            self.assertEqual(wanted, said.strip())

    def test_every_node_that_joins_adds_copies(self):
        self.one.stack()
        self.assertEqual({'vms': [1, 1], 'volumes': [1, 1], 'images': [1, 1]},
                         self.sizes(self.one))
        self.assertIn(['vms', 'size', '1', '--yes-i-really-mean-it'],
                      self.one.asked('ceph', 'osd', 'pool', 'set'))
        wanted = {2: [[2, 1], [2, 1]], 3: [[3, 2], [3, 2]], 4: [[3, 2], [4, 2]]}
        for number, (disks, images) in wanted.items():
            node = self.subnode(number, VMHA_CEPH='True')
            node.stack()
            self.assertEqual({'vms': disks, 'volumes': disks, 'images': images}, self.sizes(node))
            self.assertEqual([[f'ceph-osd@{number - 1}']],
                             node.asked('systemctl', 'enable', '--now'))
            self.assertEqual([], node.asked('ceph', 'osd', 'pool', 'create'))
            self.assertIni({
                'global': {'fsid': '11111111-2222-3333-4444-555555555555'},
                'osd': {'public_addr': f'10.0.0.{number}'},
                'client': {'crush_location': f'host=node{number}'}},
                node.ini('etc/ceph/ceph.conf'))
        # The last one has the disks and volumes of its guests to read, and no others' keys.
        self.assertEqual({'admin', 'cinder', 'nova'},
                         {p.name.split('.')[2] for p in node.folder.glob('etc/ceph/*.keyring')})

    def test_a_node_leaves(self):
        self.one.stack()
        two = self.subnode(2, VMHA_CEPH='True')
        two.stack()
        two.unstack()
        self.assertEqual([['1', '--yes-i-really-mean-it']], two.asked('ceph', 'osd', 'purge'))
        self.assertEqual([1, 1], self.sizes(two)['vms'])
        two.stack()
        two.unstack(CEPH_IS_AWAY='yes')     # the first node was unstacked before
        self.assertEqual([[]], two.asked('the', 'end'))
        self.assertEqual([], list(two.folder.glob('lib/ceph/osd/*')))

    def test_a_node_that_reaches_no_monitor_says_so(self):
        two = self.subnode(2, VMHA_CEPH='True', CEPH_IS_AWAY='yes')
        self.assertIn('is the first node stacked?',
                      self.refusal(two, 'stack pre-install', 'stack install'))
        self.assertEqual([], two.asked('ceph-osd'))

    def test_a_second_run_changes_nothing(self):
        two = self.subnode(2, VMHA_CEPH='True')
        for node in (self.one, two):
            node.stack()
            before = node.files()
            node.stack()
            self.assertEqual(before, node.files())
            for made in (('ceph', 'osd', 'new'), ('ceph-osd',), ('ceph-mon',),
                         ('ceph', 'osd', 'pool', 'create')):
                self.assertEqual([], node.asked(*made))

    def test_nothing_is_left(self):
        before = self.one.files()
        self.one.stack()
        self.one.unstack()
        # Whoever has files open there is stopped before it goes.
        for call in (('stop_nova_compute',), ('stop_cinder',), ('stop_glance',),
                     ('virsh', 'destroy', 'instance-00000001')):
            self.assertLess(self.one.place(*call),
                            self.one.place('systemctl', 'disable', '--now', 'ceph-osd@0'))
        self.assertEqual([['instance-00000001']], self.one.asked('virsh', 'destroy'))
        self.assertEqual(2, len(self.one.asked('virsh', 'secret-undefine')))
        self.assertIn(['ceph-mgr@node1', 'ceph-mon@node1'],
                      self.one.asked('systemctl', 'disable', '--now'))
        self.one.clean()
        after = self.one.files()
        self.assertEqual(
            {'nova.conf', 'glance-api.conf'},
            {name for name, content in after.items()
             if content is not None and content != before.get(name)})

    def test_somebody_elses_ceph_is_not_touched(self):
        conf = self.one.folder / 'etc/ceph/ceph.conf'
        conf.parent.mkdir(parents=True)
        conf.write_text('[global]\n')
        self.assertIn('belongs to another Ceph', self.refusal(self.one))
        before = self.one.files()
        self.one.unstack()
        self.assertEqual(before, self.one.files())
        self.assertEqual([], self.one.asked('systemctl'))

    def test_a_disk(self):
        device = self.folder / 'disk'
        device.touch()
        self.one.settings['VMHA_CEPH_OSD_DEVICE'] = str(device)
        self.assertIn('no block device', self.refusal(self.one))
        device.unlink()
        try:
            os.mknod(device, 0o600 | stat.S_IFBLK, os.makedev(7, 255))
        except PermissionError:
            self.skipTest('to make a device, one must be root')
        self.one.settings['DEVICE_IS_FULL'] = 'yes'
        self.assertIn('is not empty', self.refusal(self.one))
        del self.one.settings['DEVICE_IS_FULL']
        self.one.stack()
        self.assertEqual(f'-> {device}', self.one.files()['lib/ceph/osd/ceph-0/block'])
        self.assertIn(f'ceph:ceph {device}',
                      self.one.files()['systemd/ceph-osd@0.service.d/vmha.conf'])
        self.one.stack(DEVICE_IS_FULL='yes')       # with what the first run has put there
        self.one.unstack()
        self.assertEqual([['--all', str(device)]], self.one.asked('wipefs'))
        self.assertNotIn('systemd/ceph-osd@0.service.d', self.one.files())

    def test_the_key_of_the_administrator(self):
        def key(**settings):
            library = devstack_case.ROOT / 'devstack/lib/vmha_ceph'
            return subprocess.run(
                ['bash', '-c', f'source {library}; vmha_ceph_key client.admin'],
                env={'PATH': '/usr/bin:/bin', **settings}, capture_output=True, text=True,
                check=True).stdout.strip()
        one = key(VMHA_CEPH_SECRET='a')
        self.assertEqual((1, 0, 0, 16), struct.unpack('<hIIH', base64.b64decode(one)[:12]))
        self.assertEqual(28, len(base64.b64decode(one)))
        self.assertEqual(one, key(VMHA_CEPH_SECRET='a'))
        self.assertNotEqual(one, key(VMHA_CEPH_SECRET='b'))


class ExistingCephTest(DevstackCase):

    def setUp(self):
        super().setUp()
        self.conf = self.folder / 'theirs.conf'
        self.keyring = self.folder / 'theirs.keyring'
        self.conf.write_text('[global]\n')
        self.keyring.write_text('[client.boss]\n\tkey = secret\n')
        self.one = self.node(VMHA_CEPH_CONF=str(self.conf), VMHA_CEPH_KEYRING=str(self.keyring))
        (self.folder / 'cluster').mkdir()
        (self.folder / 'cluster/osds').write_text('0\n1\n2\n')

    def test_openstack_is_put_on_it(self):
        self.one.stack(VMHA_CEPH='True')
        self.assertEqual([], self.one.asked('systemctl'))
        self.assertEqual([], self.one.asked('ceph', 'osd', 'pool', 'set'))
        self.assertEqual(3, len(self.one.asked('ceph', 'osd', 'pool', 'create')))
        self.assertIni({'libvirt': {'images_rbd_ceph_conf': str(self.conf)}},
                       self.one.ini('nova.conf'))
        self.assertIni({'fence': {'driver': 'storage'}, 'ceph': {
            'conf_file': str(self.conf), 'user': 'vmha'}}, self.one.ini('etc/vmha/vmha.conf'))
        self.one.unstack(VMHA_CEPH='True')
        self.assertEqual([], self.one.asked('ceph'))
        self.assertEqual([], self.one.asked('systemctl'))
        self.assertEqual([], list(self.one.folder.glob('etc/ceph/*')))
        self.assertTrue(self.conf.exists() and self.keyring.exists())

    def test_only_the_fence_uses_it(self):
        self.one.stack()
        self.assertEqual([], self.one.asked('ceph'))
        self.assertEqual(['DEFAULT', 'notifications'], list(self.one.ini('nova.conf')))
        self.assertFalse((self.one.folder / 'glance-api.conf').exists())
        self.assertIni({'fence': {'driver': 'storage'}, 'ceph': {
            'conf_file': str(self.conf), 'user': 'boss', 'keyring': str(self.keyring)}},
            self.one.ini('etc/vmha/vmha.conf'))

    def test_both_files_are_needed(self):
        self.keyring.unlink()
        self.assertIn('VMHA_CEPH_KEYRING', self.refusal(self.one))
        self.conf.unlink()
        self.assertIn('VMHA_CEPH_CONF', self.refusal(self.one))
