"""Cuts back what is over and old: recoveries with their moves and steps, reports, the journal.

What an engine still goes by stays, however old it is: a recovery whose host is out, and every
fence that was not lifted since. So that a kill in the middle changes nothing of that, what is
deleted of a host is the beginning of its history, from its oldest recovery on.
"""

import collections

import sqlalchemy as sa

from vmha_nova.db import models
from vmha_nova.db import reads
from vmha_nova.db import snapshot
from vmha_nova import states

NAMES = ('recoveries', 'moves', 'steps', 'failures', 'events')
NOTHING = 'none'                        # the driver of a fence that leaves nothing behind


def purge(store, before, dry_run=False):
    """Delete what was over before a time (aware UTC).

    A transaction deletes at most a few hundred rows: nobody who reports a host waits for long.

    :param dry_run: count, and delete nothing
    :returns: how many of each of NAMES
    """
    found = dict.fromkeys(NAMES, 0)
    doomed = set()
    for idents in _histories(store, before):
        doomed.update(idents)
        for ident in idents:
            move, step = models.Move, models.Step
            found['moves'] += _rows(store, move, move.recovery_id == ident, dry_run)
            found['steps'] += _rows(store, step, step.recovery_id == ident, dry_run)
            found['recoveries'] += _rows(store, models.Recovery, models.Recovery.id == ident,
                                         dry_run)
    step, event = models.Step, models.Event
    # Acts that are no recovery's: to park a spare.
    found['steps'] += _rows(store, step, sa.and_(
        step.recovery_id.is_(None), step.at < before, step.state != 'intended'), dry_run)
    found['failures'] += _failures(store, before, doomed, dry_run)
    found['events'] += _rows(store, event, event.last_at < before, dry_run)
    return found


def _histories(store, before):
    """For each host that has some: ids of the recoveries that can be deleted, oldest first."""
    table = models.Recovery
    with store.reading() as session:
        hosts = session.scalars(sa.select(sa.distinct(table.host)).where(
            table.released_at < before)).all()
    for host in sorted(hosts):
        with store.reading() as session:
            recoveries = session.scalars(sa.select(table).where(table.host == host).order_by(
                table.created_at, table.id)).all()
            steps = session.scalars(sa.select(models.Step).where(
                models.Step.subject == host, models.Step.kind.in_(('fence', 'lift'))).order_by(
                    models.Step.id)).all()
            found = _beginning(recoveries, steps, before)
        yield found                     # with nothing open that would keep others from writing


def _beginning(recoveries, steps, before):
    """The first recoveries of a host, as many as can be deleted; ``steps``: its fences, lifts."""
    lifted = max((s.id for s in steps if s.kind == 'lift' and s.state == 'done'), default=0)
    up = {s.recovery_id for s in steps if s.kind == 'fence' and s.id > lifted
          and s.evidence.get('driver') != NOTHING}
    found = []
    for one in recoveries:
        if one.state not in states.RECOVERY_OVER or one.id in up or not (
                one.ended_at and one.ended_at < before
                and one.released_at and one.released_at < before):
            break
        found.append(one.id)
    ids = collections.defaultdict(list)
    for step in steps:
        ids[step.recovery_id].append(step.id)
    # A lift must not go before a fence that it has ended: that one would count as up again.
    while found and any(kept < gone for gone in ids[found[-1]]
                        for ident in ids.keys() - set(found) for kept in ids[ident]):
        found.pop()
    return found


def _failures(store, before, doomed, dry_run):
    """Delete reports that are over, but for those of a recovery that stays."""
    table = models.HostFailure
    with store.reading() as session:
        there = set(session.scalars(sa.select(models.Recovery.id))) - doomed
    count, last = 0, 0
    while True:
        with store.reading() as session:
            some = session.execute(sa.select(table.id, table.recovery_id).where(
                table.id > last, table.received_at < before,
                table.state.not_in(reads.OPEN_FAILURES)).order_by(table.id).limit(
                    snapshot.BATCH)).all()
        if not some:
            return count
        last = some[-1].id
        ids = [row.id for row in some if row.recovery_id not in there]
        count += len(ids)
        if ids and not dry_run:
            _delete(store, table, ids)


def _rows(store, table, condition, dry_run):
    """Delete rows, the oldest first, and return how many."""
    if dry_run:
        with store.reading() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(table).where(condition))
    count = 0
    while True:
        with store.reading() as session:
            ids = session.scalars(sa.select(table.id).where(condition).order_by(table.id).limit(
                snapshot.BATCH)).all()
        if not ids:
            return count
        count += len(ids)
        _delete(store, table, ids)


def _delete(store, table, ids):
    with store._writer() as session:
        session.execute(sa.delete(table).where(table.id.in_(ids)))
