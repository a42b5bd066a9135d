"""Pure: all hosts together. Takes what the channels saw, doubts itself, says what has changed.

No I/O and no clock: whoever calls says when it is.
"""

import dataclasses
import typing

from vmha_nova.monitor import channels as c
from vmha_nova.monitor import history
from vmha_nova.monitor import verdict

FORGET = 600.0              # seconds after which a host that Nova lists no more is forgotten
HURRY = 60.0                # seconds for which a silent host makes everybody look more often
NOBODY = verdict.Verdict('', '')
NOVA, CEPH, WITNESS = 'nova', 'ceph', 'witness'
WORDS = {NOVA: 'Nova has not', CEPH: 'Ceph has not', WITNESS: 'none of [monitor] witnesses has'}


@dataclasses.dataclass(frozen=True)
class Change:
    """A host has another verdict than before; ``before`` is '' at first sight."""

    host: str
    before: str
    verdict: verdict.Verdict
    evidence: typing.Mapping[str, typing.Any]


class Watch:
    """Every host that Nova lists. ``witnesses``: are there [monitor] witnesses?"""

    def __init__(self, settings, witnesses=False, now=0.0):
        self.settings = settings
        self.hosts = {}                         # host -> History
        self.verdicts = {}                      # host -> Verdict
        self.cut_off = ''                       # why, or ''
        self._was_deaf, self._nova_is_ill = '', False
        self._listed = {}                       # host -> when Nova last listed it
        # The beginning of the last look of each kind that was answered. Who has just begun is
        # not cut off yet.
        self._heard = {NOVA: now}
        if settings.storage:
            self._heard[CEPH] = now
        if witnesses:
            self._heard[WITNESS] = now

    # -- what comes in ----------------------------------------------------------------------------
    def on_round(self, found):
        """A Round has ended; of a host that is not watched (any more) it is nothing."""
        if found.host in self.hosts:
            self.hosts[found.host].on_round(found)

    def on_nova(self, look):
        """Nova was asked with success."""
        self._heard[NOVA] = look.began
        for host in sorted(look.beats.keys() | look.unknown):    # the same in every run
            self._listed[host] = look.ended
            if host not in self.hosts:
                self.hosts[host] = history.History(host, self.settings)
        for host in [h for h, at in self._listed.items() if look.ended - at > FORGET]:
            del self._listed[host], self.hosts[host]
            self.verdicts.pop(host, None)
        for one in self.hosts.values():
            one.on_nova(look)
        # Where heartbeats fail to come of hosts that are there, they tell nothing.
        there = [one for one in self.hosts.values() if one.answered]
        ill = sum(one.signs(look.ended).heartbeat == c.MISSING for one in there)
        self._nova_is_ill = ill >= 2 and ill > self.settings.doubt_share * len(there)

    def on_storage(self, look):
        """Ceph was asked with success."""
        self._heard[CEPH] = look.began
        for one in self.hosts.values():
            one.on_storage(look)

    def on_witness(self, began):
        """One of the witnesses was there."""
        self._heard[WITNESS] = began

    def hurries(self, now):
        """Whether there is a host that fell silent lately, and is not known to be dead."""
        return any(one.suspect and now - one.silent_since < HURRY
                   and self.verdicts.get(host, NOBODY).what != verdict.DEAD
                   for host, one in self.hosts.items())

    # -- what it tells ----------------------------------------------------------------------------
    def judge(self, now, hosts=None):
        """The Changes among ``hosts``, or all; where the monitor is cut off, always all."""
        deaf = self._deaf(now)
        if self._was_deaf and not deaf:
            for one in self.hosts.values():
                one.restart(now)        # what it could not see is no silence
        self._was_deaf = deaf
        why = deaf or self._cliff(now)
        if bool(why) != bool(self.cut_off):
            hosts = None
        self.cut_off = why
        changes = []
        for host in self.hosts if hosts is None else sorted(hosts):
            one = self.hosts.get(host)
            if one is None:
                continue
            signs = one.signs(now, why, self._nova_is_ill)
            found = verdict.judge(signs, self.settings)
            if found.what in (verdict.DEAD, verdict.PROBABLY_DEAD) and one.suspect and (
                    doubt := self._unheard(one, now)):
                found = verdict.Verdict(verdict.UNCLEAR, f'{doubt}: {found.reason}')
            before = self.verdicts.get(host)
            self.verdicts[host] = found
            if before is None or before.what != found.what:
                changes.append(Change(host, before.what if before else '', found,
                                      one.evidence(signs)))
        return changes

    def evidence(self, host, now):
        """What speaks for the verdict of a host now, for JSON."""
        one = self.hosts[host]
        return one.evidence(one.signs(now, self.cut_off, self._nova_is_ill))

    def found(self, words):
        """The hosts of which one of some verdicts is said: host -> Verdict.

        Without those forced down in Nova, which somebody takes care of.
        """
        return {host: one for host, one in self.verdicts.items()
                if one.what in words and not self.hosts[host].forced_down}

    def _deaf(self, now):
        """Which witness this monitor does not hear, or ''."""
        settings = self.settings
        patience = {WITNESS: 2 * settings.interval + settings.connect_timeout}
        for kind, at in self._heard.items():
            if now - at > patience.get(kind, settings.stale_after):
                return f'{WORDS[kind]} answered this monitor for {now - at:.0f} s'
        return ''

    def _unheard(self, one, now):
        """Who has not answered this monitor since a host fell silent, where that matters; or ''.

        Hosts that die together are not found dead together: before the first is reported, enough
        of the others must have been heard.
        """
        late = [k for k, at in self._heard.items() if at < one.silent_since]
        if late:
            return f'{", ".join(WORDS[k] for k in late)} answered this monitor since'
        there = [o for o in self.hosts.values() if o.answered or (
            o.suspect and now - o.silent_since < self.settings.doubt_seconds)]
        missing = sum(not o.answered_since(one.silent_since) for o in there)
        if missing >= 2 and missing > self.settings.doubt_share * len(there):
            return f'{missing} of {len(there)} hosts have not answered this monitor since'
        return ''

    def _cliff(self, now):
        """Whether too many hosts vanish at once, and how many; or ''."""
        settings = self.settings
        # Not those of which a packet was lost.
        gone = sum(one.suspect and now - one.fell_at >= settings.connect_timeout
                   and now - one.silent_since < settings.doubt_seconds
                   for one in self.hosts.values())
        there = sum(one.answered for one in self.hosts.values())
        if gone >= 2 and gone > settings.doubt_share * (gone + there):
            return (f'{gone} of {gone + there} hosts that answered before went silent within '
                    f'{settings.doubt_seconds:.0f} s, which is more often a fault of the network '
                    'than of the hosts')
        return ''
