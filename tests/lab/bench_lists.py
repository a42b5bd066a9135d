"""What a page of each list costs, beside plain SQL.

usage: python -m tests.lab.bench_lists [--url URL] [--rounds N] [--json]

Fills a database (SQLite in a temporary folder, or --url, which must be empty) with a cloud of
1000 hosts and 50,000 instances, and with failures, recoveries, moves, events and capacity. Then
asks the real application, middleware, policies and all, for a page of 1000 entries of each list,
in turn with ten plain queries (the driver itself, SELECT of the same columns, fetchall). The ratio
is of the medians: a page must take no longer than the ten.

Keystone is not asked: its answer is at hand, as it is in a cache. What the middleware that checks
tokens makes of it is in each page, and shown beside them.
"""

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time

from keystonemiddleware import auth_token
import sqlalchemy as sa

from tests.unit import api_case
from vmha_nova.api import app
from vmha_nova.db import models
from vmha_nova.db import pages
from vmha_nova.db import snapshot
from vmha_nova.db import store
from vmha_nova import model

PAGE = 1000
PLAIN = 10                              # queries that a page may take as long as
HOSTS, INSTANCES = 1000, 50000
MOVES = 2000                            # of one recovery
FAILURES, RECOVERIES, MOVES_EACH, EVENTS = 5000, 1000, 10, 20000
NOW = datetime.datetime(2026, 3, 1, 12, 30, 15, 250000, tzinfo=datetime.timezone.utc)
TRAITS = frozenset(f'HW_CPU_X86_{n:02}' for n in range(45))
BIG = '00000000-0000-4000-8000-000000000000'    # the recovery with many moves

LISTS = {
    'hosts': (pages.HOSTS, '/v1/hosts'),
    'load': (pages.LOAD, '/v1/load'),
    'capacity': (pages.CAPACITY, '/v1/capacity'),
    'failures': (pages.FAILURES, '/v1/failures'),
    'recoveries': (pages.RECOVERIES, '/v1/recoveries'),
    'moves': (pages.MOVES, f'/v1/recoveries/{BIG}/moves'),
    'events': (pages.EVENTS, '/v1/events'),
}


def main(arguments=None):
    """Measure and print; the exit status is 1 where a page took longer than the ten queries."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab.bench_lists', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--url', help='of an empty database')
    parser.add_argument('--rounds', type=int, default=21)
    parser.add_argument('--json', action='store_true', help='print JSON')
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        url = options.url or 'sqlite:///{}/vmha.sqlite'.format(
            stack.enter_context(tempfile.TemporaryDirectory(prefix='vmha-bench-')))
        result = Bench(url, stack).run(options.rounds)
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0 if max(r['ratio'] for r in result['lists']) <= 1 else 1


class Bench:
    """The measurement."""

    def __init__(self, url, stack):
        self.store = store.Store(lambda: NOW, connection=url)
        self.store.upgrade()
        self.engine = sa.create_engine(url)
        stack.callback(self.engine.dispose)
        conf = api_case.config(url)
        tokens = api_case.tokens()
        stack.callback(tokens.cleanUp)
        self.app = app.create(conf, self.store, api_case.Planner(), 'storage')
        self.token = auth_token.AuthProtocol(_nothing, dict(oslo_config_config=conf))

    def run(self, rounds):
        """All figures, as the JSON has them."""
        self.fill()
        lists = [self.measure(name, *what, rounds) for name, what in LISTS.items()]
        token = statistics.median(_timed(lambda: self.ask(self.token, '/v1/hosts'))
                                  for _ in range(5 * rounds))
        return dict(
            what=f'seconds for a page of {PAGE}, and for {PLAIN} plain queries of as many rows',
            machine=dict(cores=os.cpu_count(), kernel=platform.release(),
                         python=platform.python_version()),
            database=self.engine.dialect.name, hosts=HOSTS, instances=INSTANCES,
            token=round(token, 6), lists=lists)

    def measure(self, name, what, path, rounds):
        """A page and the plain queries, in turn."""
        query = _columns(what).limit(PAGE)
        if name == 'moves':
            query = query.where(models.Move.recovery_id == BIG)
        text = str(query.compile(self.engine, compile_kwargs=dict(literal_binds=True)))
        page, plain = [], []
        with contextlib.closing(self.engine.raw_connection()) as connection:
            for round_ in range(rounds + 2):
                took = _timed(lambda: self.ask(self.app, f'{path}?limit={PAGE}'))
                ten = _timed(lambda: _plain(connection, text))
                if round_ >= 2:         # the first ones fill caches
                    page.append(took)
                    plain.append(ten)
        answer = self.ask(self.app, f'{path}?limit={PAGE}')
        entries = len(json.loads(answer)[name])
        if entries != PAGE:
            raise SystemExit(f'{path}: {entries} entries, not {PAGE}')
        page, plain = statistics.median(page), statistics.median(plain)
        return dict(list=name, page=round(page, 6), plain=round(plain, 6),
                    ratio=round(page / plain, 3), bytes=len(answer))

    @staticmethod
    def ask(application, target):
        """The body of an answer."""
        path, _, query = target.partition('?')
        status = []
        environ = {
            'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': path, 'QUERY_STRING': query,
            'SERVER_NAME': 'localhost', 'SERVER_PORT': '80', 'SERVER_PROTOCOL': 'HTTP/1.1',
            'HTTP_HOST': 'localhost', 'HTTP_X_AUTH_TOKEN': 'reader', 'wsgi.version': (1, 0),
            'wsgi.url_scheme': 'http', 'wsgi.input': io.BytesIO(), 'wsgi.errors': sys.stderr,
            'wsgi.multithread': True, 'wsgi.multiprocess': True, 'wsgi.run_once': False}
        body = b''.join(application(environ, lambda line, headers, exc=None: status.append(line)))
        if not status[0].startswith('200'):
            raise SystemExit(f'{target}: {status[0]} {body[:500]}')
        return body

    # -- the rows -------------------------------------------------------------------------------
    def fill(self):
        """A cloud, as the engine writes it down, and a long history."""
        term = self.store.take_lead('bench')
        written = snapshot.Snapshots(self.store)
        written.write_nodes(term, [snapshot.NodeRow(_node(n), 'rbd:vms', INSTANCES // HOSTS,
                                                    (n % 97) / 97) for n in range(HOSTS)])
        written.write_instances(term, [_instance(n) for n in range(INSTANCES)])
        written.write_info(term, model.Cluster(instances_at=NOW, nodes_at=NOW), NOW)
        written.write_capacity(term, [_capacity(n) for n in range(HOSTS)])
        recoveries = [f'{n:08}-0000-4000-8000-000000000001' for n in range(RECOVERIES)]
        with self.engine.begin() as connection:
            for table_, rows in (
                    (models.HostMark, [dict(host=_host(n), spare=n % 10 == 0, pool='gold',
                                            updated_at=NOW) for n in range(0, HOSTS, 2)]),
                    (models.NodeLoad, [dict(host=_host(n), cpu_share=n / HOSTS, cpu_share_at=NOW)
                                       for n in range(HOSTS)]),
                    (models.HostFailure, [_failure(n) for n in range(FAILURES)]),
                    (models.Recovery, [_recovery(BIG, 0)] + [
                        _recovery(r, n) for n, r in enumerate(recoveries)]),
                    (models.Move, [_move(BIG, n) for n in range(MOVES)]),
                    (models.Move, [_move(r, n) for r in recoveries for n in range(MOVES_EACH)]),
                    (models.Event, [_event(n) for n in range(EVENTS)])):
                connection.execute(sa.insert(table_), rows)


def _columns(what):
    """Select the columns that a list is made of, as they are."""
    found = {}                          # a dict, for its order
    for expression in what.shape.columns:
        for part in sa.sql.visitors.iterate(expression):
            if isinstance(part, sa.Column):
                found[part] = None
    return sa.select(*found).select_from(what.table if what.joined is None else what.joined)


def _nothing(_environ, start_response):
    start_response('200 OK', [])
    return [b'']


def _plain(connection, text):
    cursor = connection.cursor()
    for _ in range(PLAIN):
        cursor.execute(text)
        cursor.fetchall()
    cursor.close()
    connection.rollback()


def _timed(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _host(number):
    return f'compute{number:04}.example.org'


def _id(number):
    return f'{number:08x}-aaaa-4000-8000-{number:012x}'


def _node(number):
    return model.ComputeNode(
        host=_host(number), service_id=_id(number), provider_id=_id(number), up=True,
        enabled=number % 10 != 0, disabled_reason='' if number % 10 else 'vmha: spare node',
        zone=f'az{number % 3}', aggregates=(model.Aggregate('az', {'availability_zone': 'az'}),),
        traits=TRAITS, capacity={'VCPU': 256, 'MEMORY_MB': 524288, 'DISK_GB': 4000},
        used={'VCPU': 100, 'MEMORY_MB': 204800, 'DISK_GB': 1000}, has_room=True, usage_at=NOW,
        cores=64, address='10.0.0.1', cpu_share=0.25, cpu_share_at=NOW)


def _instance(number):
    return model.Instance(
        id=_id(number), name=f'vm-{number}', project_id=_id(number % 100), vm_state='active',
        host=_host(number % HOSTS), power_state=1, zone='az1', stamp='2026-03-01T12:00:00Z',
        needs={'VCPU': 2, 'MEMORY_MB': 4096, 'DISK_GB': 20}, volumes=(_id(number),))


def _capacity(number):
    return model.Capacity(
        host=_host(number), checked_at=NOW, instances=50, placeable=48, unplaced=1,
        unprotectable=1, fits=False, storage_fill=0.5, protection='storage',
        protection_reason='', spares=(_host(0), _host(10)), problems=tuple(
            dict(instance_id=_id(n), name=f'vm-{n}', left=False, reason='there is no room')
            for n in range(2)))


def _failure(number):
    return dict(
        host=_host(number % HOSTS), source='vmha-monitor', reason='no answer for 30 s',
        detected_at=NOW, received_at=NOW, evidence={'probe': 'lost', 'osds': 'down'},
        forced=False, state='accepted', detail='its heartbeat is gone', repeats=1,
        recovery_id=_id(number))


def _recovery(id_, number):
    at = NOW - datetime.timedelta(seconds=number)
    return dict(
        id=id_, host=_host(number), state='recovered', resume='', approved=False, wish='',
        reason='10 of 10 instances run elsewhere', reported_at=at, created_at=at, updated_at=at,
        ended_at=at, released_at=NOW if number % 2 else None)


def _move(recovery_id, number):
    return dict(
        recovery_id=recovery_id, instance_id=_id(number), name=f'vm-{number}', priority=50,
        project_id=_id(number % 100), position=number, state='moved', reason='', was='active',
        target=_host(number % 10), attempts=1, faults=0, tried=[_host(11)] if number % 9 else [],
        known=[_id(number)], intent_at=NOW, accepted_at=NOW, landed_at=NOW, ended_at=NOW)


def _event(number):
    return dict(at=NOW, last_at=NOW, level='info', kind='recovery', host=_host(number % HOSTS),
                recovery_id=_id(number), text='10 of 10 instances run elsewhere', repeats=0)


def table(result):
    """The figures for a person."""
    lines = [(f'{result["database"]}, {result["hosts"]} hosts, {result["instances"]} instances; '
              f'a page of {PAGE} entries beside {PLAIN} plain queries:')]
    lines += [f'{r["list"]:12} page {1000 * r["page"]:7.1f} ms   plain {1000 * r["plain"]:7.1f} '
              f'ms   ratio {r["ratio"]:5.2f}   {r["bytes"] / 1024:6.0f} KiB'
              for r in result['lists']]
    lines.append(f'in each page, to check the token: {1000 * result["token"]:.2f} ms')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
