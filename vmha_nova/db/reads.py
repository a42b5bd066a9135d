"""What is read. Every function is one transaction; rows come out as model dataclasses."""

import dataclasses
import datetime

import sqlalchemy as sa

from vmha_nova.db import base
from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import states

OPEN_FAILURES = ('new', 'checking')
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

    def _all(self, cls, query):
        with self.reading() as session:
            return [base.record(cls, row) for row in session.scalars(query)]

    def marks(self):
        """All host marks, by host."""
        return {m.host: m for m in self._all(model.HostMark, sa.select(models.HostMark))}

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
                table.protection.in_(model.SWITCHED_OFF))))

    def disks(self, host=None):
        """Where instances' disks were found: instance id -> DiskRecord."""
        table = models.DiskRecord
        # As many as there are instances: in parts, or all are in memory twice.
        query = sa.select(table).execution_options(yield_per=PART)
        query = query if host is None else query.where(table.host == host)
        return {r.instance_id: r for r in self._all(model.DiskRecord, query)}

    def failures(self, open_only=False, since=None, limit=1000):
        """Reports, oldest first: all, those the engine still has to judge, received since."""
        query = sa.select(models.HostFailure).order_by(models.HostFailure.id.desc()).limit(limit)
        if open_only:
            query = query.where(models.HostFailure.state.in_(OPEN_FAILURES))
        if since is not None:
            query = query.where(models.HostFailure.received_at >= since)
        return self._all(model.HostFailure, query)[::-1]

    def recoveries(self, open_only=False, unreleased=False, since=None, host=None,
                   limit=1000):
        """Recoveries, oldest first: all, not over, of hosts still out, begun since, of a host."""
        table = models.Recovery
        query = sa.select(table).order_by(table.created_at.desc(), table.id).limit(limit)
        if open_only:
            query = query.where(sa.or_(table.ended_at.is_(None), table.wish != ''))
        if unreleased:
            query = query.where(table.released_at.is_(None))
        if since is not None:
            query = query.where(table.created_at >= since)
        if host is not None:
            query = query.where(table.host == host)
        return self._all(model.Recovery, query)[::-1]

    def recovery(self, recovery_id):
        """One recovery; NotFound."""
        with self.reading() as session:
            row = session.get(models.Recovery, recovery_id)
            if row is None:
                raise exception.NotFound(f'no recovery {recovery_id}')
            return base.record(model.Recovery, row)

    def moves(self, recovery_id):
        """The moves of a recovery in the order in which they are sent."""
        table = models.Move
        return self._all(model.Move, sa.select(table).where(table.recovery_id == recovery_id)
                         .order_by(table.position, table.id))

    def under_way(self):
        """The moves of all recoveries for which a call is on its way or was taken by Nova."""
        return self._all(model.Move, sa.select(models.Move).where(
            models.Move.state.in_(states.IN_FLIGHT)).order_by(models.Move.id))

    def report_of(self, recovery_id):
        """The report for which a recovery was opened."""
        table = models.HostFailure
        return self._all(model.HostFailure, sa.select(table).where(
            table.recovery_id == recovery_id, table.state == 'accepted').limit(1))[0]

    def steps(self, recovery_id=None, kind=None, subject=None):
        """The acts recorded, oldest first; ``kind`` may be several."""
        query = sa.select(models.Step).order_by(models.Step.id)
        if recovery_id is not None:
            query = query.where(models.Step.recovery_id == recovery_id)
        if kind is not None:
            query = query.where(models.Step.kind.in_([kind] if isinstance(kind, str) else kind))
        if subject is not None:
            query = query.where(models.Step.subject == subject)
        return self._all(model.Step, query)

    def events(self, recovery_id=None, limit=200, kind=None):
        """The journal's last lines, oldest first."""
        query = sa.select(models.Event).order_by(models.Event.id.desc()).limit(limit)
        if recovery_id is not None:
            query = query.where(models.Event.recovery_id == recovery_id)
        if kind is not None:
            query = query.where(models.Event.kind == kind)
        return self._all(model.Event, query)[::-1]
