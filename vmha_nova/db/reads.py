"""What is read. Every function is one transaction; rows come out as model dataclasses.

The engine asks the same in every cycle. To make a query, and SQLAlchemy's key of it, takes longer
than to run it, so what is asked often is made once for each shape of it.
"""

import dataclasses
import datetime
import functools

import sqlalchemy as sa

from vmha_nova.db import base
from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import states

OPEN_FAILURES = ('new', 'checking')
SWITCHED_OFF = ('power', 'power+storage')       # levels of protection with a fence by power
PART = 1000                             # rows read at a time of tables that can be very long


@dataclasses.dataclass(frozen=True)
class SnapshotInfo:
    """When the engine has written the cloud down, and what it did not know then."""

    instances_at: datetime.datetime | None
    nodes_at: datetime.datetime | None
    written_at: datetime.datetime
    problems: tuple[str, ...]
    unknown_hosts: tuple[str, ...]


class Reads(base.Database):
    """See the module."""

    def _all(self, cls, query, **values):
        # By the connection: rows that nobody changes need no objects of SQLAlchemy's session.
        with self.reading() as session:
            return [base.record(cls, row)
                    for row in session.connection().execute(query, values)]

    def marks(self):
        """All host marks, by host."""
        return {m.host: m for m in self._all(model.HostMark, _MARKS)}

    def paused(self):
        """Whether an operator has stopped new recoveries: model.Pause."""
        with self.reading() as session:
            row = session.get(models.Pause, 1)
            return model.Pause() if row is None else base.record(model.Pause, row)

    def snapshot_info(self):
        """When the cloud was written down, and what is not known of it: SnapshotInfo.

        None before any engine has.
        """
        with self.reading() as session:
            row = session.get(models.Snapshot, 1)
            return None if row is None else base.record(SnapshotInfo, row)

    def outbox(self, limit=100):
        """Notifications that are still to be sent, oldest first."""
        return self._all(model.Note, sa.select(models.Outbox).order_by(models.Outbox.id)
                         .limit(limit))

    def loads(self):
        """The measured CPU shares: host -> (share, when it was measured)."""
        with self.reading() as session:
            return {row.host: (row.cpu_share, row.cpu_share_at)
                    for row in session.scalars(sa.select(models.NodeLoad))}

    def clients(self, host=None):
        """Clients of the storage seen at hosts: client -> (host, user, when)."""
        table = models.StorageClient
        query = sa.select(table.client, table.host, table.user, table.seen_at)
        with self.reading() as session:
            return {client: (of, user, at) for client, of, user, at in session.execute(
                query if host is None else query.where(table.host == host))}

    def backends(self):
        """Where disks of hosts' instances were last seen: host -> backend, '': in several."""
        with self.reading() as session:
            return {row.host: row.backend
                    for row in session.scalars(sa.select(models.HostBackend))}

    def switched_off(self):
        """The hosts that the engine would switch off, as it has written down."""
        table = models.Capacity
        with self.reading() as session:
            return set(session.scalars(sa.select(table.host).where(
                table.protection.in_(SWITCHED_OFF))))

    def disks(self, host=None):
        """Where instances' disks were found: instance id -> DiskRecord."""
        table = models.DiskRecord
        # As many as there are instances: in parts, or all are in memory twice.
        query = sa.select(table).execution_options(yield_per=PART)
        query = query if host is None else query.where(table.host == host)
        return {r.instance_id: r for r in self._all(model.DiskRecord, query)}

    def failures(self, open_only=False, since=None, limit=1000):
        """Reports, oldest first: all, those the engine still has to judge, received since."""
        values = dict(limit=limit, **({} if since is None else dict(since=since)))
        return self._all(model.HostFailure, _failures(open_only, *values), **values)[::-1]

    def recoveries(self, open_only=False, unreleased=False, since=None, host=None,
                   limit=1000):
        """Recoveries, oldest first: all, not over, of hosts still out, begun since, of a host."""
        values = dict(limit=limit, **{k: v for k, v in (('since', since), ('host', host))
                                      if v is not None})
        return self._all(model.Recovery, _recoveries(open_only, unreleased, *values),
                         **values)[::-1]

    def recovery(self, recovery_id):
        """One recovery; NotFound."""
        with self.reading() as session:
            row = session.get(models.Recovery, recovery_id)
            if row is None:
                raise exception.NotFound(f'no recovery {recovery_id}')
            return base.record(model.Recovery, row)

    def moves(self, recovery_id):
        """The moves of a recovery in the order in which they are sent."""
        return self._all(model.Move, _MOVES, of=recovery_id)

    def under_way(self):
        """The moves of all recoveries for which a call is on its way or was taken by Nova."""
        return self._all(model.Move, _UNDER_WAY)

    def report_of(self, recovery_id):
        """The report for which a recovery was opened."""
        return self._all(model.HostFailure, _REPORT_OF, of=recovery_id)[0]

    def steps(self, recovery_id=None, kind=None, subject=None):
        """The acts recorded, oldest first; ``kind`` may be several."""
        asked = dict(of=recovery_id, subject=subject,
                     kinds=[kind] if isinstance(kind, str) else kind)
        values = {k: v for k, v in asked.items() if v is not None}
        return self._all(model.Step, _steps(*values), **values)

    def events(self, recovery_id=None, limit=200, kind=None):
        """The journal's last lines, oldest first."""
        query = sa.select(models.Event).order_by(models.Event.id.desc()).limit(limit)
        if recovery_id is not None:
            query = query.where(models.Event.recovery_id == recovery_id)
        if kind is not None:
            query = query.where(models.Event.kind == kind)
        return self._all(model.Event, query)[::-1]


# -- queries that are made once ------------------------------------------------------------------
_MARKS = sa.select(models.HostMark)
_MOVES = sa.select(models.Move).where(models.Move.recovery_id == sa.bindparam('of')).order_by(
    models.Move.position, models.Move.id)
_UNDER_WAY = sa.select(models.Move).where(models.Move.state.in_(states.IN_FLIGHT)).order_by(
    models.Move.id)
_REPORT_OF = sa.select(models.HostFailure).where(
    models.HostFailure.recovery_id == sa.bindparam('of'),
    models.HostFailure.state == 'accepted').limit(1)


def _asked(query, values, **conditions):
    """A query with those of the conditions whose values are given when it is run."""
    return query.where(*(condition for name, condition in conditions.items() if name in values))


@functools.cache
def _failures(open_only, *values):
    table = models.HostFailure
    query = sa.select(table).order_by(table.id.desc()).limit(
        sa.bindparam('limit', type_=sa.Integer))
    if open_only:
        query = query.where(table.state.in_(OPEN_FAILURES))
    return _asked(query, values, since=table.received_at >= sa.bindparam('since'))


@functools.cache
def _recoveries(open_only, unreleased, *values):
    table = models.Recovery
    query = sa.select(table).order_by(table.created_at.desc(), table.id).limit(
        sa.bindparam('limit', type_=sa.Integer))
    if open_only:
        query = query.where(sa.or_(table.ended_at.is_(None), table.wish != ''))
    if unreleased:
        query = query.where(table.released_at.is_(None))
    return _asked(query, values, since=table.created_at >= sa.bindparam('since'),
                  host=table.host == sa.bindparam('host'))


@functools.cache
def _steps(*values):
    table = models.Step
    return _asked(
        sa.select(table).order_by(table.id), values, of=table.recovery_id == sa.bindparam('of'),
        kinds=table.kind.in_(sa.bindparam('kinds', expanding=True)),
        subject=table.subject == sa.bindparam('subject'))
