"""A host that had failed comes back: when, in which order, as what, and what is left to others."""

import dataclasses
import unittest

from tests.unit import test_engine_storage
from tests.unit import topology
from vmha_nova import homecoming
from vmha_nova import model


class Base(test_engine_storage.StorageBase):
    STABLE = 6.0

    def world(self, **options):
        return super().world(**{'return_after': self.STABLE, **options})

    def gone(self, **options):
        """A world in which c1 has failed and its guests are elsewhere."""
        world = self.world(**options)
        world.die('c1')
        world.run(world.over)
        return world

    def back(self, world, host='c1', restart=True):
        """It is switched on again, or only its cable is back."""
        if restart:
            world.nova.restart_compute(host)
            if world.ceph:              # what ran there is no more
                for ident in world.nova.servers_:
                    world.ceph.leave(ident, host)
        one = world.nova.hosts[host]
        one.alive = one.powered = one.linked = True

    def released(self, world, number=0):
        return world.store.recoveries()[number].released_at is not None

    def in_service(self, world, host='c1'):
        one = world.nova.hosts[host]
        return one.enabled and world.nova.up(one)

    def kinds(self, world):
        return [(s.kind, s.state) for s in world.store.steps(world.store.recoveries()[0].id)
                if s.kind in ('lift', 'force_up', 'enable', 'park')]

    def said(self, world, kind='out'):
        return [e.text for e in world.store.events() if e.kind == kind]

    def calls_of(self, world, host='c1'):
        return [c for c in world.nova.calls if c[1] == f'id-{host}']


class ReturnTest(Base):
    def test_restarted_it_is_let_back_step_by_step(self):
        world = self.gone()
        world.settle()                  # the spare is closed again
        before = len(world.nova.calls)
        self.back(world)
        world.run(lambda: self.released(world))
        self.assertTrue(self.in_service(world))
        self.assertEqual([('lift', 'done'), ('force_up', 'done'), ('enable', 'done')],
                         self.kinds(world))
        self.assertEqual([('force_down', 'id-c1', False), ('enable', 'id-c1')],
                         world.nova.calls[before:])
        self.assertEqual(set(), world.ceph.ranges)
        self.assertTrue(world.ceph.entries, 'entries of single clients stay')
        self.assertIn('vmha.host.released', [n.event_type for n in world.store.outbox(1000)])
        world.settle(20)
        self.assertEqual(2, len(world.nova.calls[before:]), 'and that is all')
        self.assertFenced(world)

    def test_only_reconnected_it_stays_out_until_nova_compute_was_restarted(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        self.back(world, restart=False)
        world.settle(60)
        self.assertFalse(self.released(world))
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        self.assertEqual({'10.0.0.1/32'}, world.ceph.ranges)
        self.assertIn('restart nova-compute', self.said(world)[0])
        self.back(world)
        world.run(lambda: self.released(world))
        self.assertTrue(self.in_service(world))
        self.assertFenced(world)

    def test_without_a_fence_that_lasts_too(self):
        world = self.gone(storage=False)
        self.back(world, restart=False)
        world.settle(60)
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        self.assertFalse(self.released(world))
        world.nova.restart_compute('c1')
        world.run(lambda: self.released(world))
        self.assertTrue(self.in_service(world))
        self.assertEqual([('force_up', 'done'), ('enable', 'done')], self.kinds(world))

    def test_while_its_guests_are_moved_nothing_more_is_sent_and_it_stays_out(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: any(m.state == 'moved' for m in world.moves().values())
                  if world.store.recoveries() else False)
        self.back(world)
        world.settle(30)
        self.assertIn('sends heartbeats again', self.recovery(world).reason)
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        world.store.wish(self.recovery(world).id, 'abort')
        world.run(world.over)
        world.settle(30)                # what was under way then has been done since
        self.assertIn('1 of 2 evacuated guests are not cleaned up', self.said(world)[-1])
        self.back(world)
        world.run(lambda: self.released(world))
        self.assertTrue(self.in_service(world))
        self.assertFenced(world)
        self.assertEqual([], world.nova.twice)
        self.assertEqual({'c1', 's1'}, {s.host for s in world.nova.servers_.values()})

    def test_it_must_beat_without_a_gap(self):
        world = self.gone(return_after=20.0)
        self.back(world)
        world.settle(15)
        world.nova.hosts['c1'].alive = False
        world.settle(10)
        world.nova.hosts['c1'].alive = True
        world.settle(15)
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        world.run(lambda: self.released(world), seconds=20)

    def test_a_new_engine_counts_anew_and_the_first_beat_it_sees_proves_nothing(self):
        world = self.gone(return_after=0.0)
        self.back(world)
        world.nova.tick(3)              # beats once, and dies again
        world.nova.hosts['c1'].alive = False
        world.start()
        world.settle(20)
        self.assertTrue(world.nova.hosts['c1'].forced_down)

    def test_it_is_left_out_where_that_is_wanted(self):
        world = self.gone(return_automatic=False)
        self.back(world)
        world.settle(40)
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        self.assertEqual([('lift', 'done')], self.kinds(world))
        host = world.nova.hosts['c1']
        host.forced_down, host.enabled = False, True
        world.run(lambda: self.released(world))

    def test_nova_that_refuses_is_said_and_insisted_upon(self):
        world = self.gone()
        record = world.nova.records[0]
        self.back(world)
        world.run(lambda: not world.ceph.ranges)
        world.nova.records.append(dataclasses.replace(record, id='x', status='done'))
        world.settle(20)
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        world.nova.records.pop()
        world.run(lambda: self.released(world), seconds=120)

    def test_one_that_nothing_has_left_comes_back_with_what_it_holds(self):
        world = self.world(untouched_projects=frozenset(['p']))
        world.die('c1')
        world.run(world.over)
        self.assertEqual({'left'}, {m.state for m in world.moves().values()})
        self.assertEqual([], self.acts(world, 'force_down'))


class OthersTest(Base):
    """What somebody else did is not undone."""

    def test_disabled_by_an_operator_before(self):
        world = self.world(planned_shutdown=frozenset())
        world.nova.hosts['c1'].enabled, world.nova.hosts['c1'].reason = False, 'bad fan'
        world.settle()
        world.die('c1')
        world.run(world.over)
        self.back(world)
        world.run(lambda: self.released(world))
        host = world.nova.hosts['c1']
        self.assertEqual((False, 'bad fan', False),
                         (host.enabled, host.reason, host.forced_down))

    def test_another_reason_put_there_meanwhile(self):
        world = self.gone()
        world.nova.hosts['c1'].reason = 'the vendor comes on Monday'
        self.back(world)
        world.run(lambda: self.released(world))
        self.assertFalse(world.nova.hosts['c1'].enabled)
        self.assertEqual([], [c for c in self.calls_of(world) if c[0] == 'enable'])

    def test_forced_down_by_an_inspector(self):
        world = self.world()
        world.nova.hosts['c1'].forced_down = True
        world.die('c1', source='nova')
        world.run(world.over)
        self.back(world)
        world.settle(40)
        self.assertTrue(world.nova.hosts['c1'].forced_down)
        self.assertIn('not by this service', self.said(world)[-1])
        world.nova.hosts['c1'].forced_down = False
        world.run(lambda: self.released(world))
        self.assertTrue(self.in_service(world))

    def test_put_up_by_an_operator_while_the_engine_is_about_to(self):
        world = self.gone()
        self.back(world)
        world.executor.slow = {'_put_up'}
        world.run(lambda: world.executor._waiting)
        world.nova.hosts['c1'].forced_down = False
        world.executor.let()
        world.run(lambda: self.released(world))
        self.assertNotIn(('id-c1', False), self.acts(world, 'force_down'))
        self.assertTrue(self.in_service(world))

    def test_another_reason_put_there_while_the_engine_is_about_to_enable_it(self):
        world = self.gone()
        self.back(world)
        world.executor.slow = {'_open'}
        world.run(lambda: world.executor._waiting)
        world.nova.hosts['c1'].reason = 'the vendor comes on Monday'
        world.executor.let()
        world.run(lambda: self.released(world))
        self.assertEqual((False, 'the vendor comes on Monday'),
                         (world.nova.hosts['c1'].enabled, world.nova.hosts['c1'].reason))

    def test_forced_down_by_others_after_they_had_put_it_up(self):
        world = self.gone()
        self.back(world)
        world.run(lambda: not world.ceph.ranges)
        host = world.nova.hosts['c1']
        host.forced_down, host.enabled, host.reason = False, True, ''
        world.run(lambda: self.released(world))
        host.alive = host.powered = False
        host.forced_down = True
        world.store.report_failure('c1', 'pinger', 'no answer')
        world.settle(15)
        self.assertEqual('dismissed', world.store.failures()[-1].state)
        self.assertIn('planned shutdown', world.store.failures()[-1].detail)


class AgainTest(Base):
    """It fails again."""

    def returned(self, **options):
        world = self.gone(**options)
        self.back(world)
        world.run(lambda: self.released(world))
        world.nova.boot('c1', 1, 'new')
        world.settle()
        return world

    def test_within_the_window_an_operator_is_asked(self):
        world = self.returned(flap_window=300.0)
        world.die('c1', detected_at=world.clock())
        world.run(lambda: self.recovery(world).state == 'held')
        self.assertIn('has failed again after', self.recovery(world).reason)
        world.settle(20)
        self.assertFalse(world.nova.hosts['c1'].forced_down)
        world.store.wish(self.recovery(world).id, 'approve')
        world.run(world.over)
        self.assertEqual('moved', world.moves()['new0'].state)

    def test_after_the_window_nobody_is(self):
        world = self.returned(flap_window=30.0)
        world.settle(30)
        world.die('c1', detected_at=world.clock())
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual('moved', world.moves()['new0'].state)

    def test_before_it_was_let_back_what_the_first_recovery_did_is_undone_by_the_second(self):
        world = self.gone()
        world.nova.boot('c1', 1, 'new')         # Nova lists one more that was there
        world.settle()
        world.die('c1', detected_at=world.clock(), forced=True)
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual('moved', world.moves()['new0'].state)
        self.assertEqual('done', world.store.steps(
            self.recovery(world).id, 'force_down')[0].state)
        self.back(world)
        world.run(lambda: self.released(world, 1))
        self.assertTrue(self.in_service(world))

    def test_also_where_the_second_is_dismissed(self):
        world = self.gone()
        world.nova._set('run0', host='c1')      # with its disk in use on s1: it has no place
        world.die('c1', detected_at=world.clock(), forced=True)
        world.run(lambda: self.recovery(world).state == 'held')
        self.back(world)
        world.run(lambda: self.released(world, 1), seconds=60)
        self.assertEqual('dismissed', self.recovery(world).state)
        self.assertTrue(self.in_service(world))

    def test_on_its_way_back_it_is_taken_down_after_it_was_put_up(self):
        world = self.gone(storage=False)
        self.back(world)
        world.executor.slow = {'_put_up'}
        world.run(lambda: world.executor._waiting)
        world.nova.boot('c1', 1, 'new')
        world.settle()
        world.nova.hosts['c1'].alive = False
        world.die('c1', detected_at=world.clock(), forced=True)
        world.run(lambda: self.recovery(world).state == 'fenced')
        world.settle(3)
        self.assertEqual(1, self.acts(world, 'disable').count(('id-c1',)),
                         'it waits for what is going on')
        world.executor.let()            # too late: a new recovery has begun
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertNotIn(('id-c1', False), self.acts(world, 'force_down'))
        self.assertEqual('moved', world.moves()['new0'].state)

    def test_without_a_fence_that_is_lifted_a_failure_before_it_is_enabled_is_a_new_one(self):
        world = self.world(storage=False)
        world.nova._set('run0', vm_state='paused')      # left, and there when it comes back
        world.settle()
        world.die('c1')
        world.run(world.over)
        self.back(world)
        world.executor.slow = {'_open'}
        world.run(lambda: world.executor._waiting)
        world.nova._set('run0', vm_state='active')
        world.settle()
        world.nova.hosts['c1'].alive = False
        world.die('c1', detected_at=world.clock())
        world.settle(15)
        world.executor.let()
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual('moved', world.moves()['run0'].state)

    def test_a_retry_comes_too_late_when_it_is_on_its_way(self):
        world = self.world(storage=False)
        world.nova.faults['evacuate'] = [test_engine_storage.exception.Rejected('no', 403)]
        world.die('c1')
        world.run(world.over)
        self.back(world)
        world.nova.hosts['c1'].beat_at = world.clock()
        world.run(lambda: ('force_up', 'done') in self.kinds(world))
        if not self.released(world):
            world.store.wish(self.recovery(world).id, 'retry')
        world.settle(5)
        self.assertEqual('partial', self.recovery(world).state)


class BecomesTest(Base):
    def test_a_spare_in_place_of_the_one_that_was_taken(self):
        world = self.gone(return_becomes='spare', spare_after='ordinary')
        world.settle(3)
        self.assertFalse(world.store.marks()['s1'].spare)
        self.assertIn('no spare is free', self.said(world, 'spares')[-1])
        self.back(world)
        world.run(lambda: self.released(world))
        world.settle(5)
        host, mark = world.nova.hosts['c1'], world.store.marks()['c1']
        self.assertEqual((True, True), (mark.spare, mark.parked))
        self.assertEqual((False, 'vmha: spare node', False),
                         (host.enabled, host.reason, host.forced_down))
        self.assertIn('there is a free spare again', self.said(world, 'spares')[-1])
        world.nova.boot('c2', 2, 'b')
        world.settle()
        world.die('c2')                 # and it serves as one
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual({'c1'}, {m.target for m in world.moves().values()})

    def spare_failed(self, **options):
        world = self.world(**options)
        world.nova.boot('s1', 1, 'guest')
        world.settle()
        world.die('s1')
        world.run(world.over)
        self.back(world, 's1')
        world.run(lambda: self.released(world))
        world.settle()
        return world.nova.hosts['s1'], world.store.marks()['s1']

    def test_a_spare_that_failed_is_a_spare_again(self):
        host, mark = self.spare_failed()
        self.assertEqual((True, True, False, 'vmha: spare node', False),
                         (mark.spare, mark.parked, host.enabled, host.reason, host.forced_down))

    def test_or_an_ordinary_node(self):
        host, mark = self.spare_failed(return_becomes='ordinary')
        self.assertEqual((False, True), (mark.spare, host.enabled))

    def test_a_shortage_is_told_once(self):
        world = self.gone()
        world.settle(20)
        world.start()
        world.settle(20)
        told = [n for n in world.store.outbox(1000) if n.event_type == 'vmha.cloud.no_spare']
        self.assertEqual(1, len(told))
        self.assertIn('s1 holds', told[0].payload['reason'])


class KilledTest(Base):
    """kill -9 before or after every write and act of the way back: it ends the same."""

    def test_killed_at_every_gate_of_the_return(self):
        for becomes in ('as_before', 'spare'):
            with self.subTest(becomes=becomes):
                self.killed(return_becomes=becomes, spare_after='ordinary')

    def killed(self, **options):
        world = self.gone(return_after=2.0, **options)
        world.settle(8)
        start = len(world.gates)
        self.back(world)
        world.run(lambda: self.released(world))
        gates = world.gates[start:]
        for name in ('after remove_range', 'before force_down', 'after force_down',
                     'before set_recovery'):
            self.assertIn(name, gates)
        spare = options['return_becomes'] == 'spare'
        # The first half is the same for both.
        first = 0 if spare else gates.index('after force_down')
        for number, name in list(enumerate(gates))[first:]:
            with self.subTest(gate=number, name=name):
                world = self.gone(return_after=2.0, **options)
                world.settle(8)
                world.kill_at = len(world.gates) + number
                self.back(world)
                world.run(lambda w=world: self.released(w))
                world.settle(3)
                host = world.nova.hosts['c1']
                self.assertEqual((not spare, False), (host.enabled, host.forced_down))
                self.assertEqual(set(), world.ceph.ranges)
                self.assertEqual(spare, 'c1' in world.store.marks()
                                 and world.store.marks()['c1'].parked)
                self.assertFenced(world)


class ShortageTest(unittest.TestCase):
    def test_why_no_spare_is_free(self):
        def node(host, **values):
            return model.ComputeNode(**{**dict(host=host, spare=True, up=True, parked=True),
                                        **values})
        nodes = [node('free'), node('down', up=False), node('busy'), node('failed'),
                 node('theirs', parked=False), node('work', maintenance=True),
                 node('c1', spare=False), node('other', pool='gold')]
        cluster = model.Cluster(nodes={n.host: n for n in nodes},
                                by_host={'busy': frozenset(['a', 'b'])})
        self.assertEqual({}, homecoming.shortages(cluster, {'failed'}))
        nodes = {n.host: n for n in nodes if n.host not in ('free', 'other')}
        text = homecoming.shortages(dataclasses.replace(cluster, nodes=nodes), {'failed'})['']
        for words in ('down is down', 'busy holds 2', 'failed has failed', 'somebody else',
                      'work is in maintenance'):
            self.assertIn(words, text)

    def test_who_forced_it_down(self):
        def step(kind, state):
            return model.Step(1, None, kind, 'c1', state, '', {}, topology.NOW, None)
        for kind, state, ours in (
                ('force_down', 'done', True), ('force_down', 'intended', True),
                ('force_down', 'not_ours', False), ('force_down', 'failed', False),
                ('force_up', 'done', False), ('force_up', 'not_ours', False)):
            self.assertIs(ours, homecoming.forced_by_us([step(kind, state)]), (kind, state))
        for state, ours in (('intended', True), ('failed', True), ('done', False),
                            ('not_ours', False)):
            self.assertIs(ours, homecoming.forced_by_us(
                [step('force_down', 'done'), step('force_up', state)]), state)
        self.assertFalse(homecoming.forced_by_us([]))
