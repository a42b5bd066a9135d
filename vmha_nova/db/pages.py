"""Pages of long lists. No list reads more rows than its page has, whatever the tables hold.

A page begins behind a marker: the id of an entry, which must be there. Entries that are equal in
what they are sorted by go by their id, and those where it is NULL come last, so that following
the pages meets each entry once. What comes out is JSON text, see vmha_nova.db.rows.
"""

import json
import typing

import sqlalchemy as sa

from vmha_nova.db import models
from vmha_nova.db import rows
from vmha_nova import exception
from vmha_nova import states

_node, _mark = models.Node.__table__, models.HostMark.__table__
_measured, _capacity = models.NodeLoad.__table__, models.Capacity.__table__
_failure, _recovery = models.HostFailure.__table__, models.Recovery.__table__
_move, _event = models.Move.__table__, models.Event.__table__


class _List(typing.NamedTuple):
    """How a list is read."""

    table: sa.Table                     # has an entry for each of the list's
    ident: str                          # column of the table
    sorts: dict                         # key -> column of the table
    filters: dict                       # name -> function of a value that makes a condition
    shape: rows.Shape
    joined: typing.Any = None           # the table with others

    @property
    def query(self):
        """Everything on the list."""
        return sa.select(*self.shape.columns).select_from(
            self.table if self.joined is None else self.joined)


def _is(column):
    return lambda value: column == value


def _same(*names):
    return {name: name for name in names}


def _marked(column):
    """A flag of the marks; a host that has none is not marked."""
    return sa.func.coalesce(column, sa.false())


def _of(column, encode):
    """The column of that name, shown so."""
    return {column.name: (column, encode)}


def _each(table, encode, *names):
    return {name: (table.c[name], encode) for name in names}


# -- the lists -----------------------------------------------------------------------------------
_spare, _maintenance = _marked(_mark.c.spare), _marked(_mark.c.maintenance)
_pool = sa.func.coalesce(_mark.c.pool, '')
_record = _node.c.record

HOSTS = _List(
    _node, 'host', dict(_same('host', 'zone', 'up', 'enabled', 'instances'), load='load_share'),
    dict(host=_is(_node.c.host), zone=_is(_node.c.zone), up=_is(_node.c.up),
         enabled=_is(_node.c.enabled), spare=_is(_spare), maintenance=_is(_maintenance),
         pool=_is(_pool), protection=_is(_capacity.c.protection), fits=_is(_capacity.c.fits)),
    rows.Shape(
        'host',
        **_each(_node, rows.text, 'host', 'zone'), **_each(_node, rows.flag, 'up', 'enabled'),
        disabled_reason=(_record['disabled_reason'], rows.member('""')),
        forced_down=(_record['forced_down'], rows.flag_member),
        address=(_record['address'], rows.member('""')),
        instances=(_node.c.instances, rows.number), load=(_node.c.load_share, rows.number),
        cpu_share=(_measured.c.cpu_share, rows.number),
        # The operator's word counts at once, not when the engine has looked again.
        backend=(sa.case((sa.func.coalesce(_mark.c.backend, '') != '', _mark.c.backend),
                         else_=_node.c.backend), rows.text),
        spare=(_spare, rows.flag), pool=(_pool, rows.text),
        parked=(_marked(_mark.c.parked), rows.flag), maintenance=(_maintenance, rows.flag),
        **_of(_mark.c.maintenance_until, rows.time), **_of(_capacity.c.protection, rows.text),
        protection_reason=(sa.func.coalesce(_capacity.c.protection_reason, ''), rows.text),
        unprotected_instances=(_capacity.c.instances - _capacity.c.placeable, rows.number),
        **_of(_capacity.c.fits, rows.flag)),
    _node.outerjoin(_mark, _mark.c.host == _node.c.host)
    .outerjoin(_measured, _measured.c.host == _node.c.host)
    .outerjoin(_capacity, _capacity.c.host == _node.c.host))

LOAD = _List(
    _node, 'host', dict(_same('host', 'zone', 'instances'), load='load_share'),
    dict(zone=_is(_node.c.zone), up=_is(_node.c.up), enabled=_is(_node.c.enabled),
         spare=_is(_spare)),
    rows.Shape(
        'host', **_each(_node, rows.text, 'host', 'zone'), spare=(_spare, rows.flag),
        **_each(_node, rows.flag, 'up', 'enabled'), instances=(_node.c.instances, rows.number),
        vcpus_used=(_record['used', 'VCPU'], rows.member('0')),
        vcpus=(_record['capacity', 'VCPU'], rows.member('null')),
        memory_mb_used=(_record['used', 'MEMORY_MB'], rows.member('0')),
        memory_mb=(_record['capacity', 'MEMORY_MB'], rows.member('null')),
        disk_gb_used=(_record['used', 'DISK_GB'], rows.member('0')),
        disk_gb=(_record['capacity', 'DISK_GB'], rows.member('null')),
        **_of(_measured.c.cpu_share, rows.number), **_of(_measured.c.cpu_share_at, rows.time),
        load=(_node.c.load_share, rows.number)),
    _node.outerjoin(_mark, _mark.c.host == _node.c.host)
    .outerjoin(_measured, _measured.c.host == _node.c.host))

CAPACITY = _List(
    _capacity, 'host',
    _same('host', 'instances', 'unplaced', 'unprotectable', 'storage_fill'),
    dict(host=_is(_capacity.c.host), fits=_is(_capacity.c.fits),
         protection=_is(_capacity.c.protection)),
    rows.Shape(
        'host', **_each(_capacity, rows.text, 'host'), **_each(_capacity, rows.time, 'checked_at'),
        **_each(_capacity, rows.number, 'instances', 'placeable', 'unplaced', 'unprotectable'),
        **_each(_capacity, rows.flag, 'fits'), **_each(_capacity, rows.number, 'storage_fill'),
        **_each(_capacity, rows.text, 'protection', 'protection_reason'),
        **_each(_capacity, rows.document, 'spares')))

FAILURES = _List(
    _failure, 'id', _same('id', 'received_at', 'host', 'source', 'state'),
    {name: _is(_failure.c[name]) for name in ('id', 'host', 'source', 'state')},
    rows.Shape(
        'id', **_each(_failure, rows.number, 'id'),
        **_each(_failure, rows.text, 'host', 'source', 'reason'),
        **_each(_failure, rows.time, 'detected_at', 'received_at'),
        **_each(_failure, rows.document, 'evidence'), **_each(_failure, rows.flag, 'forced'),
        **_each(_failure, rows.text, 'state'),
        meaning=(_failure.c.state, rows.word(states.FAILURE)),
        **_each(_failure, rows.text, 'detail'), **_each(_failure, rows.number, 'repeats'),
        **_each(_failure, rows.text, 'recovery_id')))

RECOVERIES = _List(
    _recovery, 'id', _same('created_at', 'updated_at', 'host', 'state'),
    dict({name: _is(_recovery.c[name]) for name in ('id', 'host', 'state')},
         open=lambda value: (_recovery.c.ended_at.is_(None) if value
                             else _recovery.c.ended_at.is_not(None))),
    rows.Shape(
        'id', **_each(_recovery, rows.text, 'id', 'host', 'state'),
        meaning=(_recovery.c.state, rows.word(states.RECOVERY)),
        stage=(sa.case((_recovery.c.state == 'held', _recovery.c.resume),
                       else_=_recovery.c.state), rows.text),
        **_each(_recovery, rows.text, 'reason', 'wish'), **_each(_recovery, rows.flag, 'approved'),
        **_each(_recovery, rows.time, 'reported_at', 'created_at', 'updated_at', 'ended_at',
                'released_at')))

MOVES = _List(
    _move, 'id', _same('position', 'name', 'state', 'priority', 'target'),
    {name: _is(_move.c[name]) for name in ('recovery_id', 'state', 'target')},
    rows.Shape(
        'id', **_each(_move, rows.number, 'id'),
        **_each(_move, rows.text, 'recovery_id', 'instance_id', 'name', 'project_id'),
        **_each(_move, rows.number, 'priority', 'position'), **_each(_move, rows.text, 'state'),
        meaning=(_move.c.state, rows.word(states.MOVE)),
        **_each(_move, rows.text, 'reason', 'target', 'was'),
        **_each(_move, rows.number, 'attempts', 'faults'), **_each(_move, rows.document, 'tried'),
        **_each(_move, rows.time, 'intent_at', 'accepted_at', 'landed_at', 'ended_at',
                'not_before')))

EVENTS = _List(
    _event, 'id', _same('id'),
    {name: _is(_event.c[name]) for name in ('level', 'kind', 'host', 'recovery_id')},
    rows.Shape(
        'id', **_each(_event, rows.number, 'id'), **_each(_event, rows.time, 'at', 'last_at'),
        **_each(_event, rows.text, 'level', 'kind', 'host', 'recovery_id', 'text'),
        **_each(_event, rows.number, 'repeats')))


class Pages:
    """Reads from a Store.

    The lists take what to filter by (name -> value), what to sort by and in which direction
    ('asc' or 'desc'), how many entries at most, and the marker or None; they return rows.Page.
    What returns one entry returns a dict.

    :raises exception.NotFound: there is no such entry, or none with the marker's id.
    :raises exception.StoreUnavailable: the database could not be read.
    """

    def __init__(self, store):
        self._store = store

    def hosts(self, filters, sort_key='host', sort_dir='asc', limit=1000, marker=None):
        """Compute nodes: marks, protection, and the newest recovery that keeps each out."""
        with self._store.reading() as session:
            connection = session.connection()
            query = _page(connection, HOSTS, filters, sort_key, sort_dir, limit, marker)
            found = connection.execute(query).all()
            return HOSTS.shape.page(found, **_out_of_service(connection, query, found))

    def load(self, filters, sort_key='host', sort_dir='asc', limit=1000, marker=None):
        """How loaded the compute nodes are."""
        return self._page(LOAD, filters, sort_key, sort_dir, limit, marker)

    def capacity(self, filters, sort_key='host', sort_dir='asc', limit=1000, marker=None):
        """What the death of each host would mean."""
        return self._page(CAPACITY, filters, sort_key, sort_dir, limit, marker)

    def failures(self, filters, sort_key='id', sort_dir='desc', limit=1000, marker=None):
        """As views.failure."""
        return self._page(FAILURES, filters, sort_key, sort_dir, limit, marker)

    def recoveries(self, filters, sort_key='created_at', sort_dir='desc', limit=1000,
                   marker=None):
        """As views.recovery."""
        with self._store.reading() as session:
            connection = session.connection()
            query = _page(connection, RECOVERIES, filters, sort_key, sort_dir, limit, marker)
            found = connection.execute(query).all()
            return RECOVERIES.shape.page(found, moves=_counts(connection, query, found))

    def moves(self, filters, sort_key='position', sort_dir='asc', limit=1000, marker=None):
        """As views.move; the filters name a recovery_id."""
        return self._page(MOVES, filters, sort_key, sort_dir, limit, marker)

    def events(self, filters, sort_key='id', sort_dir='desc', limit=1000, marker=None):
        """As views.event."""
        return self._page(EVENTS, filters, sort_key, sort_dir, limit, marker)

    def _page(self, what, filters, sort_key, sort_dir, limit, marker):
        with self._store.reading() as session:
            connection = session.connection()
            return what.shape.page(connection.execute(
                _page(connection, what, filters, sort_key, sort_dir, limit, marker)).all())

    # -- one entry ------------------------------------------------------------------------------
    def host(self, host):
        """One of hosts()."""
        return _exactly(self.hosts(dict(host=host), limit=2), host,
                        f'no compute node {host!r} is known')

    def recovery(self, recovery_id):
        """One of recoveries()."""
        return _exactly(self.recoveries(dict(id=recovery_id), limit=2), recovery_id,
                        f'there is no recovery {recovery_id!r}')

    def failure(self, failure_id):
        """One of failures()."""
        return _exactly(self.failures(dict(id=failure_id)), failure_id,
                        f'there is no report {failure_id}')

    def unfit(self, host):
        """One of capacity(), and the host's instances that have no place (a list of dicts)."""
        try:
            one = _exactly(self.capacity(dict(host=host), limit=2), host, '')
        except exception.NotFound:
            self.host(host)             # or there is no such node
            raise exception.NotFound(
                f'what the death of {host!r} would mean has not been worked out yet: vmha-engine '
                'checks each host once in [collector] capacity_interval, and none while a host '
                'is being recovered') from None
        with self._store.reading() as session:
            return one, session.scalar(
                sa.select(_capacity.c.problems).where(_capacity.c.host == host)) or []

    def report_of(self, recovery_id):
        """The id of the report for which a recovery was opened, None where it is not known."""
        with self._store.reading() as session:
            return session.scalar(sa.select(_failure.c.id).where(
                _failure.c.recovery_id == recovery_id, _failure.c.state == 'accepted').limit(1))


def _exactly(page, ident, missing):
    """The entry of the page with this id: to a database, ids may be the same but for their case.
    """
    for text, other in zip(page.texts, page.idents, strict=True):
        if other == ident:
            return json.loads(text)
    raise exception.NotFound(missing)


# -- reading -------------------------------------------------------------------------------------
def _page(connection, what, filters, sort_key, sort_dir, limit, marker):
    """The query of a page."""
    query = what.query
    for name, value in filters.items():
        query = query.where(what.filters[name](value))
    ident, column = what.table.c[what.ident], what.table.c[what.sorts[sort_key]]
    down = sort_dir == 'desc'
    order = [c.desc() if down else c for c in ([column] if column is ident else [column, ident])]
    if column.nullable:
        order.insert(0, column.is_(None))
    if marker is not None:
        query = query.where(_behind(connection, what, ident, column, down, marker))
    return query.order_by(*order).limit(limit)


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


def _out_of_service(connection, page, found):
    """The newest recovery whose host is still out: its id and state, as JSON texts by host."""
    query = sa.select(_recovery.c.host, _recovery.c.id, _recovery.c.state).where(
        _recovery.c.released_at.is_(None), _on(page, _recovery.c.host, _node.c.host)).order_by(
            _recovery.c.created_at, _recovery.c.id)
    ids = {row[HOSTS.shape.at]: rows.NULL for row in found}
    texts = dict(recovery_id=ids, recovery_state=dict(ids))
    for host, *values in connection.execute(query):
        for shown, text in zip(texts.values(), rows.text(values), strict=True):
            shown[host] = text
    return texts


def _counts(connection, page, found):
    """How many moves are in which state: JSON texts by recovery id."""
    query = sa.select(_move.c.recovery_id, _move.c.state, sa.func.count()).where(
        _on(page, _move.c.recovery_id, _recovery.c.id)).group_by(
            _move.c.recovery_id, _move.c.state)
    parts = {row[RECOVERIES.shape.at]: [] for row in found}
    for id_, state, number in connection.execute(query):
        parts.setdefault(id_, []).append(f'"{state}":{number}')
    return {id_: f'{{{",".join(some)}}}' for id_, some in parts.items()}


def _on(page, column, ident):
    """The condition that a column has the id of an entry of the page."""
    # MySQL takes no LIMIT in a subquery of IN, but in one below it.
    ids = page.with_only_columns(ident).subquery()
    return column.in_(sa.select(ids.c[ident.name]))
