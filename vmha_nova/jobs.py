"""Work that waits for others, done in a bounded pool while the loop goes on."""

import dataclasses
import datetime
import typing

PAUSE, PAUSE_MAX = 1.0, 60.0             # seconds between tries of a job that is insisted on


@dataclasses.dataclass(frozen=True)
class Result:
    """How a job ended: its value, or the exception it raised."""

    value: typing.Any = None
    error: Exception | None = None


@dataclasses.dataclass(frozen=True)
class _Failed:
    result: Result
    pause: float
    again_at: datetime.datetime


class Jobs:
    """Jobs by key; at most one of a key at a time. Used from the loop's thread only.

    :param executor: a concurrent.futures-like executor (futurist).
    :param wake: called when a job has ended.
    :param clock: returns aware UTC.
    """

    def __init__(self, executor, wake, clock):
        self._executor = executor
        self.wake = wake
        self._clock = clock
        self._running = {}
        self._failed = {}
        self._asked = set()             # keys somebody cared for since the last sweep

    def start(self, key, function, *args):
        """Start a job unless one of that key is under way."""
        self._asked.add(key)
        if key not in self._running:
            future = self._executor.submit(function, *args)
            self._running[key] = future
            future.add_done_callback(lambda _future: self.wake())

    def collect(self, key):
        """The Result of an ended job, once; None while there is none."""
        self._asked.add(key)
        future = self._running.get(key)
        if future is None or not future.done():
            return None
        del self._running[key]
        error = future.exception()
        return Result(error=error) if error else Result(value=future.result())

    def insist(self, key, function, *args):
        """Run the job until it works, with growing pauses.

        :returns: None during the first try, the Result once it worked (once), else the Result
                  of the last try that failed.
        """
        result = self.collect(key)
        now = self._clock()
        if result is not None and result.error is None:
            self._failed.pop(key, None)
            return result
        if result is not None:
            last = self._failed.get(key)
            pause = min(PAUSE_MAX, last.pause * 2) if last else PAUSE
            self._failed[key] = _Failed(result, pause, now + datetime.timedelta(seconds=pause))
        last = self._failed.get(key)
        if last is None or now >= last.again_at:
            self.start(key, function, *args)
        return last.result if last else None

    def under_way(self, key):
        """Whether a job of that key was started and not collected."""
        self._asked.add(key)
        return key in self._running

    def running(self, key):
        """Whether a job of that key was started and has not ended."""
        return key in self._running and not self._running[key].done()

    def sweep(self):
        """Forget answers nobody has asked for since the last sweep.

        Taken later, they would be old news: a list of what a host held months ago.
        """
        for key in self._running.keys() - self._asked:
            if self._running[key].done():
                del self._running[key]
        for key in self._failed.keys() - self._asked - self._running.keys():
            del self._failed[key]
        self._asked.clear()
