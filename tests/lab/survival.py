"""Recoveries of four servers one after the other, and something goes wrong in the middle of each.

>>> ground = Ground(lab)
>>> ground.begin()
>>> ground.case()                                           # without a fault
>>> ground.case(faults.FAULTS['rabbitmq'], faults.moment('rabbitmq', 0, 1))
>>> ground.end()

A case is a dict, as JSON has it; what is not as it must be is in its ``problems``. compute1 dies,
compute4 is the spare; at the end the service itself takes compute1 back.
"""

import contextlib
import datetime
import threading
import time

from tests.lab import cases
from tests.lab.common import LabError
from tests.lab.common import wait_until
from tests.lab import fault_proxy
from tests.lab import faults
from tests.lab import fresh
from tests.lab import vmha
from tests.lab import watch
from vmha_nova import exception
from vmha_nova import homecoming
from vmha_nova import marks

SOURCE, SPARE = 'compute1', 'compute4'
SERVERS, STOPPED = 4, 1
ENGINES = vmha.ENGINE, f'{vmha.ENGINE}-2'
SLOW = 7.0                              # seconds that Keystone takes then
FINISHED, BROKEN = ('done', 'completed'), ('failed', 'error', 'cancelled')
_OVER = 300                             # seconds: a recovery, with anything in its way
_BACK = 90                              # and until its host is in service again
_LOOK = 0.02                            # between looks for a moment
SETTINGS = {
    # Longer than Nova's own patience in the lab, 20 s; what Nova has lost is named after this.
    'recovery.quiet_period': 25, 'recovery.move_timeout': 120,
    # The host fails again and again here, and that is no reason to wait.
    'return.stable_for': 3, 'return.flap_window': 0, 'storm.max_rate': 0,
}


class Ground:
    """A lab with Nova's fake hypervisor, and the service beside it, its database in MariaDB.

    :param settings: of the service, besides SETTINGS: {'group.option': value}
    :ivar without: seconds that the last recovery without a fault has taken, None before
    """

    def __init__(self, lab, progress=lambda text: None, settings=None):
        self.lab, self.progress = lab, progress
        self.settings = {**SETTINGS, **(settings or {})}
        self.cloud = lab.cloud()
        self.vmha = vmha.Vmha(lab)
        self.nova = self.keystone = self.store = None
        self.without = None
        self._ready = None              # for (so many engines, calls through the proxies or not)
        self._killed = None             # the engine that was

    # -- before and after -----------------------------------------------------------------------
    def begin(self):
        """Set up the proxies that some faults take. Whoever calls this calls `end`."""
        urls = self.lab.urls
        self.nova = fault_proxy.FaultProxy(urls['compute_url'])
        self.keystone = fault_proxy.FaultProxy(urls['auth_url'])
        fault_proxy.lead(self.lab, self.nova.url)

    def end(self):
        """Leave the lab as it came up."""
        self._kill_engines()
        fresh.clear(self.lab)
        fault_proxy.lead(self.lab)
        for proxy in (self.nova, self.keystone):
            proxy.close()

    def _clean(self, engines, proxied):
        """Begin anew: no rows, no servers, all in service, new engines."""
        self._kill_engines()
        fresh.clear(self.lab)
        settings = {**self.settings,
                    'coordination.backend_url': f'file://{self.lab.state.data}/vmha-locks'}
        if proxied:
            settings['service_credentials.auth_url'] = f'{self.keystone.url}/v3'
            settings['service_credentials.interface'] = 'admin'
        self.vmha.configure(settings, 'mariadb')
        self.store = self.vmha.store()
        fresh.forget_rows(self.lab.urls['vmha_database_url'])
        self.store.upgrade()
        self.store.set_mark(SPARE, spare=True)
        for name, until in zip(ENGINES[:engines], ('leads', 'waits'), strict=False):
            self.vmha.start_engine(name=name, until=until)

    def _kill_engines(self):
        for name in ENGINES:
            with contextlib.suppress(LabError):     # never started
                self.vmha.kill_engine(name)

    # -- one case -------------------------------------------------------------------------------
    def case(self, fault=None, moment=None):
        """One recovery; returns what is said of it, as JSON has it.

        :raises LabError: the lab itself is not as it should be
        """
        kind = (fault.engines, not fault.service) if fault else (1, False)
        if self._ready != kind:
            self._clean(*kind)
        self._ready = None              # whatever comes: what ends well says so
        found = Case(self, fault, moment).run()
        if fault is None and not found['problems']:
            self.without = found['seconds']
        if not found['problems'] and not found['named']:
            self.cloud.delete_all()
            self._ready = kind
        return found

    def strike(self, fault):
        """Have it go wrong."""
        if fault.service in (faults.LEADER, faults.FOLLOWER):
            leads = fault.service == faults.LEADER
            self._killed, = [name for name in ENGINES[:fault.engines]
                             if self.vmha.leads(name) == leads]
            self.vmha.kill_engine(self._killed)
        elif fault.service:
            self.lab.kill(fault.service)
        else:
            self.nova.fail(None, 'expired token')

    def heal(self, fault):
        """Start again what was killed; a service of the lab serves when this returns."""
        if fault.service in (faults.LEADER, faults.FOLLOWER):
            self.vmha.start_engine(name=self._killed, until=None)
        elif fault.service:
            self.lab.start(fault.service)


class Case:
    """One recovery on a Ground; see there."""

    def __init__(self, ground, fault, moment):
        self.ground, self.fault, self.moment = ground, fault, moment
        self.cloud, self.store, self.lab = ground.cloud, ground.store, ground.lab
        self.problems = []

    def run(self):
        """What is said of it."""
        before = {s['id']: s['status'] for s in self.cloud.boot(SOURCE, SERVERS, STOPPED)}
        earlier = {r.id for r in self.store.recoveries()}
        term = self.store.leader().term
        slow = self.fault is not None and not self.fault.service
        self.ground.keystone.delay = SLOW if slow else 0.0
        said = [vmha.follow(self.lab.log / f'{name}.log') for name in ENGINES]
        self.lab.kill_host(SOURCE)
        begin = time.monotonic()
        self.ground.vmha.publish_host_down(SOURCE, 'power cord pulled', 'test')
        with Observer(self.ground.vmha.store(), earlier) as observer:
            struck = self._strike(earlier, begin) if self.fault else {}
            try:
                wait_until('the recovery is over', lambda: observer.over, _OVER)
            except LabError as error:
                self.problems.append(str(error))
        self.ground.keystone.delay = 0.0
        self.ground.nova.heal()
        recovery = observer.rows.recovery
        servers = self._verify(before, recovery)
        self._verify_return(recovery)
        took = recovery and recovery.ended_at and (
            recovery.ended_at - recovery.reported_at).total_seconds()
        return {
            'fault': self.fault.name if self.fault else '', **struck, **servers,
            'state': recovery.state if recovery else '',
            'seen': cases.troubles(observer.changes, ''.join(log() for log in said)),
            'terms': self.store.leader().term - term,
            'seconds': took and round(took, 1), 'seconds_without_fault': self.ground.without,
            'problems': self.problems}

    def _strike(self, earlier, begin):
        """Wait for the moment, have it go wrong, and heal it; returns when that was."""
        passed = faults.MARKS[self.moment.mark]
        wait_until(self.moment.mark, lambda: passed(self._progress(earlier)), _OVER, _LOOK)
        time.sleep(self.moment.delay)
        at = time.monotonic()
        where = self._progress(earlier)
        self.ground.strike(self.fault)
        time.sleep(self.fault.away)
        self.ground.heal(self.fault)
        return {'moment': str(self.moment), 'at': round(at - begin, 1), 'where': _words(where),
                'away': round(time.monotonic() - at, 1)}

    def _progress(self, earlier):
        failures = self.store.failures(open_only=True)
        recoveries = [r for r in self.store.recoveries() if r.id not in earlier]
        if not recoveries:
            return faults.Progress(failures[-1] if failures else None)
        own = recoveries[-1]
        return faults.Progress(self.store.report_of(own.id), own, self.store.steps(own.id),
                               self.store.moves(own.id))

    # -- the invariants -------------------------------------------------------------------------
    def _verify(self, before, recovery):
        """Nova is the witness: every server elsewhere as it was, or named; none twice."""
        rows = {m.instance_id: m for m in self.store.moves(recovery.id)} if recovery else {}
        now = {s['id']: s for s in self.cloud.servers()}
        records = self.cloud.migrations(SOURCE, migration_type='evacuation')
        recovered, named, lost, doubled = 0, {}, [], []
        for ident, status in before.items():
            mine = [r['status'] for r in records if r['instance_uuid'] == ident]
            move, server = rows.get(ident), now.get(ident)
            if twice(mine, move.attempts if move else 0):
                doubled.append(f'{ident}: {mine}, {move}')
            if move is not None and move.state in ('failed', 'left') and move.reason:
                named[ident] = move.reason
            elif server is not None and move is not None and move.state == 'moved' and (
                    watch.is_home(server, {'status': status}, SOURCE)) and (
                    server['OS-EXT-SRV-ATTR:host'] == move.target):
                recovered += 1
            else:
                lost.append(f'{ident}, was {status}: {_shown(server)}; {move}')
        self.problems += [f'lost: {one}' for one in lost]
        self.problems += [f'evacuated twice: {one}' for one in doubled]
        return {'servers': len(before), 'recovered': recovered, 'named': sorted(named.values()),
                'lost': len(lost), 'doubled': len(doubled)}

    def _verify_return(self, recovery):
        """What is out of service is so by this service, and it takes it back into service."""
        self._verify_owned(recovery)
        if not self.lab.alive(SOURCE):
            self.lab.start_host(SOURCE)
        begun = datetime.datetime.now(datetime.timezone.utc)
        try:
            wait_until('the host in service again, or why not', lambda: self._back(begun), _BACK,
                       0.5)
        except LabError as error:
            self.problems.append(f'{error}: {self._services()}')
        self._verify_owned(recovery)

    def _back(self, since):
        """Whether both hosts are as before the failure, or the service says what it waits for."""
        found = self._services()
        return (not found[SOURCE]['forced_down'] and found[SOURCE]['status'] == 'enabled'
                and found[SOURCE]['state'] == 'up' and found[SPARE]['status'] == 'disabled'
                ) or any(e.kind == 'out' and e.last_at >= since and 'stays out' in e.text
                         and 'heartbeats again' not in e.text for e in self.store.events())

    def _services(self):
        return {s['host']: s for s in self.cloud.services('nova-compute')}

    def _verify_owned(self, recovery):
        forced = {host for host in self.lab.hosts if homecoming.forced_by_us(
            self.store.steps(kind=('force_down', 'force_up'), subject=host))}
        parked = {m.host for m in self.store.marks().values() if m.parked}
        own = f'{homecoming.DISABLED}{recovery.id}' if recovery else ''
        for host, service in self._services().items():
            if service['forced_down'] and host not in forced:
                self.problems.append(f'{host} is forced down, and nobody owns that')
            reason = service['disabled_reason']
            if service['status'] == 'disabled' and reason != own and not (
                    reason == marks.SPARE_REASON and host in parked):
                self.problems.append(f'{host} is disabled ({reason}), and nobody owns that')


class Observer:
    """Within, what the service notes is read all the time; the database may be away meanwhile.

    :ivar over: whether the recovery is
    :ivar changes: watch.Changes
    """

    def __init__(self, store, earlier):
        self.rows = watch.Rows(store, SOURCE, datetime.datetime.now(datetime.timezone.utc))
        self.changes, self.over = [], False
        self._earlier = earlier
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(60)

    def _run(self):
        while not self._end.wait(0.1):
            with contextlib.suppress(exception.StoreUnavailable):
                found = self.rows.look()
                if self.rows.recovery is None or self.rows.recovery.id in self._earlier:
                    continue
                self.changes += [c for c in found if c.at >= self.rows.since]
                self.over = self.rows.over


def twice(statuses, attempts):
    """Whether Nova has evacuated a server twice: more than one that worked, or runs, or more
    than are known of.

    :param statuses: of Nova's evacuation records
    :param attempts: calls that the service knows to have been accepted; one may be uncounted
    """
    return sum(s not in BROKEN for s in statuses) > 1 or len(statuses) > max(1, attempts)


def _shown(server):
    return 'Nova does not list it' if server is None else (
        f'{server["status"]}, {server["OS-EXT-STS:task_state"]}, '
        f'on {server["OS-EXT-SRV-ATTR:host"]}')


def _words(now):
    """How far it had come, for people."""
    if now.recovery is None:
        return f'the report is {now.report.state}' if now.report else 'not on record yet'
    moved = sum(m.state == 'moved' for m in now.moves)
    return f'{now.recovery.state}, {moved} of {len(now.moves)} moved'
