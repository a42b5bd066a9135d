"""What Prometheus is shown: gauges of the database, times of recoveries, requests of the API.

The gauges are read when somebody asks, so the engine and the API show the same; what a process
has counted itself begins anew with it. Nothing here names an instance, a host or a user.
"""

import concurrent.futures
import contextlib
import datetime
import http.server
import logging
import os
import socket
import socketserver
import sys
import threading

import prometheus_client
from prometheus_client import core
from prometheus_client import multiprocess

from vmha_nova.db import tallies
from vmha_nova import exception
from vmha_nova import states
from vmha_nova import version

LOG = logging.getLogger(__name__)
READ_SECONDS = 5.0          # Prometheus gives up after 10 s; a database that hangs does not
BIND_AGAIN = 5.0            # seconds until a port that is taken is tried again
CLIENT_SECONDS = 10         # for a client to say what it wants
CLIENTS = 8                 # at a time
KNOWN_RECOVERIES = 100
# Upper bounds in seconds, for what takes from a tenth of a second to half an hour.
PHASES = (.1, .25, .5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800)
REQUESTS = (.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
METHODS = frozenset({'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'})


class _Gauges:
    """Collects the database. One that does not answer is down, and holds nobody up."""

    def __init__(self, store, clock, seconds=READ_SECONDS):
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._version = version.version()
        self._lock = threading.Lock()
        self._asking = None                     # a future, until the database has answered

    def collect(self):
        """The families; only vmha_up and vmha_build_info while the database is away."""
        found = self._read()
        build = core.GaugeMetricFamily(
            'vmha_build_info', 'The version that runs, as a label.', labels=['version'])
        build.add_metric([self._version], 1)
        yield build
        yield core.GaugeMetricFamily(
            'vmha_up', '1: the database answers; 0: what else there is to know is missing.',
            value=float(found is not None))
        if found is not None:
            yield from _families(found, self._clock())

    def _read(self):
        """The Tallies, None where they do not come in time. Only one thread asks at a time."""
        with self._lock:
            asking = self._asking
            if asking is None:
                asking = self._asking = concurrent.futures.Future()
                threading.Thread(target=self._ask, args=(asking,), name='metrics',
                                 daemon=True).start()
        try:
            return asking.result(self._seconds)
        except TimeoutError:
            return None

    def _ask(self, asking):
        found = None
        try:
            found = tallies.read(self._store)
        except exception.StoreUnavailable as e:
            LOG.debug('no metrics: %s', e)      # whoever works with it says so
        except Exception:
            LOG.exception('no metrics: internal error')
        with self._lock:
            self._asking = None
        asking.set_result(found)


def _families(found, now):
    """The gauges of Tallies."""
    def gauge(name, text, value):
        return core.GaugeMetricFamily(f'vmha_{name}', text, value=value)

    def gauges(name, text, label, values):
        family = core.GaugeMetricFamily(f'vmha_{name}', text, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)
        return family

    def every(table, counts):
        return {state: counts.get(state, 0) for state in table}

    def age(at):
        return max((now - at).total_seconds(), 0.0)

    yield gauges('recoveries', 'Recoveries on record, by state.', 'state',
                 every(states.RECOVERY, found.recoveries))
    yield gauge('recoveries_held', 'Recoveries that wait for something or for an operator.',
                found.recoveries.get('held', 0))
    yield gauges('moves', "Instances' moves on record, by state.", 'state',
                 every(states.MOVE, found.moves))
    yield gauges('failures', 'Reports of hosts that are down on record, by state.', 'state',
                 every(states.FAILURE, found.failures))
    yield gauges('hosts', 'Compute nodes: all; that are up; marked as spare; in maintenance; out, '
                 'which are those of recoveries that are not in service again; unfenced, which '
                 'hold instances and nothing keeps from writing once they are dead, without those '
                 'in maintenance.', 'kind', found.hosts)
    yield gauge('hosts_unfit', 'Hosts whose death does not fit: instances would wait, or the '
                'storage would fill up.', found.unfit)
    for kind, text in (
            ('protected', 'Instances that would run elsewhere after the death of their host.'),
            ('unprotectable', 'Instances that would be left alone.'),
            ('unplaceable', 'Instances for which there is no room, or something is unknown.')):
        yield gauge(f'instances_{kind}', text, found.instances[kind])
    yield gauges('spare_capacity', 'What is free on spares that are up, in units of Placement.',
                 'resource', found.spare_free)
    yield gauges('spare_size', 'What there is on these spares, free or not.', 'resource',
                 found.spare_size)
    if found.storage_fill is not None:
        yield gauge('storage_fill_max', 'How full the storage would be, as a fraction, without '
                    'the disks of the host whose death would be worst.', found.storage_fill)
    yield gauge('paused', '1: an operator has stopped new recoveries.', float(found.paused))
    if found.engine_at is not None:
        yield gauge('engine_last_write_age_seconds', 'Since the leading engine has last written: '
                    'seconds while one is there.', age(found.engine_at))
    if found.snapshot:
        yield gauge('snapshot_age_seconds', 'Since the engine has last read the cloud with '
                    'success; infinite where it never could.',
                    float('inf') if found.snapshot_at is None else age(found.snapshot_at))
    yield gauge('notifications_waiting', 'Notifications that are still to be sent.', found.notes)
    yield gauge('notifications_oldest_age_seconds', 'For how long the oldest of them has waited.',
                0.0 if found.note_at is None else age(found.note_at))


class _Plain:
    """A registry without the times at which each series was begun: twice as many lines."""

    def __init__(self, registry):
        self._registry = registry

    def collect(self):
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith('_created')]
            yield family


class _Exposed:
    """What the processes have in common: ``store`` is read, ``clock`` returns aware UTC.

    :raises ConfigurationError: PROMETHEUS_MULTIPROC_DIR is no folder
    """

    def __init__(self, store, clock):
        # Where several processes answer, each shows the sums of all, from files in this folder;
        # prometheus_client has read the name already when it was imported.
        self._folder = os.environ.get('PROMETHEUS_MULTIPROC_DIR')
        if self._folder is not None and not os.path.isdir(self._folder):
            raise exception.ConfigurationError(
                f'PROMETHEUS_MULTIPROC_DIR: there is no folder {self._folder!r}: have it made, '
                'empty, before the processes start')
        self.registry = prometheus_client.CollectorRegistry()
        self._gauges = _Gauges(store, clock)
        if self._folder is None:
            self.registry.register(self._gauges)

    def exposition(self):
        """Everything there is, in the text format: (bytes, content type)."""
        registry = self.registry
        if self._folder is not None:
            registry = prometheus_client.CollectorRegistry()
            registry.register(self._gauges)
            multiprocess.MultiProcessCollector(registry, self._folder)
        return prometheus_client.generate_latest(
            _Plain(registry)), prometheus_client.CONTENT_TYPE_LATEST


class Metrics(_Exposed):
    """What the API shows."""

    def __init__(self, store, clock):
        super().__init__(store, clock)
        self._requests = prometheus_client.Counter(
            'vmha_api_requests', 'Requests answered, by the class of the status: 2xx, ….',
            ['method', 'route', 'status'], registry=self.registry)
        self._seconds = prometheus_client.Histogram(
            'vmha_api_request_seconds', 'How long requests took.', ['method', 'route'],
            buckets=REQUESTS, registry=self.registry)

    def observe_request(self, method, route, status, seconds):
        """Count a request. ``route`` is the template of its path, '' or None where there is none.

        What a client makes up does not become a label: neither paths nor methods.
        """
        method = method if method in METHODS else 'other'
        route = route or 'unknown'
        self._requests.labels(method, route, f'{int(status) // 100}xx').inc()
        self._seconds.labels(method, route).observe(seconds)


class _Port:
    """Shows ``exposition()`` on a port of the process's own."""

    def __init__(self):
        self._serving = None
        self._stop = threading.Event()

    def serve(self, address, port):
        """Answer GET /metrics in threads until stop(); returns at once.

        A port that is taken is tried again, as the process is of use without it.
        """
        self._serving = threading.Thread(target=self._serve, args=(address, port),
                                         name='metrics-port', daemon=True)
        self._serving.start()

    def stop(self):
        """Listen no more."""
        self._stop.set()
        if self._serving is not None:
            self._serving.join(2 * _Server.timeout)

    def _serve(self, address, port):
        said = ''
        while not self._stop.is_set():
            try:
                server = _Server(address, port, self.exposition)
            except OSError as e:
                if said != str(e):
                    LOG.error('[metrics] listen %s, port %d: %s; tried again until it works',
                              address, port, e)
                said = str(e)
                self._stop.wait(BIND_AGAIN)
                continue
            with server:
                LOG.info('metrics are on %s, port %d', *server.server_address[:2])
                while not self._stop.is_set():
                    server.handle_request()


class MonitorMetrics(_Port):
    """What the monitor shows."""

    def __init__(self, verdicts):
        super().__init__()
        self.registry = prometheus_client.CollectorRegistry()
        build = prometheus_client.Gauge(
            'vmha_build_info', 'The version that runs, as a label.', ['version'],
            registry=self.registry)
        build.labels(version.version()).set(1)
        self._verdicts = prometheus_client.Gauge(
            'vmha_monitor_hosts', 'Hosts that the monitor watches, by its verdict.', ['verdict'],
            registry=self.registry)
        self._words = tuple(verdicts)
        self.count({})
        self.cut_off = self._gauge(
            'cut_off', '1: the monitor takes itself for cut off, and says nothing of any host.')
        self.leads = self._gauge('leads', '1: this monitor reports what it sees; 0: another one.')
        self.last_round = self._gauge(
            'last_round_timestamp_seconds', 'When a host was last connected to: seconds since '
            '1970; 0: never.')
        self.waiting = self._gauge(
            'reports_waiting', 'Hosts reported down that the engine has not taken yet.')
        self.reports_sent, self.reports_failed = (
            prometheus_client.Counter(f'vmha_monitor_reports_{name}', text,
                                      registry=self.registry)
            for name, text in (
                ('sent', 'Reports of hosts that are down, repeated ones included.'),
                ('failed', 'Reports that the message bus did not take; they are repeated.')))

    def _gauge(self, name, text):
        return prometheus_client.Gauge(f'vmha_monitor_{name}', text, registry=self.registry)

    def count(self, verdicts):
        """Show how many hosts are of which verdict: word -> number; those not there are 0."""
        for word in self._words:
            self._verdicts.labels(word).set(verdicts.get(word, 0))

    def exposition(self):
        """Everything there is, in the text format: (bytes, content type)."""
        return prometheus_client.generate_latest(
            _Plain(self.registry)), prometheus_client.CONTENT_TYPE_LATEST


class EngineMetrics(_Exposed, _Port):
    """What the engine shows: the times and counts of the notifications that it sends as well."""

    def __init__(self, store, clock):
        _Exposed.__init__(self, store, clock)
        _Port.__init__(self)
        self._store = store
        self._known = {}                        # recovery id -> (reported_at, phases observed)
        self._phases = prometheus_client.Histogram(
            'vmha_recovery_phase_seconds',
            'detect: from when a host was seen to be down to the opening of a recovery; fence: '
            'from there until it could not write any more; accept, active: from the report until '
            'Nova took the evacuation of an instance, and until that was over, per instance.',
            ['phase'], buckets=PHASES, registry=self.registry)
        for phase in ('detect', 'fence', 'accept', 'active'):
            self._phases.labels(phase)
        # Other names than those of the gauges: OpenMetrics takes x and x_total for one thing.
        self._counters = {
            noun: self._counter(name, text, table) for noun, name, text, table in (
                ('host', 'host_reports', 'Reports of hosts that came into a state.',
                 states.FAILURE),
                ('recovery', 'recovery_changes', 'Recoveries that came into a state.',
                 states.RECOVERY),
                ('move', 'move_changes', "Instances' moves that came into a state.",
                 states.MOVE))}

    def _counter(self, name, text, table):
        counter = prometheus_client.Counter(
            f'vmha_{name}', text, ['state'], registry=self.registry)
        for state in table:
            counter.labels(state)               # a rate needs the zero before the one
        return counter

    def observe(self, note):
        """Count a notification (model.Note). Its times are the database's; never raises."""
        try:
            _vmha, noun, verb = note.event_type.split('.')
            if noun == 'cloud' or noun == 'host' and verb in ('updated', 'released', 'verdict'):
                return
            self._counters[noun].labels(note.payload['state']).inc()
            getattr(self, f'_on_{noun}')(note)
        except Exception:
            LOG.exception('%s does not count', note.event_type)

    def _on_host(self, note):
        if note.event_type == 'vmha.host.accepted':
            self._took('detect', note.payload['detected_at'], note.at)

    def _on_recovery(self, note):
        one = note.payload
        known = self._know(one['id'], one['reported_at'])
        # One that was held after the fence comes back to it.
        if one['state'] == 'fenced' and 'fence' not in known[1]:
            known[1].add('fence')
            self._took('fence', one['created_at'], one['updated_at'])

    def _on_move(self, note):
        one = note.payload
        if one['state'] == 'accepted':
            self._took('accept', self._reported_at(one['recovery_id']), one['accepted_at'])
        elif one['state'] == 'moved':
            self._took('active', self._reported_at(one['recovery_id']), one['ended_at'])

    def _know(self, recovery_id, reported_at):
        if recovery_id not in self._known:
            while len(self._known) >= KNOWN_RECOVERIES:
                del self._known[next(iter(self._known))]
            self._known[recovery_id] = reported_at, set()
        return self._known[recovery_id]

    def _reported_at(self, recovery_id):
        if recovery_id not in self._known:      # this engine has begun in its midst
            with contextlib.suppress(exception.NotFound, exception.StoreUnavailable):
                self._know(recovery_id, self._store.recovery(recovery_id).reported_at)
        return self._known.get(recovery_id, (None,))[0]

    def _took(self, phase, begin, end):
        begin, end = _time(begin), _time(end)
        if begin is not None and end is not None:
            # The clock of whoever has seen the host die may be ahead of ours.
            self._phases.labels(phase).observe(max((end - begin).total_seconds(), 0.0))


def _time(value):
    """A time of a payload (ISO text) or of a row."""
    return datetime.datetime.fromisoformat(value) if isinstance(value, str) else value


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET /metrics."""

    timeout = CLIENT_SECONDS
    server_version, sys_version = 'vmha', ''

    def do_GET(self):
        """Answer; HEAD is not for this."""
        if self.path.partition('?')[0] != '/metrics':
            self.send_error(404, 'here is only /metrics')
            return
        body, content_type = self.server.exposition()
        self.send_response(200)
        self.send_header('Content-Type', content_type)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Say nothing: it would be a line every few seconds."""


class _Server(socketserver.ThreadingTCPServer):
    """Answers a few clients at a time; who comes when these are there is sent away."""

    allow_reuse_address = daemon_threads = True
    timeout = 0.5                               # seconds that handle_request waits for a client

    def __init__(self, address, port, exposition):
        self.exposition = exposition
        self._places = threading.BoundedSemaphore(CLIENTS)
        self.address_family = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        super().__init__((address, port), _Handler)

    def process_request(self, request, client_address):
        """Start a thread for a client, if there is a place."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        """A client's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request, client_address):
        """A client that goes away in the middle is nothing to speak of."""
        error = sys.exc_info()[1]
        LOG.log(logging.DEBUG if isinstance(error, OSError) else logging.ERROR,
                'metrics for %s: %r', client_address[0], error)
