"""What ``tests.lab.bench_scale`` measures, in a process whose memory is nobody else's.

usage: python -m tests.lab.scale_run engine|reader NOVA_URL DATABASE_URL NOTIFICATIONS

``engine`` does what vmha-engine does with a cloud, through the same objects, and writes it into
the database; ``reader`` does what the API does with that. Each prints JSON: seconds, unless a
key says something else.
"""

import contextlib
import dataclasses
import json
import resource
import statistics
import sys
import threading
import time
import types
import urllib.request

import futurist
import oslo_messaging
import sqlalchemy as sa

from tests.lab import bench_lists
from tests.lab import scale_cloud
from tests.unit import api_case
from tests.unit import fake_nova
from vmha_nova.api import app
from vmha_nova import capacity
from vmha_nova import clock
from vmha_nova import collector
from vmha_nova.conf import opts
from vmha_nova.db import models
from vmha_nova.db import snapshot
from vmha_nova.db import store
from vmha_nova.db import tallies
from vmha_nova import decide
from vmha_nova import disks
from vmha_nova import engine
from vmha_nova.fencing import none
from vmha_nova import marks
from vmha_nova import messaging
from vmha_nova import model
from vmha_nova import nova
from vmha_nova import recorder
from vmha_nova import service
from vmha_nova import storage

BACKEND = 'rbd:vms'
SAMPLES = 20                            # hosts that are taken for dead, and reports
CHANGED = 50                            # servers in one list of changes
PAGE = 50                               # entries of the first page of a list
EVENTS = ('instance.update', 'instance.power_off.end', 'instance.rebuild.end')


def main(arguments=None):
    """Measure and print."""
    what, *rest = arguments or sys.argv[1:]
    with contextlib.ExitStack() as stack:
        made = {'engine': Engine, 'reader': Reader}[what](stack, *rest)
        print(json.dumps(made.measure()))


class Timer:
    """How long the body took.

    :ivar s: seconds
    :ivar cpu_s: of them, what this process has worked
    """

    def __enter__(self):
        self._begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.s = round(time.perf_counter() - self._begun[0], 4)
        self.cpu_s = round(time.process_time() - self._begun[1], 4)

    def as_dict(self):
        """Both."""
        return dict(s=self.s, cpu_s=self.cpu_s)


def spread(values):
    """Median and maximum of some seconds."""
    return dict(median_s=round(statistics.median(values), 5), max_s=round(max(values), 5))


def peak_mb():
    """The most memory that this process has had resident."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def now_mb():
    """The memory it has resident."""
    with open('/proc/self/status', encoding='ascii') as stream:
        return round(next(int(line.split()[1]) for line in stream
                          if line.startswith('VmRSS')) / 1024, 1)


class Ceph:
    """What the monitors say: every instance's client is connected."""

    def __init__(self):
        self.connected = []

    @staticmethod
    def map():
        """Two pools and no OSD."""
        return model.StorageMap('fsid', 1, clock.wall(), pools={
            name: model.Pool(at, name, 3, 2) for at, name in enumerate(('vms', 'volumes'))})

    def clients(self):
        """Client -> user."""
        return dict.fromkeys(self.connected, 'client.nova')

    @staticmethod
    def ask(_what):
        """How full it is: there is none."""
        return {'nodes': []}


class Engine:
    """The storage, the collector, the recorder, the loop and the listener on one cloud."""

    def __init__(self, stack, nova_url, database, notifications):
        self.url, self.notifications = nova_url, int(notifications)
        self.began_mb = now_mb()
        self.store = store.Store(clock.wall, connection=database)
        self.store.upgrade()
        self.collector = collector.Collector(
            nova.Nova(fake_nova.make_session(nova_url)), clock.wall)
        self.policy = model.Policy()
        self.storage = storage.Storage(
            Ceph(), self.store, lambda: self.collector.snapshot, lambda _instance: {}, clock.wall,
            disks.Pools(('vms',), ('volumes',)), everywhere=BACKEND)
        pool = futurist.ThreadPoolExecutor(4)
        stack.callback(pool.shutdown)
        self.engine = engine.Engine(
            self.store, nova.Nova(fake_nova.make_session(nova_url)), self.collector,
            none.NoFence(True), self.storage, pool, clock.wall, 'bench', self.policy)
        self.recorder = recorder.Recorder(
            self.store, self.engine.lead, lambda: self.collector.snapshot, self.storage,
            self.policy, clock.wall)
        self.engine.take_lead()
        conf = opts.load([], '')
        conf.set_override('transport_url', 'fake://', 'notifications')
        conf.set_override('nova_transport_url', 'fake://', 'notifications')
        self.host_down, self.nova_tells = (server.dispatcher for server in messaging.Listeners(
            conf, self.store, self.collector, self.engine)._listeners)

    def measure(self):
        """All figures."""
        found = dict(
            full_refresh=self.called(self.collector.refresh),
            nodes_refresh=self.called(self.collector.refresh_nodes),
            services_refresh=self.called(self.collector.refresh_services))
        service.settle_memory()         # as the engine does then
        cloud = self.collector.snapshot
        found |= dict(hosts=len(cloud.nodes), instances=len(cloud.instances),
                      problems=list(cloud.problems))
        if not cloud.instances:
            raise SystemExit(f'nothing was read: {cloud.problems}')
        self._mark(cloud)
        found['write_all'] = self.written()
        found['memory'] = dict(start_mb=self.began_mb, read_and_written_mb=peak_mb())
        self._lab('change', CHANGED)
        found['delta_refresh'] = dict(
            self.called(self.collector.refresh_instances), changed=CHANGED, applied=sum(
                new is not cloud.instances[ident]
                for ident, new in self.collector.snapshot.instances.items()))
        found['write_delta'] = self._once(self.recorder.look)
        self._find_disks()
        found['disks_loaded'] = self._once(self.storage.load)
        service.settle_memory()
        found['storage_look'] = self._once(self.storage.look)
        found['storage_look_again'] = self._once(
            lambda: self.storage._look_at_disks(self.engine.term, self.collector.snapshot,
                                                clock.wall()))
        found |= self.decided()
        found['cycle'] = spread([self._timed(self.engine.cycle) for _ in range(5)])
        found['every_host_written'] = self.all_checked()
        found |= self.listened()
        found['second_full_refresh'] = self._again()
        found['memory'] |= dict(end_mb=now_mb(), peak_mb=peak_mb())
        return found

    # -- the cloud ----------------------------------------------------------------------------

    def _lab(self, what, body=None):
        """Tell the cloud something."""
        request = urllib.request.Request(f'{self.url}/lab/{what}', json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def called(self, look):
        """What a look at the cloud takes, and the calls it makes."""
        self._lab('calls')
        with Timer() as took:
            look()
        told = self._lab('calls')
        paths = [path for path, _query in told['calls']]
        return dict(took.as_dict(), calls=len(paths), page_size=told['page_size'],
                    by_path={path: paths.count(path) for path in sorted(set(paths))})

    def _again(self):
        """All servers, while the first list is held: what every full_interval brings."""
        with Timer() as took:
            self.collector._look_at_all()
        return dict(took.as_dict(), peak_mb=peak_mb())

    # -- the database -------------------------------------------------------------------------

    def _mark(self, cloud):
        for host, node in cloud.nodes.items():
            if node.disabled_reason == scale_cloud.SPARE_REASON:
                self.store.set_mark(host, spare=True, parked=True)

    def _find_disks(self):
        """Put on record what the storage would show of all instances."""
        cloud, now = self.collector.snapshot, clock.wall()
        instances = [i for i in cloud.instances.values() if i.host in cloud.nodes]
        with self.store.leading(self.engine.term) as session:
            for some in snapshot.batches(instances):
                clients = {i.id: scale_cloud.client(i.id, cloud.nodes[i.host].address)
                           for i in some}
                session.execute(sa.insert(models.StorageClient), [dict(
                    client=clients[i.id], host=i.host, user='client.nova', seen_at=now)
                    for i in some])
                session.execute(sa.insert(models.DiskRecord), [dict(
                    instance_id=i.id, host=i.host, stamp=i.stamp, problem='', strange=[],
                    backend=BACKEND if i.kept else '', elsewhere=[], seen_at=now,
                    images={f'vms/{i.id}_disk' if i.kept else f'volumes/volume-{i.volumes[0]}':
                            [clients[i.id]]}) for i in some])
        self.storage.ceph.connected = [
            scale_cloud.client(i.id, cloud.nodes[i.host].address) for i in instances]

    def written(self):
        """Everything is written down, and hosts are reported meanwhile."""
        waits, ended = [], threading.Event()

        def report():
            while not ended.wait(0.05):
                waits.append(self.reported(f'meanwhile-{len(waits)}'))
        reporter = threading.Thread(target=report)
        reporter.start()
        with Timer() as took:
            self.recorder.look()
        ended.set()
        reporter.join()
        rows = sum(map(len, (self.collector.snapshot.nodes, self.collector.snapshot.instances,
                             self.collector.snapshot.groups)))
        self._forget_reports()
        return dict(took.as_dict(), rows=rows, rows_per_s=round(rows / took.s),
                    report_meanwhile=dict(spread(waits or [0.0]), reports=len(waits)))

    def _forget_reports(self):
        for report in self.store.failures(open_only=True):
            self.store.set_failure(self.engine.term, report.id, 'dismissed', 'the bench')

    # -- what is decided ----------------------------------------------------------------------

    def decided(self):
        """Plans for one host, and what the death of each of all would mean."""
        cloud = self._cloud()
        hosts = sorted(h for h, ids in cloud.by_host.items() if ids)
        hosts = hosts[::max(1, len(hosts) // SAMPLES)][:SAMPLES]
        now, found = clock.wall(), {}
        for name, cluster in (
                ('decide_one', cloud),
                # Every node of the zone is a candidate then, and no two are alike.
                ('decide_one_without_spares', _without_spares(cloud))):
            times, placed, total = [], 0, 0
            for host in hosts:
                backed = self.storage.backed(cluster, host)
                with Timer() as took:
                    plan = decide.decide(backed, [model.Failed(host)], self.policy, now)
                times.append(took.s)
                total += len(plan.placements)
                placed += sum(bool(p.target) for p in plan.placements)
            found[name] = dict(spread(times), instances=total, placed=placed)
        with Timer() as took:
            checked = list(capacity.check(
                self.storage.foreseen(cloud), self.policy, now, self.storage.protections(cloud),
                self.storage.fills(cloud)))
        found['every_host'] = dict(took.as_dict(), hosts=len(checked),
                                   fit=sum(c.fits is True for c in checked))
        return found

    def _cloud(self):
        """As the engine's cycle sees it."""
        return self.storage.with_backends(marks.with_marks(
            self.collector.snapshot, self.store.marks(), clock.wall()))

    def all_checked(self):
        """The same, as the engine does it: a few hosts at a time, written down."""
        with Timer() as took:
            while self.recorder.look() == 0.0:
                pass
        return dict(took.as_dict(), hosts=len(self.store_capacities()))

    def store_capacities(self):
        """The hosts that are on record."""
        return snapshot.Snapshots(self.store).capacities()

    @staticmethod
    def _once(call):
        with Timer() as took:
            call()
        return took.as_dict()

    @staticmethod
    def _timed(call):
        with Timer() as took:
            call()
        return took.s

    # -- notifications ------------------------------------------------------------------------

    def reported(self, host):
        """Seconds that the listener takes for a report, until its row is there."""
        return self._timed(lambda: _tell(self.host_down, messaging.HOST_DOWN, messaging.host_down(
            host, 'bench', 'bench')))

    def listened(self):
        """Nova's notifications by the thousand; then reports, one after the other.

        They are given to the listener as the bus would, one at a time.
        """
        hosts, total = sorted(self.collector.snapshot.nodes), self.notifications
        self._tell_all(hosts, total // 10)              # fills caches
        before = now_mb()
        with Timer() as took:
            self._tell_all(hosts, total)
        grown = round(now_mb() - before, 1)
        quiet = [self.reported(f'quiet-{n}') for n in range(SAMPLES)]
        there = {r.host for r in self.store.failures(open_only=True)}
        if not there.issuperset(f'quiet-{n}' for n in range(SAMPLES)):
            raise SystemExit('a report has no row')
        self._forget_reports()
        loads = {n.host: (n.cpu_share, n.cpu_share_at)
                 for n in self.collector.snapshot.nodes.values() if n.cpu_share is not None}
        return dict(
            listener=dict(took.as_dict(), notifications=total, per_s=round(total / took.s),
                          measured=len(loads), grown_mb=grown),
            write_loads=self._once(lambda: self.store.save_loads(self.engine.term, loads)),
            report=dict(spread(quiet), reports=len(quiet)))

    def _tell_all(self, hosts, number):
        for at in range(number):
            _tell(self.nova_tells, *_notification(hosts[at % len(hosts)], at))


def _tell(dispatcher, event_type, payload):
    """Have a listener take a message, which comes as text."""
    text = json.dumps(dict(event_type=event_type, payload=payload, publisher_id='bench',
                           priority='INFO', message_id='bench', timestamp='bench'))
    if dispatcher.dispatch(types.SimpleNamespace(ctxt={}, message=json.loads(text))) != (
            oslo_messaging.NotificationResult.HANDLED):
        raise SystemExit(f'{event_type} was not taken')


def _without_spares(cloud):
    """The cloud with its spares forced down: no node of it is of any use but ordinary ones."""
    down = {h: dataclasses.replace(n, forced_down=True)
            for h, n in cloud.nodes.items() if n.spare}
    return dataclasses.replace(cloud, nodes={**cloud.nodes, **down})


def _notification(host, at):
    """(event type, payload) of one of the kinds that Nova sends."""
    kind = at % 5
    if kind == 0:
        return 'metrics.update', {'nova_object.data': {'host': host, 'metrics': [
            {'nova_object.data': {'name': 'cpu.percent', 'value': at % 90}}]}}
    if kind == 1:
        return 'service.update', {'nova_object.data': {
            'host': host, 'binary': 'nova-compute', 'forced_down': False}}
    return EVENTS[kind - 2], {'nova_object.data': {
        'uuid': scale_cloud.instance_id(at), 'host': host, 'state': 'active'}}


class Reader:
    """Who only reads: plans, the list of hosts, the metrics."""

    def __init__(self, stack, _nova_url, database, _notifications):
        self.store = store.Store(clock.wall, connection=database)
        conf = api_case.config(database)
        conf.set_override('driver', ['power'], 'fence')
        conf.set_override('hosts_backend', BACKEND, 'ceph')
        self.planner = service.make_planner(conf, self.store, clock.wall)
        tokens = api_case.tokens()
        stack.callback(tokens.cleanUp)
        self.app = app.create(conf, self.store, self.planner, 'power')

    def measure(self):
        """All figures."""
        hosts = [host for host, in self._hosts()]
        load = snapshot.Snapshots(self.store).load
        return dict(
            load=self._each(load, [[h] for h in hosts]),
            plan=self._each(self.planner.plan, [[h] for h in hosts]),
            first_page=self._each(self._ask, [f'/v1/hosts?limit={PAGE}'] * SAMPLES),
            page_of_1000=self._each(self._ask, ['/v1/hosts?limit=1000'] * SAMPLES),
            tallies=self._each(tallies.read, [self.store] * SAMPLES), peak_mb=peak_mb())

    def _hosts(self):
        """Some hosts with instances."""
        with self.store.reading() as session:
            return session.execute(sa.select(models.Node.host).where(
                models.Node.instances > 0).limit(SAMPLES // 4)).all()

    def _ask(self, target):
        return bench_lists.Bench.ask(self.app, target)

    @staticmethod
    def _each(call, arguments):
        """How long a call takes, once it was made."""
        call(arguments[0])
        times = []
        for argument in arguments:
            with Timer() as took:
                call(argument)
            times.append(took.s)
        return spread(times)


if __name__ == '__main__':
    sys.exit(main())
