"""Pure: a cluster with what the operator and this service have noted about its hosts."""

import dataclasses
import datetime
import typing

from vmha_nova import model

SPARE_REASON = 'vmha: spare node'       # in Nova; a spare disabled for another one is not ours


def with_marks(cluster: model.Cluster, marks: typing.Mapping[str, model.HostMark],
               now: datetime.datetime) -> model.Cluster:
    """The cluster with the marks; maintenance whose time is over is none."""
    marked = {h: dataclasses.replace(
        cluster.nodes[h], spare=m.spare, pool=m.pool, backend=m.backend,
        maintenance=m.maintenance and not expired(m, now),
        # Where somebody has put another reason, it is theirs: not to be enabled by us.
        parked=m.parked and (cluster.nodes[h].enabled
                             or cluster.nodes[h].disabled_reason == SPARE_REASON))
              for h, m in marks.items() if h in cluster.nodes}
    if not marked:
        return cluster
    return dataclasses.replace(cluster, nodes={**cluster.nodes, **marked})


def expired(mark: model.HostMark, now: datetime.datetime) -> bool:
    """Whether the time of its maintenance is over."""
    return mark.maintenance_until is not None and mark.maintenance_until <= now
