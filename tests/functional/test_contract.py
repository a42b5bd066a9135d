"""The contract of tests/contract against the real Nova and Placement of the lab.

tests/unit/test_contract.py holds the same tests against the simulated ones: where one fails here,
the simulator is wrong, and so may be what was built on it. Those of hosts that fail and return
take minutes: they are run with VMHA_ALL=1.
"""

import contextlib
import datetime
import time
import unittest

from keystoneauth1 import exceptions
import sqlalchemy as sa

from tests.contract import cases
from tests.contract import stage
from tests.functional import base
from tests.lab import common
from tests.lab import fresh
from vmha_nova import nova

TABLES = ('instances', 'services', 'compute_nodes', 'migrations')
STATES = {'paused': {'pause': None}, 'error': {'os-resetState': {'state': 'error'}}}
PLACEMENT = {'OpenStack-API-Version': 'placement 1.6'}


class LabStage(stage.Stage):
    """The lab of the functional tests; ``close`` leaves it as it was."""

    def __init__(self, lab):
        self.lab, self.cloud = lab, lab.cloud()
        fresh.clear(lab)
        self.nova = nova.Nova(lab.session('vmha'))
        self._undo = contextlib.ExitStack()

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc)

    def pause(self, seconds):
        time.sleep(seconds)

    def boot(self, host, count=1, stopped=0, group=None):
        found = self.lab.boot(host, count, stopped, server_group=group)
        return [s['id'] for s in sorted(found, key=lambda s: s['status'], reverse=True)]

    def delete(self, ident):
        self.cloud.call('DELETE', f'/servers/{ident}')
        common.wait_until(f'deletion of {ident}', lambda: self._gone(ident), 30)

    def _gone(self, ident):
        try:
            self.cloud.server(ident)
        except exceptions.NotFound:
            return True
        return False

    def put(self, ident, vm_state):
        self.cloud.action(ident, STATES[vm_state])
        common.wait_until(vm_state, lambda: (
            self.nova.server(ident).vm_state == vm_state), 30)

    def kill(self, host):
        if self.lab.alive(host):
            self.lab.kill_host(host)

    def start(self, host):
        if not self.lab.alive(host):
            self.lab.start_host(host)

    def full(self, host):
        return base.full(self.lab, host)

    @contextlib.contextmanager
    def lost_cell(self):
        """Nova has one cell, and every query of its hosts and servers loses the connection."""
        engine = sa.create_engine(self.lab.urls['database_url'].format(name='nova'))
        with engine.connect() as connection, contextlib.ExitStack() as undo:
            def do(text, back):
                connection.execute(sa.text(text))
                undo.callback(connection.execute, sa.text(back))
            do("CREATE OR REPLACE FUNCTION away() RETURNS INT DETERMINISTIC BEGIN SIGNAL SQLSTATE "
               "'08S01' SET MYSQL_ERRNO = 2013, MESSAGE_TEXT = 'Lost connection'; RETURN 1; END",
               'DROP FUNCTION away')
            do('RENAME TABLE ' + ', '.join(f'{t} TO {t}_away' for t in TABLES),
               'RENAME TABLE ' + ', '.join(f'{t}_away TO {t}' for t in TABLES))
            for table in TABLES:
                query = sa.select(sa.text('*')).select_from(sa.table(f'{table}_away')).where(
                    sa.text('away() = 1'))
                do(f'CREATE VIEW {table} AS {query}', f'DROP VIEW {table}')
            yield
        engine.dispose()

    def _made(self, path, key, body):
        ident = self.cloud.call('POST', path, {key: body})[key]['id']
        self._undo.callback(self.cloud.call, 'DELETE', f'{path}/{ident}')
        return ident

    def group(self, policy):
        return self._made('/os-server-groups', 'server_group', {'name': 'g', 'policy': policy})

    def aggregate(self, name, host, metadata):
        ident = self._made('/os-aggregates', 'aggregate', {'name': name})
        act = f'/os-aggregates/{ident}/action'
        self.cloud.call('POST', act, {'add_host': {'host': host}})
        self._undo.callback(self.cloud.call, 'POST', act, {'remove_host': {'host': host}})
        self.cloud.call('POST', act, {'set_metadata': {'metadata': metadata}})

    def trait(self, host, name):
        session, url = self.lab.session(), self.lab.urls['placement_url']
        session.put(f'{url}/traits/{name}', headers=PLACEMENT)
        provider = next(h.id for h in self.nova.hypervisors() if h.host == host)
        path = f'{url}/resource_providers/{provider}/traits'

        def change(edit):
            found = session.get(path, headers=PLACEMENT).json()
            session.put(path, headers=PLACEMENT, json={
                'traits': sorted(edit({*found['traits']})),
                'resource_provider_generation': found['resource_provider_generation']})
        change(lambda traits: traits | {name})
        self._undo.callback(change, lambda traits: traits - {name})

    def close(self):
        self._undo.close()
        fresh.clear(self.lab)


class Lab(unittest.TestCase):
    """In the lab."""

    @staticmethod
    def make_stage():
        return LabStage(base.the_lab())


class CalmTest(cases.Calm, Lab):
    """See cases."""


@base.all_only
class FailedTest(cases.Failed, Lab):
    """See cases."""


@base.all_only
class ReturningTest(cases.Returning, Lab):
    """See cases."""
