"""The production store on a database in memory, which tells what is written to it.

Its tables are made once in a process and copied for each world. What is read is kept until its
table is written to: nobody else has this database. So there is one world at a time in a process.
"""

import contextlib
import copy
import functools
import itertools
import os
import sqlite3
import tempfile

import sqlalchemy as sa
from sqlalchemy import orm

from vmha_nova.db import reads
from vmha_nova.db import store

TABLES = {
    'host_mark': ('marks',), 'pause': ('paused',), 'storage_client': ('clients',),
    'host_backend': ('backends',), 'capacity': ('switched_off',), 'disk_record': ('disks',),
    'host_failure': ('failures', 'report_of'), 'recovery': ('recoveries', 'recovery'),
    'move': ('moves', 'under_way'), 'step': ('steps',), 'event': ('events',)}


def _kept(name):
    read = getattr(reads.Reads, name)

    @functools.wraps(read)
    def kept(self, *args, **values):
        known = self._kept.setdefault(name, {})
        key = repr((args, values))
        if key not in known:
            known[key] = read(self, *args, **values)
        return copy.copy(known[key])    # lists and dicts of what cannot be changed
    return kept


class Memory(store.Store):
    """See the module. ``hear(what, values)`` is called with what was committed, in order.

    - ``told``: event_type, payload: a notification was written;
    - ``detail``: kind (report, recovery, move), id, state, reason, of moves target: as they are;
    - ``step``: id, kind, subject, recovery_id, state, detail;
    - ``noted``: level, kind, host, text: a line of the journal.
    """

    def __init__(self):
        super().__init__(None, connection='sqlite://')
        self._kept, self._pending, self._steps = {}, [], {}
        self._template = _template()
        self._engine = self._manager.writer.get_engine()
        sa.event.listen(self._engine, 'before_cursor_execute', self._on_statement)
        self._connection = self._engine.connect()   # kept: to check one out takes long

    def reset(self, clock, hear):
        """Become the empty database of another world."""
        with self._engine.connect() as connection:
            self._template.backup(connection.connection.driver_connection)
        self._clock, self._hear = clock, hear
        self._numbers = itertools.count(1)
        self._kept.clear()
        self._steps.clear()

    def make_id(self):
        """r1, r2, … instead of what is another one in each run."""
        return f'r{next(self._numbers)}'

    def _on_statement(self, _connection, _cursor, statement, *_others):
        words = statement.split(None, 3)
        if words[0] in ('INSERT', 'DELETE', 'UPDATE'):
            for name in TABLES.get(words[1 if words[0] == 'UPDATE' else 2], ()):
                self._kept.pop(name, None)

    # -- sessions, without what the base's do for databases that others use as well ---------------
    @contextlib.contextmanager
    def reading(self):
        """As the base's."""
        self._connection.info['in_transaction'] = True  # or oslo.db begins one
        with orm.Session(self._connection) as session:
            yield session

    @contextlib.contextmanager
    def _session(self, mode):
        self._connection.info['in_transaction'] = True  # what oslo.db would begin, in its own way
        with orm.Session(self._connection, expire_on_commit=False) as session:
            session.connection()        # it ends what is begun, also where nothing is asked
            self._connection.connection.driver_connection.execute('BEGIN')
            yield session
            session.commit()

    @contextlib.contextmanager
    def _writer(self):
        self._pending = []
        with super()._writer() as session:
            yield session
        told, self._pending = self._pending, []
        for what, values in told:
            self._hear(what, values)

    # -- what is written, and told --------------------------------------------------------------
    def _tell(self, session, event_type, payload):
        super()._tell(session, event_type, payload)
        self._pending.append(('told', dict(event_type=event_type, payload=payload)))

    def _note(self, session, level, kind, text, host, recovery_id):
        super()._note(session, level, kind, text, host, recovery_id)
        self._pending.append(('noted', dict(level=level, kind=kind, host=host, text=text)))

    def begin_step(self, term, kind, subject, recovery_id=None, evidence=None):
        """As the store's."""
        step = super().begin_step(term, kind, subject, recovery_id, evidence)
        self._steps[step] = dict(id=step, kind=kind, subject=subject, recovery_id=recovery_id)
        self._hear('step', dict(self._steps[step], state='intended', detail=''))
        return step

    def end_step(self, term, step_id, state, detail='', evidence=None):
        """As the store's."""
        super().end_step(term, step_id, state, detail, evidence)
        self._hear('step', dict(self._steps[step_id], state=state, detail=detail))

    def set_failure(self, term, failure_id, state, detail='', **values):
        """As the store's."""
        super().set_failure(term, failure_id, state, detail, **values)
        self._hear('detail', dict(kind='report', id=failure_id, state=state, reason=detail))

    def set_recovery(self, term, recovery_id, answered='', **values):
        """As the store's."""
        recovery = super().set_recovery(term, recovery_id, answered, **values)
        self._hear('detail', dict(kind='recovery', id=recovery_id, state=recovery.state,
                                  reason=recovery.reason))
        return recovery

    def save_moves(self, term, recovery_id, new=(), changed=()):
        """As the store's."""
        super().save_moves(term, recovery_id, new, changed)
        for move in self.moves(recovery_id) if changed else ():
            if move.id in changed:
                self._hear('detail', dict(kind='move', id=move.id, state=move.state,
                                          reason=move.reason, target=move.target))


for _name in itertools.chain.from_iterable(TABLES.values()):
    setattr(Memory, _name, _kept(_name))


def _template():
    """A connection to a database with all tables, as the migrations make them."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'db')
        store.Store(None, connection=f'sqlite:///{path}').upgrade()
        found = sqlite3.connect(':memory:', check_same_thread=False)
        with contextlib.closing(sqlite3.connect(path)) as made:
            made.backup(found)
    return found


@functools.cache
def memory():
    """The one of this process."""
    return Memory()
