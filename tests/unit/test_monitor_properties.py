"""Random sequences of what the channels tell: who is seen alive by one is never called dead."""

import logging

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from vmha_nova.monitor import channels as c
from vmha_nova.monitor import verdict
from vmha_nova.monitor import watch

HOSTS = ('c0', 'c1', 'c2', 'c3')
WORDS = st.sampled_from([c.ANSWERS, c.REFUSED, c.REFUSED, c.LOST, c.LOST, c.UNKNOWN])
SETTINGS = c.Settings(heartbeat_silence=12.0)
GONE = (verdict.DEAD, verdict.PROBABLY_DEAD)


class Channels(stateful.RuleBasedStateMachine):
    """Four hosts, and everything that a channel or a witness can tell of them."""

    @stateful.initialize(witnesses=st.booleans())
    def begin(self, witnesses):
        self.now = 100.0
        self.witnesses = witnesses
        self.watch = watch.Watch(SETTINGS, witnesses, self.now)
        self.answered = dict.fromkeys(HOSTS, None)      # when an address did last
        self.silent = dict.fromkeys(HOSTS, None)        # the first round since that did not
        self.beats = dict.fromkeys(HOSTS, 0)
        self.beaten = dict.fromkeys(HOSTS, None)        # when a new beat was last seen
        self.seen = dict.fromkeys(HOSTS, 0)
        self.osds = dict.fromkeys(HOSTS, None)
        self.heard = {'nova': self.now, 'ceph': self.now, 'witness': self.now}
        self.said = 0
        self.nova(0.1, frozenset())
        self.ceph({}, 0.1)
        for _ in range(3):
            self.rounds(dict.fromkeys(HOSTS, c.ANSWERS), dict.fromkeys(HOSTS, c.ANSWERS), 0.1)

    def judge(self):
        self.watch.judge(self.now)

    @stateful.rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 11.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.judge()

    @stateful.rule(times=st.sampled_from([2, 8, 16, 40]), step=st.sampled_from([0.05, 0.4]),
                   host=st.sampled_from(HOSTS),
                   word=st.sampled_from([c.REFUSED, c.LOST]), well=st.booleans(),
                   beats=st.sampled_from([False, False, True]),
                   down=st.sampled_from([True, True, False]),
                   witness=st.sampled_from([True, True, False]))
    def a_while_in_which_one_is_silent(self, times, step, host, word, well, beats, down,
                                       witness):
        """What random rules alone would seldom make: everything but one host goes on."""
        if well:
            self.rounds(dict.fromkeys(HOSTS, c.ANSWERS), dict.fromkeys(HOSTS, c.ANSWERS), 0.1)
        for _ in range(times):
            answers = dict.fromkeys(HOSTS, c.ANSWERS) | {host: word}
            self.rounds(answers, answers, step)
            self.nova(step / 4, frozenset(HOSTS) - (frozenset() if beats else {host}))
            self.ceph({host: c.DOWN} if down else {}, step / 4)
            if witness:
                self.witness(0.0)
            self.nobody_alive_is_called_dead()
            self.who_is_cut_off_says_nothing()

    @stateful.rule(management=st.fixed_dictionaries(dict.fromkeys(HOSTS, WORDS)),
                   storage=st.fixed_dictionaries(dict.fromkeys(HOSTS, WORDS)),
                   seconds=st.sampled_from([0.0, 0.5, 1.0]))
    def rounds(self, management, storage, seconds):
        began, self.now = self.now, self.now + seconds
        for host in HOSTS:
            words = management[host], storage[host]
            self.watch.on_round(c.Round(host, began, self.now, {
                c.MANAGEMENT: {c.Target(host, 22): words[0]},
                c.STORAGE: {c.Target(host, 6800): words[1]}}))
            if c.ANSWERS in words:
                self.answered[host], self.silent[host] = self.now, None
            elif set(words) != {c.UNKNOWN} and self.silent[host] is None:
                self.silent[host] = began
        self.judge()

    @stateful.rule(seconds=st.sampled_from([0.0, 0.3, 3.0]),
                   beating=st.frozensets(st.sampled_from(HOSTS)))
    def nova(self, seconds, beating):
        began, self.now = self.now, self.now + seconds
        for host in beating:
            self.beats[host] += 1
        self.watch.on_nova(c.NovaLook(began, self.now, {h: str(self.beats[h]) for h in HOSTS}))
        for host in HOSTS:
            if self.beats[host] != self.seen[host]:
                self.seen[host], self.beaten[host] = self.beats[host], self.now
        self.heard['nova'] = began
        self.judge()

    @stateful.rule(osds=st.dictionaries(
        st.sampled_from(HOSTS), st.sampled_from([c.UP, c.DOWN, c.NONE])),
        seconds=st.sampled_from([0.0, 0.3, 3.0]))
    def ceph(self, osds, seconds):
        began, self.now = self.now, self.now + seconds
        found = {host: osds.get(host, c.UP) for host in HOSTS}
        self.watch.on_storage(c.StorageLook(
            began, self.now, {host: (word, '') for host, word in found.items()}))
        self.osds = found
        self.heard['ceph'] = began
        self.judge()

    @stateful.rule(seconds=st.sampled_from([0.0, 0.3]))
    def witness(self, seconds):
        if self.witnesses:
            began, self.now = self.now, self.now + seconds
            self.watch.on_witness(began)
            self.heard['witness'] = began
            self.judge()

    @stateful.invariant()
    def nobody_alive_is_called_dead(self):
        if not hasattr(self, 'watch'):
            return
        gone = {h: v.what for h, v in self.watch.verdicts.items() if v.what in GONE}
        for host, what in gone.items():
            assert self.answered[host] is None or (
                self.now - self.answered[host] >= SETTINGS.window), host
            assert self.silent[host] is not None, host
            beaten = self.beaten[host]
            assert beaten is None or self.now - beaten >= SETTINGS.window, host
            if what == verdict.DEAD:
                assert self.osds[host] == c.DOWN, host
                hypothesis.event('dead')

    @stateful.invariant()
    def who_is_cut_off_says_nothing(self):
        if not hasattr(self, 'watch'):
            return
        heard = {k: at for k, at in self.heard.items() if k != 'witness' or self.witnesses}
        deaf = any(self.now - at > SETTINGS.stale_after for at in heard.values())
        many = sum(since is not None and (
            SETTINGS.connect_timeout <= self.now - since < SETTINGS.doubt_seconds)
            for since in self.silent.values()) >= 3
        said = {v.what for v in self.watch.verdicts.values()}
        if deaf or many:
            assert said <= {verdict.CUT_OFF}, said
        for host, found in self.watch.verdicts.items():
            if found.what in GONE:      # each witness was heard while the host was silent
                assert min(heard.values()) >= self.silent[host], host


ChannelsTest = Channels.TestCase
ChannelsTest.settings = hypothesis.settings(
    max_examples=60, stateful_step_count=20, deadline=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate,
            hypothesis.Phase.shrink))
logging.getLogger('vmha_nova.monitor').addHandler(logging.NullHandler())
