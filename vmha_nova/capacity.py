"""Pure: does the death of each host fit? The standing check, host by host."""

import logging
import typing

from vmha_nova import decide
from vmha_nova import disks
from vmha_nova import model
from vmha_nova import verdict

LOG = logging.getLogger(__name__)


def check(cluster: model.Cluster, policy: model.Policy, now,
          protections: typing.Mapping[str, tuple[str, str]],
          fills: typing.Mapping[str, float | None]) -> typing.Iterator[model.Capacity]:
    """Yield what the death of each host would mean: hosts with instances first, then the others.

    :param cluster: with marks, backends and what backs the instances
    :param protections: host -> (level, why): what keeps it from writing once it is dead
    :param fills: host -> how full the storage is without it, None: not known; of hosts that take
        nothing of the storage with them there is none

    Each step takes about as long as placing the instances of the host does.
    """
    if 'disabled' in policy.planned_shutdown:
        protections = {**protections, **{
            host: ('none', f'{why}: reports about it are dismissed')
            for host, ids in cluster.by_host.items() if ids and host in cluster.nodes
            for why in [verdict.disabled_by_others(cluster.nodes[host])] if why}}
    plan = decide.each_alone(cluster, policy, now)
    for host in sorted(host for host, ids in cluster.by_host.items() if ids):
        yield _capacity(host, _tried(plan, host, cluster), cluster, now, protections, fills)
    for host in sorted(cluster.nodes):
        if not cluster.by_host.get(host):
            yield _capacity(host, model.Plan(), cluster, now, protections, fills)


def _tried(plan, host, cluster):
    """The plan for a host; a fault with one costs no other host its own."""
    try:
        return plan(host)
    except Exception as e:
        LOG.exception('what the death of %s would mean cannot be worked out', host)
        return model.Plan(placements=tuple(
            model.Placement(i, reason=f'internal error: {type(e).__name__}: {e}')
            for i in sorted(cluster.on(host), key=lambda i: i.id)))


def _capacity(host, plan, cluster, now, protections, fills):
    left = [p for p in plan.placements if p.left]
    unplaced = [p for p in plan.placements if not p.left and not p.target]
    level, why = protections.get(host, ('none', 'Nova has no such compute node'))
    node, fill = cluster.nodes.get(host), fills.get(host)
    if node is not None and node.maintenance:
        level, why = 'none', 'it is in maintenance: reports about it are dismissed'
    fits = not unplaced
    if fits and host in fills:
        fits = None if fill is None else fill <= disks.FULL
    return model.Capacity(
        host=host, checked_at=now, instances=len(plan.placements),
        placeable=len(plan.placements) - len(left) - len(unplaced), unplaced=len(unplaced),
        unprotectable=len(left), fits=fits, storage_fill=fill, protection=level,
        protection_reason=why, spares=plan.spares,
        problems=tuple(dict(instance_id=p.instance.id, name=p.instance.name, left=p.left,
                            reason=p.reason) for p in [*unplaced, *left]))
