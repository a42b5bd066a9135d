"""Pure: what the channels saw of one host so far, and what that tells now."""

import collections

from vmha_nova.monitor import channels as c


class History:
    """One host. Times are seconds of the monitor's own clock."""

    def __init__(self, host, settings):
        self.host = host
        self._settings = settings
        self._networks = {}                     # network -> _Network
        self.silent_since = None                # the first round without an answer since the last
        self.fell_at = None                    # the same, but never begun anew
        self._answered_at = None                # when an address has last answered
        self._heard_at = None                   # the beginning of that round
        self._beat, self._beat_at = None, None  # the value, and when its change was seen
        self._looked_at = None                  # the last look at Nova that knew the host
        self._baseline, self._since = None, c.UNKNOWN   # of the heartbeat since it is silent
        self._osds, self._osds_at, self._up_at = (c.UNKNOWN, ''), None, None
        self._swings = collections.deque()      # when it was gone
        self._gone = False
        self.forced_down = False

    # -- what comes in ----------------------------------------------------------------------------
    def on_round(self, found):
        """A Round has ended."""
        answered = False
        for name, targets in found.found.items():
            word = _together(targets.values())
            if word == c.UNKNOWN:
                continue                        # our own fault, or nothing to ask
            network = self._networks.setdefault(name, _Network(self._settings))
            network.add(word, found, targets)
            answered |= word == c.ANSWERS
        if answered:
            self.silent_since = self.fell_at = None
            self._answered_at, self._heard_at = found.ended, found.began
            self._baseline, self._since = None, c.UNKNOWN
            self._gone = False
        elif self.silent_since is None and self._known() and any(
                word != c.UNKNOWN for targets in found.found.values()
                for word in targets.values()):
            self.silent_since = self.fell_at = found.began
        self._count_swing(found.ended)

    def _count_swing(self, now):
        if self.silent_since is None or self._gone:
            return
        words = {n.word(now) for n in self._known()}
        if words and c.ANSWERS not in words:
            self._gone = True
            self._swings.append(now)

    def on_nova(self, look):
        """Nova was asked with success; this host may be missing there."""
        self.forced_down = self.host in look.forced
        beat = look.beats.get(self.host)
        if beat is None or self.host in look.unknown:
            return
        self._looked_at = look.ended
        changed = beat != self._beat
        if changed:
            self._beat, self._beat_at = beat, look.ended
        elif self.host in look.changed and (
                look.ended - self._beat_at < self._settings.heartbeat_silence):
            # It may have beaten as well: where it is not missing yet, that is counted anew.
            self._beat_at = look.ended
        if self.silent_since is None or look.began < self.silent_since:
            return
        # The first look since then may show a beat from before: only later ones tell.
        if self._baseline is None:
            self._baseline = beat
        elif beat != self._baseline:
            self._since = c.FRESH       # it beats: only its absence for long counts from now on
        elif self._since == c.UNKNOWN and look.ended - self._beat_at >= self._settings.window:
            self._since = c.QUIET

    def on_storage(self, look):
        """Ceph was asked with success."""
        self._osds = look.osds.get(self.host, (c.NONE, ''))
        self._osds_at = look.ended
        if self._osds[0] == c.UP:
            self._up_at = look.ended

    def restart(self, now):
        """Begin anew to count a silence."""
        if self.silent_since is not None:
            self.silent_since, self._baseline, self._since = now, None, c.UNKNOWN
        for one in self._networks.values():
            if one.silent_since is not None:
                one.silent_since = now

    # -- what it tells ----------------------------------------------------------------------------
    @property
    def suspect(self):
        """Whether the last round of connects found nobody."""
        return self.silent_since is not None

    @property
    def answered(self):
        """Whether it has ever answered, and did the last time."""
        return self._answered_at is not None and self.silent_since is None

    def vanished(self, now, network=None):
        """Whether it fell silent lately, on one network or on all; one lost packet is nothing."""
        where = self if network is None else self._networks.get(network)
        return (where is not None and where.silent_since is not None
                and now - where.fell_at >= self._settings.connect_timeout
                and now - where.silent_since < self._settings.doubt_seconds)

    def answers_on(self, network):
        """Whether it has ever answered there, and did not fall silent the last time."""
        where = self._networks.get(network)
        return bool(where and where.baseline is not None and where.silent_since is None)

    def answered_since(self, then):
        """Whether it has answered to a connect that was begun since then."""
        return self.answered and self._heard_at >= then

    def signs(self, now, cut_off='', nova_ill=False):
        """All at once: Signs. ``nova_ill``: heartbeats say nothing of hosts now."""
        settings = self._settings
        heartbeat = c.UNKNOWN if nova_ill else self._heartbeat(now)
        osds, text = self._osds_now(now)
        while self._swings and self._swings[0] < now - settings.flap_window:
            self._swings.popleft()
        swings = len(self._swings)
        # Where a host answers elsewhere, a network the monitor could not see is not lost yet.
        networks = {name: c.UNKNOWN if self.answered and n.doubted(now) else n.word(now)
                    for name, n in self._networks.items()}
        return c.Signs(
            heartbeat=heartbeat, osds=osds, networks=networks,
            silent=0.0 if self.silent_since is None else now - self.silent_since,
            beatless=0.0 if self._beat_at is None else now - self._beat_at, osds_text=text,
            flapping=swings if swings > settings.flap_limit else 0, cut_off=cut_off,
            stale=any(n.stale(now) for n in self._networks.values()))

    def evidence(self, signs):
        """What a report carries, in words and numbers that JSON knows."""
        return {'heartbeat': signs.heartbeat, 'beatless_seconds': round(signs.beatless, 1),
                'osds': signs.osds_text or signs.osds, 'silent_seconds': round(signs.silent, 1),
                'networks': {name: {'reading': word, **{
                    str(t): w for t, w in self._networks[name].last.items()}}
                    for name, word in signs.networks.items()}}

    def _known(self):
        return [n for n in self._networks.values() if n.baseline]

    def _heartbeat(self, now):
        settings = self._settings
        if self._looked_at is None or now - self._looked_at > settings.stale_after:
            return c.UNKNOWN
        # Not by now: what Nova was not asked about is not missing.
        if self._looked_at - self._beat_at >= settings.heartbeat_silence:
            return c.MISSING
        return c.FRESH if self.silent_since is None else self._since

    def _osds_now(self, now):
        if not self._settings.storage:
            return c.NONE, 'no storage is asked'
        if self._osds_at is None or now - self._osds_at > self._settings.stale_after:
            return c.UNKNOWN, ''
        word, text = self._osds
        if word == c.DOWN and self.fell_at is not None and (
                self._up_at is None or self._up_at < self.fell_at - self._settings.osd_grace):
            word = c.DOWN_BEFORE
        return word, text


class _Network:
    """The last rounds on one network."""

    def __init__(self, settings):
        self._settings = settings
        self._rounds = collections.deque(maxlen=settings.of)
        self.baseline = None                    # when it last answered; None: never did
        self.last = {}
        self.silent_since = self.fell_at = None     # as of the host
        self._at = None

    def add(self, word, found, targets):
        self.last = targets
        self._at = found.ended
        self._rounds.append(word)
        if word == c.ANSWERS:
            self.baseline = found.ended
        if word != c.LOST:
            self.silent_since = self.fell_at = None
        elif self.silent_since is None and self.baseline is not None:
            self.silent_since = self.fell_at = found.began

    def stale(self, now):
        """Whether nobody has looked for too long."""
        return now - self._at > self._settings.stale_after

    def doubted(self, now):
        """Whether its silence has just begun anew."""
        return (self.silent_since != self.fell_at
                and now - self.silent_since < self._settings.silent_after)

    def word(self, now):
        """N of M: what this network tells now."""
        settings = self._settings
        if self.baseline is None or self.stale(now):
            return c.UNKNOWN
        bad = [word for word in self._rounds if word != c.ANSWERS]
        if (len(bad) < settings.failures or self._rounds[-1] == c.ANSWERS
                or now - self.baseline < settings.window):
            return c.ANSWERS
        # One that refuses has a kernel that lived that moment: an answer as well, and a quick one.
        if c.REFUSED in bad[-settings.failures:]:
            return c.REFUSED
        return c.LOST if now - self.baseline >= settings.silent_after else c.ANSWERS


def _together(words):
    """The targets of one network as one."""
    words = set(words)
    return next((w for w in (c.ANSWERS, c.REFUSED, c.LOST) if w in words), c.UNKNOWN)
