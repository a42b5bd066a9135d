"""vmha-monitor's own loop beside the engine: one clock, one cloud, and its reports on the bus."""

import dataclasses

from tests.unit import sim
from tests.unit import sim_monitor
from vmha_nova import messaging
from vmha_nova.monitor import looks
from vmha_nova.monitor import verdict

REPORTED = (verdict.DEAD, verdict.PROBABLY_DEAD)


class Watcher(sim_monitor.World):
    """The simulated networks of the monitor's tests, on the cloud of a world.World.

    :param options: of the topology: fields of channels.Settings; ``reported``: verdicts;
        ``witnesses``
    """

    def __init__(self, world, options):
        self._world = world
        self._looks = looks.NovaLooks(world.nova, lambda: self.now)
        options = dict(options)
        reported = options.pop('reported', REPORTED)
        super().__init__(tuple(world.nova.hosts), 0, reported, options.pop('witnesses', False),
                         **dict(dict(storage=world.ceph is not None), **options))

    def go_on(self):
        """Work until it is as late as in the world."""
        now = (self._world.clock() - sim.START).total_seconds()
        while self.now < now:
            self.monitor.cycle(min(0.1, now - self.now))

    def _beat(self, host):
        """Heartbeats are the business of the simulated Nova."""

    def look_nova(self, began):
        look = super().look_nova(began)
        if look is None or self._world.nova.away:
            return None
        seen = self._looks()
        return dataclasses.replace(look, beats=seen.beats, forced=seen.forced,
                                   unknown=seen.unknown, changed=seen.changed,
                                   addresses={h: h for h in self._world.nova.hosts})

    # -- what happens, as it does in the world --------------------------------------------------
    def crash(self, name):
        """All processes end at once; a kernel is there, and refuses."""
        self.kill(name)

    def lose_power(self, name):
        """Nothing answers any more."""
        self.cut(name)

    # -- the bus and the database ---------------------------------------------------------------
    def send(self, host, reason, source, evidence, detected_at):
        self._world.post('report', messaging.HOST_DOWN, messaging.host_down(
            host, reason, source, evidence, detected_at))

    def tell_verdict(self, host, what, reason, before, evidence, level):
        self._world.store.tell_verdict(host, what, reason, before, evidence, level)

    def failures(self, open_only=False, limit=1000):
        return self._world.store.failures(open_only=open_only, limit=limit)

    def recoveries(self, unreleased):
        return self._world.store.recoveries(unreleased=unreleased)
