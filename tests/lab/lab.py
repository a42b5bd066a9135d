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
from tests.lab import runtime
from tests.lab import services
from tests.lab import state
from tests.lab import teardown

#: File of a compute host's folder; inside/lab_compute.py says what it does.
QUICK_CLAIMS = 'quick-claims'


class Lab:
    """A lab that is up, or that was left half up.

    :ivar dir: its folder
    :ivar log: folder with one log per service
    :ivar bind: address that everything listens on
    :ivar ports: ``{name: port}``
    :ivar hosts: names of the compute hosts
    :ivar urls: where things are, see `state.State.urls`
    :ivar credentials: Keystone accounts ``admin`` and ``vmha``: arguments of v3.Password
    """

    def __init__(self, lab_state):
        self.state = lab_state
        self.dir, self.log = lab_state.folder, lab_state.log
        self.bind, self.ports, self.hosts = lab_state.bind, lab_state.ports, lab_state.hosts
        self.urls, self.credentials = lab_state.urls, lab_state.credentials

    @classmethod
    def load(cls, folder=None):
        """The lab in ``folder``, or in the default one.

        :raises LabError: there is none
        """
        return cls(state.load(_folder(folder)))

    @classmethod
    def up(cls, folder=None, hosts=4, servers=0, stopped=0, on='compute1', bind='127.0.0.1',
           settings=None, progress=None):
        """Bring a lab up from nothing; it goes on running when the caller ends.

        :param hosts: number of compute hosts
        :param servers: number of servers to boot on the host ``on``, ``stopped`` of them SHUTOFF
        :param settings: changes of `services.SETTINGS`
        :raises LabError: a lab runs in the folder, or a step failed; then nothing is left running
        """
        folder, progress = _folder(folder), progress or Progress()
        if not 0 < hosts or not 0 <= stopped <= servers:
            raise LabError('at least one host, and no more stopped servers than servers')
        if servers and on not in bringup.host_names(hosts):
            raise LabError(f'no host {on} among {hosts} hosts')
        bringup.claim_folder(folder)
        with _exclusive(folder):
            bringup.empty_folder(folder)
            venv = bringup.install(progress)
            lab = cls(bringup.new_state(folder, venv, bind, hosts, settings))
            try:
                bringup.start_all(lab.state, lab.session, progress)
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
        fresh, since = self._fresh(), datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
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

    def kill_host(self, host):
        """Pull the power cord of a compute host."""
        self.kill(self._host(host))

    def stop_host(self, host):
        """Stop a compute host's nova-compute in an orderly way."""
        self.stop(self._host(host))

    def start_host(self, host, wait=True):
        """Start a compute host again; what Nova was told about it meanwhile stays."""
        self.start(self._host(host), wait)

    def bring_back(self, host):
        """Start a compute host if it does not run, lift forced_down, and enable it."""
        if not self.alive(self._host(host)):
            self.start_host(host)
        self.cloud().bring_back(host)

    def set_load(self, host, percent):
        """Set the CPU load that a host measures; Nova sees it within half a minute."""
        path = self.state.data / self._host(host) / 'load'
        path.write_text(f'{percent:d}\n', encoding='ascii')

    def boot(self, host, n=1, stopped=0, **options):
        """`Cloud.boot`, but fit for hundreds of servers: see `quick_claims`."""
        with self.quick_claims(host):
            return self.cloud().boot(host, n, stopped, **options)

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

    # Clients

    def session(self, account='admin'):
        """A keystoneauth1 session of ``admin`` or ``vmha``."""
        plain = requests.Session()
        plain.trust_env = False  # a proxy of the caller's has no business with the lab
        return keystone_session.Session(
            auth=v3.Password(**self.credentials[account]), session=plain)

    def cloud(self):
        """A Cloud: a small client of Nova, as the administrator."""
        return Cloud(self.session(), self.urls)

    def _fresh(self):
        """The state as it is now: other commands may have started and stopped services."""
        self.state = state.load(self.dir)
        return self.state

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


def _folder(folder):
    return pathlib.Path(folder).expanduser().absolute() if folder else state.default_dir()


def _exclusive(folder):
    """The lock that one ``up`` or ``down`` of the folder holds."""

    def busy():
        raise LabError(f'another `up` or `down` is at work in {folder}')

    return locked(folder / 'up.lock', waiting=busy)
