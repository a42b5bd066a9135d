"""Pure: is the host that was reported down really dead, as far as its evidence tells?

There are two witnesses: Nova's heartbeat, and the host's OSDs where the storage is asked. A report
waits until beats are missing and no OSD of the host is up any more; a source that has proven the
death itself can be trusted to act at once.
"""

import dataclasses
import datetime

from vmha_nova import disks
from vmha_nova import model
from vmha_nova import states

DEAD, ALIVE, WAIT, DISMISS = 'dead', 'alive', 'wait', 'dismiss'


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be made of a report, and why, in one line for an operator."""

    what: str
    reason: str


# One beat may have been on its way when the host died. Two have not.
ALIVE_BEATS = 2


def judge(failure: model.HostFailure, cluster: model.Cluster, policy: model.Policy,
          now: datetime.datetime, osds: model.OsdState | None = None) -> Verdict:
    """Say what is to be made of a report that a host is down. Total: always a verdict.

    ``osds`` is what the storage tells of the host's OSDs, None where no storage is asked.

    ``failure.evidence`` may carry ``baseline`` (the heartbeat seen when the report was first
    looked at) and ``beats`` (how often it has changed since): see watch().
    """
    trust = 'act' if failure.forced else policy.worth(failure.source)
    if trust == 'ignore':
        return Verdict(DISMISS, f'reports from {failure.source} are ignored ([detection] trust)')
    node = cluster.nodes.get(failure.host)
    if node is None:
        return _unknown(failure, cluster)
    if node.maintenance and not failure.forced:
        return Verdict(DISMISS, f'{failure.host} is in maintenance; end it with '
                                f'"openstack vmha host set {failure.host} --no-maintenance"')
    if failure.forced and not at_once(failure, now, policy):
        found = again(failure, node, policy, now)
        if found.what == ALIVE:
            return Verdict(ALIVE, f'{found.reason}, and the report by force had to wait; if its '
                                  'guests are certainly off, report it again with force')
        if found.what == WAIT:
            return found
    if trust == 'act':
        beat = node.heartbeat
        if not failure.forced and beat and failure.detected_at and (
                beat.changed_at - failure.detected_at).total_seconds() > policy.heartbeat_silence:
            # That beat may only be the first this process has seen: it proves neither life nor
            # death. So this report counts no more than any other, and is lost no less.
            found = _witnesses(failure, node, cluster, policy, osds)
            return dataclasses.replace(found, reason=(
                f'{found.reason} (it was found dead at {failure.detected_at:%Y-%m-%d %H:%M:%S} '
                'UTC: the report is out of date, and is not acted on at once)'))
        word = 'an operator insists' if failure.forced else f'{failure.source} is trusted to act'
        return Verdict(DEAD, f'{word}: {failure.reason or "no reason given"}')
    return _witnesses(failure, node, cluster, policy, osds)


def at_once(failure: model.HostFailure, now: datetime.datetime, policy: model.Policy) -> bool:
    """Whether a forced report is acted on whatever the heartbeats say: it had not to wait.

    What an operator knew when a pause began, or when no engine ran, may be true no longer. Nor
    is much known of a report from the future.
    """
    return failure.forced and abs(
        (now - failure.received_at).total_seconds()) <= policy.heartbeat_silence


def again(failure: model.HostFailure, node: model.ComputeNode | None, policy: model.Policy,
          now: datetime.datetime) -> Verdict:
    """Whether a host once taken for dead still is, by the beats since it was reported."""
    beats, beat = failure.evidence.get('beats', 0), node and node.heartbeat
    # The word of an operator, and not silence, was the reason to act on a forced report: with no
    # beat counted yet its host may live all the same.
    unheard = failure.forced and not at_once(failure, now, policy)
    if not (beats or unheard) or not beat or (
            beat.looked_at - beat.changed_at).total_seconds() >= policy.heartbeat_silence:
        return Verdict(DEAD, f'no heartbeats of {failure.host}')
    if beats >= ALIVE_BEATS:
        return Verdict(ALIVE, f'{failure.host} sends heartbeats: it is alive')
    if unheard:
        return Verdict(WAIT, f'the report by force had to wait: waiting whether the heartbeat of '
                             f'{failure.host} has stopped')
    return Verdict(WAIT, f'a heartbeat of {failure.host} has come since it was reported: '
                         'waiting whether there are more')


def _unknown(failure, cluster):
    if failure.host in cluster.unknown_hosts:
        return Verdict(WAIT, f'the cell of {failure.host} is down: nothing is known of it')
    if cluster.nodes_at is None or cluster.nodes_at < failure.received_at:
        return Verdict(WAIT, "the list of compute nodes was not read since the report came; "
                             + ('; '.join(cluster.problems) or 'it will be'))
    return Verdict(DISMISS, states.no_such_host(failure.host))


def _witnesses(failure, node, cluster, policy, osds):
    beat = node.heartbeat
    beats = failure.evidence.get('beats', 0)
    if beats >= ALIVE_BEATS:
        return Verdict(ALIVE, f'{failure.host} is alive: its nova-compute has sent {beats} '
                              'heartbeats since the report. If its guests are certainly off, '
                              'report it again with force')
    if beat is None:
        return Verdict(WAIT, f'Nova has never shown a heartbeat of {failure.host}')
    silent = (beat.looked_at - beat.changed_at).total_seconds()
    if silent < policy.heartbeat_silence:
        return Verdict(WAIT, f'waiting whether the heartbeat of {failure.host} has stopped '
                             f'(missing for {max(silent, 0.0):.0f} of '
                             f'{policy.heartbeat_silence:.0f} s)')
    others = [n for n in cluster.nodes.values() if n.host != failure.host and n.heartbeat]
    if others and all(
            (n.heartbeat.looked_at - n.heartbeat.changed_at).total_seconds()
            >= policy.heartbeat_silence for n in others):
        return Verdict(WAIT, 'no compute node at all sends heartbeats: Nova itself, its message '
                             'bus or its database does not work, which says nothing about '
                             f'{failure.host}')
    if osds is not None and osds.what in (disks.UP, disks.PARTLY):
        return Verdict(WAIT, f'nova-compute of {failure.host} is silent, but the host lives, and '
                             f'its guests may run: {osds.text}. If they are certainly off, '
                             'report it again with force')
    if osds is not None and osds.what in (disks.STALE, disks.UNKNOWN):
        # Nor could it be fenced now; and what it is taken for now, it would be fenced for later.
        return Verdict(WAIT, f'nova-compute of {failure.host} is silent, and whether the host '
                             f'lives is not known: {osds.text}')
    witness = f', {osds.text}' if osds is not None else ''
    return Verdict(DEAD, f'no heartbeat of {failure.host} for {silent:.0f} s{witness}, reported '
                         f'by {failure.source}: {failure.reason or "no reason given"}')


def watch(failure: model.HostFailure, node: model.ComputeNode | None) -> dict | None:
    """The report's evidence with the heartbeat of this look added; None if nothing changed.

    Beats are counted from the first look after the report, by changes of Nova's own value, so
    no two clocks are compared.
    """
    if node is None or node.heartbeat is None:
        return None
    if node.heartbeat.looked_at < failure.received_at:
        return None
    evidence = dict(failure.evidence)
    if 'baseline' not in evidence:
        return {**evidence, 'baseline': node.heartbeat.value, 'beats': 0}
    if evidence['baseline'] == node.heartbeat.value:
        return None
    return {**evidence, 'baseline': node.heartbeat.value, 'beats': evidence['beats'] + 1}


def disabled_by_others(node: model.ComputeNode) -> str:
    """Why a node is taken for disabled by an operator, ''.

    What this service does is not that, nor is what nova-compute does when its libvirt is away.
    """
    reason = node.disabled_reason
    if node.enabled or reason.startswith(('vmha: ', 'AUTO: ')):
        return ''
    return f'it is disabled in Nova by somebody else ({reason or "no reason given"})'


def planned(failure: model.HostFailure, node: model.ComputeNode, ours: bool,
            policy: model.Policy) -> str:
    """Why a host is left alone, as somebody has taken it out of service on purpose; ''.

    :param ours: whether forced_down, if it is, is this service's doing
    """
    if failure.forced:
        return ''
    disabled = 'disabled' in policy.planned_shutdown and disabled_by_others(node)
    if disabled:
        return _planned(failure.host, disabled, 'enable it')
    # Who reports as Nova tells just this: somebody has found the host dead, perhaps.
    if 'forced_down' in policy.planned_shutdown and node.forced_down and not ours and (
            failure.source != 'nova'):
        return _planned(failure.host, 'it is forced down in Nova by somebody else',
                        'take that back')
    return ''


def _planned(host, why, what):
    return (f'planned shutdown of {host}: {why}; {what}, or report it again with force, if its '
            'instances are to be recovered')
