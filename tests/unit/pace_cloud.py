"""A cloud in virtual time, of which only this is known: how long evacuations take.

Up to ``knee`` at a time each takes ``seconds``. Beyond that they share what the cloud can do, and
lose some of it: the time grows with the power 1.25 of how many there are, which is what 200 at
once, 514 s, against 6 at a time, 240 s, come to on a real Nova. More than four times the knee are
refused. A target can have a knee of its own.
"""

import datetime
import random

from vmha_nova import model
from vmha_nova import pace

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
LOSS, REFUSED = 1.25, 4
LOOK = 0.5                              # seconds between looks at what has landed


class Cloud:
    """Some targets; ``noise``: by which part of it the work of an instance may differ."""

    def __init__(self, knee, seconds=4.0, targets=6, own=None, noise=0.0, seed=1):
        self.knee, self.seconds, self.own = knee, seconds, own or {}
        self.hosts = [f't{n}' for n in range(targets)]
        self.noise, self.random = noise, random.Random(seed)
        self.now = 0.0                  # seconds since START
        self.flying = []                # [work left, target, what the sender wants to know]
        self.most = 0                   # that were in flight

    def clock(self):
        """The time."""
        return START + datetime.timedelta(seconds=self.now)

    def take(self, target, ticket):
        """Begin an evacuation; False: refused."""
        if len(self.flying) >= REFUSED * self.knee:
            return False
        work = 1 + self.noise * self.random.uniform(-1, 1)
        self.flying.append([work, target, ticket])
        self.most = max(self.most, len(self.flying))
        return True

    def run(self, seconds):
        """Let time pass; returns (target, ticket) of those that have landed."""
        end, landed = self.now + seconds, []
        while self.now < end - 1e-9:
            each = self.seconds * max(1.0, len(self.flying) / self.knee) ** LOSS
            times = {h: each * max(1.0, sum(f[1] == h for f in self.flying) / self.own.get(
                h, 1000)) ** LOSS for h in {f[1] for f in self.flying}}
            step = min([end - self.now, *(max(f[0], 1e-6) * times[f[1]] for f in self.flying)])
            for one in self.flying:
                one[0] -= step / times[one[1]]
            self.now += step
            landed += [tuple(f[1:]) for f in self.flying if f[0] <= 1e-6]
            self.flying = [f for f in self.flying if f[0] > 1e-6]
        return landed


class Fixed:
    """A window that never changes."""

    def __init__(self, size):
        self.size = size

    def room(self, _host):
        """To any target."""
        return self.size

    def landed(self, *_):
        """Learn nothing."""

    trouble = landed


class Adaptive:
    """The windows of vmha_nova.pace."""

    def __init__(self, cloud, **policy):
        self.cloud = cloud
        self.pace = pace.start(model.Policy(**policy), cloud.clock())
        self.sizes = [self.size]        # each of which there was

    @property
    def size(self):
        """How many at a time, in all."""
        return self.pace.window.size

    def room(self, host):
        """How many at a time to a target."""
        return pace.room(self.pace, model.ComputeNode(host))[0]

    def landed(self, host, sent, flying):
        """Take an observation."""
        self.pace = pace.landed(self.pace, host, sent, flying, self.cloud.clock())
        self._note()

    def trouble(self, host, sent, _flying):
        """Take one that is bad."""
        self.pace = pace.trouble(self.pace, host, sent, self.cloud.clock())
        self._note()

    def _note(self):
        if self.sizes[-1] != self.size:
            self.sizes.append(self.size)


def evacuate(cloud, pacer, count):
    """Move so many instances, in turn to each target; returns the seconds it took."""
    began = cloud.now
    waiting = [cloud.hosts[n % len(cloud.hosts)] for n in range(count)]
    there, left = dict.fromkeys(cloud.hosts, 0), count
    while left:
        now, held, batch, flying = cloud.clock(), [], [], sum(there.values())
        for host in waiting:
            if flying < pacer.size and there[host] < pacer.room(host):
                there[host] += 1
                flying += 1
                batch.append(host)
            else:
                held.append(host)
        waiting = held
        refused = [h for h in batch if not cloud.take(h, (now, flying))]
        ended = [(host, *ticket, pacer.landed) for host, ticket in cloud.run(LOOK)]
        ended += [(host, now, flying, pacer.trouble) for host in refused]
        for host, sent, flying, learn in ended:
            there[host] -= 1
            learn(host, sent, flying)
        waiting += refused
        left -= len(ended) - len(refused)
    return cloud.now - began
