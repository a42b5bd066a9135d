"""All that is remembered. Every function is one transaction; rows come out as model dataclasses.

Writers of two kinds: anybody may put something in front of the engine (a report, a mark, a wish,
a journal line); only the leading engine writes what it decided and did. The second kind takes a
``term`` and starts with an update of the leader row that fails with TermLost when another engine
has taken over, so an engine that lost its lead cannot write, and so cannot act (it records
before it acts).
"""

import dataclasses
import uuid

import sqlalchemy as sa

from vmha_nova.db import base
from vmha_nova.db import models
from vmha_nova.db import reads
from vmha_nova.db import snapshot
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import states
from vmha_nova import views

MAX_EVENTS = 20000                      # the journal is cut back to this


class Store(reads.Reads):
    """See the module."""

    @staticmethod
    def make_id():
        """What a new recovery is called."""
        return str(uuid.uuid4())

    # -- in front of the engine: anybody writes -------------------------------------------------
    @base.tried_again
    def report_failure(self, host, source, reason='', detected_at=None, evidence=None,
                       forced=False):
        """Write that a host is reported down; the same report again only counts, and says so anew.

        It is the same while an earlier one of its source is open, or was found to be a duplicate
        of a recovery whose host is still out. What another source says is another report: it may
        be trusted more, and must not wait for what becomes of this one.

        Of the evidence, what the engine notes there itself is left out.

        :returns: (HostFailure, True where this is a new row)
        """
        now = self._clock()
        evidence = {k: v for k, v in (evidence or {}).items() if k not in model.OWN_EVIDENCE}
        table = models.HostFailure
        with self._writer() as session:
            self._queue(session, f'{source} reports {host}')
            last = session.scalars(
                sa.select(table).where(table.host == host, table.source == source)
                .order_by(table.id.desc()).limit(1).with_for_update()).first()
            same = last is not None and not (forced and not last.forced) and (
                last.state in reads.OPEN_FAILURES
                or (last.state == 'duplicate' and self._held_down(session, last.recovery_id))
                # Delivered twice. Without the time of its detection a report is a new one.
                or (detected_at is not None and last.detected_at == detected_at))
            if same:
                last.repeats += 1
                if last.state in reads.OPEN_FAILURES:
                    # Beats that came before say nothing about it: they are counted anew.
                    last.evidence = {k: v for k, v in last.evidence.items()
                                     if k not in model.OWN_EVIDENCE}
                return base.record(model.HostFailure, last), False
            row = table(host=host, source=source, reason=reason, received_at=now, state='new',
                        detected_at=detected_at or now, evidence=evidence, forced=forced,
                        detail='', repeats=0)
            session.add(row)
            session.flush()
            report = base.record(model.HostFailure, row)
            self._tell(session, 'vmha.host.reported', views.failure(report))
            return report, True

    @staticmethod
    def _held_down(session, recovery_id):
        recovery = session.get(models.Recovery, recovery_id) if recovery_id else None
        return recovery is not None and recovery.released_at is None

    @base.tried_again
    def set_mark(self, host, **values):
        """Change the mark of a host (spare, pool, maintenance).

        Who says that there is maintenance, or none, and not until when, says for good.
        """
        if 'maintenance' in values:
            values.setdefault('maintenance_until', None)
        with self._writer() as session:
            self._mark(session, self._mark_of(session, host), values)

    @staticmethod
    def _mark_of(session, host):
        # Locked: a value that is there already is not written, and must stay till the end.
        row = session.get(models.HostMark, host, with_for_update=True)
        if row is None:
            row = models.HostMark(host=host)
            session.add(row)
            session.flush()             # the defaults
        return row

    def _mark(self, session, row, values):
        before = base.record(model.HostMark, row)
        for name, value in values.items():
            setattr(row, name, value)
        row.updated_at = self._clock()
        after = base.record(model.HostMark, row)
        if after != before:
            self._tell(session, 'vmha.host.updated', views.mark(after))

    @base.tried_again
    def pause(self, paused, reason='', user=''):
        """Stop new recoveries, or let them start again; returns model.Pause."""
        with self._writer() as session:
            row = session.get(models.Pause, 1, with_for_update=True)
            if row is None:
                row = models.Pause(id=1)
                session.add(row)
            row.paused, row.reason, row.user, row.at = paused, reason, user, self._clock()
            session.flush()
            return base.record(model.Pause, row)

    @base.tried_again
    def wish(self, recovery_id, wish):
        """Write what an operator wants of a recovery (approve, abort, retry, release).

        :raises InvalidTransition: it is being aborted; that would be forgotten.
        """
        with self._writer() as session:
            row = session.get(models.Recovery, recovery_id, with_for_update=True)
            if row is None:
                raise exception.NotFound(f'no recovery {recovery_id}')
            if row.wish == 'abort' != wish and row.ended_at is None:
                raise exception.InvalidTransition(
                    f'recovery {recovery_id} is being aborted: wait until it is over')
            row.wish = wish

    @base.tried_again
    def note(self, level, kind, text, host='', recovery_id=None):
        """Write a line of the journal; the same line as the last of its kind only counts up."""
        with self._writer() as session:
            self._note(session, level, kind, text, host, recovery_id)

    @base.tried_again
    def tell_verdict(self, host, what, reason, before, evidence, level):
        """Write down, and have told, that a monitor thinks otherwise of a host than ``before``."""
        with self._writer() as session:
            self._note(session, level, 'verdict', f'{what}: {reason}'[:2000], host, None)
            self._tell(session, 'vmha.host.verdict', dict(
                host=host, verdict=what, before=before, reason=reason, evidence=evidence))

    def _note(self, session, level, kind, text, host, recovery_id):
        now, table = self._clock(), models.Event
        self._queue(session, f'{kind} {host} {recovery_id}')
        last = session.scalars(
            sa.select(table).where(table.kind == kind, table.host == host,
                                   table.recovery_id == recovery_id)
            .order_by(table.id.desc()).limit(1)).first()
        if last is not None and last.text == text:
            last.repeats += 1
            last.last_at = now
            return
        row = table(at=now, last_at=now, level=level, kind=kind, host=host, text=text,
                    recovery_id=recovery_id, repeats=0)
        session.add(row)
        session.flush()
        if row.id % 1000 == 0:
            session.execute(sa.delete(table).where(table.id <= row.id - MAX_EVENTS))

    # -- the leading engine writes --------------------------------------------------------------
    @staticmethod
    def _replace(session, key, rows):
        """Put rows in the place of those with the same key, by a few statements for thousands."""
        for some in snapshot.batches(rows):
            session.execute(sa.delete(key.class_).where(key.in_([r[key.key] for r in some])))
            session.execute(sa.insert(key.class_), some)

    def keep_mark(self, term, host, **values):
        """Change the mark of a host: whether it is parked, and whether it is a spare still."""
        with self.leading(term) as session:
            self._mark(session, self._mark_of(session, host), values)

    def save_loads(self, term, loads):
        """Keep measured CPU shares, as loads() gives them; of other hosts nothing changes."""
        with self.leading(term) as session:
            self._replace(session, models.NodeLoad.host, [
                dict(host=host, cpu_share=share, cpu_share_at=at)
                for host, (share, at) in loads.items()])

    def save_clients(self, term, seen, forgotten=()):
        """Keep clients, as clients() gives them, and forget others."""
        with self.leading(term) as session:
            self._replace(session, models.StorageClient.client, [
                dict(client=client, host=host, user=user, seen_at=at)
                for client, (host, user, at) in seen.items()])
            for some in snapshot.batches(forgotten):
                session.execute(sa.delete(models.StorageClient).where(
                    models.StorageClient.client.in_(some)))

    def save_backends(self, term, seen):
        """Keep where disks were seen, as backends() gives it."""
        with self.leading(term) as session:
            self._replace(session, models.HostBackend.host, [
                dict(host=host, backend=backend) for host, backend in seen.items()])

    def save_disks(self, term, records, forgotten=()):
        """Keep DiskRecords, and forget those of other instances, by id."""
        with self.leading(term) as session:
            for record in records:
                session.merge(models.DiskRecord(**dataclasses.asdict(record)))
            for some in snapshot.batches(forgotten):
                session.execute(sa.delete(models.DiskRecord).where(
                    models.DiskRecord.instance_id.in_(some)))

    def end_maintenance(self, term, host, now):
        """End the maintenance of a host if its time is over, as its mark is at this moment.

        :returns: whether it has ended by this
        """
        table = models.HostMark
        with self.leading(term) as session:
            row = session.scalars(sa.select(table).where(
                table.host == host, table.maintenance.is_(True), table.maintenance_until <= now,
            ).with_for_update()).first()
            if row is not None:
                self._mark(session, row, dict(maintenance=False, maintenance_until=None))
            return row is not None

    def set_failure(self, term, failure_id, state, detail='', **values):
        """Change the state of a report."""
        with self.leading(term) as session:
            row = session.get(models.HostFailure, failure_id)
            states.check(states.FAILURE_NEXT, row.state, state)
            new = row.state != state
            row.state, row.detail = state, detail
            for name, value in values.items():
                setattr(row, name, value)
            if new:
                self._tell(session, f'vmha.host.{state}',
                           views.failure(base.record(model.HostFailure, row)))

    def open_recovery(self, term, failure, reason):
        """Take a report: one transaction makes the recovery and links the report to it.

        It also takes the place of earlier recoveries of that host, so that a host with a fence
        always has one that looks after it.

        :raises InvalidTransition: a recovery of that host is under way.
        """
        now = self._clock()
        with self.leading(term) as session:
            # Two recoveries of one host would evacuate its instances twice.
            if session.scalars(sa.select(models.Recovery.id).where(
                    models.Recovery.host == failure.host,
                    models.Recovery.ended_at.is_(None)).limit(1)).first():
                raise exception.InvalidTransition(f'{failure.host} is being recovered already')
            session.execute(sa.update(models.Recovery).where(
                models.Recovery.host == failure.host, models.Recovery.released_at.is_(None),
            ).values(released_at=now))
            row = models.Recovery(
                id=self.make_id(), host=failure.host, state='confirmed', resume='',
                reason=reason, wish='', approved=failure.forced,
                reported_at=failure.received_at, created_at=now, updated_at=now)
            session.add(row)
            report = session.get(models.HostFailure, failure.id)
            states.check(states.FAILURE_NEXT, report.state, 'accepted')
            report.state, report.detail, report.recovery_id = 'accepted', reason, row.id
            report.evidence = dict(failure.evidence)
            session.flush()
            recovery = base.record(model.Recovery, row)
            self._tell(session, 'vmha.host.accepted',
                       views.failure(base.record(model.HostFailure, report)))
            self._tell(session, 'vmha.recovery.confirmed', views.recovery(recovery))
            return recovery

    def set_recovery(self, term, recovery_id, answered='', **values):
        """Change a recovery; ``state`` only as states.RECOVERY_NEXT allows.

        :param answered: the wish that this fulfils or refuses. Another one, which an operator has
                         written meanwhile, stays.
        """
        with self.leading(term) as session:
            row = session.get(models.Recovery, recovery_id, with_for_update=True)
            if row.wish == answered:
                row.wish = ''
            if 'state' in values:
                states.check(states.RECOVERY_NEXT, row.state, values['state'])
            before, out = row.state, row.released_at is None
            for name, value in values.items():
                setattr(row, name, value)
            row.updated_at = self._clock()
            session.flush()
            recovery = base.record(model.Recovery, row)
            if recovery.state != before:
                self._tell(session, f'vmha.recovery.{recovery.state}',
                           views.recovery(recovery, self._tally(session, recovery_id)))
            if out and recovery.released_at is not None:
                self._tell(session, 'vmha.host.released', views.recovery(recovery))
            return recovery

    def save_moves(self, term, recovery_id, new=(), changed=()):
        """Add moves (dicts of columns) and change existing ones (id -> dict of columns)."""
        with self.leading(term) as session:
            told = [models.Move(recovery_id=recovery_id, **values) for values in new]
            session.add_all(told)
            for move_id, values in dict(changed).items():
                row = session.get(models.Move, move_id)
                if 'state' in values:
                    states.check(states.MOVE_NEXT, row.state, values['state'])
                    if row.state != values['state']:
                        told.append(row)
                for name, value in values.items():
                    setattr(row, name, value)
            session.flush()             # ids and defaults of the new ones
            host = session.get(models.Recovery, recovery_id).host
            for row in told:
                self._tell(session, f'vmha.move.{row.state}',
                           dict(views.move(base.record(model.Move, row)), host=host))

    def begin_step(self, term, kind, subject, recovery_id=None, evidence=None):
        """Record that an act is about to be done, and how; returns the step's id."""
        with self.leading(term) as session:
            row = models.Step(kind=kind, subject=subject, recovery_id=recovery_id,
                              state='intended', at=self._clock(), detail='',
                              evidence=evidence or {})
            session.add(row)
            session.flush()
            return row.id

    def end_step(self, term, step_id, state, detail='', evidence=None):
        """Record how an act ended."""
        with self.leading(term) as session:
            row = session.get(models.Step, step_id)
            row.state, row.detail, row.ended_at = state, detail, self._clock()
            if evidence is not None:
                row.evidence = evidence

    def turn(self, term, kind, subject, level, text, event_type, payload):
        """Journal and tell that a condition has come, or (level info) gone: once, each.

        What its last line in the journal says is what was told.

        :returns: whether it was news
        """
        table, now = models.Event, self._clock()
        with self.leading(term) as session:
            last = session.scalars(sa.select(table.level).where(
                table.kind == kind, table.host == subject).order_by(table.id.desc())
                .limit(1)).first()
            if (level == 'info') == (last in (None, 'info')):
                return False
            session.add(table(at=now, last_at=now, level=level, kind=kind, host=subject,
                              text=text, repeats=0))
            self._tell(session, event_type, payload)
            return True

    def sent(self, term, ids):
        """Forget notifications that were sent."""
        with self.leading(term) as session:
            session.execute(sa.delete(models.Outbox).where(models.Outbox.id.in_(list(ids))))

    # -- notifications: written with what they tell of, so that none is lost or made up -----------
    def _tell(self, session, event_type, payload):
        session.add(models.Outbox(at=self._clock(), event_type=event_type, payload=payload))

    @staticmethod
    def _tally(session, recovery_id):
        """How many moves of a recovery are in each state."""
        return dict(session.execute(
            sa.select(models.Move.state, sa.func.count()).where(
                models.Move.recovery_id == recovery_id).group_by(models.Move.state)).all())
