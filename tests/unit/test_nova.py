"""Nova's adapter against a small Nova on loopback: what it reads and what it sends."""

import datetime

import testtools

from tests.unit import fake_nova
from vmha_nova import exception
from vmha_nova import nova

START = fake_nova.START
SERVERS = '/v2.1/servers/detail'


class Base(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = fake_nova.FakeNova().start()
        self.addCleanup(self.fake.stop)
        self.session = self.fake.session()
        self.nova = nova.Nova(self.session, 'R', 'public', timeout=20.0)

    def queries(self, path):
        return [call.query for call in self.fake.calls if call.path == path]


class ReadTest(Base):

    def test_services(self):
        self.fake.add_host('c1', zone='z1')
        self.fake.add_host('c2')
        self.fake.services['c2'].update(
            state='down', status='disabled', disabled_reason='broken', forced_down=True)
        up, down = self.nova.services()
        self.assertEqual(('c1', True, True, '', False, 'z1', '2026-11-23T12:00:00.000000'), (
            up.host, up.up, up.enabled, up.disabled_reason, up.forced_down, up.zone, up.beat))
        self.assertEqual((False, False, 'broken', True), (
            down.up, down.enabled, down.disabled_reason, down.forced_down))

    def test_services_of_a_cell_that_is_down(self):
        for host in ('c1', 'c2', 'c3'):
            self.fake.add_host(host)
        self.fake.down_cell = {'c2', 'c3'}
        services = self.nova.services()
        self.assertEqual(['c1'], [service.host for service in services])
        self.assertEqual({'c2', 'c3'}, services.unknown)

    def test_hypervisors_in_pages(self):
        self.fake.page_size = 3
        for number in range(7):
            self.fake.add_host(f'c{number}', kind='ironic' if number == 6 else 'QEMU')
        found = self.nova.hypervisors()
        self.assertEqual([f'c{number}' for number in range(7)], [h.host for h in found])
        self.assertEqual(('qemu', 8, 'ironic'), (found[0].type, found[0].cores, found[6].type))
        self.assertEqual({'2.87'}, {call.microversion for call in self.fake.calls})

    def test_a_page_that_lost_a_record_is_not_the_last(self):
        # Nova counts a page after having dropped records, and then offers no next one.
        self.fake.page_size = 4
        for number in range(12):
            self.fake.add_host(f'c{number}')
        self.fake.dropped = {self.fake.hypervisors['c5']['id']}
        self.assertEqual(11, len(self.nova.hypervisors()))

    def test_one_hypervisor(self):
        provider = self.fake.add_host('c1')
        self.assertEqual('c1', self.nova.hypervisor(provider).host)
        self.assertRaises(exception.NotFound, self.nova.hypervisor, 'no-such-id')

    def test_aggregates(self):
        self.fake.aggregates = [
            {'name': 'ssd', 'metadata': {'disk': 'fast'}, 'hosts': ['c1', 'c2']},
            {'name': 'az1', 'metadata': {'availability_zone': 'az1'}, 'hosts': ['c1']}]
        found = self.nova.aggregates()
        self.assertEqual(['az1', 'ssd'], [aggregate.name for aggregate in found['c1']])
        self.assertEqual({'disk': 'fast'}, found['c2'][0].metadata)

    def test_groups_of_all_projects_in_pages(self):
        self.fake.page_size = 2
        for number in range(5):
            self.fake.groups[f'g{number}'] = {
                'id': f'g{number}', 'policy': 'anti-affinity', 'members': ['s1', 's2'],
                'rules': {'max_server_per_host': '3'} if number == 4 else {}}
        found = self.nova.groups()
        self.assertEqual([f'g{number}' for number in range(5)], [group.id for group in found])
        self.assertEqual([1, 1, 1, 1, 3], [group.max_per_host for group in found])
        self.assertEqual({'s1', 's2'}, found[0].members)
        self.assertEqual('true', self.queries('/v2.1/os-server-groups')[0]['all_projects'])

    def test_servers_in_pages(self):
        self.fake.page_size = 3
        ids = {self.fake.add_server('c1') for _ in range(7)}
        self.assertEqual(ids, {instance.id for instance in self.nova.servers().instances})
        self.assertEqual(3, len(self.queries(SERVERS)))
        # No limit: with one, Nova would be silent about cells that are down.
        self.assertEqual({'all_tenants': '1'}, self.queries(SERVERS)[0])
        self.assertEqual({'2.90'}, {call.microversion for call in self.fake.calls})

    def test_a_server(self):
        one = self.fake.add_server('c1', 'web', metadata={'HA': 'yes'}, fault={
            'message': 'No valid\nhost', 'code': 500})
        self.fake.servers[one]['OS-EXT-STS:task_state'] = 'rebuilding'
        instance = self.nova.server(one)
        self.assertEqual(
            (one, 'web', 'p1', 'c1', 'active', 'rebuilding', 1, 'nova', 'No valid host', True),
            (instance.id, instance.name, instance.project_id, instance.host, instance.vm_state,
             instance.task_state, instance.power_state, instance.zone, instance.fault,
             instance.known))
        self.assertEqual({'HA': 'yes'}, instance.metadata)

    def test_a_server_that_is_not_scheduled_yet(self):
        one = self.fake.add_server(None, **{
            'OS-EXT-STS:power_state': None, 'OS-EXT-AZ:availability_zone': ''})
        instance = self.nova.server(one)
        self.assertEqual(('', '', 0, ''), (instance.host, instance.task_state,
                                           instance.power_state, instance.zone))

    def test_deleted_and_unknown_servers(self):
        here, gone, unknown = (self.fake.add_server(host) for host in ('c1', 'c1', 'c2'))
        self.fake.delete(gone)
        self.fake.down_cell = {'c2'}
        whole = self.nova.servers()
        self.assertEqual([here], [instance.id for instance in whole.instances])
        self.assertEqual((set(), {unknown}), (whole.deleted, whole.unknown))
        changed = self.nova.servers(changes_since=START)
        self.assertEqual(({gone}, set()), (changed.deleted, changed.unknown))
        self.assertFalse(self.nova.server(unknown).known)
        self.assertRaises(exception.NotFound, self.nova.server, gone)

    def test_a_server_that_is_deleted_while_it_is_listed(self):
        server = self.fake.servers[self.fake.add_server('c1')]
        self.fake.handlers['GET', SERVERS] = lambda call: (200, {'servers': [
            {**server, 'status': 'DELETED'}, {**server, 'id': 'other'}]} if 'marker' in call.query
            else {'servers': [server], 'servers_links': [{'rel': 'next', 'href': '/?marker=m'}]})
        found = self.nova.servers(changes_since=START)
        self.assertEqual((['other'], {server['id']}), (
            [instance.id for instance in found.instances], found.deleted))

    def test_changes_since_is_in_utc(self):
        zone = datetime.timezone(datetime.timedelta(hours=2))
        self.nova.servers(host='c1', changes_since=START.astimezone(zone))
        self.assertEqual([{'all_tenants': '1', 'host': 'c1',
                           'changes-since': '2026-11-23T12:00:00Z'}], self.queries(SERVERS))

    def test_a_page_that_fails_fails_the_list(self):
        self.fake.page_size = 2
        for _ in range(6):
            self.fake.add_server('c1')
        self.fake.fail('GET', SERVERS, status=503, skip=2)
        self.assertRaises(exception.Unreachable, self.nova.servers)

    def test_the_same_page_for_ever_fails_the_list(self):
        server = self.fake.servers[self.fake.add_server('c1')]
        self.fake.handlers['GET', SERVERS] = lambda call: (200, {
            'servers': [server],
            'servers_links': [{'rel': 'next', 'href': 'http://x/?marker=' + server['id']}]})
        self.assertRaises(exception.Unreachable, self.nova.servers)
        self.assertEqual(2, self.fake.count())

    def test_between_pages_somebody_may_breathe(self):
        self.fake.page_size = 3
        for _ in range(7):
            self.fake.add_server('c1')
        breaths = []
        self.nova.servers(between=lambda: breaths.append(self.fake.count()))
        self.assertEqual([1, 2], breaths)

    def test_an_account_that_may_not_see_hosts(self):
        del self.fake.servers[self.fake.add_server('c1')]['OS-EXT-SRV-ATTR:host']
        error = self.assertRaises(exception.Rejected, self.nova.servers)
        self.assertIn('os-extended-server-attributes', str(error))

    def test_an_account_that_may_not_see_extra_specs(self):
        del self.fake.servers[self.fake.add_server('c1')]['flavor']['extra_specs']
        self.fake.servers[self.fake.add_server('c1')]['flavor'] = {}
        problems = self.nova.servers().problems
        self.assertEqual(2, len(problems))
        self.assertIn('show:flavor-extra-specs', problems[0])
        self.assertIn('lost its flavor', problems[1])

    def test_an_account_that_may_not_see_between_which_hosts_migrations_are(self):
        self.fake.add_migration('s1', 'c1', 'c2')
        self.fake.hidden = {'source_compute': None, 'dest_compute': None}
        error = self.assertRaises(exception.Rejected, self.nova.evacuations, 'c1')
        self.assertIn('os-migrations:index:host', str(error))

    def test_providers_are_summed_by_tree(self):
        root = self.fake.add_host('c1', used={'MEMORY_MB': 1024})
        self.fake.providers['numa0'] = {
            'root_provider_uuid': root, 'parent_provider_uuid': root, 'traits': ['CUSTOM_GOLD'],
            'resources': {'PCPU': {'capacity': 8, 'used': 2}, 'VCPU': {'capacity': 2, 'used': 1}}}
        full = self.fake.add_host('c2', used={'MEMORY_MB': 32768})
        found = self.nova.providers()
        self.assertNotIn(full, found)
        self.assertEqual({'VCPU': 130, 'MEMORY_MB': 32768, 'DISK_GB': 1000, 'PCPU': 8},
                         found[root].capacity)
        self.assertEqual({'VCPU': 1, 'MEMORY_MB': 1024, 'DISK_GB': 0, 'PCPU': 2}, found[root].used)
        self.assertEqual({'HW_CPU', 'CUSTOM_GOLD'}, found[root].traits)

    def test_evacuations_newest_first(self):
        self.fake.page_size = 2
        minute = datetime.timedelta(minutes=1)
        for age in (3, 2, 1, 0):
            self.fake.add_migration(f's{age}', 'c1', 'c2', created_at=START - age * minute)
        self.fake.add_migration('other', 'c3', 'c2')
        self.assertEqual(['s0', 's1', 's2', 's3'],
                         [record.instance_id for record in self.nova.evacuations('c1')])
        since = START - minute
        recent = self.nova.evacuations('c1', since)
        self.assertEqual(['s0', 's1'], [record.instance_id for record in recent])
        self.assertEqual((since, 'c1', 'c2', 'accepted'), (
            recent[1].created_at, recent[1].source, recent[1].target, recent[1].status))
        self.assertEqual({'evacuation'}, {query['migration_type'] for query in self.queries(
            '/v2.1/os-migrations')})
        # What Nova compares with that, a record has only after its first change.
        self.assertFalse(any('changes-since' in query for query in self.queries(
            '/v2.1/os-migrations')))

    def test_one_token_serves_everything(self):
        self.fake.add_host('c1')
        one = self.fake.add_server('c1')
        self.nova.services()
        self.nova.providers()
        self.nova.stop(one)
        self.nova.enable(self.fake.services['c1']['id'])
        self.assertEqual(1, self.fake.tokens)


class NeedsTest(Base):
    """What Placement is asked for an instance, as Nova's scheduler works it out."""

    def needs(self, image='i1', flavor=None, **specs):
        flavor = {'vcpus': 4, 'ram': 512, 'disk': 10, 'ephemeral': 2, 'swap': 1025,
                  'extra_specs': {name.replace('__', ':'): value for name, value in specs.items()}
                  } | (flavor or {})
        return self.nova.server(self.fake.add_server('c1', image=image, flavor=flavor)).needs

    def test_plain(self):
        self.assertEqual({'VCPU': 4, 'MEMORY_MB': 512, 'DISK_GB': 14}, self.needs())

    def test_booted_from_a_volume(self):
        self.assertEqual({'VCPU': 4, 'MEMORY_MB': 512, 'DISK_GB': 4}, self.needs(image=''))
        self.assertEqual({'VCPU': 4, 'MEMORY_MB': 512},
                         self.needs(image='', flavor={'ephemeral': 0, 'swap': 0}))

    def test_pinned(self):
        self.assertEqual({'PCPU': 4, 'MEMORY_MB': 512, 'DISK_GB': 14},
                         self.needs(hw__cpu_policy='dedicated'))
        self.assertEqual(5, self.needs(hw__cpu_policy='dedicated',
                                       hw__emulator_threads_policy='isolate')['PCPU'])

    def test_partly_pinned(self):
        for mask, pinned in (('0-2,^1', 2), ('^0', 3), ('3', 1)):
            needs = self.needs(hw__cpu_policy='mixed', hw__cpu_dedicated_mask=mask)
            self.assertEqual((pinned, 4 - pinned), (needs['PCPU'], needs['VCPU']), mask)
        self.assertEqual(3, self.needs(hw__cpu_policy='mixed', hw__cpu_realtime_mask='^0')['PCPU'])

    def test_overrides(self):
        self.assertEqual({'PCPU': 4, 'MEMORY_MB': 512, 'VGPU': 3},
                         self.needs(resources__PCPU='4', resources__DISK_GB='0',
                                    resources__VGPU='1', resources_gpu__VGPU='2',
                                    resources__CUSTOM_BAD='many'))


class ActTest(Base):

    def setUp(self):
        super().setUp()
        self.fake.add_host('c1')
        self.one = self.fake.add_server('c1')
        self.service_id = self.fake.services['c1']['id']

    def sent(self):
        return [(call.microversion, call.body) for call in self.fake.calls if call.method != 'GET']

    def test_evacuate_at_the_last_microversion_that_keeps_guests_running(self):
        self.assertStartsWith('req-', self.nova.evacuate(self.one, 'c2'))
        self.assertEqual([('2.94', {'evacuate': {'host': 'c2'}})], self.sent())

    def test_evacuate_by_an_older_nova(self):
        self.fake.max_version = '2.93'
        self.nova.evacuate(self.one, 'c2')
        self.assertEqual([('2.93', {'evacuate': {'host': 'c2'}})], self.sent())
        self.assertEqual((2, 93), self.nova.max_microversion)

    def test_other_acts_on_servers(self):
        self.nova.reset_to_active(self.one)
        self.nova.stop(self.one)
        self.nova.start(self.one)
        self.assertEqual([{'os-resetState': {'state': 'active'}}, {'os-stop': None},
                          {'os-start': None}], [body for _version, body in self.sent()])

    def test_acts_on_services(self):
        self.nova.force_down(self.service_id, True)
        self.nova.disable(self.service_id, 'x' * 300)
        self.nova.enable(self.service_id)
        self.nova.force_down(self.service_id, False)
        self.assertEqual([
            ('2.53', {'forced_down': True}),
            ('2.53', {'status': 'disabled', 'disabled_reason': 'x' * 255}),
            ('2.53', {'status': 'enabled'}),
            ('2.53', {'forced_down': False})], self.sent())

    def test_an_answer_that_does_not_confirm(self):
        self.fake.handlers['PUT', f'/v2.1/os-services/{self.service_id}'] = lambda call: (
            200, {'service': self.fake.services['c1']})
        self.assertRaises(exception.OutcomeUnknown, self.nova.force_down, self.service_id, True)

    def assertStartsWith(self, start, text):
        self.assertEqual(start, text[:len(start)])
