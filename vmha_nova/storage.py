"""What is known of the storage: clients of every host, disks of every instance, is it ready.

Ceph keeps no list of who has which image open, and asking each image costs a call per image. So
two things are kept up to date in two ways:

- Which clients a host has: the monitors know every client connected to them. That is one call
  per monitor, however many images there are, at every look.
- Which image an instance uses, and through which client: its images are opened when the instance
  is new, was started, moved or otherwise changed in Nova, or when its client is connected no
  more. That is some calls per change, and none while nothing changes.

Both are on record in the database before a host dies. Who used an image is never taken from what
is seen after the death, only from what was recorded before; and always by address.
"""

import collections
import dataclasses
import datetime
import logging
import threading

from vmha_nova import disks
from vmha_nova import exception
from vmha_nova import model

LOG = logging.getLogger(__name__)
REMEMBER = datetime.timedelta(days=1)   # how long a client that is connected no more is kept
REFRESH = datetime.timedelta(hours=1)   # how old the date on record of a connected one may be
PATIENCE = 30.0                         # seconds before a disk without a client is looked at again
# Seconds without a connection after which an instance has another client by now. A monitor that
# dies takes its clients off the lists until they have found another one.
LOST = 60.0
READY = 2.0                             # seconds for all placement groups to answer
AGAIN = 300.0                           # seconds before a disk not found is looked for again
IN_A_ROW = 3                            # instances not read one after the other: stop trying


class Storage:
    """The storage of one Ceph cluster.

    :param snapshot: function that gives the newest model.Cluster
    :param attachments: function: instance id -> volume id -> pool/image (see nova.Nova)
    :param named: host -> IPs, the operator's word
    :param everywhere: the backend of hosts of which nothing else is known, the operator's word
    :param ranged: whether whole addresses will be fenced, not only clients on record
    :param powered: function: host -> whether it is to be switched off, so that no client is left
    :param protect: function: levels of protection -> the same with that fence
    :param interval: seconds between looks at the clients
    :param batch: images opened in one look, at most
    """

    def __init__(self, ceph, store, snapshot, attachments, clock, pools, named=model.NOTHING,
                 everywhere='', ranged=True, powered=lambda host: False,
                 protect=lambda levels: levels, interval=10.0, batch=64):
        self.ceph = ceph
        self.store = store
        self.pools = pools
        self.interval = interval
        self.lead = None                # lead.Lead of the engine; nothing is written before
        self.map = None                 # the newest model.StorageMap
        self._snapshot = snapshot
        self._attachments = attachments
        self._clock = clock
        self._named = named
        self._everywhere = everywhere
        self._ranged = ranged
        self._powered = powered
        self._protect = protect
        self._batch = batch
        self._lock = threading.Lock()   # one look, or reading, at a time
        self._looked_at = None
        self._instances = None          # of the last look
        self._more = False              # there was more to read than a batch
        self._seen = {}                 # client -> when it was last connected
        self._records = {}              # instance id -> DiskRecord
        self._recorded = {}             # client -> (host, user, when), as on record
        self._loaded = None             # the term for which these were loaded
        self._said = ()
        self._tried = {}                # instance id -> when, of disks without a client
        self._backends = {}             # host -> backend seen there, '': several
        self._nodes = disks.Backends()
        self._owned = None, None, None  # the nodes and the map of which the third was made

    def check_lead(self):
        """TermLost if another engine leads by now."""
        if self.lead is not None:
            self.lead.check()

    # -- looking --------------------------------------------------------------------------------
    def look(self):
        """Do what is due; returns the seconds until the next look. Raises VmhaErrors."""
        term = self.lead.term if self.lead else None
        cluster = self._snapshot()
        if term is None or cluster.nodes_at is None or cluster.instances_at is None:
            return 1.0
        with self._lock:
            self._load(term)
            now = self._clock()
            due = self._looked_at is None or (
                now - self._looked_at).total_seconds() >= self.interval
            if due:
                self._look_at_clients(term, cluster, now)
                self._looked_at = now
            if due or self._more or self._instances is not cluster.instances:
                self._look_at_disks(term, cluster, now)
                self._instances = cluster.instances
                self._see_backends(term, cluster)
        return 1.0

    def _see_backends(self, term, cluster):
        seen = {host: next(iter(some)) if len(some) == 1 else '' for host, some in disks.backends(
            cluster.instances.values(), self._records).items()}
        # What was seen of a host counts until something else is, also when it is empty.
        new = dict(seen.items() - self._backends.items())
        if new:
            self.store.save_backends(term, new)
            self._backends = {**self._backends, **new}

    def load(self):
        """Take over what is on record."""
        self._recorded, self._records = self.store.clients(), self.store.disks()
        self.load_backends()

    def load_backends(self):
        """Take over where disks were seen, which is all that a single plan takes."""
        self._backends = self.store.backends()

    def _load(self, term):
        if self._loaded != term:
            self.load()
            self._loaded = term

    def _look_at_clients(self, term, cluster, now):
        self.map = self.ceph.map()
        owner = self._owner(cluster.nodes)
        users = self.ceph.clients()
        connected = {c: owner[ip] for c in users for ip in [disks.ip_of(c)] if ip in owner}
        self._seen.update(dict.fromkeys(connected, now))
        seen = {c: (host, users[c], now) for c, host in connected.items()
                if c not in self._recorded or self._recorded[c][0] != host
                or now - self._recorded[c][2] > REFRESH}
        # Of a host that is out, everything is kept: what is fenced there must stay fenced.
        out = {r.host for r in self.store.recoveries(unreleased=True)}
        old = [c for c, (host, _, at) in self._recorded.items()
               if c not in connected and now - at > REMEMBER and host not in out]
        if seen or old:
            self.store.save_clients(term, seen, old)
            self._recorded.update(seen)
            for client in old:
                del self._recorded[client]
                self._seen.pop(client, None)

    def _owner(self, nodes):
        """IP -> host; worked out anew only for other nodes, or another map."""
        known = self.map
        of, by, owner = self._owned
        if of is not nodes or by is not known:
            owner, problems = disks.addresses(nodes, known, self._named)
            if problems != self._said:
                for problem in problems:
                    LOG.warning('%s', problem)
                self._said = problems
            self._owned = nodes, known, owner
        return owner

    def _look_at_disks(self, term, cluster, now):
        due = [i for i in cluster.instances.values() if self._due(i, cluster, now)]
        self._more = len(due) > self._batch
        self._read(term, due[:self._batch], cluster, now)
        # Of a cell that is down, or that no list has shown yet, nothing is forgotten.
        gone = [ident for ident, r in self._records.items()
                if ident not in cluster.instances and now - r.seen_at > REMEMBER
                and r.host in cluster.nodes and r.host not in cluster.unknown_hosts]
        if gone:
            self.store.save_disks(term, (), gone)
            for ident in gone:
                del self._records[ident]

    def _due(self, instance, cluster, now):
        """Whether an instance's images are to be opened now."""
        if not instance.known or instance.host not in cluster.nodes:
            return False
        found = self._records.get(instance.id)
        if not disks.current(instance, found):
            # Read in vain a moment ago (Cinder did not answer)?
            tried = self._tried.get(instance.id)
            return tried is None or found is not None and found.seen_at == tried or (
                now - tried).total_seconds() >= PATIENCE
        if not found.problem and not found.elsewhere and disks.connected(
                instance, found) and not any(
                self._lost(some, now) for some in found.images.values() if some):
            return False
        # Its disk may be there by now; or it should have a client and has none, or another one.
        tried = self._tried.get(instance.id, found.seen_at)
        return (now - tried).total_seconds() >= (AGAIN if found.problem else PATIENCE)

    def _lost(self, clients, now):
        """Whether none of some clients was connected of late, as the monitors last said."""
        last = self._looked_at or now
        return all((last - self._seen.setdefault(c, now)).total_seconds() > LOST for c in clients)

    def _gone(self, client, now):
        """Whether a client writes no more: it is fenced, or connected no more though its host is.

        Of a host that is cut off, nobody is connected, and all may live.
        """
        return client in self.map.entries or self._lost([client], now) and any(
            disks.ip_of(other) == disks.ip_of(client) and not self._lost([other], now)
            for other in list(self._seen))

    def _read(self, term, instances, cluster, now):
        """Find the disks of instances and who uses them, and put it on record."""
        if not instances:
            return
        places = {}
        for instance in instances:
            try:
                attached = self._attachments(instance.id) if instance.volumes else {}
            except exception.VmhaError as e:    # one's trouble is that one's: it stays unread
                LOG.warning('the volumes of %s (%s): %s', instance.name, instance.id, e)
                self._tried[instance.id] = now
                continue
            places[instance.id] = disks.images(instance, self.pools, attached)
        users = self._users_of(places, now)
        owner = self._owner(cluster.nodes)
        records = []
        for instance in instances:
            if instance.id in users:
                self._tried[instance.id] = now
                record = disks.record(instance, places[instance.id], users[instance.id], owner,
                                      now, self._records.get(instance.id),
                                      lambda client: self._gone(client, now))
                # In the middle of something (it is being built, say), a disk that is missing
                # will be there when that is done, maybe within the same second of Nova's.
                if not (record.problem and instance.task_state):
                    records.append(record)
        self.store.save_disks(term, records)
        for record in records:
            self._records[record.instance_id] = record

    def _users_of(self, places, now):
        """Instance id -> candidate image -> its clients, of all instances that can be read."""
        wanted = {ident: {
            image for candidates in place.values() for image in candidates
            if image.partition('/')[0] in self.map.pools} for ident, place in places.items()}
        try:
            users = self.ceph.users_of(set().union(*wanted.values()))
            return dict.fromkeys(wanted, users)
        except exception.VmhaError as e:
            LOG.warning('disks cannot be read: %s', e)
        # One that cannot be read keeps nobody else's from being read.
        found, failures = {}, 0
        for ident, images in wanted.items():
            if failures < IN_A_ROW:
                try:
                    found[ident], failures = self.ceph.users_of(images), 0
                    continue
                except exception.VmhaError as e:
                    LOG.warning('the disks of %s: %s', ident, e)
                    failures += not isinstance(e, exception.Rejected)
            self._tried[ident] = now    # the rest another time
        return found

    # -- for the engine -------------------------------------------------------------------------
    def unread(self, host, cluster):
        """The instances of a host whose disks are not on record as they are now."""
        return [i for i in cluster.on(host)
                if i.known and not disks.current(i, self._records.get(i.id))]

    def read(self, host, cluster):
        """Find the disks of those; one that cannot be read stays unread, and is logged."""
        with self._lock:
            self._load(self.lead.term)
            self.map = self.ceph.map()
            self._read(self.lead.term, self.unread(host, cluster), cluster, self._clock())

    def with_backends(self, cluster):
        """The cluster with the backend of every node; what it has there is the operator's word."""
        return self._nodes.of(cluster, self._backends, self._everywhere)

    def backed(self, cluster, host, fenced=None):
        """The cluster with what backs the instances of a host.

        :param fenced: evidence of a fence that is in force. What it was found to cover stays
            covered, whatever Nova notes of the instance since; without it: of one to come.
        """
        records = self.store.disks(host)
        whole = self.whole(host) if fenced is None else fenced['whole']
        covered = set(fenced['covered']) if fenced else ()
        backings = {}
        for instance in cluster.on(host):
            record = records.get(instance.id)
            backing = disks.backing(instance, record, whole)
            if instance.id in covered and record is not None:
                backing = model.Backing(record.backend if instance.kept else '',
                                        local=record.problem)
            elif fenced and not (whole or backing.local or backing.unsure):
                backing = model.Backing(unsure='it was not known when its host was fenced')
            backings[instance.id] = _replaced(instance, backing=backing)
        # Not copied: there may be hundreds of thousands, and this is asked for every cycle.
        return _replaced(cluster, instances=collections.ChainMap(backings, cluster.instances))

    def foreseen(self, cluster):
        """The cluster with what backs all instances, under a fence of their hosts to come.

        By what is in memory, where ``backed`` goes by the database: this is for a standing check
        of all hosts, and is never acted on.
        """
        whole = {host for host, (known, all_) in self._known().items() if all_}
        whole.update(filter(self._powered, cluster.nodes))
        records = dict(self._records)   # another thread changes them
        return _replaced(cluster, instances=disks.Backed(
            cluster.instances, lambda i: disks.backing(i, records.get(i.id), i.host in whole)))

    def _known(self):
        """Host -> (IPs of its clients on record, whether a fence will hold for all of them)."""
        seen, owned = collections.defaultdict(set), collections.defaultdict(set)
        for client, (host, _user, _at) in list(self._recorded.items()):
            seen[host].add(disks.ip_of(client))
        for record in list(self._records.values()):
            seen[record.host].update(disks.ip_of(c) for some in record.images.values()
                                     for c in some)
        for ip, host in self._owner(self._snapshot().nodes).items() if self.map else ():
            owned[host].add(ip)
        return {h: (ips, self._ranged and bool(ips) and ips <= owned[h])
                for h, ips in seen.items()}

    def protections(self, cluster):
        """What keeps hosts from writing once they are said to be dead: host -> (level, why)."""
        known = self._known()
        return self._protect({
            host: _protection(*known.get(host, ((), False))) for host in cluster.nodes})

    def fills(self, cluster):
        """Host -> how full the storage is without it (disks.fill_without); None: not known."""
        if self.map is None:
            return dict.fromkeys(cluster.nodes)
        try:
            usage = {n['id']: (n['kb'], n['kb_used']) for n in self.ceph.ask('osd df')['nodes']}
        except exception.VmhaError as e:
            LOG.info('how full the storage is cannot be read: %s', e)
            usage = {}
        return disks.fill_without(disks.by_host(cluster.nodes, self.map), self.map, usage)

    def covered(self, cluster, host, plan):
        """The ids of the instances of a host for which a fence by this plan will be enough.

        One that is being migrated may end elsewhere, and write there.
        """
        records, entries = self.store.disks(host), set(plan['entries'])
        found = []
        for instance in cluster.on(host):
            backing = disks.backing(instance, records.get(instance.id), plan['whole'])
            if backing.local or backing.unsure or instance.task_state == 'migrating':
                continue
            clients = {c for some in records[instance.id].images.values() for c in some}
            if plan['whole'] or clients <= entries:
                found.append(instance.id)
        return found

    def whole(self, host, addresses=None):
        """Whether a fence will hold for every client of the host, not only for those on record.

        :param addresses: what is fenced; None: what would be, as far as that is known

        It needs clients on record all the same: that shows that the addresses are those at which
        the host uses the storage. One seen elsewhere shows that they are not all of them.
        """
        known = {disks.ip_of(c) for c in self.clients(host)}
        if addresses is None:
            if self._powered(host):
                return True
            addresses = self.addresses(host) if self.map else known
        return self._ranged and bool(known) and known <= set(addresses)

    def addresses(self, host):
        """The IPs at which the host uses the storage, as known now."""
        if self.map is None:
            self.map = self.ceph.map()
        return sorted(ip for ip, of in self._owner(self._snapshot().nodes).items() if of == host)

    def clients(self, host):
        """The clients of a host that are on record."""
        found = set(self.store.clients(host))
        for record in self.store.disks(host).values():
            found.update(c for some in record.images.values() for c in some)
        return sorted(found)

    def osds(self, host):
        """The host's OSDs, by a map read now."""
        self.map = self.ceph.map()
        return disks.osds_of(host, self._snapshot().nodes, self.map)

    def refresh_map(self):
        """Read the OSD map now."""
        self.map = self.ceph.map()

    def osd_state(self, host):
        """Whether the host's OSDs are down, as last seen: model.OsdState."""
        known = self.map
        age = (self._clock() - known.seen_at).total_seconds() if known else 0.0
        return disks.osd_state(host, self._snapshot().nodes, known, age, 3 * self.interval)

    def disk_pools(self, known):
        """The pools that hold, or may hold, disks of instances, of those that there are."""
        records = list(self._records.values())      # another thread changes them
        seen = {image.partition('/')[0] for record in records for image in record.images}
        return sorted(p for p in {*self.pools.kept, *self.pools.volumes, *self.pools.data, *seen}
                      if p in known.pools)

    def ready(self, host):
        """Why evacuated guests of a host would hang; '': they would not.

        Asks the OSDs that serve the pools of its disks, and of their parents.
        """
        known = self.ceph.map()
        wanted = {image.partition('/')[0] for r in self.store.disks(host).values()
                  for image in r.images}
        if not wanted:
            return ''
        wanted = sorted(p for p in {*wanted, *self.pools.images, *self.pools.data}
                        if p in known.pools)
        left = self.ceph.unanswered(known.epoch, wanted, READY)
        if not left:
            return ''
        problems = {pool: f'{len(groups)} of its placement groups do not answer'
                    for pool, groups in left.items()}
        try:                            # the manager knows it in better words, but later
            problems.update(self.ceph.inactive(sorted(left), known))
        except exception.VmhaError as e:
            LOG.info('the manager: %s', e)
        return '; '.join(f'pool {pool}: {text}' for pool, text in sorted(problems.items()))


def _protection(known, whole):
    if not known:
        return 'none', ('no storage client of it was ever seen, so that none can be fenced: it '
                        'has not run an instance yet, or uses the storage at an address that is '
                        'not known ([ceph] host_addresses)')
    if whole:
        return 'storage', 'its addresses are shut out of the storage before anything is moved'
    return 'storage', ('its clients on record are shut out of the storage before anything is '
                       'moved; an instance whose client is not on record waits')


_replaced = dataclasses.replace
