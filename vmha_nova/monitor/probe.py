"""Connects to the addresses of many hosts, side by side, from one thread.

A connect that is accepted is closed at once, with nothing said. What hangs costs its timeout, and
only its own host's round. Sockets are bounded; rounds that find none free begin later.
"""

import collections
import errno
import heapq
import itertools
import selectors
import socket
import struct

from vmha_nova.monitor import channels as c

JITTER = 0.1                # of an interval
QUICK = 24                  # rounds in a row with a network that is silent, and was not before
CONNECTS = 3                # to each target in these: one lost packet is no lost host
_REFUSED = {errno.ECONNREFUSED, errno.ECONNRESET}
# What comes from our own kernel, or is our own fault, tells nothing of a host.
_LOST = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN}
_LINGER = struct.pack('ii', 1, 0)       # reset instead of TIME_WAIT: thousands a minute
_ECHO, _ECHO6 = 8, 128                  # types of ICMP and ICMPv6


class Prober:
    """Rounds of connects to each host that is watched.

    :param settings: channels.Settings
    :param monotonic: seconds of a clock that nobody sets
    :param rng: random.Random, for the jitter
    """

    def __init__(self, settings, monotonic, rng, max_sockets=512):
        self._settings = settings
        self._monotonic = monotonic
        self._rng = rng
        self._max = max_sockets
        self._selector = selectors.DefaultSelector()
        self._targets = {}                      # host -> {network: (Target, …)}
        self._due = []                          # heap of (when, number, host)
        self._planned = {}                      # host -> the number that counts
        self._reached = set()                   # (host, network) that has ever answered
        self._bad = collections.Counter()       # host -> rounds in a row that were not all well
        self._numbers = itertools.count()
        self._deadlines = collections.deque()   # (when, socket), as all wait equally long
        self._open = {}                         # socket -> (_Round, network, Target)
        self._done = []
        self.urgent = set()                     # hosts probed as if they were silent

    def close(self):
        """Close all sockets."""
        for sock in list(self._open):
            self._release(sock)
        self._selector.close()

    @property
    def open_sockets(self):
        """Connects under way."""
        return len(self._open)

    def watch(self, host, targets):
        """Probe ``targets``, network -> Targets, from now on; an empty dict: no more."""
        targets = {network: tuple(some) for network, some in targets.items() if some}
        if not targets:
            self._targets.pop(host, None)
            self._planned.pop(host, None)
            self._bad.pop(host, None)
            self._reached = {one for one in self._reached if one[0] != host}
            return
        new = host not in self._targets
        self._targets[host] = targets
        if new:
            # Spread, so that a thousand hosts are no burst.
            self._plan(host, self._rng.uniform(0, self._settings.interval))

    def hurry(self, host):
        """Begin a round at once, unless one is under way."""
        if host in self._planned:
            self._plan(host, 0.0)

    def poll(self, timeout):
        """Go on for at most ``timeout`` seconds, or until rounds have ended: their list."""
        until = self._monotonic() + timeout
        while True:
            now = self._monotonic()
            self._begin(now)
            if self._done or now >= until:
                break
            wake = [until]
            if self._deadlines:
                wake.append(self._deadlines[0][0])
            if self._due and len(self._open) < self._max:
                wake.append(self._due[0][0])
            for key, _events in self._selector.select(max(min(wake) - now, 0.0)):
                self._answer(key.fileobj)
            # Only now: what has answered while we were kept from running is not late.
            self._expire(self._monotonic())
        done, self._done = self._done, []
        return done

    # -- rounds -----------------------------------------------------------------------------------
    def _plan(self, host, seconds):
        number = self._planned[host] = next(self._numbers)
        heapq.heappush(self._due, (self._monotonic() + seconds, number, host))

    def _begin(self, now):
        while self._due and self._due[0][0] <= now and len(self._open) < self._max:
            _at, number, host = heapq.heappop(self._due)
            if self._planned.get(host) != number:
                continue
            del self._planned[host]
            targets = self._targets[host]
            plan = [(network, target) for network, some in targets.items() for target in some
                    for _ in range(connects(self._bad[host]))]
            one = _Round(host, now, len(plan))
            for network, target in plan:
                self._connect(one, network, target, now)

    def _connect(self, one, network, target, now):
        sock = None
        try:
            sock, answer = _opened(target)
        except OSError as e:
            answer = _word(e.errno)
        if answer is not None:
            if sock is not None:
                _close(sock)
            self._end(one, network, target, answer)
            return
        self._open[sock] = one, network, target
        self._selector.register(
            sock, selectors.EVENT_WRITE if target.port else selectors.EVENT_READ)
        self._deadlines.append((now + self._settings.connect_timeout, sock))

    def _answer(self, sock):
        if sock not in self._open:
            return
        one, network, target = self._open[sock]
        try:
            if target.port:
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            else:
                sock.recv(64)
                error = 0
        except OSError as e:
            error = e.errno
        self._release(sock)
        self._end(one, network, target, _word(error))

    def _expire(self, now):
        while self._deadlines and self._deadlines[0][0] <= now:
            _at, sock = self._deadlines.popleft()
            if sock in self._open:
                one, network, target = self._open[sock]
                self._release(sock)
                self._end(one, network, target, c.LOST)

    def _release(self, sock):
        self._selector.unregister(sock)
        del self._open[sock]
        _close(sock)

    def _end(self, one, network, target, word):
        found = one.found.setdefault(network, {})
        found[target] = better(found.get(target, c.UNKNOWN), word)
        one.left -= 1
        if one.left:
            return
        now = self._monotonic()
        self._done.append(c.Round(one.host, one.began, now, one.found))
        if one.host not in self._targets:
            return
        answered = {(one.host, name) for name, some in one.found.items()
                    if c.ANSWERS in some.values()}
        self._reached |= answered
        silent = any((one.host, name) in self._reached and (one.host, name) not in answered
                     for name in one.found)
        self._bad[one.host] = self._bad[one.host] + 1 if silent else 0
        seconds = pause(self._settings, self._bad[one.host], one.host in self.urgent)
        seconds *= self._rng.uniform(1 - JITTER, 1 + JITTER)
        # From its begin, or what is silent would be asked more seldom than what answers.
        self._plan(one.host, max(one.began + seconds - now, 0.0))


def connects(bad):
    """How many connects to a target a round takes, after ``bad`` rounds that were not well."""
    return CONNECTS if 0 < bad <= QUICK else 1


def pause(settings, bad, urgent=False):
    """Seconds from the begin of a round to the next."""
    return settings.retry_interval if urgent or 0 < bad <= QUICK else settings.interval


def better(one, other):
    """The word that tells more, of two connects to one target."""
    return next(w for w in (c.ANSWERS, c.REFUSED, c.LOST, c.UNKNOWN) if w in (one, other))


class _Round:
    def __init__(self, host, began, left):
        self.host, self.began, self.left = host, began, left
        self.found = {}


def _opened(target):
    """A socket that is connecting, or asks for an echo; and the answer, where it is there yet."""
    family = socket.AF_INET6 if ':' in target.address else socket.AF_INET
    if target.port:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    else:
        sock = socket.socket(
            family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK,
            socket.IPPROTO_ICMPV6 if ':' in target.address else socket.IPPROTO_ICMP)
    try:
        error = sock.connect_ex((target.address, target.port))
        if not target.port and not error:
            # The kernel fills in the identifier and the checksum.
            sock.send(struct.pack('!BBHHH', _ECHO6 if family == socket.AF_INET6 else _ECHO,
                                  0, 0, 0, 1))
            return sock, None
    except OSError:
        sock.close()
        raise
    return sock, None if error == errno.EINPROGRESS else _word(error)


def _word(error):
    if not error:
        return c.ANSWERS
    if error in _REFUSED:
        return c.REFUSED
    return c.LOST if error in _LOST else c.UNKNOWN


def _close(sock):
    try:
        if sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    except OSError:
        pass
    sock.close()


def can_echo():
    """'' where this process may send ICMP echoes, or why not."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    except OSError as e:
        return str(e)
    return ''
