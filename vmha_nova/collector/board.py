"""What the parts of the collector share: settings, the snapshot on show, and jobs."""

import contextlib
import copy
import dataclasses
import threading

from vmha_nova import exception
from vmha_nova import model


@dataclasses.dataclass(frozen=True)
class Settings:
    """How often to look; seconds, unless said otherwise."""

    interval: float = 10.0              # services, and the servers that changed
    nodes_interval: float = 60.0        # Placement, aggregates, server groups, new hypervisors
    full_interval: float = 3600.0       # all servers, all hypervisors
    # How far the list of changes reaches back behind the start of the one before. It covers what
    # our clock and those of Nova's services differ, and a cell that was out for less than that.
    overlap: float = 60.0
    min_delta_gap: float = 1.0          # between lists of changes that notifications ask for
    # While much changes such a list is long, and Nova has better things to do: no more than this
    # share of the time is spent on those that notifications ask for.
    delta_share: float = 0.1
    cpu_share_ttl: float = 180.0        # a measured share that is older is dropped
    max_lookups: int = 50               # GETs of missing servers, or nodes, after a list


class Board:
    """Holds the newest Cluster; readers need no lock.

    Who changes it reads and publishes under ``lock``, which is never held while Nova is asked.
    """

    def __init__(self):
        self.lock = threading.RLock()
        self.snapshot = model.Cluster()
        self._notes = {}

    def publish(self, **fields):
        """Replace these fields of the Cluster."""
        with self.lock:
            self.snapshot = dataclasses.replace(self.snapshot, **fields)

    def note(self, topic, text):
        """Say what is wrong with something, or, with an empty text, that nothing is any more."""
        with self.lock:
            if self._notes.get(topic, '') != text:
                self._notes.pop(topic, None)
                if text:
                    self._notes[topic] = text
                self.publish(problems=tuple(self._notes.values()))

    def noted(self, topic):
        """Whether something is wrong with that."""
        return topic in self._notes

    @contextlib.contextmanager
    def noting(self, topic):
        """Note how the list read inside failed, or that it did not; the error goes on its way."""
        try:
            yield
        except exception.VmhaError as error:
            self.note(topic, f'{topic}: {error}')
            raise
        self.note(topic, '')


FIRST = 60.0                            # seconds: until it is done once, nobody is protected


class Job:
    """A look that one thread at a time takes; those who wait for one share the next.

    It is due ``period`` seconds after its start; after failures in a row ``retry`` seconds after
    the first, then twice that, and so on up to the period, or to FIRST until it has worked once.
    """

    def __init__(self, look, period, retry):
        self.began_at = None
        self.took = 0.0                 # seconds, the last time
        self._look, self._period, self._retry = look, period, retry
        self._lock = threading.Lock()
        self._begun = 0
        self._worked = False
        self._failures = 0
        self._error = None

    def wait(self, now, period=None):
        """Seconds until this is due, 0 or less when it is; ``period`` stands in for its own."""
        if self.began_at is None:
            return 0.0
        age = (now - self.began_at).total_seconds()
        if age < 0:                     # our clock was set back
            return 0.0
        if self._failures:
            most = self._period if self._worked else min(self._period, FIRST)
            return min(most, self._retry * 2 ** min(self._failures - 1, 20)) - age
        return (self._period if period is None else period) - age

    def run(self, clock, within=0.0):
        """Look now, or share the look of somebody who began after this call; raises its error.

        :param within: one that works, and began no more than so many seconds before, will do
        """
        known, asked_at = self._begun, clock()
        with self._lock:
            if self._begun == known and not self._began_within(within, asked_at):
                self._begun += 1
                self.began_at = clock()
                try:
                    self._look()
                except exception.VmhaError as error:
                    self._failures += 1
                    # Without its traceback, which holds everything that was read until then.
                    self._error = copy.copy(error)
                    raise
                finally:
                    self.took = max(0.0, (clock() - self.began_at).total_seconds())
                self._failures, self._error, self._worked = 0, None, True
            elif self._error is not None:
                raise copy.copy(self._error)

    def _began_within(self, seconds, now):
        return self._error is None and self.began_at is not None and (
            0 <= (now - self.began_at).total_seconds() < seconds)


def quietly(job, clock):
    """Run a job; how it failed stands in ``Cluster.problems``."""
    try:
        job.run(clock)
    except exception.VmhaError:
        pass
