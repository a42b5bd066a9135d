"""What Prometheus is shown is what the database holds and what has happened, and never late."""

import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

from prometheus_client import parser

from tests.unit import clock as clocks
from tests.unit import sim
from tests.unit import topology
from vmha_nova import cmd  # noqa: F401  before oslo.messaging: see there
from vmha_nova.db import models
from vmha_nova.db import snapshot
from vmha_nova.db import store
from vmha_nova.db import tallies
from vmha_nova import metrics
from vmha_nova import model

OPTIONAL = {'vmha_engine_last_write_age_seconds', 'vmha_snapshot_age_seconds',
            'vmha_storage_fill_max'}


def samples(body):
    """What an exposition says: {name: value}, or {name: {label's value: value}}."""
    found = {}
    for family in parser.text_string_to_metric_families(body.decode()):
        for one in family.samples:
            if one.labels:
                found.setdefault(one.name, {})[','.join(
                    v for _, v in sorted(one.labels.items()))] = one.value
            else:
                found[one.name] = one.value
    return found


class Base(unittest.TestCase):
    kind = metrics.EngineMetrics

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.clock = clocks.Clock(topology.NOW)
        self.store = store.Store(self.clock, connection=self.url(), sqlite_synchronous=False)
        self.store.upgrade()
        self.metrics = self.kind(self.store, self.clock)

    def url(self):
        return 'sqlite:///' + os.path.join(self.folder, 'db')

    def shown(self):
        return samples(self.metrics.exposition()[0])

    def assertShows(self, **wanted):
        shown = self.shown()
        self.assertEqual(wanted, {name: shown.get('vmha_' + name) for name in wanted} | {
            name: {k: v for k, v in shown['vmha_' + name].items() if k in values}
            for name, values in wanted.items() if isinstance(values, dict)})


class GaugesTest(Base):
    def capacity(self, host, **values):
        return model.Capacity(**dict(dict(
            host=host, checked_at=topology.NOW, instances=0, placeable=0, unplaced=0,
            unprotectable=0, fits=True, storage_fill=None, protection='storage',
            protection_reason='', spares=(), problems=()), **values))

    def write(self, nodes, capacities=(), cluster=None):
        term = self.store.take_lead('e')
        snapshots = snapshot.Snapshots(self.store)
        snapshots.write_nodes(term, [
            snapshot.NodeRow(snapshot.as_written(n), '', 0, 0.0) for n in nodes])
        snapshots.write_capacity(term, list(capacities))
        if cluster is not None:
            snapshots.write_info(term, cluster, self.clock())
        return term

    def test_before_any_engine(self):
        self.assertShows(
            up=1, recoveries={'held': 0, 'moving': 0, 'partial': 0}, moves={'failed': 0},
            failures={'new': 0}, recoveries_held=0, paused=0, hosts_unfit=0,
            hosts=dict(all=0, up=0, spare=0, maintenance=0, out=0, unfenced=0),
            instances_protected=0, instances_unprotectable=0, instances_unplaceable=0,
            notifications_waiting=0, notifications_oldest_age_seconds=0,
            **{name[5:]: None for name in OPTIONAL})
        self.assertEqual([1.0], list(self.shown()['vmha_build_info'].values()))

    def test_a_cloud(self):
        term = self.write(
            [topology.node('c1', 0.9), topology.node('c2'), topology.node('c3', up=False),
             topology.spare('s1', 0.25), topology.spare('s2', 0.5),
             topology.spare('s3', has_room=False), topology.spare('s4', up=False),
             topology.spare('s5'), topology.spare('s6')],
            [self.capacity('c1', instances=9, placeable=4, unplaced=3, unprotectable=2,
                           fits=False, storage_fill=0.7),
             self.capacity('c2', instances=5, placeable=5, storage_fill=0.9),
             self.capacity('c3', instances=7, placeable=6, unprotectable=1, protection='none'),
             self.capacity('s1', protection='none'),        # it is empty
             self.capacity('s5', instances=1, unplaced=1, protection='none')],
            topology.cluster([], instances_at=topology.ago(5), nodes_at=topology.ago(40)))
        for host in ('s1', 's2', 's3', 's4', 's5', 's6', 'unknown'):
            self.store.set_mark(host, spare=True)
        self.store.set_mark('s5', maintenance=True)
        report, _ = self.store.report_failure('s6', 'rack')
        self.store.open_recovery(term, report, 'dead')
        self.store.pause(True, 'works on the network', 'admin')
        self.clock.tick(3)
        self.assertShows(
            hosts=dict(all=9, up=7, spare=6, maintenance=1, out=1, unfenced=1), hosts_unfit=1,
            # Of c3 nothing is moved: it can write on.
            instances_protected=9, instances_unprotectable=3, instances_unplaceable=4,
            storage_fill_max=0.9, paused=1, snapshot_age_seconds=43,
            engine_last_write_age_seconds=3,
            # s1 and s2; s3 is full, s4 down, s5 in maintenance, s6 itself has failed.
            spare_capacity={'VCPU': 75 + 50, 'MEMORY_MB': 75000 + 50000, 'DISK_GB': 750 + 500},
            spare_size={'VCPU': 300, 'MEMORY_MB': 300_000, 'DISK_GB': 3000})

    def test_a_cloud_that_could_never_be_read_whole(self):
        self.write([], cluster=topology.cluster([], instances_at=None))
        self.assertShows(snapshot_age_seconds=float('inf'))

    def test_recoveries_and_what_waits_to_be_told(self):
        term = self.store.take_lead('e')
        ids = []
        for host in ('c1', 'c2', 'c3'):
            report, _ = self.store.report_failure(host, 'rack')
            ids.append(self.store.open_recovery(term, report, 'dead').id)
        self.store.report_failure('c4', 'rack')
        for ident in ids[:2]:
            self.store.set_recovery(term, ident, state='held', resume='confirmed')
        self.store.set_recovery(term, ids[2], state='recovered', released_at=self.clock())
        self.store.save_moves(term, ids[0], new=[
            dict(instance_id=str(n), state=state, tried=[], known=[])
            for n, state in enumerate(['moved', 'moved', 'failed', 'waiting'])])
        self.clock.tick(90)
        self.store.set_mark('c9', spare=True)
        self.assertShows(
            recoveries={'held': 2, 'recovered': 1, 'confirmed': 0}, recoveries_held=2,
            moves={'moved': 2, 'failed': 1, 'waiting': 1, 'accepted': 0},
            failures={'accepted': 3, 'new': 1}, hosts={'out': 2},
            notifications_waiting=len(self.store.outbox()), notifications_oldest_age_seconds=90)
        self.store.sent(term, [n.id for n in self.store.outbox()])
        self.assertShows(notifications_waiting=0, notifications_oldest_age_seconds=0)

    def test_few_queries_however_many_rows(self):
        term = self.store.take_lead('e')
        report, _ = self.store.report_failure('c1', 'rack')
        recovery = self.store.open_recovery(term, report, 'dead')
        self.store.save_moves(term, recovery.id, new=[
            dict(instance_id=str(n), state='waiting', tried=[], known=[]) for n in range(500)])
        statements = []
        with self.store.reading() as session:
            engine = session.connection().engine
        models.sa.event.listen(engine, 'before_cursor_execute',
                               lambda *args: statements.append(args[2]))
        tallies.read(self.store)
        selects = [s for s in statements if s.startswith('SELECT')]
        self.assertLess(len(selects), 15, selects)
        self.assertEqual(len(selects), len([s for s in statements if 'BEGIN' not in s]))


class AwayTest(Base):
    def assertDown(self):
        self.assertEqual({'vmha_up', 'vmha_build_info'}, {
            name for name in self.shown() if name.startswith('vmha_') and not name.startswith(
                ('vmha_recovery_', 'vmha_host_', 'vmha_move_'))})
        self.assertEqual(0, self.shown()['vmha_up'])

    def test_no_database(self):
        self.store.set_mark('c1', spare=True)
        os.rename(os.path.join(self.folder, 'db'), os.path.join(self.folder, 'gone'))
        self.store = store.Store(self.clock, max_retries=0, connection='sqlite:///' + os.path.join(
            self.folder, 'no', 'such', 'folder'))
        self.metrics = self.kind(self.store, self.clock)
        self.assertDown()

    def test_no_tables(self):
        os.unlink(os.path.join(self.folder, 'db'))
        self.metrics = self.kind(store.Store(self.clock, connection='sqlite:///' + os.path.join(
            self.folder, 'other')), self.clock)
        self.assertDown()

    def test_a_database_that_hangs_holds_up_one_thread_and_no_scrape(self):
        self.metrics._gauges._seconds = 0.2
        answers, begun, true = threading.Event(), [], self.store.reading

        def hangs():
            begun.append(1)
            answers.wait(30)
            return true()
        self.store.reading = hangs
        begin = time.monotonic()
        for _ in range(3):
            self.assertEqual(0, self.shown()['vmha_up'])
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(1, len(begun))
        answers.set()
        end = time.monotonic() + 10
        while not self.shown()['vmha_up'] and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(1, self.shown()['vmha_up'])

    def test_a_bug(self):
        with mock.patch.object(tallies, 'read', side_effect=KeyError('x')), \
                self.assertLogs(metrics.LOG, 'ERROR'):
            self.assertEqual(0, self.shown()['vmha_up'])
        self.assertEqual(1, self.shown()['vmha_up'])


class ObserveTest(Base):
    def observe(self):
        for note in self.store.outbox(10_000):
            self.metrics.observe(note)

    def phase(self, phase):
        """(how many, seconds in all) of a phase."""
        shown = self.shown()
        return (shown['vmha_recovery_phase_seconds_count'][phase],
                round(shown['vmha_recovery_phase_seconds_sum'][phase], 3))

    def test_zero_before_one(self):
        self.assertShows(move_changes_total={'failed': 0}, recovery_changes_total={'partial': 0},
                         host_reports_total={'dismissed': 0})
        self.assertEqual((0, 0), self.phase('active'))
        self.assertNotIn(b'_created', self.metrics.exposition()[0])

    def test_phases(self):
        term = self.store.take_lead('e')
        detected = self.clock()
        self.clock.tick(2)
        report, _ = self.store.report_failure('c1', 'rack', detected_at=detected)
        self.clock.tick(5)
        recovery = self.store.open_recovery(term, report, 'dead')
        self.clock.tick(0.5)
        self.store.set_recovery(term, recovery.id, state='held', resume='confirmed')
        self.store.set_recovery(term, recovery.id, state='confirmed')
        self.clock.tick(0.5)
        self.store.set_recovery(term, recovery.id, state='fenced')
        self.store.set_recovery(term, recovery.id, state='held', resume='fenced')
        self.clock.tick(100)
        self.store.set_recovery(term, recovery.id, state='fenced')      # not fenced twice
        self.store.save_moves(term, recovery.id, new=[
            dict(instance_id=i, state='waiting', tried=[], known=[]) for i in 'ab'])
        for move in self.store.moves(recovery.id):
            self.clock.tick(10)
            self.store.save_moves(term, recovery.id, changed={
                move.id: dict(state='sending', intent_at=self.clock())})
            self.store.save_moves(term, recovery.id, changed={
                move.id: dict(state='accepted', accepted_at=self.clock())})
        self.clock.tick(10)
        for move in self.store.moves(recovery.id):
            self.store.save_moves(term, recovery.id, changed={
                move.id: dict(state='moved', ended_at=self.clock())})
        self.clock.tick(3600)                   # sent long after
        self.observe()
        self.assertEqual((1, 7), self.phase('detect'))
        self.assertEqual((1, 1), self.phase('fence'))
        self.assertEqual((2, 116 + 126), self.phase('accept'))
        self.assertEqual((2, 136 + 136), self.phase('active'))
        self.assertShows(
            move_changes_total={'waiting': 2, 'sending': 2, 'accepted': 2, 'moved': 2},
            recovery_changes_total={'confirmed': 2, 'held': 2, 'fenced': 2},
            host_reports_total={'new': 1, 'accepted': 1})
        buckets = self.shown()['vmha_recovery_phase_seconds_bucket']
        self.assertEqual((0, 1), (buckets['5.0,detect'], buckets['7.5,detect']))

    def test_an_engine_that_began_in_the_midst_of_a_recovery(self):
        term = self.store.take_lead('e')
        report, _ = self.store.report_failure('c1', 'rack')
        recovery = self.store.open_recovery(term, report, 'dead')
        self.store.sent(term, [n.id for n in self.store.outbox()])
        self.clock.tick(30)
        self.store.save_moves(term, recovery.id, new=[
            dict(instance_id='a', state='moved', ended_at=self.clock(), tried=[], known=[])])
        self.observe()
        self.assertEqual((1, 30), self.phase('active'))

    def test_a_reporter_whose_clock_is_ahead(self):
        term = self.store.take_lead('e')
        report, _ = self.store.report_failure(
            'c1', 'rack', detected_at=self.clock() + datetime.timedelta(hours=1))
        self.store.open_recovery(term, report, 'dead')
        self.observe()
        self.assertEqual((1, 0), self.phase('detect'))

    def test_only_so_many_recoveries_are_remembered(self):
        for n in range(3 * metrics.KNOWN_RECOVERIES):
            self.metrics._know(str(n), self.clock())
        self.assertEqual(metrics.KNOWN_RECOVERIES, len(self.metrics._known))
        self.assertIn(str(n), self.metrics._known)

    def test_marks_and_nonsense(self):
        before = self.shown()
        self.store.set_mark('c1', spare=True)
        self.observe()
        self.store.sent(self.store.take_lead('e'), [n.id for n in self.store.outbox()])
        payloads = ({}, {'state': 'moved'}, {'state': 'moved', 'recovery_id': 'x',
                                             'ended_at': 'yesterday'})
        with self.assertLogs(metrics.LOG, 'ERROR') as logs:
            for kind in ('', 'x', 'vmha.new.thing', 'vmha.move.moved', 'vmha.recovery.fenced'):
                for payload in payloads:
                    self.metrics.observe(model.Note(1, self.clock(), kind, payload))
        self.assertGreater(len(logs.output), 10)
        after = self.shown()
        for name in ('vmha_recovery_phase_seconds_count', 'vmha_host_reports_total'):
            self.assertEqual(before[name], after[name])

    def test_what_is_told_of_the_cloud_as_a_whole_is_not_counted(self):
        with self.assertNoLogs(metrics.LOG):
            for verb in ('storm', 'calm', 'no_spare', 'spare_again'):
                self.metrics.observe(model.Note(1, self.clock(), f'vmha.cloud.{verb}', {}))

    def test_a_whole_recovery_of_the_real_engine(self):
        world = sim.World(os.path.join(self.folder, 'world'))
        world.nova.boot('c1', 3)
        world.settle()
        world.die('c1')
        world.run(world.over)
        shown = metrics.EngineMetrics(world.store, world.ours)
        for note in world.store.outbox(10_000):
            shown.observe(note)
        found = samples(shown.exposition()[0])
        moves, (recovery,) = world.moves().values(), world.store.recoveries()
        self.assertEqual({'detect': 1, 'fence': 1, 'accept': 3, 'active': 3},
                         found['vmha_recovery_phase_seconds_count'])
        for phase, at in (('accept', 'accepted_at'), ('active', 'ended_at')):
            self.assertAlmostEqual(
                sum((getattr(m, at) - recovery.reported_at).total_seconds() for m in moves),
                found['vmha_recovery_phase_seconds_sum'][phase])
        self.assertEqual(3, found['vmha_move_changes_total']['moved'])
        self.assertEqual(3, found['vmha_moves']['moved'])
        self.assertEqual(1, found['vmha_recoveries']['recovered'])


class RequestsTest(Base):
    kind = metrics.Metrics

    def test_routes_and_classes(self):
        for method, route, status in (
                ('GET', '/v1/hosts', 200), ('GET', '/v1/hosts', 204), ('GET', '/v1/hosts', 404),
                ('BREW', '', 405), ('POST', None, 503)):
            self.metrics.observe_request(method, route, status, 0.02)
        shown = self.shown()
        self.assertEqual(
            {'GET,/v1/hosts,2xx': 2, 'GET,/v1/hosts,4xx': 1, 'other,unknown,4xx': 1,
             'POST,unknown,5xx': 1}, shown['vmha_api_requests_total'])
        self.assertEqual(3, shown['vmha_api_request_seconds_count']['GET,/v1/hosts'])
        self.assertEqual(3, shown['vmha_api_request_seconds_bucket']['0.025,GET,/v1/hosts'])
        self.assertEqual(0, shown['vmha_api_request_seconds_bucket']['0.01,GET,/v1/hosts'])
        self.assertEqual(1, shown['vmha_up'])

    def test_what_is_escaped(self):
        self.metrics.observe_request('GET', '/v1/"\n\\', 200, 1)
        self.assertIn('GET,/v1/"\n\\,2xx', self.shown()['vmha_api_requests_total'])


class ProcessesTest(Base):
    """With PROMETHEUS_MULTIPROC_DIR, which the library reads when it is imported."""

    PROGRAM = '''
import json, sys
from tests.unit import clock, test_metrics, topology
from vmha_nova import metrics
from vmha_nova.db import store
now = clock.Clock(topology.NOW)
made = metrics.Metrics(store.Store(now, connection=sys.argv[1]), now)
made.observe_request('GET', '/v1/hosts', 200, 0.02)
print(json.dumps(test_metrics.samples(made.exposition()[0])))
'''

    def process(self, folder):
        return subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', self.PROGRAM, self.store.url],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, 'PROMETHEUS_MULTIPROC_DIR': folder})

    def test_any_process_shows_the_sum_of_all(self):
        self.store.set_mark('c1', spare=True)
        folder = os.path.join(self.folder, 'metrics')
        os.mkdir(folder)
        shown = []
        for _ in range(2):
            done = self.process(folder)
            self.assertEqual(('', 0), (done.stderr, done.returncode))
            shown.append(json.loads(done.stdout))
        self.assertEqual([{'GET,/v1/hosts,2xx': 1}, {'GET,/v1/hosts,2xx': 2}],
                         [s['vmha_api_requests_total'] for s in shown])
        self.assertEqual({'GET,/v1/hosts': 2}, shown[1]['vmha_api_request_seconds_count'])
        self.assertEqual([1, 1], [s['vmha_notifications_waiting'] for s in shown])

    def test_a_folder_that_is_not_there(self):
        done = self.process(os.path.join(self.folder, 'none'))
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr.splitlines()[-1],
                         'ConfigurationError: PROMETHEUS_MULTIPROC_DIR: there is no folder')


class FormatTest(Base):
    def test_the_same_in_openmetrics(self):
        """No family has the name of another one there, as x and x_total would have."""
        from prometheus_client.openmetrics import exposition
        from prometheus_client.openmetrics import parser as strict
        body = exposition.generate_latest(self.metrics.registry).decode()
        names = [f.name for f in strict.text_string_to_metric_families(body)]
        self.assertEqual(len(names), len(set(names)))

    def test_the_wrong_clock(self):
        """Ages are never below zero, also where the engine's clock is ahead of the API's."""
        self.store.take_lead('e')
        self.metrics = self.kind(self.store, lambda: topology.ago(60))
        self.assertShows(engine_last_write_age_seconds=0)

    def test_two_kinds(self):
        self.assertIsNone(self.shown().get('vmha_api_requests_total'))
        self.metrics = metrics.Metrics(self.store, self.clock)
        self.assertIsNone(self.shown().get('vmha_move_changes_total'))
        self.assertRaises(AttributeError, getattr, self.metrics, 'observe')
