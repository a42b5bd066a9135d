"""A Ceph cluster without one: stands in for the modules ``rados`` and ``rbd``.

It answers the commands of the adapter as a real cluster does, its peculiarities included, and can
be told to refuse, to fail, or to hang as librados hangs: for ever, inside C.
"""

import json
import threading

from vmha_nova.ceph import placement

FSID = '5a5b9c1e-0000-4000-8000-000000000001'
ENDS = '2036-11-21T08:45:37.376194+0000'


class Error(Exception):
    """As the bindings' errors are: with a positive errno, and no OSError of Python's."""

    def __init__(self, text, errno):
        super().__init__(text)
        self.errno = errno


def session(address, entity='client.nova', kind='client', caps='profile rbd', **more):
    """A record of a monitor's list of sessions."""
    addr, _, nonce = address.rpartition('/')
    return {'name': 'client.?', 'entity_name': entity, 'con_type': kind, 'open': True,
            'addrs': {'addrvec': [{'type': 'any', 'addr': addr, 'nonce': int(nonce)}]},
            'caps': {'text': caps}, **more}


def osd(number, ip, up=True, **more):
    """A record of ``osd dump``; ports as a real OSD's."""
    def vector(first):
        return {'addrvec': [{'type': kind, 'addr': f'{ip}:{first + n}', 'nonce': 77}
                            for n, kind in enumerate(('v2', 'v1'))]}
    return {'osd': number, 'up': int(up), 'in': 1, 'public_addrs': vector(6800),
            'cluster_addrs': vector(6802), **more}


class FakeCluster:
    """The cluster; its attributes are what the commands answer with, to be changed at will."""

    def __init__(self):
        self.epoch = 20
        self.monitors = {'a': [], 'b': [], 'c': []}     # in quorum: name -> sessions
        self.osds = [osd(0, '10.0.0.11'), osd(1, '10.0.0.12')]
        self.pools = {'vms': 3}                         # name -> id
        self.pg_num = 8
        self.hash = 2
        self.blocklist, self.ranges = {}, {}            # entry -> when it ends
        self.ends = ENDS                                # of what is added now
        self.data_pools = {}                            # image -> pool of its contents
        self.images = {}                                # pool/name -> (watchers, lockers)
        self.broken = set()                             # images that cannot be opened
        self.groups = None                              # answer of pg dump
        self.replies = {}                               # prefix -> any other answer
        self.codes = {}                                 # what is asked -> errno it fails with
        self.hanging = set()                            # what is asked -> no answer
        self.released = threading.Event()               # end of all hanging
        self.primary = {}                               # group -> OSD, else 0
        self.silent = set()                             # (pool, group) that does not answer
        self.log = []                                   # (what, arguments) in order
        self.connections = []                           # every Rados object made
        self.lock = threading.Lock()

    # The modules.
    @property
    def rados(self):
        return _Module(Rados=lambda **args: FakeRados(self, **args))

    @property
    def rbd(self):
        return _Module(Image=lambda *args, **more: FakeImage(self, *args, **more))

    def asked(self, what):
        """How often something was asked."""
        return [name for name, _ in self.log].count(what)

    def touch(self, what, args=None):
        """Something is asked: take note, hang or fail as told."""
        with self.lock:
            self.log.append((what, args))
        if what in self.hanging:
            self.released.wait(30)
        if what in self.codes:
            raise Error(f'{what} failed', self.codes[what])

    # What the monitors answer.
    def answer(self, prefix, target, args):
        if prefix in self.replies:
            return self.replies[prefix]
        if target is not None:
            return self.monitors[target]
        return getattr(self, '_' + prefix.replace(' ', '_'))(**args)

    def _quorum_status(self):
        return {'quorum_names': list(self.monitors)}

    def _osd_dump(self):
        return {'fsid': FSID, 'epoch': self.epoch, 'flags': 'noout,sortbitwise',
                'osds': self.osds, 'blocklist': dict(self.blocklist),
                'range_blocklist': {f'cidr:{f"[{ip}]" if ":" in ip else ip}:0/{bits}': at
                                    for ip, _, bits, at in ((*text.partition('/'), at) for
                                                            text, at in self.ranges.items())},
                'pools': [{'pool': n, 'pool_name': name, 'size': 3, 'min_size': 2,
                           'pg_num': self.pg_num, 'object_hash': self.hash}
                          for name, n in self.pools.items()]}

    def _osd_tree(self):
        hosts = [{'id': -2 - o['osd'], 'name': f'compute{o["osd"] + 1}', 'type': 'host',
                  'children': [o['osd']]} for o in self.osds]
        return {'nodes': [{'id': -1, 'name': 'default', 'type': 'root',
                           'children': [h['id'] for h in hosts]}, *hosts,
                          *({'id': o['osd'], 'name': f'osd.{o["osd"]}', 'type': 'osd'}
                            for o in self.osds)]}

    def _osd_blocklist(self, blocklistop, addr, range=None, expire=None):
        table = self.ranges if range else self.blocklist
        with self.lock:
            if blocklistop == 'add':
                assert isinstance(expire, float)
                table.setdefault(addr, self.ends)   # as Ceph: the first end stays
            else:
                table.pop(addr, None)
            self.epoch += 1

    def _osd_map(self, pool, object):
        group = placement.group(object, self.pg_num)
        return {'acting_primary': self.primary.get((pool, group), 0)}

    def _osd_down(self, ids, definitely_dead):
        for record in self.osds:
            if str(record['osd']) in ids and definitely_dead:
                record['up'] = 0

    def _pg_dump(self, dumpcontents):
        return self.groups


class _Module:
    def __init__(self, **names):
        self.__dict__.update(names)


class FakeRados:
    """A connection."""

    def __init__(self, cluster, conffile, name, conf):
        self.cluster, self.conf, self.name = cluster, conf, name
        self.state = 'made'
        cluster.touch('conf', (conffile, name, conf))
        cluster.connections.append(self)

    def connect(self, timeout):
        self.cluster.touch('connect', timeout)
        self.state = 'connected'

    def shutdown(self):
        self.cluster.touch('shutdown')
        self.state = 'shut down'

    def get_addrs(self):
        return '10.0.0.1:0/1'

    def mon_command(self, text, inbuf, target=None):
        return self._command(text, target)

    def mgr_command(self, text, inbuf):
        return self._command(text, None)

    def _command(self, text, target):
        args = json.loads(text)
        prefix = args.pop('prefix')
        assert args.pop('format') == 'json'
        what = f'{prefix} {target}' if target else prefix
        try:
            self.cluster.touch(what, args)
        except Error as error:
            return -error.errno, b'', 'as told'
        assert self.state == 'connected', self.state
        answer = self.cluster.answer(prefix, target, args)
        return 0, b'' if answer is None else json.dumps(answer).encode(), ''

    def pool_reverse_lookup(self, pool_id):
        return {number: name for name, number in self.cluster.pools.items()}[pool_id]

    def wait_for_latest_osdmap(self):
        self.cluster.touch('wait_for_latest_osdmap')

    def open_ioctx(self, pool):
        self.cluster.touch('open_ioctx', pool)
        if pool not in self.cluster.pools:
            raise Error('no such pool', 2)
        return FakeIoctx(self.cluster, pool)


class FakeIoctx:
    """An open pool."""

    def __init__(self, cluster, pool):
        self.cluster, self.pool = cluster, pool
        self.pending, self.closed = 0, False

    def get_pool_id(self):
        return self.cluster.pools[self.pool]

    def close(self):
        assert not self.pending, 'librados crashes when a pool with requests under way is closed'
        self.closed = True

    def stat(self, name):
        self.cluster.touch('stat', name)
        if f'{self.pool}/{name.removeprefix("rbd_id.")}' not in self.cluster.images:
            raise Error('no such object', 2)
        return 16, None

    def aio_stat(self, name, oncomplete):
        """Answers from another thread; a silent group not before the hanging is over."""
        with self.cluster.lock:
            self.pending += 1
        group = self.pool, placement.group(name, self.cluster.pg_num)
        threading.Thread(target=self._complete, args=(group, oncomplete), daemon=True).start()

    def _complete(self, group, oncomplete):
        code = self.cluster.codes.get('aio_stat', 2)
        if group in self.cluster.silent:
            self.cluster.released.wait(30)
            code = 110
        with self.cluster.lock:
            self.pending -= 1
        oncomplete(_Completion(-code), None, None)


class _Completion:
    def __init__(self, value):
        self._value = value

    def get_return_value(self):
        return self._value


class FakeImage:
    """An image, opened."""

    def __init__(self, cluster, ioctx, name, read_only=False):
        assert read_only, 'would be a watcher itself'
        cluster.touch('open', name)
        image = f'{ioctx.pool}/{name}'
        if image not in cluster.images or image in cluster.broken:
            raise Error('image not found', 2)
        self._watchers, self._lockers = cluster.images[image]
        self._data_pool = cluster.pools[cluster.data_pools.get(image, ioctx.pool)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def data_pool_id(self):
        return self._data_pool

    def watchers_list(self):
        return iter([{'addr': a, 'id': 1, 'cookie': 2} for a in self._watchers])

    def list_lockers(self):
        return {'tag': 'internal', 'exclusive': True, 'lockers': [
            ('client.1', 'auto 2', a) for a in self._lockers]} if self._lockers else []
