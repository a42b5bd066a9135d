"""Writes down what the engine knows of the cloud, and checks whether each host's death fits.

For the API, which asks neither Nova nor Ceph. Nothing that a recovery does depends on it. What
has not changed is not written again; after a change of the lead everything is, once.
"""

import itertools

from vmha_nova import capacity
from vmha_nova.db import snapshot
from vmha_nova import decide
from vmha_nova import marks

LOOK = 1.0                              # seconds between looks for changes
INFO = 5.0                              # seconds between notes that nothing has changed
SLICE = 20                              # hosts checked before others get their turn, at least,
SLICES = 100                            # and in so many slices all of them


class Recorder:
    """See the module.

    :param store: db.store.Store
    :param lead: lead.Lead of the engine; nothing is written before it leads
    :param cluster: function: the newest model.Cluster, without marks
    :param storage: storage.Storage
    :param interval: seconds between checks of all hosts
    """

    def __init__(self, store, lead, cluster, storage, policy, clock, interval=60.0):
        self._store = store
        self._snapshots = snapshot.Snapshots(store)
        self._lead = lead
        self._cluster = cluster
        self._storage = storage
        self._policy = policy
        self._clock = clock
        self._interval = interval
        self._term = None               # the term for which the following is on record
        self._nodes = {}                # host -> (node, backend, instances, what was written)
        self._instances = {}
        self._groups = {}
        self._info = None               # (problems, unknown hosts), when
        self._check = None              # the check under way
        self._checked = set()           # hosts of the check under way that are through
        self._checked_at = None

    def look(self):
        """Write what has changed; returns the seconds until the next look.

        Raises TermLost and StoreUnavailable; what was not written then is at the next look.
        """
        term, cluster = self._lead.term, self._cluster()
        if term is None or cluster.nodes_at is None or cluster.instances_at is None:
            return LOOK
        now = self._clock()
        marked = self._storage.with_backends(
            marks.with_marks(cluster, self._store.marks(), now))
        if self._term != term:
            self._nodes, self._instances, self._groups = (
                dict.fromkeys(keys) for keys in self._snapshots.keys())
            self._info, self._check = None, None
        self._write_nodes(term, cluster, marked, now)
        if self._instances is not cluster.instances:
            self._instances = self._write(
                term, self._snapshots.write_instances, self._instances, cluster.instances)
        if self._groups is not cluster.groups:
            self._groups = self._write(
                term, self._snapshots.write_groups, self._groups, cluster.groups)
        self._write_info(term, cluster, now)
        self._term = term
        return self._look_at_capacity(term, marked, now)

    def _write(self, term, write, old, new):
        """Write what is not on record as it is; returns what is on record then."""
        write(term, [v for k, v in new.items() if old.get(k) is not v], old.keys() - new.keys())
        return new

    def _write_nodes(self, term, cluster, marked, now):
        rows, kept = [], {}
        for host, node in cluster.nodes.items():
            count, backend = len(cluster.by_host.get(host, ())), marked.nodes[host].backend
            known = self._nodes.get(host)
            if known is not None and known[0] is node and known[1:3] == (backend, count):
                kept[host] = known
                continue
            # A node is another one with each heartbeat, which is not written.
            written = snapshot.NodeRow(
                snapshot.as_written(node), backend, count,
                decide.load(node, self._policy, now))
            kept[host] = node, backend, count, written
            if known is None or known[3] != written:
                rows.append(written)
        self._snapshots.write_nodes(term, rows, self._nodes.keys() - kept.keys())
        self._nodes = kept

    def _write_info(self, term, cluster, now):
        what = cluster.problems, cluster.unknown_hosts
        if self._info is None or self._info[0] != what or (
                now - self._info[1]).total_seconds() >= INFO:
            self._snapshots.write_info(term, cluster, now)
            self._info = what, now

    # -- does it fit? ---------------------------------------------------------------------------
    def _look_at_capacity(self, term, cluster, now):
        """Go on with the check of all hosts; while a host is being recovered it waits."""
        if any(r.ended_at is None for r in self._store.recoveries(open_only=True)):
            self._check = None
            return LOOK
        if self._check is None:
            if self._checked_at is not None and (
                    now - self._checked_at).total_seconds() < self._interval:
                return LOOK
            self._checked_at, self._checked = now, set()
            self._check = capacity.check(
                self._storage.foreseen(cluster), self._policy, now,
                self._storage.protections(cluster), self._storage.fills(cluster))
        # One that breaks, or of which something could not be written, is not gone on with: it
        # would end as if all hosts had been through.
        check, self._check = self._check, None
        # Each look goes over all nodes: more looks for more nodes would cost their square.
        found = list(itertools.islice(check, max(SLICE, len(cluster.nodes) // SLICES)))
        self._snapshots.write_capacity(term, found)
        self._checked.update(c.host for c in found)
        if found:
            self._check = check
            return 0.0
        self._snapshots.write_capacity(
            term, (), self._snapshots.capacities() - self._checked)
        return LOOK
