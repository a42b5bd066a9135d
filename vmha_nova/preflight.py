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

# A note says what could not be looked at; by itself it is no reason to act.
ERROR, WARNING, NOTE = LEVELS = 'error', 'warning', 'note'
NAMED = 5                               # hosts, instances, … that one line names
HARMFUL_FLAGS = {
    'noout': (WARNING, 'the copies that die with a host are not made anew'),
    'norecover': (WARNING, 'the copies that die with a host are not made anew'),
    'nobackfill': (WARNING, 'the copies that die with a host are not made anew'),
    'norebalance': (WARNING, 'the copies that die with a host may not be made anew'),
    'noin': (WARNING, 'OSDs that come back get no data'),
    'noup': (ERROR, 'OSDs that come back are not used'),
    'nodown': (ERROR, 'OSDs that died are not noticed: guests on all hosts hang'),
    'pauserd': (ERROR, 'the cluster answers no read'),
    'pausewr': (ERROR, 'the cluster takes no write'),
    'full': (ERROR, 'the cluster takes no write')}
LOCALIZE, LOCATION = 'rbd_read_from_replica_policy', 'crush_location'
RESUME = 'resume_guests_state_on_host_boot'

Sections = typing.Mapping[str, typing.Mapping[str, str]]    # of a file: section -> its options


def _empty():
    return dataclasses.field(default_factory=lambda: model.NOTHING)


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

    policy: model.Policy = dataclasses.field(default_factory=model.Policy)
    pools: disks.Pools = disks.Pools()
    fence: typing.Collection[str] = ('none',)   # [fence] driver
    ranged: bool = True
    user: str = 'client.vmha'
    problems: tuple[Finding, ...] = ()          # of reading
    # From Nova; with marks, backends and what backs instances where ``recorded`` is not None.
    cluster: model.Cluster | None = None
    recorded: typing.Collection[str] | None = None  # hosts with clients on record
    # Where disks were seen, host -> backends: what is on record, whatever the operator says.
    seen: typing.Mapping[str, typing.Collection[str]] = _empty()
    owner: typing.Mapping[str, str] = _empty()  # IP -> compute node
    claims: typing.Collection[str] = ()         # what is wrong with those, in words
    # Control service -> addresses or names of the machines it is on.
    services: typing.Mapping[str, typing.Collection[str]] = _empty()
    here: typing.Collection[str] = ()           # compute nodes that are this machine
    storage: model.StorageMap | None = None
    dump: typing.Mapping | None = None          # of the OSD map, as Ceph gives it
    crush: typing.Mapping | None = None         # osd crush dump
    config: Sections | None = None              # the cluster's own configuration
    monitors: typing.Mapping | None = None      # mon dump
    usage: typing.Mapping[int, tuple[int, int]] | None = None   # OSD -> KiB it has, KiB used
    own_caps: str | None = None                 # monitor caps of our account
    caps: typing.Mapping[str, str] | None = None    # and of those that use instances' disks
    stale_locks: typing.Collection[str] = ()    # images locked by clients that are no more
    nova_confs: typing.Mapping[str, Sections] = _empty()     # by path
    ceph_confs: typing.Mapping[str, Sections] = _empty()


def findings(facts: Facts) -> list[Finding]:
    """All findings, errors first."""
    found = list(facts.problems)
    for check in CHECKS:
        try:
            found.extend(check(facts))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            found.append(Finding(
                WARNING, f'an answer of Ceph is not what was expected ({type(e).__name__}: {e})',
                f'what is looked at in it was not checked ({check.__name__.strip("_")})',
                'please report it, with the release of Ceph'))
    return sorted(found, key=lambda f: LEVELS.index(f.level))


# -- the fence ------------------------------------------------------------------------------------
def _fence(facts):
    if 'none' in facts.fence:
        yield Finding(
            WARNING, 'no fence is configured ([fence] driver = none)',
            'a guest that still runs on a host reported dead would write beside its copy',
            'set [fence] driver = storage where the disks are on Ceph, or power')
    elif 'storage' in facts.fence and not facts.ranged:
        yield Finding(
            WARNING, 'only clients on record are fenced ([ceph] fence_range = false)',
            'an instance started in the seconds before a failure waits for an operator',
            'set fence_range = true unless something else at these addresses needs the storage')


def _caps(facts):
    own = facts.own_caps
    if own is not None and not _may(own, 'osd blocklist'):
        yield Finding(
            ERROR, f'{facts.user} may not blocklist (monitor caps: {own or "none"})',
            'no host can be fenced, so that nothing is evacuated',
            'ceph auth caps with mon \'…, allow command "osd blocklist"\' (keep its other caps)')
    if own is not None and not _may(own, 'osd down'):
        yield Finding(
            WARNING, f'{facts.user} may not mark OSDs down (monitor caps: {own or "none"})',
            'where a host is known to be off, guests on other hosts hang for longer',
            'ceph auth caps with mon \'…, allow command "osd down"\' (keep its other caps)')
    for user, caps in sorted((facts.caps or {}).items()):
        if not _may(caps, 'osd blocklist', adding=True):
            yield Finding(
                ERROR, f'{user} may not blocklist (monitor caps: {caps or "none"})',
                'a guest started after a crash cannot take over the lock of its disk, and does '
                'not boot', f"ceph auth caps {user} mon 'profile rbd' … (keep its other caps), "
                'and restart what uses them')


def _may(caps, command, adding=False):
    """Whether monitor caps allow a command of writing; ``adding``: to the blocklist, no more."""
    wanted = rf'allow (\*|all|rwx?|service osd (\*|rwx?)|command {command})'
    if adding:
        wanted += '|allow command osd blocklist with .*|(allow )?profile rbd(-mirror)?'
    return any(re.fullmatch(wanted, ' '.join(re.sub('["\'=]', ' ', grant).split()))
               for grant in re.split('[,;]', caps))


def _records(facts):
    if facts.cluster is None or facts.recorded is None or 'storage' not in facts.fence:
        return
    bare = [h for h in facts.cluster.nodes if facts.cluster.by_host.get(h)
            and h not in facts.recorded]
    if bare:
        yield Finding(
            WARNING, f'no storage client is on record of {_some(bare)}',
            'their instances would wait after a failure: what was never seen cannot be fenced',
            'see whether vmha-engine runs and reads the cluster; name the addresses at which '
            'these hosts use the storage in [ceph] host_addresses')


def _addresses(facts):
    if 'storage' not in facts.fence:
        return
    for problem in facts.claims:
        yield Finding(
            WARNING, problem, 'a client of the storage there is attributed to no host, and is not '
            'fenced with it', 'correct [ceph] host_addresses, or the addresses of the hosts')


# -- hosts and instances --------------------------------------------------------------------------
def _spares(facts):
    if facts.cluster is None or facts.recorded is None:
        return
    nodes = facts.cluster.nodes.values()
    spares = [n for n in nodes if n.spare]
    kinds = {(n.zone, n.pool) for n in spares}
    bare = [n.host for n in nodes if not n.spare and (n.zone, n.pool) not in kinds]
    if bare:
        yield Finding(
            ERROR if facts.policy.spares_only else WARNING,
            f'no spare serves {_some(bare)} (zone and pool)' if spares else 'no node is a spare',
            'a recovery finds no room ([recovery] spares_only = true)'
            if facts.policy.spares_only else
            'a recovery finds room only where ordinary nodes have some left',
            'openstack vmha host set HOST --spare, with the --pool of the hosts it is to serve')
    if facts.cluster.problems:
        return                          # what is not known of nodes is no fault of theirs
    unfit = {n.host: rules.target_problem(n, facts.policy, facts.cluster.nodes_at)
             for n in spares}
    unfit = {host: problem for host, problem in unfit.items() if problem}
    if unfit:
        yield Finding(
            ERROR if len(unfit) == len(spares) else WARNING,
            'spares that can take nothing now: '
            + _some(f'{host} ({problem})' for host, problem in unfit.items()),
            'a recovery finds less room than there seems to be',
            'see to their nova-compute, or enable them')


def _backends(facts):
    if facts.cluster is None or facts.recorded is None or not facts.policy.need_same_backend:
        return
    nodes = facts.cluster.nodes.values()
    for node in nodes:
        seen = sorted(facts.seen.get(node.host, ()))
        if node.backend and [node.backend] != seen and seen:
            yield Finding(
                ERROR, f'{node.host} is said to keep disks in {node.backend}, and disks of '
                f'instances there are in {_some(seen)}',
                'Nova rebuilds a root disk from its image, empty, on a host that keeps disks '
                'elsewhere: the data is lost',
                f'openstack vmha host set {node.host} --backend with what its nova.conf says')
    unknown = [f'{n.host} (seen: {_some(facts.seen[n.host])})' if facts.seen.get(n.host)
               else n.host for n in nodes if not n.backend]
    if unknown:
        yield Finding(
            ERROR if len(unknown) == len(nodes) else WARNING,
            f'where new disks are kept is not known of {_some(unknown)}',
            'Nova rebuilds a root disk from its image, empty, on a host that keeps disks '
            'elsewhere: no instance is sent there',
            'openstack vmha host set HOST --backend rbd:POOL, or [ceph] hosts_backend')
    kinds = collections.Counter(n.backend for n in nodes if n.backend)
    usual = max(kinds, key=kinds.get, default='')
    other = [f'{n.host} ({n.backend})' for n in nodes if n.backend not in ('', usual)]
    if other:
        yield Finding(
            WARNING, f'disks are not kept in {usual}, as elsewhere, on {_some(other)}',
            'instances cannot be moved between hosts that keep disks in different places',
            'set [libvirt] images_type and images_rbd_pool alike in nova.conf')


def _instances(facts):
    if facts.cluster is None or facts.recorded is None:
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


def _control(facts):
    """Hosts that carry what a recovery needs; only the addresses that are known are compared."""
    if facts.cluster is None:
        return
    hosts = {**{h: h for h in facts.cluster.nodes}, **facts.owner}
    carried = collections.defaultdict(set)
    for service, places in facts.services.items():
        for place in places:
            if place in hosts:
                carried[hosts[place]].add(service)
    for host, names in sorted(carried.items()):
        yield Finding(
            WARNING, f'{host} also carries a control service: {_some(names)}',
            'it dies with the host, and the recovery waits until it answers again',
            'move it elsewhere, or see that another one takes over')
    if facts.here:
        yield Finding(
            WARNING, f'this machine is the compute node {_some(facts.here)}',
            'a vmha-engine here dies with it, and nobody recovers its instances',
            'run vmha-engine where no instances are')


# -- the storage ----------------------------------------------------------------------------------
def _pools(facts):
    if facts.dump is None:
        return
    there = {p['pool_name']: p for p in facts.dump['pools']}
    for name in facts.pools.all:
        pool = there.get(name)
        if pool is None:
            yield Finding(
                WARNING, f'there is no pool {name}', 'disks that should be in it are not found',
                'correct ephemeral_pools, volume_pools, image_pools and data_pools in [ceph]')
            continue
        size, least = pool['size'], pool['min_size']
        if size < 2:
            yield Finding(
                ERROR, f'pool {name} keeps a single copy (size {size})',
                'with a host, the only copy of some data is gone',
                f'ceph osd pool set {name} size 3')
        elif least < 2:
            yield Finding(
                ERROR, f'pool {name} takes writes with a single copy left (min_size {least})',
                'the host that holds it can die before there is a second one: data is lost',
                f'ceph osd pool set {name} min_size 2')
        elif size <= least:
            yield Finding(
                ERROR, f'pool {name} takes no write with one copy less (size {size}, min_size '
                f'{least})', 'guests hang as soon as one host is down, and recoveries are held',
                f'ceph osd pool set {name} size {least + 1}')
        domain = _domain(facts.crush, pool['crush_rule'])
        if domain:
            yield Finding(
                ERROR, f'copies of pool {name} may lie on one host (failure domain {domain})',
                'with a host, all copies of some data can be gone',
                f'ceph osd pool set {name} crush_rule RULE, with one whose failure domain is host')


def _domain(crush, rule_id):
    """The failure domain of a CRUSH rule where it is less than a host; '' if all is well."""
    if crush is None:
        return ''
    levels = {t['name']: t['type_id'] for t in crush['types']}
    for rule in crush['rules']:
        if rule['rule_id'] == rule_id:
            chosen = [s for s in rule['steps'] if s['op'].startswith('choose')]
            # A last step that takes one of several does not put two copies there.
            spread = [s['type'] for s in chosen if s['num'] != 1] or [s['type'] for s in chosen]
            last = spread[-1] if spread else 'not known'
            return last if levels.get(last, 0) < levels.get('host', 1) else ''
    return 'not known'


def _flags(facts):
    if facts.dump is None:
        return
    flags = set(facts.dump['flags'].split(','))
    for flag in sorted(flags & HARMFUL_FLAGS.keys()):
        level, why = HARMFUL_FLAGS[flag]
        yield Finding(level, f'the cluster has the flag {flag}', why,
                      'free space' if flag == 'full' else
                      f'ceph osd unset {"pause" if flag.startswith("pause") else flag}')
    groups = {**facts.dump.get('crush_node_flags', {}),
              **facts.dump.get('device_class_flags', {}),
              **{f'osd.{o["osd"]}': o.get('state', ()) for o in facts.dump['osds']}}
    for name, some in sorted(groups.items()):
        for flag in sorted(HARMFUL_FLAGS.keys() & some):
            yield Finding(
                WARNING, f'{name} has the flag {flag}', f'there, {HARMFUL_FLAGS[flag][1]}',
                f'ceph osd unset-group {flag} {name}')


def _space(facts):
    """Whether the copies that die with a host can be made anew on the others."""
    if facts.usage is None or facts.storage is None:
        return
    buckets = collections.defaultdict(list)
    for osd in facts.storage.osds:
        if osd.inside and osd.bucket:
            buckets[osd.bucket].append(osd)
    unknown = disks.unmeasured(facts.storage, facts.usage)
    if unknown:
        yield Finding(
            WARNING, f'how much is on {_some(f"osd.{n}" for n in unknown)} is not known',
            'whether the copies that die with a host fit on the others cannot be checked',
            'see whether they run: ceph osd df')
    fill = disks.fill_without(buckets, facts.storage, facts.usage)
    worse = [] if unknown or len(buckets) < 2 else [
        host for host, share in fill.items() if share > disks.FULL]
    if worse:
        yield Finding(
            ERROR, f'without one of {_some(worse)} the storage would be up to '
            f'{max(fill.values()):.0%} full',
            'above 90 % Ceph makes no copies anew, above 95 % it takes no write, of nobody',
            'add disks, or delete data')
    hosts = len(buckets)
    for name in facts.pools.all:
        pool = facts.storage.pools.get(name)
        # A pool with copies to spare, as one of boot images on every host, can do without.
        if pool and 0 < hosts <= pool.size and hosts - 2 < pool.min_size:
            yield Finding(
                WARNING, f'pool {name} wants {pool.size} copies, and OSDs are on '
                f'{_count(buckets, "host")}',
                'after the loss of one, copies cannot be made anew; when a second one is lost, '
                'guests hang', 'add a host with disks')


def _quorum(facts):
    if facts.monitors is None:
        return
    mons = facts.monitors['mons']
    if len(mons) < 3:
        yield Finding(
            WARNING, f'{_count(mons, "monitor")} only',
            'when one dies, the cluster stands still, and nothing can be fenced or started',
            'run three, on hosts that fail independently')
    out = [m['name'] for m in mons if m['rank'] not in facts.monitors['quorum']]
    if out:
        yield Finding(
            WARNING, f'monitors out of quorum: {_some(out)}',
            'when another one dies, the cluster may stand still', 'start them, or remove them')
    own = collections.defaultdict(set)
    for mon in mons:
        for address in mon['public_addrs']['addrvec']:
            ip = disks.ip_of(address['addr'])
            if ip in facts.owner:
                own[facts.owner[ip]].add(mon['name'])
    for host, names in sorted(own.items()):
        yield Finding(
            WARNING, f'{host} also carries the monitor {_some(names)}',
            'when it dies, the monitors elect first: its first blocklist entry takes 15 to 17 s '
            'longer, and its instances are down for as much longer',
            'move the monitor to a host without instances, or accept the delay')


def _locks(facts):
    if facts.stale_locks:
        yield Finding(
            WARNING, f'{_count(facts.stale_locks, "image")} locked by clients that are no more: '
            f'{_some(facts.stale_locks)}',
            'their guests wait half a minute when they start, or do not boot at all where their '
            'Ceph user may not blocklist',
            'start the guests; or, where the client is certainly dead: rbd lock rm')


# -- settings of the compute nodes ----------------------------------------------------------------
def _local_reads(facts):
    if facts.dump is not None:
        # Releases are named in the order of the alphabet.
        least = facts.dump.get('require_min_compat_client') or 'unknown'
        if least == 'unknown' or least < 'octopus':
            yield Finding(
                WARNING, f'clients as old as {least} are let in (require_min_compat_client)',
                'so that no client reads from the copy on its own host',
                'ceph osd set-require-min-compat-client octopus')
    if facts.config is None and not facts.ceph_confs:
        return
    for path, sections in (facts.ceph_confs or {'': {}}).items():
        wrong = [] if _everybody(facts, sections, LOCALIZE) == {'localize'} else [
            f'{LOCALIZE} = localize']
        if path and '' in _everybody(facts, sections, LOCATION):
            wrong.append(LOCATION)      # another one for each host, so that it is in a file
        if wrong:
            yield Finding(
                WARNING, f'{path or "the configuration in the cluster"} does not set '
                + ' and '.join(wrong),
                'guests read their boot images over the network although their host has a copy',
                f'ceph config set client {LOCALIZE} localize, and {LOCATION} = host=NAME under '
                '[client] in the ceph.conf of each compute node'
                + ('' if path else '; if both are there: --ceph-conf FILE has it checked'))


def _everybody(facts, sections, option):
    """What an option is for the users of instances' disks; a file counts more than the cluster."""
    return {next((layer[section][option] for layer in (sections, facts.config or {})
                  for section in (user, 'client', 'global')
                  if option in layer.get(section, {})), '')
            for user in facts.caps or ('client',)}


def _nova_conf(facts):
    for path, sections in facts.nova_confs.items():
        if sections.get('DEFAULT', {}).get(RESUME, '').lower() in ('true', '1', 'yes', 'on'):
            yield Finding(
                ERROR, f'{path}: {RESUME} is true',
                'a host that comes back starts guests that run elsewhere by now',
                'set it to false on every compute node')
    if not facts.nova_confs:
        yield Finding(
            NOTE, f'{RESUME} was not checked: it is in the nova.conf of each compute node',
            'where it is true, a host that comes back starts guests that run elsewhere by now',
            'vmha-status preflight --nova-conf FILE, with the nova.conf of a compute node')


def _some(names):
    names = sorted(map(str, names))
    rest = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {rest} more' if rest > 0 else '')


def _count(things, noun):
    return f'{len(things)} {noun}{"s" * (len(things) != 1)}'


CHECKS = (_fence, _caps, _records, _addresses, _spares, _backends, _instances, _control, _pools,
          _flags, _space, _quorum, _locks, _local_reads, _nova_conf)
