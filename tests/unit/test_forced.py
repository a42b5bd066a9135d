"""An operator insists that a host is dead: acted on at once, and not when the host lives again."""

from tests.unit import test_engine_review
from vmha_nova import exception
from vmha_nova.fencing import fences
from vmha_nova.fencing import none


class Refusing(none.NoFence):
    """A fence that cannot be put up, until it can."""

    refuses = True

    def fence(self, host, plan):
        if self.refuses:
            raise exception.FenceFailed('no answer')
        return super().fence(host, plan)


class Base(test_engine_review.Base):
    def lives(self, world):
        """The host is back, with its guests."""
        world.nova.hosts['c1'].alive = world.nova.hosts['c1'].powered = True

    def report(self, world):
        return world.store.failures()[-1]


class AtOnceTest(Base):
    def test_although_the_host_beats(self):
        world = self.world()
        world.store.report_failure('c1', 'operator', 'its disk is gone', forced=True)
        world.run(lambda: self.acts(world, 'evacuate'), seconds=5)
        world.run(world.over)
        self.assertRecovered(world)

    def test_also_when_the_fence_takes_its_time(self):
        world = self.world()
        world.executor.slow.add('put_up')
        world.store.report_failure('c1', 'operator', 'its disk is gone', forced=True)
        world.settle(40)
        self.assertEqual('confirmed', self.recovery(world).state)
        world.executor.let()
        world.run(world.over)
        self.assertRecovered(world)


class WaitedTest(Base):
    """What an operator knew then is checked when the report had to wait."""

    def paused(self):
        world = self.world()
        world.store.pause(True, user='ann')
        world.die('c1', source='operator', forced=True)
        world.settle(10)
        return world

    def test_for_a_pause_and_the_host_lives_again(self):
        world = self.paused()
        self.lives(world)
        world.settle(120)
        world.store.pause(False)
        world.settle(60)
        self.assertUntouched(world)
        self.assertEqual([], world.store.recoveries())
        self.assertEqual('dismissed', self.report(world).state)
        self.assertIn('it is alive', self.report(world).detail)
        self.assertIn('had to wait', self.report(world).detail)
        self.assertIn('report it again with force', self.report(world).detail)
        world.die('c1', source='operator', forced=True)
        world.run(world.over)
        self.assertRecovered(world)

    def test_for_a_pause_that_ends_just_when_the_host_is_back(self):
        world = self.paused()
        self.lives(world)
        world.run(lambda: world.nova.hosts['c1'].beat_at > self.report(world).received_at)
        world.settle(1)
        world.store.pause(False)
        world.settle(0.5)
        self.assertEqual('checking', self.report(world).state)
        self.assertIn('waiting whether the heartbeat of c1 has stopped',
                      self.report(world).detail)
        world.settle(30)
        self.assertUntouched(world)
        self.assertEqual('dismissed', self.report(world).state)

    def test_for_a_pause_and_the_host_is_silent(self):
        world = self.paused()
        world.settle(120)
        self.assertIn('paused by ann', self.report(world).detail)
        world.store.pause(False)
        world.run(lambda: self.acts(world, 'evacuate'), seconds=5)
        world.run(world.over)
        self.assertRecovered(world)

    def test_hours_for_an_engine_and_the_host_lives(self):
        world = self.world()
        world.die('c1', source='operator', forced=True)
        self.lives(world)
        world.nova.tick(3 * 3600)       # no engine lives
        world.start()
        world.settle(60)
        self.assertUntouched(world)
        self.assertEqual([], world.store.recoveries())
        self.assertEqual('dismissed', self.report(world).state)

    def test_hours_for_an_engine_and_the_host_is_silent(self):
        world = self.world()
        world.die('c1', source='operator', forced=True)
        world.nova.tick(3 * 3600)
        world.start()
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_recovery_that_was_opened_and_waited_hours_for_an_engine(self):
        """Whether or not a heartbeat was noted before the first engine was killed."""
        for noted in (False, True):
            with self.subTest(noted=noted):
                world = self.world()
                world.executor.slow.add('put_up')
                world.nova.tick(0.5)    # later than the last look at the services
                world.die('c1', source='operator', forced=True)
                while not world.store.recoveries():
                    world.engine.cycle()
                if noted:
                    world.settle(6)
                self.assertEqual('confirmed', self.recovery(world).state)
                self.assertEqual(noted, 'baseline' in self.report(world).evidence)
                self.lives(world)
                world.nova.tick(3 * 3600)
                world.start()
                world.settle(60)
                self.assertUntouched(world)
                self.assertEqual('dismissed', self.recovery(world).state)
                self.assertIn('failure report c1 --force', self.recovery(world).reason)

    def test_the_same_and_the_host_is_silent(self):
        world = self.world()
        world.executor.slow.add('put_up')
        world.die('c1', source='operator', forced=True)
        world.run(world.store.recoveries, seconds=5)
        world.nova.tick(3 * 3600)
        world.start()
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_fence_that_fails_at_first_and_the_host_is_silent(self):
        world = self.world()
        fence = Refusing(True)
        world.engine.work.guard.fence = fences.Fences(fence)
        world.die('c1', source='operator', forced=True)
        world.settle(40)
        self.assertEqual('held', self.recovery(world).state)
        fence.refuses = False
        world.run(world.over)
        self.assertRecovered(world)
