"""The engine on a simulated Nova: what an operator would see, and what must never happen."""

import datetime
import os
import shutil
import tempfile
import unittest

from tests.unit import sim
from tests.unit import sim_nova
from vmha_nova import exception
from vmha_nova import model


class Base(unittest.TestCase):
    """A cloud of two compute nodes and a spare, six running and two stopped guests on c1."""

    def world(self, **options):
        self.folder = tempfile.mkdtemp(dir='/dev/shm' if os.path.isdir('/dev/shm') else None)
        self.addCleanup(shutil.rmtree, self.folder)
        world = sim.World(os.path.join(self.folder, 'db'), **options)
        world.nova.boot('c1', 6, 'run')
        world.nova.boot('c1', 2, 'off', vm_state='stopped', power_state=4)
        world.settle()
        return world

    def assertRecovered(self, world, source='c1'):
        """Everybody has left, once, as they were; Nova is the witness."""
        self.assertEqual([], world.nova.twice)
        for server in world.nova.servers_.values():
            self.assertNotEqual(source, server.host, server)
            self.assertEqual('stopped' if server.name.startswith('off') else 'active',
                             server.vm_state, server)
            self.assertEqual('', server.task_state)
        done = [r.instance_id for r in world.nova.records if r.status == 'done']
        self.assertEqual(len(done), len(set(done)))
        self.assertEqual('recovered', world.store.recoveries()[-1].state)

    def acts(self, world, name):
        return [c[1:] for c in world.nova.calls if c[0] == name]


class RecoveryTest(Base):
    def test_a_host_dies_and_its_guests_run_on_the_spare(self):
        world = self.world()
        self.assertFalse(world.nova.hosts['s1'].enabled, 'a spare waits with scheduling off')
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual({'s1'}, {s.host for s in world.nova.servers_.values()})
        acts = [c[:2] for c in world.nova.calls if c[1] in ('id-c1', 'id-s1')]
        self.assertEqual([('disable', 'id-s1'), ('force_down', 'id-c1'), ('disable', 'id-c1'),
                          ('enable', 'id-s1')], acts[:4])
        world.settle()
        self.assertFalse(world.nova.hosts['s1'].enabled, 'what is left of it is spare again')
        kinds = [(s.kind, s.state) for s in world.store.steps(world.store.recoveries()[0].id)]
        self.assertEqual([('fence', 'done'), ('force_down', 'done'), ('disable', 'done'),
                          ('enable_spare', 'done')], kinds)

    def test_a_notification_that_comes_before_its_record(self):
        world = self.world(follow_interval=60.0)
        world.die('c1')
        world.run(lambda: any(m.state == 'accepted' for m in world.moves().values())
                  if world.store.recoveries() else False)
        world.settle(1)
        world.engine.moved()            # rebuild.end; the records say so a second or two later
        world.run(lambda: any(m.state == 'moved' for m in world.moves().values()), seconds=5)

    def test_a_spare_becomes_an_ordinary_node_where_that_is_wanted(self):
        world = self.world(spare_after='ordinary')
        world.die('c1')
        world.run(world.over)
        world.settle()
        self.assertTrue(world.nova.hosts['s1'].enabled)
        self.assertFalse(world.store.marks()['s1'].spare)

    def test_priority_goes_first_and_the_window_is_kept(self):
        world = self.world(window=2)
        world.nova.boot('c1', 1, 'urgent', metadata={'vmha:priority': '90'})
        world.nova.boot('c1', 1, 'later', metadata={'vmha:priority': '10'})
        world.settle()
        world.die('c1')
        most = 0

        def over():
            nonlocal most
            most = max(most, sum(r.status in sim_nova.FLYING for r in world.nova.records))
            return world.over()
        world.run(over)
        order = [c[0] for c in self.acts(world, 'evacuate')]
        self.assertEqual(('urgent0', 'later0'), (order[0], order[-1]))
        self.assertEqual(2, most)

    def test_an_instance_that_opted_out_is_left_and_named(self):
        world = self.world()
        world.nova.boot('c1', 1, 'own', metadata={'vmha:protect': 'false'})
        world.nova.boot('c1', 1, 'pause', vm_state='paused')
        world.settle()
        world.die('c1')
        world.run(world.over)
        moves = world.moves()
        self.assertEqual(('left', 'left'), (moves['own0'].state, moves['pause0'].state))
        self.assertIn('vmha:protect', moves['own0'].reason)
        self.assertEqual('recovered', world.store.recoveries()[0].state)

    def test_a_target_without_room_is_not_tried_again_and_a_stopped_guest_ends_stopped(self):
        world = self.world(hosts=('c1', 'c2', 's1', 's2'), spares=('s1', 's2'))
        world.nova.refuses.add('s1')
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual({'s2'}, {s.host for s in world.nova.servers_.values()})
        self.assertTrue(self.acts(world, 'stop'), 'Nova starts a stopped guest that was in ERROR')

    def test_the_only_spare_refuses_until_it_does_not(self):
        world = self.world(spares_only=True)
        world.nova.refuses.add('s1')
        world.die('c1')
        world.run(lambda: any(r.status == 'error' for r in world.nova.records))
        world.nova.refuses.clear()
        world.run(world.over)
        self.assertRecovered(world)

    def test_what_is_refused_again_and_again_is_named_as_failed(self):
        world = self.world(spares_only=True)
        world.nova.refuses.add('s1')
        world.die('c1')
        world.run(world.over)
        self.assertEqual('partial', world.store.recoveries()[0].state)
        self.assertEqual({'failed': 8}, _count(world.moves()))
        self.assertEqual({3}, {m.attempts for m in world.moves().values()})
        self.assertIn('No valid host', world.store.recoveries()[0].reason)

    def test_what_fits_nowhere_is_named_before_the_fence_and_waits(self):
        world = self.world(spares_only=True)
        world.nova.hosts['s1'].alive = False
        world.settle(70)                # the spare is down in Nova
        world.die('c1')
        world.run(lambda: any(r.state == 'held' for r in world.store.recoveries()))
        recovery = world.store.recoveries()[0]
        self.assertIn('is down in Nova (s1)', recovery.reason)
        self.assertEqual([], world.store.steps(recovery.id))
        self.assertEqual([], self.acts(world, 'force_down'))
        world.nova.hosts['s1'].alive = True
        world.run(world.over)           # goes on by itself
        self.assertRecovered(world)

    def test_more_failed_hosts_than_the_limit_wait_for_an_operator(self):
        world = self.world(hosts=('c1', 'c2', 'c3', 's1'), limits=model.Limits(1))
        world.nova.boot('c2', 2, 'two')
        world.nova.rebuild = 30
        world.settle()
        world.die('c1')
        world.die('c2')
        world.run(lambda: any(r.state == 'held' for r in world.store.recoveries()))
        held = [r for r in world.store.recoveries() if r.state == 'held'][0]
        self.assertIn('approve', held.reason)
        self.assertFalse(world.nova.hosts[held.host].forced_down)
        world.store.wish(held.id, 'approve')
        world.run(lambda: world.nova.hosts[held.host].forced_down, seconds=10)

    def test_abort_sends_nothing_more_and_follows_what_is_under_way(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        world.store.wish(world.store.recoveries()[0].id, 'abort')
        world.run(world.over)
        self.assertEqual(1, len(self.acts(world, 'evacuate')))
        self.assertEqual({'moved': 1, 'left': 7}, _count(world.moves()))
        self.assertEqual('aborted', world.store.recoveries()[0].state)

    def test_retry_of_what_failed(self):
        world = self.world(spares_only=True)
        world.nova.faults['evacuate'] = [exception.Rejected('policy forbids it', 403)]
        world.die('c1')
        world.run(world.over)
        self.assertEqual('partial', world.store.recoveries()[0].state)
        self.assertEqual({'moved': 7, 'failed': 1}, _count(world.moves()))
        world.store.wish(world.store.recoveries()[0].id, 'retry')
        world.run(lambda: world.store.recoveries()[0].state == 'recovered')
        self.assertRecovered(world)

    def test_a_host_that_comes_back_can_fail_again(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        host = world.nova.hosts['c1']
        host.alive, host.forced_down, host.enabled = True, False, True
        world.settle(8)
        world.nova.boot('c1', 1, 'new')
        world.settle()
        world.die('c1', detected_at=world.clock())
        world.run(lambda: len(world.store.recoveries()) == 2 and world.over())
        self.assertEqual(['new0'], list(world.moves()))


def _count(moves):
    found = {}
    for move in moves.values():
        found[move.state] = found.get(move.state, 0) + 1
    return found


class BadReportTest(Base):
    """A report that is wrong ends as a row with its reason, and nothing else happens."""

    def assertDismissed(self, world, words):
        world.run(lambda: not world.store.failures(open_only=True), seconds=120)
        report = world.store.failures()[-1]
        self.assertEqual('dismissed', report.state)
        self.assertIn(words, report.detail)
        self.assertEqual([], self.acts(world, 'force_down') + self.acts(world, 'evacuate'))

    def test_unknown_host(self):
        world = self.world()
        world.store.report_failure('c9', 'test')
        self.assertDismissed(world, "no compute node 'c9'")

    def test_a_host_that_is_up(self):
        world = self.world()
        world.store.report_failure('c1', 'test')
        self.assertDismissed(world, 'c1 is alive')

    def test_a_spare(self):
        world = self.world()
        world.die('s1')
        self.assertDismissed(world, 'holds no instances')

    def test_a_host_in_maintenance(self):
        world = self.world()
        world.store.set_mark('c1', maintenance=True)
        world.die('c1')
        self.assertDismissed(world, 'maintenance')

    def test_an_ignored_source(self):
        world = self.world(trust={'default': 'ignore'})
        world.die('c1')
        self.assertDismissed(world, 'ignored')

    def test_an_old_report_of_a_trusted_source(self):
        world = self.world(trust={'test': 'act'})
        world.settle(60)
        world.store.report_failure('c1', 'test', detected_at=sim.START)
        self.assertDismissed(world, 'out of date')

    def test_the_same_report_again_only_counts(self):
        world = self.world()
        world.die('c1')
        for _ in range(3):
            world.store.report_failure('c1', 'test', 'it burns')
            world.step()
        world.run(world.over)
        world.store.report_failure('c1', 'other')
        world.settle(20)
        self.assertEqual(1, len(world.store.recoveries()))
        self.assertEqual(['accepted', 'duplicate'],
                         [f.state for f in world.store.failures()][-2:])
        self.assertRecovered(world)

    def test_nothing_is_believed_while_no_host_at_all_beats(self):
        world = self.world()
        for host in world.nova.hosts.values():
            host.alive = False
        world.store.report_failure('c1', 'test')
        world.settle(60)
        self.assertEqual('checking', world.store.failures()[0].state)
        self.assertIn('no compute node at all', world.store.failures()[0].detail)
        self.assertEqual([], world.store.recoveries())

    def test_no_spare_is_said_once_where_an_operator_looks(self):
        world = self.world(spares=())
        world.settle(20)
        events = [e for e in world.store.events() if e.kind == 'spares']
        self.assertEqual(1, len(events))
        self.assertIn('openstack vmha host set', events[0].text)
        world.die('c1')
        world.run(world.over)           # c2 has room
        self.assertRecovered(world)

    def test_that_there_is_one_again_is_told_by_whichever_engine_finds_it(self):
        world = self.world(spares=())
        world.settle(5)
        world.store.set_mark('s1', spare=True)
        world.start()                   # the one that has said so is no more
        world.settle(5)
        self.assertEqual(['warning', 'info'], [
            e.level for e in world.store.events() if e.kind == 'spares'])
        self.assertIn('vmha.cloud.spare_again', [n.event_type for n in world.store.outbox()])


class FaultTest(Base):
    """Nova does not answer as it should."""

    def test_a_lost_answer_is_found_in_the_migration_list(self):
        world = self.world()
        world.nova.late_faults['evacuate'] = [exception.OutcomeUnknown('reset')] * 3
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual(8, len(self.acts(world, 'evacuate')))

    def test_a_lost_call_is_sent_again_only_after_the_quiet_period(self):
        world = self.world(quiet=40.0)
        world.nova.faults['evacuate'] = [exception.OutcomeUnknown('timeout')]
        world.die('c1')
        sent = {}

        def over():
            for act in self.acts(world, 'evacuate'):
                sent.setdefault(act[0], []).append(world.clock())
            return world.over()
        calls = []
        real = world.nova.evacuate

        def evacuate(ident, target):
            calls.append((ident, world.clock()))
            return real(ident, target)
        world.nova.evacuate = evacuate
        world.run(over)
        self.assertRecovered(world)
        first = calls[0][0]
        times = [t for i, t in calls if i == first]
        self.assertEqual(2, len(times))
        self.assertGreaterEqual(times[1] - times[0], datetime.timedelta(seconds=40))

    def test_a_refused_connection_is_tried_again_at_once(self):
        world = self.world()
        world.nova.faults['evacuate'] = [exception.Unreachable('refused')] * 20
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)

    def test_force_down_is_insisted_on(self):
        world = self.world()
        world.nova.faults['force_down'] = [exception.OutcomeUnknown('500')] * 3
        world.die('c1')
        world.run(lambda: any(r.state == 'held' for r in world.store.recoveries()))
        self.assertIn('cannot be taken down', world.store.recoveries()[0].reason)
        world.run(world.over)
        self.assertRecovered(world)

    def test_one_instance_that_never_works_is_named_and_the_others_recover(self):
        world = self.world(max_faults=2, limits=model.Limits(0, 0))
        real = world.nova.evacuate

        def evacuate(ident, target):
            if ident == 'run3':
                raise exception.OutcomeUnknown('502')
            return real(ident, target)
        world.nova.evacuate = evacuate
        world.die('c1')
        world.run(world.over)
        self.assertEqual({'moved': 7, 'failed': 1}, _count(world.moves()))
        self.assertIn('502', world.moves()['run3'].reason)
        self.assertEqual('partial', world.store.recoveries()[0].state)

    def test_a_deleted_instance_is_gone(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        del world.nova.servers_['off1']
        world.run(world.over)
        self.assertEqual('gone', world.moves()['off1'].state)

    def test_a_list_that_fails_lets_nothing_be_moved_and_says_so(self):
        world = self.world()

        def servers(host=None, **_):
            raise exception.Unreachable('HTTP 503')
        real, world.nova.servers = world.nova.servers, servers
        world.die('c1')
        world.settle(60)
        self.assertEqual([], self.acts(world, 'evacuate'))
        self.assertEqual('held', world.store.recoveries()[0].state)
        self.assertIn('HTTP 503', world.store.recoveries()[0].reason)
        world.nova.servers = real
        world.run(world.over)
        self.assertRecovered(world)

    def test_an_operator_had_forced_the_host_down_and_that_is_not_ours_to_undo(self):
        world = self.world()
        world.nova.hosts['c1'].forced_down = True
        world.die('c1', source='nova')
        world.run(world.over)
        states = {s.kind: s.state for s in world.store.steps(world.store.recoveries()[0].id)}
        self.assertEqual('not_ours', states['force_down'])
        self.assertRecovered(world)


class KilledTest(Base):
    """kill -9 before or after every single write and act: nothing is forgotten or done twice."""

    def test_killed_at_every_gate(self):
        world = self.world(quiet=5.0)
        start = len(world.gates)
        world.die('c1')
        world.run(world.over)
        gates = world.gates[start:]
        self.assertGreater(len(gates), 60)
        for number, name in enumerate(gates):
            with self.subTest(gate=number, name=name):
                world = self.world(quiet=5.0)
                world.kill_at = len(world.gates) + number
                world.die('c1')
                world.run(world.over)
                world.settle()
                self.assertRecovered(world)
                marks = world.store.marks()
                self.assertEqual((False, True),
                                 (world.nova.hosts['s1'].enabled, marks['s1'].parked))

    def test_an_engine_that_lost_the_lead_does_nothing_more(self):
        world = self.world()
        old = world.engine
        world.start()
        world.step()
        world.die('c1')
        with self.assertRaises(exception.TermLost):
            for _ in range(30):
                world.nova.tick(0.5)
                world.collector.refresh()
                old.cycle()
        self.assertEqual([], self.acts(world, 'force_down'))


class IdleTest(Base):
    def test_an_idle_engine_finds_out_that_another_one_leads(self):
        world = self.world()
        old = world.engine
        world.start()
        world.step()
        with self.assertRaises(exception.TermLost):
            for _ in range(20):
                world.nova.tick(0.5)
                old.cycle()

    def test_who_takes_over_looks_before_it_says_or_does_anything(self):
        """What it saw while it waited, the one that led has changed since."""
        world = self.world()
        world.settle(3)
        world.start()
        world.collector.refresh()       # it waits, and sees the spare reserved
        world.nova.enable('id-s1')
        world.store.set_mark('s1', parked=False)
        world.nova.tick(0.5)
        acts = len(world.nova.calls)
        world.engine.take_lead()
        world.engine.cycle()
        self.assertEqual((acts, []), (len(world.nova.calls), world.store.events()))
        world.settle(3)
        self.assertTrue(world.store.marks()['s1'].parked)
        self.assertEqual([], world.store.events())

    def test_the_measured_load_is_there_for_others_to_see(self):
        world = self.world()
        world.collector.on_metrics('c2', [
            {'nova_object.data': {'name': 'cpu.percent', 'value': 42}}])
        world.settle(8)
        self.assertEqual(0.42, world.store.loads()['c2'][0])


class AbsenceTest(Base):
    """What a list lacks is not gone."""

    def test_an_engine_that_starts_while_a_cell_is_down_forgets_nobody(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        hidden = {'run4': world.nova.servers_['run4']}
        real_list, real_get = world.nova.servers, world.nova.server

        def servers(**filters):
            found = real_list(**filters)
            return type(found)(tuple(i for i in found.instances if i.id not in hidden))

        def server(ident):
            if ident in hidden:
                raise exception.Unreachable('cell down')
            return real_get(ident)
        world.nova.servers, world.nova.server = servers, server
        world.start()                   # a new engine has never seen run4
        world.settle(60)
        self.assertNotIn(world.moves()['run4'].state, ('gone', 'left', 'failed', 'moved'))
        self.assertIsNone(world.store.recoveries()[0].ended_at)
        world.nova.servers, world.nova.server = real_list, real_get
        world.run(world.over)
        self.assertRecovered(world)

    def test_an_instance_deleted_while_no_engine_lives_is_gone(self):
        world = self.world(window=1)
        world.die('c1')
        world.run(lambda: self.acts(world, 'evacuate'))
        del world.nova.servers_['run4']
        world.start()
        world.run(world.over)
        self.assertEqual('gone', world.moves()['run4'].state)
