"""What would be done if hosts died now, worked out from what the engine has written down.

Nothing is asked of Nova or Ceph, so it answers while they, or the engine, are away; how old its
knowledge is, it says.
"""

import dataclasses
import datetime
import typing

from vmha_nova.db import snapshot
from vmha_nova import decide
from vmha_nova import exception
from vmha_nova import marks
from vmha_nova import model
from vmha_nova import states
from vmha_nova import storm
from vmha_nova import verdict


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What would be done if some hosts died now."""

    hosts: tuple[str, ...]
    snapshot_at: datetime.datetime
    made_at: datetime.datetime
    placements: tuple[tuple[str, model.Placement], ...]     # (failed host, placement)
    spares: tuple[str, ...]
    problems: tuple[str, ...]                               # what is not known of the cloud
    holds: typing.Mapping[str, str]                         # host -> why it would wait, ''


class Planner:
    """See the module.

    :param storage: function: a cluster -> what is on record of its storage (storage.Storage)
    :param policy: model.Policy
    """

    def __init__(self, store, storage, policy, clock):
        self._store = store
        self._storage = storage
        self._policy = policy
        self._clock = clock
        self._snapshots = snapshot.Snapshots(store)

    def plan(self, hosts):
        """What would be done if these hosts died now: Forecast.

        :raises UnknownHost: one is no compute node.
        :raises Unreachable: nothing was written down yet.
        """
        store, now = self._store, self._clock()
        hosts = tuple(dict.fromkeys(hosts))
        open_ = {r.host: r for r in store.recoveries(open_only=True) if r.ended_at is None}
        down = ({r.host for r in store.failures(open_only=True)} | open_.keys()) - set(hosts)
        cluster = self._snapshots.load([*hosts, *down])
        if cluster.nodes_at is None or cluster.instances_at is None:
            raise exception.Unreachable('no engine has written down the cloud yet: is vmha-engine '
                                        'running, and can it read Nova?')
        for host in hosts:
            if host not in cluster.nodes:
                raise exception.UnknownHost(states.no_such_host(host))
        cluster = marks.with_marks(cluster, store.marks(), now)
        storage = self._storage(cluster)
        cluster = storage.with_backends(cluster)
        for host in hosts:
            cluster = storage.backed(cluster, host)
        failed = [model.Failed(host) for host in hosts]
        failed += [model.Failed(h, settled=cluster.by_host.get(h, frozenset()))
                   for h in sorted(down)]
        plan = decide.decide(cluster, failed, self._policy, now)
        placements = tuple((p.instance.host, p) for p in plan.placements)
        return Forecast(
            hosts=hosts, snapshot_at=min(cluster.nodes_at, cluster.instances_at), made_at=now,
            placements=placements, spares=plan.spares, problems=cluster.problems,
            holds=self._holds(cluster, hosts, placements, open_, now))

    def _holds(self, cluster, hosts, placements, open_, now):
        """Why a recovery of each host would not begin, or would wait, '': by host."""
        recent = {r.host for r in self._store.recoveries(since=storm.since(now))
                  if r.state != 'dismissed'}
        excesses = storm.excesses(hosts, open_, recent, cluster, self._policy.limits)
        return {host: self._hold(cluster.nodes[host], placements, open_, excesses.get(host))
                for host in hosts}

    def _hold(self, node, placements, open_, excess):
        """Why a recovery of the host would not begin, or would wait; ''."""
        mine = [p for host, p in placements if host == node.host]
        movable = [p for p in mine if not p.left]
        pause = self._store.paused()
        if node.host in open_:
            return f'recovery {open_[node.host].id} is at it: {open_[node.host].state}'
        if node.maintenance:
            return 'it is in maintenance: a report would be dismissed'
        if 'disabled' in self._policy.planned_shutdown and (
                why := verdict.disabled_by_others(node)):
            return f'{why}: a report would be dismissed'
        if not mine:
            return 'it holds no instances: there is nothing to recover'
        if pause.paused:
            return f'it would wait: {states.paused(pause)}'
        if movable and not any(p.target for p in movable):
            return f'none of {len(movable)} instances has a place to go: it would wait'
        return f'{excess.text}: it would wait for an operator' if excess else ''
