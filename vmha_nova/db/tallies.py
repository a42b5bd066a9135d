"""Counts and sums over all that is remembered: what the metrics show. One transaction."""

import collections
import dataclasses
import datetime
import typing

import sqlalchemy as sa

from vmha_nova.db import models

Counts = typing.Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Tallies:
    """The database in numbers. Amounts are in Placement's units, None is what is not known."""

    recoveries: Counts                  # state -> how many; what is missing there are none of
    moves: Counts
    failures: Counts
    hosts: Counts                       # all, up, spare, maintenance, out, unfenced
    unfit: int                          # hosts whose death does not fit
    instances: Counts                   # protected, unprotectable, unplaceable
    storage_fill: float | None          # the worst that the death of a host would mean
    spare_free: Counts                  # resource class -> free on spares that can take instances
    spare_size: Counts                  # resource class -> all of it there
    paused: bool
    engine_at: datetime.datetime | None         # when the leading engine last wrote
    snapshot: bool                              # whether an engine has written down the cloud
    snapshot_at: datetime.datetime | None       # the older of its two lists; None: one is missing
    notes: int                                  # notifications to be sent
    note_at: datetime.datetime | None           # the oldest of them


def read(store) -> Tallies:
    """Read them all; raises StoreUnavailable."""
    with store.reading() as session:
        info = session.get(models.Snapshot, 1)
        pause = session.get(models.Pause, 1)
        leader = session.get(models.Leader, 1)
        notes, note_at = session.execute(
            sa.select(sa.func.count(), sa.func.min(models.Outbox.at))).one()
        return Tallies(
            recoveries=_states(session, models.Recovery), moves=_states(session, models.Move),
            failures=_states(session, models.HostFailure), hosts=_hosts(session),
            **_capacity(session), **_spares(session),
            paused=pause is not None and pause.paused,
            engine_at=leader and leader.renewed_at,
            snapshot=info is not None,
            snapshot_at=min(info.instances_at, info.nodes_at)
            if info and info.instances_at and info.nodes_at else None,
            notes=notes, note_at=note_at)


def _states(session, table):
    return dict(session.execute(
        sa.select(table.state, sa.func.count()).group_by(table.state)).all())


def _sum(condition, amount=1):
    """How often the condition holds, or the sum of an amount where it does; 0 for no rows."""
    return sa.func.coalesce(sa.func.sum(sa.case((condition, amount), else_=0)), 0)


def _hosts(session):
    node, mark, capacity = models.Node, models.HostMark, models.Capacity
    known, up = session.execute(sa.select(sa.func.count(), _sum(node.up.is_(True)))).one()
    # Marks of hosts that Nova knows no more are left out.
    spare, maintenance = session.execute(
        sa.select(_sum(mark.spare.is_(True)), _sum(mark.maintenance.is_(True)))
        .join_from(mark, node, node.host == mark.host)).one()
    out = session.scalar(sa.select(sa.func.count(sa.distinct(models.Recovery.host))).where(
        models.Recovery.released_at.is_(None)))
    # One without an instance has nothing that could write.
    unfenced = session.scalar(
        sa.select(_sum(sa.and_(capacity.protection == 'none', capacity.instances > 0,
                               sa.func.coalesce(mark.maintenance, False).is_(False))))
        .outerjoin_from(capacity, mark, mark.host == capacity.host))
    return dict(all=known, up=int(up), spare=int(spare), maintenance=int(maintenance), out=out,
                unfenced=int(unfenced))


def _capacity(session):
    table = models.Capacity
    unfit, protected, unprotectable, unplaceable, fill = session.execute(sa.select(
        _sum(table.fits.is_(False)),
        # Where nothing keeps the dead host from writing, nothing is moved.
        _sum(table.protection != 'none', table.placeable),
        sa.func.coalesce(sa.func.sum(table.unprotectable), 0),
        sa.func.coalesce(sa.func.sum(table.unplaced), 0),
        sa.func.max(table.storage_fill))).one()
    return dict(
        unfit=int(unfit), storage_fill=fill,
        instances=dict(protected=int(protected), unprotectable=int(unprotectable),
                       unplaceable=int(unplaceable)))


def _spares(session):
    """Amounts on spares that are up, in no maintenance, and not themselves failed."""
    node, mark, recovery = models.Node, models.HostMark, models.Recovery
    out = sa.select(recovery.host).where(recovery.released_at.is_(None))
    free, size = collections.Counter(), collections.Counter()
    for record in session.scalars(
            sa.select(node.record).join(mark, mark.host == node.host).where(
                node.up.is_(True), mark.spare.is_(True), mark.maintenance.is_(False),
                node.host.not_in(out))):
        used = record.get('used', {})
        for resource, amount in record.get('capacity', {}).items():
            size[resource] += amount
            # Of a host without room Placement says nothing; what is known of it is old.
            room = amount - used.get(resource, 0) if record.get('has_room') else 0
            free[resource] += max(room, 0)
    return dict(spare_free=dict(free), spare_size=dict(size))
