"""What the collector believes of instances, against a small Nova on loopback."""

from tests.unit import fake_nova
from tests.unit import test_collector
from vmha_nova import exception

START, SERVERS = test_collector.START, test_collector.SERVERS
after = test_collector.after


class InstancesTest(test_collector.Base):

    def setUp(self):
        super().setUp()
        self.ids = self.cloud(hosts=3, servers=9)       # three on each
        self.collector.refresh()
        self.clock.tick(100)

    def look(self):
        self.collector.refresh_instances()

    def test_changes(self):
        one, two, three = self.ids[:3]
        self.fake.change(one, **{'OS-EXT-SRV-ATTR:host': 'c2'})
        self.fake.change(two, **{'OS-EXT-STS:task_state': 'rebuilding'})
        new = self.fake.add_server('c0')
        before = self.snapshot
        self.look()
        self.assertIn(one, self.snapshot.by_host['c2'])
        self.assertNotIn(one, self.snapshot.by_host['c0'])
        self.assertEqual('rebuilding', self.snapshot.instances[two].task_state)
        self.assertEqual('c0', self.snapshot.instances[new].host)
        self.assertIs(before.instances[three], self.snapshot.instances[three])
        self.assertIn(one, before.by_host['c0'], 'a snapshot never changes')
        self.assertEqual(after(100), self.snapshot.instances_at)

    def test_what_no_list_of_changes_shows_is_asked_for_once(self):
        one = self.ids[0]
        updated = self.fake.servers[one]['updated']
        self.fake.change(one, **{'os-extended-volumes:volumes_attached': [{'id': 'v'}]})
        self.fake.servers[one]['updated'] = updated
        before = self.snapshot.instances[one]
        self.look()
        self.assertEqual((), self.snapshot.instances[one].volumes)
        self.collector.ask(one)
        self.look()
        self.assertEqual(('v',), self.snapshot.instances[one].volumes)
        self.assertNotEqual(before.stamp, self.snapshot.instances[one].stamp)
        calls = len(self.fake.calls)
        self.look()
        self.assertFalse([c for c in self.fake.calls[calls:] if one in str(c)])

    def test_one_that_could_not_be_read_is_asked_for_again(self):
        one, two = self.ids[:2]
        for ident in (one, two):
            self.fake.servers[ident]['os-extended-volumes:volumes_attached'] = [{'id': 'v'}]
            self.collector.ask(ident)
        nova = self.collector._instances._nova
        real, nova.server = nova.server, self.unreachable
        self.look()
        self.assertTrue(any('disks changed' in p for p in self.snapshot.problems))
        self.assertTrue(self.snapshot.instances[one].known)
        nova.server = real
        self.look()
        self.assertEqual([('v',)] * 2, [self.snapshot.instances[i].volumes for i in (one, two)])
        self.assertEqual((), self.snapshot.problems)

    def unreachable(self, ident):
        raise exception.Unreachable('not now')

    def test_no_change_copies_nothing(self):
        self.fake.change(self.ids[0])
        self.look()
        before = self.snapshot
        self.look()                     # lists overlap: it is listed again, as it was
        self.assertIs(before.instances, self.snapshot.instances)
        self.assertIs(before.by_host, self.snapshot.by_host)

    def test_a_deleted_record_removes(self):
        self.fake.delete(self.ids[0])
        self.look()
        self.assertNotIn(self.ids[0], self.snapshot.instances)
        self.assertNotIn(self.ids[0], self.snapshot.by_host['c0'])

    def test_changes_reach_back_behind_the_list_before(self):
        self.fake.calls.clear()
        self.look()
        self.clock.tick(10)
        # Written by a service whose clock is 55 s behind ours.
        self.fake.change(self.ids[0], name='new')
        self.fake.servers[self.ids[0]]['updated'] = fake_nova.stamp(after(110 - 55))
        self.look()
        self.assertEqual('new', self.snapshot.instances[self.ids[0]].name)
        self.assertEqual(['2026-11-23T11:59:00Z', '2026-11-23T12:00:40Z'],
                         [call.query['changes-since'] for call in self.fake.calls])

    def test_a_list_that_fails_changes_nothing(self):
        self.fake.page_size = 2
        for one in self.ids:
            self.fake.change(one, name='new')
        self.fake.fail('GET', SERVERS, status=503, skip=1)
        before = self.snapshot
        self.assertRaises(exception.Unreachable, self.look)
        self.assertIs(before.instances, self.snapshot.instances)
        self.assertEqual(START, self.snapshot.instances_at)
        self.assertIn('servers: GET /servers/detail: answered 503', self.problems())
        self.clock.tick(10)
        self.look()
        self.assertEqual({'new'}, {i.name for i in self.snapshot.instances.values()})
        self.assertEqual('', self.problems())

    def test_after_a_list_that_fails_the_next_one_begins_where_it_began(self):
        self.fake.change(self.ids[0], name='new')
        self.fake.servers[self.ids[0]]['updated'] = fake_nova.stamp(after(20))
        self.fake.fail('GET', SERVERS, status=503)
        self.assertRaises(exception.Unreachable, self.look)
        self.clock.tick(100)
        self.look()
        self.assertEqual('new', self.snapshot.instances[self.ids[0]].name)

    def test_a_short_list_removes_nothing(self):
        self.fake.left_out = set(self.ids[:4])
        self.clock.tick(3600)
        self.collector.refresh()
        self.assertEqual(set(self.ids), set(self.snapshot.instances))

    def test_a_full_list_finds_out_about_those_it_lacks(self):
        self.collector = self.new_collector(max_lookups=2)
        self.collector.refresh()
        lost = sorted(self.ids)[:5]             # deleted and purged, and nobody noticed
        for one in lost:
            del self.fake.servers[one]
        for expected in (3, 1, 0):
            self.clock.tick(3600)
            self.asked()
            self.collector.refresh()
            self.assertEqual(expected, len(set(lost) & self.snapshot.instances.keys()))
            self.assertGreaterEqual(2, sum(
                count for (_, path), count in self.asked().items()
                if path.startswith('/v2.1/servers/') and path != SERVERS))

    def test_those_that_are_there_after_all_let_others_have_their_turn(self):
        self.collector = self.new_collector(max_lookups=2)
        self.collector.refresh()
        *unlisted, lost = sorted(self.ids)[:3]
        self.fake.left_out = set(unlisted)
        del self.fake.servers[lost]
        for expected in (set(self.ids), set(self.ids) - {lost}):
            self.clock.tick(3600)
            self.collector.refresh()
            self.assertEqual(expected, set(self.snapshot.instances))

    def test_a_broken_record_does_not_hide_the_others(self):
        broken, lost = sorted(self.ids)[:2]
        self.fake.left_out = {broken}
        del self.fake.servers[lost]
        self.fake.fail('GET', f'/v2.1/servers/{broken}', status=500, times=9)
        self.clock.tick(3600)
        self.asked()
        self.collector.refresh()
        self.assertIn(broken, self.snapshot.instances)
        self.assertNotIn(lost, self.snapshot.instances)
        self.assertIn('missing servers: ', self.problems())
        self.pass_time(100)
        self.assertEqual(1, self.asked()['GET', f'/v2.1/servers/{broken}'])

    def test_the_clock_is_set_back(self):
        self.look()
        self.clock.tick(-86400)
        self.fake.change(self.ids[0], name='new')
        self.look()
        self.assertEqual('new', self.snapshot.instances[self.ids[0]].name)
        self.assertEqual(10.0, self.collector.refresh())

    def test_an_older_list_does_not_undo_a_newer_one(self):
        # While the pages of a full list are read, a server is deleted and another one moves.
        self.fake.page_size = 3
        gone, moved = self.ids[8], self.ids[7]  # on its first page
        pages = []

        def answer(call):
            if 'changes-since' not in call.query:
                pages.append(call)
                if len(pages) == 2:
                    self.clock.tick(10)
                    self.fake.delete(gone)
                    self.fake.change(moved, **{'OS-EXT-SRV-ATTR:host': 'c0'})
            return self.fake.list_servers(call)
        self.fake.handlers['GET', SERVERS] = answer
        self.clock.tick(3600)
        self.collector.refresh()
        self.assertLess(2, len(pages))
        self.assertNotIn(gone, self.snapshot.instances)
        self.assertEqual('c0', self.snapshot.instances[moved].host)


class DownCellTest(test_collector.Base):

    def setUp(self):
        super().setUp()
        self.ids = self.cloud(hosts=3, servers=9)
        self.collector = self.new_collector(full_interval=600)
        self.collector.refresh()
        self.fake.down_cell = {'c1'}

    def known(self):
        return {host for host in ('c0', 'c1', 'c2')
                if all(instance.known for instance in self.snapshot.on(host))}

    def test_the_last_good_data_stay_and_say_so(self):
        self.pass_time(30)
        self.assertEqual(9, len(self.snapshot.instances))
        self.assertEqual({'c0', 'c2'}, self.known())
        self.assertEqual({'c0': True, 'c1': False, 'c2': True},
                         {host: node.up for host, node in self.snapshot.nodes.items()})
        self.assertEqual(0, (self.node('c1').heartbeat.looked_at - START).total_seconds())
        self.assertIn('c1', self.problems())
        self.pass_time(700)                    # a full list as well
        self.assertEqual((9, {'c0', 'c2'}), (len(self.snapshot.instances), self.known()))

    def test_what_changed_meanwhile_is_not_missed(self):
        self.pass_time(200)
        self.fake.change(self.ids[1], name='new')       # in the cell that Nova cannot reach
        self.pass_time(200)
        self.fake.down_cell = set()
        self.pass_time(30)
        self.assertEqual('new', self.snapshot.instances[self.ids[1]].name)
        self.assertEqual({'c0', 'c1', 'c2'}, self.known())
        self.assertEqual('', self.problems())
        self.asked()
        self.collector.refresh_instances()
        since = self.fake.calls[-1].query['changes-since']
        self.assertLess(fake_nova.stamp(after(350)), since, 'and then goes on as usual')

    def test_a_cell_that_is_down_from_the_start(self):
        self.collector = self.new_collector(full_interval=600)
        self.collector.refresh()
        self.assertEqual(6, len(self.snapshot.instances))
        self.pass_time(100)
        self.fake.down_cell = set()
        self.pass_time(110)                     # and not only after 600 s
        self.assertEqual((9, {'c0', 'c1', 'c2'}), (len(self.snapshot.instances), self.known()))

    def test_a_cell_whose_services_are_there(self):
        self.fake.handlers['GET', test_collector.SERVICES] = lambda call: (
            200, {'services': list(self.fake.services.values())})
        self.pass_time(700)
        self.assertEqual({'c0', 'c2'}, self.known())
        self.assertIn('cells that are down', self.problems())
        self.fake.change(self.ids[1], name='new')
        self.pass_time(100)
        self.fake.down_cell = set()
        self.pass_time(120)
        self.assertEqual('new', self.snapshot.instances[self.ids[1]].name)
        self.assertEqual(({'c0', 'c1', 'c2'}, ''), (self.known(), self.problems()))

    def test_reconcile_of_a_host_there(self):
        found = self.collector.reconcile('c1')
        self.assertEqual([False] * 3, [instance.known for instance in found])


class ReconcileTest(test_collector.Base):

    def setUp(self):
        super().setUp()
        self.ids = self.cloud(hosts=2, servers=6)
        self.collector.refresh()
        self.here = self.ids[::2]               # on c0
        self.asked()

    def test_nothing_has_changed(self):
        self.assertEqual(sorted(self.here), [i.id for i in self.collector.reconcile('c0')])
        self.assertEqual({('GET', SERVERS): 1}, self.asked())

    def test_the_truth_about_every_instance(self):
        gone, moved, short = self.here
        del self.fake.servers[gone]
        self.fake.change(moved, **{'OS-EXT-SRV-ATTR:host': 'c1'})
        self.fake.left_out = {short}
        new = self.fake.add_server('c0')
        self.assertEqual(sorted([short, new]), [i.id for i in self.collector.reconcile('c0')])
        self.assertEqual(5, sum(self.asked().values()))     # a 404 costs another one
        self.assertNotIn(gone, self.snapshot.instances)
        self.assertEqual('c1', self.snapshot.instances[moved].host)

    def test_half_a_list_is_none(self):
        self.fake.page_size = 2
        self.fake.fail('GET', SERVERS, status=500, skip=1)
        self.assertRaises(exception.Unreachable, self.collector.reconcile, 'c0')
        self.assertEqual(6, len(self.snapshot.instances))

    def test_a_server_that_cannot_be_read_is_not_forgotten(self):
        broken, other = sorted(self.here)[:2]
        self.fake.left_out = {broken, other}
        self.fake.fail('GET', f'/v2.1/servers/{broken}', status=500)
        found = {i.id: i.known for i in self.collector.reconcile('c0')}
        self.assertEqual({one: one != broken for one in self.here}, found)

    def test_an_account_that_is_no_admin_any_more(self):
        # It may list, by some policy, and every other answer is that nothing is there.
        self.fake.left_out = {self.here[0]}
        self.fake.admin = False
        self.assertEqual(sorted(self.here), [i.id for i in self.collector.reconcile('c0')])

    def test_nova_goes_away_between_the_list_and_the_lookups(self):
        self.fake.left_out = set(self.here)
        self.fake.fail('GET', '/v2.1/servers', 'reset', skip=1, times=99)
        found = self.collector.reconcile('c0')
        self.assertEqual([(one, False) for one in sorted(self.here)],
                         [(i.id, i.known) for i in found])
        self.assertEqual(1 + 2, sum(self.asked().values()), 'it is not asked for ever')

    def test_a_host_nobody_knows(self):
        self.assertEqual((), self.collector.reconcile('c9'))
