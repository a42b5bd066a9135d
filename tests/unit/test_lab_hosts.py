"""A lab with Ceph and libvirt, as far as it goes without one."""

import os
import pathlib
import tempfile
import types
import unittest
from unittest import mock

from tests.lab import bringup
from tests.lab.common import LabError
from tests.lab.common import wait_until
from tests.lab import conf
from tests.lab import hosts
from tests.lab import lab as labs
from tests.lab import libvirt
from tests.lab import network
from tests.lab.networks import Networks
from tests.lab import openvswitch
from tests.lab import packages
from tests.lab import ports
from tests.lab import process
from tests.lab import services
from tests.lab import state
from tests.lab.volumes import Volumes


class Answers:
    """A session that answers with what it was given, and keeps what was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def request(self, url, method, json=None, **_):
        self.asked.append((method, url, json))
        answer = self.answers.pop(0)
        return types.SimpleNamespace(content=bool(answer), json=lambda: answer)

    def get(self, url, params=None, **_):
        return self.request(url, 'GET', params)


class KindTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def state(self, **kind):
        return state.State(
            folder=self.folder, venv=self.folder / 'venv', bind='10.89.0.10', settings={},
            ports=dict(zip(ports.NAMES, range(21000, 21100), strict=False)),
            hosts=['compute1', 'compute2'], **kind)

    def real(self, network='none'):
        return self.state(storage='ceph', virt='libvirt', network=network, prefix='vmha1')

    def host_conf(self, lab_state, **options):
        """The sections of compute1's own configuration file."""
        with mock.patch.object(conf, 'write') as write:
            conf.write_compute(lab_state, 'compute1', **options)
        return write.call_args.args[1]


class StateTest(KindTest):
    def test_the_kind_is_kept(self):
        self.real('ovs').save()
        loaded = state.load(self.folder)
        self.assertEqual(('ceph', 'libvirt', 'ovs', 'vmha1'),
                         (loaded.storage, loaded.virt, loaded.network, loaded.prefix))

    def test_only_a_lab_with_ceph_has_volumes(self):
        self.assertNotIn('volume_url', self.state().urls)
        self.assertRegex(self.real().urls['volume_url'], r'^http://10\.89\.0\.10:\d+/v3$')

    def test_what_cannot_be(self):
        for kind in (('none', 'libvirt', 'none'), ('ceph', 'fake', 'ovs')):
            with self.assertRaises(LabError):
                bringup.check_kind(*kind)
        with mock.patch.object(os, 'geteuid', return_value=1000):
            bringup.check_kind('none', 'fake', 'none')
            with self.assertRaisesRegex(LabError, 'root'):
                bringup.check_kind('ceph', 'libvirt', 'none')


class ConfigurationTest(KindTest):
    def test_the_fake_driver_knows_nothing_of_ceph(self):
        lab_state = self.state()
        self.assertEqual({'DEFAULT', 'oslo_concurrency'}, set(self.host_conf(lab_state)))
        self.assertNotIn('cinder', conf.nova(lab_state))
        self.assertEqual('files', conf.glance(lab_state)['glance_store']['default_backend'])
        self.assertEqual('logger', conf.neutron(lab_state)['ml2']['mechanism_drivers'])

    def test_root_disks_are_in_ceph_or_local(self):
        def backend(**options):
            return self.host_conf(self.real(), **options)['libvirt']['images_type']
        self.assertEqual(('rbd', 'raw'), (backend(), backend(local=True)))

    def test_a_host_with_libvirt(self):
        found = self.host_conf(self.real())
        self.assertEqual('compute1', found['DEFAULT']['host'])
        self.assertEqual('10.89.0.11', found['DEFAULT']['my_ip'])
        self.assertEqual(libvirt.SECRETS['nova'], found['libvirt']['rbd_secret_uuid'])
        self.assertNotIn('sudo', found['nova_sys_admin']['helper_command'])

    def test_ports_that_are_not_wired_fail_a_boot_only_with_open_vswitch(self):
        self.assertNotIn('vif_plugging_is_fatal', self.host_conf(self.real())['DEFAULT'])
        found = self.host_conf(self.real('ovs'))
        self.assertTrue(found['DEFAULT']['vif_plugging_is_fatal'])
        self.assertEqual('compute1', found['DEFAULT']['host'])

    def test_images_and_volumes_are_in_ceph(self):
        lab_state = self.real()
        ceph_conf = hosts.cluster(lab_state).conf_file
        image_store = conf.glance(lab_state)
        self.assertTrue(image_store['DEFAULT']['show_image_direct_url'])
        self.assertEqual(ceph_conf, image_store['ceph']['rbd_store_ceph_conf'])
        self.assertEqual(ceph_conf, conf.cinder(lab_state)['ceph']['rbd_ceph_conf'])

    def test_files_of_libvirt_are_the_hosts_own(self):
        for host in ('compute1', 'compute2'):
            libvirt.write_files(self.folder / host)
        texts = {(self.folder / host / 'libvirt/etc/libvirtd.conf').read_text()
                 for host in ('compute1', 'compute2')}
        self.assertEqual(2, len(texts), 'two hosts with one uuid')


class ServicesTest(KindTest):
    def test_a_process_or_a_box(self):
        self.assertIsNone(services.describe(self.state(), 'compute1').box)
        self.assertEqual('compute1', services.describe(self.real(), 'compute1').box.host)

    def test_what_runs_in_a_box(self):
        lab_state = self.real('ovs')
        names = [*hosts.daemons(lab_state, 'compute2'), *hosts.agents(lab_state, 'compute2')]
        self.assertEqual(['compute2-door', 'compute2-libvirtd', 'compute2-ovsdb',
                          'compute2-vswitchd', 'compute2-ovs-agent', 'compute2'], names)
        for name in names:
            service = services.describe(lab_state, name)
            self.assertEqual((name, 'compute2'), (service.name, service.box.host))

    def test_what_does_not_exist(self):
        for name in ('compute1-nonsense', 'compute9', 'compute9-libvirtd'):
            with self.assertRaises(LabError):
                services.describe(self.real(), name)

    def test_a_box_that_is_off_starts_nothing(self):
        service = services.describe(self.real(), 'compute1')
        with self.assertRaisesRegex(LabError, 'compute1 is off'):
            service.box.command(service.command)

    def test_every_privileged_helper_of_the_agent_goes_without_sudo(self):
        found = openvswitch.agent_sections('compute1', self.folder, 'helper')
        helpers = [found[name] for name in found if name.startswith('privsep')]
        self.assertEqual([{'helper_command': 'helper'}] * 5, helpers)


class LabTest(KindTest):
    def test_hosts_that_are_processes_have_no_cable(self):
        lab = labs.Lab(self.state())
        for act in (lab.cut, lab.join, lab.freeze, lab.thaw, lab.guests):
            with self.assertRaisesRegex(LabError, 'not a box'):
                act('compute1')
        with self.assertRaisesRegex(LabError, 'no disk'):
            lab.boot('compute1', storage='rbd')

    def test_hosts_that_do_not_exist(self):
        with self.assertRaisesRegex(LabError, 'no host compute9'):
            labs.Lab(self.real()).cut('compute9')

    def test_to_load_it_is_to_enter_its_network(self):
        self.real().save()
        with mock.patch('tests.lab.network.Network.enter') as enter:
            labs.Lab.load(self.folder)
        enter.assert_called_once_with()

    def test_one_that_has_no_network_is_not_entered(self):
        self.state().save()
        with mock.patch('tests.lab.network.Network.enter') as enter:
            labs.Lab.load(self.folder)
        enter.assert_not_called()

    def test_the_console_of_each_host(self):
        lab = labs.Lab(self.real())
        text = 'VMHA COUNT 7 boot=0123456789abcdef t=5.0\n'
        path = lab.boxes['compute1'].folder / 'instances' / 'u1' / 'console.log'
        path.parent.mkdir(parents=True)
        path.write_text(text)
        self.assertEqual([7], [line.count for line in lab.counts('u1', 'compute1')])
        self.assertEqual('', lab.console('u1', 'compute2'))

    def test_guests_are_found_by_their_process(self):
        box = types.SimpleNamespace(pids=lambda: [os.getpid(), 1 << 30])
        self.assertEqual({}, libvirt.guests(box))


class NetworkTest(unittest.TestCase):
    def test_everybody_has_an_address_in_each_network(self):
        net = network.Network('vmha1', ['compute1', 'compute2'])
        names = ('ctl', 'watch', 'compute1', 'compute2')
        self.assertEqual(['10.89.0.10', '10.89.0.9', '10.89.0.11', '10.89.0.12'],
                         [net.address(name) for name in names])
        self.assertEqual(['10.90.0.10', '10.90.0.9', '10.90.0.11', '10.90.0.12'],
                         [net.address(name, network.STORAGE) for name in names])
        self.assertEqual((network.CONTROL, network.CONTROL_STORAGE), tuple(
            net.address('ctl', one) for one in network.NETWORKS))

    def test_one_cable_or_all(self):
        net = network.Network('vmha1', ['compute1'])
        with mock.patch.object(network, '_ip') as ip:
            net.cut('compute1', network.STORAGE)
            net.join('watch')
        self.assertEqual([('compute1-s', 'down'), ('watch-m', 'up'), ('watch-s', 'up')],
                         [call.args[-2:] for call in ip.call_args_list])


class ProcessTest(unittest.TestCase):
    def test_a_leader_that_waits_passes_no_signal_on(self):
        """Like nsenter: the one that is to end in an orderly way is its child."""
        with tempfile.TemporaryDirectory() as folder:
            said = pathlib.Path(folder) / 'said'
            child = (f'trap "echo ended >{said}; exit" TERM; echo up >{said}; '
                     'while :; do sleep 0.05; done')
            leader = process.spawn(['/bin/bash', '-c', f"bash -c '{child}'; exit"],
                                   {'PATH': '/usr/bin:/bin', process.MARK: 'm'}, os.devnull)
            self.addCleanup(process.kill, leader, 'm')
            wait_until('the child', lambda: said.exists() and said.read_text(), 10)
            self.assertTrue(process.stop(leader, 'm', 10, boxed=True))
            self.assertEqual('ended\n', said.read_text())


class PackagesTest(unittest.TestCase):
    def test_a_program_or_a_folder_shows_that_it_is_there(self):
        wanted = {'a': 'sh', 'b': '/usr', 'c': 'no-such-program', 'd': '/no/such/folder'}
        self.assertEqual(['c', 'd'], packages.missing(wanted))


class ClientsTest(unittest.TestCase):
    def test_volumes_that_cannot_be_made(self):
        session = Answers({'volume': {'id': 'v1'}}, {'volume': {'status': 'error'}})
        with self.assertRaisesRegex(LabError, 'v1'):
            Volumes(session, 'http://c').create('image', ['one'])
        self.assertEqual(('POST', 'http://c/volumes', {'volume': {
            'name': 'one', 'size': 1, 'imageRef': 'image'}}), session.asked[0])

    def test_volumes_in_use_are_left(self):
        session = Answers({'volumes': [{'id': 'v1', 'status': 'in-use'},
                                       {'id': 'v2', 'status': 'available'}]},
                          None, {'volumes': [{'id': 'v1', 'status': 'in-use'}]})
        Volumes(session, 'http://c').delete_all()
        self.assertEqual([('DELETE', 'http://c/volumes/v2', None)],
                         [asked for asked in session.asked if asked[0] == 'DELETE'])

    def test_an_agent_that_was_heard_before_the_host_went_does_not_count(self):
        agent = {'host': 'compute1', 'alive': True, 'heartbeat_timestamp': '2026-01-01 00:00:10'}
        since = labs.datetime.datetime(2026, 1, 1, 0, 0, 11)  # noqa: DTZ001  as Neutron says it
        with self.assertRaisesRegex(LabError, 'compute1'):
            Networks(Answers({'agents': [agent]}), 'http://n').wait_agents(
                ['compute1'], since, timeout=0)
        later = {**agent, 'heartbeat_timestamp': '2026-01-01 00:00:11'}
        Networks(Answers({'agents': [later]}), 'http://n').wait_agents(['compute1'], since)
