"""What is done to the parts of a cloud in the middle of a recovery, and at which moments.

A moment is a mark, something that the engine has on record by then, and a short delay after it.
Both are drawn from a seed, so that a moment can be met again.
"""

import dataclasses
import random

#: The longest delay after a mark, in seconds.
DELAY = 1.0
#: The engine that leads, and the one that waits.
LEADER, FOLLOWER = 'the leader', 'the follower'


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :ivar name: short, on one line of a shell
    :ivar what: in words, for the documents
    :ivar service: what gets a SIGKILL, a service of the lab, LEADER or FOLLOWER; '': Keystone
        answers slowly instead
    :ivar away: seconds until it is started again
    :ivar engines: how many there are
    """

    name: str
    what: str
    service: str
    away: float
    engines: int = 1


def _killed(name, what, service, away=5, **values):
    return Fault(name, f'kill -9 of {what}, started again after {away} s', service, away, **values)


#: All of them, by name.
FAULTS = {fault.name: fault for fault in (
    _killed('engine', 'the only engine', LEADER, 3),
    _killed('leader', 'the engine that leads, while another one waits', LEADER, engines=2),
    _killed('follower', 'the engine that waits, while another one leads', FOLLOWER, engines=2),
    _killed('rabbitmq', 'RabbitMQ', 'rabbitmq'),
    _killed('mariadb', 'the database, our own on it as well', 'mariadb'),
    _killed('nova-api', 'nova-api', 'nova-api'),
    _killed('nova-conductor', 'nova-conductor', 'nova-conductor'),
    _killed('nova-scheduler', 'nova-scheduler', 'nova-scheduler'),
    _killed('spare', "the spare's nova-compute", 'compute4'),
    Fault('keystone-slow', 'every answer of Keystone takes 7 s, and our token is refused', '', 0),
    _killed('rabbitmq-minute', 'RabbitMQ', 'rabbitmq', 60),
    _killed('mariadb-minute', 'the database, our own on it as well', 'mariadb', 60),
)}


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a recovery has come: rows of the service, None and empty before there are any."""

    report: object = None
    recovery: object = None
    steps: tuple = ()
    moves: tuple = ()

    def has(self, kind):
        """Whether a step of a kind is on record."""
        return any(step.kind == kind for step in self.steps)

    def count(self, *columns):
        """How many moves have one of the columns set."""
        return sum(any(getattr(move, c) is not None for c in columns) for move in self.moves)


#: What is on record at a moment: words, and function of a Progress. Each stays true once it is,
#: so that a look that comes late finds a mark that has passed.
MARKS = {
    'the report is sent': lambda now: True,
    'the report is on record': lambda now: now.report is not None,
    'a recovery is opened': lambda now: now.recovery is not None,
    'the fence is begun': lambda now: now.has('fence'),
    'force_down is begun': lambda now: now.has('force_down'),
    'disable is begun': lambda now: now.has('disable'),
    'the spare is being enabled': lambda now: now.has('enable_spare'),
    'the first call is recorded': lambda now: now.count('intent_at') > 0,
    'the first call is accepted': lambda now: now.count('accepted_at', 'ended_at') > 0,
    'one has moved': lambda now: now.count('ended_at') > 0,
    'two have moved': lambda now: now.count('ended_at') > 1,
    'three have moved': lambda now: now.count('ended_at') > 2,
}


@dataclasses.dataclass(frozen=True)
class Moment:
    """When it goes wrong: so many seconds after a mark."""

    mark: str
    delay: float

    def __str__(self):
        return f'{self.mark} + {self.delay:.2f} s'


def moment(fault, number, seed):
    """The moment of a number, from 0 on, for a fault; as many as there are marks differ in these.
    """
    marks = list(MARKS)
    random.Random(f'{seed} {fault}').shuffle(marks)
    delay = random.Random(f'{seed} {fault} {number}').uniform(0, DELAY)
    return Moment(marks[number % len(marks)], round(delay, 2))
