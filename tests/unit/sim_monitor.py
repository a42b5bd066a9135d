"""A cloud for the monitor, in virtual time: hosts that are killed, cut off, and lose packets.

The monitor's own loop runs on it; what is simulated is what it looks at.
"""

import collections
import dataclasses
import datetime
import heapq
import itertools
import random

from vmha_nova import exception
from vmha_nova import metrics
from vmha_nova.monitor import channels as c
from vmha_nova.monitor import looks
from vmha_nova.monitor import probe
from vmha_nova.monitor import reporter
from vmha_nova.monitor import service
from vmha_nova.monitor import verdict

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
NETWORKS = (c.MANAGEMENT, c.STORAGE)
BEAT = 10.0                 # Nova's report_interval
KILLED_SEEN, SILENT_SEEN = 0.8, 23.5    # until Ceph has an OSD down that refuses, or is silent
RETRANSMIT = 1.0            # of a SYN


@dataclasses.dataclass
class Host:
    """What can fail of it: processes, networks."""

    name: str
    phase: float                        # of its heartbeat
    osd: bool = True
    compute: bool = True                # nova-compute runs
    listens: set = dataclasses.field(default_factory=lambda: set(NETWORKS))
    linked: set = dataclasses.field(default_factory=lambda: set(NETWORKS))
    osd_runs: bool = True
    osd_since: float = 0.0              # when that, or its link, has changed
    beat: float = 0.0
    forced: bool = False


class World:
    """Time, hosts, and one monitor that watches them."""

    def __init__(self, hosts=8, seed=0, reported=(verdict.DEAD, verdict.PROBABLY_DEAD),
                 witnesses=True, **settings):
        self.now, self.rng = 0.0, random.Random(seed)
        self._events, self._numbers = [], itertools.count()
        names = [f'c{i}' for i in range(hosts)] if isinstance(hosts, int) else hosts
        self.hosts = {name: Host(name, self.rng.uniform(0, BEAT)) for name in names}
        self.loss = 0.0                 # of packets, everywhere
        self.cables = set(NETWORKS)     # of the monitor
        self.nova_up = self.ceph_up = self.bus_up = self.rabbit_up = True
        self.database_up = True
        self.engine_reads = True        # reports become rows
        self.rows = {}                  # host -> report that the engine has
        self.sent, self.told = [], []   # (when, host, source), (when, Change)
        settings = c.Settings(**settings)
        self.metrics = metrics.MonitorMetrics(verdict.VERDICTS)
        self.leading = True
        self.journal = reporter.Journal(self, lambda: self.leading, self.clock)
        self.reports = reporter.Reporter(
            self, lambda: self.leading, self.journal.taken, self.wall, self.clock, 10.0,
            self.metrics)
        self.prober = Prober(self, settings)
        self.monitor = service.Monitor(
            settings, self.prober, Places(witnesses), self.reports, self.journal, self.metrics,
            self.clock, reported)
        self.lookers = [Looker(self, self.look_nova, settings.nova_interval)]
        if settings.storage:
            self.lookers.append(Looker(self, self.look_ceph, settings.ceph_interval))
        self.monitor.lookers = self.lookers
        for host in self.hosts.values():
            self.at(host.phase, self._beat, host)
        self.at(0.5, self._talk)

    def clock(self):
        return self.now

    def wall(self):
        return START + datetime.timedelta(seconds=self.now)

    def at(self, when, function, *args):
        heapq.heappush(self._events, (when, next(self._numbers), function, args))

    def advance(self, until):
        """Let events happen; those of now as well."""
        while self._events and self._events[0][0] <= until:
            when, _number, function, args = heapq.heappop(self._events)
            self.now = max(self.now, when)
            function(*args)
        self.now = until

    def run(self, seconds, until=lambda: False):
        """Let the monitor work; returns the seconds until ``until``, None where it never was."""
        begin = self.now
        while self.now < begin + seconds:
            self.monitor.cycle()
            if until():
                return self.now - begin
        return None

    def verdict(self, host='c0'):
        return self.monitor.watch.verdicts[host].what

    def reports_of(self, host='c0'):
        return [one for one in self.sent if one[1] == host]

    def detect(self, host='c0', seconds=120):
        """Seconds until it is reported."""
        return self.run(seconds, lambda: self.reports_of(host))

    # -- what happens to hosts --------------------------------------------------------------------
    def kill(self, name='c0'):
        """All processes at once; the kernel refuses."""
        host = self.hosts[name]
        host.compute = host.osd_runs = False
        host.listens.clear()
        host.osd_since = self.now

    def cut(self, name='c0', networks=NETWORKS):
        """The cables; all of them is a power cord as well."""
        host = self.hosts[name]
        if c.STORAGE in host.linked & set(networks):
            host.osd_since = self.now
        host.linked -= set(networks)

    def kill_osd(self, name='c0'):
        host = self.hosts[name]
        host.osd_runs, host.osd_since = False, self.now
        host.listens.discard(c.STORAGE)

    def start_osd(self, name='c0'):
        host = self.hosts[name]
        host.osd_runs = True
        host.listens.add(c.STORAGE)

    def restore(self, name='c0'):
        host = self.hosts[name]
        host.compute = host.osd_runs = True
        host.listens |= set(NETWORKS)
        host.linked |= set(NETWORKS)

    def _beat(self, host):
        if host.compute and c.MANAGEMENT in host.linked and self.rabbit_up:
            host.beat = self.now
        self.at(self.now + BEAT, self._beat, host)

    # -- what is looked at ------------------------------------------------------------------------
    def osd_up(self, host):
        if host.osd_runs and c.STORAGE in host.linked:
            return True
        seen = KILLED_SEEN if not host.osd_runs and c.STORAGE in host.linked else SILENT_SEEN
        return self.now < host.osd_since + seen

    def look_nova(self, began):
        if not self.nova_up or c.MANAGEMENT not in self.cables:
            return None
        return c.NovaLook(
            began, self.now, {h.name: str(h.beat) for h in self.hosts.values()},
            frozenset(h.name for h in self.hosts.values() if h.forced), frozenset(),
            {name: name for name in self.hosts})

    def look_ceph(self, began):
        if not self.ceph_up or c.STORAGE not in self.cables:
            return None
        return c.StorageLook(
            began, self.now,
            {h.name: (c.UP, '') if self.osd_up(h) else (c.DOWN, '') for h in self.hosts.values()
             if h.osd}, {h.name: (c.Target(h.name, 6800),) for h in self.hosts.values()})

    def connect(self, name, network, timeout):
        """(word, seconds) of one connect."""
        host = self.hosts.get(name)
        network = c.MANAGEMENT if host is None else network
        if network in self.cables and (host is None or network in host.linked):
            for tries in itertools.count():
                if RETRANSMIT * tries >= timeout:
                    break
                if self.rng.random() >= self.loss and self.rng.random() >= self.loss:
                    word = c.ANSWERS if host is None or network in host.listens else c.REFUSED
                    return word, tries * RETRANSMIT + 0.001
        return c.LOST, timeout

    # -- the bus and the database -----------------------------------------------------------------
    def _talk(self):
        self.reports.cycle()
        try:
            self.journal.cycle()
        except exception.StoreUnavailable:
            pass
        self.at(self.now + 0.2, self._talk)

    def send(self, host, reason, source, evidence, detected_at):
        if not self.bus_up:
            raise exception.Unreachable('no bus')
        self.sent.append((self.now, host, source, evidence, detected_at))
        if self.engine_reads:
            if host not in self.rows or not self.rows[host].open:
                self.rows[host] = Row(host, evidence)

    def tell_verdict(self, host, what, reason, before, evidence, level):
        self._need_database()
        self.told.append((self.now, host, before, what))

    def failures(self, open_only=False, limit=0):
        self._need_database()
        return [row for row in self.rows.values() if row.open or not open_only]

    def recoveries(self, unreleased):
        return []

    def _need_database(self):
        if not self.database_up:
            raise exception.StoreUnavailable('no database')


@dataclasses.dataclass
class Row:
    """A report in the database."""

    host: str
    evidence: dict
    open: bool = True                   # not dismissed


class Looker:
    """As looks.Looker; a look takes a while, and there may be no answer."""

    def __init__(self, world, look, interval):
        self._world, self._look, self._interval = world, look, interval
        self._hurry, self._number = False, 0
        self._begin(0)

    def set_hurry(self, hurry):
        if hurry and not self._hurry:
            self._number += 1
            self._world.at(max(self._world.now, self._began + looks.SOONEST), self._begin,
                           self._number)
        self._hurry = hurry

    def _begin(self, number):
        if number != self._number:
            return
        self._began = self._world.now
        self._world.at(self._world.now + 0.2, self._end, number, self._world.now)

    def _end(self, number, began):
        look = self._look(began)
        if look is not None:
            self._world.monitor.take(look)
        if number == self._number:
            pause = looks.SOONEST if self._hurry else self._interval
            self._world.at(max(self._world.now, began + pause), self._begin, number)


class Places:
    """As addresses.Addresses."""

    def __init__(self, witnesses):
        self.has_witnesses = witnesses

    def witnesses(self):
        return (c.Target('gateway', 1),) if self.has_witnesses else ()

    def targets(self, host, address, osds):
        return {c.MANAGEMENT: (c.Target(host, 22),), c.STORAGE: tuple(osds)}


class Prober:
    """As probe.Prober."""

    def __init__(self, world, settings):
        self._world, self._settings = world, settings
        self._targets, self._done = {}, []
        self._reached, self._bad = set(), collections.Counter()
        self.urgent = set()

    def watch(self, host, targets):
        new = host not in self._targets
        targets = self._targets[host] = {n: t for n, t in targets.items() if t}
        if new and targets:
            self._world.at(self._world.now + self._world.rng.uniform(
                0, self._settings.interval), self._round, host)

    def hurry(self, host):
        """The next round comes soon enough here."""

    def _round(self, host):
        found, longest = {}, 0.0
        for network, targets in self._targets[host].items():
            for target in targets:
                for _ in range(probe.connects(self._bad[host])):
                    word, took = self._world.connect(
                        target.address, network, self._settings.connect_timeout)
                    words = found.setdefault(network, {})
                    words[target] = probe.better(word, words.get(target, c.UNKNOWN))
                    longest = max(longest, took)
        self._world.at(self._world.now + longest, self._end,
                       c.Round(host, self._world.now, self._world.now + longest, found))

    def _end(self, one):
        self._done.append(one)
        answered = {(one.host, n) for n, some in one.found.items() if c.ANSWERS in some.values()}
        self._reached |= answered
        silent = {(one.host, n) for n in one.found} & self._reached - answered
        self._bad[one.host] = self._bad[one.host] + 1 if silent else 0
        pause = probe.pause(self._settings, self._bad[one.host], one.host in self.urgent)
        pause *= self._world.rng.uniform(0.9, 1.1)
        self._world.at(max(one.began + pause, self._world.now), self._round, one.host)

    def poll(self, timeout):
        until = self._world.now + timeout
        while not self._done and self._world.now < until:
            self._world.advance(min(until, self._world.now + 0.02))
        done, self._done = self._done, []
        return done
