"""The tables. What a state means stands in vmha_nova.states.

Times are naive UTC in the database and aware UTC everywhere else.
"""

import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy import orm


class UTCDateTime(sa.types.TypeDecorator):
    """An aware UTC datetime, with microseconds on every database."""

    impl = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
    cache_ok = True

    def process_bind_param(self, value, dialect):
        if value is None:
            return None
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value, dialect):
        return None if value is None else value.replace(tzinfo=datetime.timezone.utc)


Text = sa.Text().with_variant(mysql.MEDIUMTEXT(), 'mysql', 'mariadb')


class Base(orm.DeclarativeBase):
    """Common base of the tables."""


def _string(length=255, **kwargs):
    kwargs.setdefault('default', '')
    return orm.mapped_column(sa.String(length), nullable=False, **kwargs)


def _flag():
    return orm.mapped_column(sa.Boolean, nullable=False, default=False)


def _count():
    return orm.mapped_column(sa.Integer, nullable=False, default=0)


def _time(nullable=True, **kwargs):
    return orm.mapped_column(UTCDateTime, nullable=nullable, **kwargs)


def _text():
    return orm.mapped_column(Text, nullable=False, default='')


def _json(default):
    return orm.mapped_column(sa.JSON, nullable=False, default=default)


class Leader(Base):
    """One row: which engine leads. Every write of an engine checks ``term`` first."""

    __tablename__ = 'leader'
    id = orm.mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    term = orm.mapped_column(sa.Integer, nullable=False)
    holder = _string()
    renewed_at = _time()


class HostMark(Base):
    """What the operator (spare, pool, maintenance) and this service (parked) noted of a host."""

    __tablename__ = 'host_mark'
    host = orm.mapped_column(sa.String(255), primary_key=True)
    spare = _flag()
    pool = _string()
    maintenance = _flag()
    maintenance_until = _time()         # when it ends by itself; None: by hand
    parked = _flag()
    backend = _string()                 # where its nova-compute keeps disks, e.g. rbd:vms
    updated_at = _time()


class Snapshot(Base):
    """One row: when the engine last wrote down what it knows of the cloud, and what it lacks."""

    __tablename__ = 'snapshot'
    id = orm.mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    instances_at = _time()
    nodes_at = _time()
    written_at = _time(nullable=False)
    problems = _json(list)
    unknown_hosts = _json(list)


class Node(Base):
    """A compute node as the engine last saw it, without the marks of the database."""

    __tablename__ = 'node'
    host = orm.mapped_column(sa.String(255), primary_key=True)
    zone = _string(index=True)
    up = _flag()
    enabled = _flag()
    backend = _string()                 # where it keeps new disks, as far as is known
    instances = _count()
    load_share = orm.mapped_column(sa.Float, nullable=False, default=0.0)   # as decide counts it
    record = _json(dict)                # all of model.ComputeNode but marks and heartbeat


class Instance(Base):
    """An instance as the engine last saw it."""

    __tablename__ = 'instance'
    id = orm.mapped_column(sa.String(36), primary_key=True)
    host = _string(index=True)
    record = _json(dict)                # all of model.Instance but its backing


class ServerGroup(Base):
    """A server group as the engine last saw it."""

    __tablename__ = 'server_group'
    id = orm.mapped_column(sa.String(36), primary_key=True)
    policy = _string(64)
    max_per_host = _count()
    members = _json(list)


class Capacity(Base):
    """What the death of a host would mean, by the engine's last check."""

    __tablename__ = 'capacity'
    host = orm.mapped_column(sa.String(255), primary_key=True)
    checked_at = _time(nullable=False)
    instances = _count()
    placeable = _count()                # have a place to go
    unplaced = _count()                 # would wait for room, or for something to be known
    unprotectable = _count()            # would be left alone
    # Nothing waits, and the storage does not fill up; NULL: of the storage that is not known.
    fits = orm.mapped_column(sa.Boolean, nullable=True)
    storage_fill = orm.mapped_column(sa.Float, nullable=True)   # of the storage without its disks
    protection = _string(16)            # what keeps it from writing: schemas.PROTECTION
    protection_reason = _text()
    spares = _json(list)                # parked spares that would be taken
    problems = _json(list)              # of the instances without a place


class Pause(Base):
    """One row: the switch with which an operator stops new recoveries."""

    __tablename__ = 'pause'
    id = orm.mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    paused = _flag()
    reason = _text()
    user = _string()
    at = _time(nullable=False)


class Outbox(Base):
    """A notification that is still to be sent; written with what it tells of."""

    __tablename__ = 'outbox'
    id = orm.mapped_column(sa.Integer, primary_key=True)
    at = _time(nullable=False)
    event_type = _string(64)
    payload = _json(dict)


class NodeLoad(Base):
    """The CPU load of a node as last measured; only notifications tell it, and only the engine."""

    __tablename__ = 'node_load'
    host = orm.mapped_column(sa.String(255), primary_key=True)
    cpu_share = orm.mapped_column(sa.Float, nullable=False)
    cpu_share_at = _time(nullable=False)


class StorageClient(Base):
    """A client of the storage that was seen at an address of a host, to be fenced with it."""

    __tablename__ = 'storage_client'
    client = orm.mapped_column(sa.String(128), primary_key=True)    # as the blocklist has it
    host = _string(index=True)
    user = _string()                    # of Ceph
    seen_at = _time(nullable=False)     # not moved at every look


class HostBackend(Base):
    """Where the disks of a host's instances were last seen to be; '': in more than one place."""

    __tablename__ = 'host_backend'
    host = orm.mapped_column(sa.String(255), primary_key=True)
    backend = _string()


class DiskRecord(Base):
    """Where an instance's disks were found while its host was alive, and who used them."""

    __tablename__ = 'disk_record'
    instance_id = orm.mapped_column(sa.String(36), primary_key=True)
    host = _string(index=True)
    stamp = _string(64)                 # of the instance then
    images = _json(dict)                # pool/name -> clients of that host
    backend = _string()
    problem = _text()
    strange = _json(list)               # clients at addresses of no host
    elsewhere = _json(list)             # clients at other hosts, of disks of this one
    seen_at = _time(nullable=False)


class HostFailure(Base):
    """A report that a host is down, of any origin."""

    __tablename__ = 'host_failure'
    id = orm.mapped_column(sa.Integer, primary_key=True)
    host = _string(index=True)
    source = _string()
    reason = _text()
    detected_at = _time()
    received_at = _time(nullable=False)
    evidence = _json(dict)
    forced = _flag()                    # an operator insists
    state = _string(16, index=True)
    detail = _text()
    repeats = _count()
    recovery_id = orm.mapped_column(sa.String(36), nullable=True)


class Recovery(Base):
    """What is done about one failed host."""

    __tablename__ = 'recovery'
    __table_args__ = (sa.Index('ix_recovery_created_at_id', 'created_at', 'id'),)
    id = orm.mapped_column(sa.String(36), primary_key=True)
    host = _string(index=True)
    state = _string(16, index=True)
    resume = _string(16)                # what 'held' goes back to
    reason = _text()
    wish = _string(16)                  # what an operator asked for, see Store.wish
    approved = _flag()
    reported_at = _time(nullable=False)
    created_at = _time(nullable=False)
    updated_at = _time(nullable=False)
    ended_at = _time()
    released_at = _time()               # the host is in service again


class Move(Base):
    """One instance's part in a recovery."""

    __tablename__ = 'move'
    __table_args__ = (sa.UniqueConstraint('recovery_id', 'instance_id'),
                      sa.Index('ix_move_recovery_id_state', 'recovery_id', 'state'))
    id = orm.mapped_column(sa.Integer, primary_key=True)
    recovery_id = orm.mapped_column(sa.ForeignKey('recovery.id'), nullable=False)
    instance_id = orm.mapped_column(sa.String(36), nullable=False, index=True)
    name = _string()
    project_id = _string(64)
    priority = _count()
    position = _count()                 # order in which moves are sent
    state = _string(16, index=True)
    reason = _text()
    target = _string()
    was = _string(32)                   # vm_state before anything was done
    attempts = _count()                 # calls that Nova took or refused
    faults = _count()                   # calls whose outcome nobody knew
    tried = _json(list)                 # hosts on which an attempt failed
    known = _json(list)                 # evacuation records that existed before the last call
    intent_at = _time()
    accepted_at = _time()
    landed_at = _time()
    ended_at = _time()
    not_before = _time()                # back-off, quiet period


class Step(Base):
    """A lasting act: recorded before it is done and again after."""

    __tablename__ = 'step'
    id = orm.mapped_column(sa.Integer, primary_key=True)
    recovery_id = orm.mapped_column(sa.String(36), nullable=True, index=True)
    kind = _string(32)                  # fence, force_down, disable, enable_spare, park, …
    subject = _string()                 # the host it is done to
    state = _string(16)
    detail = _text()
    evidence = _json(dict)
    at = _time(nullable=False)
    ended_at = _time()


class Event(Base):
    """The journal: one line an operator should see. The same line again only counts up."""

    __tablename__ = 'event'
    id = orm.mapped_column(sa.Integer, primary_key=True)
    at = _time(nullable=False)
    last_at = _time(nullable=False)
    level = _string(8)                  # info, warning, error
    kind = _string(32, index=True)
    host = _string()
    recovery_id = orm.mapped_column(sa.String(36), nullable=True, index=True)
    text = _text()
    repeats = _count()
