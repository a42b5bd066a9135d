"""An engine is replaced at each call that it makes: from then on it writes and does nothing.

There is no list of what it may not do. Every call of an engine on the database, on Nova, Ceph and
the BMCs is counted; before one of them it loses the term, or the lock. What has then changed in
the database or was asked of the others is its doing. The next engine brings all to an end.

The one moment left is that between a check of the term and the act right after it: nothing may
be between those two, which is seen in a run in which nobody is replaced.
"""

import dataclasses
import inspect
import os

import sqlalchemy as sa
import testtools

from tests.scenarios import events
from tests.scenarios import simulator
from tests.scenarios import world as worlds
from vmha_nova.db import models
from vmha_nova import exception

# Every so many of the calls are tried; VMHA_ALL=1: all, which takes ten minutes each.
EVERY = 1 if os.environ.get('VMHA_ALL') == '1' else 25
# Whoever may write these writes without the term: lines of the journal are no acts.
ANYBODYS = {'event', 'leader'}


@dataclasses.dataclass
class Call:
    """A call of the first engine.

    ``checks``: it fails once another engine has the term; ``acts``, ``writes``: something was
    different after it.
    """

    name: str
    checks: bool
    step: int
    acts: bool = False
    writes: bool = False


class Watched:
    """A proxy that tells of each call before it is made."""

    def __init__(self, target, tell):
        self._target, self._tell = target, tell

    def __getattr__(self, name):
        attribute = getattr(self._target, name)
        if not callable(attribute):
            return attribute

        def call(*args, **values):
            self._tell(name, 'term' in inspect.signature(attribute).parameters)
            return attribute(*args, **values)
        return call


class World(worlds.World):
    """Its first engine is replaced before the call with the number ``at``."""

    def __init__(self, topology, at=None, how='term'):
        self.at, self.how = at, how
        self.calls, self.engines, self.steps = [], 0, 0
        self.before, self.then, self.deposed = (None, None), None, False
        super().__init__(topology)

    def _proxy(self, target, names):
        first = self.engines == 0
        return Watched(target, self._on_call) if first else super()._proxy(target, names)

    def start(self):
        super().start()
        self.engines += 1

    def _on_call(self, name, checks):
        self.look_back()
        if len(self.calls) == self.at:
            self.replace()
        self.calls.append(Call(name, checks, self.steps))

    def look_back(self):
        """Note what the last call has changed."""
        now = self.asked(), self.rows() if self.at is None else None
        if self.calls:
            last = self.calls[-1]
            last.acts |= now[0] != self.before[0]
            last.writes |= now[1] != self.before[1]
        self.before = now

    def replace(self):
        self.deposed = True
        if self.how == 'term':
            self.store.take_lead('another')
        else:
            self.lock = None
        self.then = self.seen()

    def asked(self):
        """What was asked of Nova, Ceph and the BMCs that is no question."""
        ceph = self.ceph and (set(self.ceph.entries), set(self.ceph.ranges), self.ceph.epoch,
                              set(self.ceph.dead))
        power = self.power and [c for c in self.power.calls if c[0] != 'status']
        return len(self.nova.calls), ceph, power

    def rows(self):
        """All rows that only who leads may write."""
        with self.store.reading() as session:
            return {table.name: [tuple(row) for row in session.execute(sa.select(table))]
                    for table in models.Base.metadata.sorted_tables
                    if table.name not in ANYBODYS}

    def seen(self):
        """Both; without the rows where the term is still its own."""
        return self.asked(), self.rows() if self.how == 'term' else None

    def work(self):
        self.steps += 1
        if self.engines == 1:           # what others have done meanwhile is not its doing
            self.before = self.asked(), self.rows() if self.at is None else None
        super().work()
        self.recorder.look()
        if self.engines == 1:
            self.look_back()


class DeposedTest(testtools.TestCase):
    def play(self, topology, at=None, how='term'):
        """c1 dies, its guests run elsewhere, it comes back: all of it, whoever leads."""
        world = World(topology, at, how)
        if world.ceph:
            world.ceph.refuses = True
        happen = events.Events(world).happen
        seen = (lambda: world.store.disks()) if world.ceph else (lambda: True)
        stages = [(lambda: world.seconds() > 4 and seen(), ('full s1', 'die c1', 'report c1')),
                  (lambda: world.stands('c1') == 'recovered', ('switch-on c1',)),
                  (lambda: world.stands('c1') == 'released', ()),
                  (lambda: world.store.marks()['s1'].parked, ())]
        while stages:
            if world.deposed and world.engines == 1:
                self.goes_on(world)
                world.start()
            if stages[0][0]():
                for text in stages.pop(0)[1]:
                    happen(text)
            try:
                world.step()
            except exception.TermLost:
                self.assertTrue(world.deposed)
            if world.seconds() > 300:
                self.fail(f'it does not end: {at}\n{world.story.text()}')
        return world

    def goes_on(self, world):
        """The engine that was replaced goes on for as long as it can."""
        for _ in range(20):
            try:
                world.step()
            except exception.TermLost:
                pass                    # another thread may go on for a moment
        found = world.calls[world.at]
        self.assertEqual(world.then, world.seen(), (
            f'{world.how} lost before call {world.at}, {found.name}, of step {found.step}; then: '
            f'{[c.name for c in world.calls[world.at:world.at + 12]]}\n{world.story.text()}'))

    def each(self, topology, how):
        with simulator.no_logging():
            calls = self.play(topology).calls
            busy = {c.step for c in calls if c.acts or (c.checks and c.name != 'save_loads')}
            self.assertEqual([], [c.name for c, last in zip(calls[1:], calls, strict=False)
                                  if c.acts and not last.checks], 'acts, and no check before')
            self.assertEqual([], [c.name for c in calls if c.writes and not c.checks],
                             'writes without the term')
            leads = [c.name for c in calls].index('take_lead')
            moments = [n for n, c in enumerate(calls) if n > leads and c.step in busy and not (
                c.acts and (how == 'lock' or calls[n - 1].checks))]
            acts = {c.name for c in calls if c.acts}
            for at in moments[::EVERY]:
                world = self.play(topology, at, how)
                self.assertEqual('recovered', world.newest('c1').state)
        return acts, len(moments)

    STORAGE = {'hosts': {'c1': None, 'c2': None, 's1': {'spare': True}},
               'guests': {'c1': ['web', {'idle': {'stopped': True}}]}, 'step': 1.0,
               'fence': 'storage', 'policy': {'return_after': 2.0, 'quiet': 4.0, 'window': 1}}
    POWER = dict(STORAGE, fence='power')

    def test_the_term_is_lost(self):
        acts, count = self.each(self.STORAGE, 'term')
        self.assertLessEqual({'add', 'remove_range', 'mark_dead', 'force_down', 'disable',
                              'enable', 'evacuate', 'stop'}, acts)
        self.assertLess(300, count)

    def test_the_term_is_lost_with_a_fence_by_power(self):
        acts, _count = self.each(self.POWER, 'term')
        self.assertIn('off', acts)

    def test_the_lock_is_lost(self):
        """The term is still its own: nobody has taken over yet, and somebody may."""
        self.each(self.STORAGE, 'lock')
