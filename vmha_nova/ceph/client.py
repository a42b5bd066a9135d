"""The calls to Ceph.

Every call is bounded: it returns or raises within ``timeout`` and a few seconds, however dead the
cluster is. All of them may be repeated, acts as well, so no outcome is left unknown:
``Unreachable`` means that no whole answer came back, and asking again is safe. ``Rejected`` is a
refusal; where a missing cap is the reason, the text names it.

The least caps this works with, for the pools that hold disks of instances::

    mon 'allow r, allow command "sessions", allow command "osd blocklist",
         allow command "osd down"'
    mgr 'allow r'
    osd 'profile rbd-read-only pool=vms, profile rbd-read-only pool=volumes, …'
"""

import datetime
import errno
import functools
import time

from vmha_nova.ceph import probe
from vmha_nova.ceph import records
from vmha_nova.ceph import wire
from vmha_nova import exception

_READ = "mon 'allow r'"
_SESSIONS = """mon 'allow command "sessions"'"""
_BLOCKLIST = """mon 'allow command "osd blocklist"'"""
_DOWN = """mon 'allow command "osd down"'"""
_MANAGER = "mgr 'allow r'"
_IMAGES = "osd 'profile rbd-read-only pool={}'"

_WIDTH = 16                 # images looked at side by side
_EDITING = 64               # blocklist entries on their way side by side: one commit takes all


class Ceph:
    """One Ceph cluster, seen by the client ``user``.

    ``timeout`` is in seconds, for one answer. ``data_pools`` are the pools that may hold contents
    of images whose header is elsewhere. ``clock`` tells aware UTC. ``rados`` and ``rbd`` are
    the Python bindings, by default those installed. Connects when it is first used, and again
    after a failure. Safe for use by several threads.

    :raises ConfigurationError: the bindings are missing; so does the first call when the
        configuration file or the keyring is.
    """

    def __init__(self, conf_file, user, keyring='', timeout=10.0, clock=None, rados=None,
                 rbd=None, data_pools=()):
        self._data_pools = frozenset(data_pools)
        self._rbd = rbd or wire.binding('rbd')
        self._cluster = wire.Cluster(conf_file, user, keyring, timeout, rados)
        self._clock = clock or functools.partial(datetime.datetime.now, datetime.timezone.utc)

    def close(self):
        """Disconnect; to be called before the process ends. A later call connects again."""
        self._cluster.close()

    # -- what the cluster looks like --------------------------------------------------------------
    def map(self):
        """The OSD map: a StorageMap."""
        seen_at, until = self._clock(), self._cluster.deadline()
        tree = self._ask('osd tree', until)
        return self._ask('osd dump', until, lambda dump: records.storage_map(dump, tree, seen_at))

    def quorum(self):
        """The names of the monitors in quorum, a frozenset; there is at least one."""
        return self._ask('quorum_status', parse=records.quorum)

    def space(self):
        """How full pools and device classes are: a ``records.Space``."""
        return self._ask('df', parse=records.space, detail='detail')

    def ask(self, prefix, **args):
        """The decoded answer of a command that only reads; monitors pass on what managers know."""
        return self._cluster.run(prefix, lambda rados: wire.command(
            rados.mon_command, prefix, **args), f"""mon 'allow command "{prefix}"'""")

    def inactive(self, pools, storage):
        """Which of some pools have placement groups that are not ready: name -> why.

        ``storage`` is the StorageMap that says which OSDs are up: the manager's report can be
        older than a failure, by five seconds even when all is well. ``unanswered`` asks the OSDs
        themselves.
        """
        with wire.translated('placement groups'):
            report = self._cluster.run('pg dump', lambda rados: wire.command(
                rados.mgr_command, 'pg dump', dumpcontents=['pgs_brief']), _MANAGER)
            if not report['pg_ready']:
                raise exception.Unreachable('the manager has not heard from all OSDs yet')
            groups = {}
            for group in report['pg_stats']:
                groups.setdefault(int(group['pgid'].partition('.')[0]), []).append(group)
            up = frozenset(osd.id for osd in storage.osds if osd.up)
            found = {}
            for name in pools:
                pool = storage.pools.get(name)
                found[name] = 'no such pool' if pool is None else records.not_ready(
                    groups.get(pool.id, ()), pool, up)
            return {name: why for name, why in found.items() if why}

    # -- who writes -------------------------------------------------------------------------------
    def clients(self):
        """The clients that hold a session with a monitor: {client address: entity name}.

        Each client that has an image open holds one, with one of the monitors. One that was cut
        off stays listed for some minutes, one that was killed vanishes at once, and for seconds
        after its monitor died a client is listed nowhere. Our own addresses are left out.

        :raises Unreachable: not every monitor in quorum answered.
        """
        found, own = {}, set()
        for clients, address in self._sessions(records.clients):
            found.update(clients)
            own.add(address)
        return {address: name for address, name in found.items() if address not in own}

    def own_addresses(self):
        """The IPs from which this process uses the cluster, a frozenset."""
        return self._cluster.run('own address', lambda rados: frozenset(
            [records.ip_of(records.entry(rados.get_addrs()))]))

    def monitor_caps(self):
        """The monitor caps of the users that are connected: {entity name: text}.

        :raises Unreachable: not every monitor in quorum answered.
        """
        found = {}
        for caps, _ in self._sessions(records.monitor_caps):
            found.update(caps)
        return found

    def users(self, image):
        """The addresses of the clients that watch or lock the image ``pool/name``, a frozenset.

        :raises NotFound: there is no such image.
        """
        return self._cluster.run(f'users of {image}',
                                 lambda rados: self._users(rados, image), _images(image))

    def users_of(self, images):
        """The same for several images: {image: frozenset, or None: there is no such image}.

        :raises VmhaError: some could not be read; says how many, and why the first could not.
        """
        found, failed = {}, []
        for image, users in self._cluster.each(
                'users of {}', images, self._users, _WIDTH, _IMAGES.format('…')):
            if isinstance(users, exception.NotFound):
                found[image] = None
            elif isinstance(users, exception.VmhaError):
                failed.append(users)
            else:
                found[image] = users
        if failed:
            raise _summary(f'{len(failed)} of {len(found) + len(failed)} images not read', failed)
        return found

    def has_image(self, image):
        """Whether there is an image ``pool/name``; False only when the cluster says so."""
        try:
            self._cluster.run(f'image {image}', functools.partial(_stat, image=image),
                              _images(image))
        except exception.NotFound:
            return False
        return True

    # -- fencing ----------------------------------------------------------------------------------
    def add(self, entries, ranges, seconds):
        """Put client addresses and whole addresses on the blocklist, for ``seconds``.

        When this returns, the monitors have it; ``enforced`` tells when the OSDs do. Something
        that was there before ends when it was to end: Ceph does not prolong it. So the answer is
        what will end in less than half of ``seconds``: {entry or range: when}.

        :raises FenceFailed: one of them is no single client, or no single IP; or was refused.
        :raises Unreachable: some were not confirmed; says which.
        """
        entries, ranges = list(entries), list(ranges)
        wrong = ([text for text in entries if not records.names_one(text)]
                 + [text for text in ranges if not records.names_one_ip(text)])
        if wrong:
            raise exception.FenceFailed(f'not put on the blocklist: {records.named(set(wrong))}: '
                                        f'that is not one client or one IP')
        entries = {records.entry(text) for text in entries}
        ranges = {records.cidr(text) for text in ranges}
        try:
            return self._add(entries, ranges, seconds)
        except exception.Rejected as error:
            raise exception.FenceFailed(str(error)) from error

    def _add(self, entries, ranges, seconds):
        self._edit('add', entries, ranges, seconds)
        short, long = self._ending_early(entries | ranges, seconds)
        # Ceph keeps the first end of what is added again. Only under a range may it be renewed.
        again = {text for text in short if text in entries and records.covered(text, long)}
        if again:
            self._edit('rm', again, ())
            self._edit('add', again, (), seconds)
            short, _ = self._ending_early(entries | ranges, seconds)
        return short

    def _ending_early(self, wanted, seconds):
        """({what ends in less than half of ``seconds``: when}, ranges that do not)."""
        entries, ranges = self._ask('osd dump', parse=records.blocklist)
        limit = self._clock() + datetime.timedelta(seconds=seconds / 2)
        return ({text: at for text, at in {**entries, **ranges}.items()
                 if text in wanted and at < limit}, {r for r, at in ranges.items() if at >= limit})

    def _edit(self, act, entries, ranges, seconds=0.0):
        """Add to the blocklist, or (act: rm) remove from it, all at once."""
        items = [(text, {}) for text in sorted(entries)]
        items += [(text, {'range': 'range'}) for text in sorted(ranges)]
        failed = {}
        for (text, _), answer in self._cluster.each(
                f'blocklist {act} {{0[0]}}', items,
                functools.partial(_edit, act=act, seconds=seconds), _EDITING, _BLOCKLIST):
            if isinstance(answer, exception.VmhaError):
                failed[text] = answer
        if failed:
            raise _summary(f'blocklist {act} failed for {records.named(failed)}',
                           list(failed.values()))

    def remove_range(self, cidr):
        """Take a whole address off the blocklist; entries of single clients stay.

        Clients of that address that have no entry of their own go on writing where they stopped.
        """
        clean = records.cidr(cidr)
        if not clean:
            raise exception.Rejected(f'{cidr!r} is no range of addresses')
        self._edit('rm', (), [clean])

    def mark_dead(self, ids):
        """Declare OSDs dead for certain, so that nobody waits for the leases they hold.

        Only of OSDs whose processes are gone: a lie costs data.
        """
        names = [str(osd) for osd in sorted(ids)]
        self._cluster.run(f'osd down {" ".join(names)}', lambda rados: wire.command(
            rados.mon_command, 'osd down', ids=names, definitely_dead=True), _DOWN)

    def enforced(self, epoch, pools, seconds):
        """The OSDs that have not yet shown that they use OSD map ``epoch``: a set of ids.

        Asked are the primaries of all placement groups of ``pools``: they alone take what clients
        write, and one with an older map still takes it from a client that is on the blocklist
        now. An OSD is also named when a group it leads does not answer because it is not active.
        """
        missing = self.unanswered(epoch, pools, seconds)
        if not missing:
            return frozenset()
        return self._cluster.run('primaries', functools.partial(
            probe.primaries, missing=missing), _READ)

    def unanswered(self, epoch, pools, seconds):
        """The placement groups that have not answered a request sent with OSD map ``epoch``.

        {pool: {number of the group: name of an object that would be in it}}, pools that answered
        whole left out. A group answers when it is active and its primary uses that map or a newer
        one; they are given ``seconds``. Nothing is written.
        """
        asked = probe.Probe(epoch, pools)
        job = self._cluster.start('placement groups', asked.run, _IMAGES.format('…'))
        return asked.missing(job, time.monotonic() + seconds)

    # -- how --------------------------------------------------------------------------------------
    def _ask(self, prefix, until=None, parse=None, **args):
        """What ``parse`` makes of a monitor's answer, which may not be what it expects."""
        def ask(rados):
            answer = wire.command(rados.mon_command, prefix, **args)
            return parse(answer) if parse else answer
        return self._cluster.run(prefix, ask, _READ, until)

    def _sessions(self, parse):
        """(what ``parse`` makes of its sessions, our own address), for each monitor in quorum."""
        until = self._cluster.deadline()
        names = self._ask('quorum_status', until, records.quorum)
        jobs = [self._cluster.start(
            f'sessions of mon.{name}', functools.partial(_sessions, monitor=name, parse=parse),
            _SESSIONS, until) for name in sorted(names)]
        return [job.result(until) for job in jobs]

    def _users(self, rados, image):
        pool, name = _split(image)
        with wire.pool(rados, pool) as ioctx:
            try:
                # Read-only, or we would be a watcher ourselves.
                with self._rbd.Image(ioctx, name, read_only=True) as opened:
                    self._check_data_pool(rados, ioctx, opened.data_pool_id())
                    texts = [watcher['addr'] for watcher in opened.watchers_list()]
                    locks = opened.list_lockers()
            except Exception as error:
                if wire.code(error) != errno.ENOENT:
                    raise
                # A parent can be missing, or half of it: only this says that there is none.
                ioctx.stat(f'rbd_id.{name}')
                raise exception.Unreachable(f'it is there, and {wire.line(error)}') from error
        texts += [locker[2] for locker in locks['lockers']] if locks else []
        found = frozenset(records.entry(text) for text in texts)
        if '' in found:
            raise ValueError(f'an address in {texts}')
        return found

    def _check_data_pool(self, rados, ioctx, pool_id):
        """A fence is proven by the OSDs of the pools that are known: this must be one of them."""
        name = rados.pool_reverse_lookup(pool_id)
        if pool_id != ioctx.get_pool_id() and name not in self._data_pools:
            raise exception.Rejected(
                f'its contents are in pool {name}, which [ceph] data_pools does not name')


def _sessions(rados, monitor, parse):
    send = functools.partial(rados.mon_command, target=monitor)
    return parse(wire.command(send, 'sessions')), records.entry(rados.get_addrs())


def _edit(rados, item, act, seconds):
    text, more = item
    if act == 'add':
        more = {**more, 'expire': float(seconds)}   # some releases take no other kind of number
    wire.command(rados.mon_command, 'osd blocklist', blocklistop=act, addr=text, **more)


def _stat(rados, image):
    pool, name = _split(image)
    with wire.pool(rados, pool) as ioctx:
        ioctx.stat(f'rbd_id.{name}')


def _split(image):
    pool, slash, name = image.partition('/')
    if not (pool and slash and name):
        raise exception.Rejected(f'{image!r} is not pool/name')
    return pool, name


def _images(image):
    return _IMAGES.format(image.partition('/')[0])


def _summary(text, errors):
    """One error for several: a refusal, if there is one, for it will not pass by itself."""
    worst = next((e for e in errors if isinstance(e, exception.Rejected)), errors[0])
    return type(worst)(f'{text}: {worst}')
