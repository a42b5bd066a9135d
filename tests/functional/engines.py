"""Two real vmha-engine processes on one database, and a small Nova that evacuates."""

import datetime
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest
import uuid

from tests.lab import process
from tests.unit import fake_nova
from vmha_nova import cmd  # noqa: F401  before messaging: see there
from vmha_nova.db import store

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEASE = 6.0                             # seconds; short, as the tests wait for it
CONF = """\
[DEFAULT]
transport_url = fake://
log_file = {log}
[database]
connection = {database}
[coordination]
backend_url = {lock}
lease = {lease}
[service_credentials]
auth_type = password
auth_url = {nova}/identity/v3
username = vmha
password = x
project_name = service
user_domain_id = default
project_domain_id = default
region_name = R
interface = public
request_timeout = 4
[fence]
unsafe_without_fence = true
[detection]
heartbeat_silence = 3
[collector]
interval = 1
nodes_interval = 2
[recovery]
window = 1
window_start = 1
quiet_period = 5
follow_interval = 0.5
"""


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Nova(fake_nova.FakeNova):
    """Its hosts beat while they live, and an evacuation takes a second."""

    SECONDS = 1.0

    def __init__(self):
        super().__init__(clock=now)
        self.dead = set()
        self._ended = threading.Event()

    def start(self):
        super().start()
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def stop(self):
        self._ended.set()
        super().stop()

    def _live(self):
        while not self._ended.wait(0.5):
            self.beat(*set(self.services) - self.dead)

    def answer(self, call):
        found = super().answer(call)
        for record in self.services.values():
            record['state'] = 'down' if record['forced_down'] else 'up'
        if call.path.endswith('/action') and 'evacuate' in call.body:
            self._evacuate(call.path.split('/')[-2], call.body['evacuate']['host'])
        return found

    def _evacuate(self, server_id, target):
        server = self.servers[server_id]
        self.add_migration(server_id, server['OS-EXT-SRV-ATTR:host'], target)
        record = self.migrations[-1]
        self.change(server_id, **{'OS-EXT-STS:task_state': 'rebuilding'})

        def ends():
            self.change(server_id, **{'OS-EXT-STS:task_state': None,
                                      'OS-EXT-SRV-ATTR:host': target})
            record['status'] = 'done'
        threading.Timer(self.SECONDS, ends).start()

    def acts(self):
        """What was asked for and is no question."""
        return [c for c in list(self.calls) if c.method != 'GET']


class EnginesTest(unittest.TestCase):
    """``self.engines``: Processes by name; both read the cloud and have the same lock."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-engines-'))
        self.mark, self.engines = f'engines-{uuid.uuid4()}', {}
        self.addCleanup(self._clean)
        self.nova = Nova().start()
        self.addCleanup(self.nova.stop)
        for host in ('c1', 'c2', 's1'):
            self.nova.add_host(host)
        database = self.database()
        self.store = store.Store(now, connection=database)
        self.store.upgrade()
        self.store.set_mark('s1', spare=True)
        for name in 'ab':
            (self.folder / f'{name}.conf').write_text(CONF.format(
                log=self.log_file(name), database=database, lock=self.lock(), lease=LEASE,
                nova=self.nova.url), encoding='ascii')

    def _clean(self):
        # By their records: cotyledon writes its titles over the marks.
        for one in self.engines.values():
            process.kill(one, self.mark)
        process.kill_strays(self.mark)
        shutil.rmtree(self.folder)

    def lock(self):
        """Where the lock is, as [coordination] backend_url has it."""
        raise NotImplementedError

    def database(self):
        """The URL of an empty database."""
        return f'sqlite:///{self.folder}/db'

    # -- processes ------------------------------------------------------------------------------
    def log_file(self, name):
        return self.folder / f'{name}.log'

    def log(self, name):
        """What an engine has logged."""
        path = self.log_file(name)
        return path.read_text(encoding='utf-8') if path.exists() else ''

    def start(self, *names):
        """Start engines, as good as at the same instant."""
        for name in names:
            self.engines[name] = process.spawn(
                [sys.executable, '-P', '-m', 'vmha_nova.cmd.engine', '--config-file',
                 self.folder / f'{name}.conf'],
                {'PATH': os.environ['PATH'], 'PYTHONPATH': str(ROOT), 'LANG': 'C.UTF-8',
                 process.MARK: self.mark,
                 **{k: v for k, v in os.environ.items() if k == 'PBR_VERSION'}},
                self.folder / f'{name}.out')

    def kill(self, name):
        """SIGKILL to an engine with its manager."""
        process.kill(self.engines[name], self.mark)

    def terminate(self, name):
        """SIGTERM to an engine's manager."""
        os.kill(self.engines[name].pid, signal.SIGTERM)

    def ended(self, name):
        return not process.alive(self.engines[name])

    def freeze(self, name):
        process.send(self.engines[name], self.mark, signal.SIGSTOP)

    def thaw(self, name):
        process.send(self.engines[name], self.mark, signal.SIGCONT)

    def leader(self):
        """The name of the engine whose term is the newest, if its process is there."""
        found = self.store.leader()
        pid = int(found.holder.rpartition(':')[2]) if found else None
        return next((name for name, one in self.engines.items()
                     if pid in process.members(one, self.mark)), None)

    def other(self, name):
        return 'b' if name == 'a' else 'a'

    def wait(self, what, condition, seconds=30):
        """Poll until the condition holds; returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        self.fail('\n'.join([
            f'not within {seconds} s: {what}', *map(str, self.store.recoveries()),
            *map(str, self.moves()), *map(str, self.store.events()), *(
                f'--- {name}:\n{self.log(name)[-3000:]}' for name in self.engines)]))

    def taken_over(self, term):
        """Seconds until another engine leads than that of this term."""
        begin = time.monotonic()
        self.wait('another engine leads', lambda: self.store.leader().term > term, 3 * LEASE)
        return time.monotonic() - begin

    # -- recoveries -----------------------------------------------------------------------------
    def boot(self, count):
        """Servers on c1."""
        for _ in range(count):
            self.nova.add_server('c1')

    def die(self):
        """c1 dies and is reported."""
        self.nova.dead.add('c1')
        self.store.report_failure('c1', 'test', 'it burns')

    def moves(self):
        return [m for r in self.store.recoveries() for m in self.store.moves(r.id)]

    def half_way(self):
        """Whether something was sent, and something waits."""
        found = {m.state for m in self.moves()}
        return 'accepted' in found and 'waiting' in found

    def over(self):
        return any(r.ended_at for r in self.store.recoveries())

    def assertRecovered(self):
        """Everybody is elsewhere, and was evacuated once."""
        self.assertEqual(['recovered'], [r.state for r in self.store.recoveries()])
        self.assertEqual({'moved'}, {m.state for m in self.moves()})
        self.assertNotIn('c1', {s['OS-EXT-SRV-ATTR:host'] for s in self.nova.servers.values()})
        self.assertEqual(sorted(self.nova.servers),
                         sorted(m['instance_uuid'] for m in self.nova.migrations))
