"""Runs scenarios: a folder each, with README.rst, topology.yaml, events.yaml and expected.log.

The README says what should happen. ``events.yaml`` is a list of ``when: what``. When is

- a number: seconds since the beginning;
- ``after`` and a number: seconds after what is before it;
- ``SUBJECT is STATE``: when the newest recovery of a host, or the newest move of a guest, is in
  one of some states (``c1 is held|partial``); ``released``: the host is back;
- ``SUBJECT says WORDS``: when the reason of it has these words.

What is one of events.Events, or a list of them. The world goes on until nothing has happened for
a while, and nothing is open but what waits for somebody. The log is the same in every run.
"""

import contextlib
import dataclasses
import logging
import pathlib

import yaml

from tests.scenarios import events
from tests.scenarios import world as worlds

FOLDER = pathlib.Path(__file__).parent
FILES = ('README.rst', 'topology.yaml', 'events.yaml')
LOG = 'expected.log'
QUIET, PATIENT, LONGEST = 12.0, 70.0, 900.0     # virtual seconds; PATIENT: something is open
NEVER = 300.0


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One scenario as it was read; ``events``: [(when, [what])]."""

    name: str
    readme: str
    topology: dict
    events: list
    expected: str


def all_names():
    """The names of all scenarios."""
    return sorted(p.parent.name for p in FOLDER.glob(f'*/{FILES[1]}'))


def load(name, folder=FOLDER):
    """Read a scenario.

    :raises BadScenario: what is wrong with it
    """
    path = folder / name
    if not path.is_dir():
        raise worlds.BadScenario(f'there is no scenario {name!r}; --list shows all')
    for file in FILES:
        if not (path / file).is_file():
            raise worlds.BadScenario(f'{name}: {file} is missing')
    log = path / LOG
    try:
        topology, steps = (yaml.safe_load((path / f).read_text()) for f in FILES[1:])
    except yaml.YAMLError as e:
        raise worlds.BadScenario(f'{name}: {" ".join(str(e).split())}') from e
    return Scenario(name, (path / FILES[0]).read_text(), topology, parse(name, steps or []),
                    log.read_text() if log.exists() else '')


def parse(name, steps):
    """[(when, [what])] of an events.yaml."""
    found = []
    for step in steps:
        if not isinstance(step, dict) or len(step) != 1:
            raise worlds.BadScenario(f'{name}: events.yaml: {step!r} is not one "when: what"')
        (when, what), = step.items()
        found.append((str(when), what if isinstance(what, list) else [what]))
    return found


def run(scenario, kills=()):
    """Play a scenario; returns the world, whose story is the log.

    :param kills: the numbers of gates at which the engine is killed
    :raises BadScenario: it makes no sense
    :raises Broken: an invariant does not hold; its text ends with the log
    """
    with no_logging():
        world = worlds.World(scenario.topology)
        world.kill_gates |= set(kills)
        player = Player(world)
        try:
            player.play(scenario.events)
            player.settle()
        except AssertionError as e:
            raise type(e)(f'{e}\n{world.story.text()}') from None
        return world


@contextlib.contextmanager
def no_logging():
    """Within, nothing is logged: what the engine logs is in the story, or is none."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


class Player:
    """Lets things happen to a world when their time has come."""

    def __init__(self, world):
        self.world = world
        self.events = events.Events(world)
        self._last = 0.0

    def play(self, steps):
        """All of them, in their order."""
        for when, texts in steps:
            self._wait(when)
            for text in texts:
                self.events.happen(text)
            self._last = self.world.seconds()

    def settle(self, longest=LONGEST):
        """Until nothing happens any more."""
        world, end = self.world, self.world.seconds() + longest
        while world.seconds() < end:
            world.step()
            quiet = world.seconds() - max(world.story.last_at, self._last)
            if quiet >= QUIET and not world.store.recoveries(open_only=True) and not (
                    world.store.failures(open_only=True)) or quiet >= PATIENT and not self.busy():
                return
        world.story.mark(f'{longest:.0f} s later something is still under way')

    def busy(self):
        """Whether something is open that waits for nobody."""
        return any(r.ended_at is None and r.state != 'held'
                   for r in self.world.store.recoveries(open_only=True))

    def _wait(self, when):
        world = self.world
        if ' is ' in when or ' says ' in when:
            self._until(when)
            return
        try:
            until = self._last + float(when[6:]) if when.startswith('after ') else float(when)
        except ValueError:
            raise worlds.BadScenario(
                f'{when!r} is no time: it is seconds, "after SECONDS", "SUBJECT is STATE" or '
                '"SUBJECT says WORDS"') from None
        if until < self._last:
            raise worlds.BadScenario(f'{when!r} is before what is above it')
        while world.seconds() < until:
            world.step()

    def _until(self, when):
        world, end = self.world, self.world.seconds() + NEVER
        subject, word, wanted = when.partition(' is ') if ' is ' in when else when.partition(
            ' says ')
        if subject not in world.nova.hosts and subject not in world.nova.wanted:
            raise worlds.BadScenario(f'{when!r}: there is no host and no guest {subject}')
        while not self._holds(subject, word.strip(), wanted):
            if world.seconds() >= end:
                raise worlds.BadScenario(f'{when!r} never came; the log so far:\n'
                                         f'{world.story.text()}')
            world.step()

    def _holds(self, subject, word, wanted):
        if word == 'is':
            return self.world.stands(subject) in wanted.split('|')
        found = self.world.newest(subject) if subject in self.world.nova.hosts else (
            self.world.move_of(subject))
        reports = [f for f in self.world.store.failures() if f.host == subject]
        return (found is not None and wanted in found.reason) or (
            bool(reports) and wanted in reports[-1].detail)
