"""Pages of long lists. No list reads more rows than its page has, whatever the tables hold.

A page begins behind a marker: the id of an entry, which must be there. Entries that are equal in
what they are sorted by go by their id, and those where it is NULL come last, so that following
the pages meets each entry once. Rows come out as named tuples, because a page has a thousand of
them: those named after a dataclass of model have its fields, and may be used in its place.
"""

import collections
import dataclasses
import datetime
import typing

import sqlalchemy as sa

from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova import model

BATCH = 500                             # values that one statement takes


def _like(cls):
    """A named tuple with the fields of a dataclass of model, and the columns for them."""
    names = [f.name for f in dataclasses.fields(cls)]
    return collections.namedtuple(cls.__name__, names)


Failure = _like(model.HostFailure)
Move = _like(model.Move)
Event = _like(model.Event)


class Recovery(_like(model.Recovery)):
    """See the module."""

    __slots__ = ()
    stage = model.Recovery.stage


class Host(typing.NamedTuple):
    """A compute node with its marks, what its death would mean, and the recovery that has it.

    Where nothing is marked or known, the columns of that are None.
    """

    host: str
    zone: str
    up: bool
    enabled: bool
    instances: int
    load: float
    backend: str
    record: typing.Mapping[str, typing.Any]
    spare: bool | None
    pool: str | None
    parked: bool | None
    maintenance: bool | None
    maintenance_until: datetime.datetime | None
    marked_backend: str | None
    cpu_share: float | None
    cpu_share_at: datetime.datetime | None
    protection: str | None
    protection_reason: str | None
    placeable: int | None
    counted: int | None                 # instances at the time of that check
    fits: bool | None


class Load(typing.NamedTuple):
    """How loaded a compute node is."""

    host: str
    zone: str
    up: bool
    enabled: bool
    instances: int
    load: float
    record: typing.Mapping[str, typing.Any]
    spare: bool | None
    cpu_share: float | None
    cpu_share_at: datetime.datetime | None


class Capacity(typing.NamedTuple):
    """What the death of a host would mean."""

    host: str
    checked_at: datetime.datetime
    instances: int
    placeable: int
    unplaced: int
    unprotectable: int
    fits: bool
    storage_fill: float | None
    protection: str
    protection_reason: str
    spares: typing.Sequence[str]


class _List(typing.NamedTuple):
    """How a list is read."""

    row: type                           # of what comes out, in the order of columns
    table: sa.Table                     # has an entry for each of the list's
    columns: tuple
    ident: str                          # column of the table
    sorts: dict                         # key -> column of the table
    filters: dict                       # name -> function of a value that makes a condition
    joined: typing.Any = None           # the table with others

    @property
    def query(self):
        return sa.select(*self.columns).select_from(
            self.table if self.joined is None else self.joined)


def _is(column):
    return lambda value: column == value


def _marked(column):
    """Where no mark is, it is off."""
    return lambda value: column.is_(True) if value else sa.or_(
        column.is_(False), column.is_(None))


def _columns(cls, table):
    return tuple(table.c[name] for name in cls._fields)


_node, _mark = models.Node.__table__, models.HostMark.__table__
_measured, _capacity = models.NodeLoad.__table__, models.Capacity.__table__
_failure, _recovery = models.HostFailure.__table__, models.Recovery.__table__
_move, _event = models.Move.__table__, models.Event.__table__

HOSTS = _List(
    Host, _node,
    (_node.c.host, _node.c.zone, _node.c.up, _node.c.enabled, _node.c.instances,
     _node.c.load_share, _node.c.backend, _node.c.record, _mark.c.spare, _mark.c.pool,
     _mark.c.parked, _mark.c.maintenance, _mark.c.maintenance_until,
     _mark.c.backend.label('marked_backend'), _measured.c.cpu_share, _measured.c.cpu_share_at,
     _capacity.c.protection, _capacity.c.protection_reason, _capacity.c.placeable,
     _capacity.c.instances.label('counted'), _capacity.c.fits),
    ident='host',
    sorts=dict(host='host', zone='zone', up='up', enabled='enabled', instances='instances',
               load='load_share'),
    filters=dict(
        host=_is(_node.c.host), zone=_is(_node.c.zone), up=_is(_node.c.up),
        enabled=_is(_node.c.enabled), spare=_marked(_mark.c.spare),
        maintenance=_marked(_mark.c.maintenance),
        pool=lambda value: sa.func.coalesce(_mark.c.pool, '') == value,
        protection=_is(_capacity.c.protection), fits=_is(_capacity.c.fits)),
    joined=_node.outerjoin(_mark, _mark.c.host == _node.c.host)
    .outerjoin(_measured, _measured.c.host == _node.c.host)
    .outerjoin(_capacity, _capacity.c.host == _node.c.host))

LOAD = _List(
    Load, _node,
    (_node.c.host, _node.c.zone, _node.c.up, _node.c.enabled, _node.c.instances,
     _node.c.load_share, _node.c.record, _mark.c.spare, _measured.c.cpu_share,
     _measured.c.cpu_share_at),
    ident='host',
    sorts=dict(host='host', zone='zone', load='load_share', instances='instances'),
    filters=dict(zone=_is(_node.c.zone), up=_is(_node.c.up), enabled=_is(_node.c.enabled),
                 spare=_marked(_mark.c.spare)),
    joined=_node.outerjoin(_mark, _mark.c.host == _node.c.host)
    .outerjoin(_measured, _measured.c.host == _node.c.host))

CAPACITY = _List(
    Capacity, _capacity, _columns(Capacity, _capacity), ident='host',
    sorts={name: name for name in (
        'host', 'instances', 'unplaced', 'unprotectable', 'storage_fill')},
    filters=dict(fits=_is(_capacity.c.fits), protection=_is(_capacity.c.protection)))

FAILURES = _List(
    Failure, _failure, _columns(Failure, _failure), ident='id',
    sorts={name: name for name in ('id', 'received_at', 'host', 'source', 'state')},
    filters=dict(id=_is(_failure.c.id), host=_is(_failure.c.host),
                 source=_is(_failure.c.source), state=_is(_failure.c.state)))

RECOVERIES = _List(
    Recovery, _recovery, _columns(Recovery, _recovery), ident='id',
    sorts={name: name for name in ('created_at', 'updated_at', 'host', 'state')},
    filters=dict(
        id=_is(_recovery.c.id), host=_is(_recovery.c.host), state=_is(_recovery.c.state),
        open=lambda value: (_recovery.c.ended_at.is_(None) if value
                            else _recovery.c.ended_at.is_not(None))))

MOVES = _List(
    Move, _move, _columns(Move, _move), ident='id',
    sorts={name: name for name in ('position', 'name', 'state', 'priority', 'target')},
    filters=dict(recovery_id=_is(_move.c.recovery_id), state=_is(_move.c.state),
                 target=_is(_move.c.target)))

EVENTS = _List(
    Event, _event, _columns(Event, _event), ident='id',
    sorts=dict(id='id'),
    filters=dict(level=_is(_event.c.level), kind=_is(_event.c.kind), host=_is(_event.c.host),
                 recovery_id=_is(_event.c.recovery_id)))


class Pages:
    """Reads from a Store. The lists take what to filter by (name -> value), what to sort by and
    in which direction ('asc' or 'desc'), how many entries at most, and the marker or None.

    :raises exception.NotFound: there is no entry with the marker's id.
    :raises exception.StoreUnavailable: the database could not be read.
    """

    def __init__(self, store):
        self._store = store

    def _page(self, what, filters, sort_key, sort_dir, limit, marker):
        query = what.query
        for name, value in filters.items():
            query = query.where(what.filters[name](value))
        ident, column = what.table.c[what.ident], what.table.c[what.sorts[sort_key]]
        down = sort_dir == 'desc'
        order = [c.desc() if down else c for c in ([column] if column is ident
                                                   else [column, ident])]
        if column.nullable:
            order.insert(0, column.is_(None))
        with self._store.reading() as session:
            connection = session.connection()
            if marker is not None:
                query = query.where(_behind(connection, what, ident, column, down, marker))
            found = connection.execute(query.order_by(*order).limit(limit))
            return list(map(what.row._make, found.all()))

    def hosts(self, filters, sort_key='host', sort_dir='asc', limit=1000, marker=None):
        """Host."""
        return self._page(HOSTS, filters, sort_key, sort_dir, limit, marker)

    def load(self, filters, sort_key='host', sort_dir='asc', limit=1000, marker=None):
        """Load."""
        return self._page(LOAD, filters, sort_key, sort_dir, limit, marker)

    def capacity(self, filters, sort_key='host', sort_dir='asc', limit=1000, marker=None):
        """Capacity."""
        return self._page(CAPACITY, filters, sort_key, sort_dir, limit, marker)

    def failures(self, filters, sort_key='id', sort_dir='desc', limit=1000, marker=None):
        """Failure."""
        return self._page(FAILURES, filters, sort_key, sort_dir, limit, marker)

    def recoveries(self, filters, sort_key='created_at', sort_dir='desc', limit=1000,
                   marker=None):
        """Recovery."""
        return self._page(RECOVERIES, filters, sort_key, sort_dir, limit, marker)

    def moves(self, filters, sort_key='position', sort_dir='asc', limit=1000, marker=None):
        """Move; the filters name a recovery_id."""
        return self._page(MOVES, filters, sort_key, sort_dir, limit, marker)

    def events(self, filters, sort_key='id', sort_dir='desc', limit=1000, marker=None):
        """Event."""
        return self._page(EVENTS, filters, sort_key, sort_dir, limit, marker)

    # -- what belongs to the entries of a page, or is one entry ---------------------------------
    def out_of_service(self, hosts):
        """The recoveries whose host is still out: host -> (id, state) of the newest."""
        query = sa.select(_recovery.c.host, _recovery.c.id, _recovery.c.state).where(
            _recovery.c.released_at.is_(None)).order_by(_recovery.c.created_at, _recovery.c.id)
        return {row.host: (row.id, row.state)
                for row in self._batches(query, _recovery.c.host, hosts)}

    def counts(self, recovery_ids):
        """How many moves are in which state: recovery id -> state -> number."""
        query = sa.select(_move.c.recovery_id, _move.c.state, sa.func.count()).group_by(
            _move.c.recovery_id, _move.c.state)
        found = {}
        for recovery_id, state, number in self._batches(query, _move.c.recovery_id,
                                                        recovery_ids):
            found.setdefault(recovery_id, {})[state] = number
        return found

    def _batches(self, query, column, values):
        values, found = list(values), []
        with self._store.reading() as session:
            for at in range(0, len(values), BATCH):
                found += session.execute(query.where(column.in_(values[at:at + BATCH])))
        return found

    def host(self, host):
        """One Host; NotFound."""
        return self._one(HOSTS, 'host', host, f'no compute node {host!r} is known')

    def recovery(self, recovery_id):
        """One Recovery; NotFound."""
        return self._one(RECOVERIES, 'id', recovery_id, f'there is no recovery {recovery_id!r}')

    def failure(self, failure_id):
        """One Failure; NotFound."""
        return self._one(FAILURES, 'id', failure_id, f'there is no report {failure_id}')

    def _one(self, what, name, value, missing):
        # A database may hold names for the same that differ in case.
        for row in self._page(what, {name: value}, next(iter(what.sorts)), 'asc', 2, None):
            if getattr(row, name) == value:
                return row
        raise exception.NotFound(missing)

    def unfit(self, host):
        """The Capacity of one host, and its instances without a place (dicts); NotFound."""
        query = sa.select(*CAPACITY.columns, _capacity.c.problems).where(
            _capacity.c.host == host)
        with self._store.reading() as session:
            for row in session.execute(query):
                if row.host == host:
                    return Capacity._make(row[:-1]), row[-1]
        raise exception.NotFound(f'what the death of {host!r} would mean has not been worked out')

    def report_of(self, recovery_id):
        """The id of the report for which a recovery was opened, None where it is not known."""
        with self._store.reading() as session:
            return session.scalar(sa.select(_failure.c.id).where(
                _failure.c.recovery_id == recovery_id, _failure.c.state == 'accepted').limit(1))


def _behind(connection, what, ident, column, down, marker):
    """The condition for what comes behind the marker.

    What the marker is sorted by is compared inside the database: a float that has been outside
    of it need not be equal to itself any more.
    """
    table = what.table.alias()
    there = sa.select(table.c[column.name]).where(table.c[ident.name] == marker)
    row = connection.execute(sa.select(there.subquery().c[0].is_(None))).first()
    if row is None:
        raise exception.NotFound(f'there is no entry {marker!r} that a page could begin behind')

    def after(one, value):
        return one < value if down else one > value

    if column is ident:
        return after(ident, marker)
    if row[0]:
        return sa.and_(column.is_(None), after(ident, marker))
    value = there.scalar_subquery()
    later = sa.or_(after(column, value), sa.and_(column == value, after(ident, marker)))
    return sa.or_(later, column.is_(None)) if column.nullable else later
