"""The connection: transactions, the tables' version, and which engine leads."""

import contextlib
import dataclasses
import datetime
import functools
import os
import random
import time

import alembic.command
import alembic.config
import alembic.script
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
import sqlalchemy as sa

from vmha_nova.db import models
from vmha_nova import exception


READ_ONLY = 'readonly database'         # in what SQLite says
READING = 'vmha_reading'                # an execution option of connections
TRIES = 5                               # of a write that collides with others
PATIENCE = 30.0                         # seconds; who waits for a lock in vain waits longer
# What each write of an engine begins with; made once, as it is what is executed most.
_LEADER = models.Leader.__table__
_LEADS = sa.update(_LEADER).where(
    _LEADER.c.id == 1, _LEADER.c.term == sa.bindparam('held')).values(
    renewed_at=sa.bindparam('now'))
HANGS = 5                               # seconds between two statements of a transaction
# What is said to a new connection. The server ends who hangs in the middle of a transaction: a
# machine that has lost its power does not close its connection, and the leader's row would stay
# locked until TCP finds out, after hours. MySQL does not know that, and takes it for a comment.
_MARIADB = f'SET @vmha = 0 /*M!100300 , SESSION idle_transaction_timeout = {HANGS} */'
GREETINGS = {'mysql': _MARIADB, 'mariadb': _MARIADB,
             'postgresql': f"SET idle_in_transaction_session_timeout = '{HANGS}s'"}


@enginefacade.transaction_context_provider
class _Context:
    """What enginefacade keeps its session on."""


@dataclasses.dataclass(frozen=True)
class Leader:
    """Which engine leads, or has led last."""

    term: int
    holder: str
    renewed_at: datetime.datetime | None


@functools.cache
def _members(cls):
    return tuple(f.name for f in dataclasses.fields(cls))


def record(cls, row):
    """A row as the dataclass of the same name; JSON lists become tuples."""
    values = {name: getattr(row, name) for name in _members(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def rest(tried, sleep=time.sleep, uniform=random.uniform):
    """Wait a little, not as long as who has collided with us, and longer after more tries."""
    sleep(uniform(0.01, 0.05 * 2 ** tried))


def tried_again(function):
    """A method of Database that is one transaction, and is tried again while that is busy.

    For what anybody writes. MariaDB and PostgreSQL undo one of two transactions that wait for one
    another, and two that insert the same row cannot both. Each has done nothing then.
    """
    @functools.wraps(function)
    def insistent(self, *args, **values):
        begun = self._clock()
        for tried in range(1, TRIES + 1):
            try:
                return function(self, *args, **values)
            except exception.StoreBusy:
                if tried == TRIES or (self._clock() - begun).total_seconds() > PATIENCE:
                    raise
            self._rest(tried)
    return insistent


class Database:
    """One database. ``clock`` returns aware UTC.

    :param rest: waits between two tries of a write that collides with others
    :param options: keyword arguments of oslo.db's enginefacade ``configure``
                    (``connection`` at least).
    """

    def __init__(self, clock, rest=rest, **options):
        self.url = options['connection'] = _with_charset(options['connection'])
        self._clock = clock
        self._rest = rest
        self._manager = enginefacade.transaction_context()
        # thread_checkin is for eventlet: it gives way to other threads after each transaction.
        self._manager.configure(sqlite_fk=True, mysql_sql_mode='TRADITIONAL',
                                thread_checkin=False, **options)
        self._manager.append_on_engine_create(_pool_sqlite)
        self._manager.append_on_engine_create(_tune_sqlite)
        self._manager.append_on_engine_create(_greet)

    def close(self):
        """Close what is open; what comes next opens it anew.

        Before a process is forked: two that share a connection disturb each other, and whichever
        closes a file of SQLite gives up the locks that its process has on it.
        """
        self._manager.dispose_pool()

    @contextlib.contextmanager
    def _session(self, mode):
        try:
            with mode.using(_Context()) as session:
                yield session
        except (db_exception.DBError, sa.exc.SQLAlchemyError) as e:
            if READ_ONLY in str(e):
                self.close()            # a connection stays so when the rights are put right
            raise _kind(e)(f'database: {str(e).splitlines()[0]}') from e

    def _writer(self):
        return self._session(self._manager.writer)

    @contextlib.contextmanager
    def reading(self):
        """A session to read with; raises StoreUnavailable for what the database refuses."""
        with self._session(self._manager.reader) as session:
            session.connection(execution_options={READING: True})
            yield session

    @staticmethod
    def _queue(session, what):
        """Wait until nobody else is at what may make the same new row.

        MariaDB locks the place where it would be, and of SQLite there is one writer at a time.
        PostgreSQL locks rows that are there.
        """
        if session.get_bind().dialect.name == 'postgresql':
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(what))))

    @contextlib.contextmanager
    def leading(self, term):
        """A session to write with in the name of the leading engine.

        It takes the leader row first; TermLost if that is another engine's.
        """
        with self._writer() as session:
            found = session.connection().execute(
                _LEADS, {'held': term, 'now': self._clock()})
            if not found.rowcount:
                raise exception.TermLost(f'another engine leads; term {term} is over')
            yield session

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
        engine = self._manager.writer.get_engine()
        if engine.dialect.name == 'sqlite':
            # A property of the file. A transaction is one write to the disk then, where it is four
            # with a journal of what was before; and who reads waits for nobody.
            with contextlib.closing(engine.raw_connection()) as connection:
                connection.cursor().execute('PRAGMA journal_mode = WAL')

    def version(self):
        """The schema's version, '' where there is none."""
        with self.reading() as session:
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
        with self.leading(term):
            pass

    def leader(self):
        """Who leads or has led last: Leader; None before any engine ran."""
        with self.reading() as session:
            row = session.get(models.Leader, 1)
            return None if row is None else record(Leader, row)


def _kind(error):
    """The class of ours for an error of oslo.db's or SQLAlchemy's."""
    if isinstance(error, (db_exception.DBDeadlock, db_exception.DBDuplicateEntry)):
        return exception.StoreBusy
    # oslo.db has names of its own for some of them only.
    cause = getattr(error, 'inner_exception', error)
    if isinstance(error, db_exception.DBDataError) or isinstance(
            cause, (sa.exc.DataError, sa.exc.IntegrityError)):
        return exception.StoreRefused
    return exception.StoreUnavailable


def _with_charset(url):
    """The address of a MySQL or MariaDB, by which all characters can be stored.

    What oslo.db asks for otherwise has no emoji, and people have them in names.
    """
    try:
        parsed = sa.engine.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # its text would be a part of the password
        raise exception.ConfigurationError(
            f'[database] connection {exception.NO_ADDRESS}') from None
    if parsed.get_backend_name() not in ('mysql', 'mariadb') or 'charset' in parsed.query:
        return url
    return parsed.update_query_dict({'charset': 'utf8mb4'}).render_as_string(hide_password=False)


def _greet(engine):
    """Say to new connections what is in GREETINGS."""
    text = GREETINGS.get(engine.dialect.name)
    if text is None:
        return

    @sa.event.listens_for(engine, 'connect')
    def _connect(connection, _record):
        with connection.cursor() as cursor:
            cursor.execute(text)
        connection.commit()
    engine.dispose()                    # oslo.db has connected already


def _pool_sqlite(engine):
    """Keep connections to a file of SQLite, as to any other database.

    oslo.db makes one for each transaction, and that is most of what a transaction costs: the
    tables are read anew, and who closes the file last has to fold its log into it.
    """
    old = engine.pool
    if engine.dialect.name != 'sqlite' or not isinstance(old, sa.pool.NullPool):
        return
    # As Pool.recreate() does it; there is no public way to another kind of pool.
    engine.pool = sa.pool.QueuePool(
        old._creator, max_overflow=-1, dialect=old._dialect, _dispatch=old.dispatch)

    def there():
        """Which file it is: another one may have been put in its place."""
        try:
            found = os.stat(engine.url.database)
            return found.st_dev, found.st_ino
        except OSError:
            return None

    @sa.event.listens_for(engine, 'connect')
    def _connect(_connection, record):
        record.info['file'] = there()

    @sa.event.listens_for(engine, 'checkout')
    def _checkout(_connection, record, _proxy):
        if record.info['file'] != there():
            raise sa.exc.DisconnectionError(f'{engine.url.database} is another file now')


def _tune_sqlite(engine):
    """Make a transaction that may write wait for its turn when it begins.

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
    def _begin(connection, _cursor, statement, parameters, _context, _executemany):
        writes = READING not in connection.get_execution_options()
        return ('BEGIN IMMEDIATE' if statement == 'BEGIN' and writes else statement), parameters
