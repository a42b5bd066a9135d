"""Pure: what the channels tell, as values.

A channel never answers for another one, and what it does not know is UNKNOWN, never a guess. All
times here are seconds of a clock that nobody sets, from anywhere.
"""

import dataclasses
import typing

# One network of a host, from connects to its addresses there.
ANSWERS, REFUSED, LOST, UNKNOWN = 'answers', 'refused', 'lost', 'unknown'
NETWORK = {
    ANSWERS: 'something accepted a connect, or answered an echo',
    REFUSED: 'a kernel refuses connects: it lives, what listened there is gone',
    LOST: 'nothing came back',
    UNKNOWN: 'not asked, or it never answered since this monitor runs',
}
# Nova's heartbeat, by changes of its value between looks.
FRESH, QUIET, MISSING = 'fresh', 'quiet', 'missing'
HEARTBEAT = {
    FRESH: 'it beats, or the next beat is not due',
    QUIET: 'none since the other channels went silent',
    MISSING: 'none for [monitor] heartbeat_silence',
    UNKNOWN: 'Nova was not asked with success, or knows nothing of the host',
}
# The OSDs of a host in the Ceph map; 'partly' is up here: one OSD that lives is a host that does.
UP, DOWN, DOWN_BEFORE, NONE = 'up', 'down', 'down-before', 'none'
OSDS = {
    UP: 'at least one OSD is up',
    DOWN: 'all OSDs are down',
    DOWN_BEFORE: 'all OSDs were down long before it went silent, which is no witness of that',
    NONE: 'it has none, or no storage is asked',
    UNKNOWN: 'Ceph was not asked with success',
}
MANAGEMENT, STORAGE = 'management', 'storage'


@dataclasses.dataclass(frozen=True)
class Target:
    """An address that is connected to. ``port`` 0 is an ICMP echo."""

    address: str
    port: int

    def __str__(self):
        if not self.port:
            return f'{self.address} (echo)'
        return f'[{self.address}]:{self.port}' if ':' in self.address else (
            f'{self.address}:{self.port}')


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round of connects to a host found: network -> Target -> word of NETWORK."""

    host: str
    began: float
    ended: float
    found: typing.Mapping[str, typing.Mapping[Target, str]]


@dataclasses.dataclass(frozen=True)
class NovaLook:
    """All of nova-compute as Nova lists them: host -> its beat, as it came.

    ``unknown`` are the hosts of cells that are down, ``forced`` those that are forced down,
    ``addresses`` what Nova tells of where a host is. Of those ``changed``, as by disabling them,
    the beat is as it was before, and it cannot be told whether they have beaten as well.
    """

    began: float
    ended: float
    beats: typing.Mapping[str, str]
    forced: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    addresses: typing.Mapping[str, str] = dataclasses.field(default_factory=dict)
    changed: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class StorageLook:
    """The OSDs of all hosts: host -> (word of OSDS, text); ``ports`` are where they listen."""

    began: float
    ended: float
    osds: typing.Mapping[str, tuple[str, str]]
    ports: typing.Mapping[str, typing.Collection[Target]] = dataclasses.field(
        default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much it takes; seconds, see the options of [monitor]."""

    interval: float = 2.0
    retry_interval: float = 0.3
    connect_timeout: float = 1.0
    failures: int = 3                   # bad rounds ...
    of: int = 4                         # ... of the last so many
    window: float = 1.0                 # no answer within: an answer outweighs its neighbours
    silent_after: float = 6.0
    heartbeat_silence: float = 25.0
    osd_grace: float = 30.0
    nova_interval: float = 5.0
    ceph_interval: float = 5.0
    stale_after: float = 15.0           # a channel's word counts for no longer
    doubt_share: float = 0.5
    doubt_seconds: float = 60.0
    flap_limit: int = 4
    flap_window: float = 600.0
    flap_hold: float = 60.0
    storage: bool = True                # is Ceph asked?


@dataclasses.dataclass(frozen=True)
class Signs:
    """What the channels tell of a host at one moment: all that a verdict is made of."""

    heartbeat: str
    osds: str
    networks: typing.Mapping[str, str]          # network -> word of NETWORK
    silent: float = 0.0                         # seconds for which no address has answered
    beatless: float = 0.0                       # seconds without a new heartbeat
    osds_text: str = ''
    flapping: int = 0                           # ups and downs, where there were too many
    stale: bool = False                         # no connect to it has ended for long
    cut_off: str = ''                           # why this monitor can say nothing now
