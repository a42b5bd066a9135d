"""What Ceph's commands answer, as values; no I/O.

Functions of a text are total: '' stands for what is no address. A record of the wrong shape raises
KeyError, TypeError, ValueError or AttributeError.

A client is written as Ceph's blocklist and its watchers have it: ``10.0.0.7:0/123456``, IPv6 in
brackets. Whole addresses are CIDR: ``10.0.0.7/32``.
"""

import dataclasses
import datetime
import ipaddress
import re
import types
import typing

from vmha_nova import model

_NOBODY = 2147483647        # what stands for a missing member of an erasure coded group
_ENTRY = re.compile(r'(?:(?:any|v1|v2):)?(\[[^\[\]]*\]|[^:\[\]/]*):([0-9]{1,5})/([0-9]{1,10})',
                    re.ASCII)
_CIDR = re.compile(r'(?:cidr:(\[[^\[\]]*\]|[^:\[\]/]*):[0-9]{1,5}'     # with a port, as Ceph does
                   r'|(\[[^\[\]]*\]|[^:\[\]/]*)|([0-9a-fA-F:.]*))/([0-9]{1,3})', re.ASCII)
_SHOWN = 5                  # placement groups that a line names


@dataclasses.dataclass(frozen=True)
class Usage:
    """Bytes of a pool or of a device class.

    A pool's ``total`` and ``available`` are what clients could store, replicas not counted; a
    class's are raw.
    """

    total: int
    used: int
    available: int


@dataclasses.dataclass(frozen=True)
class Space:
    """How full the cluster is."""

    pools: typing.Mapping[str, Usage]
    classes: typing.Mapping[str, Usage]         # by CRUSH device class


# -- addresses ------------------------------------------------------------------------------------
def entry(text):
    """A client's address as the blocklist has it, or ''.

    Takes ``v1:``, ``v2:`` and ``any:`` in front: the blocklist knows no kinds.
    """
    match = _ENTRY.fullmatch(text)
    ip = match and _ip(match[1])
    if not ip or int(match[2]) > 0xffff or int(match[3]) > 0xffffffff:
        return ''
    return f'{_bracketed(ip)}:{int(match[2])}/{int(match[3])}'


def ip_of(text):
    """The IP of a client's address, or ''."""
    clean = entry(text)
    return clean.rpartition(':')[0].strip('[]')


def names_one(text):
    """Whether an address is that of one client: with nonce 0 the blocklist takes a whole IP."""
    clean = entry(text)
    return bool(clean) and not clean.endswith('/0')


def cidr(text):
    """A range as ``10.0.0.7/32``, or ''; Ceph itself writes ``cidr:10.0.0.7:0/32``."""
    match = _CIDR.fullmatch(text)
    if not match:
        return ''
    ceph, other, plain, bits = match.groups()
    ip = _ip(f'[{plain}]' if plain else ceph or other or '')
    try:
        return str(ipaddress.ip_network((ip, int(bits)), strict=False))
    except ValueError:
        return ''


def names_one_ip(text):
    """Whether a range holds exactly one IP."""
    clean = cidr(text)
    return bool(clean) and ipaddress.ip_network(clean).num_addresses == 1


def _ip(text):
    bracketed = text.startswith('[')
    try:
        ip = ipaddress.ip_address(text.strip('[]'))
    except ValueError:
        return ''
    return str(ip) if bracketed == (ip.version == 6) and '%' not in text else ''


def _bracketed(ip):
    return f'[{ip}]' if ':' in ip else ip


# -- monitors -------------------------------------------------------------------------------------
def clients(sessions):
    """A monitor's list of sessions as {client address: entity name}.

    Daemons are left out, and what a manager opens as a client for its own modules.
    """
    found = {}
    for session in sessions:
        name = session['entity_name']
        if session['con_type'] != 'client' or not name.startswith('client.'):
            continue
        addresses = [_written(a) for a in session['addrs']['addrvec']]
        named = [a for a in addresses if names_one(a)]
        if not named:
            raise ValueError(f'a session of {name} without an address')
        found.update(dict.fromkeys(named, name))
    return found


def monitor_caps(sessions):
    """The monitor caps in a monitor's list of sessions: {entity name: text}."""
    return {s['entity_name']: s['caps']['text'] for s in sessions
            if s['con_type'] == 'client' and s['entity_name'].startswith('client.')}


def quorum(status):
    """The names of the monitors in quorum."""
    names = frozenset(status['quorum_names'])
    if not names:
        raise ValueError('no monitor in quorum')
    return names


def space(df):
    """The answer of ``df detail``."""
    return Space(
        types.MappingProxyType({pool['name']: _pool_usage(pool['stats']) for pool in df['pools']}),
        types.MappingProxyType({
            name: Usage(stats['total_bytes'], stats['total_used_raw_bytes'],
                        stats['total_avail_bytes'])
            for name, stats in df['stats_by_class'].items()}))


def _pool_usage(stats):
    return Usage(stats['stored'] + stats['max_avail'], stats['stored'], stats['max_avail'])


# -- the OSD map ----------------------------------------------------------------------------------
def storage_map(dump, tree, seen_at):
    """``osd dump`` and ``osd tree`` as a StorageMap."""
    buckets = hosts(tree)
    entries, ranges = blocklist(dump)
    return model.StorageMap(
        fsid=dump['fsid'], epoch=int(dump['epoch']), seen_at=seen_at,
        osds=tuple(_osd(record, buckets) for record in dump['osds']),
        pools=types.MappingProxyType(
            {pool['pool_name']: _pool(pool) for pool in dump['pools']}),
        flags=frozenset(flag for flag in dump['flags'].split(',') if flag),
        entries=frozenset(entries), ranges=frozenset(ranges))


def blocklist(dump):
    """What is on the blocklist: ({client address: when it ends}, {range: when it ends}).

    What cannot be read is left out: then it is not relied on.
    """
    entries = {entry(text): _time(at) for text, at in dump['blocklist'].items()}
    ranges = {cidr(text): _time(at) for text, at in dump.get('range_blocklist', {}).items()}
    return ({text: at for text, at in entries.items() if text},
            {text: at for text, at in ranges.items() if text})


def _time(text):
    time = datetime.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)


def covered(text, ranges):
    """Whether one of some ranges holds the IP of a client's address."""
    ip = ipaddress.ip_address(ip_of(text))
    return any(ip in ipaddress.ip_network(one) for one in ranges)


def hosts(tree):
    """OSD id -> name of the CRUSH bucket of type host it is in; OSDs elsewhere are left out."""
    nodes = {node['id']: node for node in tree['nodes']}
    found = {}

    def walk(node, host, above):
        if node['id'] >= 0:
            found.setdefault(node['id'], host)
        elif node['id'] not in above:
            here = node['name'] if node['type'] == 'host' else host
            for child in node.get('children', ()):
                walk(nodes[child], here, above | {node['id']})

    below = {child for node in nodes.values() for child in node.get('children', ())}
    for node in nodes.values():
        if node['id'] < 0 and node['id'] not in below:
            walk(node, '', frozenset())
    return {osd: host for osd, host in found.items() if host}


def _osd(record, buckets):
    ports = set()
    for key in ('public_addrs', 'cluster_addrs'):
        for address in record[key]['addrvec']:
            clean = entry(_written(address))
            ip, port = ip_of(clean), int(clean.rpartition(':')[2].partition('/')[0] or 0)
            if ip and port:             # an OSD that never started has none
                ports.add((ip, port))
    return model.Osd(
        id=record['osd'], up=bool(record['up']), inside=bool(record['in']),
        bucket=buckets.get(record['osd'], ''), addresses=frozenset(ip for ip, _ in ports),
        ports=tuple(sorted(ports)))


def _pool(record):
    return model.Pool(id=record['pool'], name=record['pool_name'], size=record['size'],
                      min_size=record['min_size'])


def _written(address):
    return f'{address["addr"]}/{address["nonce"]}'


# -- placement groups -----------------------------------------------------------------------------
def not_ready(groups, pool, up):
    """Why a pool's placement groups are not all ready, or ''.

    ``groups`` are the pool's records of ``pg dump``; ``up`` the ids of the OSDs that are up. A
    manager's report can be older than the failure: one that counts on an OSD that is not up any
    more says nothing.
    """
    if not groups:
        return 'the manager knows no placement group of it'
    reasons = {}
    for group in groups:
        if why := _group_not_ready(group, pool, up):
            reasons.setdefault(why, []).append(group['pgid'])
    return '; '.join(f'{named(ids)} {why}' for why, ids in sorted(reasons.items()))


def _group_not_ready(group, pool, up):
    states = group['state'].split('+')
    if 'active' not in states or 'stale' in states:
        return group['state']
    acting = [osd for osd in group['acting'] if osd not in (_NOBODY, -1)]
    gone = [osd for osd in acting if osd not in up]
    if gone:
        return f'reported when osd.{gone[0]} was up'
    if len(acting) < pool.min_size:
        return f'on {len(acting)} OSDs, needs {pool.min_size}'
    return ''


def named(ids):
    """Some ids in words: ``3.a, 3.b and 14 more``."""
    ids = sorted(str(i) for i in ids)
    more = len(ids) - _SHOWN
    return ', '.join(ids[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
