"""Pure: what would make a recovery fail or lose data, if a host died now.

Each check takes Facts and yields Findings. What could not be read is a finding by itself
(``Facts.problems``); a check whose facts are missing says nothing more.
"""

import collections
import dataclasses
import re
import typing

from vmha_nova import disks
from vmha_nova import model
from vmha_nova import rules

ERROR, WARNING = 'error', 'warning'
NAMED = 5                               # hosts, instances, … that one line names
FULL = 0.85                             # Ceph's nearfull ratio: where it begins to complain
HARMFUL_FLAGS = {
    'noout': 'data of a dead host is not copied anew until it is taken off',
    'nodown': 'dead OSDs are not noticed: guests hang with their host',
    'noup': 'OSDs that come back are not used', 'noin': 'OSDs that come back get no data',
    'pauserd': 'the cluster answers no read', 'pausewr': 'the cluster takes no write',
    'norecover': 'lost copies are not made anew', 'nobackfill': 'lost copies are not made anew',
    'norebalance': 'lost copies may not be made anew', 'full': 'the cluster takes no write'}
# An address nobody has (TEST-NET-1): what may be put on the blocklist to see that one may.
NOBODY = '192.0.2.1:0/1'
LOCALIZE = 'rbd_read_from_replica_policy'


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report: what is so, why it matters, what to do."""

    level: str
    what: str
    why: str
    todo: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """What was read. A field that is None was not asked, or could not be read."""

    policy: model.Policy
    cluster: model.Cluster | None = None        # with marks, backends and what backs instances
    pools: disks.Pools = disks.Pools()
    fence: str = 'none'
    ranged: bool = True
    problems: tuple[Finding, ...] = ()          # of reading
    storage: model.StorageMap | None = None
    dump: typing.Mapping | None = None          # of the OSD map, as Ceph gives it
    crush: typing.Mapping | None = None         # osd crush dump
    config: typing.Sequence | None = None       # config dump
    monitors: typing.Mapping | None = None      # mon dump
    managers: typing.Mapping | None = None      # mgr dump
    nodes: typing.Sequence | None = None        # osd df: kb, kb_used by OSD
    caps: typing.Mapping[str, str] | None = None    # entity -> monitor caps, of live clients
    stale_locks: typing.Sequence[str] = ()      # images locked by clients that are no more
    recorded: typing.Collection[str] = ()       # hosts with clients on record
    conf_files: typing.Mapping[str, typing.Mapping[str, str]] = dataclasses.field(
        default_factory=dict)
    local_addresses: typing.Collection[str] = ()    # of the machine this runs on


def findings(facts: Facts) -> list[Finding]:
    """All findings, errors first."""
    found = list(facts.problems)
    for check in CHECKS:
        found.extend(check(facts))
    return sorted(found, key=lambda f: f.level != ERROR)


# -- the fence ------------------------------------------------------------------------------------
def _fence(facts):
    if facts.fence == 'none':
        yield Finding(
            WARNING, 'no fence is configured ([fence] driver = none)',
            'a guest that still runs on a host reported dead would write beside its copy',
            'set [fence] driver = storage where the disks are on Ceph')
    for user, caps in sorted((facts.caps or {}).items()):
        if not re.search(r'profile rbd(?!-)|osd blocklist|allow \*', caps or ''):
            yield Finding(
                ERROR, f'{user} may not blocklist (monitor caps: {caps or "none"})',
                'a guest started after a crash cannot take over the lock of its disk, and does '
                'not boot', f"ceph auth caps {user} mon 'profile rbd' … (keep its other caps)")


def _records(facts):
    if facts.cluster is None or facts.fence != 'storage':
        return
    bare = [h for h in facts.cluster.nodes if facts.cluster.by_host.get(h)
            and h not in facts.recorded]
    if bare:
        yield Finding(
            WARNING, f'no storage client is on record of {_some(bare)}',
            'their instances would wait after a failure: what was never seen cannot be fenced',
            'see whether vmha-engine runs and reads the cluster; name the addresses at which '
            'these hosts use the storage in [ceph] host_addresses')
    if not facts.ranged:
        yield Finding(
            WARNING, 'only clients on record are fenced ([ceph] fence_range = false)',
            'an instance started in the seconds before a failure waits for an operator',
            'set fence_range = true unless something else at these addresses needs the storage')


# -- hosts and instances --------------------------------------------------------------------------
def _targets(facts):
    if facts.cluster is None:
        return
    nodes = facts.cluster.nodes.values()
    spares = [n for n in nodes if n.spare]
    if not spares:
        yield Finding(
            WARNING if not facts.policy.spares_only else ERROR, 'no node is a spare',
            'a recovery finds room only where ordinary nodes have some left',
            'vmha-manage host set HOST --spare')
    down = [n.host for n in spares if not n.up]
    if down:
        yield Finding(ERROR, f'spares are down: {_some(down)}', 'they can take nothing',
                      'see to their nova-compute')
    if not facts.policy.need_same_backend:
        return
    unknown = [n.host for n in nodes if not n.backend]
    if unknown:
        yield Finding(
            ERROR if all(n.host in unknown for n in nodes) else WARNING,
            f'where new disks are kept is not known of {_some(unknown)}',
            'Nova rebuilds a root disk from its image, empty, on a host that keeps disks '
            'elsewhere: no instance is sent there',
            'vmha-manage host set HOST --backend rbd:POOL, or [ceph] hosts_backend')
    kinds = collections.Counter(n.backend for n in nodes if n.backend)
    usual = kinds.most_common(1)[0][0] if kinds else ''
    other = [n.host for n in nodes if n.backend not in ('', usual)]
    if other:
        yield Finding(
            WARNING, f'disks are not kept in {usual}, as elsewhere, on {_some(other)}',
            'instances cannot be moved between hosts that keep disks in different places',
            'set [libvirt] images_type and images_rbd_pool alike in nova.conf')


def _instances(facts):
    if facts.cluster is None:
        return
    left, unsure = collections.defaultdict(list), collections.defaultdict(list)
    for instance in facts.cluster.instances.values():
        name = instance.name or instance.id
        reason = rules.leave_reason(instance, facts.cluster, facts.policy)
        if reason:
            # The image's name is another one for each: counted without.
            left[re.sub(r'\S*[0-9a-f]{8}-\S*', '…', reason)].append(name)
        elif instance.backing is not None and instance.backing.unsure:
            unsure[instance.backing.unsure].append(name)
    for reason, names in sorted(left.items(), key=lambda item: -len(item[1])):
        yield Finding(
            WARNING, f'{_count(names, "instance")} would be left alone: {reason} ({_some(names)})',
            'it stays down with its host', 'nothing, if that is meant')
    for reason, names in sorted(unsure.items(), key=lambda item: -len(item[1])):
        yield Finding(
            WARNING, f'{_count(names, "instance")} would wait: {reason} ({_some(names)})',
            'what is not known is not evacuated', 'see whether vmha-engine reads the storage; '
            'its log says what it cannot read')


# -- the storage ----------------------------------------------------------------------------------
def _pools(facts):
    if facts.dump is None:
        return
    there = {p['pool_name']: p for p in facts.dump['pools']}
    for name in dict.fromkeys((*facts.pools.kept, *facts.pools.volumes, *facts.pools.images)):
        pool = there.get(name)
        if pool is None:
            yield Finding(
                WARNING, f'there is no pool {name}', 'disks that should be in it are not found',
                'correct ephemeral_pools, volume_pools and image_pools in [ceph]')
            continue
        if pool['size'] < 2:
            yield Finding(
                ERROR, f'pool {name} keeps {pool["size"]} copy (size)',
                'with a host, the only copy of some data is gone',
                f'ceph osd pool set {name} size 3')
        elif pool['min_size'] < 2:
            yield Finding(
                ERROR, f'pool {name} takes writes with a single copy (min_size 1)',
                'the host that holds it can die before there is a second one: data is lost',
                f'ceph osd pool set {name} min_size 2')
        elif pool['size'] <= pool['min_size']:
            yield Finding(
                ERROR, f'pool {name} takes no write with one copy less (size {pool["size"]}, '
                f'min_size {pool["min_size"]})', 'guests hang as soon as one host is down',
                f'ceph osd pool set {name} size {pool["min_size"] + 1}')
        domain = _domain(facts.crush, pool['crush_rule'])
        if domain in ('osd', ''):
            yield Finding(
                ERROR, f'copies of pool {name} may lie on one host (failure domain '
                f'{domain or "not known"})', 'with a host, all copies of some data can be gone',
                'use a CRUSH rule whose failure domain is host')


def _domain(crush, rule_id):
    """The failure domain of a CRUSH rule, '' where it is not known."""
    for rule in (crush or {}).get('rules', ()):
        if rule['rule_id'] == rule_id:
            for step in rule['steps']:
                if step['op'].startswith('choose'):
                    return step['type']
    return 'unread' if crush is None else ''


def _flags(facts):
    for flag in sorted((facts.storage.flags if facts.storage else frozenset())
                       & HARMFUL_FLAGS.keys()):
        yield Finding(WARNING, f'the cluster has the flag {flag}', HARMFUL_FLAGS[flag],
                      f'ceph osd unset {"pause" if flag.startswith("pause") else flag}')


def _space(facts):
    """Whether the copies that die with the fullest host find room on the others."""
    if facts.nodes is None or facts.storage is None:
        return
    usage = {n['id']: (n['kb'], n['kb_used']) for n in facts.nodes}
    hosts = collections.defaultdict(lambda: [0, 0])
    for osd in facts.storage.osds:
        if osd.inside and osd.bucket and osd.id in usage:
            hosts[osd.bucket][0] += usage[osd.id][0]
            hosts[osd.bucket][1] += usage[osd.id][1]
    total, used = (sum(h[i] for h in hosts.values()) for i in (0, 1))
    for host, (size, _) in sorted(hosts.items()):
        if total > size and used > FULL * (total - size):
            yield Finding(
                ERROR, f'without {host} the cluster would be {used / (total - size):.0%} full',
                f'above {FULL:.0%} Ceph complains, above 95 % it takes no write, for nobody',
                'add disks, or delete data')
    need = max((facts.dump or {'pools': [{'size': 0}]})['pools'], default={'size': 0},
               key=lambda p: p['size'])['size']
    if len(hosts) == 1 or len(hosts) < need:
        yield Finding(
            WARNING, f'{len(hosts)} hosts have OSDs, and pools want {need} copies',
            'after the loss of a host, copies cannot be made anew elsewhere',
            'add hosts with disks')


def _quorum(facts):
    if facts.monitors is not None:
        mons = facts.monitors['mons']
        if len(mons) < 3:
            yield Finding(
                WARNING, f'{_count(mons, "monitor")} only',
                'when one dies, the cluster stands still, and nothing can be fenced or started',
                'run three, on hosts that fail independently')
        own = collections.defaultdict(list)
        hosts = _hosts_at(facts)
        for mon in mons:
            for address in mon['public_addrs']['addrvec']:
                ip = disks.ip_of(address['addr'])
                if ip in hosts:
                    own[hosts[ip]].append(mon['name'])
        for host, names in sorted(own.items()):
            yield Finding(
                WARNING, f'{host} also carries the monitor {_some(sorted(set(names)))}',
                'a host that dies takes a part of what its recovery needs with it',
                'keep the others on hosts that fail independently')
    if facts.managers is not None and not facts.managers.get('standbys'):
        yield Finding(
            WARNING, 'no second manager stands by',
            'while there is none, nobody tells whether placement groups are active, and '
            'recoveries are held', 'run a second ceph-mgr')
    here = [host for ip, host in _hosts_at(facts).items() if ip in facts.local_addresses]
    if here:
        yield Finding(
            WARNING, f'this machine is the compute node {_some(sorted(set(here)))}',
            'what runs here dies with it, and its own connections are fenced with it',
            'run a second vmha-engine elsewhere')


def _hosts_at(facts):
    if facts.cluster is None or facts.storage is None:
        return {}
    return disks.addresses(facts.cluster.nodes, facts.storage)[0]


def _locks(facts):
    if facts.stale_locks:
        yield Finding(
            WARNING, f'{_count(facts.stale_locks, "image")} locked by clients that are no more: '
            f'{_some(facts.stale_locks)}',
            'their guests wait half a minute when they start, or do not boot at all where the '
            'Ceph user may not blocklist',
            'start the guests; or, where the client is certainly dead: rbd lock rm')


def _local_reads(facts):
    if facts.dump is not None:
        least = facts.dump.get('require_min_compat_client', '')
        if least and least < 'octopus':
            yield Finding(
                WARNING, f'clients as old as {least} are let in',
                'so that no client reads from the replica on its own host',
                'ceph osd set-require-min-compat-client octopus')
    if facts.config is not None:
        said = {c['name']: c['value'] for c in facts.config if c['section'] in (
            'global', 'client') or c['section'].startswith('client.')}
        said.update(facts.conf_files.get('ceph', {}))
        if said.get(LOCALIZE) != 'localize':
            yield Finding(
                WARNING, f'{LOCALIZE} is not localize',
                'a guest reads its boot image over the network although its host has a copy',
                f'ceph config set client {LOCALIZE} localize, and crush_location = host=NAME in '
                'the ceph.conf of each compute node')


def _nova_conf(facts):
    for name, options in facts.conf_files.items():
        if options.get('resume_guests_state_on_host_boot', '').lower() in ('true', '1', 'yes',
                                                                            'on'):
            yield Finding(
                ERROR, f'{name}: resume_guests_state_on_host_boot is true',
                'a host that comes back starts guests that run elsewhere by now',
                'set it to false on every compute node')


def _some(names):
    names = sorted(map(str, names))
    rest = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {rest} more' if rest > 0 else '')


def _count(things, noun):
    return f'{len(things)} {noun}{"s" * (len(things) != 1)}'


CHECKS = (_fence, _records, _targets, _instances, _pools, _flags, _space, _quorum, _locks,
          _local_reads, _nova_conf)
