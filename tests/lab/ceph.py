"""A real Ceph: a monitor and a manager on the control node, an OSD in the box of every host.

It is on the storage network alone.

>>> cluster = Cluster(folder, network, boxes, mark)
>>> cluster.create()
>>> cluster.wait_clean()
>>> cluster.command('osd dump')['epoch']

All keys are made here and given to the monitor when its store is made, so that nothing has to be
asked for later. Commands go through the distribution's Python bindings: a process that gives them
must be in the control node's namespace (`network.Network.enter`).
"""

import base64
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import signal
import struct
import time
import uuid

from tests.lab import bindings
from tests.lab.common import LabError
from tests.lab.common import run
from tests.lab.common import wait_until
from tests.lab.network import CONTROL_STORAGE
from tests.lab.network import STORAGE
from tests.lab.network import SUBNETS
from tests.lab import process

#: Pools, and what Nova, Cinder and Glance keep in them.
POOLS = ('vms', 'volumes', 'images')
#: An OSD's file: sparse.
OSD_BYTES = 8 << 30
PG_NUM = 16

_PROFILE = ', '.join(f'profile rbd pool={pool}' for pool in POOLS)
_READ_ONLY = ', '.join(f'profile rbd-read-only pool={pool}' for pool in POOLS)
#: Users and their caps: (mon, mgr, osd). Nova's and Cinder's as Ceph's manual has them.
USERS = {
    'admin': ('allow *', 'allow *', 'allow *'),
    'nova': ('profile rbd', 'profile rbd pool=vms', _PROFILE),
    'cinder': ('profile rbd', 'profile rbd pool=volumes', _PROFILE),
    'glance': ('profile rbd', 'profile rbd pool=images', 'profile rbd pool=images'),
    # What vmha_nova needs, and no more.
    'vmha': ('allow r, ' + ', '.join(f'allow command "{command}"' for command in (
        'sessions', 'osd blocklist', 'osd down')), 'allow r', _READ_ONLY),
}
_SECONDS = 60
_COMMAND_SECONDS = 20


class Cluster:
    """The Ceph of one lab.

    :ivar conf_file: path of the ceph.conf of everything on the control node
    :param folder: an empty one, or that of a cluster that was created before
    :param boxes: ``{host: Box}``; a box is on while its OSD is to run
    :param mark: the lab's mark, see `process`
    """

    def __init__(self, folder, network, boxes, mark):
        self.folder = pathlib.Path(folder)
        self.network = network
        self.boxes = boxes
        self.mark = mark
        self.conf_file = self.folder / 'ceph.conf'
        self._rados = None

    # -- making and starting --------------------------------------------------------------------
    def create(self, without=()):
        """Make the cluster and start it; goes on running. The boxes must be on.

        :param without: hosts that get no OSD now; `add_osd` gives them one later
        """
        for name in ('mon', 'mgr', 'osd', 'log', 'run', 'keys'):
            (self.folder / name).mkdir(parents=True)
        fsid, hosts = str(uuid.uuid4()), [h for h in self.boxes if h not in without]
        self._write_conf(fsid)
        self._write_keys(hosts)
        with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
            made = {host: pool.submit(self._make_osd, host) for host in hosts}
            self._make_monitor(fsid)
            # It collects changes for a second before it agrees with itself on them: too long for
            # dozens of commands in a row. Afterwards it does as any other.
            self._start('mon', '--paxos_propose_interval=0.05')
            self._wait_monitor()
            self._start('mgr')
            for host in hosts:
                self._announce_osd(host, made[host].result())
                self.start_osd(host)
        self._make_pools(hosts)
        self.command('config set', target='mon.a', var='paxos_propose_interval', val=['1'])

    def start(self):
        """Start the monitor, the manager and the OSDs of boxes that are on, if they do not run."""
        for name in ('mon', 'mgr'):
            if not self.alive(name):
                self._start(name)
        for host in self.boxes:
            if self.boxes[host].alive() and not self.alive(f'osd.{host}'):
                self.start_osd(host)

    def start_osd(self, host):
        """Start the OSD of a host, whose box is on."""
        number = self.osd_id(host)
        self._spawn(f'osd.{host}', self.boxes[host].command(
            ['ceph-osd', '-c', self.conf_file, '-f', '-i', number]))

    def kill_osd(self, host):
        """SIGKILL the OSD of a host, and nothing else of it."""
        self.kill(f'osd.{host}')

    def add_osd(self, host):
        """Give a host that was created without, and whose box is on, an OSD.

        The images pool keeps one more copy from now on: that host's.
        """
        key = self._write_keyring(f'osd.{self.osd_id(host)}', *_OSD_CAPS)
        self.command('auth import', inbuf=key.encode())
        self._announce_osd(host, self._make_osd(host))
        self.start_osd(host)
        size = len(self.command('osd dump')['osds'])
        self.command('osd pool set', pool='images', var='size', val=str(size))

    def kill(self, name):
        """SIGKILL 'mon', 'mgr' or 'osd.HOST'."""
        process.kill(self._recorded(name), self.mark)

    def freeze(self, name):
        """SIGSTOP 'mon', 'mgr' or 'osd.HOST': it falls silent, and its connections stay."""
        process.send(self._recorded(name), self.mark, signal.SIGSTOP)

    def thaw(self, name):
        """SIGCONT, after freeze()."""
        process.send(self._recorded(name), self.mark, signal.SIGCONT)

    def revive(self, name):
        """Start 'mon' or 'mgr' again after kill()."""
        self._start(name)

    def alive(self, name):
        """Whether 'mon', 'mgr' or 'osd.HOST' runs."""
        try:
            return process.alive(self._recorded(name))
        except LabError:
            return False

    def stop(self):
        """SIGKILL everything; OSDs in boxes that are off are gone already."""
        self.close()
        for file in (self.folder / 'run').glob('*.json'):
            recorded = process.Process(**json.loads(file.read_text(encoding='ascii')))
            process.kill(recorded, self.mark)
            file.unlink()

    # -- asking ---------------------------------------------------------------------------------
    def command(self, prefix, target='mon', inbuf=b'', **arguments):
        """Give a command as client.admin: what it answers, decoded.

        :param target: mon, mon.a for the process itself, mgr, or the number of an OSD
        :raises LabError: it failed, or was not answered in time
        """
        text = json.dumps({'prefix': prefix, 'format': 'json', **arguments})
        client = self._client()
        if target == 'mgr':
            code, answer, said = client.mgr_command(text, inbuf)
        elif str(target).startswith('mon'):
            code, answer, said = client.mon_command(
                text, inbuf, target=target.partition('.')[2] or '')
        else:
            code, answer, said = client.osd_command(int(target), text, inbuf)
        if code:
            raise LabError(f'ceph {prefix} {arguments}: {said or os.strerror(-code)}')
        return json.loads(answer) if answer.strip() else None

    def pool(self, name):
        """A rados.Ioctx of client.admin for a pool."""
        return self._client().open_ioctx(name)

    def close(self):
        """Disconnect client.admin."""
        if self._rados is not None:
            self._rados.shutdown()
            self._rados = None

    def wait_clean(self, timeout=120):
        """Wait until all OSDs of boxes that are on are up, and all placement groups are clean."""
        made = {osd['osd'] for osd in self.command('osd dump')['osds']}
        wanted = sum(box.alive() and self.osd_id(host) in made
                     for host, box in self.boxes.items())
        wait_until('all placement groups clean', lambda: self._clean(wanted), timeout, 0.3)

    def osd_up(self, host):
        """Whether the monitors take the OSD of a host for up."""
        return any(osd['up'] for osd in self.command('osd dump')['osds']
                   if osd['osd'] == self.osd_id(host))

    def osd_id(self, host):
        """The number of the OSD of a host."""
        return self.network.hosts.index(host)

    def keyring(self, user):
        """Path of the keyring of 'admin', 'nova', …."""
        return self.folder / 'keys' / f'client.{user}.keyring'

    def key(self, user):
        """The secret of a user."""
        text = self.keyring(user).read_text(encoding='ascii')
        return text.partition('key = ')[2].split()[0]

    def write_client_conf(self, folder, host, users=('nova', 'cinder')):
        """Write a host's /etc/ceph: ceph.conf, and the keyrings of users.

        It says where the host is, so that a client reads from the replica on its own host.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for user in users:
            (folder / f'ceph.client.{user}.keyring').write_bytes(self.keyring(user).read_bytes())
        general = dict(json.loads((self.folder / 'general.json').read_text(encoding='ascii')))
        _write(folder / 'ceph.conf', {
            'global': general, 'client': {
                'rbd_read_from_replica_policy': 'localize', 'crush_location': f'host={host}',
                'log_to_stderr': 'false',
                'keyring': '/etc/ceph/ceph.$name.keyring'}})

    # -- how ------------------------------------------------------------------------------------
    def _client(self):
        if self._rados is None:
            bindings.expose()
            import rados
            client = rados.Rados(conffile=str(self.conf_file), name='client.admin', conf={
                'keyring': str(self.keyring('admin')),
                'rados_mon_op_timeout': str(_COMMAND_SECONDS),
                'rados_osd_op_timeout': str(_COMMAND_SECONDS),
                'client_mount_timeout': str(_COMMAND_SECONDS)})
            try:
                client.connect(timeout=_COMMAND_SECONDS)
            except rados.Error as error:
                raise LabError(f'ceph: {error}') from error
            self._rados = client
        return self._rados

    def _clean(self, wanted):
        known = self.command('osd dump')
        numbers = [osd['osd'] for osd in known['osds'] if osd['up']]
        if len(numbers) != wanted or not self._have_told(numbers, known['epoch']):
            return False
        sizes = {pool['pool']: pool['size'] for pool in known['pools']}
        groups = self.command('pg dump')['pg_map']['pg_stats']
        return groups and all(
            group['state'] == 'active+clean'
            and len(group['up']) == sizes.get(int(group['pgid'].partition('.')[0]))
            for group in groups)

    def _have_told(self, numbers, epoch):
        """Whether what the manager has from these OSDs is as new as this OSD map.

        Left alone, it is told every five seconds, and says until then that all is clean.
        """
        try:
            if any(self.command('status', target=n)['newest_map'] < epoch for n in numbers):
                self._spread()
                return False
            told = {n: self.command('flush_pg_stats', target=n) for n in numbers}
            wait_until('what the OSDs have to tell', lambda: all(
                self.command('osd last-stat-seq', id=n, format='plain') >= told[n]
                for n in numbers), 10, 0.1)
        except LabError:                # one has just died
            return False
        return True

    def _spread(self):
        """Have the OSDs fetch the newest map.

        A monitor tells one of them, and they tell each other; but after it has stood still there
        may be none it could tell. Who is asked by a client with a newer map fetches that.
        """
        import rados
        self._client().wait_for_latest_osdmap()
        with self.pool('vms') as pool:
            for number in range(16):    # of which each OSD has some
                try:
                    pool.stat(f'none{number}')
                except rados.ObjectNotFound:
                    pass
                except rados.Error:     # one has just died
                    return

    def _write_conf(self, fsid):
        general = {
            'fsid': fsid, 'mon_host': f'v2:{CONTROL_STORAGE}:3300/0,v1:{CONTROL_STORAGE}:6789/0',
            'auth_cluster_required': 'cephx', 'auth_service_required': 'cephx',
            'auth_client_required': 'cephx'}
        (self.folder / 'general.json').write_text(json.dumps(general), encoding='ascii')
        run_dir = self.folder / 'run'
        _write(self.conf_file, {
            'global': {
                **general, 'mon_initial_members': 'a', 'public_network': SUBNETS[STORAGE],
                'osd_pool_default_pg_autoscale_mode': 'off',
                'auth_allow_insecure_global_id_reclaim': 'false',
                'mon_data_avail_warn': 2, 'mon_data_avail_crit': 1,
                'log_file': self.folder / 'log' / '$name.log',
                'admin_socket': f'{run_dir}/$name.$pid.asok', 'run_dir': run_dir,
                'pid_file': ''},
            'mon': {'mon_data': self.folder / 'mon' / 'a',
                    'mon_osd_min_down_reporters': 1, 'mon_osd_down_out_interval': 600},
            'mgr': {'mgr_data': self.folder / 'mgr' / '$id', 'mgr_initial_modules': '',
                    'keyring': self.folder / 'keys' / '$name.keyring'},
            'osd': {
                'osd_data': self.folder / 'osd' / '$id',
                'keyring': self.folder / 'keys' / '$name.keyring',
                'bluestore_block_size': OSD_BYTES, 'bluestore_block_create': 'true',
                'bluestore_cache_autotune': 'false', 'bluestore_cache_size': 64 << 20,
                'osd_memory_target': 896 << 20, 'osd_op_num_shards': 2,
                'osd_op_num_threads_per_shard': 1, 'osd_crush_update_on_start': 'false',
                'osd_class_update_on_start': 'false',
                'osd_fast_fail_on_connection_refused': 'true'},
            # Tools that find no key of their own are the administrator's.
            'client': {'rbd_cache': 'true', 'keyring': self.folder / 'keys' / '$name.keyring',
                       'admin_socket': '', 'log_file': '',
                       'rbd_read_from_replica_policy': 'localize'},
        })

    def _write_keys(self, hosts):
        everything = [self._write_keyring('mon.', 'allow *', '', ''),
                      self._write_keyring('mgr.a', 'allow profile mgr', '', 'allow *')]
        everything += [self._write_keyring(f'client.{user}', *caps)
                       for user, caps in USERS.items()]
        everything += [self._write_keyring(f'osd.{self.osd_id(h)}', *_OSD_CAPS) for h in hosts]
        (self.folder / 'keys' / 'all').write_text(''.join(everything), encoding='ascii')

    def _write_keyring(self, entity, mon, mgr, osd):
        caps = ''.join(f'\tcaps {kind} = "{_escaped(text)}"\n' for kind, text in (
            ('mon', mon), ('mgr', mgr), ('osd', osd)) if text)
        text = f'[{entity}]\n\tkey = {_new_key()}\n{caps}'
        path = self.folder / 'keys' / f'{entity}.keyring'
        path.write_text(text, encoding='ascii')
        path.chmod(0o600)
        return text

    def _make_monitor(self, fsid):
        log, monmap = self.folder / 'log' / 'create.log', self.folder / 'monmap'
        run(['/usr/bin/monmaptool', '--create', '--enable-all-features', '--fsid', fsid, '--addv',
             'a', f'[v2:{CONTROL_STORAGE}:3300,v1:{CONTROL_STORAGE}:6789]', monmap], log, _SECONDS)
        run([*self.network.exec_prefix('ctl'), 'ceph-mon', '-c', self.conf_file, '--mkfs', '-i',
             'a', '--monmap', monmap, '--keyring', self.folder / 'keys' / 'all'], log, _SECONDS)
        (self.folder / 'mgr' / 'a').mkdir()

    def _make_osd(self, host):
        """Make a host's OSD; returns its uuid."""
        number, ident = self.osd_id(host), str(uuid.uuid4())
        (self.folder / 'osd' / str(number)).mkdir()
        run(self.boxes[host].command([
            'ceph-osd', '-c', self.conf_file, '-i', number, '--mkfs', '--osd-uuid', ident]),
            self.folder / 'log' / f'create-{host}.log', _SECONDS)
        return ident

    def _announce_osd(self, host, ident):
        number = self.osd_id(host)
        self.command('osd new', uuid=ident, id=number)
        self.command('osd crush add-bucket', name=host, type='host', args=['root=default'])
        self.command('osd crush add', id=number, weight=1.0, args=['root=default', f'host={host}'])

    def _make_pools(self, hosts):
        self.command('osd set-require-min-compat-client', version='octopus')
        for name in POOLS:
            # Every host has the boot images, before anybody needs them there.
            size = len(hosts) if name == 'images' else min(3, len(hosts))
            self.command('osd pool create', pool=name, pg_num=PG_NUM, pgp_num=PG_NUM, size=size,
                         pool_type='replicated')
            self.command('osd pool set', pool=name, var='min_size', val=str(min(2, size)))
            self.command('osd pool application enable', pool=name, app='rbd')

    def _wait_monitor(self):
        def answers():
            try:
                return self.command('quorum_status')['quorum_names']
            except LabError:
                return False
        wait_until('the monitor', answers, _SECONDS, 0.1)
        self.command('osd crush rule ls')

    def _start(self, kind, *options):
        self._spawn(kind, [*self.network.exec_prefix('ctl'), f'ceph-{kind}', '-c',
                           self.conf_file, '-f', '-i', 'a', *options])

    def _spawn(self, name, command):
        started = process.spawn(command, {
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', process.MARK: self.mark},
            self.folder / 'log' / f'{name}.out')
        (self.folder / 'run' / f'{name}.json').write_text(
            json.dumps(dataclasses.asdict(started)), encoding='ascii')

    def _recorded(self, name):
        try:
            text = (self.folder / 'run' / f'{name}.json').read_text(encoding='ascii')
        except FileNotFoundError as error:
            raise LabError(f'{name} was never started') from error
        return process.Process(**json.loads(text))


_OSD_CAPS = ('allow profile osd', 'allow profile osd', 'allow *')


def _new_key():
    """A secret as CephX has them: type 1, time, length, and 16 random bytes."""
    return base64.b64encode(struct.pack('<hiih', 1, int(time.time()), 0, 16)
                            + os.urandom(16)).decode('ascii')


def _escaped(text):
    return text.replace('"', '\\"')


def _write(path, sections):
    """Write an INI file that Ceph reads."""
    path.write_text('\n'.join(
        f'[{name}]\n' + ''.join(f'{k} = {v}\n' for k, v in options.items())
        for name, options in sections.items()), encoding='ascii')
