"""The engine, told lies and interrupted: reports, hosts that live, lists that are short."""

from tests.unit import test_engine
from vmha_nova.db import models
from vmha_nova import exception
from vmha_nova import model


class Base(test_engine.Base):
    def returns(self, world, host='c1'):
        """An operator brings a host back into service."""
        host = world.nova.hosts[host]
        host.alive, host.forced_down, host.enabled, host.reason = True, False, True, ''

    def assertUntouched(self, world):
        self.assertEqual([], self.acts(world, 'force_down') + self.acts(world, 'evacuate'))

    def recovery(self, world):
        return world.store.recoveries()[-1]


class ReportTest(Base):
    """A report is never lost."""

    def test_the_second_failure_of_a_host_is_heard_although_nobody_says_when_it_was(self):
        world = self.world()
        world.die('c1', source='operator')
        world.run(world.over)
        self.returns(world)
        world.settle(8)
        world.nova.boot('c1', 1, 'new')
        world.settle()
        world.die('c1', source='operator')
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual(['new0'], list(world.moves()))

    def test_a_report_dismissed_once_is_heard_the_next_time(self):
        world = self.world()
        world.store.report_failure('c1', 'operator')
        world.run(lambda: not world.store.failures(open_only=True))
        world.settle(20)
        world.die('c1', source='operator')
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_trusted_report_that_waited_for_an_engine_is_no_lie(self):
        world = self.world(trust={'test': 'act'})
        world.die('c1', detected_at=world.clock())
        world.nova.tick(70)             # no engine lives
        world.start()
        world.run(world.over, seconds=120)
        self.assertRecovered(world)

    def test_a_report_that_cannot_be_judged_stops_nothing_else(self):
        world = self.world()
        world.store.report_failure('c2', 'odd')
        with world.store._writer() as session:      # what nobody can write, in the database
            session.query(models.HostFailure).update({'evidence': {'baseline': 'x'}})
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        events = [e for e in world.store.events() if e.kind == 'internal']
        self.assertTrue(events)
        self.assertLess(sum(e.repeats for e in events), 20, 'said over and over')

    def test_what_the_engine_notes_in_a_report_cannot_come_from_outside(self):
        world = self.world()
        world.die('c1', evidence={'baseline': 'x', 'beats': 9, 'osds': {}, 'ping': 'lost'})
        self.assertEqual({'ping': 'lost'}, world.store.failures()[0].evidence)
        world.run(world.over)
        self.assertRecovered(world)

    def test_two_reports_of_one_host_open_one_recovery(self):
        world = self.world(trust={'default': 'act'})
        world.die('c1')
        for _ in range(4):              # as writers on several database nodes could
            with world.store._writer() as session:
                session.add(_report(world, 'c1'))
        world.run(world.over)
        world.settle()
        self.assertEqual(1, len(world.store.recoveries()))
        self.assertRecovered(world)

    def test_a_host_that_came_back_unseen_and_died_again(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        self.returns(world)             # while no engine lives
        world.nova.tick(10)
        world.nova._set('run0', host='c1')
        world.nova.hosts['c1'].alive = False
        world.nova.tick(30)
        world.start()
        world.die('c1', detected_at=world.clock())
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual(['run0'], list(world.moves()))
        self.assertEqual(('s1', 'active'), (world.nova.servers_['run0'].host,
                                            world.nova.servers_['run0'].vm_state))
        self.assertEqual([], world.nova.twice)


def _report(world, host):
    return models.HostFailure(host=host, source='other', reason='', received_at=world.clock(),
                              detected_at=world.clock(), evidence={}, forced=False, state='new',
                              detail='', repeats=0)


class AliveTest(Base):
    """Nothing is done to a host that is not dead."""

    def held(self, **options):
        world = self.world(spares_only=True, **options)
        world.nova.hosts['s1'].alive = False
        world.settle(70)                # no place to go
        world.die('c1')
        world.run(lambda: any(r.state == 'held' for r in world.store.recoveries()))
        return world

    def test_a_recovery_that_waited_does_not_begin_when_its_host_is_alive_again(self):
        self.alive_again(restart=False)

    def test_nor_does_it_for_a_new_engine(self):
        self.alive_again(restart=True)

    def alive_again(self, restart):
        world = self.held()
        world.nova.hosts['c1'].alive = True
        if restart:
            world.nova.tick(5)
            world.start()
        else:
            world.settle(20)
        world.nova.hosts['s1'].alive = True
        world.settle(30)
        self.assertUntouched(world)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertIn('alive', self.recovery(world).reason)
        world.die('c1', detected_at=world.clock())
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertRecovered(world)

    def test_a_forced_report_goes_through_although_the_host_beats(self):
        world = self.world()
        world.store.report_failure('c1', 'operator', 'its disk is gone', forced=True)
        world.run(world.over)
        self.assertEqual('recovered', self.recovery(world).state)

    def test_nothing_more_is_sent_from_a_fenced_host_that_beats_again(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.nova.hosts['c1'].alive = True
        world.settle(10)
        count = len(self.acts(world, 'evacuate'))
        world.settle(20)
        self.assertEqual(count, len(self.acts(world, 'evacuate')))
        self.assertEqual('held', self.recovery(world).state)
        self.assertIn('heartbeats', self.recovery(world).reason)
        world.nova.hosts['c1'].alive = False
        world.run(world.over)
        self.assertRecovered(world)

    def test_retry_after_the_host_was_in_service_again_does_nothing(self):
        world = self.world()
        world.nova.faults['evacuate'] = [exception.Rejected('policy forbids it', 403)]
        world.die('c1')
        world.run(world.over)
        self.assertEqual('partial', self.recovery(world).state)
        self.returns(world)
        world.settle(10)
        world.nova.hosts['c1'].alive = False
        world.settle(70)                # it is silent, and Nova takes it for down
        count = len(self.acts(world, 'evacuate'))
        world.store.wish(self.recovery(world).id, 'retry')
        world.settle(20)
        self.assertEqual(count, len(self.acts(world, 'evacuate')), 'without a new fence')
        self.assertTrue([e for e in world.store.events() if 'in service again' in e.text])

    def test_another_failed_host_is_no_target(self):
        world = self.world(hosts=('c1', 'c2', 'c3'), spares=(),
                           limits=model.Limits(0, 0))
        world.nova.boot('c2', 1, 'two')
        world.nova.boot('c3', 9, 'three')
        world.settle(6)
        world.die('c1')
        world.settle(3)
        world.die('c2')                 # being looked at when the guests of c1 are sent
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual({'c3'}, {a[1] for a in self.acts(world, 'evacuate')})
        self.assertRecovered(world)
        self.assertRecovered(world, 'c2')


class AbsenceTest(Base):
    """What Nova cannot tell is not taken for nothing."""

    def test_a_host_whose_cell_is_down_when_the_engine_starts_is_waited_for(self):
        world = self.world()
        world.nova.down.add('c1')
        world.start()
        world.die('c1', forced=True)
        world.settle(30)
        self.assertEqual('checking', world.store.failures()[0].state)
        self.assertIn('cell', world.store.failures()[0].detail)
        world.nova.down.clear()
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_cell_that_goes_down_hides_no_instances(self):
        world = self.world()
        world.nova.hidden.update(world.nova.servers_)
        world.start()                   # knows the host, and none of its instances
        world.settle(1)
        world.nova.down.add('c1')
        world.settle()
        world.die('c1', forced=True)
        world.settle(30)
        self.assertEqual('checking', world.store.failures()[0].state)
        world.nova.hidden.clear()
        world.nova.down.clear()
        world.run(world.over)
        self.assertRecovered(world)

    def test_an_instance_that_lists_show_late_is_not_forgotten(self):
        world = self.world()
        world.nova.hidden.add('run4')
        world.start()                   # has never seen it
        world.die('c1')
        world.run(lambda: len(self.acts(world, 'evacuate')) == 7)
        world.nova.hidden.clear()
        world.run(world.over)
        self.assertRecovered(world)

    def test_a_new_engine_while_the_cell_is_down_does_not_find_nothing_to_move(self):
        world = self.world()
        world.die('c1')
        world.run(lambda: world.store.recoveries())
        world.nova.down.add('c1')
        world.start()
        world.settle(10)
        self.assertEqual('held', self.recovery(world).state)
        self.assertIn('cell', self.recovery(world).reason)
        world.nova.down.clear()
        world.run(world.over)
        self.assertRecovered(world)

    def test_an_instance_on_no_host_is_named(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.nova._set('run4', host='', vm_state='error')
        world.run(world.over)
        self.assertEqual('failed', world.moves()['run4'].state)
        self.assertIn('no host', world.moves()['run4'].reason)
