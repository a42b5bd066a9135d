"""The steps from nothing to a running cloud."""

import concurrent.futures
import pathlib
import shutil
import tempfile
import threading

from tests.lab import bootstrap
from tests.lab.cloud import Cloud
from tests.lab.common import LabError
from tests.lab import conf
from tests.lab import databases
from tests.lab import environment
from tests.lab import packages
from tests.lab import ports
from tests.lab import runtime
from tests.lab import services
from tests.lab import state

_LEFTOVERS = ('conf', 'data', 'home', 'log')
_OLD = 'old-'


def host_names(number):
    """Names of the compute hosts of a lab that has so many."""
    return [f'compute{n}' for n in range(1, number + 1)]


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
        if running:
            raise LabError(
                f'a lab is in {folder}, and {len(running)} of its services run.\n'
                f'Look at it with `python -m tests.lab status --dir {folder}`, '
                f'stop it with `python -m tests.lab down --dir {folder}`.')
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


def install(progress):
    """Packages and the virtual environment, whatever is missing; returns the latter's path."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(packages.ensure_packages, progress),
                pool.submit(environment.ensure_venv, progress)]
        return [one.result() for one in both][1]


def new_state(folder, venv, bind, hosts, settings):
    """The State of a new lab, its ports reserved, saved."""
    lab_state = state.State(
        folder=folder, venv=venv, bind=bind, ports=ports.claim(folder, bind),
        hosts=host_names(hosts), settings={**services.SETTINGS, **(settings or {})})
    lab_state.save()
    return lab_state


def start_all(lab_state, session, progress):
    """Start all services, in the order that keeps both cores busy, and fill the cloud.

    Loading Python code is most of the work, so each is started as soon as it can use what it
    needs, and only then waited for.

    :param session: function that gives the administrator's keystoneauth1 session
    """
    services.write_conf(lab_state)
    conf.write_all(lab_state)
    template = databases.ensure_template(lab_state, progress)

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
        # None of these four authenticates before it is asked something.
        start('nova-api', 'placement', 'glance', 'neutron')
        admin = session()
        bootstrap.accounts(admin, lab_state)
    with progress.phase('OpenStack services'):
        wait('rabbitmq')
        start(*services.RPC_SERVICES)
        wait('nova-api', 'placement', 'glance', 'neutron')
    with progress.phase('compute hosts'):
        # Not earlier: one that does not find a conductor at once waits for ten seconds.
        start(*lab_state.hosts)
        bootstrap.flavor(admin, lab_state)
        bootstrap.image(admin, lab_state)
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
