"""The collector against a small Nova on loopback: what it asks, and what it believes."""

import collections
import datetime
import threading
import time

import testtools

from tests.unit import clock as clocks
from tests.unit import fake_nova
from vmha_nova import collector
from vmha_nova import exception
from vmha_nova import nova

START = fake_nova.START
SERVERS, SERVICES = '/v2.1/servers/detail', '/v2.1/os-services'


def after(seconds):
    return START + datetime.timedelta(seconds=seconds)


class Base(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.clock = clocks.Clock(fake_nova.START)
        self.fake = fake_nova.FakeNova(self.clock).start()
        self.addCleanup(self.fake.stop)
        self.collector = self.new_collector()

    def new_collector(self, **settings):
        adapter = nova.Nova(self.fake.session(), 'R', 'public', timeout=20.0)
        return collector.Collector(adapter, self.clock, collector.Settings(**settings))

    def cloud(self, hosts, servers):
        """Hosts c0, c1, … with so many servers in all, spread evenly; returns their ids."""
        for number in range(hosts):
            self.fake.add_host(f'c{number}')
        long_ago = fake_nova.stamp(after(-7200))
        return [self.fake.add_server(f'c{number % hosts}', updated=long_ago)
                for number in range(servers)]

    def pass_time(self, seconds):
        """Let time go by with refreshes when they are due, and every host alive."""
        end = self.clock.now + datetime.timedelta(seconds=seconds)
        while self.clock.now < end:
            pause = min(self.collector.refresh(), (end - self.clock.now).total_seconds())
            self.clock.tick(max(pause, 0.1))

    def asked(self):
        """What was asked since this was called last: (method, path) -> how often."""
        counts = collections.Counter((call.method, call.path) for call in self.fake.calls)
        self.fake.calls.clear()
        return counts

    @property
    def snapshot(self):
        return self.collector.snapshot

    def problems(self):
        return ' | '.join(self.snapshot.problems)

    def node(self, host='c0'):
        return self.snapshot.nodes[host]


class FirstTest(Base):

    def test_one_refresh_reads_everything(self):
        ids = self.cloud(hosts=3, servers=7)
        self.fake.aggregates = [{'name': 'ssd', 'metadata': {'disk': 'fast'}, 'hosts': ['c1']}]
        self.fake.groups['g'] = {'id': 'g', 'policy': 'affinity', 'members': ids[:2], 'rules': {}}
        self.assertEqual(10.0, self.collector.refresh())
        self.assertEqual({'c0', 'c1', 'c2'}, set(self.snapshot.nodes))
        self.assertEqual(set(ids), set(self.snapshot.instances))
        self.assertEqual([ids[1], ids[4]], [i.id for i in sorted(
            self.snapshot.on('c1'), key=lambda i: ids.index(i.id))])
        self.assertEqual('g', self.snapshot.group_of[ids[1]])
        self.assertEqual((), self.snapshot.problems)
        node = self.node('c1')
        self.assertEqual((True, True, 'nova', 8, True), (
            node.up, node.enabled, node.zone, node.cores, node.has_room))
        self.assertEqual((128, 0), (node.capacity['VCPU'], node.used['VCPU']))
        self.assertEqual(['ssd'], [aggregate.name for aggregate in node.aggregates])
        self.assertEqual({'HW_CPU'}, node.traits)
        self.assertEqual((START, START, START), (
            self.snapshot.instances_at, self.snapshot.nodes_at, node.usage_at))

    def test_ironic_is_not_ours(self):
        self.cloud(hosts=1, servers=0)
        self.fake.add_host('metal', kind='ironic')
        self.collector.refresh()
        self.assertEqual({'c0'}, set(self.snapshot.nodes))
        self.pass_time(100)
        del self.fake.services['metal']
        self.pass_time(100)
        self.assertEqual({'c0'}, set(self.snapshot.nodes))
        self.assertEqual((), self.snapshot.problems)

    def test_nova_is_away_for_long_at_first(self):
        self.cloud(hosts=1, servers=1)
        self.fake.fail('GET', '/', status=503, times=100000)
        self.pass_time(1200)
        self.fake.faults.clear()
        self.pass_time(60)
        self.assertEqual(1, len(self.snapshot.instances))

    def test_nova_is_away_at_first(self):
        self.cloud(hosts=1, servers=1)
        self.fake.fail('GET', '/', status=503, times=1000)
        self.assertEqual(10.0, self.collector.refresh())
        self.assertEqual((None, None), (self.snapshot.instances_at, self.snapshot.nodes_at))
        self.assertIn('servers: ', self.problems())
        self.fake.faults.clear()
        self.clock.tick(10)
        self.collector.refresh()
        self.assertEqual((1, 1, ()), (
            len(self.snapshot.nodes), len(self.snapshot.instances), self.snapshot.problems))


class CallsTest(Base):

    def calls_of_a_minute(self, hosts, servers):
        self.cloud(hosts, servers)
        self.pass_time(30)
        self.asked()
        self.pass_time(60)
        return self.asked()

    def test_a_large_cloud_costs_the_calls_of_a_small_one(self):
        small = self.calls_of_a_minute(10, 50)
        self.fake.stop()
        self.clock = clocks.Clock(fake_nova.START)
        self.fake = fake_nova.FakeNova(self.clock).start()
        self.addCleanup(self.fake.stop)
        self.collector = self.new_collector()
        self.assertEqual(small, self.calls_of_a_minute(400, 3000))
        self.assertEqual({
            ('GET', SERVICES): 6, ('GET', SERVERS): 6, ('GET', '/v2.1/os-aggregates'): 1,
            ('GET', '/v2.1/os-server-groups'): 1, ('GET', '/placement/allocation_candidates'): 1},
            dict(small))

    def test_pages_are_all_that_grows(self):
        self.fake.page_size = 50
        ids = self.cloud(hosts=4, servers=200)
        self.pass_time(130)
        for one in ids[:120]:
            self.fake.change(one, name='new')
        self.asked()
        self.collector.refresh_instances()
        self.assertEqual({('GET', SERVERS): 3}, self.asked())

    def test_a_host_that_is_new_has_its_hypervisor_looked_up(self):
        self.cloud(hosts=2, servers=0)
        self.collector.refresh()
        self.fake.add_host('new')
        self.asked()
        self.pass_time(130)
        self.assertEqual(1, self.asked()['GET', '/v2.1/os-hypervisors/detail'])
        self.assertEqual(8, self.node('new').cores)

    def test_notifications_bring_changes_early_but_not_more_often(self):
        one, = self.cloud(hosts=1, servers=1)
        self.collector.refresh()
        self.clock.tick(3)
        self.asked()
        self.assertEqual(7.0, self.collector.refresh())
        self.assertEqual({}, self.asked())
        self.fake.change(one, name='new')
        for _ in range(50):
            self.collector.poke()
        began = time.monotonic()
        self.collector.wait(30)
        self.assertLess(time.monotonic() - began, 10, 'it is over at once')
        self.collector.refresh()
        self.assertEqual({('GET', SERVERS): 1}, self.asked())
        self.assertEqual('new', self.snapshot.instances[one].name)
        self.collector.poke()
        self.assertEqual(1.0, self.collector.refresh())
        self.assertEqual({}, self.asked())
        self.clock.tick(1)
        self.collector.refresh()
        self.assertEqual({('GET', SERVERS): 1}, self.asked())
        self.clock.tick(1)
        self.assertEqual(5.0, self.collector.refresh())
        self.assertEqual({}, self.asked())

    def test_long_lists_of_changes_are_not_asked_for_all_the_time(self):
        """While everything changes, Nova has better things to do than to list it."""
        def slowly(call):
            self.clock.tick(0.4)
            return self.fake.list_servers(call)
        self.cloud(hosts=1, servers=1)
        self.collector.refresh()
        self.clock.tick(2)
        self.collector.poke()
        self.fake.handlers['GET', SERVERS] = slowly
        self.collector.refresh()
        self.collector.poke()
        self.assertAlmostEqual(4.0, self.collector.refresh() + 0.4)
        self.clock.tick(3.6)
        self.asked()
        self.collector.refresh()
        self.assertEqual({('GET', SERVERS): 1}, self.asked())
        for seconds in (5, 0):                  # but never more seldom than without a word
            self.clock.tick(20)
            self.fake.handlers['GET', SERVERS] = lambda call, s=seconds: (
                self.clock.tick(s), self.fake.list_servers(call))[1]
            self.collector.poke()
            self.collector.refresh()
            self.collector.poke()
            wait = self.collector.refresh()
            self.assertLessEqual(wait, 10)

    def test_heartbeats_go_on_while_a_long_list_is_read(self):
        self.fake.page_size = 10
        self.cloud(hosts=2, servers=100)
        self.collector.refresh()
        self.clock.tick(3600)
        pages = []

        def slowly(call):
            if 'changes-since' not in call.query:
                pages.append(call)
                self.clock.tick(5)              # each page takes Nova 5 s
            return self.fake.list_servers(call)
        self.fake.handlers['GET', SERVERS] = slowly
        self.asked()
        self.collector.refresh()
        self.assertEqual(10 + 1, len(pages))    # and an empty one
        self.assertEqual(1 + 5, self.asked()['GET', SERVICES])
        self.assertLess(after(3600 + 40), self.snapshot.instances_at)

    def test_those_who_wait_for_a_look_share_the_next(self):
        one, = self.cloud(hosts=1, servers=1)
        self.collector.refresh()
        self.asked()
        first, second, go = threading.Event(), [], threading.Event()

        def slowly(call):
            first.set()
            go.wait(10)
            return self.fake.list_servers(call)
        self.fake.handlers['GET', SERVERS] = slowly
        threads = [threading.Thread(target=self.collector.refresh_instances)]
        threads[0].start()
        first.wait(10)
        self.clock.tick(5)
        for _ in range(5):
            thread = threading.Thread(target=lambda: (
                self.collector.refresh_instances(), second.append(self.snapshot.instances_at)))
            thread.start()
            threads.append(thread)
        time.sleep(0.2)                         # until they all wait
        go.set()
        for thread in threads:
            thread.join(10)
        # The one under way began before they came, so it is not enough for them.
        self.assertEqual([after(5)] * 5, second)
        self.assertLess(self.asked()['GET', SERVERS], 1 + 5)


class NodesTest(Base):

    def setUp(self):
        super().setUp()
        self.cloud(hosts=3, servers=0)
        self.collector.refresh()

    def look(self, seconds=10):
        self.clock.tick(seconds)
        self.collector.refresh_services()

    def silence(self, host='c0'):
        beat = self.node(host).heartbeat
        return (beat.looked_at - beat.changed_at).total_seconds()

    def test_heartbeats(self):
        self.assertEqual((START, START), (
            self.node().heartbeat.changed_at, self.node().heartbeat.looked_at))
        self.look()
        self.assertEqual(10, self.silence())
        self.clock.tick(10)
        self.fake.beat('c0')
        self.collector.refresh_services()
        self.assertEqual((0, 20), (self.silence('c0'), self.silence('c1')))
        self.look()
        self.assertEqual((10, 30), (self.silence('c0'), self.silence('c1')))

    def test_no_look_is_no_silence(self):
        self.fake.fail('GET', SERVICES, status=503, times=3)
        for _ in range(3):
            self.clock.tick(10)
            self.assertRaises(exception.Unreachable, self.collector.refresh_services)
        self.assertEqual((0, START), (self.silence(), self.snapshot.nodes_at))
        self.assertTrue(self.node().up)

    def test_a_slow_look_makes_no_silence(self):
        def slowly(call):
            self.clock.tick(15)
            return self.fake.list_services(call)
        self.fake.handlers['GET', SERVICES] = slowly
        self.clock.tick(10)
        self.fake.beat()
        self.collector.refresh_services()       # from 10 to 25 s; shows a beat of that time
        self.clock.tick(1)
        self.collector.refresh_services()       # begins at 26 s
        self.assertEqual(1, self.silence())
        self.collector = self.new_collector()
        self.collector.refresh_services()       # the first ever
        self.assertLessEqual(self.silence(), 0)

    def test_what_we_do_to_a_service_is_no_heartbeat(self):
        # Nova shows when the row of the service was changed, whoever did it.
        for number, act in enumerate((
                {'forced_down': True}, {'status': 'disabled', 'disabled_reason': 'vmha'},
                {'disabled_reason': 'other'}, {'status': 'enabled', 'disabled_reason': None})):
            self.clock.tick(10)
            self.fake.services['c0'].update(act)
            self.fake.beat('c0')
            self.collector.refresh_services()
            self.assertEqual(10 * (number + 1), self.silence(), act)
        self.assertEqual('2026-11-23T12:00:00.000000', self.node().heartbeat.value)
        self.clock.tick(10)
        self.fake.beat('c0')
        self.collector.refresh_services()
        self.assertEqual(0, self.silence())

    def test_what_nova_has_confirmed_is_known_before_the_next_look(self):
        self.fake.services['c0'].update(status='disabled', disabled_reason='vmha: spare')
        self.look()

        def slowly(call):
            answer = self.fake.list_services(call)
            self.fake.services['c0'].update(status='enabled', disabled_reason=None)
            self.fake.beat('c0')
            self.clock.tick(1)
            self.collector.on_enabled('c0')
            return answer
        self.assertFalse(self.node().enabled)
        self.fake.handlers['GET', SERVICES] = slowly
        self.clock.tick(10)
        self.collector.refresh_services()
        self.assertEqual((True, ''), (self.node().enabled, self.node().disabled_reason),
                         'a list that is older says nothing else')
        del self.fake.handlers['GET', SERVICES]
        self.collector.refresh_services()
        self.assertGreater(self.silence(), 0, 'our act is no heartbeat')
        self.clock.tick(10)
        self.fake.services['c0'].update(status='disabled', disabled_reason='by others')
        self.collector.refresh_services()
        self.assertEqual((False, 'by others'), (self.node().enabled, self.node().disabled_reason))

    def test_a_look_that_has_just_begun_will_do_where_that_is_said(self):
        begun, go = threading.Event(), threading.Event()

        def slowly(call):
            begun.set()
            go.wait(10)
            return self.fake.list_services(call)
        self.look()
        self.asked()
        self.clock.tick(10)
        self.fake.handlers['GET', SERVICES] = slowly
        threads = [threading.Thread(target=self.collector.refresh_services)]
        threads[0].start()
        begun.wait(10)
        self.clock.tick(0.5)
        threads.append(threading.Thread(target=self.collector.refresh_services, args=(1.0,)))
        threads[1].start()
        self.assertTrue(threads[1].is_alive(), 'it has not ended')
        go.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(1, self.asked()['GET', SERVICES])
        self.clock.tick(1)
        self.collector.refresh_services(1.0)
        self.assertEqual(1, self.asked()['GET', SERVICES], 'that one is too old')

    def test_a_look_that_failed_is_not_shared_afterwards(self):
        self.look(10)
        self.clock.tick(10)
        self.asked()
        self.fake.fail('GET', SERVICES, status=503, times=2)
        for _ in range(2):
            self.assertRaises(exception.Unreachable, self.collector.refresh_services, 1.0)
        self.collector.refresh_services(1.0)
        self.assertEqual(3, self.asked()['GET', SERVICES])

    def test_a_service_that_is_not_listed_is_no_target_and_no_corpse(self):
        record = self.fake.services.pop('c1')
        self.look()
        node = self.node('c1')
        self.assertEqual((False, True, 0), (node.up, node.enabled, self.silence('c1')))
        self.assertIn('c1', self.problems())
        self.fake.services['c1'] = record
        self.look()
        self.assertTrue(self.node('c1').up)
        self.assertEqual('', self.problems())

    def test_a_deleted_node_is_forgotten_when_nova_says_so(self):
        one = self.fake.add_server('c1')
        del self.fake.services['c1']
        del self.fake.services['c2']
        self.pass_time(130)
        self.assertEqual({'c0', 'c1', 'c2'}, set(self.snapshot.nodes))
        del self.fake.hypervisors['c1']
        del self.fake.hypervisors['c2']
        self.pass_time(130)
        self.assertEqual({'c0', 'c1'}, set(self.snapshot.nodes), 'c1 holds an instance')
        self.fake.delete(one)
        self.pass_time(130)
        self.assertEqual({'c0'}, set(self.snapshot.nodes))
        self.assertEqual('', self.problems())

    def test_a_full_host_is_absent_from_placement(self):
        provider = self.fake.hypervisors['c0']['id']
        memory = self.fake.providers[provider]['resources']['MEMORY_MB']
        memory['used'] = 32000
        self.clock.tick(60)
        self.collector.refresh_nodes()
        memory['used'] = 32768
        self.clock.tick(60)
        self.collector.refresh_nodes()
        node = self.node()
        self.assertEqual((False, 32768, 32000, after(60)), (
            node.has_room, node.capacity['MEMORY_MB'], node.used['MEMORY_MB'], node.usage_at))
        self.assertTrue(self.node('c1').has_room)

    def test_one_list_that_fails_does_not_hold_up_the_others(self):
        self.fake.fail('GET', '/placement', status=500)
        self.fake.aggregates = [{'name': 'ssd', 'metadata': {}, 'hosts': ['c1']}]
        self.clock.tick(60)
        self.assertRaises(exception.Unreachable, self.collector.refresh_nodes)
        self.assertEqual(1, len(self.node('c1').aggregates))
        self.assertEqual((True, START), (self.node().has_room, self.node().usage_at))
        self.assertIn('Placement: GET /allocation_candidates', self.problems())
        self.collector.refresh_nodes()
        self.assertEqual('', self.problems())

    def test_a_replaced_host_has_a_new_provider(self):
        self.fake.add_host('c1')
        self.fake.hypervisors['c1']['id'] = 'new-provider'
        self.pass_time(130)
        self.assertEqual('new-provider', self.node('c1').provider_id)

    def test_measured_load(self):
        def measure(host, **values):
            self.collector.on_metrics(host, [
                {'nova_object.name': 'MetricPayload', 'nova_object.version': '1.0',
                 'nova_object.data': {'name': name.replace('_', '.'), 'value': value}}
                for name, value in values.items()])
        measure('c0', cpu_frequency=800, cpu_percent=27)
        measure('c1', cpu_percent=100)
        measure('c2', cpu_frequency=800)
        measure('nobody', cpu_percent=5)
        self.assertEqual([0.27, 1.0, None],
                         [self.node(host).cpu_share for host in ('c0', 'c1', 'c2')])
        self.assertEqual(START, self.node().cpu_share_at)
        self.look(170)
        self.assertEqual(0.27, self.node().cpu_share)
        self.look(20)
        self.assertEqual((None, None), (self.node().cpu_share, self.node().cpu_share_at))
