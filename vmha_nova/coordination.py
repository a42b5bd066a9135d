"""One of several processes leads: a lock of tooz, held by a thread of its own.

The backend may hang or be away. Then who led leads no more after ``timeout`` seconds, whatever
the library is waiting for.
"""

import logging
import threading
import time
import urllib.parse

from tooz import coordination

from vmha_nova import exception

LOG = logging.getLogger(__name__)
CYCLE = 1.0                             # seconds between looks at the lock
AGAIN = 5.0                             # and until a backend that failed is connected to anew


class Leadership:
    """Whether this process leads.

    :param url: tooz's backend_url; '': there is nobody else
    :param name: of the lock, the same for all
    :param member: of this process, unlike all others
    """

    def __init__(self, url, name, member, timeout=10.0, monotonic=time.monotonic,
                 connect=coordination.get_coordinator):
        self._url, self._name, self._member = url, name, member
        self._timeout = timeout
        self._monotonic = monotonic
        self._connect = connect
        self._until = None if url else float('inf')     # it leads until then, if it is not renewed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='leadership', daemon=True)
        self._coordinator = self._lock = None
        self._said = None

    def leads(self):
        """Whether it leads now."""
        until = self._until
        return until is not None and self._monotonic() < until

    def start(self):
        """Begin to try for the lead; returns at once."""
        if self._url:
            self._thread.start()

    def stop(self, seconds=2.0):
        """Give the lead back. A backend that hangs is not waited for."""
        self._stop.set()
        self._until = None
        if self._thread.is_alive():
            self._thread.join(seconds)
        else:
            self._leave()

    def _run(self):
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self.cycle()
        self._leave()

    def cycle(self):
        """Take or keep the lock; returns the seconds until the next time."""
        try:
            if self._coordinator is None:
                found = self._connect(self._url, self._member.encode())
                found.start()
                self._coordinator, self._lock = found, found.get_lock(self._name.encode())
            # Counted from before the call: an answer may be as old as that.
            began = self._monotonic()
            self._coordinator.heartbeat()
            if self._held():
                self._until = began + self._timeout
                self._say('this process leads', logging.INFO)
            else:
                self._until = None
                self._say('this process does not lead', logging.INFO)
            return CYCLE
        except Exception as e:          # of any library that tooz uses
            self._say(f'the lock of the lead: {(str(e).splitlines() or [repr(e)])[0]}',
                      logging.WARNING)
            self._leave()
            return AGAIN

    def _held(self):
        lock = self._lock
        if not lock.acquired:
            return lock.acquire(blocking=False)
        try:
            held = lock.is_still_owner()
        except NotImplementedError:
            held = True
        # Not every driver notices a lease that ran out; this one was too long without word of it.
        beat = getattr(lock, 'heartbeat', lambda: True)         # a file needs none
        if not held or not beat() or not self.leads():
            raise exception.Unreachable('it was lost')
        return True

    def _leave(self):
        self._until = None
        lock, found, self._lock, self._coordinator = self._lock, self._coordinator, None, None
        for end in (lock and lock.acquired and lock.release, found and found.stop):
            try:
                if end:
                    end()
            except Exception as e:
                LOG.debug('the lock of the lead: %s', e)

    def _say(self, text, level):
        if text != self._said:
            LOG.log(level, '%s', text)
            self._said = text


def check(url, member):
    """Find what is wrong with a backend_url; connects to nothing.

    :raises ConfigurationError: tooz does not know it, or misses a library for it
    """
    try:
        # Who connects reads the port, and its text would be a part of the password.
        urllib.parse.urlsplit(url).port  # noqa: B018
    except ValueError:
        raise exception.ConfigurationError(
            f'[coordination] backend_url {exception.NO_ADDRESS}') from None
    try:
        if url:
            coordination.get_coordinator(url, member.encode())
    except Exception as e:
        raise exception.ConfigurationError(f'[coordination] backend_url: {e}') from e
