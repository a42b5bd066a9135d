"""A recovery with the least rights there can be, logged in full; and no secret of it anywhere.

Everything logs all it can, the values of all options among it. Passwords have a part that is
nowhere else. First things go wrong: wrong passwords, peers that are not there.
"""

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import unittest

import requests
import sqlalchemy as sa

from tests.functional import bmc
from tests.functional import least_case
from tests.lab import accounts
from tests.lab.common import LabError
from tests.lab import vmha
from vmha_nova import exception
from vmha_nova import service

#: What every secret here begins with, in whatever way the rest of it is written.
SECRET = re.compile(rb'Hidden[A-Z]\w+|' + re.escape(bmc.PASSWORD).encode())
#: How a token of Keystone's begins, and how long it is at least.
TOKEN = re.compile(rb'gAAAA[\w-]{60,}')

POWER = '''
[DEFAULT]
agent = fence_ipmilan
ip = 127.0.0.1
username = admin
lanplus = 1
cipher = 3
ipmitool_timeout = 1
ipport = {port}
password = {password}
[compute1]
[compute2]
agent = fence_redfish
ipport = 1
systems_uri = /redfish/v1/Systems/1
password = HiddenRedfish1
[compute3]
[compute4]
'''


class Watcher(threading.Thread):
    """Reads the arguments and the environment of all processes that begin after it has.

    :ivar seen: ``{(pid, program): set of bytes}``; a process can become another program
    """

    LOOKS = 0.5                             # seconds, from when a process is seen first

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seen = collections.defaultdict(set)
        self._began = dict.fromkeys(os.listdir('/proc'), 0.0)

    def run(self):
        while not self.ended.wait(0.005):
            now = time.monotonic()
            for pid in filter(str.isdigit, os.listdir('/proc')):
                if now < self._began.setdefault(pid, now) + self.LOOKS:
                    self._look(pathlib.Path('/proc', pid))

    def _look(self, folder):
        with contextlib.suppress(OSError):  # it has ended
            found = [(folder / name).read_bytes() for name in ('cmdline', 'environ')]
            # Read last: what it has become meanwhile is what it was not before.
            program = (folder / 'comm').read_text().strip()
            self.seen[folder.name, program].update(found)


class Scene(least_case.LeastCase):
    """compute1 dies; its BMC refuses the first password, and takes the second."""

    overrides = {
        'DEFAULT.debug': 'true', 'DEFAULT.default_log_levels': '',
        'fence.driver': 'power', 'fence.power_timeout': 5, 'fence.power_patience': 3,
        'ceph.hosts_backend': 'rbd:vms',
        'monitor.management_addresses': 'compute1:127.0.0.1', 'collector.capacity_interval': 5}

    #: Of an account of its own, as tooz takes a password for MySQL as it stands in an address.
    LOCK = 'HiddenLock1'

    def make_database_accounts(self):
        super().make_database_accounts()
        accounts.sql(self.lab.state, f"CREATE OR REPLACE USER 'vmha_lock'@'%' IDENTIFIED BY "
                                     f"'{self.LOCK}'; GRANT SELECT ON vmha.* TO 'vmha_lock'@'%';")

    def drop_database_accounts(self):
        super().drop_database_accounts()
        accounts.sql(self.lab.state, "DROP USER IF EXISTS 'vmha_lock'@'%';")

    def named(self):
        url = f'mysql://vmha_lock:{self.LOCK}@{self.lab.bind}:{self.lab.ports["mariadb"]}/vmha'
        return {**super().named(), 'fence__power_file': self.power_file(),
                'coordination__backend_url': url,
                # Where all of them answer.
                'monitor__management_ports': self.lab.ports['keystone']}

    def _clean(self):
        with contextlib.suppress(LabError):     # never started
            self.vmha.kill_monitor()
        super()._clean()

    def power_file(self):
        return self.lab.dir / 'vmha' / 'power.conf'

    def write_power(self, password):
        path = self.power_file()
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(POWER.format(port=self.machine.port, password=password))

    def play(self):
        self.machine = bmc.Ipmi()
        self.addCleanup(self.machine.remove)
        self.write_power('HiddenWrong1')
        self.logs = {path: path.stat().st_size for path in self.paths() if path.exists()}
        self.said = {}
        self.boot(3, stopped=1)
        self.watcher = Watcher()
        self.watcher.start()
        self.addCleanup(self.watcher.ended.set)
        self.sync()
        self.start()
        self.vmha.start_monitor()
        self.tell('preflight', self.vmha.preflight())
        self.lab.kill_host(self.SOURCE)
        # As an outside reporter does it, who has an account of its own.
        self.vmha.configure({**self.overrides_now, 'DEFAULT.transport_url': self.bus_url(
            'vmha-reporter', 'reporter')}, self.database)
        self.report('power cord pulled')
        self.configure_again()
        self.wait('the BMC refuses the password', lambda: (
            self.recovery() and 'fence_ipmilan' in self.recovery().reason), 60)
        self.tell('held', self.ask('recovery', 'show', self.recovery().id))
        self.write_power(bmc.PASSWORD)
        self.wait_over()
        self.answers()
        self.wrong()

    def sync(self):
        """Make the tables with the account for that."""
        self.vmha.configure({**self.overrides_now, 'database.connection': self.database_url(
            'vmha_migrate', 'migrate')}, self.database)
        self.tell('db sync', self.vmha.sync())
        self.configure_again()

    def configure(self, **overrides):
        super().configure(**overrides)
        self.overrides_now = {**self.overrides, **{
            k.replace('__', '.'): v for k, v in {**self.named(), **overrides}.items()}}

    def configure_again(self, **overrides):
        """The same once more, but for these: {'group.option': value}."""
        self.vmha.configure({**self.overrides_now, **overrides}, self.database)

    def paths(self):
        return [self.lab.log / f'{name}.log' for name in (vmha.ENGINE, vmha.MONITOR, vmha.API)]

    def tell(self, where, what):
        """Keep what was said somewhere, to look for secrets in it."""
        self.said[where] = repr(what).encode()

    def answers(self):
        """Keep what the API answers to whoever may see everything, and what is on record."""
        token = self.lab.session().get_token()
        document = requests.get(f'{self.vmha.api_url}/v1/openapi.json', timeout=30).json()
        known = {'host': self.SOURCE, 'failure_id': '1', 'recovery_id': self.recovery().id}
        for path, methods in document['paths'].items():
            if 'get' in methods:
                answer = requests.get(self.vmha.api_url + path.format(**known), timeout=30,
                                      headers={'X-Auth-Token': token})
                self.said[f'GET {path}'] = answer.content + repr(answer.headers).encode()
        engine = sa.create_engine(self.lab.urls['vmha_database_url'])
        with engine.connect() as connection:
            for table in sa.inspect(engine).get_table_names():
                self.tell(f'table {table}', connection.execute(
                    sa.select(sa.text('*')).select_from(sa.table(table))).fetchall())
        engine.dispose()
        for words in (('recovery', 'show', self.recovery().id), ('event', 'list')):
            self.tell(' '.join(words), self.vmha.manage(*words))

    def wrong(self):
        """Keep what is said when nothing of it works: wrong, not there, or badly written."""
        self.vmha.kill_monitor()
        self.vmha.stop_engine()
        self.vmha.stop_api()
        bind, mine = self.lab.bind, self.lab.ports
        for name, changes in {
                'wrong passwords': {
                    'service_credentials.password': 'HiddenWrong2',
                    'DEFAULT.transport_url': f'rabbit://vmha:HiddenWrong3@{bind}:'
                                             f'{mine["rabbitmq"]}/',
                    'database.connection': f'mysql+pymysql://vmha_run:HiddenWrong4@{bind}:'
                                           f'{mine["mariadb"]}/vmha'},
                'nobody there': {
                    'service_credentials.auth_url': f'http://{bind}:1/v3',
                    'DEFAULT.transport_url': self.bus_url('vmha', 'bus').replace(
                        str(mine['rabbitmq']), '1'),
                    'database.connection': self.database_url('vmha_run', 'database').replace(
                        str(mine['mariadb']), '1')},
                # A slash in a password, as people copy it from elsewhere.
                'not quoted': {
                    'DEFAULT.transport_url': f'rabbit://vmha:HiddenSlash1/x@{bind}:5672/',
                    'database.connection': f'mysql+pymysql://vmha:HiddenSlash2/@x@{bind}/vmha',
                    'coordination.backend_url': f'mysql://vmha:HiddenSlash3/x@{bind}/vmha'},
                'wrong lock': {
                    'coordination.backend_url': f'mysql://vmha_lock:HiddenWrong5@{bind}:'
                                                f'{mine["mariadb"]}/vmha'}}.items():
            self.configure_again(**{'database.max_retries': 0, **changes})
            commands = {name_: self.vmha.command(name_) for name_ in ('engine', 'monitor')}
            commands['preflight'] = [*self.vmha.command('status'), 'preflight']
            commands['sync'] = [*self.vmha.command('manage'), 'db', 'sync']
            with concurrent.futures.ThreadPoolExecutor() as pool:
                for program, said in zip(commands, pool.map(self.run_for_a_while,
                                                            commands.values()), strict=True):
                    self.tell(f'{name}: {program}', said)
        self.configure_again()

    def run_for_a_while(self, command, seconds=6):
        """What a program says in its first seconds, or until it ends."""
        process = subprocess.Popen(
            command, env=self.vmha.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0]


class SecurityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        bmc.ensure()
        cls.scene = Scene()
        cls.addClassCleanup(cls.scene.doCleanups)
        cls.scene.setUp()
        cls.scene.play()

    def log(self, path):
        with path.open('rb') as stream:
            stream.seek(self.scene.logs.get(path, 0))
            return stream.read()

    def test_everybody_is_recovered(self):
        moves, _records = self.scene.assertRecovered()
        self.assertEqual(3, len(moves))

    def test_the_logs(self):
        for path in self.scene.paths():
            with self.subTest(path.name):
                text = self.log(path)
                self.assertIn(b'DEBUG', text)
                # The values of all options are there.
                if path.name != 'vmha-api.log':
                    self.assertIn(b'service_credentials.username', text)
                    self.assertIn(b'database.connection', text)
                self.assertClean(path.name, text)

    def test_what_is_said(self):
        self.assertIn('GET /v1/events', self.scene.said)
        self.assertIn('table event', self.scene.said)
        for where, text in self.scene.said.items():
            with self.subTest(where):
                self.assertClean(where, text)

    def test_between_which_hosts_it_was_is_needed_and_named(self):
        name = 'os_compute_api:os-migrations:index:host'
        nova = service.make_nova(self.scene.vmha.conf())
        self.assertEqual(3, len(nova.evacuations(self.scene.SOURCE)))
        self.scene.allow('nova', without=[name])
        self.addCleanup(self.scene.allow, 'nova')
        with self.assertRaisesRegex(exception.Rejected, name):
            nova.evacuations(self.scene.SOURCE)

    def test_arguments_and_environment(self):
        """No agent and no program gets one; only ipmitool does, from fence_ipmilan."""
        programs = {program for _pid, program in self.scene.watcher.seen}
        self.assertLessEqual({'fence_ipmilan', 'ipmitool'}, programs)
        for (pid, program), found in self.scene.watcher.seen.items():
            if program not in ('ipmitool', 'ipmi_sim'):
                for text in found:
                    self.assertClean(f'{program} {pid}', text)

    def assertClean(self, where, text):
        """No secret and no token is in it; the message shows what is around."""
        for pattern in (SECRET, TOKEN):
            found = [text[max(0, one.start() - 200):one.end() + 40]
                     for one in pattern.finditer(text)]
            if found:
                self.fail(f'{where}: {len(found)} times, as in {found[0]}')
