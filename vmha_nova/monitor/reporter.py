"""Tells the engine and the operator: reports on the message bus, changes in the database.

The bus and the database can be away, or hang, each without holding up the other, or the looking.
"""

import collections
import dataclasses
import datetime
import logging
import threading
import uuid

from vmha_nova import exception
from vmha_nova.monitor import verdict

LOG = logging.getLogger(__name__)
SOURCE = 'vmha-monitor'
SOURCES = {verdict.DEAD: SOURCE, verdict.PROBABLY_DEAD: f'{SOURCE}-probable',
           verdict.ISOLATED: f'{SOURCE}-isolated'}
ANEW, ANEW_MAX = 60.0, 3600.0       # seconds until one that was dismissed is made anew; doubled
ROWS = 200                  # of reports, that are read to find ours
BELIEVED = 10.0             # seconds for which it counts what the database said
KEPT = 1000                 # changes of verdicts, while the database is away
LEVELS = {verdict.DEAD: 'error', verdict.PROBABLY_DEAD: 'error', verdict.ALIVE: 'info',
          verdict.UNCLEAR: 'info'}


@dataclasses.dataclass
class Report:
    """A host that is to be reported. ``id`` and ``detected_at`` stay while it is the same."""

    host: str
    found: verdict.Verdict
    evidence: dict
    detected_at: datetime.datetime
    began: float                                # by the monotonic clock
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    tries: int = 0
    sent: int = 0
    due: float = 0.0
    written: bool = False                       # a row of the database is this one
    cared_for: bool = False                     # there is an open one of the host, or a recovery
    patience: float = ANEW


class Reporter:
    """Sends what is to be reported until the engine has taken it.

    :param sender: messaging.HostDownSender
    :param leads: a callable: may this process speak?
    :param taken: a callable: (hosts the engine cares for, ids of reports that it has written
        down), or None where that is not known
    :param wall: a callable: now, aware UTC
    :param metrics: with reports_sent, reports_failed
    """

    def __init__(self, sender, leads, taken, wall, monotonic, repeat_interval, metrics):
        self._sender, self._leads, self._taken = sender, leads, taken
        self._wall, self._monotonic = wall, monotonic
        self._repeat = repeat_interval
        self._metrics = metrics
        self._lock = threading.Lock()
        self._reports = {}                      # host -> Report
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._away = False

    @property
    def waiting(self):
        """How many reports the engine has not taken."""
        with self._lock:
            return sum(not (one.cared_for or one.written) for one in self._reports.values())

    @property
    def any(self):
        """Whether there is a report, taken or not."""
        return bool(self._reports)

    def leads(self):
        """Whether this process reports."""
        return self._leads()

    def sync(self, wanted):
        """What is to be reported now: host -> (Verdict, evidence). What is not there is dropped.

        Never waits.
        """
        with self._lock:
            for host in self._reports.keys() - wanted.keys():
                del self._reports[host]
            for host, (found, evidence) in wanted.items():
                one = self._reports.get(host)
                if one is None or one.found.what != found.what:
                    self._reports[host] = Report(host, found, evidence, self._wall(),
                                                 self._monotonic())
                    self._wake.set()

    def run(self):
        """Send until stop(). For a thread of its own."""
        while not self._ended.is_set():
            try:
                pause = self.cycle()
            except Exception:
                LOG.exception('reports: internal error')
                pause = 1.0
            self._wake.wait(pause)
            self._wake.clear()

    def stop(self):
        """End after the report under way."""
        self._ended.set()
        self._wake.set()

    def cycle(self):
        """Send what is due; returns the seconds until the next time."""
        with self._lock:
            reports = list(self._reports.values())
        if not reports or not self._leads():
            return 1.0
        taken = self._taken()
        for one in reports:
            if taken is not None and one.sent:
                self._note_taken(one, one.host in taken[0], one.id in taken[1])
            if (one.cared_for or one.written or self._monotonic() < one.due
                    or self._ended.is_set()):
                continue
            if not self._wanted(one) or not self._leads():
                continue                # it came back while the one before was being sent
            self._send(one)
            if self._away:
                break
        return 1.0

    def _wanted(self, one):
        with self._lock:
            return self._reports.get(one.host) is one

    def _note_taken(self, one, cared_for, written):
        if (cared_for or written) and not (one.cared_for or one.written):
            LOG.info('the report of %s is taken', one.host)
        one.cared_for, one.written = cared_for, written
        if not cared_for and self._monotonic() - one.began > one.patience:
            # It was dismissed, and the host is still dead: perhaps the reason is gone by now. The
            # same one would only count up the one that was dismissed.
            one.id, one.detected_at = str(uuid.uuid4()), self._wall()
            one.began, one.sent, one.written = self._monotonic(), 0, False
            one.patience = min(2 * one.patience, ANEW_MAX)

    def _send(self, one):
        one.tries += 1
        try:
            self._sender.send(
                one.host, one.found.reason, SOURCES[one.found.what],
                {**one.evidence, 'verdict': one.found.what, 'death': one.id}, one.detected_at)
        except exception.VmhaError as e:
            self._metrics.reports_failed.inc()
            one.due = self._monotonic() + min(1.0, self._repeat)
            if not self._away:
                LOG.warning('the message bus is away: %s', e)
            self._away = True
            return
        if self._away:
            LOG.info('the message bus is back')
        self._away = False
        self._metrics.reports_sent.inc()
        one.sent += 1
        one.due = self._monotonic() + self._repeat
        LOG.info('reported %s down: %s (try %d)', one.host, one.found.what, one.tries)


class Journal:
    """What the database is told, and what it tells of reports that were taken."""

    def __init__(self, store, leads, monotonic, interval=2.0):
        self._store = store
        self._leads = leads
        self._monotonic = monotonic
        self._interval = interval
        self._changes = collections.deque(maxlen=KEPT)
        self._known = None                      # (when it was asked for, what taken() returns)
        self._wake = threading.Event()
        self._ended = threading.Event()
        self.reporting = False                  # is there something to ask for?
        self._said = ''

    def tell(self, change):
        """Write a watch.Change down as soon as possible. Never waits."""
        self._changes.append(change)
        self._wake.set()

    def taken(self):
        """(Hosts with a report that waits, or out of service; ids of reports written); or None."""
        known = self._known
        return None if known is None or self._monotonic() - known[0] > BELIEVED else known[1]

    def run(self):
        """Write and read until stop(). For a thread of its own."""
        while not self._ended.is_set():
            problem = ''
            try:
                self.cycle()
            except exception.VmhaError as e:
                problem = str(e)
            except Exception as e:
                LOG.exception('the database: internal error')
                problem = repr(e)
            if problem != self._said:
                LOG.warning('%s', problem or 'the database answers again')
            self._said = problem
            self._wake.wait(self._interval)
            self._wake.clear()

    def stop(self):
        """End after the call under way."""
        self._ended.set()
        self._wake.set()

    def cycle(self):
        """Write what there is, and read what has been taken if that is of use.

        :raises StoreUnavailable: nothing is lost
        """
        while self._changes and not self._ended.is_set():
            change = self._changes[0]
            if self._leads():           # the other monitor sees it as well
                found = change.verdict
                try:
                    self._store.tell_verdict(
                        change.host, found.what, found.reason, change.before, change.evidence,
                        LEVELS.get(found.what, 'warning'))
                except exception.StoreRefused as e:     # it would be refused for ever
                    LOG.error('the verdict of %s cannot be written: %s', change.host, e)
            self._changes.popleft()
        if self.reporting:
            began = self._monotonic()
            hosts = {f.host for f in self._store.failures(open_only=True)}
            hosts |= {r.host for r in self._store.recoveries(unreleased=True)}
            ids = {f.evidence.get('death') for f in self._store.failures(limit=ROWS)}
            self._known = began, (hosts, ids)
