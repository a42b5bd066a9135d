"""The words of this service as values: frozen dataclasses, no behaviour beyond arithmetic.

Adapters turn what Nova, Placement and the database say into these once; everything that decides
works on nothing else. Times are timezone-aware UTC datetimes; amounts are in Placement's units
(VCPU: count, MEMORY_MB: MiB, DISK_GB: GiB); shares are fractions, 1.0 being all of it.
"""

import dataclasses
import datetime
import types
import typing

Resources = typing.Mapping[str, int]          # resource class -> amount
NOTHING: Resources = types.MappingProxyType({})


def _empty():
    return dataclasses.field(default_factory=lambda: NOTHING)


@dataclasses.dataclass(frozen=True)
class Heartbeat:
    """What is known of a nova-compute's heartbeat.

    ``value`` is Nova's own time stamp, compared only with itself: a clock that is wrong here or
    there cannot make a host look dead. ``changed_at`` is our time when we first saw this value,
    ``looked_at`` our time of the last successful look.
    """

    value: str
    changed_at: datetime.datetime
    looked_at: datetime.datetime


@dataclasses.dataclass(frozen=True)
class ComputeNode:
    """A host that runs nova-compute, as Nova and Placement last described it."""

    host: str                                   # Nova's service host
    service_id: str = ''
    provider_id: str = ''                       # Placement's root provider
    up: bool = False                            # Nova's opinion of the service
    enabled: bool = False
    disabled_reason: str = ''
    forced_down: bool = False
    heartbeat: Heartbeat | None = None
    zone: str = ''
    aggregates: tuple['Aggregate', ...] = ()
    traits: frozenset[str] = frozenset()
    capacity: Resources = _empty()               # with allocation ratios; empty: unknown
    used: Resources = _empty()
    # False: Placement left it out of its last answer, as it does with a full host.
    has_room: bool = False
    usage_at: datetime.datetime | None = None   # when capacity and used were read
    cores: int = 0                              # physical, for the measured share; 0: unknown
    address: str = ''                           # the IP that Nova shows of it
    cpu_share: float | None = None              # measured, from metrics.update
    cpu_share_at: datetime.datetime | None = None
    backend: str = ''                           # where ephemeral disks live; '': not known
    spare: bool = False                         # the operator's marks, from the database
    pool: str = ''                              # a spare serves the hosts of its own pool
    maintenance: bool = False
    parked: bool = False                        # scheduling turned off by this service


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """A Nova host aggregate: its name and metadata."""

    name: str
    metadata: typing.Mapping[str, str] = _empty()


@dataclasses.dataclass(frozen=True)
class Instance:
    """A server, as Nova last described it."""

    id: str
    name: str = ''
    project_id: str = ''
    host: str = ''
    vm_state: str = ''                          # active, stopped, paused, …
    task_state: str = ''                        # '' where Nova says null
    power_state: int = 0                        # Nova's number: 1 running, 4 shut down
    needs: Resources = _empty()
    zone: str = ''
    metadata: typing.Mapping[str, str] = _empty()
    extra_specs: typing.Mapping[str, str] = _empty()
    fault: str = ''
    # Nova's updated_at and its disks: another one means that it was started, given a volume, ….
    stamp: str = ''
    # Disks that its host's image backend keeps, as that names them: '' the root disk, .eph0, ….
    kept: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()               # ids of the Cinder volumes attached to it
    # False: its cell was down when Nova listed it, nothing but the id is sure.
    known: bool = True
    backing: 'Backing | None' = None            # None: no storage is asked about its disks


@dataclasses.dataclass(frozen=True)
class Backing:
    """Where an instance's disks are, and whether a fence of its host's storage clients is enough.

    Only where both reasons are empty may it be started elsewhere under that fence alone.
    """

    backend: str = ''                           # that a target must have; '': it needs none
    local: str = ''                             # a disk is not on the storage: left alone
    unsure: str = ''                            # something is not known: it waits


@dataclasses.dataclass(frozen=True)
class ServerGroup:
    """A Nova server group."""

    id: str
    policy: str                                 # affinity, anti-affinity, soft-…
    members: frozenset[str]
    max_per_host: int = 1                       # anti-affinity only


@dataclasses.dataclass(frozen=True)
class Cluster:
    """One consistent view of the cloud. Replaced, never changed."""

    nodes: typing.Mapping[str, ComputeNode] = _empty()          # by host
    instances: typing.Mapping[str, Instance] = _empty()         # by id
    groups: typing.Mapping[str, ServerGroup] = _empty()         # by id
    by_host: typing.Mapping[str, frozenset[str]] = _empty()     # host -> instance ids
    group_of: typing.Mapping[str, str] = _empty()               # instance id -> group id
    instances_at: datetime.datetime | None = None              # last good list of servers
    nodes_at: datetime.datetime | None = None                  # last good list of services
    # Hosts of cells that are down: Nova lists nothing of theirs, which says nothing about them.
    unknown_hosts: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()                             # lists that failed, in words

    def on(self, host: str) -> tuple[Instance, ...]:
        """The instances of a host, in a stable order."""
        return tuple(self.instances[i] for i in sorted(self.by_host.get(host, ())))


@dataclasses.dataclass(frozen=True)
class Policy:
    """What the operator wants, as values; built from configuration once."""

    spares_only: bool = False                   # never use ordinary nodes as targets
    untouched_projects: frozenset[str] = frozenset()
    evacuate_error: bool = False                # instances that were in ERROR before
    max_cpu_share: float = 0.95                 # measured; above, a node is no target
    cpu_share_ttl: float = 180.0                # seconds a measurement counts
    need_same_backend: bool = True
    max_attempts: int = 3                       # evacuations tried for one instance
    window: int = 24                            # evacuations in flight, in all, at most,
    window_start: int = 8                       # and to begin with
    window_per_target: int = 8                  # the same to one target
    window_per_target_start: int = 3
    limits: 'Limits' = dataclasses.field(default_factory=lambda: Limits())
    heartbeat_silence: float = 25.0             # seconds without a beat that confirm a report
    trust: typing.Mapping[str, str] = _empty()   # source -> act | confirm | ignore
    quiet: float = 90.0                         # seconds after a call with unknown outcome
    max_faults: int = 8                         # calls without an answer for one instance
    move_timeout: float = 900.0                 # seconds Nova may take for one evacuation
    follow_interval: float = 3.0                # seconds between looks without notifications
    check_interval: float = 1.0                 # seconds between looks at a reported host
    spare_after: str = 'reserve'                # or 'ordinary'
    # What says that others have taken a host out of service: disabled, forced_down.
    planned_shutdown: frozenset[str] = frozenset({'disabled', 'forced_down'})
    return_automatic: bool = True               # hosts are put back into service
    return_after: float = 60.0                  # seconds of heartbeats without a gap before
    return_becomes: str = 'as_before'           # or 'spare', 'ordinary'
    flap_window: float = 1800.0                 # seconds in service; failing sooner is held

    def worth(self, source: str) -> str:
        """What a report of a source is worth: act, confirm or ignore."""
        return self.trust.get(source, self.trust.get('default', 'confirm'))


@dataclasses.dataclass(frozen=True)
class Limits:
    """How many hosts may have failed before an operator has to say so; 0: there is no limit."""

    hosts: int = 2                              # at a time, in the whole cloud
    percent: float = 50.0                       # of the hosts there are
    zone_hosts: int = 0                         # the same in one zone,
    zone_percent: float = 0.0
    aggregate_hosts: int = 0                    # and in one aggregate
    aggregate_percent: float = 0.0
    rate: int = 4                               # within ten minutes


@dataclasses.dataclass(frozen=True)
class Failed:
    """A failed host as decide() sees it: what was done and tried there already."""

    host: str
    # Instance id -> hosts on which an attempt has failed.
    tried: typing.Mapping[str, frozenset[str]] = _empty()
    # Instance id -> target, of moves under way that the used amounts do not contain yet.
    pledged: typing.Mapping[str, str] = _empty()
    # Instance id -> target, of all that leave and still show up here: for server groups.
    bound: typing.Mapping[str, str] = _empty()
    # Instances not to be placed: moved, failed for good, or under way.
    settled: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Placement:
    """What decide() says of one instance of a failed host: a target, or the reason for none."""

    instance: Instance
    target: str = ''
    reason: str = ''
    left: bool = False                          # left alone by policy, not for lack of room
    priority: int = 50


@dataclasses.dataclass(frozen=True)
class Plan:
    """The answer of decide(): placements in the order in which they are to be sent."""

    placements: tuple[Placement, ...] = ()
    spares: tuple[str, ...] = ()                # parked spares that the placements need


@dataclasses.dataclass(frozen=True)
class Service:
    """One nova-compute as Nova lists it; ``beat`` is Nova's updated_at, kept as it came."""

    host: str
    id: str
    up: bool
    enabled: bool
    disabled_reason: str = ''
    forced_down: bool = False
    beat: str = ''
    zone: str = ''

    def beats_since(self, old: 'Service') -> bool:
        """Whether its nova-compute has sent a heartbeat between that look and this one.

        Nova shows its row's updated_at, which disabling it or forcing it down moves, too.
        """
        return self.beat != old.beat and not self.changed_since(old)

    def changed_since(self, old: 'Service') -> bool:
        """Whether it was disabled, enabled, forced down or taken back between those looks."""
        return (self.enabled, self.disabled_reason, self.forced_down) != (
            old.enabled, old.disabled_reason, old.forced_down)


@dataclasses.dataclass(frozen=True)
class Hypervisor:
    """A compute node record of Nova; ``id`` is also its Placement provider."""

    id: str
    host: str                                   # the nova-compute that runs it
    type: str = ''                              # 'ironic' is not ours
    cores: int = 0
    address: str = ''


@dataclasses.dataclass(frozen=True)
class Provider:
    """What Placement says of one root provider and its tree, summed."""

    id: str
    capacity: Resources = _empty()
    used: Resources = _empty()
    traits: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Migration:
    """An evacuation record of Nova; ``status`` accepted, pre-migrating, done, failed, …"""

    id: str
    instance_id: str
    source: str
    target: str
    status: str
    created_at: datetime.datetime


@dataclasses.dataclass(frozen=True)
class HostMark:
    """What the operator and this service noted about a host, from the database."""

    host: str
    spare: bool = False
    pool: str = ''
    maintenance: bool = False
    maintenance_until: datetime.datetime | None = None      # None: until it is ended by hand
    parked: bool = False
    backend: str = ''                           # the operator's word, e.g. rbd:vms


# -- storage, as Ceph's monitors last described it -----------------------------------------------
@dataclasses.dataclass(frozen=True)
class Osd:
    """One OSD."""

    id: int
    up: bool
    inside: bool                                # 'in': data is placed on it
    bucket: str = ''                            # the CRUSH bucket of type host it is in
    addresses: frozenset[str] = frozenset()     # IPs it serves and replicates on
    ports: tuple[tuple[str, int], ...] = ()     # (IP, TCP port) it listens on


@dataclasses.dataclass(frozen=True)
class Pool:
    """A Ceph pool."""

    id: int
    name: str
    size: int                                   # replicas
    min_size: int                               # replicas without which it takes no write


@dataclasses.dataclass(frozen=True)
class StorageMap:
    """One OSD map: who is up, and who may not write.

    Entries of clients are written as Ceph's blocklist has them: ``10.0.0.7:0/123456``, IPv6 in
    brackets; ranges as CIDR: ``10.0.0.7/32``.
    """

    fsid: str
    epoch: int
    seen_at: datetime.datetime                  # when we asked for it
    osds: tuple[Osd, ...] = ()
    pools: typing.Mapping[str, Pool] = _empty()  # by name
    flags: frozenset[str] = frozenset()          # of the cluster: noout, …
    entries: frozenset[str] = frozenset()        # single clients on the blocklist
    ranges: frozenset[str] = frozenset()         # whole addresses on the blocklist


@dataclasses.dataclass(frozen=True)
class OsdState:
    """Whether the OSDs of a host are down, as a witness of its death."""

    what: str                                   # down, up, partly, none, stale, unknown
    text: str                                   # in words, for an operator
    seen_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class DiskRecord:
    """Where an instance's disks were found, and who used them, while its host was alive."""

    instance_id: str
    host: str
    stamp: str                                  # Instance.stamp when we looked
    images: typing.Mapping[str, typing.Sequence[str]]   # pool/name -> clients at that host
    backend: str                                # of the disks that the host's backend keeps
    problem: str                                # '' or which disk is not on the storage
    strange: typing.Sequence[str]               # clients at addresses of no host
    # Clients at other hosts, of disks that only its own host should use.
    elsewhere: typing.Sequence[str]
    seen_at: datetime.datetime


# -- rows, as the store hands them out; states and their meaning are in vmha_nova.states --------
# What the engine notes in the evidence of a report, and nobody else.
OWN_EVIDENCE = frozenset({'baseline', 'beats', 'osds', 'empty'})


@dataclasses.dataclass(frozen=True)
class HostFailure:
    """A report that a host is down."""

    id: int
    host: str
    source: str
    reason: str
    detected_at: datetime.datetime | None
    received_at: datetime.datetime
    evidence: typing.Mapping[str, typing.Any]
    forced: bool
    state: str
    detail: str
    repeats: int
    recovery_id: str | None


@dataclasses.dataclass(frozen=True)
class Recovery:
    """What is done about one failed host."""

    id: str
    host: str
    state: str
    resume: str
    reason: str
    wish: str
    approved: bool
    reported_at: datetime.datetime
    created_at: datetime.datetime
    updated_at: datetime.datetime
    ended_at: datetime.datetime | None
    released_at: datetime.datetime | None

    @property
    def stage(self):
        """The state whose work is next: of a held recovery, the one it goes back to."""
        return self.resume if self.state == 'held' else self.state


@dataclasses.dataclass(frozen=True)
class Move:
    """One instance's part in a recovery."""

    id: int
    recovery_id: str
    instance_id: str
    name: str
    project_id: str
    priority: int
    position: int
    state: str
    reason: str
    target: str
    was: str
    attempts: int
    faults: int
    tried: tuple[str, ...]
    known: tuple[str, ...]
    intent_at: datetime.datetime | None
    accepted_at: datetime.datetime | None
    landed_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    not_before: datetime.datetime | None


@dataclasses.dataclass(frozen=True)
class Step:
    """A lasting act."""

    id: int
    recovery_id: str | None
    kind: str
    subject: str
    state: str
    detail: str
    evidence: typing.Mapping[str, typing.Any]
    at: datetime.datetime
    ended_at: datetime.datetime | None


@dataclasses.dataclass(frozen=True)
class Event:
    """A line of the journal."""

    id: int
    at: datetime.datetime
    last_at: datetime.datetime
    level: str
    kind: str
    host: str
    recovery_id: str | None
    text: str
    repeats: int


@dataclasses.dataclass(frozen=True)
class Pause:
    """The switch with which an operator stops new recoveries."""

    paused: bool = False
    reason: str = ''
    user: str = ''
    at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Note:
    """A notification that is to be sent."""

    id: int
    at: datetime.datetime
    event_type: str
    payload: typing.Mapping[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What the death of a host would mean; see the columns of the table."""

    host: str
    checked_at: datetime.datetime
    instances: int
    placeable: int
    unplaced: int
    unprotectable: int
    fits: bool | None
    storage_fill: float | None
    protection: str
    protection_reason: str
    spares: tuple[str, ...]
    problems: tuple[typing.Mapping[str, typing.Any], ...]   # instance_id, name, left, reason
