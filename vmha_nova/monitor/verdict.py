"""Pure and total: what is to be made of a host, by what the channels tell of it.

Every combination has a verdict and a reason. 'dead' needs every channel to agree, and none of them
to have seen the host alive since it went silent.
"""

import dataclasses

from vmha_nova.monitor import channels as c

ALIVE, DEAD, PROBABLY_DEAD = 'alive', 'dead', 'probably-dead'
COMPUTE_DOWN, ISOLATED = 'compute-down', 'isolated'
STORAGE_TROUBLE, UNCLEAR, CUT_OFF = 'storage-trouble', 'unclear', 'cut-off'
VERDICTS = {
    ALIVE: 'the host works',
    DEAD: 'all channels agree that the host is gone: fence it, evacuate it',
    PROBABLY_DEAD: 'nothing comes from the host; no second witness can say yet that it is gone',
    COMPUTE_DOWN: 'nova-compute is down; the host lives and its guests run: do not evacuate',
    ISOLATED: 'cut off from the management network; its guests may run',
    STORAGE_TROUBLE: 'the host lives, and has trouble with its storage: do not evacuate',
    UNCLEAR: 'the channels do not tell enough, or not for long enough',
    CUT_OFF: 'this monitor itself is cut off: nothing is said of any host',
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be made of a host, and why, in one line for an operator."""

    what: str
    reason: str


def judge(signs: c.Signs, settings: c.Settings) -> Verdict:
    """Say what is to be made of a host. Total: always a verdict."""
    if signs.cut_off:
        return Verdict(CUT_OFF, signs.cut_off)
    if signs.osds == c.DOWN_BEFORE:
        signs = dataclasses.replace(
            signs, osds=c.NONE if signs.heartbeat == c.QUIET else c.DOWN,
            osds_text=signs.osds_text or 'its OSDs were down before')
    probe = probed(signs.networks)
    if signs.networks.get(c.MANAGEMENT, c.UNKNOWN) == c.UNKNOWN and probe != c.ANSWERS:
        probe = c.UNKNOWN               # an OSD that is killed refuses as well
    what, why = {c.ANSWERS: _answers, c.REFUSED: _refused, c.LOST: _lost,
                 c.UNKNOWN: _unprobed}[probe](signs, settings)
    if signs.flapping and what in (DEAD, PROBABLY_DEAD) and signs.silent < settings.flap_hold:
        what, why = UNCLEAR, (
            f'it was gone and back {signs.flapping} times in {settings.flap_window:.0f} s, so '
            f'{settings.flap_hold:.0f} s of silence are waited for: {why}')
    return Verdict(what, why)


def probed(networks) -> str:
    """All networks as one: one that answers outweighs all, one that refuses those that are lost.

    What is not known of a network counts for nothing.
    """
    found = set(networks.values())
    return next((word for word in (c.ANSWERS, c.REFUSED, c.LOST) if word in found), c.UNKNOWN)


def _answers(signs, settings):
    """The host lives: what of it does not work?"""
    where = ' and '.join(sorted(n for n, word in signs.networks.items() if word == c.ANSWERS))
    managed = signs.networks.get(c.MANAGEMENT, c.UNKNOWN)
    if managed in (c.LOST, c.REFUSED) and signs.heartbeat != c.FRESH:
        if signs.heartbeat != c.MISSING:
            return UNCLEAR, (f'it answers on {where}, not on management ({managed}); '
                             f'{_beats(signs)}')
        if managed == c.LOST:
            return ISOLATED, (f'it answers on {where}, management is lost, {_beats(signs)}: its '
                              'guests may run')
    # Before the heartbeat: what has lost its storage may stop to beat for that.
    stored = signs.networks.get(c.STORAGE, c.UNKNOWN)
    if signs.osds == c.DOWN:
        return STORAGE_TROUBLE, f'it answers on {where}, but {_osds(signs)}; {_beats(signs)}'
    if stored in (c.LOST, c.REFUSED):
        return STORAGE_TROUBLE, (f'it answers on {where}, but not on storage ({stored}; '
                                 f'{_osds(signs)}); {_beats(signs)}')
    if signs.heartbeat == c.MISSING:
        return COMPUTE_DOWN, (f'{_beats(signs)}, but it answers on {where} and its guests may '
                              f'run ({_osds(signs)})')
    return ALIVE, f'it answers on {where}, {_beats(signs)}, {_osds(signs)}'


def _refused(signs, settings):
    """A kernel lives there, what listened is gone: killed, restarted, or a host that starts."""
    if signs.heartbeat == c.FRESH:
        return (STORAGE_TROUBLE if signs.osds == c.DOWN else ALIVE), (
            f'{_beats(signs)}, though its ports refuse connections; {_osds(signs)}')
    told = f'its ports refuse connections, {_beats(signs)}, {_osds(signs)}'
    if signs.osds == c.DOWN and signs.heartbeat in (c.QUIET, c.MISSING):
        return DEAD, told
    if signs.heartbeat == c.MISSING and signs.osds in (c.UP, c.NONE):
        return COMPUTE_DOWN, f'{told}: a kernel answers, and guests may run'
    return UNCLEAR, told


def _lost(signs, settings):
    """Nothing comes back from any address."""
    told = f'no address has answered for {signs.silent:.0f} s, {_beats(signs)}, {_osds(signs)}'
    if signs.heartbeat == c.FRESH:
        return (STORAGE_TROUBLE if signs.osds == c.DOWN else ALIVE), (
            f'{_beats(signs)}, though it does not answer here; {_osds(signs)}')
    if signs.heartbeat == c.UNKNOWN or signs.osds == c.UNKNOWN:
        return UNCLEAR, told
    if signs.osds == c.UP and signs.silent >= settings.osd_grace:
        # By now Ceph would have marked it down: the other OSDs hear it.
        if signs.heartbeat == c.MISSING:
            return ISOLATED, f'{told}: its OSDs are heard by others, and its guests may run'
        return UNCLEAR, told
    if signs.silent < settings.silent_after:
        return UNCLEAR, told
    if signs.osds == c.DOWN:
        return DEAD, told
    if signs.osds == c.UP and signs.networks.get(c.STORAGE, c.UNKNOWN) == c.UNKNOWN:
        return UNCLEAR, f'{told}; its addresses on the storage network are not known'
    return PROBABLY_DEAD, told


def _unprobed(signs, settings):
    """On the management network it has no address, or never answered: two witnesses at best."""
    told = (f'it {"was not asked" if signs.stale else "has never answered to this monitor"} on '
            f'management, {_beats(signs)}, {_osds(signs)}')
    if signs.heartbeat == c.FRESH:
        return (STORAGE_TROUBLE if signs.osds == c.DOWN else ALIVE), told
    if signs.heartbeat != c.MISSING or signs.stale:
        return UNCLEAR, told
    if signs.osds == c.DOWN:
        return PROBABLY_DEAD, told
    if signs.osds == c.UP:
        return COMPUTE_DOWN, f'{told}: its guests may run'
    return UNCLEAR, told


def _beats(signs):
    return {
        c.FRESH: 'it sends heartbeats',
        c.QUIET: 'no heartbeat since',
        c.MISSING: f'no heartbeat for {signs.beatless:.0f} s',
        c.UNKNOWN: 'nothing is known of its heartbeat'}[signs.heartbeat]


def _osds(signs):
    return signs.osds_text or {
        c.UP: 'its OSDs are up', c.DOWN: 'its OSDs are down', c.NONE: 'it has no OSD',
        c.UNKNOWN: 'nothing is known of its OSDs'}[signs.osds]
