"""All that is remembered. Every function is one transaction; rows come out as model dataclasses.

Writers of two kinds: anybody may put something in front of the engine (a report, a mark, a wish,
a journal line); only the leading engine writes what it decided and did. The second kind takes a
``term`` and starts with an update of the leader row that fails with TermLost when another engine
has taken over, so an engine that lost its lead cannot write, and so cannot act (it records
before it acts).
"""

import contextlib
import dataclasses
import os
import uuid

import alembic.command
import alembic.config
import alembic.script
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
import sqlalchemy as sa

from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import states

OPEN_FAILURES = ('new', 'checking')
MAX_EVENTS = 20000                      # the journal is cut back to this


@enginefacade.transaction_context_provider
class _Context:
    """What enginefacade keeps its session on."""


def _record(cls, row):
    """A row as the dataclass of the same name; JSON lists become tuples."""
    values = {f.name: getattr(row, f.name) for f in dataclasses.fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class Store:
    """The database. ``clock`` returns aware UTC.

    :param options: keyword arguments of oslo.db's enginefacade ``configure``
                    (``connection`` at least).
    """

    def __init__(self, clock, **options):
        self.url = options['connection']
        self._clock = clock
        self._manager = enginefacade.transaction_context()
        self._manager.configure(sqlite_fk=True, mysql_sql_mode='TRADITIONAL', **options)
        self._manager.append_on_engine_create(_tune_sqlite)

    @contextlib.contextmanager
    def _session(self, mode):
        try:
            with mode.using(_Context()) as session:
                yield session
        except (db_exception.DBError, sa.exc.SQLAlchemyError) as e:
            raise exception.StoreUnavailable(f'database: {str(e).splitlines()[0]}') from e

    def _reader(self):
        return self._session(self._manager.reader)

    def _writer(self):
        return self._session(self._manager.writer)

    def _leading(self, session, term):
        """Take the leader row for this transaction; TermLost if it is another engine's."""
        found = session.execute(
            sa.update(models.Leader).where(models.Leader.id == 1, models.Leader.term == term)
            .values(renewed_at=self._clock()))
        if not found.rowcount:
            raise exception.TermLost(f'another engine leads; term {term} is over')

    # -- schema ---------------------------------------------------------------------------------
    def _alembic(self):
        config = alembic.config.Config()
        config.set_main_option('script_location',
                               os.path.join(os.path.dirname(__file__), 'alembic'))
        config.attributes['url'] = self.url
        return config

    def upgrade(self):
        """Bring the schema to the newest version."""
        alembic.command.upgrade(self._alembic(), 'head')

    def version(self):
        """The schema's version, '' where there is none."""
        with self._reader() as session:
            if not sa.inspect(session.connection()).has_table('alembic_version'):
                return ''
            return session.execute(sa.text('SELECT version_num FROM alembic_version')).scalar()

    def newest_version(self):
        """The schema's version that this code wants."""
        return alembic.script.ScriptDirectory.from_config(self._alembic()).get_current_head()

    # -- who leads ------------------------------------------------------------------------------
    def take_lead(self, holder):
        """Raise the term by compare-and-swap and return it; whoever led before can write no more.

        :raises TermLost: somebody else was faster.
        """
        with self._writer() as session:
            row = session.get(models.Leader, 1)
            if row is None:
                session.add(models.Leader(id=1, term=1, holder=holder, renewed_at=self._clock()))
                return 1
            term = row.term
            found = session.execute(
                sa.update(models.Leader).where(models.Leader.id == 1, models.Leader.term == term)
                .values(term=term + 1, holder=holder, renewed_at=self._clock()))
            if not found.rowcount:
                raise exception.TermLost('another engine took the lead at the same moment')
            return term + 1

    def keep_lead(self, term):
        """Say that the engine of this term lives; TermLost if it leads no more."""
        with self._writer() as session:
            self._leading(session, term)

    # -- in front of the engine: anybody writes -------------------------------------------------
    def report_failure(self, host, source, reason='', detected_at=None, evidence=None,
                       forced=False):
        """Write that a host is reported down; the same report again only counts.

        :returns: (HostFailure, True where this is a new row)
        """
        now = self._clock()
        table = models.HostFailure
        with self._writer() as session:
            last = session.scalars(
                sa.select(table).where(table.host == host).order_by(table.id.desc()).limit(1)
                .with_for_update()).first()
            same = last is not None and not (forced and not last.forced) and (
                last.state in OPEN_FAILURES
                or (last.state == 'duplicate' and self._held_down(session, last.recovery_id))
                # Delivered twice. Without the time of its detection a report is a new one.
                or (detected_at is not None
                    and (last.source, last.detected_at) == (source, detected_at)))
            if same:
                last.repeats += 1
                return _record(model.HostFailure, last), False
            row = table(host=host, source=source, reason=reason, received_at=now, state='new',
                        detected_at=detected_at or now, evidence=evidence or {}, forced=forced,
                        detail='', repeats=0)
            session.add(row)
            session.flush()
            return _record(model.HostFailure, row), True

    @staticmethod
    def _held_down(session, recovery_id):
        recovery = session.get(models.Recovery, recovery_id) if recovery_id else None
        return recovery is not None and recovery.released_at is None

    def set_mark(self, host, **values):
        """Change the mark of a host (spare, pool, maintenance; the engine: parked)."""
        with self._writer() as session:
            row = session.get(models.HostMark, host)
            if row is None:
                row = models.HostMark(host=host)
                session.add(row)
            for name, value in values.items():
                setattr(row, name, value)
            row.updated_at = self._clock()

    def drop_mark(self, host):
        """Forget the mark of a host."""
        with self._writer() as session:
            session.execute(sa.delete(models.HostMark).where(models.HostMark.host == host))

    def wish(self, recovery_id, wish):
        """Write what an operator wants of a recovery (approve, abort, retry, release).

        :raises InvalidTransition: it is being aborted; that would be forgotten.
        """
        with self._writer() as session:
            row = session.get(models.Recovery, recovery_id)
            if row is None:
                raise exception.NotFound(f'no recovery {recovery_id}')
            if row.wish == 'abort' != wish and row.ended_at is None:
                raise exception.InvalidTransition(
                    f'recovery {recovery_id} is being aborted: wait until it is over')
            row.wish = wish

    def note(self, level, kind, text, host='', recovery_id=None):
        """Write a line of the journal; the same line as the last of its kind only counts up."""
        now = self._clock()
        table = models.Event
        with self._writer() as session:
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

    # -- reading --------------------------------------------------------------------------------
    def _all(self, cls, query):
        with self._reader() as session:
            return [_record(cls, row) for row in session.scalars(query)]

    def marks(self):
        """All host marks, by host."""
        return {m.host: m for m in self._all(model.HostMark, sa.select(models.HostMark))}

    def loads(self):
        """The measured CPU shares: host -> (share, when it was measured)."""
        with self._reader() as session:
            return {row.host: (row.cpu_share, row.cpu_share_at)
                    for row in session.scalars(sa.select(models.NodeLoad))}

    def clients(self, host=None):
        """Clients of the storage seen at hosts: client -> (host, user, when)."""
        table = models.StorageClient
        query = sa.select(table) if host is None else sa.select(table).where(table.host == host)
        with self._reader() as session:
            return {row.client: (row.host, row.user, row.seen_at)
                    for row in session.scalars(query)}

    def backends(self):
        """Where disks of hosts' instances were last seen: host -> backend, '': in several."""
        with self._reader() as session:
            return {row.host: row.backend
                    for row in session.scalars(sa.select(models.HostBackend))}

    def disks(self, host=None):
        """Where instances' disks were found: instance id -> DiskRecord."""
        table = models.DiskRecord
        query = sa.select(table) if host is None else sa.select(table).where(table.host == host)
        return {r.instance_id: r for r in self._all(model.DiskRecord, query)}

    def failures(self, open_only=False, limit=1000):
        """Reports, oldest first; with ``open_only`` those the engine still has to judge."""
        query = sa.select(models.HostFailure).order_by(models.HostFailure.id.desc()).limit(limit)
        if open_only:
            query = query.where(models.HostFailure.state.in_(OPEN_FAILURES))
        return self._all(model.HostFailure, query)[::-1]

    def recoveries(self, open_only=False, unreleased=False, limit=1000):
        """Recoveries, oldest first: all, those not over, or those whose host is still out."""
        table = models.Recovery
        query = sa.select(table).order_by(table.created_at.desc(), table.id).limit(limit)
        if open_only:
            query = query.where(sa.or_(table.ended_at.is_(None), table.wish != ''))
        if unreleased:
            query = query.where(table.released_at.is_(None))
        return self._all(model.Recovery, query)[::-1]

    def recovery(self, recovery_id):
        """One recovery; NotFound."""
        with self._reader() as session:
            row = session.get(models.Recovery, recovery_id)
            if row is None:
                raise exception.NotFound(f'no recovery {recovery_id}')
            return _record(model.Recovery, row)

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

    def events(self, recovery_id=None, limit=200):
        """The journal's last lines, oldest first."""
        query = sa.select(models.Event).order_by(models.Event.id.desc()).limit(limit)
        if recovery_id is not None:
            query = query.where(models.Event.recovery_id == recovery_id)
        return self._all(model.Event, query)[::-1]

    # -- the leading engine writes --------------------------------------------------------------
    def save_loads(self, term, loads):
        """Keep measured CPU shares, as loads() gives them; of other hosts nothing changes."""
        with self._writer() as session:
            self._leading(session, term)
            for host, (share, at) in loads.items():
                session.merge(models.NodeLoad(host=host, cpu_share=share, cpu_share_at=at))

    def save_clients(self, term, seen, forgotten=()):
        """Keep clients, as clients() gives them, and forget others."""
        with self._writer() as session:
            self._leading(session, term)
            for client, (host, user, at) in seen.items():
                session.merge(models.StorageClient(client=client, host=host, user=user,
                                                   seen_at=at))
            for some in _batches(forgotten):
                session.execute(sa.delete(models.StorageClient).where(
                    models.StorageClient.client.in_(some)))

    def save_backends(self, term, seen):
        """Keep where disks were seen, as backends() gives it."""
        with self._writer() as session:
            self._leading(session, term)
            for host, backend in seen.items():
                session.merge(models.HostBackend(host=host, backend=backend))

    def save_disks(self, term, records, forgotten=()):
        """Keep DiskRecords, and forget those of other instances, by id."""
        with self._writer() as session:
            self._leading(session, term)
            for record in records:
                session.merge(models.DiskRecord(**dataclasses.asdict(record)))
            for some in _batches(forgotten):
                session.execute(sa.delete(models.DiskRecord).where(
                    models.DiskRecord.instance_id.in_(some)))

    def set_failure(self, term, failure_id, state, detail='', **values):
        """Change the state of a report."""
        with self._writer() as session:
            self._leading(session, term)
            row = session.get(models.HostFailure, failure_id)
            states.check(states.FAILURE_NEXT, row.state, state)
            row.state, row.detail = state, detail
            for name, value in values.items():
                setattr(row, name, value)

    def open_recovery(self, term, failure, reason):
        """Take a report: one transaction makes the recovery and links the report to it.

        It also takes the place of earlier recoveries of that host, so that a host with a fence
        always has one that looks after it.

        :raises InvalidTransition: a recovery of that host is under way.
        """
        now = self._clock()
        with self._writer() as session:
            self._leading(session, term)
            # Two recoveries of one host would evacuate its instances twice.
            if session.scalars(sa.select(models.Recovery.id).where(
                    models.Recovery.host == failure.host,
                    models.Recovery.ended_at.is_(None)).limit(1)).first():
                raise exception.InvalidTransition(f'{failure.host} is being recovered already')
            session.execute(sa.update(models.Recovery).where(
                models.Recovery.host == failure.host, models.Recovery.released_at.is_(None),
            ).values(released_at=now))
            row = models.Recovery(
                id=str(uuid.uuid4()), host=failure.host, state='confirmed', resume='',
                reason=reason, wish='', approved=failure.forced,
                reported_at=failure.received_at, created_at=now, updated_at=now)
            session.add(row)
            report = session.get(models.HostFailure, failure.id)
            states.check(states.FAILURE_NEXT, report.state, 'accepted')
            report.state, report.detail, report.recovery_id = 'accepted', reason, row.id
            report.evidence = dict(failure.evidence)
            session.flush()
            return _record(model.Recovery, row)

    def set_recovery(self, term, recovery_id, **values):
        """Change a recovery; ``state`` only as states.RECOVERY_NEXT allows."""
        with self._writer() as session:
            self._leading(session, term)
            row = session.get(models.Recovery, recovery_id)
            if 'state' in values:
                states.check(states.RECOVERY_NEXT, row.state, values['state'])
            for name, value in values.items():
                setattr(row, name, value)
            row.updated_at = self._clock()
            session.flush()
            return _record(model.Recovery, row)

    def save_moves(self, term, recovery_id, new=(), changed=()):
        """Add moves (dicts of columns) and change existing ones (id -> dict of columns)."""
        with self._writer() as session:
            self._leading(session, term)
            for values in new:
                session.add(models.Move(recovery_id=recovery_id, **values))
            for move_id, values in dict(changed).items():
                row = session.get(models.Move, move_id)
                if 'state' in values:
                    states.check(states.MOVE_NEXT, row.state, values['state'])
                for name, value in values.items():
                    setattr(row, name, value)

    def begin_step(self, term, kind, subject, recovery_id=None, evidence=None):
        """Record that an act is about to be done, and how; returns the step's id."""
        with self._writer() as session:
            self._leading(session, term)
            row = models.Step(kind=kind, subject=subject, recovery_id=recovery_id,
                              state='intended', at=self._clock(), detail='',
                              evidence=evidence or {})
            session.add(row)
            session.flush()
            return row.id

    def end_step(self, term, step_id, state, detail='', evidence=None):
        """Record how an act ended."""
        with self._writer() as session:
            self._leading(session, term)
            row = session.get(models.Step, step_id)
            row.state, row.detail, row.ended_at = state, detail, self._clock()
            if evidence is not None:
                row.evidence = evidence


def _batches(items, size=500):
    """The items in lists of no more than ``size``: a statement takes only so many values."""
    items = list(items)
    return (items[at:at + size] for at in range(0, len(items), size))


def _tune_sqlite(engine):
    """Make a transaction wait for its turn when it begins.

    SQLite's own default takes the write lock at the first write; a transaction that has read
    before fails there at once, without waiting, when somebody else has written in between.
    """
    if engine.dialect.name != 'sqlite':
        return

    @sa.event.listens_for(engine, 'connect')
    def _connect(connection, _record):
        connection.execute('PRAGMA busy_timeout = 15000')

    # oslo.db begins transactions itself, with a plain BEGIN.
    @sa.event.listens_for(engine, 'before_cursor_execute', retval=True)
    def _begin(_connection, _cursor, statement, parameters, _context, _executemany):
        return ('BEGIN IMMEDIATE' if statement == 'BEGIN' else statement), parameters
