"""Pure: have so many hosts failed that an operator has to say that recoveries may begin?

Many hosts that fail at once are more often a fault of the network, of Nova or of whatever watches
than of the hosts. What has begun goes on; what has not is held, all of it, until few enough are
down or an operator approves.

**Which hosts count.** At a time: those with a recovery that is not over, held or not, and those
that are reported and from which no heartbeat has come since, or none for long; hosts that die
together are not found dead together, and the first must not begin before the others are known of.
One that was found dead and held nothing to recover counts like that as long as it is silent, if it
was reported within ten minutes before the first that waits, or since.
Hosts that are out after a recovery that is over do not count: a machine that waits for its repair
is no part of what happens now. Within ten minutes: those that were taken for dead in that time,
over or not, and those whose recovery has not begun, however long that waits. One host alone is no
storm.
"""

import collections
import dataclasses
import datetime
import typing

from vmha_nova import model

WINDOW = 600.0                          # seconds in which [storm] max_rate hosts may fail
NAMED = 10                              # hosts that a text names


@dataclasses.dataclass(frozen=True)
class Excess:
    """A limit that is exceeded: its option, the hosts that count, and both in words."""

    limit: str
    hosts: tuple[str, ...]
    text: str


def silent(reports: typing.Iterable[model.HostFailure], cluster: model.Cluster,
           seconds: float) -> frozenset[str]:
    """Hosts reported down that are without a heartbeat since, or for so long.

    How long one is silent an engine that has just started does not know; that a beat has come
    since the report stands in the report, as long as that is open. Of those that are closed it is
    told by the beat that was the last one then, if it is not one that was on its way.
    """
    found = set()
    for report in reports:
        node = cluster.nodes.get(report.host)
        beat = node and node.heartbeat
        if beat is None:
            continue
        beats = report.evidence.get('beats') or (
            report.evidence.get('baseline', beat.value) != beat.value
            and (beat.changed_at - report.received_at).total_seconds() > seconds)
        if not beats or (beat.looked_at - beat.changed_at).total_seconds() > seconds:
            found.add(report.host)
    return frozenset(found)


def excesses(waiting: typing.Iterable[str], failed: typing.Iterable[str],
             recent: typing.Iterable[str], cluster: model.Cluster, limits: model.Limits,
             ) -> dict[str, Excess]:
    """The first limit that keeps each host from being recovered: host -> Excess.

    :param waiting: hosts whose recovery has not begun, and was not approved
    :param failed: hosts that have failed at a time; those that wait are counted with them
    :param recent: hosts that have failed within WINDOW, counted likewise
    """
    waiting = frozenset(waiting)
    if not waiting:
        return {}
    failed, recent = waiting | frozenset(failed), waiting | frozenset(recent)
    groups = _groups(cluster)
    found = {}
    for host in waiting:
        node = cluster.nodes.get(host)
        excess = _over('the cloud', '', failed, len(cluster.nodes), limits.hosts, limits.percent)
        if node is not None and excess is None:
            names = [('zone', node.zone)] * bool(node.zone)
            names += [('aggregate', a.name) for a in node.aggregates]
            excess = next(filter(None, (_over(
                f'{kind} {name}', f'{kind}_', failed & groups[kind, name],
                len(groups[kind, name]), getattr(limits, f'{kind}_hosts'),
                getattr(limits, f'{kind}_percent')) for kind, name in names)), None)
        if excess is None and limits.rate and len(recent) > limits.rate:
            excess = Excess('max_rate', tuple(sorted(recent)), (
                f'{len(recent)} hosts have failed within {WINDOW / 60:.0f} minutes '
                f'({_some(recent)}), the limit is {limits.rate} ([storm] max_rate)'))
        if excess is not None:
            found[host] = excess
    return found


def waits_for_word(excess: Excess, recovery_id: str) -> str:
    """Why a recovery is held, and what lets it begin."""
    return (f'{excess.text}; approve with "openstack vmha recovery approve {recovery_id}", or '
            'all that wait with "openstack vmha recovery approve --all"')


def flaps(recovery: model.Recovery, earlier: typing.Iterable[model.Recovery],
          window: float) -> str:
    """Why a host that has failed again needs an operator's word first; ''.

    :param earlier: recoveries of the host; this one may be among them
    :param window: seconds in service after which a failure is a new one
    """
    for last in earlier:
        if last.released_at is None or last.state == 'dismissed' or last.id == recovery.id:
            continue
        served = (recovery.created_at - last.released_at).total_seconds()
        if 0 < served < window:
            return (f'{recovery.host} has failed again after {served:.0f} s in service: look why '
                    'before its instances are moved once more; approve with "openstack vmha '
                    f'recovery approve {recovery.id}"')
    return ''


def loud(found: typing.Mapping[str, Excess]) -> str:
    """A storm in one sentence."""
    texts = dict.fromkeys(found[host].text for host in sorted(found))
    return (f'STORM: {"; ".join(texts)}. Nothing begins for {_some(found)}. If they are really '
            'dead, approve each with "openstack vmha recovery approve HOST", or all with '
            '"openstack vmha recovery approve --all"')


def since(now: datetime.datetime) -> datetime.datetime:
    """From when on a failure is recent."""
    return now - datetime.timedelta(seconds=WINDOW)


def _groups(cluster):
    """The hosts of each zone and each aggregate: (kind, name) -> hosts."""
    groups = collections.defaultdict(set)
    for node in cluster.nodes.values():
        groups['zone', node.zone].add(node.host)
        for aggregate in node.aggregates:
            groups['aggregate', aggregate.name].add(node.host)
    return groups


def _over(where, prefix, failed, total, most, percent):
    """The limit of a group that is exceeded there; None."""
    if len(failed) < 2:
        return None
    begin = (f'{len(failed)} of {total} hosts of {where} have failed ({_some(failed)}), '
             'the limit is')
    if most and len(failed) > most:
        return Excess(f'max_{prefix}hosts', tuple(sorted(failed)),
                      f'{begin} {most} ([storm] max_{prefix}hosts)')
    if percent and 100.0 * len(failed) > percent * total:
        return Excess(f'max_{prefix}percent', tuple(sorted(failed)),
                      f'{begin} {percent:g} % ([storm] max_{prefix}percent)')
    return None


def _some(hosts):
    """Hosts by name, but not hundreds of them."""
    names = sorted(hosts)
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more
