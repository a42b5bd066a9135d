"""The steps from nothing to a running cloud."""

import concurrent.futures
import os
import pathlib
import secrets
import shutil
import tempfile
import threading

from tests.lab import bootstrap
from tests.lab.cloud import Cloud
from tests.lab.common import LabError
from tests.lab import conf
from tests.lab import databases
from tests.lab import environment
from tests.lab import guest
from tests.lab import hosts
from tests.lab.network import CONTROL
from tests.lab.networks import Networks
from tests.lab import packages
from tests.lab import ports
from tests.lab import power
from tests.lab import process
from tests.lab import runtime
from tests.lab import services
from tests.lab import state
from tests.lab.volumes import Volumes

_LEFTOVERS = ('conf', 'data', 'home', 'log')
_OLD = 'old-'


def host_names(number):
    """Names of the compute hosts of a lab that has so many."""
    return [f'compute{n}' for n in range(1, number + 1)]


def check_kind(storage, virt, network):
    """Check that there can be such a lab here.

    :raises LabError: there cannot; says why
    """
    if virt == 'libvirt' and storage != 'ceph':
        raise LabError('libvirt needs Ceph for the disks of its guests')
    if network == 'ovs' and virt != 'libvirt':
        raise LabError('Open vSwitch needs libvirt: servers of the fake driver plug nothing')
    if storage == 'ceph' and os.geteuid() != 0:
        raise LabError('hosts in namespaces take root')


def claim_folder(folder):
    """Make the lab's folder, if it is not there.

    :raises LabError: something is in it that is not a lab
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / state.SIGN).exists():
        raise LabError(f'{folder} holds something that is not a lab: name an empty folder')
    (folder / state.SIGN).touch()


def empty_folder(folder):
    """Remove what an earlier lab left in the folder.

    :raises LabError: it still runs
    """
    if state.exists(folder):
        old = state.load(folder)
        running = [name for name in old.processes if runtime.alive(old, name)]
        if old.prefix:
            running += [host for host in old.hosts if hosts.box(old, host).alive()]
        if running:
            raise LabError(
                f'a lab is in {folder}, and {len(running)} of its services run.\n'
                f'Look at it with `python -m tests.lab status --dir {folder}`, '
                f'stop it with `python -m tests.lab down --dir {folder}`.')
        if old.prefix:
            hosts.network(old).down()
        old.forget()
    # On some disks the removal takes seconds: it goes on beside what follows.
    old = pathlib.Path(tempfile.mkdtemp(prefix=_OLD, dir=folder))
    for name in _LEFTOVERS:
        if (folder / name).exists():
            (folder / name).rename(old / name)
    threading.Thread(target=_remove, args=(list(folder.glob(f'{_OLD}*')),)).start()


def _remove(folders):
    for one in folders:
        shutil.rmtree(one, ignore_errors=True)


def install(progress, storage, virt, network):
    """Packages, the virtual environment, the guest: whatever is missing.

    :returns: the environment's path, and what `guest.build` returns, None without libvirt
    """
    wanted = {**packages.PACKAGES, **(packages.CEPH if storage == 'ceph' else {}),
              **(packages.LIBVIRT if virt == 'libvirt' else {}),
              **(packages.OVS if network == 'ovs' else {})}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        venv = pool.submit(environment.ensure_venv, progress)
        packages.ensure_packages(progress, wanted)
        boot = guest.build(progress) if virt == 'libvirt' else None
        return venv.result(), boot


def new_state(folder, venv, bind, number, settings, storage, virt, network):
    """The State of a new lab, its ports reserved, saved.

    :param number: of compute hosts
    """
    prefix = ''
    if storage == 'ceph':
        # Its ports are those of a namespace; reserved, they give each lab another block.
        bind, prefix = CONTROL, f'vmha{secrets.token_hex(3)}'
    lab_state = state.State(
        folder=folder, venv=venv, bind=bind, hosts=host_names(number), storage=storage, virt=virt,
        network=network, prefix=prefix, ports=ports.claim(folder, '127.0.0.1' if prefix else bind),
        settings={**services.SETTINGS, **(settings or {})})
    lab_state.save()
    return lab_state


def start_all(lab_state, session, boot, progress):
    """Start all services and fill the cloud; Ceph and its hosts come up beside the rest.

    :param boot: kernel and initial ramdisk of the guest, None without libvirt
    :param session: function that gives the administrator's keystoneauth1 session
    """
    services.write_conf(lab_state)
    conf.write_all(lab_state)
    template = databases.ensure_template(lab_state, progress)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        storage = pool.submit(power.build, lab_state) if lab_state.storage == 'ceph' else None
        try:
            _start_services(lab_state, template, session, boot, storage, progress)
        except BaseException:
            # The pool waits for its thread: then what that waits for had better fail.
            process.kill_strays(lab_state.mark)
            raise


def _start_services(lab_state, template, session, boot, storage, progress):
    """Start the services in the order that keeps both cores busy.

    Loading Python code is most of the work, so each is started as soon as it can use what it
    needs, and only then waited for.

    :param storage: Future of `power.build`; None if images need no Ceph
    """
    def start(*names):
        for name in names:
            runtime.start(lab_state, name)

    def wait(*names):
        for name in names:
            runtime.wait_ready(lab_state, name)

    with progress.phase('message queue, databases, Keystone'):
        start('epmd', 'memcached')
        databases.restore(template, lab_state)
        wait('epmd')
        start('mariadb', 'rabbitmq')
        wait('mariadb', 'memcached')
        start('keystone')
        wait('keystone')
    with progress.phase('accounts'):
        # None of these authenticates before it is asked something.
        start('nova-api', 'placement', *['glance'] * (storage is None), 'neutron')
        admin = session()
        bootstrap.accounts(admin, lab_state)
    with progress.phase('OpenStack services'):
        wait('rabbitmq')
        start(*services.RPC_SERVICES)
        if storage is not None:
            start('cinder', 'cinder-scheduler')
            storage.result()
            start('glance', 'cinder-volume')
        if lab_state.network == 'ovs':
            start(services.NETWORK_SERVICE)
        wait('nova-api', 'placement', 'glance', 'neutron')
    with progress.phase('compute hosts'):
        # Not earlier: one that does not find a conductor at once waits for ten seconds.
        for host in lab_state.hosts:
            start(*hosts.agents(lab_state, host))
        bootstrap.flavor(admin, lab_state)
        if boot is None:
            bootstrap.image(admin, lab_state)
        else:
            bootstrap.real_image(admin, lab_state, *boot, guest.COMMAND_LINE)
        if storage is not None:
            wait('cinder')
            Volumes(admin, lab_state.urls['volume_url']).wait_ready()
        if lab_state.network == 'ovs':
            networks = Networks(admin, lab_state.urls['network_url'])
            networks.create()
            networks.wait_agents(lab_state.hosts)
        wait_hosts(lab_state, Cloud(admin, lab_state.urls))


def wait_hosts(lab_state, cloud, timeout=240):
    """Wait until Nova sees every compute host up.

    :raises LabError: not in time, or a service has ended; says which and shows its log
    """
    try:
        cloud.wait_up(lab_state.hosts, timeout)
    except LabError:
        for name in (*services.RPC_SERVICES, *lab_state.hosts):
            runtime.wait_ready(lab_state, name)
        raise
