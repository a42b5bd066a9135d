"""vmha_nova beside a lab: its configuration, its database, its daemons and its commands.

>>> service = Vmha(lab)
>>> service.configure({'recovery.window': 4})
>>> service.sync()
>>> service.set_spare('compute4')
>>> service.start_engine()
>>> service.start_monitor()
>>> service.publish_host_down('compute1', 'no answer', 'pinger')
>>> service.start_api()
>>> service.openstack('admin', 'vmha', 'recovery', 'list')
>>> service.stop_api()
>>> service.stop_engine()

They are recorded among the lab's processes, so that what ends the lab ends them too.
"""

import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys

from tests.lab import bindings
from tests.lab.common import LabError
from tests.lab.common import tail
from tests.lab.common import wait_until
from tests.lab.conf import write
from tests.lab import hosts as nodes
from tests.lab import openstack
from tests.lab import process
from tests.lab import services
from tests.lab import state
from vmha_nova import cmd  # noqa: F401  before messaging: see there
from vmha_nova.conf import opts
from vmha_nova.db.store import Store
from vmha_nova import messaging

#: Names of the daemons and of the API among the lab's processes; also those of their logs.
ENGINE, MONITOR, API = 'vmha-engine', 'vmha-monitor', 'vmha-api'
API_PROCESSES = 2

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
            'recovery': {'max_cpu_share': 1.0, 'quiet_period': 30},
            # Hosts have a door at Nova's host_ip. RabbitMQ's stands for a gateway: beyond the
            # monitor's own cable.
            'monitor': {'witnesses': f'{lab_state.bind}:{lab_state.ports["rabbitmq"]}',
                        'heartbeat_silence': 11}}
    account = {'auth_type': 'password', **lab_state.credentials['vmha'],
               'region_name': state.REGION, 'interface': 'public'}
    return {
        'DEFAULT': {'transport_url': lab_state.urls['transport_url'], 'log_file': log_file},
        'service_credentials': account,
        # No cache: a token counts as long as Keystone says.
        'keystone_authtoken': {
            **account, 'www_authenticate_uri': lab_state.urls['auth_url'],
            'service_token_roles_required': 'true', 'token_cache_time': -1},
        'database': {'connection': connection},
        'detection': {'heartbeat_silence': 5},
        'collector': {'interval': 2, 'nodes_interval': 5},
        'recovery': {'quiet_period': 30},
        **fence,
    }


class Vmha:
    """vmha_nova beside ``lab``, a Lab that is up.

    :param engine: name of the engine's process; several share the lab's database
    :ivar conf_file: path of vmha.conf; written by `configure`
    :ivar log_file: path of the engine's log
    :ivar monitor_log: path of the monitor's log
    :ivar api_log: path of the API's log
    :ivar api_url: where the API is
    """

    def __init__(self, lab, engine=ENGINE):
        self.lab = lab
        self.engine = engine
        self.conf_file = lab.dir / 'vmha' / (
            'vmha.conf' if engine == ENGINE else f'{engine}.conf')
        self.log_file = lab.log / f'{engine}.log'
        self.monitor_log = lab.log / f'{MONITOR}.log'
        self.api_log = lab.log / f'{API}.log'
        self.api_url = lab.urls['vmha_url']

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
    def start_engine(self, timeout=60, name=None, until='leads'):
        """Start vmha-engine, and wait until it leads, has read the cloud and parked the spares.

        :param name: of the process, where there are several; each has a log of this name
        :param until: ``waits``: for the lock, which another one has; None: wait for nothing, as
            in the middle of a recovery, which needs the spares
        :raises LabError: it runs already, has ended, or is not ready in time; shows its log's end
        """
        name = name or self.engine
        log = self.lab.log / f'{name}.log'
        said, since = follow(log), _now()
        own = self.conf_file.with_name(f'{name}-log.conf')
        write(own, {'DEFAULT': {'log_file': log}})
        self._spawn(name, [*self.command('engine'), '--config-file', str(own)],
                    self.environment(), log)
        store = self.store()
        ready = {'leads': lambda: ' leads with term ' in said() and self._has_looked(store, since),
                 'waits': lambda: 'does not lead' in said()}
        if until is not None:
            self._wait_ready(name, ready[until], log, timeout)

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
        self._stop(self.engine, self.log_file, timeout)

    def kill_engine(self, name=None):
        """SIGKILL an engine with all its processes."""
        process.kill(self._recorded(name or self.engine), self.lab.state.mark)

    def leads(self, name):
        """Whether the engine of that name leads, or was the last that did."""
        leader = self.store().leader()
        pids = process.members(self._recorded(name), self.lab.state.mark)
        return leader is not None and leader.holder.rpartition(':')[2] in map(str, pids)

    def engine_alive(self):
        """Whether the engine runs."""
        return process.alive(self._recorded(self.engine))

    def engine_pids(self):
        """Pids of the engine's processes."""
        return process.members(self._recorded(self.engine), self.lab.state.mark)

    # -- the monitor ----------------------------------------------------------------------------
    def start_monitor(self, timeout=60):
        """Start vmha-monitor, on the network's 'watch' if there is one, and wait until it knows
        all hosts.

        :raises LabError: it runs already, has ended, or is not ready in time; shows its log's end
        """
        said = follow(self.monitor_log)
        own = self.conf_file.with_name('vmha-monitor.conf')
        write(own, {'DEFAULT': {'log_file': self.monitor_log, 'debug': True}})
        prefix = self.lab.network.exec_prefix('watch') if self.lab.network else []
        self._spawn(MONITOR, [*prefix, *self.command('monitor'), '--config-file', str(own)],
                    self.environment(), self.monitor_log)
        self._wait_ready(MONITOR, lambda: f'watching {len(self.lab.hosts)} hosts' in said(),
                         self.monitor_log, timeout)

    def stop_monitor(self, timeout=10):
        """SIGTERM the monitor and wait for its end.

        :raises LabError: it did not end in time, and was killed; shows its log's end
        """
        self._stop(MONITOR, self.monitor_log, timeout)

    def kill_monitor(self):
        """SIGKILL the monitor."""
        process.kill(self._recorded(MONITOR), self.lab.state.mark)

    # -- the API --------------------------------------------------------------------------------
    def start_api(self, timeout=60):
        """Start the REST API under uWSGI, and wait until each of its processes answers.

        uWSGI does not end on a SIGTERM that comes while one still loads the application.

        :raises LabError: it runs already, has ended, or is not ready in time; shows its log's end
        """
        program = pathlib.Path(sys.executable).with_name('uwsgi')
        if not program.exists():
            raise LabError(f'{program}: not found; pyuwsgi is in test-requirements.txt')
        metrics = self.lab.state.data / 'vmha-metrics'
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir()
        command = services.uwsgi(program, self.api_url.partition('//')[2], 'vmha_nova.wsgi.api',
                                 API_PROCESSES, 4)
        said = follow(self.api_log)
        own = self.conf_file.with_name('vmha-api.conf')
        write(own, {'DEFAULT': {'log_file': self.api_log}})
        self._spawn(API, command, {
            **self.environment(), 'VMHA_CONFIG_FILES': f'{self.conf_file};{own}',
            'PROMETHEUS_MULTIPROC_DIR': str(metrics)}, self.api_log)
        self._wait_ready(API, lambda: said().count(' ready in ') >= API_PROCESSES and (
            services.speaks_http(self.api_url)), self.api_log, timeout)

    def stop_api(self, timeout=20):
        """SIGTERM the API and wait for its end.

        :raises LabError: it did not end in time, and was killed; shows its log's end
        """
        self._stop(API, self.api_log, timeout)

    def openstack(self, account, *words, json=True, **options):
        """Run ``openstack`` as one of the lab's accounts; see `openstack.answer`."""
        return openstack.answer(self.lab, account, *words, json=json, **options)

    def try_openstack(self, account, *words, **options):
        """The same, but whatever its exit status: how it Ran; see `openstack.run`."""
        return openstack.run(self.lab, account, *words, **options)

    def kill_api(self):
        """SIGKILL the API with all its processes."""
        process.kill(self._recorded(API), self.lab.state.mark)

    # -- processes ------------------------------------------------------------------------------
    def _spawn(self, name, command, env, log):
        fresh = state.load(self.lab.dir)
        with fresh.change():
            old = fresh.processes.get(name)
            if old is not None and process.members(old, fresh.mark):
                raise LabError(f'{name} runs already, with pid {old.pid}')
            fresh.processes[name] = process.spawn(command, env, log)

    def _wait_ready(self, name, ready, log, timeout):
        recorded = self._recorded(name)

        def serves():
            if not process.alive(recorded):
                raise LabError(f'{name} has ended')
            return ready()

        try:
            wait_until(f'{name} ready', serves, timeout)
        except LabError as error:
            raise LabError(f'{error}\n{tail(log)}') from error

    def _stop(self, name, log, timeout):
        if not process.stop(self._recorded(name), self.lab.state.mark, timeout):
            raise LabError(f'{name} was still there {timeout} s after a SIGTERM\n{tail(log)}')

    def _recorded(self, name):
        recorded = state.load(self.lab.dir).processes.get(name)
        if recorded is None:
            raise LabError(f'{name} was never started in {self.lab.dir}')
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


def follow(log):
    """A function that answers with what is written to a log from now on."""
    begin = log.stat().st_size if log.exists() else 0

    def said():
        if not log.exists():
            return ''
        with log.open(encoding='utf-8', errors='replace') as stream:
            stream.seek(begin)
            return stream.read()
    return said


def _decode(text, shown):
    try:
        return json.loads(text)
    except ValueError as error:
        raise LabError(f'{shown}: printed no JSON: {text[:200]!r}') from error


def _now():
    return datetime.datetime.now(datetime.timezone.utc)
