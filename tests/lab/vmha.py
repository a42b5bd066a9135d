"""vmha_nova beside a lab: its configuration, its database, its engine and its commands.

>>> service = Vmha(lab)
>>> service.configure({'recovery.window': 4})
>>> service.sync()
>>> service.set_spare('compute4')
>>> service.start_engine()
>>> service.publish_host_down('compute1', 'no answer', 'pinger')
>>> service.stop_engine()

The engine is recorded among the lab's processes, so that what ends the lab ends it too.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys

from tests.lab import bindings
from tests.lab.common import LabError
from tests.lab.common import tail
from tests.lab.common import wait_until
from tests.lab.conf import write
from tests.lab import hosts as nodes
from tests.lab import process
from tests.lab import services
from tests.lab import state
from vmha_nova import cmd  # noqa: F401  before messaging: see there
from vmha_nova.conf import opts
from vmha_nova.db.store import Store
from vmha_nova import messaging

#: Name of the engine among the lab's processes; also that of its log.
ENGINE = 'vmha-engine'

ROOT = pathlib.Path(__file__).resolve().parents[2]

_COMMAND_SECONDS = 120


def sections(lab_state, connection, log_file):
    """What vmha.conf says for a lab: ``{section: {option: value}}``.

    Nova beats every 2 seconds in the lab, and gives a request up after 20.
    """
    fence = {'fence': {'driver': 'none', 'unsafe_without_fence': 'true'}}
    if lab_state.virt == 'libvirt':
        ceph = nodes.cluster(lab_state)
        fence = {'fence': {'driver': 'storage'}, 'ceph': {
            'conf_file': ceph.conf_file, 'user': 'vmha', 'keyring': ceph.keyring('vmha'),
            'hosts_backend': 'rbd:vms', 'clients_interval': 2, 'timeout': 5},
            # All hosts are one machine here: what one measures of it says nothing about that one.
            'recovery': {'max_cpu_share': 1.0, 'quiet_period': 30}}
    return {
        'DEFAULT': {'transport_url': lab_state.urls['transport_url'], 'log_file': log_file},
        'service_credentials': {
            'auth_type': 'password', **lab_state.credentials['vmha'],
            'region_name': state.REGION, 'interface': 'public'},
        'database': {'connection': connection},
        'detection': {'heartbeat_silence': 5},
        'collector': {'interval': 2, 'nodes_interval': 5},
        'recovery': {'quiet_period': 30},
        **fence,
    }


class Vmha:
    """vmha_nova beside ``lab``, a Lab that is up.

    :ivar conf_file: path of vmha.conf; written by `configure`
    :ivar log_file: path of the engine's log
    """

    def __init__(self, lab):
        self.lab = lab
        self.conf_file = lab.dir / 'vmha' / 'vmha.conf'
        self.log_file = lab.log / f'{ENGINE}.log'

    def configure(self, overrides=None, database='sqlite'):
        """Write vmha.conf.

        :param overrides: ``{'group.option': value}``
        :param database: ``sqlite``, a file in the lab's folder, or ``mariadb``, the lab's own
        """
        connection = {'sqlite': f'sqlite:///{self.lab.state.data / "vmha.sqlite"}',
                      'mariadb': self.lab.urls['vmha_database_url']}[database]
        content = sections(self.lab.state, connection, self.log_file)
        for name, value in (overrides or {}).items():
            group, _, option = name.rpartition('.')
            content.setdefault(group, {})[option] = value
        write(self.conf_file, content)

    def conf(self):
        """vmha.conf, loaded anew."""
        return opts.load([f'--config-file={self.conf_file}'], '')

    def store(self):
        """A Store of the service's database, to read rows with."""
        return Store(_now, connection=self.conf().database.connection)

    # -- commands -------------------------------------------------------------------------------
    def manage(self, *words, json=True):
        """Run vmha-manage; answers what it prints, decoded if ``json``.

        :raises LabError: it failed; says what it printed
        """
        command = [*self.command('manage'), *words, *['--json'] * bool(json)]
        shown = f'vmha-manage {" ".join(words)}'
        try:
            done = subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=_COMMAND_SECONDS,
                                  check=True)
        except subprocess.TimeoutExpired as error:
            raise LabError(f'{shown}: not finished after {_COMMAND_SECONDS} s') from error
        except subprocess.CalledProcessError as error:
            raise LabError(f'{shown}: exit status {error.returncode}\n'
                           f'{error.stderr or error.stdout}') from error
        return _decode(done.stdout, shown) if json else done.stdout

    def preflight(self, *options):
        """Run ``vmha-status preflight``: its exit status, and its findings as dicts.

        :raises LabError: it took too long, or the check itself failed; says what it printed
        """
        command = [*self.command('status'), 'preflight', '--format', 'json', *options]
        try:
            done = subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f'preflight: not finished after {_COMMAND_SECONDS} s') from error
        if done.returncode not in (0, 1, 2) or done.stderr:
            raise LabError(f'preflight: exit status {done.returncode}\n{done.stderr}')
        return done.returncode, _decode(done.stdout, 'preflight')

    def sync(self):
        """Make the tables."""
        return self.manage('db', 'sync', json=False)

    def set_spare(self, host, spare=True):
        """Mark a host as a spare, or as none any more."""
        return self.manage('host', 'set', host, '--spare' if spare else '--no-spare', json=False)

    def publish_host_down(self, host, reason, source):
        """Report a host as down on the message bus, as a monitoring system does."""
        messaging.publish_host_down(self.conf(), host, reason, source)

    # -- the engine -----------------------------------------------------------------------------
    def start_engine(self, timeout=60):
        """Start vmha-engine, and wait until it leads, has read the cloud and parked the spares.

        :raises LabError: it runs already, has ended, or is not ready in time; shows its log's end
        """
        begin = self.log_file.stat().st_size if self.log_file.exists() else 0
        since = _now()
        fresh = state.load(self.lab.dir)
        with fresh.change():
            old = fresh.processes.get(ENGINE)
            if old is not None and process.members(old, fresh.mark):
                raise LabError(f'{ENGINE} runs already, with pid {old.pid}')
            fresh.processes[ENGINE] = process.spawn(
                self.command('engine'), self.environment(), self.log_file)
        store = self.store()

        def ready():
            if not process.alive(fresh.processes[ENGINE]):
                raise LabError(f'{ENGINE} has ended')
            with self.log_file.open(encoding='utf-8', errors='replace') as log:
                log.seek(begin)
                leads = ' leads with term ' in log.read()
            return leads and self._has_looked(store, since)

        try:
            wait_until(f'{ENGINE} ready', ready, timeout)
        except LabError as error:
            raise LabError(f'{error}\n{tail(self.log_file)}') from error

    def _has_looked(self, store, since):
        """Whether the engine shows by what it did that it knows the cloud."""
        spares = {mark.host for mark in store.marks().values() if mark.spare}
        if not spares:
            # It complains once it has a list of nodes with no spare among them.
            return any(e.kind == 'spares' and e.last_at >= since for e in store.events())
        disabled = {service['host'] for service in self.lab.cloud().services('nova-compute')
                    if service['status'] == 'disabled'}
        return spares <= disabled

    def stop_engine(self, timeout=20):
        """SIGTERM the engine and wait for its end.

        :raises LabError: it did not end in time, and was killed; shows its log's end
        """
        if not process.stop(self._recorded(), self.lab.state.mark, timeout):
            raise LabError(f'{ENGINE} was still there {timeout} s after a SIGTERM\n'
                           f'{tail(self.log_file)}')

    def kill_engine(self):
        """SIGKILL the engine with all its processes."""
        process.kill(self._recorded(), self.lab.state.mark)

    def engine_alive(self):
        """Whether the engine runs."""
        return process.alive(self._recorded())

    def _recorded(self):
        recorded = state.load(self.lab.dir).processes.get(ENGINE)
        if recorded is None:
            raise LabError(f'{ENGINE} was never started in {self.lab.dir}')
        return recorded

    def command(self, name):
        """The command line that runs ``vmha_nova.cmd.NAME`` on this configuration."""
        # -P: a folder "vmha_nova" where the caller happens to be is not meant.
        return [sys.executable, '-P', '-m', f'vmha_nova.cmd.{name}', '--config-file',
                str(self.conf_file)]

    def environment(self):
        """Little, and the lab's mark in it: the caller's shell changes nothing."""
        extra = {'PYTHONPATH': str(ROOT)}
        if self.lab.state.storage == 'ceph':
            extra['PYTHONPATH'] += f'{os.pathsep}{bindings.folder()}'
        # What pbr says of a checkout without git history, if the caller had to tell.
        if 'PBR_VERSION' in os.environ:
            extra['PBR_VERSION'] = os.environ['PBR_VERSION']
        return services.environment(self.lab.state, extra)


def _decode(text, shown):
    try:
        return json.loads(text)
    except ValueError as error:
        raise LabError(f'{shown}: printed no JSON: {text[:200]!r}') from error


def _now():
    return datetime.datetime.now(datetime.timezone.utc)
