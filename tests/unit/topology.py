"""Clouds as values, for tests: what is not said is ordinary and healthy.

Every node has 100 VCPU, 100000 MEMORY_MB and 1000 DISK_GB, so that amounts read as shares.
"""

import datetime

from vmha_nova import model

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
CAPACITY = {'VCPU': 100, 'MEMORY_MB': 100_000, 'DISK_GB': 1000}
ZONE, BACKEND = 'az1', 'rbd:vms'


def ago(seconds):
    return NOW - datetime.timedelta(seconds=seconds)


def amounts(vcpu=0, memory=0, disk=0, **others):
    """Resource classes by their short names; those that are 0 are left out."""
    named = {'VCPU': vcpu, 'MEMORY_MB': memory, 'DISK_GB': disk, **others}
    return {name: amount for name, amount in named.items() if amount}


def node(host, share=0.0, **changes):
    """An ordinary node that is up; ``share`` of everything is in use there."""
    values = dict(
        service_id=f'service-{host}', provider_id=f'provider-{host}', up=True, enabled=True,
        zone=ZONE, capacity=CAPACITY, has_room=True, usage_at=NOW, backend=BACKEND,
        used={name: int(amount * share) for name, amount in CAPACITY.items()})
    return model.ComputeNode(host, **{**values, **changes})


def spare(host, share=0.0, **changes):
    """A parked spare of pool '', the pool of every node that names none."""
    values = dict(spare=True, parked=True, enabled=False, disabled_reason='vmha: spare')
    return node(host, share, **{**values, **changes})


def instance(id, host, vcpu=1, memory=1000, disk=0, priority=None, **changes):
    """A running instance; ``priority`` is what its metadata says."""
    values = dict(
        name=f'name-{id}', project_id='project', vm_state='active', power_state=1, zone=ZONE,
        needs=amounts(vcpu, memory, disk),
        metadata={} if priority is None else {'vmha:priority': str(priority)})
    return model.Instance(id, host=host, **{**values, **changes})


def instances(host, count, prefix='i', **values):
    """Several alike: i1, i2, …"""
    return [instance(f'{prefix}{n}', host, **values) for n in range(1, count + 1)]


def group(id, policy, *members, max_per_host=1):
    return model.ServerGroup(id, policy, frozenset(members), max_per_host)


def aggregate(name, **metadata):
    return model.Aggregate(name, metadata)


def cluster(nodes, instances=(), groups=(), **values):
    """A consistent Cluster of these; an instance's host says where it is."""
    by_host = {}
    for i in instances:
        by_host.setdefault(i.host, set()).add(i.id)
    return model.Cluster(
        nodes={n.host: n for n in nodes},
        instances={i.id: i for i in instances},
        groups={g.id: g for g in groups},
        by_host={host: frozenset(ids) for host, ids in by_host.items()},
        group_of={member: g.id for g in groups for member in g.members},
        **{'instances_at': NOW, 'nodes_at': NOW, **values})
