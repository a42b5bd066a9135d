"""One of several processes leads: a lock of tooz, held by a thread of its own.

The backend may hang or be away. Who led then tries on for two thirds of the lease, and leads no
more after that, whatever the library is waiting for. The backend itself gives the lock to
somebody else after four fifths of it, so that there are never two, and that the other one is
found, and at work, before the lease is over.
"""

import logging
import os
import socket
import threading
import time
import urllib.parse

from tooz import coordination

from vmha_nova import exception

LOG = logging.getLogger(__name__)
CYCLE = 1.0                             # seconds between looks at the lock, at most
AGAIN = 2.0                             # and until a backend that failed is connected to anew
CERTAIN, KEPT, LOOKS = 2 / 3, 4 / 5, 1 / 15     # parts of the lease: see the module


def member():
    """The name of this process among its like."""
    return f'{socket.gethostname()}:{os.getpid()}'


def uptime():
    """Seconds from anywhere; they go on while the machine sleeps, as the backend's do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leadership:
    """Whether this process leads.

    :param url: tooz's backend_url; '': there is nobody else
    :param name: of the lock, the same for all
    :param member: of this process, unlike all others
    :param lease: seconds after which another one leads where this one has ended
    :ivar problem: why the lock cannot be asked, in words; ''
    """

    def __init__(self, url, name, member, lease=15.0, monotonic=uptime,
                 connect=coordination.get_coordinator):
        self._url, self._name, self._member = url, name, member
        self._certain = lease * CERTAIN
        self._cycle = min(CYCLE, lease * LOOKS)
        # Whole seconds is all that etcd knows. To most drivers the first is how long they wait
        # for an answer, and to ZooKeeper's the lease itself.
        self._options = dict.fromkeys(('timeout', 'lock_timeout'), round(lease * KEPT))
        self._monotonic = monotonic
        self._connect = connect
        self.problem = ''
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
                found = self._connect(self._url, self._member.encode(), **self._options)
                found.start()
                self._coordinator, self._lock = found, found.get_lock(self._name.encode())
            # Counted from before the call: an answer may be as old as that.
            began = self._monotonic()
            self._coordinator.heartbeat()
            if self._held():
                self._until = began + self._certain
                self._say('this process leads', logging.INFO)
            else:
                self._until = None
                self._say('this process does not lead', logging.INFO)
            self.problem = ''
            return self._cycle
        except Exception as e:          # of any library that tooz uses
            self.problem = f'the lock of the lead: {(str(e).splitlines() or [repr(e)])[0]}'
            self._say(self.problem, logging.WARNING)
            if self.leads() and not isinstance(e, _Lost):
                return self._cycle      # it may be back in a moment, and the lock still ours
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
            raise _Lost('it was lost')
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


class _Lost(Exception):
    """The lock is another one's, or may be."""


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
