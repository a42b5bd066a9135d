"""Made-up clouds and what happens to them, from a seed: whatever it is, the invariants hold.

First come random events, with the engine killed at random gates; or paused there, while another
one takes over and works, and then it goes on. Then everything is repaired, and an operator
answers what waits for one: after that nothing is open. With most seeds the hosts are switched on
again, and each has to be as it was in the end.

A seed that breaks something is made small: events, kills, guests and hosts are left out as long as
the same goes wrong; what is left is written as a scenario.
"""

import collections
import copy
import dataclasses
import datetime
import gc
import random

import yaml

from tests.scenarios import events
from tests.scenarios import invariants
from tests.scenarios import makers
from tests.scenarios import simulator
from tests.scenarios import world as worlds

STEP = 1.0
PATIENCE = 120                          # steps for each part of the end
TRIALS = 300                            # runs to make a failure small
COLLECTED = 100                         # seeds
# Why a report of a dead host is rightly not acted on.
EXCUSES = ('maintenance', 'planned shutdown')


@dataclasses.dataclass
class Case:
    """What is tried, and what came of it. ``happened``: all that was done, with the time.

    ``injected``: how many of them before the end began, in which all is repaired.
    """

    seed: int
    topology: dict
    happenings: list                    # [(seconds, text)]
    kills: tuple
    returns: bool                       # do the hosts come back in the end?
    pauses: dict = dataclasses.field(default_factory=dict)      # gate -> steps of another engine
    happened: list = dataclasses.field(default_factory=list)
    problem: str = ''
    log: str = ''
    steps: int = 0
    killed: int = 0
    injected: int = 0
    paused: int = 0


def make(seed):
    """The case of a seed."""
    rng = random.Random(seed)
    topology = makers.topology(rng)
    happenings = makers.happenings(rng, topology)
    kills = tuple(sorted(rng.sample(range(150), rng.choice((0, 0, 1, 1, 2, 4)))))
    returns = rng.random() < 0.6
    pauses = {rng.randrange(150): rng.choice((1, 3, 10, 40))
              for _ in range(rng.choice((0, 0, 1, 1, 2)))}
    return Case(seed, topology, happenings, kills, returns, pauses)


def explore(seed):
    """Try a seed; returns the Case."""
    return attempt(make(seed))


def explore_all(seeds):
    """Try seeds, one after the other: yields their Cases.

    Python looks for garbage in cycles now and then instead of all the time, which took a quarter
    of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        for count, seed in enumerate(seeds, 1):
            yield explore(seed)
            if count % COLLECTED == 0:
                gc.collect()
    finally:
        if collects:
            gc.enable()


def attempt(case):
    """Play a case and note what went wrong."""
    world = None
    try:
        with simulator.no_logging():
            world = worlds.World(dict(case.topology, step=STEP))
            world.kill_gates, world.pause_gates = set(case.kills), dict(case.pauses)
            _Play(case, world).play()
    except invariants.Broken as e:
        case.problem = str(e)
    except Exception as e:
        case.problem = f'{type(e).__name__}: {e}'
    if world is not None:
        case.log = world.story.text()
        case.steps, case.killed = world.invariants.checks, world.restarts
        case.paused = world.pauses
    return case


class _Play:
    """One case on one world."""

    def __init__(self, case, world):
        self._case, self._world = case, world
        self._seen_to = set()           # hosts that an operator has seen to, as was asked for
        self._put_back = set()          # hosts that an operator has put into service after that
        self._restarted = set()         # recoveries for which one has restarted a nova-compute
        self._events = events.Events(world)

    def play(self):
        """All of it."""
        for at, text in self._case.happenings:
            while self._world.seconds() < at:
                self._world.step()
            self._do(text)
        self._steps(5)
        self._case.injected = len(self._case.happened)
        self._repair()
        self._until('a recovery does not end', self._all_over, self._answer)
        self._nobody_forgotten()
        if not self._case.returns:
            return
        self._bring_back()
        self._until('the engine does not look', self._all_looked_at, self._answer)
        for _ in range(3):              # a report that was on its way may take a host out again
            self._until('a host does not come back', self._all_back, self._answer_and_see_to)
            self._steps(8)
            if self._all_back():
                break
        self._final()

    def _do(self, text):
        """Let something happen, if it can."""
        if not self._survivable(text.split()):
            return
        self._case.happened.append((self._world.seconds(), text))
        try:
            self._events.happen(text)
        except (worlds.BadScenario, IndexError):
            self._world.story.mark('which is not possible now')
            self._case.happened.pop()
        except events.REFUSED:
            self._world.story.mark('which is refused')

    def _survivable(self, words):
        """Whether anybody could survive this now: what others do may be wrong at any time."""
        nova = self._world.nova
        if words[0] == 'evacuate':      # Nova does so whatever the old copy does
            return not nova.copies.get(words[1]) or not nova.writers(words[1])
        if words[0] == 'end':           # what is done cannot be said to have failed
            return [r for r in nova.records if r.instance_id == words[1]][-1:] and (
                [r for r in nova.records if r.instance_id == words[1]][-1].status == 'accepted')
        if words[0] in ('switch-on', 'start-compute') and 'hangs=yes' not in words:
            return self._may_start(words[1])
        return words[:2] != ['wish', 'release'] or self._is_dead(words[2]) or (
            words[2] in self._seen_to)

    def _may_start(self, host):
        """Whether no guest would run twice, or what keeps the host from writing outlasts this.

        Here nova-compute runs as soon as the host has power. No machine starts within guard.GUARD,
        the time between two looks at its power, and whoever has power at a look is switched off
        again. So it is not until the last call is sent.
        """
        nova, ceph = self._world.nova, self._world.ceph
        if ceph and f'{ceph.ips[host]}/32' in ceph.ranges and not ceph.late:
            return True
        resumed = nova.resumed(host)
        return not any(nova.copies[ident] - {host} for ident in resumed) and not (
            resumed and host in {r.host for r in self._world.store.recoveries(open_only=True)
                                 if r.stage in ('fenced', 'down_in_nova', 'moving')})

    def _steps(self, count):
        for _ in range(count):
            self._world.step()

    def _until(self, complaint, holds, each):
        for count in range(PATIENCE):
            if holds():
                return
            if count % 8 == 7:
                each()
            self._world.step()
        if not holds():
            open_ = '; '.join(f'{r.host}: {r.state}, {r.reason}'
                              for r in self._world.store.recoveries() if not r.released_at)
            raise invariants.Broken(f'in the end {complaint} ({open_})')

    # -- the end --------------------------------------------------------------------------------
    def _repair(self):
        """Nova, Ceph and the BMCs work again; what hangs in Nova is ended by hand."""
        world = self._world
        world.kill_gates, world.kills, world.pause_gates = set(), [], {}
        for texts, there in ((('nova-back', 'cell-up', 'rebuild 2', 'lag 0', 'resume'), True),
                             (('ceph-back', 'osd-late', 'pool vms'), world.ceph),
                             (('monitor healed', 'monitor nova-back', 'monitor ceph-back'),
                              world.monitor)):
            for text in texts if there else ():
                self._do(text)
        world.nova.faults.clear()
        world.nova.late_faults.clear()
        for host in world.nova.hosts:
            if host in world.nova.refuses:
                self._do(f'roomy {host}')
            if world.power and host in world.power.moods:
                self._do(f'bmc {host} well')
        for guest in sorted(world.nova.hidden):
            self._do(f'show {guest}')
        if not world.running:
            self._do('start-engine')
        for host in sorted(world.ceph.osd_down) if world.ceph else ():
            self._do(f'osd-up {host}')
        failed = {r.host for r in world.store.recoveries(unreleased=True)}
        for host, one in world.nova.hosts.items():
            self._do(f'mark {host} maintenance=no')
            if host not in failed:
                self._undo_others(host)
                if one.powered and not (one.alive and one.linked):
                    self._do(f'heal {host}')
        self._end_hanging()

    def _undo_others(self, host):
        if host in self._world.nova.disabled_by_others:
            self._do(f'enable {host}')
        if host in self._world.nova.forced_by_others:
            self._do(f'force-up {host}')

    def _end_hanging(self):
        nova, long = self._world.nova, datetime.timedelta(seconds=20)
        for record in list(nova.records):
            if record.status == 'accepted' and (
                    not nova.hosts[record.target].alive or record.instance_id not in nova.servers_
                    or nova.clock() - record.created_at > long):
                self._do(f'end {record.instance_id} error')
        for server in list(nova.servers_.values()):
            if server.task_state in ('migrating', 'powering-on'):
                self._do(f'change {server.id} task_state=')

    def _answer(self):
        """An operator lets go on what waits for a word, and aborts what then still waits."""
        store = self._world.store
        self._end_hanging()
        for recovery in store.recoveries(open_only=True):
            if recovery.ended_at is not None or recovery.state != 'held' or recovery.wish:
                continue
            told = sum(text == f'wish approve {recovery.host}'
                       for _, text in self._case.happened)
            self._do(f'wish {"abort" if told > 1 else "approve"} {recovery.host}')

    def _answer_and_see_to(self):
        """The same; and what the engine asks for is done, and what it names is seen to.

        A nova-compute is restarted where it says so; what may run in two places is ended in one.
        """
        self._answer()
        world = self._world
        self._restart()
        for host, one in world.nova.hosts.items():
            if not one.powered:         # fenced since
                self._do(f'switch-on {host}')
        for host in self._let_go():
            self._put_back.add(host)
            if world.ceph:
                self._do(f'unblock {host}')
            self._do(f'force-up {host}')
            self._do(f'enable {host}')
        named = {(e.host, e.text) for e in world.store.events() if 'may run there' in e.text}
        for recovery in world.store.recoveries(unreleased=True):
            host, nova = recovery.host, world.nova
            away = [(ident, other) for ident, server in nova.servers_.items()
                    if server.host == host for other in sorted(nova.copies[ident] - {host})]
            if recovery.ended_at is None or host in self._seen_to or not any(
                    at == host and all(f'{ident} on ' in text for ident, _ in away)
                    for at, text in named):
                continue
            self._seen_to.add(host)
            for ident, other in away:
                self._do(f'destroy {ident} {other}')
            self._do(f'wish release {host}')

    def _restart(self):
        """Where guests were evacuated after nova-compute had started, it starts once more."""
        asked = [e.text for e in self._world.store.events() if 'restart nova-compute' in e.text]
        for recovery in self._world.store.recoveries(unreleased=True):
            host, word = recovery.host, f'recovery release {recovery.id}"'
            if recovery.id not in self._restarted and self._may_start(host) and any(
                    text.startswith(f'{host} stays out') and word in text for text in asked):
                self._restarted.add(recovery.id)
                self._do(f'start-compute {host}')

    def _all_over(self):
        store, hosts = self._world.store, self._world.nova.hosts.values()
        return not self._world.queue and not [
            r for r in store.recoveries(open_only=True) if r.ended_at is None] and not [
            f for f in store.failures(open_only=True) if self._is_dead(f.host)
            and any(host.alive for host in hosts)]      # where nobody beats, nobody is dead

    def _nobody_forgotten(self):
        """A host that is dead, was reported since, and holds instances was dealt with."""
        world = self._world
        if not any(host.alive for host in world.nova.hosts.values()):
            return
        for host in sorted(world.reported_dead):
            on = {s.id for s in world.nova.servers_.values() if s.host == host
                  and s.id not in world.ever_hidden}
            reports = [f for f in world.store.failures() if f.host == host]
            if world.nova.hosts[host].powered or not on or any(
                    any(excuse in f.detail for excuse in EXCUSES) for f in reports):
                continue
            recoveries = world.store.recoveries(host=host)
            if recoveries and 'nothing planned' in recoveries[-1].reason:
                continue                # aborted before: its reason says that nobody is named
            named = {m.instance_id for r in recoveries for m in world.store.moves(r.id)}
            if on - named:
                raise invariants.Broken(
                    f'in the end a dead host is forgotten ({host}, {sorted(on - named)}, '
                    f'{[(f.state, f.detail) for f in reports]})')

    def _is_dead(self, host):
        one = self._world.nova.hosts.get(host)
        return one is not None and not one.powered

    def _bring_back(self):
        for host, one in self._world.nova.hosts.items():
            if not (one.powered and one.alive and one.linked):
                self._do(f'switch-on {host}' if not one.powered else f'heal {host}')
            self._undo_others(host)
            self._do(f'start-compute {host}')
            newest = self._world.newest(host)
            if newest and newest.state == 'aborted' and one.forced_down:
                # Who aborts may mean the host, so that it is for them to put back.
                self._do(f'force-up {host}')
                self._do(f'enable {host}')

    def _let_go(self):
        """Hosts that were let go, and that who has done so has not put back into service yet."""
        world = self._world
        return [h for h in sorted(world.let_go - self._put_back)
                if (newest := world.newest(h)) and newest.released_at]

    def _all_back(self):
        store = self._world.store
        return self._all_over() and not store.recoveries(unreleased=True) and (
            not store.failures(open_only=True) and not self._let_go())

    def _all_looked_at(self):
        """Whether the engine has read the cloud: where Nova was away so far it looks later."""
        snapshot = self._world.collector.snapshot
        return snapshot.nodes_at and snapshot.instances_at

    def _final(self):
        world = self._world
        if world.store.failures(open_only=True):
            raise invariants.Broken(
                f'in the end a report is still open: {world.store.failures(open_only=True)[0]}')
        marks = world.store.marks()
        for name, host in world.nova.hosts.items():
            spare = marks.get(name) is not None and marks[name].spare
            if host.forced_down or host.enabled == spare:
                raise invariants.Broken(
                    f'in the end {name} is {"forced down" * host.forced_down} '
                    f'{"enabled" if host.enabled else "disabled: " + host.reason}, and is '
                    f'{"a" if spare else "no"} spare')
        if world.ceph and world.ceph.ranges - world.ceph.foreign:
            raise invariants.Broken(f'in the end there is on the blocklist: {world.ceph.ranges}')
        for ident, hosts in world.nova.copies.items():
            if len(hosts) > 1:
                raise invariants.Broken(f'in the end {ident} runs on {sorted(hosts)}')


# -- to make a failure small ----------------------------------------------------------------------
def shrink(case):
    """A smaller case with the same problem."""
    best, trials = case, 0
    while trials < TRIALS:
        for smaller in _smaller(best):
            trials += 1
            found = attempt(smaller)
            if _kind(found) == _kind(case):
                best = found
                break
            if trials >= TRIALS:
                break
        else:
            break
    return best


def _kind(case):
    """What is wrong, without when and with whom."""
    words = case.problem.split('\n')[0].split(' at ')[0]
    return words.split(' (')[0][:60]


def _smaller(case):
    """Cases with one thing left out."""
    def but(**changes):
        return Case(**{**dict(seed=case.seed, topology=copy.deepcopy(case.topology),
                              happenings=list(case.happenings), kills=case.kills,
                              returns=case.returns, pauses=case.pauses), **changes})
    for at in range(len(case.happenings)):
        yield but(happenings=case.happenings[:at] + case.happenings[at + 1:])
    for kill in case.kills:
        yield but(kills=tuple(k for k in case.kills if k != kill))
    for gate in case.pauses:
        yield but(pauses={g: s for g, s in case.pauses.items() if g != gate})
    words = collections.Counter(w for _, text in case.happenings for w in text.split())
    for host, guests in case.topology['guests'].items():
        for at, guest in enumerate(guests):
            if (guest if isinstance(guest, str) else next(iter(guest))) not in words:
                smaller = but()
                del smaller.topology['guests'][host][at]
                yield smaller
    for host in case.topology['hosts']:
        if host not in words and not case.topology['guests'].get(host):
            smaller = but()
            del smaller.topology['hosts'][host]
            smaller.topology['guests'].pop(host, None)
            yield smaller


def write(case, path):
    """Write a case as a scenario folder."""
    path.mkdir(parents=True, exist_ok=True)
    (path / simulator.FILES[0]).write_text(
        f'Found with seed {case.seed}. {case.problem.splitlines()[0]}\n')
    (path / simulator.FILES[1]).write_text(yaml.safe_dump(
        dict(case.topology, step=STEP), sort_keys=False))
    steps = [{at: text} for at, text in case.happened]
    steps[:0] = [{0: f'kill-gate {n}'} for n in case.kills]
    steps[:0] = [{0: f'pause-gate {n} steps={s}'} for n, s in case.pauses.items()]
    (path / simulator.FILES[2]).write_text(yaml.safe_dump(steps, sort_keys=False))
    (path / simulator.LOG).write_text(case.log)
