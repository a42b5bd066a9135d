"""The JSON records of Nova and Placement, as values; no I/O.

A record of the wrong shape raises KeyError, TypeError, ValueError or AttributeError.
"""

import collections
import dataclasses
import datetime
import functools
import hashlib
import math
import re
import types

from vmha_nova import exception
from vmha_nova import model

VOLUMES = 'os-extended-volumes:volumes_attached'


class ServiceList(list):
    """The services Nova could describe.

    ``unknown`` names the hosts of cells that were down, of which Nova could say nothing else.
    """

    def __init__(self, services=(), unknown=frozenset()):
        super().__init__(services)
        self.unknown = unknown


@dataclasses.dataclass(frozen=True)
class ServerList:
    """What a list of servers said; ``problems`` is for the operator."""

    instances: tuple[model.Instance, ...] = ()
    deleted: frozenset[str] = frozenset()       # ids of records marked deleted
    unknown: frozenset[str] = frozenset()       # ids of servers whose cell was down
    problems: tuple[str, ...] = ()


def service_list(records):
    """The answer of GET /os-services."""
    unknown = frozenset(r['host'] for r in records if r['status'] == 'UNKNOWN')
    return ServiceList([_service(r) for r in records if r['status'] != 'UNKNOWN'], unknown)


def _service(record):
    return model.Service(
        host=record['host'], id=record['id'], up=record['state'] == 'up',
        enabled=record['status'] == 'enabled', disabled_reason=record['disabled_reason'] or '',
        forced_down=bool(record['forced_down']), beat=record['updated_at'] or '',
        zone=record['zone'] or '')


def hypervisor(record):
    """A compute node record with its details."""
    return model.Hypervisor(
        id=record['id'], host=record['service']['host'],
        type=(record['hypervisor_type'] or '').lower(), cores=int(record['vcpus'] or 0),
        address=record.get('host_ip') or '')


def aggregates(records):
    """Host -> tuple of Aggregate, by name."""
    found = collections.defaultdict(list)
    for record in sorted(records, key=lambda record: record['name']):
        aggregate = model.Aggregate(
            record['name'], types.MappingProxyType(dict(record['metadata'])))
        for host in record['hosts']:
            found[host].append(aggregate)
    return {host: tuple(items) for host, items in found.items()}


def group(record):
    """A server group."""
    rules = record.get('rules') or {}
    return model.ServerGroup(
        id=record['id'], policy=record['policy'] or '', members=frozenset(record['members']),
        max_per_host=int(rules.get('max_server_per_host', 1)))


def migration(record):
    """A migration.

    :raises Rejected: policy hides from this account between which hosts it is.
    """
    if record.get('source_compute') is None:
        raise exception.Rejected(
            'Nova hides the hosts of migrations: the service account lacks the role which policy '
            'os_compute_api:os-migrations:index:host asks for (admin, unless the policy was '
            'changed)', 403)
    return model.Migration(
        id=record['uuid'], instance_id=record['instance_uuid'], source=record['source_compute'],
        target=record['dest_compute'] or '', status=record['status'],
        created_at=_time(record['created_at']))


def attachments(records, instance_id):
    """Volume id -> pool/image of a server's attachments, '' for what is not on RBD."""
    found = {}
    for record in records:
        info = record.get('connection_info') or {}
        if record['instance'] != instance_id or not info.get('driver_volume_type'):
            continue
        found[record['volume_id']] = info['name'] if info['driver_volume_type'] == 'rbd' else ''
    return found


def providers(summaries):
    """Root provider id -> Provider, of Placement's provider summaries."""
    trees = collections.defaultdict(list)
    for summary in summaries.values():
        trees[summary['root_provider_uuid']].append(summary)
    return {root: _provider(root, tree) for root, tree in trees.items()}


def _provider(root, tree):
    capacity, used, traits = collections.Counter(), collections.Counter(), set()
    for summary in tree:
        traits.update(summary['traits'])
        for name, amounts in summary['resources'].items():
            capacity[name] += amounts['capacity']
            used[name] += amounts['used']
    return model.Provider(root, types.MappingProxyType(dict(capacity)),
                          types.MappingProxyType(dict(used)), frozenset(traits))


def server_list(records):
    """The answer of GET /servers/detail, all pages."""
    live, deleted, unknown, problems = {}, set(), set(), set()
    for record in records:
        if record['status'] == 'UNKNOWN':
            unknown.add(record['id'])
        elif record['status'] == 'DELETED':
            deleted.add(record['id'])
        else:
            found = live[record['id']] = instance(record)
            problems.update(_gaps(record, found))
    # A server can be on two pages, and be deleted between them.
    return ServerList(tuple(i for i in live.values() if i.id not in deleted),
                      frozenset(deleted), frozenset(unknown), tuple(sorted(problems)))


def instance(record):
    """A server with its details.

    :raises NotFound: the record is marked deleted.
    :raises Rejected: policy hides from this account what cannot be done without.
    """
    if record['status'] == 'DELETED':
        raise exception.NotFound(f'server {record["id"]} is deleted', 404)
    if record['status'] == 'UNKNOWN':
        return model.Instance(record['id'], project_id=record.get('tenant_id') or '', known=False)
    if 'OS-EXT-SRV-ATTR:host' not in record:
        raise exception.Rejected(
            'Nova hides the hosts of servers: the service account lacks the role which policy '
            'os_compute_api:os-extended-server-attributes asks for (admin, unless the policy was '
            'changed)', 403)
    flavor = record['flavor']
    needs, specs = _needs(
        int(flavor.get('vcpus') or 0), int(flavor.get('ram') or 0),
        0 if record['image'] == '' else int(flavor.get('disk') or 0),
        int(flavor.get('ephemeral') or 0), int(flavor.get('swap') or 0),
        tuple(sorted((flavor.get('extra_specs') or {}).items())))
    metadata = record.get('metadata')
    kept = _kept(record)
    volumes = tuple(sorted(v['id'] for v in record.get(VOLUMES) or ()))
    return model.Instance(
        id=record['id'], name=record.get('name') or '', project_id=record['tenant_id'],
        host=record['OS-EXT-SRV-ATTR:host'] or '', vm_state=record['OS-EXT-STS:vm_state'] or '',
        task_state=record['OS-EXT-STS:task_state'] or '',
        power_state=record['OS-EXT-STS:power_state'] or 0, needs=needs,
        zone=record.get('OS-EXT-AZ:availability_zone') or '',
        metadata=types.MappingProxyType(dict(metadata)) if metadata else model.NOTHING,
        extra_specs=specs, stamp=_stamp(record, kept, volumes), kept=kept, volumes=volumes,
        fault=' '.join(str((record.get('fault') or {}).get('message') or '').split()))


def _stamp(record, kept, volumes):
    """Nova does not touch ``updated`` when a volume is attached: the disks are in it as well."""
    ids = hashlib.blake2b(' '.join((*kept, *volumes)).encode(), digest_size=12).hexdigest()
    return f'{record.get("updated") or ""} {ids}'


def _kept(record):
    """The disks that the host's image backend keeps for the server, by Nova's naming."""
    flavor = record['flavor']
    return (*[''] * (record['image'] != ''), *['.eph0'] * bool(flavor.get('ephemeral')),
            *['.swap'] * bool(flavor.get('swap')))


def _gaps(record, found):
    """What a record lacks that planning would want, in words."""
    if not record['flavor']:
        yield f'server {found.id} has lost its flavor: its needs are taken as none'
    elif 'extra_specs' not in record['flavor']:
        yield ('Nova hides the extra specs of flavors: the service account lacks the role which '
               'policy os_compute_api:servers:show:flavor-extra-specs asks for')


@functools.lru_cache(maxsize=4096)
def _needs(vcpus, ram, root, ephemeral, swap, specs):
    """What a flavor asks of Placement, and its extra specs; both shared by all its instances.

    Follows nova.scheduler.utils.ResourceRequest, as far as the flavor goes. What images and ports
    ask for on top is not in a server's record; Nova's scheduler sees to that.
    """
    specs = dict(specs)
    needs = collections.Counter()
    for key, value in specs.items():
        match = re.fullmatch(r'resources(?:[a-zA-Z0-9_-]{1,64})?:(.+)', key)
        if match and value.isdecimal():         # what else stands there, Nova ignores too
            needs[match[1]] += int(value)
    policy = specs.get('hw:cpu_policy')
    if 'VCPU' not in needs and 'PCPU' not in needs:
        dedicated = 0
        if policy == 'dedicated':
            dedicated = vcpus
        elif policy == 'mixed':
            dedicated = _mask(specs.get('hw:cpu_dedicated_mask')
                              or specs.get('hw:cpu_realtime_mask') or '', vcpus)
        needs['VCPU'] = vcpus - dedicated
        needs['PCPU'] = dedicated
        if dedicated and specs.get('hw:emulator_threads_policy') == 'isolate':
            needs['PCPU'] += 1
    needs.setdefault('MEMORY_MB', ram)
    needs.setdefault('DISK_GB', root + ephemeral + math.ceil(swap / 1024))
    return (types.MappingProxyType({name: amount for name, amount in needs.items() if amount}),
            types.MappingProxyType(specs) if specs else model.NOTHING)


def _mask(text, vcpus):
    """How many of the guest's CPUs a mask like ``1-3,^2`` names; ``^`` at its start: all but."""
    chosen, dropped = set(), set()
    for but, first, last in re.findall(r'(\^?)\s*(\d+)(?:\s*-\s*(\d+))?', text):
        (dropped if but else chosen).update(range(int(first), int(last or first) + 1))
    if text.strip().startswith('^'):
        chosen.update(range(vcpus))
    return len(chosen - dropped)


def _time(text):
    """Nova's time stamp as aware UTC; it leaves the zone out where it means UTC."""
    time = datetime.datetime.fromisoformat(text)
    if time.tzinfo is None:
        return time.replace(tzinfo=datetime.timezone.utc)
    return time.astimezone(datetime.timezone.utc)
