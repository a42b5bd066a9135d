"""The monitor's loop on a simulated cloud: how fast it is, and what it does not fall for."""

import logging
import statistics
import unittest

from tests.unit import sim_monitor
from vmha_nova.monitor import channels as c
from vmha_nova.monitor import verdict

BAD = (verdict.DEAD, verdict.PROBABLY_DEAD)


class Case(unittest.TestCase):
    def setUp(self):
        super().setUp()
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def world(self, hosts=8, seed=0, warm=40.0, **values):
        world = sim_monitor.World(hosts, seed, **values)
        world.run(warm)
        self.assertEqual({verdict.ALIVE}, {v.what for v in world.monitor.watch.verdicts.values()})
        return world


class SpeedTest(Case):
    """Seconds from the failure to the report, at default settings."""

    def detect(self, fail, runs=40, **values):
        found = []
        for seed in range(runs):
            world = self.world(4, seed, warm=40 + seed * 0.37, **values)
            fail(world)
            found.append(world.detect())
        return statistics.median(found), max(found)

    def test_a_host_whose_processes_are_killed(self):
        median, longest = self.detect(lambda world: world.kill())
        self.assertLess(median, 3.0)
        self.assertLess(longest, 30.0)  # a heartbeat on its way costs its silence

    def test_a_host_without_power(self):
        median, longest = self.detect(lambda world: world.cut())
        self.assertLess(median, 8.0)
        self.assertLess(longest, 30.0)

    def test_the_first_word_of_a_silent_host_is_probable_and_the_second_is_certain(self):
        world = self.world()
        world.cut()
        world.engine_reads = False
        world.run(60)
        sources = [one[2] for one in world.reports_of()]
        self.assertEqual('vmha-monitor-probable', sources[0])
        self.assertEqual('vmha-monitor', sources[-1])

    def test_a_host_without_osds_and_power(self):
        world = self.world()
        world.hosts['c0'].osd = False
        world.run(10)
        world.cut()
        self.assertLess(world.detect(), 9.0)


class PartsTest(Case):
    """What is not the death of a host is called what it is, and nothing is reported."""

    def ends(self, world, expected, seconds=90):
        world.run(seconds)
        self.assertEqual(expected, world.verdict())
        self.assertEqual([], world.sent)

    def test_the_cable_of_the_management_network(self):
        world = self.world()
        world.cut(networks=[c.MANAGEMENT])
        self.ends(world, verdict.ISOLATED)

    def test_the_cable_of_the_storage_network(self):
        world = self.world()
        world.cut(networks=[c.STORAGE])
        self.ends(world, verdict.STORAGE_TROUBLE)

    def test_nova_compute(self):
        world = self.world()
        world.hosts['c0'].compute = False
        self.ends(world, verdict.COMPUTE_DOWN)

    def test_an_osd(self):
        world = self.world()
        world.kill_osd()
        self.ends(world, verdict.STORAGE_TROUBLE)

    def test_an_osd_and_nova_compute(self):
        world = self.world()
        world.kill_osd()
        world.hosts['c0'].compute = False
        self.ends(world, verdict.STORAGE_TROUBLE)

    def test_a_port_that_is_closed_on_a_host_whose_osds_were_down(self):
        world = self.world()
        world.kill_osd()
        world.run(60)
        world.hosts['c0'].listens.clear()
        self.ends(world, verdict.STORAGE_TROUBLE)

    def test_a_host_that_somebody_has_forced_down(self):
        world = self.world()
        world.hosts['c0'].forced = True
        world.run(10)
        world.kill()
        self.ends(world, verdict.DEAD)
        world.hosts['c0'].forced = False
        self.assertIsNotNone(world.detect())

    def test_the_engine_reads_of_changes(self):
        world = self.world()
        world.hosts['c0'].compute = False
        world.run(60)
        world.restore()
        world.run(30)
        self.assertEqual([('c0', 'alive', 'compute-down'), ('c0', 'compute-down', 'alive')],
                         [one[1:] for one in world.told])


class DoubtTest(Case):
    """A monitor that cannot see says so, and nothing else."""

    def nothing(self, world, seconds=120):
        world.run(seconds)
        self.assertEqual([], world.sent)

    def test_its_own_cable(self):
        world = self.world()
        world.cables.clear()
        world.run(3)
        self.nothing(world)
        self.assertEqual({verdict.CUT_OFF}, {
            v.what for v in world.monitor.watch.verdicts.values()})
        world.cables |= set(sim_monitor.NETWORKS)
        self.nothing(world, 60)
        self.assertEqual(verdict.ALIVE, world.verdict())
        world.kill()
        self.assertIsNotNone(world.detect())

    def test_its_own_cable_of_one_network_nothing_is_said_of_anybody(self):
        for network in sim_monitor.NETWORKS:
            for seed in range(10):
                with self.subTest(network=network, seed=seed):
                    world = self.world(4, seed)
                    world.cables.discard(network)
                    world.run(4)
                    self.nothing(world, 120)
                    self.assertEqual({verdict.CUT_OFF}, {
                        v.what for v in world.monitor.watch.verdicts.values()})
                    world.cables.add(network)
                    self.nothing(world, 60)
                    self.assertEqual([], world.told)
                    world.kill()
                    self.assertIsNotNone(world.detect())

    def test_its_own_cable_of_a_cloud_without_witnesses_or_osds(self):
        for seed in range(10):
            world = self.world(3, seed, witnesses=False, storage=False)
            for seconds in (7, 12, 40, 90):
                world.cables.clear()
                world.run(seconds)
                world.cables |= set(sim_monitor.NETWORKS)
                self.nothing(world, 30)

    def test_nova_is_down_for_a_minute(self):
        world = self.world()
        world.nova_up = False
        self.nothing(world, 5)
        world.kill()
        self.nothing(world, 55)
        world.nova_up = True
        self.assertLess(world.detect(), 12)

    def test_ceph_does_not_answer(self):
        world = self.world()
        world.ceph_up = False
        world.kill()
        self.nothing(world, 60)

    def test_rabbitmq_is_down_for_a_minute(self):
        """No heartbeat of anybody comes; who dies now is reported once the bus is back."""
        world = self.world()
        world.rabbit_up = world.bus_up = False
        world.run(5)
        world.kill()
        self.nothing(world, 55)
        self.assertEqual(verdict.ALIVE, world.verdict('c1'))
        world.rabbit_up = world.bus_up = True
        self.assertLess(world.detect(), 5)
        self.assertEqual({'c0'}, {one[1] for one in world.sent})

    def test_most_hosts_vanish_at_once(self):
        world = self.world(4)
        for host in ('c0', 'c1', 'c2'):
            world.cut(host)
        self.nothing(world, 55)
        self.assertEqual(verdict.CUT_OFF, world.verdict('c3'))
        # The others' eyes see the same for long enough: now the engine is to know, and holds them.
        world.run(20)
        self.assertEqual({'c0', 'c1', 'c2'}, {one[1] for one in world.sent})

    def test_most_hosts_lose_their_storage_network_which_is_said_a_minute_later(self):
        world = self.world(4)
        for host in ('c0', 'c1', 'c2'):
            world.cut(host, [c.STORAGE])
        self.nothing(world, 55)
        self.assertEqual([], world.told)
        self.nothing(world, 30)
        self.assertEqual({('c0', 'storage-trouble'), ('c1', 'storage-trouble'),
                          ('c2', 'storage-trouble')}, {(h, what) for _, h, _, what in world.told})

    def test_most_hosts_are_killed_at_once(self):
        """Their ports refuse, so that each is found dead before it was silent for a second."""
        for seed in range(10):
            world = self.world(4, seed)
            for host in ('c0', 'c1', 'c2'):
                world.kill(host)
            self.nothing(world, 50)
            self.assertEqual(verdict.CUT_OFF, world.verdict('c3'))

    def test_two_of_eight_die_at_once(self):
        world = self.world()
        world.kill('c0')
        world.kill('c1')
        world.run(10)
        self.assertEqual({'c0', 'c1'}, {one[1] for one in world.sent})


class NoiseTest(Case):
    def test_packets_are_lost(self):
        """20 % for 2 s at a time, over and over: nothing is reported, of nobody."""
        world = self.world(8, warm=30)
        for _ in range(100):
            world.loss = 0.2
            world.run(2)
            world.loss = 0.0
            world.run(2)
        self.assertEqual([], world.sent)
        self.assertEqual(set(), {one[3] for one in world.told})

    def test_half_of_all_packets_are_lost_for_ten_minutes(self):
        world = self.world(8, warm=30)
        world.loss = 0.5
        world.run(600)
        self.assertEqual([], world.sent)

    def test_a_host_that_comes_and_goes(self):
        world = self.world(flap_limit=2)
        for _ in range(3):
            world.cut(networks=[c.MANAGEMENT, c.STORAGE])
            world.run(8)
            world.restore()
            world.run(4)
        world.sent.clear()
        world.rows.clear()
        world.cut()
        took = world.detect()
        self.assertGreater(took, 55)
        self.assertLess(took, 70)

    def test_the_monitor_stood_still(self):
        """Its machine was paused: what it did not see is no silence."""
        world = self.world()
        for seconds in (4, 8, 20, 100):
            world.advance(world.now + seconds)
            world.run(10)
        self.assertEqual([], world.sent)


class RepeatTest(Case):
    def test_a_report_is_repeated_until_it_is_taken(self):
        world = self.world()
        world.engine_reads = False
        world.kill()
        world.run(35)
        times = [one[0] for one in world.reports_of()]
        self.assertGreaterEqual(len(times), 3)
        for one, after in zip(times, times[1:], strict=False):
            self.assertAlmostEqual(10, after - one, delta=1.5)
        self.assertEqual(1, len({one[4] for one in world.reports_of()}))    # one and the same
        world.engine_reads = True
        world.run(12)
        count = len(world.sent)
        world.run(60)
        self.assertEqual(count, len(world.sent))

    def test_a_report_that_was_dismissed_is_made_anew_while_the_host_is_dead(self):
        world = self.world()
        world.kill()
        world.run(10)
        (first,) = world.reports_of()
        self.assertEqual(0, world.reports.waiting)
        for pause, times in ((40, 0), (30, 1), (90, 0), (30, 1)):
            world.rows['c0'].open = False       # dismissed: in maintenance, as it is now
            world.sent.clear()
            world.run(pause)
            self.assertEqual(times, len(world.sent), pause)
            self.assertEqual(0, world.reports.waiting)
        (again,) = world.sent
        self.assertGreater(again[4], first[4])
        self.assertNotEqual(again[3]['death'], first[3]['death'])

    def test_without_the_database(self):
        world = self.world()
        world.database_up = False
        world.kill()
        world.run(25)
        self.assertGreaterEqual(len(world.sent), 2)
        world.database_up = True
        world.run(10)
        self.assertIn('dead', [one[3] for one in world.told])

    def test_a_host_that_comes_back_is_reported_no_more(self):
        world = self.world()
        world.engine_reads = False
        world.kill()
        world.run(10)
        world.restore()
        world.run(5)
        count = len(world.sent)
        world.run(60)
        self.assertEqual(count, len(world.sent))

    def test_who_does_not_lead_is_silent(self):
        world = self.world()
        world.leading = False
        world.kill()
        world.run(30)
        self.assertEqual([], world.sent + world.told)
        self.assertEqual(verdict.DEAD, world.verdict())
        world.leading = True
        self.assertLess(world.detect(), 2)
