"""Puts the monitor together from a configuration. ``conf`` is an oslo.config ConfigOpts."""

import collections
import functools
import logging
import queue
import random
import re
import threading
import time

import cotyledon

from vmha_nova import clock as clocks
from vmha_nova import coordination
from vmha_nova import exception
from vmha_nova.fencing import fences
from vmha_nova import messaging
from vmha_nova import metrics
from vmha_nova.monitor import addresses
from vmha_nova.monitor import channels as c
from vmha_nova.monitor import looks
from vmha_nova.monitor import probe
from vmha_nova.monitor import reporter
from vmha_nova.monitor import verdict
from vmha_nova.monitor import watch
from vmha_nova import service

LOG = logging.getLogger(__name__)
TICK = 0.1                  # seconds between judgements, at most
SLOW = 1.0                  # and between those of all hosts
RESOLVE = 300.0             # seconds between looking up names
LOCK = 'vmha-monitor'
NUMBER = re.compile(r'[\d.]+')
WITNESSES = ''              # no host's name: what the prober calls them
SETTINGS = set(c.Settings.__dataclass_fields__) - {'storage', 'stale_after'}


def make_settings(conf):
    """[monitor] as channels.Settings.

    :raises ConfigurationError: options that do not fit together
    """
    group = conf.monitor
    if group.failures > group.of:
        raise exception.ConfigurationError(
            f'[monitor] failures ({group.failures}) must not be more than [monitor] of '
            f'({group.of})')
    slowest = max(group.nova_interval, group.ceph_interval, group.interval)
    if group.heartbeat_silence <= 2 * group.nova_interval:
        raise exception.ConfigurationError(
            '[monitor] heartbeat_silence must be more than twice [monitor] nova_interval '
            f'({group.nova_interval:g} s)')
    return c.Settings(storage=fences.has(conf, fences.STORAGE), stale_after=max(15.0, 3 * slowest),
                      **{name: group[name] for name in SETTINGS})


def check_options(conf):
    """Find what is wrong with [monitor] and [coordination] by themselves.

    :raises ConfigurationError: with one line that says what to do.
    """
    make_settings(conf)
    coordination.check(conf.coordination.backend_url, coordination.member())


def check(conf):
    """Find what would keep the monitor from working as configured.

    :raises ConfigurationError: with one line that says what to do.
    """
    check_options(conf)
    service.make_nova(conf)
    if fences.has(conf, fences.STORAGE):
        service.make_ceph(conf)
    messaging.transport(conf, conf.notifications.transport_url)
    addresses.Addresses(conf.monitor)


class Monitor:
    """The loop: probes, takes what the lookers bring, judges.

    Everything is handed in: the tests have a clock of their own.
    """

    def __init__(self, settings, prober, places, reports, journal, metrics_, monotonic,
                 reported=(verdict.DEAD,)):
        self._settings = settings
        self._prober, self._places = prober, places
        self._reports, self._journal, self._metrics = reports, journal, metrics_
        self._monotonic = monotonic
        self._reported = frozenset(reported)
        self.watch = watch.Watch(settings, places.has_witnesses, monotonic())
        self.lookers = ()
        self._came = queue.SimpleQueue()        # looks, from the threads of the lookers
        self._where, self._ports = {}, {}       # host -> address by Nova; Targets of its OSDs
        self._said, self._written = {}, {}      # host -> verdict in the log, in the journal
        self._traced = {}                       # host -> its reason as traced last
        self._cut_off = ''
        self._all_at = self._judged_at = 0.0
        self._touched = set()
        self._count = 0

    def take(self, look):
        """Of any thread: a NovaLook, a StorageLook, or None where names were looked up anew."""
        self._came.put(look)

    def nodes(self):
        """Host -> address by Nova; of any thread."""
        return {host: self._where.get(host, '') for host in list(self.watch.hosts)}

    def cycle(self, timeout=TICK):
        """Go on for about ``timeout`` seconds."""
        rounds = self._prober.poll(timeout)
        for one in rounds:
            if one.host == WITNESSES:
                if any(w in (c.ANSWERS, c.REFUSED) for w in one.found['witness'].values()):
                    self.watch.on_witness(one.began)
            else:
                self.watch.on_round(one)
                self._touched.add(one.host)
        if rounds:
            self._metrics.last_round.set_to_current_time()
        looked = False
        while not self._came.empty():
            looked = True
            self._on_look(self._came.get())
        now = self._monotonic()
        if looked or now - self._all_at >= SLOW:
            self._all_at = self._judged_at = now
            self._judge(now, None)
        elif now - self._judged_at >= TICK and self._touched:
            self._judged_at = now
            self._judge(now, self._touched)

    def _on_look(self, look):
        if isinstance(look, c.NovaLook):
            known = set(self.watch.hosts)
            self.watch.on_nova(look)
            self._where.update(look.addresses)
            for host in known - set(self.watch.hosts):
                LOG.info('%s is watched no more: Nova does not list it', host)
                self._prober.watch(host, {})
                for table in (self._where, self._ports, self._said, self._written,
                              self._traced):
                    table.pop(host, None)
            if len(self.watch.hosts) != self._count:
                self._count = len(self.watch.hosts)
                LOG.info('watching %d hosts', self._count)
        elif isinstance(look, c.StorageLook):
            self.watch.on_storage(look)
            self._ports.update((h, p) for h, p in look.ports.items() if p)
        for host in self.watch.hosts:
            self._prober.watch(host, self._places.targets(
                host, self._where.get(host, ''), self._ports.get(host, ())))
        self._prober.watch(WITNESSES, {'witness': self._places.witnesses()})

    def _judge(self, now, hosts):
        changes = self.watch.judge(now, hosts)
        self._touched = set()
        hurry = self.watch.hurries(now)
        if hurry and not self._prober.urgent:
            self._prober.hurry(WITNESSES)
        self._prober.urgent = {WITNESSES} if hurry else set()
        for looker in self.lookers:
            looker.set_hurry(hurry)
        if bool(self.watch.cut_off) != bool(self._cut_off):
            if self.watch.cut_off:
                LOG.warning('cut off: %s', self.watch.cut_off)
            else:
                LOG.info('no longer cut off')
        self._cut_off = self.watch.cut_off
        for change in changes:
            self._tell(change)
        if LOG.isEnabledFor(logging.DEBUG):
            self._trace()
        self._reports.sync({host: (found, self.watch.evidence(host, now)) for host, found in
                            self.watch.found(self._reported).items()})
        if hosts is None:
            self._show()

    def _tell(self, change):
        what = change.verdict.what
        if what == verdict.CUT_OFF:
            return
        said = self._said.get(change.host)
        if what != said and (said is not None or what not in (verdict.ALIVE, verdict.UNCLEAR)):
            LOG.info('verdict of %s: %s: %s', change.host, what, change.verdict.reason)
        if said is not None or what != verdict.UNCLEAR:
            self._said[change.host] = what
        if what == verdict.UNCLEAR:
            return
        written = self._written.get(change.host, verdict.ALIVE)
        if what != written:
            self._journal.tell(watch.Change(
                change.host, written, change.verdict, change.evidence))
        self._written[change.host] = what

    def _trace(self):
        """Why each verdict is as it is, whenever that is another reason but for its numbers."""
        for host, found in self.watch.verdicts.items():
            text = NUMBER.sub('N', found.reason)
            if self._traced.get(host) != text:
                self._traced[host] = text
                LOG.debug('%s is %s: %s', host, found.what, found.reason)

    def _show(self):
        self._metrics.count(collections.Counter(
            v.what for v in self.watch.verdicts.values()))
        self._metrics.cut_off.set(bool(self._cut_off))
        self._metrics.leads.set(self._reports.leads())
        self._metrics.waiting.set(self._reports.waiting)
        self._journal.reporting = self._reports.any


class MonitorService(cotyledon.Service):
    """The vmha-monitor process."""

    name = 'vmha-monitor'

    def __init__(self, worker_id, conf):
        super().__init__(worker_id)
        self._conf = conf
        self._stop = threading.Event()
        settings, monotonic = make_settings(conf), time.monotonic
        self._nova = service.make_nova(conf)
        self._ceph = service.make_ceph(conf) if settings.storage else None
        self._leadership = coordination.Leadership(
            conf.coordination.backend_url, LOCK, coordination.member(), conf.coordination.lease)
        self._metrics = metrics.MonitorMetrics(verdict.VERDICTS)
        self._journal = reporter.Journal(
            service.make_store(conf, clocks.Steady()), self._leadership.leads, monotonic)
        self._reporter = reporter.Reporter(
            messaging.HostDownSender(conf), self._leadership.leads, self._journal.taken,
            clocks.wall, monotonic, conf.monitor.repeat_interval, self._metrics)
        self._places = addresses.Addresses(conf.monitor)
        self._prober = probe.Prober(settings, monotonic, random.Random(),
                                    conf.monitor.max_sockets)
        reported = [verdict.DEAD]
        reported += [verdict.PROBABLY_DEAD] * conf.monitor.report_probable
        reported += [verdict.ISOLATED] * conf.monitor.report_isolated
        self._make = functools.partial(
            Monitor, settings, self._prober, self._places, self._reporter, self._journal,
            self._metrics, monotonic, reported)
        self._settings, self._monotonic = settings, monotonic
        self._threads = [threading.Thread(target=t, name=n, daemon=True) for n, t in (
            ('monitor', self._watch), ('reports', self._reporter.run),
            ('journal', self._journal.run))]
        self._lookers = ()

    def run(self):
        """Start everything; returns at once."""
        self._leadership.start()
        for thread in self._threads:
            thread.start()
        if self._conf.monitor.metrics_port:
            self._metrics.serve(self._conf.metrics.listen, self._conf.monitor.metrics_port)

    def terminate(self):
        """Stop; nothing that hangs is waited for."""
        self._stop.set()
        for one in (*self._lookers, self._reporter, self._journal, self._metrics):
            one.stop()
        self._leadership.stop()
        for thread in self._threads:
            thread.join(1)

    def _watch(self):
        if self._conf.monitor.icmp and (why := probe.can_echo()):
            LOG.error('[monitor] icmp: no echo can be sent: %s (net.ipv4.ping_group_range)', why)
        monitor = self._make()
        monitor.lookers = self._lookers = tuple(self._make_lookers(monitor))
        for looker in self._lookers:
            looker.start()
        said = ''
        while not self._stop.is_set():
            try:
                monitor.cycle()
                said = ''
            except Exception as e:
                if said != repr(e):
                    LOG.exception('internal error')
                said = repr(e)
                self._stop.wait(1.0)

    def _make_lookers(self, monitor):
        group, monotonic = self._conf.monitor, self._monotonic
        yield looks.Looker('Nova', looks.NovaLooks(self._nova, monotonic), monitor.take,
                           group.nova_interval, monotonic)
        if self._ceph is not None:
            yield looks.Looker(
                'Ceph', looks.StorageLooks(self._ceph, monitor.nodes, monotonic), monitor.take,
                group.ceph_interval, monotonic)
        yield looks.Names(self._places, monitor.take, RESOLVE, monotonic)
