"""The engine, told lies and interrupted: answers, moves, operators and clocks."""

import datetime
import threading

from tests.unit import sim_nova
from tests.unit import test_engine
from tests.unit import test_engine_review
from vmha_nova import exception
from vmha_nova import model


class JobsTest(test_engine_review.Base):
    """Answers are taken when they come, or not at all."""

    def test_an_old_list_is_not_taken_for_a_new_one(self):
        world = self.world()
        world.executor.slow.add('reconcile')
        world.die('c2')                 # which holds nothing
        world.run(lambda: world.executor._waiting)
        world.store.set_mark('c2', maintenance=True)
        world.settle(1)                 # dismissed
        world.executor.let()
        world.settle(1)
        world.executor.slow.clear()
        world.store.set_mark('c2', maintenance=False)
        self.returns(world, 'c2')
        world.nova.boot('c2', 2, 'run-two')
        world.settle(10)
        world.die('c2', detected_at=world.clock())
        world.run(lambda: not world.store.failures(open_only=True))
        world.run(world.over)
        self.assertRecovered(world, 'c2')

    def test_no_answer_is_kept_for_ever(self):
        world = self.world(trust={'default': 'act'})
        world.nova.faults['enable'] = [exception.OutcomeUnknown('502')] * 3
        world.die('c1')
        world.run(world.over)
        world.settle(20)
        self.assertEqual(({}, {}), (world.engine.jobs._running, world.engine.jobs._failed))

    def test_abort_waits_for_what_is_being_done(self):
        world = self.world()
        world.executor.slow.add('_take_down')
        world.die('c1')
        world.run(lambda: world.executor._waiting)
        world.store.wish(self.recovery(world).id, 'abort')
        world.settle(2)
        self.assertFalse(world.over(), 'it may yet force the host down')
        world.executor.let()
        world.run(world.over)
        self.assertEqual('aborted', self.recovery(world).state)

    def test_a_spare_whose_enabling_is_answered_when_the_recovery_is_over(self):
        """nova-api enables it, and then waits for the message bus."""
        world, acted, answer = self.world(), threading.Event(), threading.Event()
        enable = world.nova.enable

        def enable_and_wait(service_id):
            enable(service_id)
            acted.set()
            answer.wait(30)
        world.nova.enable = enable_and_wait
        world.executor.slow.add('_enable')
        world.die('c1')
        world.run(lambda: world.executor._waiting)
        waiting = threading.Thread(target=world.executor.let)
        waiting.start()
        self.addCleanup(waiting.join)
        self.addCleanup(answer.set)
        self.assertTrue(acted.wait(10))
        world.run(world.over)
        world.settle()
        answer.set()
        waiting.join()
        world.settle()
        self.assertRecovered(world)
        self.assertEqual((False, True), (world.nova.hosts['s1'].enabled,
                                         world.store.marks()['s1'].parked))
        self.assertNotIn('somebody else', str(world.store.events()))


class MoveTest(test_engine_review.Base):
    """Nova's lists lag behind, or lack things."""

    def test_a_record_that_is_listed_late_makes_nobody_somebody_else(self):
        world = self.world()
        world.nova.lag = 6.0
        world.die('c1')
        world.run(world.over)
        self.assertEqual({'moved': 8}, test_engine._count(world.moves()))
        self.assertRecovered(world)

    def test_what_is_being_deleted_is_not_evacuated(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        first = self.acts(world, 'evacuate')[0][0]
        for name in list(world.nova.servers_):
            if name != first:
                world.nova._set(name, task_state='deleting')
        world.run(world.over)
        self.assertEqual([first], [a[0] for a in self.acts(world, 'evacuate')])
        self.assertEqual({'moved': 1, 'left': 7}, test_engine._count(world.moves()))

    def test_retry_of_what_nova_never_ended_looks_first(self):
        world = self.world(move_timeout=30.0)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.nova.hosts['s1'].alive = False
        world.run(world.over)
        recovery = self.recovery(world)
        self.assertEqual('partial', recovery.state)
        world.store.wish(recovery.id, 'retry')
        world.run(lambda: self.recovery(world).state == 'moving')
        world.settle(10)
        self.assertEqual({'accepted'}, {
            m.state for m in world.moves().values() if m.intent_at and m.target == 's1'})
        self.assertEqual([], world.nova.twice)
        world.run(world.over)
        self.assertEqual('partial', self.recovery(world).state, 'not recovered at all')
        self.assertEqual([], world.nova.twice)

    def test_a_server_that_nova_never_shows_by_itself_is_moved_as_the_lists_have_it(self):
        world = self.world()
        real = world.nova.server

        def server(ident):
            if ident == 'run3':
                raise exception.Unreachable('GET /servers/run3: answered 500: a broken record')
            return real(ident)
        world.nova.server = server
        world.die('c1')
        world.run(world.over)
        self.assertEqual({'moved': 8}, test_engine._count(world.moves()))
        self.assertRecovered(world)
        world.nova.server = real
        world.store.wish(self.recovery(world).id, 'retry')
        world.run(lambda: self.recovery(world).state == 'recovered')
        self.assertRecovered(world)

    def test_a_nova_that_is_away_for_long_fails_nobody(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        real = {name: getattr(world.nova, name) for name in ('server', 'servers', 'evacuations')}

        def away(*_, **__):
            raise exception.Unreachable('nobody answers')
        for name in real:
            setattr(world.nova, name, away)
        world.settle(500)
        for name, function in real.items():
            setattr(world.nova, name, function)
        world.run(world.over)
        self.assertRecovered(world)

    def test_no_list_of_evacuations_is_said_and_nothing_is_sent(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        real = world.nova.evacuations

        def refused(host, since=None):
            raise exception.Rejected('policy forbids it', 403)
        world.nova.evacuations = refused
        world.settle(30)
        count = len(self.acts(world, 'evacuate'))
        self.assertLessEqual(count, 2)
        self.assertEqual('held', self.recovery(world).state)
        self.assertIn('policy forbids it', self.recovery(world).reason)
        world.nova.evacuations = real
        world.run(world.over)
        self.assertRecovered(world)

    def test_the_window_is_one_for_all_recoveries(self):
        world = self.world(hosts=('c1', 'c2', 'c3', 's1'), window=2, limits=model.Limits(0, 0))
        world.nova.boot('c2', 6, 'run-two')
        world.settle(6)
        world.die('c1')
        world.die('c2')
        most = 0

        def over():
            nonlocal most
            most = max(most, sum(r.status in sim_nova.FLYING for r in world.nova.records))
            return world.over()
        world.run(over)
        self.assertEqual(2, most)

    def test_a_database_that_is_away_before_a_call_costs_no_quiet_period(self):
        world = self.world(quiet=300.0)
        left = [exception.StoreUnavailable('gone')] * 2

        def keep_lead(term, real=world.store.keep_lead):
            if left:
                raise left.pop()
            real(term)
        world.store.keep_lead = keep_lead
        world.die('c1')
        world.run(world.over, seconds=120)
        self.assertRecovered(world)
        self.assertEqual({0}, {m.faults for m in world.moves().values()})

    def test_a_token_that_is_refused_fails_nobody_for_good(self):
        world = self.world()
        world.nova.faults['evacuate'] = [exception.Rejected('401, the token was refused', 401)] * 9
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)


class OperatorTest(test_engine_review.Base):
    """What operators do is not undone, and what they ask for is answered."""

    def test_a_spare_that_an_operator_takes_out_is_not_enabled(self):
        world = self.world()
        world.nova.hosts['s1'].reason = 'its disk is failing'    # disabled it was
        world.settle()
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFalse(world.nova.hosts['s1'].enabled)
        self.assertEqual({'c2'}, {s.host for s in world.nova.servers_.values()})
        world.store.set_mark('s1', spare=False)
        world.settle()
        self.assertFalse(world.nova.hosts['s1'].enabled)

    def test_one_that_a_call_of_ours_has_parked_after_it_was_enabled(self):
        """Of an engine that was killed: Nova has done it late."""
        world = self.world()
        world.settle()
        world.store.set_mark('s1', parked=False)
        world.settle()
        self.assertTrue(world.store.marks()['s1'].parked)
        self.assertNotIn('and cannot be used', str(world.store.events()))
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual({'s1'}, {s.host for s in world.nova.servers_.values()})

    def test_one_taken_out_this_moment(self):
        world = self.world()
        world.executor.slow.add('_enable')
        world.die('c1')
        world.run(lambda: world.executor._waiting)
        world.nova.hosts['s1'].reason = 'its disk is failing'
        world.executor.slow.clear()
        world.executor.let()
        world.run(world.over)
        self.assertFalse(world.nova.hosts['s1'].enabled)
        self.assertRecovered(world)

    def test_a_spare_that_cannot_be_enabled_is_named_by_the_recovery(self):
        world = self.world(spares_only=True)
        world.nova.faults['enable'] = [exception.Rejected('policy forbids it', 403)] * 1000
        world.die('c1')
        world.run(lambda: self.acts(world, 'enable'))
        world.settle(30)
        self.assertEqual('held', self.recovery(world).state)
        self.assertIn('s1 cannot be enabled: policy forbids it', self.recovery(world).reason)
        self.assertLess(sum(e.repeats for e in world.store.events()), 20)
        world.nova.faults.clear()
        world.run(world.over)
        self.assertRecovered(world)

    def test_what_was_aborted_can_be_tried_again(self):
        self.try_again(self.world(window=1))

    def test_what_was_aborted_before_the_fence_can_be_tried_again(self):
        world = self.world(window=1)
        world.executor.slow.add('_fence')
        self.try_again(world)

    def try_again(self, world):
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate') or world.executor._waiting)
        world.store.wish(self.recovery(world).id, 'abort')
        world.settle(1)
        world.executor.slow.clear()
        world.executor.let()
        world.run(world.over)
        self.assertEqual('aborted', self.recovery(world).state)
        world.store.wish(self.recovery(world).id, 'retry')
        world.run(lambda: self.recovery(world).state == 'recovered')
        self.assertRecovered(world)

    def test_a_wish_that_means_nothing_is_answered(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        world.store.wish(self.recovery(world).id, 'retry')
        world.settle()
        self.assertEqual('recovered', self.recovery(world).state)
        self.assertTrue([e for e in world.store.events() if 'retry' in e.text])


class ClockTest(test_engine_review.Base):
    """Our clock is set by an hour, Nova's is not."""

    def jump(self, world, hours):
        world.offset += datetime.timedelta(hours=hours)

    def test_a_host_that_is_alive_is_not_dead_for_a_jump(self):
        for hours in (1, -1):
            world = self.world()
            world.nova.hosts['c1'].beat_at += datetime.timedelta(seconds=1)
            world.settle(5)
            world.store.report_failure('c1', 'test')
            for _ in range(6):
                self.jump(world, hours)
                world.step()
            world.settle(30)
            self.assertUntouched(world)
            self.assertEqual([], world.store.recoveries())

    def test_a_jump_forward_while_instances_move(self):
        self.jump_while_moving(1)

    def test_a_jump_backward_while_instances_move(self):
        self.jump_while_moving(-1)

    def jump_while_moving(self, hours):
        world = self.world(window=2)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.settle(1)
        self.jump(world, hours)
        world.run(world.over, seconds=120)
        self.assertRecovered(world)
        self.assertEqual({'moved': 8}, test_engine._count(world.moves()))

    def test_a_jump_ends_no_quiet_period(self):
        world = self.world(quiet=40.0)
        world.nova.faults['evacuate'] = [exception.OutcomeUnknown('timeout')]
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        lost = self.acts(world, 'evacuate')[0]
        world.settle(1)
        self.jump(world, 1)
        world.settle(30)
        self.assertEqual(1, self.acts(world, 'evacuate').count(lost))
        world.run(world.over)
        self.assertRecovered(world)

    def test_the_clock_is_taken_over_while_nothing_is_under_way(self):
        world = self.world()
        self.jump(world, 1)
        world.settle()
        self.assertEqual(world.clock() + datetime.timedelta(hours=1), world.ours())
