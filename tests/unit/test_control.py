"""What an operator says to the engine through rows: pause, maintenance for a time; and what it
tells in return, in rows of the outbox."""

import datetime

from tests.unit import sim
from tests.unit import test_engine
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import views


class Base(test_engine.Base):
    def meanwhile(self, world, name, act, when=lambda values: True):
        """Somebody does something right before the engine's next write of that name."""
        write = getattr(world.store, name)

        def late(*args, **values):
            if when(values):
                setattr(world.store, name, write)
                act()
            return write(*args, **values)
        setattr(world.store, name, late)

    def held(self, **options):
        """A world with a recovery of c2 that waits for approval."""
        world = self.world(limits=model.Limits(1), **options)
        world.nova.boot('c2', 1, 'second')
        world.nova.rebuild = 30.0
        world.settle()
        world.die('c1')
        world.run(lambda: world.store.recoveries() and (
            world.store.recoveries()[0].state == 'moving'))
        world.die('c2')
        world.run(lambda: any(r.state == 'held' for r in world.store.recoveries()))
        ident, = (r.id for r in world.store.recoveries() if r.state == 'held')
        return world, ident


class PauseTest(Base):
    def test_a_dead_host_waits_until_the_pause_is_over(self):
        world = self.world()
        world.store.pause(True, 'the network is being changed', 'ann')
        world.die('c1')
        world.settle(30)
        report, = world.store.failures()
        self.assertEqual('checking', report.state)
        self.assertIn('paused by ann: the network is being changed', report.detail)
        self.assertIn('no heartbeat of c1', report.detail)
        self.assertEqual(([], []), (world.store.recoveries(), self.acts(world, 'force_down')))
        world.store.pause(False)
        world.run(world.over)
        self.assertRecovered(world)

    def test_nor_does_one_begin_on_which_an_operator_insists(self):
        world = self.world()
        world.store.pause(True)
        world.die('c1', forced=True)
        world.settle(30)
        self.assertEqual([], world.store.recoveries())

    def test_what_has_begun_goes_on(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: world.store.recoveries() and any(
            m.state == 'moved' for m in world.moves().values()))
        world.store.pause(True)
        world.run(world.over)
        self.assertRecovered(world)

    def test_what_has_not_is_held_and_then_goes_on_by_itself(self):
        world, ident = self.held()
        world.store.wish(ident, 'approve')
        world.store.pause(True, user='ann')
        world.settle(3)
        self.assertIn('paused by ann', world.store.recovery(ident).reason)
        world.store.pause(False)
        world.run(world.over)
        self.assertEqual({'recovered'}, {r.state for r in world.store.recoveries()})

    def test_a_host_that_comes_back_meanwhile_is_dismissed(self):
        world = self.world()
        world.store.pause(True)
        world.die('c1')
        world.settle(10)
        world.nova.hosts['c1'].alive = world.nova.hosts['c1'].powered = True
        world.settle(10)
        self.assertEqual('dismissed', world.store.failures()[0].state)
        world.store.pause(False)
        world.settle(20)
        self.assertEqual([], world.store.recoveries())


class MaintenanceTest(Base):
    def test_it_ends_by_itself_and_reports_count_again(self):
        world = self.world()
        until = world.ours() + datetime.timedelta(seconds=20)
        world.store.set_mark('c1', maintenance=True, maintenance_until=until)
        world.die('c1')
        world.settle(10)
        self.assertEqual('dismissed', world.store.failures()[0].state)
        self.assertIn('in maintenance', world.store.failures()[0].detail)
        world.settle(15)
        mark = world.store.marks()['c1']
        self.assertEqual((False, None), (mark.maintenance, mark.maintenance_until))
        self.assertIn('the time of its maintenance is over', world.store.events()[-1].text)
        world.store.report_failure('c1', 'test', 'still dead')
        world.run(world.over)
        self.assertRecovered(world)

    def test_no_target_until_then_and_then_it_is_one(self):
        world = self.world(spares_only=True)
        until = world.ours() + datetime.timedelta(seconds=40)
        world.store.set_mark('s1', maintenance=True, maintenance_until=until)
        world.die('c1')
        world.run(lambda: world.store.recoveries() and
                  world.store.recoveries()[0].state == 'held')
        self.assertIn('maintenance', world.moves()['run0'].reason)
        world.run(world.over)
        self.assertGreater(world.ours(), until)
        self.assertRecovered(world)

    def test_what_ends_it_by_hand_ends_its_time_too(self):
        world = self.world()
        until = world.ours() + datetime.timedelta(seconds=20)
        world.store.set_mark('c1', maintenance=True, maintenance_until=until)
        world.store.set_mark('c1', maintenance=False)
        world.store.set_mark('c1', maintenance=True)
        world.settle(30)
        self.assertTrue(world.store.marks()['c1'].maintenance)


    def test_an_operator_who_makes_it_longer_in_the_last_moment_is_heard(self):
        world = self.world()
        until = world.ours() + datetime.timedelta(seconds=20)
        later = until + datetime.timedelta(seconds=60)
        world.store.set_mark('c1', maintenance=True, maintenance_until=until)
        world.settle(10)
        read = world.store.marks

        def marks():
            found = read()
            if world.ours() >= until:   # between the engine's look and what it makes of it
                world.store.marks = read
                world.store.set_mark('c1', maintenance=True, maintenance_until=later)
            return found
        world.store.marks = marks
        world.settle(20)
        mark = world.store.marks()['c1']
        self.assertEqual((True, later), (mark.maintenance, mark.maintenance_until))
        self.assertEqual([], [e.text for e in world.store.events() if e.kind == 'maintenance'])
        world.settle(60)
        self.assertFalse(world.store.marks()['c1'].maintenance)


class WishTest(Base):
    """What an operator was promised is done, or he is told why not; whenever he says it."""

    def told(self, world):
        return [e.text.partition(': ')[2] for e in world.store.events() if e.kind == 'wish']

    def test_an_abort_while_an_approval_is_being_taken_up(self):
        world, ident = self.held()
        world.store.wish(ident, 'approve')
        self.meanwhile(world, 'set_recovery', lambda: world.store.wish(ident, 'abort'))
        world.run(lambda: world.store.recovery(ident).ended_at)
        self.assertEqual(('aborted', ''), (world.store.recovery(ident).state,
                                           world.store.recovery(ident).wish))
        self.assertNotIn('second0', [a[0] for a in self.acts(world, 'evacuate')])
        self.assertFalse(world.nova.hosts['c2'].forced_down)

    def test_an_abort_while_another_wish_is_being_refused(self):
        for wish in ('release', 'retry'):
            with self.subTest(wish):
                self.abort_while_refused(wish)

    def abort_while_refused(self, wish):
        world, ident = self.held()
        world.store.wish(ident, wish)
        self.meanwhile(world, 'set_recovery', lambda: world.store.wish(ident, 'abort'))
        world.run(lambda: world.store.recovery(ident).ended_at)
        self.assertEqual('aborted', world.store.recovery(ident).state)
        self.assertIn(f'{wish} is not possible: it is under way', self.told(world)[0])

    def test_an_abort_in_the_moment_in_which_all_is_done(self):
        world = self.world()
        world.die('c1')
        world.run(lambda: world.store.recoveries())
        ident = world.store.recoveries()[0].id
        self.meanwhile(world, 'set_recovery', lambda: world.store.wish(ident, 'abort'),
                       lambda values: values.get('state') == 'recovered')
        world.run(world.over)
        world.settle(2)
        self.assertEqual(('recovered', ''), (world.store.recovery(ident).state,
                                             world.store.recovery(ident).wish))
        self.assertEqual(['abort is not possible: it is recovered'], self.told(world))

    def test_a_release_while_a_retry_is_being_taken_up(self):
        world = self.world(spares_only=True)
        world.nova.faults['evacuate'] = [exception.Rejected('policy forbids it', 403)]
        world.die('c1')
        world.run(world.over)
        ident = world.store.recoveries()[0].id
        world.store.wish(ident, 'retry')
        self.meanwhile(world, 'set_recovery', lambda: world.store.wish(ident, 'release'))
        world.run(lambda: world.store.recovery(ident).state == 'recovered')
        self.assertEqual(['release is not possible: it is under way'],
                         [t.partition(';')[0] for t in self.told(world)])
        self.assertRecovered(world)

    def test_a_retry_while_a_release_is_being_taken_up(self):
        world = self.world(spares_only=True)
        world.nova.faults['evacuate'] = [exception.Rejected('policy forbids it', 403)]
        world.die('c1')
        world.run(world.over)
        ident = world.store.recoveries()[0].id
        world.store.wish(ident, 'release')
        self.meanwhile(world, 'set_recovery', lambda: world.store.wish(ident, 'retry'))
        world.settle(2)
        recovery = world.store.recovery(ident)
        self.assertEqual(('partial', ''), (recovery.state, recovery.wish))
        self.assertIsNotNone(recovery.released_at)
        self.assertIn('retry is not possible: c1 was in service again', self.told(world)[0])


class SourcesTest(Base):
    """Several say that a host is down."""

    def reports(self, world):
        return {f.source: (f.state, f.repeats) for f in world.store.failures()}

    def test_one_that_is_trusted_does_not_wait_behind_one_that_is_not(self):
        world = self.world(heartbeat_silence=300.0, trust={'pdu': 'act'})
        world.die('c1', source='ping')
        world.settle(10)
        self.assertEqual({'ping': ('checking', 0)}, self.reports(world))
        world.store.report_failure('c1', 'pdu', 'no power')
        world.run(world.over, seconds=60)
        self.assertEqual({'ping': ('duplicate', 0), 'pdu': ('accepted', 0)}, self.reports(world))
        self.assertEqual({world.store.recoveries()[0].id},
                         {f.recovery_id for f in world.store.failures()})
        self.assertRecovered(world)

    def test_two_that_are_believed_in_the_same_moment_open_one_recovery(self):
        for slow in ((), ('reconcile',)):
            with self.subTest(slow=slow):
                world = self.world()
                world.executor.slow.update(slow)
                world.die('c1', source='ping')
                world.store.report_failure('c1', 'pdu')
                for _ in range(60):
                    world.step()
                    world.executor.let()
                world.run(world.over)
                self.assertEqual(['accepted', 'duplicate'],
                                 sorted(f.state for f in world.store.failures()))
                self.assertEqual(1, len(world.store.recoveries()))
                self.assertRecovered(world)

    def test_an_engine_that_dies_between_the_two(self):
        world = self.world(trust={'pdu': 'act'}, heartbeat_silence=300.0)
        world.die('c1', source='ping')
        world.settle(2)
        world.store.report_failure('c1', 'pdu')
        real = world.store.open_recovery

        def killed(*args):
            world.store.open_recovery = real
            real(*args)
            raise sim.Killed
        world.store.open_recovery = killed
        world.run(world.over, seconds=60)
        self.assertEqual({'ping': ('duplicate', 0), 'pdu': ('accepted', 0)}, self.reports(world))
        self.assertRecovered(world)

    def test_one_that_is_ignored_takes_nothing_from_the_other(self):
        world = self.world(trust={'noise': 'ignore'})
        world.die('c1', source='noise')
        world.store.report_failure('c1', 'ping')
        world.run(world.over)
        self.assertEqual({'noise': ('dismissed', 0), 'ping': ('accepted', 0)},
                         self.reports(world))
        self.assertRecovered(world)

    def test_of_a_host_that_lives_all_are_dismissed(self):
        world = self.world()
        world.store.report_failure('c1', 'ping')
        world.settle(2)
        world.store.report_failure('c1', 'pdu')
        world.run(lambda: not world.store.failures(open_only=True), seconds=60)
        self.assertEqual({'ping': ('dismissed', 0), 'pdu': ('dismissed', 0)}, self.reports(world))
        self.assertEqual([], world.store.recoveries())


class OutboxTest(test_engine.Base):
    def told(self, world):
        return [n.event_type for n in world.store.outbox(1000)]

    def test_a_recovery_is_told_of_step_by_step(self):
        world = self.world()
        world.store.sent(world.engine.term, [n.id for n in world.store.outbox()])
        world.die('c1')
        world.run(world.over)
        told = self.told(world)
        self.assertEqual(
            ['vmha.host.reported', 'vmha.host.checking', 'vmha.host.accepted',
             'vmha.recovery.confirmed'], told[:4])
        self.assertEqual(
            ['confirmed', 'fenced', 'down_in_nova', 'moving', 'recovered'],
            [e.rpartition('.')[2] for e in told if e.startswith('vmha.recovery.')])
        for state, count in (('waiting', 8), ('sending', 8), ('accepted', 8), ('moved', 8)):
            self.assertEqual(count, told.count(f'vmha.move.{state}'), state)
        last = world.store.outbox(1000)[told.index('vmha.recovery.recovered')]
        recovery = world.store.recoveries()[0]
        self.assertEqual(views.recovery(recovery, {'moved': 8}), last.payload)
        moved = [n.payload for n in world.store.outbox(1000) if n.event_type == 'vmha.move.moved']
        self.assertEqual({m.instance_id: dict(views.move(m), host='c1')
                          for m in world.moves().values()},
                         {m['instance_id']: m for m in moved})

    def test_nothing_is_told_that_was_not_written(self):
        """A transaction that fails takes what it would have told of with it."""
        world = self.world()
        before = self.told(world)
        recovery = world.store.recoveries()
        self.assertEqual([], recovery)
        world.store.take_lead('another')
        world.die('c1')
        with self.assertRaises(exception.TermLost):
            world.store.set_failure(world.engine.term, 1, 'dismissed')
        self.assertEqual([*before, 'vmha.host.reported'], self.told(world))

    def test_a_host_that_is_back_and_marks(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        self.assertNotIn('vmha.host.released', self.told(world))
        host = world.nova.hosts['c1']
        host.alive, host.enabled, host.forced_down = True, True, False
        world.nova.restart_compute('c1')
        world.settle(10)
        self.assertIn('vmha.host.released', self.told(world))
        world.store.set_mark('c1', spare=True)
        world.store.set_mark('c1', spare=True)
        told = [n for n in world.store.outbox(1000) if n.event_type == 'vmha.host.updated'
                and n.payload['host'] == 'c1']
        self.assertEqual([True], [n.payload['spare'] for n in told])
