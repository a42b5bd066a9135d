"""One lab for all functional tests, and a clean state for each.

Set VMHA_TEST_LAB to the folder of a lab that is up (four hosts) to use that one, which saves a
minute and a half while tests are being written; it is left running.
"""

import atexit
import contextlib
import os
import pathlib
import random
import tempfile
import unittest

from tests.lab import case
from tests.lab import common
from tests.lab import fresh
from tests.lab import lab
from tests.lab import vmha

ALL = os.environ.get('VMHA_ALL', '') not in ('', '0')
SEED = os.environ.get('VMHA_SEED', '1')
#: For tests that continuous integration has no time for.
all_only = unittest.skipUnless(
    ALL, 'takes minutes: VMHA_ALL=1 or tools/run_tests.sh --all runs it')


def sample(things, count):
    """So many of them, others with another VMHA_SEED; with VMHA_ALL=1 all of them, in order."""
    return things if ALL else random.Random(SEED).sample(things, count)


_lab = None


def the_lab():
    """The lab, brought up by the first test that asks."""
    global _lab
    if _lab is None:
        mine = os.environ.get('VMHA_TEST_LAB')
        if mine:
            _lab = lab.Lab.load(mine)
        else:
            folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-functional-')) / 'lab'
            atexit.register(_end, folder)
            _lab = lab.Lab.up(folder, hosts=4)
    return _lab


def _end(folder):
    """Stop the lab; VMHA_KEEP_LOGS keeps its folder."""
    keep = 'VMHA_KEEP_LOGS' in os.environ
    lab.tear_down(folder, wipe=not keep)
    if not keep:
        folder.parent.rmdir()


@contextlib.contextmanager
def full(lab, host):
    """Within, a host has no memory left as far as Placement knows."""
    session, url = lab.session(), lab.urls['placement_url']
    provider, = session.get(f'{url}/resource_providers?name={host}').json()['resource_providers']
    path = f'{url}/resource_providers/{provider["uuid"]}/inventories/MEMORY_MB'

    # An older one does not let everything be reserved.
    version = {'OpenStack-API-Version': 'placement 1.26'}

    def reserve(amount):
        """Reserve that much; returns what was reserved."""
        for left in reversed(range(5)):
            found = session.get(path, headers=version).json()
            answer = session.put(path, json={**found, 'reserved': amount(found)},
                                 headers=version, raise_exc=not left)
            if answer.status_code != 409:       # nova-compute has written in between
                break
        return found['reserved']
    before = reserve(lambda found: found['total'])
    try:
        yield
    finally:
        # Nova-compute corrects another value only when it writes the next time.
        reserve(lambda found: before)


class LabTest(case.RecoveryTest):
    """With Nova's fake hypervisor, whose servers cost nothing."""

    spares = (case.RecoveryTest.SPARE,)
    database = 'sqlite'
    overrides = {}

    def setUp(self):
        super().setUp()
        self.lab = the_lab()
        self.cloud = self.lab.cloud()
        self.vmha = vmha.Vmha(self.lab)
        self.addCleanup(self._clean)
        self._clean()
        if self.database == 'mariadb':
            fresh.forget_rows(self.lab.urls['vmha_database_url'])
        self.configure()

    def _clean(self):
        """Nothing of us runs, all hosts are in service, no server is left."""
        for kill in (self.vmha.kill_engine, self.vmha.kill_api):
            try:
                kill()
            except common.LabError:
                pass                    # never started
        fresh.clear(self.lab)

    def configure(self, **overrides):
        """Write vmha.conf anew; names with '__' for the dot of group.option."""
        self.vmha.configure({**self.overrides, **{
            k.replace('__', '.'): v for k, v in overrides.items()}}, self.database)

    def start(self):
        """The database, the spares and the engine."""
        self.vmha.sync()
        for host in self.spares:
            self.vmha.set_spare(host)
        self.vmha.start_engine()
        self.store = self.vmha.store()

    def boot(self, count=4, stopped=1, **options):
        """Servers on the host that will die: {id: status}."""
        servers = self.cloud.boot(self.SOURCE, count, stopped, **options)
        self.before = {s['id']: s['status'] for s in servers}
        return self.before

    def die(self, source='test'):
        """Pull the plug of compute1 and publish the notification."""
        self.lab.kill_host(self.SOURCE)
        self.report('power cord pulled', source)

    def assertRecovered(self):
        """Nova is the witness: everybody elsewhere, once, where the plan said, as before."""
        self.assertEqual('recovered', self.recovery().state, self.state())
        moves = self.moves()
        now = {s['id']: s for s in self.cloud.servers()}
        records = self.cloud.migrations(self.SOURCE, migration_type='evacuation')
        for ident, status in self.before.items():
            self.assertNotEqual(
                self.SOURCE, now[ident]['OS-EXT-SRV-ATTR:host'], moves.get(ident))
            self.assertEqual(moves[ident].target, now[ident]['OS-EXT-SRV-ATTR:host'])
            self.assertEqual(status, now[ident]['status'], moves[ident])
            self.assertIsNone(now[ident]['OS-EXT-STS:task_state'])
            done = [r['status'] for r in records if r['instance_uuid'] == ident
                    and r['status'] in ('done', 'completed')]
            self.assertEqual(1, len(done), records)
        return moves, [r for r in records if r['instance_uuid'] in self.before]
