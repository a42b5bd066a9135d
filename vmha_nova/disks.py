"""Pure: whose storage client is this, where are an instance's disks, is the fence enough for it?

A client of the storage belongs to a host by its address and by nothing else: while an instance
is migrated, both hosts have its image open. An address that two hosts claim belongs to neither.
"""

import collections
import collections.abc
import dataclasses
import datetime
import ipaddress
import types
import typing

from vmha_nova import model

BACKEND = 'rbd:'                        # and the name of a pool
LOCAL = 'local'
DOWN, UP, PARTLY, NONE = 'down', 'up', 'partly', 'none'
STALE, UNKNOWN = 'stale', 'unknown'
FULL = 0.85                             # Ceph's nearfull ratio: where it begins to complain


@dataclasses.dataclass(frozen=True)
class Pools:
    """The pools of the storage, by what they hold."""

    kept: tuple[str, ...] = ()          # disks that Nova's image backend keeps
    volumes: tuple[str, ...] = ()       # Cinder's volumes
    images: tuple[str, ...] = ()        # Glance's images, parents of the disks
    data: tuple[str, ...] = ()          # contents of images whose header is in one of the others

    @property
    def all(self) -> tuple[str, ...]:
        """Each of them once."""
        return tuple(dict.fromkeys((*self.kept, *self.volumes, *self.images, *self.data)))


# -- hosts and their addresses -------------------------------------------------------------------
def ip_of(client: str) -> str:
    """The IP of a client as the blocklist writes it: '10.0.0.7:0/123' -> '10.0.0.7'."""
    return client.rpartition(':')[0].strip('[]')


def osds_of(host: str, nodes: typing.Mapping[str, model.ComputeNode],
            storage: model.StorageMap) -> tuple[model.Osd, ...]:
    """The OSDs on a host: those of the CRUSH bucket of its name, else those at its address.

    Names are the same when they are equal, or when one is the other without its domain and no
    second host has that short name.
    """
    return by_host(nodes, storage).get(host, ())


def by_host(nodes: typing.Mapping[str, model.ComputeNode],
            storage: model.StorageMap) -> dict[str, tuple[model.Osd, ...]]:
    """Host -> its OSDs, as osds_of gives them, of all hosts that have some."""
    by_bucket = collections.defaultdict(list)
    for osd in storage.osds:
        by_bucket[osd.bucket].append(osd)
    short = collections.defaultdict(list)
    for host in nodes:
        short[host.partition('.')[0]].append(host)
    buckets = collections.Counter(b.partition('.')[0] for b in by_bucket)
    hosts_at = collections.defaultdict(set)
    for node in nodes.values():
        hosts_at[address(node.address)].add(node.host)
    found = collections.defaultdict(list)
    for bucket, osds in by_bucket.items():
        host = bucket if bucket in nodes else None
        if host is None:
            name = bucket.partition('.')[0]
            same = short.get(name, ())
            if len(same) == buckets[name] == 1 and (
                    '.' not in (same[0] if '.' in bucket else bucket)):
                host = same[0]
        for osd in osds:
            at = {h for ip in osd.addresses for h in hosts_at.get(ip, ())}
            owner = host or (next(iter(at)) if len(at) == 1 else None)
            if owner is not None:
                found[owner].append(osd)
    return {host: tuple(osds) for host, osds in found.items()}


def addresses(nodes: typing.Mapping[str, model.ComputeNode], storage: model.StorageMap,
              named: typing.Mapping[str, typing.Iterable[str]] = model.NOTHING,
              ) -> tuple[dict[str, str], tuple[str, ...]]:
    """Whose is an IP: what the operator named, what its OSDs use, and what Nova shows of it.

    ``named``: host -> IPs. Returns ({IP: host}, problems in words); what two hosts claim is
    nobody's.
    """
    claims, problems = collections.defaultdict(set), []
    for host, texts in named.items():
        if host not in nodes:
            problems.append(f'[ceph] host_addresses: there is no compute node {host}')
            continue
        for text in texts:
            if ip := address(text):
                claims[ip].add(host)
            else:
                problems.append(f'[ceph] host_addresses: {text!r} of {host} is no IP address that '
                                'tells hosts apart')
    for host, osds in by_host(nodes, storage).items():
        for ip in {ip for osd in osds for ip in osd.addresses}:
            claims[address(ip)].add(host)
    for node in nodes.values():
        claims[address(node.address)].add(node.host)
    claims.pop('', None)
    found = {}
    for ip, hosts in sorted(claims.items()):
        if len(hosts) == 1:
            found[ip] = next(iter(hosts))
        else:
            problems.append(f'{ip} is claimed by {", ".join(sorted(hosts))}: clients of the '
                            'storage at this address are nobody\'s')
    return found, tuple(problems)


def address(text: str) -> str:
    """An IP as Ceph writes it; '' where it is none, or none that can tell hosts apart."""
    try:
        ip = ipaddress.ip_address(text.strip().strip('[]'))
    except ValueError:
        return ''
    return '' if ip.is_loopback or ip.is_unspecified or ip.is_link_local else str(ip)


def osd_state(host: str, nodes: typing.Mapping[str, model.ComputeNode],
              storage: model.StorageMap | None, age: float, limit: float) -> model.OsdState:
    """Are all OSDs of a host down? ``age``: seconds since the map was read, at most ``limit``."""
    if storage is None:
        return model.OsdState(UNKNOWN, 'the storage could not be asked')
    seen_at = storage.seen_at
    if age > limit:
        return model.OsdState(STALE, (
            f'the storage does not answer (last seen {age:.0f} s ago)'), seen_at)
    osds = osds_of(host, nodes, storage)
    if not osds:
        return model.OsdState(NONE, f'no OSD is known on {host}', seen_at)
    down = [o for o in osds if not o.up]
    what = DOWN if len(down) == len(osds) else PARTLY if down else UP
    text = f'{len(down)} of {len(osds)} OSDs of {host} are down'
    if what != DOWN and 'nodown' in storage.flags:
        text += ' (but Ceph takes none for down while its flag nodown is set)'
    return model.OsdState(what, text, seen_at)


def unmeasured(storage: model.StorageMap,
               usage: typing.Mapping[int, tuple[int, int]]) -> tuple[int, ...]:
    """OSDs that hold data, by id, of which it is not known how much they have room for."""
    return tuple(sorted(o.id for o in storage.osds
                        if o.inside and not usage.get(o.id, (0, 0))[0]))


def fill_without(groups: typing.Mapping[str, typing.Iterable[model.Osd]],
                 storage: model.StorageMap, usage: typing.Mapping[int, tuple[int, int]],
                 ) -> dict[str, float | None]:
    """How full the storage is once what some OSDs hold is made anew on the others.

    :param groups: name -> OSDs that are lost together
    :param usage: OSD -> (size, used), of one unit

    Name -> the share: 1.0 is full, and so is a storage that would be gone as a whole; None: not
    known, because that is not known of some OSD. Of groups that hold no data nothing is said.
    """
    inside = {o.id for o in storage.osds if o.inside}
    known = not unmeasured(storage, usage)
    total, used = (sum(usage[i][at] for i in inside) if known else 0 for at in (0, 1))
    found = {}
    for name, osds in groups.items():
        ids = inside & {o.id for o in osds}
        if ids:
            lost = sum(usage[i][0] for i in ids) if known else 0
            found[name] = (used / (total - lost) if total > lost else 1.0) if known else None
    return found


# -- instances and their disks -------------------------------------------------------------------
def images(instance: model.Instance, pools: Pools,
           attached: typing.Mapping[str, str] = model.NOTHING) -> dict[str, tuple[str, ...]]:
    """Where each disk of an instance may be: name -> candidates pool/image.

    ``attached`` is what Cinder says: volume id -> pool/image, '' where it is not on RBD. Of a
    volume it does not name, Cinder's usual name is looked for.
    """
    found = {f'{instance.id}_disk{kind}': tuple(
        f'{pool}/{instance.id}_disk{kind}' for pool in pools.kept) for kind in instance.kept}
    for volume in instance.volumes:
        said = attached.get(volume)
        found[f'volume-{volume}'] = (said,) * bool(said) if said is not None else tuple(
            f'{pool}/volume-{volume}' for pool in pools.volumes)
    return found


def record(instance: model.Instance, places: typing.Mapping[str, tuple[str, ...]],
           users: typing.Mapping[str, typing.Collection[str] | None],
           owner: typing.Mapping[str, str], now: datetime.datetime,
           before: model.DiskRecord | None = None,
           gone: typing.Callable[[str], bool] = lambda client: False) -> model.DiskRecord:
    """What was found of an instance's disks, as it is kept.

    :param places: as images() gives them
    :param users: candidate image -> its clients, None: there is no such image
    :param owner: IP -> host
    :param gone: whether a client is known to write no more: its lock can outlast it
    :param before: what is on record; of the same life of the instance its clients are kept, for
        a guest that is just dying has none any more
    """
    kept, found, missing, strange, elsewhere = {}, set(), [], set(), set()
    old = before.images if before is not None and current(instance, before) else {}
    for name, candidates in places.items():
        there = [image for image in candidates if users.get(image) is not None]
        if not there:
            where = f'looked for {" and ".join(candidates)}' if candidates else 'Cinder says so'
            missing.append(f'its disk {name} is not on the storage ({where})')
        for image in there:
            at = {client: owner.get(ip_of(client)) for client in users[image]}
            mine = {c for c, host in at.items() if host == instance.host}
            strange |= {c for c, host in at.items() if host is None}
            kept[image] = sorted(mine | set(old.get(image, ())))
            if not name.startswith('volume-'):
                found.add(BACKEND + image.partition('/')[0])
                elsewhere |= {c for c, host in at.items()
                              if host not in (None, instance.host) and not gone(c)}
    if len(found) > 1:
        missing.append(f'its disks are in more than one place: {", ".join(sorted(found))}')
    return model.DiskRecord(
        instance_id=instance.id, host=instance.host, stamp=instance.stamp, images=kept,
        backend=min(found, default=LOCAL if instance.kept else ''),
        problem='; '.join(missing), strange=sorted(strange), elsewhere=sorted(elsewhere),
        seen_at=now)


def current(instance: model.Instance, found: model.DiskRecord | None) -> bool:
    """Whether the record is about the instance as it is now, not as it was before a start."""
    return found is not None and (found.host, found.stamp) == (instance.host, instance.stamp)


def connected(instance: model.Instance, found: model.DiskRecord) -> bool:
    """Whether all of its disks have a client on record, where a running guest must have one.

    A stopped one that is just being started may run already.
    """
    off = instance.power_state == 4 and instance.vm_state == 'stopped' and not instance.task_state
    return off or all(found.images.values())


def backing(instance: model.Instance, found: model.DiskRecord | None,
            whole: bool) -> model.Backing:
    """What a fence of the storage clients of its host means for an instance.

    ``whole``: the fence holds for whatever client that host has, not only for those on record.
    """
    if not instance.kept and not instance.volumes:
        return model.Backing(unsure='Nova shows no disk of it')
    if not current(instance, found):
        return model.Backing(unsure='where its disks are was not read since it was last started '
                                    'or changed')
    if found.problem:
        return model.Backing(local=found.problem)
    if found.elsewhere:
        return model.Backing(unsure=f'its disk is also used from {found.elsewhere[0]}, which is '
                                    'another compute node: it may have been migrated there')
    if not connected(instance, found):
        if found.strange:
            return model.Backing(unsure=f'its disk is used from {found.strange[0]}, which is no '
                                 'known address of any host: name it in [ceph] host_addresses')
        if not whole:
            return model.Backing(unsure='no storage client of it was recorded since its last '
                                 'start, so that none can be fenced')
    return model.Backing(found.backend if instance.kept else '')


def named_backing(instance: model.Instance, backend: str) -> model.Backing:
    """What backs an instance by the operator's word about its host, where no storage is asked."""
    if not instance.kept and not instance.volumes:
        return model.Backing(unsure='Nova shows no disk of it')
    if not instance.kept:
        return model.Backing()
    if not backend:
        return model.Backing(unsure=f'where {instance.host} keeps disks is not known, and a '
                                    'target must keep them in the same place: vmha-manage host '
                                    'set --backend, or [ceph] hosts_backend')
    if backend == LOCAL:
        return model.Backing(local=f'its disk is on {instance.host} itself')
    return model.Backing(backend)


def backends(instances: typing.Iterable[model.Instance],
             records: typing.Mapping[str, model.DiskRecord]) -> dict[str, set[str]]:
    """Where hosts keep disks, as seen: host -> backends of the disks of its running instances."""
    found = collections.defaultdict(set)
    for instance in instances:
        seen = records.get(instance.id)
        if instance.kept and current(instance, seen) and (
                seen.backend == LOCAL or any(seen.images.values())):
            found[instance.host].add(seen.backend)
    return dict(found)


def backend_problem(word: str) -> str:
    """Why an operator's word is not a place where a host can keep disks; ''."""
    if word in ('', LOCAL) or word.startswith(BACKEND) and word != BACKEND:
        return ''
    return f'{word!r} is no place of disks: {BACKEND} and the name of a pool, or {LOCAL}'


def backend(word: str, seen: str | None, everywhere: str) -> str:
    """Where a host's nova-compute keeps new disks; '' when that is not known.

    The operator's ``word`` about this host counts most; then what was last ``seen`` of its
    instances ('': their disks were in several places); then the operator's word about all hosts,
    where nothing was ever seen (None).
    """
    if word:
        return word
    return everywhere if seen is None else seen


class Backends:
    """Gives nodes their backends; remembers the last ones, as most are what they were."""

    def __init__(self):
        self._made = {}                 # host -> (node, the same with its backend)

    def of(self, cluster: model.Cluster, seen: typing.Mapping[str, str],
           everywhere: str) -> model.Cluster:
        """The cluster with the backend of every node; see ``backend``.

        What a node has there is the operator's word about it; ``seen`` is by host.
        """
        before, made = self._made, {}
        for host, node in cluster.nodes.items():
            found = backend(node.backend, seen.get(host), everywhere)
            of, known = before.get(host, (None, None))
            if of is not node or known.backend != found:
                known = dataclasses.replace(node, backend=found)
            made[host] = node, known
        self._made = made
        return dataclasses.replace(cluster, nodes=types.MappingProxyType(
            {host: known for host, (_, known) in made.items()}))


class Backed(collections.abc.Mapping):
    """Instances by id, each with what backs it, made when it is asked for.

    There may be hundreds of thousands: to have all of them twice takes seconds, and memory.
    """

    def __init__(self, instances: typing.Mapping[str, model.Instance],
                 backing_of: typing.Callable[[model.Instance], model.Backing]):
        self._instances = instances
        self._backing_of = backing_of

    def __getitem__(self, ident):
        instance = self._instances[ident]
        return dataclasses.replace(instance, backing=self._backing_of(instance))

    def __iter__(self):
        return iter(self._instances)

    def __len__(self):
        return len(self._instances)
