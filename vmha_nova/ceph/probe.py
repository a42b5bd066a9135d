"""Asking the OSDs themselves: one request to each placement group of a pool."""

import contextlib
import errno
import functools
import threading
import time

from vmha_nova.ceph import placement
from vmha_nova.ceph import wire
from vmha_nova import exception


class Probe:
    """Sends every placement group of some pools a request that writes nothing.

    A request carries the epoch of the map it is sent with. A primary that is behind fetches that
    map before it answers, and a group that is not active does not answer at all.
    """

    def __init__(self, epoch, pools):
        self._epoch = epoch
        self._pools = tuple(pools)
        self._names = {}                # pool -> names of objects, by number of the group
        self._left = None               # (pool, number) of those that have not answered
        self._waiting = 0               # requests under way
        self._error = 0
        self._failed = False
        self._changed = threading.Condition()

    def run(self, rados):
        """Send all requests, and stay until the last is back: a pool in use must not be closed."""
        try:
            self._prepare(rados)
            with contextlib.ExitStack() as stack:
                try:
                    for name in self._pools:
                        ioctx = stack.enter_context(wire.pool(rados, name))
                        for number, text in enumerate(self._names[name]):
                            self._send(ioctx, name, number, text)
                finally:
                    with self._changed:
                        self._changed.wait_for(lambda: not self._waiting)
            if self._error:
                raise self._refusal()
        except BaseException:
            with self._changed:
                self._failed = True
                self._changed.notify_all()
            raise

    def missing(self, job, until):
        """Who has not answered by ``until``, a monotonic time; ``job`` runs ``run``.

        {pool: {number of the group: name of an object in it}}
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._error or self._left == set(),
                                   max(0.0, until - time.monotonic()))
            if not self._error and self._left is not None and not self._failed:
                found = {}
                for name, number in sorted(self._left):
                    found.setdefault(name, {})[number] = self._names[name][number]
                if found:
                    job.leave()
                return found
        job.result(until + wire.GRACE)
        raise exception.Unreachable('placement groups: no answer in time')

    def _prepare(self, rados):
        dump = wire.command(rados.mon_command, 'osd dump')
        if dump['epoch'] < self._epoch:
            raise exception.Unreachable(
                f'the monitors are at OSD map {dump["epoch"]}, not at {self._epoch}')
        rados.wait_for_latest_osdmap()
        known = {pool['pool_name']: pool for pool in dump['pools']}
        for name in self._pools:
            pool = known.get(name)
            if pool is None:
                raise exception.Rejected(f'there is no pool {name}', errno.ENOENT)
            if pool['object_hash'] != placement.RJENKINS:
                raise exception.Rejected(f'pool {name} places its objects by an unknown hash')
            self._names[name] = placement.names(pool['pg_num'])
        with self._changed:
            self._left = {(name, number) for name in self._pools
                          for number in range(len(self._names[name]))}
            self._changed.notify_all()

    def _send(self, ioctx, name, number, text):
        with self._changed:
            self._waiting += 1
        try:
            ioctx.aio_stat(text, functools.partial(self._answered, (name, number)))
        except BaseException:
            with self._changed:
                self._waiting -= 1
            raise

    def _answered(self, group, completion, *_):
        """In a thread of librados. The answer expected is that there is no such object."""
        code = abs(completion.get_return_value())
        with self._changed:
            self._waiting -= 1
            if code in (0, errno.ENOENT):
                self._left.discard(group)
            elif code != errno.ETIMEDOUT:
                self._error = code
            if self._error or not self._left or not self._waiting:
                self._changed.notify_all()

    def _refusal(self):
        return OSError(self._error, errno.errorcode.get(self._error, str(self._error)))


def primaries(rados, missing):
    """The ids of the OSDs that lead the groups which a probe found ``missing``."""
    found = {wire.command(rados.mon_command, 'osd map', pool=name, object=text)['acting_primary']
             for name, groups in missing.items() for text in groups.values()}
    return frozenset(found - {-1})
