"""The lab as an object: what tests and the command line use."""

import contextlib
import datetime
import pathlib

from keystoneauth1.identity import v3
from keystoneauth1 import session as keystone_session
import requests

from tests.lab import bringup
from tests.lab.cloud import Cloud
from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab.common import Progress
from tests.lab.common import wait_until
from tests.lab import conf
from tests.lab import guest
from tests.lab import hosts as nodes
from tests.lab import libvirt
from tests.lab.networks import Networks
from tests.lab import power
from tests.lab import runtime
from tests.lab import services
from tests.lab import state
from tests.lab import teardown
from tests.lab import volumes

#: File of a compute host's folder; inside/lab_compute.py says what it does.
QUICK_CLAIMS = 'quick-claims'

#: Name of the file that says how many times as long evacuations to a host take.
SLOW = 'slow'


class Lab:
    """A lab that is up, or that was left half up.

    :ivar dir: its folder
    :ivar log: folder with one log per service
    :ivar bind: address that everything listens on
    :ivar ports: ``{name: port}``
    :ivar hosts: names of the compute hosts
    :ivar urls: where things are, see `state.State.urls`
    :ivar credentials: Keystone accounts, see `state.State.credentials`
    """

    def __init__(self, lab_state):
        self.state = lab_state
        self.dir, self.log = lab_state.folder, lab_state.log
        self.bind, self.ports, self.hosts = lab_state.bind, lab_state.ports, lab_state.hosts
        self.urls, self.credentials = lab_state.urls, lab_state.credentials
        self.network = nodes.network(lab_state) if lab_state.prefix else None
        self.ceph = nodes.cluster(lab_state) if lab_state.storage == 'ceph' else None
        self.boxes = self.ceph.boxes if self.ceph else {}

    @classmethod
    def load(cls, folder=None):
        """The lab in ``folder``, or in the default one.

        If it has a Ceph, this process is moved into its network; see `network.Network.enter`.

        :raises LabError: there is none
        """
        lab = cls(state.load(_folder(folder)))
        if lab.state.prefix:
            lab.network.enter()
        return lab

    @classmethod
    def up(cls, folder=None, hosts=4, servers=0, stopped=0, on='compute1', bind='127.0.0.1',
           settings=None, progress=None, storage='none', virt='fake', network='none'):
        """Bring a lab up from nothing; it goes on running when the caller ends.

        :param hosts: number of compute hosts
        :param servers: number of servers to boot on the host ``on``, ``stopped`` of them SHUTOFF
        :param settings: changes of `services.SETTINGS`
        :param storage: 'ceph': compute hosts are boxes, with a Ceph on them. This process is moved
            into the lab's network, which is not connected to any other
        :param virt: 'libvirt': hosts have real guests, with disks in that Ceph
        :param network: 'ovs': an Open vSwitch on each host, for servers with a port
        :raises LabError: a lab runs in the folder, or a step failed; then nothing is left running
        """
        folder, progress = _folder(folder), progress or Progress()
        if not 0 < hosts or not 0 <= stopped <= servers:
            raise LabError('at least one host, and no more stopped servers than servers')
        if servers and on not in bringup.host_names(hosts):
            raise LabError(f'no host {on} among {hosts} hosts')
        bringup.check_kind(storage, virt, network)
        bringup.claim_folder(folder)
        with _exclusive(folder):
            bringup.empty_folder(folder)
            venv, boot = bringup.install(progress, storage, virt, network)
            lab = cls(bringup.new_state(folder, venv, bind, hosts, settings, storage, virt,
                                        network))
            try:
                if lab.state.prefix:
                    # What follows starts services, or asks them: it happens in their network.
                    lab.network.up()
                    lab.network.enter()
                bringup.start_all(lab.state, lab.session, boot, progress)
                if servers:
                    with progress.phase(f'servers on {on}'):
                        lab.boot(on, servers, stopped)
                with lab.state.change():
                    lab.state.ready = True
            except BaseException:
                progress('failed: stopping what was started')
                teardown.stop_all(state.load(folder), progress)
                raise
        return lab

    def down(self, wipe=False, progress=None):
        """Stop everything; ``wipe`` removes the folder too."""
        tear_down(self.dir, wipe, progress)

    # Services

    def alive(self, name):
        """Whether a service runs."""
        return runtime.alive(self._fresh(), name)

    def pids(self):
        """``{service: pid}`` of the services that run."""
        fresh = self._fresh()
        return {name: recorded.pid for name, recorded in fresh.processes.items()
                if runtime.alive(fresh, name)}

    def kill(self, name):
        """SIGKILL a service and all it started; returns when nothing of it runs any more."""
        runtime.kill(self._fresh(), name)

    def stop(self, name):
        """SIGTERM a service, and wait for its end."""
        runtime.stop(self._fresh(), name)

    def start(self, name, wait=True):
        """Start a service that does not run, and wait until it serves.

        A compute host serves once Nova has its heartbeat, so that Nova's API must be up.

        :raises LabError: it runs already, or is not ready in time
        """
        fresh, since = self._fresh(), _now()
        runtime.start(fresh, name)
        if not wait:
            return
        runtime.wait_ready(fresh, name)
        if name in self.hosts:
            self.cloud().wait_heartbeat(name, 'nova-compute', since)
        elif name in services.RPC_SERVICES:
            self.cloud().wait_heartbeat('controller', name, since)

    def restart(self, name):
        """Stop a service, if it runs, and start it."""
        self.stop(name)
        self.start(name)

    # Compute hosts

    def kill_host(self, host, silent=False):
        """Pull the power cord of a compute host.

        :param silent: its network cable, too, so that nothing there refuses connections: what a
            machine without power does. Else it is as if only its system had died
        """
        if host in self.boxes:
            if silent:
                self.network.cut(host)
            self.boxes[host].kill()
        for name in nodes.agents(self.state, self._host(host)):
            self.kill(name)

    def stop_host(self, host):
        """Stop a compute host's nova-compute in an orderly way."""
        self.stop(self._host(host))

    def start_host(self, host, wait=True):
        """Start a compute host again; what Nova was told about it meanwhile stays."""
        since = _now()
        if host in self.boxes:
            self.network.join(host)
            if not self.boxes[host].alive():
                power.switch_on(self.state, host)
        for name in nodes.agents(self.state, self._host(host)):
            if name == host or not self.alive(name):
                self.start(name, wait)
        if wait and self.state.network == 'ovs':
            self.neutron().wait_agents([host], since)

    def restart_compute(self, host):
        """SIGKILL a host's nova-compute, and start it again; its guests run on."""
        if self.alive(self._host(host)):
            self.kill(host)
        self.start(host)

    def cut(self, host, *networks):
        """Pull the cable of a compute host that is a box, to the networks named or to all.

        :param host: or 'watch', for that of the monitor
        """
        self._cabled(host)
        self.network.cut(host, *networks)

    def join(self, host, *networks):
        """Put the cable back."""
        self._cabled(host)
        self.network.join(host, *networks)

    def freeze(self, host):
        """Stop all of a compute host where it stands; it does not know of the time that passes."""
        self._box(host).freeze()

    def thaw(self, host):
        """Let a frozen host go on."""
        self._box(host).thaw()

    def bring_back(self, host):
        """Start a compute host if it does not run, lift forced_down, and enable it."""
        if not self.alive(self._host(host)):
            self.start_host(host)
        self.cloud().bring_back(host)

    def set_load(self, host, percent):
        """Set the CPU load that a host measures; Nova sees it within half a minute."""
        if self.state.virt != 'fake':
            raise LabError('hosts with libvirt measure the load that there is')
        path = self.state.data / self._host(host) / 'load'
        path.write_text(f'{percent:d}\n', encoding='ascii')

    def boot(self, host, n=1, stopped=0, storage=None, port=False, **options):
        """`Cloud.boot`, but fit for hundreds of servers: see `quick_claims`.

        With libvirt, it returns when each guest that is to run counts on its disk.

        :param storage: where root disks are, with libvirt: ``rbd``, an image of Ceph cloned from
            the boot image, which is the default; ``volume``, a Cinder volume of one's own;
            ``local``, a file of the host, for which its nova-compute is restarted twice
        :param port: whether each gets a port; only with Open vSwitch
        """
        if port:
            options['networks'] = self.neutron().as_network()
        if storage is not None and self.state.virt != 'libvirt':
            raise LabError('a server of the fake driver has no disk anywhere')
        if storage == 'volume':
            servers = self._boot_volumes(host, n, stopped, **options)
        else:
            with self._local_disks(host) if storage == 'local' else self.quick_claims(host):
                servers = self.cloud().boot(host, n, stopped, **options)
        if self.state.virt == 'libvirt':
            self.wait_counting([one['id'] for one in servers if one['status'] == 'ACTIVE'], host)
        return servers

    def _boot_volumes(self, host, n, stopped, name='vm', **options):
        cloud, servers = self.cloud(), []
        names = [name] if n == 1 else [f'{name}-{number}' for number in range(1, n + 1)]
        made = self.volumes().create(cloud.image_id(), names)
        for number, (own, volume) in enumerate(zip(names, made, strict=True)):
            servers += cloud.boot(host, 1, number < stopped, name=own, image='',
                                  block_device_mapping_v2=volumes.as_root(volume), **options)
        return servers

    @contextlib.contextmanager
    def _local_disks(self, host):
        """Within, root disks of new servers are files of the host; earlier ones stay as they are.

        It is a setting of a whole nova-compute, which reads it when it starts.
        """
        self._box(host)
        try:
            conf.write_compute(self.state, host, local=True)
            self.restart_compute(host)
            yield
        finally:
            conf.write_compute(self.state, host)
            self.restart_compute(host)

    def guests(self, host):
        """``{server id: pid}`` of the guests whose QEMU is there on a host that is a box."""
        return libvirt.guests(self._box(host))

    def console(self, server_id, host=None):
        """What a guest has written to its console on a host, or on the one where Nova has it."""
        host = host or self.cloud().server(server_id)['OS-EXT-SRV-ATTR:host']
        path = self.console_file(server_id, host)
        return path.read_text(encoding='utf-8', errors='replace') if path.exists() else ''

    def console_file(self, server_id, host):
        """Path of the file that a guest's console on a host is written to."""
        return self._box(host).folder / 'instances' / server_id / 'console.log'

    def lines(self, server_id, host=None):
        """What a guest has said on a host, or where Nova has it: list of `guest.Line`."""
        return guest.console(self.console(server_id, host))

    def counts(self, server_id, host=None):
        """What a guest has counted on a host, or where Nova has it: list of `guest.Line`."""
        return [line for line in self.lines(server_id, host) if line.what == 'COUNT']

    def wait_counting(self, server_ids, host, timeout=120):
        """Wait until guests have begun to count on a host."""
        wait_until(f'{len(server_ids)} guests counting on {host}',
                   lambda: all(self.counts(one, host) for one in server_ids), timeout)

    def delete_all(self):
        """`Cloud.delete_all`, but fit for hundreds of servers: see `quick_claims`."""
        with self.quick_claims(*self.hosts):
            self.cloud().delete_all()

    @contextlib.contextmanager
    def quick_claims(self, *hosts):
        """Within, the hosts' nova-computes take and drop servers faster than Nova's do.

        For each one, Nova reads the allocations of all servers of the host, a call each, so that
        the time grows with the square of their number. Not for what is to be measured.
        """
        hints = [self.state.data / self._host(host) / QUICK_CLAIMS for host in hosts]
        for hint in hints:
            hint.touch()
        try:
            yield
        finally:
            for hint in hints:
                hint.unlink(missing_ok=True)

    @contextlib.contextmanager
    def slow(self, times, *hosts):
        """Within, evacuations to the hosts take so many times as long as they do."""
        files = [self.state.data / self._host(host) / SLOW for host in hosts]
        for path in files:
            path.write_text(f'{times:d}\n', encoding='ascii')
        try:
            yield
        finally:
            for path in files:
                path.unlink(missing_ok=True)

    # Clients

    def session(self, account='admin'):
        """A keystoneauth1 session of one of the ``credentials``."""
        plain = requests.Session()
        plain.trust_env = False  # a proxy of the caller's has no business with the lab
        return keystone_session.Session(
            auth=v3.Password(**self.credentials[account]), session=plain)

    def cloud(self):
        """A Cloud: a small client of Nova, as the administrator."""
        return Cloud(self.session(), self.urls)

    def volumes(self):
        """A Volumes: a small client of Cinder, as the administrator."""
        return volumes.Volumes(self.session(), self.urls['volume_url'])

    def neutron(self):
        """A Networks: a small client of Neutron, as the administrator."""
        return Networks(self.session(), self.urls['network_url'])

    def _fresh(self):
        """The state as it is now: other commands may have started and stopped services."""
        self.state = state.load(self.dir)
        return self.state

    def _box(self, host):
        if self._host(host) not in self.boxes:
            raise LabError(f'{host} is a process here, not a box: that takes --storage ceph')
        return self.boxes[host]

    def _cabled(self, name):
        if name != 'watch' or self.network is None:
            self._box(name)

    def _host(self, host):
        if host not in self.hosts:
            raise LabError(f'no host {host}; there are {", ".join(self.hosts)}')
        return host


def tear_down(folder=None, wipe=False, progress=None):
    """Stop the lab in ``folder``, also one that is half up; ``wipe`` removes the folder.

    :returns: whether there was one
    :raises LabError: an ``up`` is still at work there, or something could not be stopped
    """
    folder, progress = _folder(folder), progress or Progress()
    if not (folder / state.SIGN).exists():
        return False
    with _exclusive(folder):
        there = state.exists(folder)
        if there:
            teardown.stop_all(state.load(folder), progress)
        if wipe:
            teardown.wipe(folder)
    return there


def _now():
    """The time in UTC, without its zone, as the services give it."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def _folder(folder):
    return pathlib.Path(folder).expanduser().absolute() if folder else state.default_dir()


def _exclusive(folder):
    """The lock that one ``up`` or ``down`` of the folder holds."""

    def busy():
        raise LabError(f'another `up` or `down` is at work in {folder}')

    return locked(folder / 'up.lock', waiting=busy)
