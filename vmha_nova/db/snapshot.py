"""The cloud as the engine sees it, written down for who only reads.

The operator's marks, heartbeats, times of looks and what backs an instance are not in it: the
first are rows of their own, the next change all the time, and the last follows from rows of the
storage.
"""

import collections
import dataclasses
import datetime
import itertools
import logging
import types

import sqlalchemy as sa

from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova import model

LOG = logging.getLogger(__name__)
BATCH = 500                             # rows of a transaction, and values of a statement
NODE_LEFT_OUT = frozenset({
    'heartbeat', 'usage_at', 'spare', 'pool', 'maintenance', 'parked', 'backend'})
INSTANCE_LEFT_OUT = frozenset({'backing'})


@dataclasses.dataclass(frozen=True)
class NodeRow:
    """A node and what is shown beside it: its backend, its instances, its load."""

    node: model.ComputeNode
    backend: str
    instances: int
    load: float


class Snapshots:
    """``store``: db.store.Store. What is written takes the engine's term, as there."""

    def __init__(self, store):
        self._store = store

    # -- the engine writes ----------------------------------------------------------------------
    def keys(self):
        """What is on record: (hosts, instance ids, ids of server groups), sets."""
        with self._store.reading() as session:
            return tuple(set(session.scalars(sa.select(column))) for column in (
                models.Node.host, models.Instance.id, models.ServerGroup.id))

    def write_nodes(self, term, rows, gone=()):
        """Write NodeRows, and forget hosts."""
        self._write(term, models.Node, models.Node.host, gone, (
            dict(host=r.node.host, zone=r.node.zone, up=r.node.up, enabled=r.node.enabled,
                 backend=r.backend, instances=r.instances, load_share=r.load,
                 record=encode(r.node, NODE_LEFT_OUT)) for r in rows))

    def write_instances(self, term, instances, gone=()):
        """Write instances, and forget others, by id."""
        self._write(term, models.Instance, models.Instance.id, gone, (
            dict(id=i.id, host=i.host, record=encode(i, INSTANCE_LEFT_OUT)) for i in instances))

    def write_groups(self, term, groups, gone=()):
        """Write server groups, and forget others, by id."""
        self._write(term, models.ServerGroup, models.ServerGroup.id, gone, (
            dict(id=g.id, policy=g.policy, max_per_host=g.max_per_host,
                 members=sorted(g.members)) for g in groups))

    def write_capacity(self, term, rows, gone=()):
        """Write what the death of hosts would mean (model.Capacity), and forget hosts."""
        self._write(term, models.Capacity, models.Capacity.host, gone, (
            dict(dataclasses.asdict(r), spares=list(r.spares), problems=list(r.problems))
            for r in rows))

    def capacities(self):
        """The hosts whose capacity is on record."""
        with self._store.reading() as session:
            return set(session.scalars(sa.select(models.Capacity.host)))

    def write_info(self, term, cluster, now):
        """Write how fresh all of it is: at the end, so that it is never fresher than that."""
        with self._store.leading(term) as session:
            session.merge(models.Snapshot(
                id=1, instances_at=cluster.instances_at, nodes_at=cluster.nodes_at,
                written_at=now, problems=list(cluster.problems),
                unknown_hosts=sorted(cluster.unknown_hosts)))

    def _write(self, term, table, key, gone, rows):
        # In batches: nobody who reports a host waits for hundreds of thousands of rows, and they
        # are never all in memory.
        for some in batches(gone):
            with self._store.leading(term) as session:
                session.execute(sa.delete(table).where(key.in_(some)))
        for some in batches(rows):
            try:
                self._replace(term, table, key, some)
            except exception.TermLost:
                raise
            except Exception:
                self._store.keep_lead(term)     # or none of them can be written now
                self._one_by_one(term, table, key, some)

    def _replace(self, term, table, key, rows):
        with self._store.leading(term) as session:
            session.execute(sa.delete(table).where(key.in_([r[key.key] for r in rows])))
            session.execute(sa.insert(table), rows)

    def _one_by_one(self, term, table, key, rows):
        """Write what can be: one row that no database takes must not keep all others out."""
        refused = []
        for row in rows:
            try:
                self._replace(term, table, key, [row])
            except exception.TermLost:
                raise
            except Exception as e:
                refused.append((row, e))
        if len(refused) == len(rows) > 1:
            raise refused[0][1]
        for row, error in refused:
            LOG.error('of %s %r what was known before is shown: it cannot be written: %s',
                      table.__tablename__, row[key.key], error)

    # -- others read ----------------------------------------------------------------------------
    def load(self, hosts):
        """As much of the Cluster as a plan for the death of some hosts takes.

        All nodes, the instances of these hosts, and where members of their server groups are.
        """
        with self._store.reading() as session:
            info = session.get(models.Snapshot, 1)
            nodes = {host: decode_node(host, record) for host, record in session.execute(
                sa.select(models.Node.host, models.Node.record))}
            instances = self._instances(session, models.Instance.host, hosts)
            groups = self._groups(session, instances)
            others = {m for g in groups.values() for m in g.members} - instances.keys()
            instances.update(self._instances(session, models.Instance.id, others))
            by_host = collections.defaultdict(set)
            for instance in instances.values():
                by_host[instance.host].add(instance.id)
            return model.Cluster(
                nodes=types.MappingProxyType(nodes), instances=instances, groups=groups,
                by_host={h: frozenset(ids) for h, ids in by_host.items() if h in set(hosts)},
                group_of={m: g.id for g in groups.values() for m in g.members},
                instances_at=info and info.instances_at, nodes_at=info and info.nodes_at,
                unknown_hosts=frozenset(info.unknown_hosts if info else ()),
                problems=tuple(info.problems if info else ()))

    @staticmethod
    def _instances(session, column, values):
        found = {}
        for some in batches(values):
            for ident, record in session.execute(sa.select(
                    models.Instance.id, models.Instance.record).where(column.in_(some))):
                found[ident] = decode_instance(record)
        return found

    @staticmethod
    def _groups(session, instances):
        found = {}
        for row in session.execute(sa.select(
                models.ServerGroup.id, models.ServerGroup.policy,
                models.ServerGroup.max_per_host, models.ServerGroup.members)):
            if not instances.keys().isdisjoint(row.members):
                found[row.id] = model.ServerGroup(row.id, row.policy, frozenset(row.members),
                                                  row.max_per_host)
        return found


# -- records ------------------------------------------------------------------------------------
def encode(value, left_out):
    """A dataclass as JSON, without what is left out or is the default."""
    found = {}
    for field in dataclasses.fields(value):
        one = getattr(value, field.name)
        if field.name not in left_out and one != _DEFAULTS[type(value)].get(field.name):
            found[field.name] = _plain(one)
    return found


def _plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, model.Aggregate):
        return {'name': value.name, 'metadata': dict(value.metadata)}
    return value if isinstance(value, (str, int, float, bool, type(None))) else dict(value)


def as_written(node):
    """The node without what changes all the time and is not written."""
    return dataclasses.replace(node, heartbeat=None, usage_at=None)


def decode_node(host, record):
    """A ComputeNode from its record."""
    values = dict(record, host=host)
    if values.get('cpu_share_at'):
        values['cpu_share_at'] = datetime.datetime.fromisoformat(values['cpu_share_at'])
    values['traits'] = frozenset(values.get('traits', ()))
    values['aggregates'] = tuple(
        model.Aggregate(**a) for a in values.get('aggregates', ()))
    return model.ComputeNode(**values)


def decode_instance(record):
    """An Instance from its record."""
    values = dict(record)
    for name in ('kept', 'volumes'):
        values[name] = tuple(values.get(name, ()))
    return model.Instance(**values)


def _defaults(cls):
    found = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


_DEFAULTS = {cls: _defaults(cls) for cls in (model.ComputeNode, model.Instance)}


def batches(items, size=BATCH):
    """The items in lists of no more than ``size``: a statement takes only so many values."""
    items = iter(items)
    while some := list(itertools.islice(items, size)):
        yield some
