"""Calls on their way to the cluster: none lasts longer than told, and what their failures mean."""

import atexit
import collections
import contextlib
import errno
import functools
import importlib
import json
import math
import socket
import threading
import time
import weakref

from vmha_nova import exception

#: Seconds by which a call may outlast librados' own time limit before it is given up.
GRACE = 2.0

_MOST_HUNG = 32             # calls given up and not back yet; beyond that no more are made
_PARTING = 1.0              # seconds that somebody waits for a disconnect
_LINE = 400                 # characters of somebody else's text that go into a message
_GONE = (errno.ENOENT,)
_REFUSED = (errno.EACCES, errno.EPERM)
# The cluster has understood, and would say the same again.
_ANSWERED = (*_GONE, *_REFUSED, errno.EINVAL, errno.EEXIST, errno.ENOTSUP, errno.E2BIG,
             errno.ERANGE)


@functools.cache
def binding(name):
    """The Python module ``rados`` or ``rbd``.

    :raises ConfigurationError: it is not there; says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise exception.ConfigurationError(
            f"no Python module {name} ({error}): install the distribution's package "
            f'python3-{name}, and run vmha in an environment that sees it (python3 -m venv '
            f'--system-site-packages)') from error


class Job:
    """A call in a thread of its own.

    ``lost`` is called when nobody waits for it any more.
    """

    def __init__(self, what, lost):
        self._what = what
        self._lost = lost
        self._value = self._error = None
        self.done = threading.Event()
        self.abandoned = False
        self.calls = None

    def result(self, until):
        """What the call returned, or raise what it raised; ``until`` is a monotonic time.

        :raises Unreachable: it was not back by then.
        """
        if not self.done.wait(max(0.0, until - time.monotonic())) and self.calls.give_up(self):
            self._lost()
            raise exception.Unreachable(f'{self._what}: no answer in time')
        if self._error is not None:
            raise self._error
        return self._value

    def leave(self):
        """Wait for it no more; until it is back it counts as hung."""
        self.calls.give_up(self)

    def run(self, function):
        """For the thread."""
        try:
            self._value = function(self)
        except BaseException as error:
            self._error = error
        self.calls.end(self)


class Calls:
    """Runs calls that may hang inside a C library, and gives them up when their time is over.

    A thread that hangs cannot be ended. So those given up are counted, and when there are
    ``most_hung`` of them, no more calls are made until some are back.
    """

    def __init__(self, most_hung=_MOST_HUNG):
        self._most_hung = most_hung
        self._lock = threading.Lock()
        self.hung = 0

    def start(self, what, function, lost=lambda: None):
        """Start ``function(job)``, which should look at ``job.abandoned`` before it acts.

        :raises Unreachable: too many calls hang.
        """
        if self.hung >= self._most_hung:
            raise exception.Unreachable(
                f'{what}: not tried, {self.hung} calls to Ceph have not come back')
        job = Job(what, lost)
        job.calls = self
        try:
            threading.Thread(target=job.run, args=(function,), name=f'ceph: {what}',
                             daemon=True).start()
        except RuntimeError as error:
            raise exception.Unreachable(f'{what}: not tried: {error}') from error
        return job

    def give_up(self, job):
        """Count a job as hung; False when it has just come back instead."""
        with self._lock:
            if job.done.is_set():
                return False
            self.hung += not job.abandoned
            job.abandoned = True
            return True

    def end(self, job):
        """A job is back."""
        with self._lock:
            job.done.set()
            self.hung -= job.abandoned


class _Link:
    """A connected Rados object; the last who lets go of a retired one shuts it down."""

    def __init__(self, rados):
        self.rados = rados
        self.users = 0
        self.retired = False


class Cluster:
    """A connection that is made when it is needed, and anew after it has failed.

    Every request is bounded: librados' own limits are set to ``timeout`` seconds, and a call that
    outlasts them by ``GRACE`` is given up. Nothing is sent for a caller that has gone.
    Safe for use by several threads.
    """

    def __init__(self, conf_file, user, keyring='', timeout=10.0, rados=None,
                 most_hung=_MOST_HUNG):
        self._rados = rados or binding('rados')
        self.client = user if user.startswith('client.') else f'client.{user}'
        self.timeout = timeout
        self._conf_file = conf_file
        limit = str(max(1, math.ceil(timeout)))
        self._conf = {'rados_mon_op_timeout': limit, 'rados_osd_op_timeout': limit,
                      'client_mount_timeout': limit,
                      # Requests to placement groups that do not answer must not hold up others.
                      'objecter_inflight_ops': '1048576'}
        if keyring:
            self._conf['keyring'] = keyring
        self._calls = Calls(most_hung)
        self._link = None
        self._lock = threading.Lock()           # of _link and of the links' counters
        self._connecting = threading.Lock()
        _OPEN.add(self)

    # -- calls ------------------------------------------------------------------------------------
    def deadline(self, seconds=None):
        """The monotonic time by which a call started now is over; ``seconds``: own limit."""
        return time.monotonic() + (self.timeout if seconds is None else seconds) + GRACE

    def start(self, what, function, needs='', until=None):
        """Start ``function(rados)`` in a thread; a Job whose errors are those of this service.

        ``needs`` names the cap without which the cluster refuses it.
        """
        until = until or self.deadline()
        links = []
        return self._calls.start(
            what, lambda job: self._use(job, links, what, function, needs, until),
            lost=lambda: [self._retire(link) for link in links])

    def run(self, what, function, needs='', until=None):
        """What ``function(rados)`` returns, within the limit."""
        until = until or self.deadline()
        return self.start(what, function, needs, until).result(until)

    def each(self, what, items, function, width, needs=''):
        """Yield (item, result or VmhaError) of ``function(rados, item)``, ``width`` at a time.

        ``what`` gets the item put in.
        """
        waiting = collections.deque()

        def start(item):
            until = self.deadline()
            try:
                return item, until, self.start(
                    what.format(item), lambda rados: function(rados, item), needs, until)
            except exception.VmhaError as error:
                return item, until, error

        for item in items:
            waiting.append(start(item))
            if len(waiting) >= width:
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())

    def _use(self, job, links, what, function, needs, until):
        with translated(what, needs, self.client):
            link = self._take(until)
            links.append(link)
            try:
                if job.abandoned:
                    raise exception.Unreachable('not sent: it took too long to connect')
                return function(link.rados)
            except Exception as error:
                # One that has been cut off, or blocklisted, stays so: only a new one helps.
                if not isinstance(error, exception.Rejected) and code(error) not in _ANSWERED:
                    self._retire(link)
                raise
            finally:
                self._give(link)

    # -- the connection ---------------------------------------------------------------------------
    def _take(self, until):
        if not self._connecting.acquire(timeout=max(0.0, until - time.monotonic())):
            raise exception.Unreachable('another call is still connecting')
        try:
            with self._lock:
                if self._link is not None:
                    self._link.users += 1
                    return self._link
            link = _Link(self._connect())
            link.users = 1
            with self._lock:
                self._link = link
            return link
        finally:
            self._connecting.release()

    def _connect(self):
        with self._opening():
            rados = self._rados.Rados(conffile=self._conf_file, name=self.client, conf=self._conf)
        try:
            with self._opening():
                rados.connect(timeout=math.ceil(self.timeout))
        except BaseException:
            self._shut(_Link(rados))
            raise
        return rados

    @contextlib.contextmanager
    def _opening(self):
        try:
            yield
        except Exception as error:
            number = code(error)
            if number in _GONE or number == errno.EINVAL:
                raise exception.ConfigurationError(
                    f'{self._conf_file}, or the keyring of {self.client}, is missing or wrong: '
                    f'{line(error)}') from error
            if number in _REFUSED:
                raise exception.Rejected(
                    f'the monitors refuse the key of {self.client}: {line(error)}',
                    number) from error
            raise

    def _retire(self, link):
        with self._lock:
            link.retired = True
            if self._link is link:
                self._link = None

    def _give(self, link):
        with self._lock:
            link.users -= 1
            over = link.retired and not link.users
        if over:
            self._shut(link)

    def close(self):
        """Let go of the connection; the next call makes a new one.

        To be called before the interpreter ends: librados' threads can crash it otherwise.
        """
        with self._lock:
            link, self._link = self._link, None
            if link is None:
                return
            link.retired = True
            over = not link.users
        if over:
            self._shut(link)

    def _shut(self, link):
        """Disconnect; that may hang like any other call, and nobody needs to wait for long."""
        with contextlib.suppress(exception.Unreachable):
            job = self._calls.start('disconnect', lambda job: link.rados.shutdown())
            job.result(time.monotonic() + _PARTING)


_OPEN = weakref.WeakSet()


@atexit.register
def _close_all():
    for cluster in list(_OPEN):
        cluster.close()


def _outcome(item, until, job):
    if isinstance(job, exception.VmhaError):
        return item, job
    try:
        return item, job.result(until)
    except exception.VmhaError as error:
        return item, error


# -- commands -------------------------------------------------------------------------------------
def command(send, prefix, **args):
    """Send a command and decode its answer; None where it has none.

    ``send`` is one of the methods of a Rados object, with all but the command filled in.

    :raises OSError: the cluster answered with an error.
    """
    status, out, text = send(json.dumps({'prefix': prefix, 'format': 'json', **args}), b'')
    if status:
        raise OSError(abs(status), text or errno.errorcode.get(abs(status), str(status)))
    return json.loads(out) if out.strip() else None


@contextlib.contextmanager
def pool(rados, name):
    """A pool, opened. That it is missing must not be taken for an image that is."""
    try:
        ioctx = rados.open_ioctx(name)
    except Exception as error:
        if code(error) in _GONE:
            raise exception.Rejected(f'there is no pool {name}', errno.ENOENT) from error
        raise
    try:
        yield ioctx
    finally:
        ioctx.close()


@contextlib.contextmanager
def translated(what, needs='', client=''):
    """Translate what goes wrong inside into the errors of this service.

    ``needs`` names the cap without which the cluster refuses this, ``client`` who must have it.
    """
    try:
        yield
    except exception.VmhaError as error:
        raise _prefixed(what, error) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise exception.Unreachable(
            f'{what}: not the answer expected ({type(error).__name__}: {line(error)})'
        ) from error
    except Exception as error:
        number = code(error)
        text = f'{what}: {line(error)}'
        if number == errno.ESHUTDOWN:
            text += ' (this client is on the blocklist; a new one is made)'
        if number in _REFUSED:
            raise exception.Rejected(
                f'{text}: {client} lacks the cap {needs}' if needs else text, number) from error
        if number in _GONE:
            raise exception.NotFound(text, number) from error
        if number in _ANSWERED:
            raise exception.Rejected(text, number) from error
        raise exception.Unreachable(text) from error


def _prefixed(what, error):
    text = str(error) if str(error).startswith(what) else f'{what}: {error}'
    if isinstance(error, exception.Rejected):
        return type(error)(text, error.code)
    return type(error)(text)


def code(error):
    """The errno of an error of the bindings, or 0."""
    number = getattr(error, 'errno', None)
    return abs(number) if isinstance(number, int) else 0


def line(text):
    """Some text as one line of bounded length."""
    return ' '.join(str(text).split())[:_LINE] or type(text).__name__


# -- ports ----------------------------------------------------------------------------------------
def refusing(ports, timeout):
    """Whether every one of some (IP, port) refuses connections: nothing listens, the host is up.

    Silence, an open port, and no ports at all, are False. ``timeout`` is in seconds, for all.
    """
    ports = list(ports)
    until = time.monotonic() + timeout
    return bool(ports) and all(_refuses(address, until) for address in ports)


def _refuses(address, until):
    left = until - time.monotonic()
    if left <= 0:
        return False
    try:
        socket.create_connection(address, timeout=left).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
