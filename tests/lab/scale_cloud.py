"""The API of a large cloud: Nova, Placement and Keystone on loopback, in a process of its own.

usage: python -m tests.lab.scale_cloud HOSTS INSTANCES_PER_HOST

It prints its address, and serves until its input ends. The rules of the API are those of
``tests.unit.fake_nova``; servers are made up when a page shows them, by their number. What the
benchmark wants of it besides: ``POST /lab/change`` has that many servers change, and
``POST /lab/calls`` tells the calls since it was asked last.
"""

import datetime
import sys

from tests.unit import fake_nova

SPARES = 20                             # one host in so many is a spare
ZONES, POOLS, PROJECTS = 3, 10, 100
GROUPS, MEMBERS = 10, 4                 # hosts for each server group, and instances in each
FLAVORS = ((1, 2048, 10), (2, 4096, 20), (4, 8192, 40), (8, 16384, 80))
CAPACITY = {'VCPU': 256, 'MEMORY_MB': 524288, 'DISK_GB': 4000}
TRAITS = [f'HW_CPU_X86_{n:02}' for n in range(45)]
BOOTED = '2026-01-01T00:00:00Z'
SPARE_REASON = 'vmha: spare node'


def host_name(number):
    """What a host is called."""
    return f'compute{number:05}.example.org'


def is_spare(number):
    """Whether a host is a spare node: it runs nothing."""
    return number % SPARES == SPARES - 1


def instance_id(number):
    """The id of a server, which begins with its number."""
    return f'{number:08x}-aaaa-4000-8000-{number:012x}'


def client(server_id, address):
    """The storage client of a server whose host has that address."""
    return f'{address}:0/{int(server_id[:8], 16)}'


class LargeNova(fake_nova.FakeNova):
    """See the module."""

    def __init__(self, hosts, each):
        super().__init__(lambda: datetime.datetime.now(datetime.timezone.utc))
        self.total = hosts * each
        self._changed = {}              # number -> when
        self._busy = [n for n in range(hosts) if not is_spare(n)]
        for number in range(hosts):
            self._add(number)
        self.aggregates = [
            {'name': f'az{zone}', 'metadata': {'availability_zone': f'az{zone}'},
             'hosts': [host_name(n) for n in range(zone, hosts, ZONES)]} for zone in range(ZONES)
        ] + [{'name': f'rack{rack}', 'metadata': {'rack': str(rack)},
              'hosts': [host_name(n) for n in range(rack, hosts, POOLS)]} for rack in range(POOLS)]
        for number in range(hosts // GROUPS):
            members = range(self.total)[number * MEMBERS:(number + 1) * MEMBERS]
            self.groups[f'g{number}'] = {
                'id': f'{number:08x}-bbbb-4000-8000-000000000000', 'policy': 'anti-affinity',
                'members': [instance_id(n) for n in members],
                'rules': {}}
        self.handlers = {('POST', '/lab/change'): self._change,
                         ('POST', '/lab/calls'): self._told}

    def _add(self, number):
        host = host_name(number)
        # No two hosts of a zone are alike, which is the worst case for whoever ranks them.
        own = 0 if is_spare(number) else 40 + number % 61
        provider = self.add_host(
            host, zone=f'az{number % ZONES}', capacity=CAPACITY,
            used={'VCPU': own, 'MEMORY_MB': 4096 * own + number, 'DISK_GB': 10 * own})
        self.providers[provider]['traits'] = TRAITS
        self.hypervisors[host]['host_ip'] = f'10.{number >> 16}.{number >> 8 & 255}.{number & 255}'
        if is_spare(number):
            self.services[host].update(status='disabled', disabled_reason=SPARE_REASON)

    def record(self, number):
        """The record of a server, as long as Nova's are."""
        vcpus, ram, disk = FLAVORS[number % len(FLAVORS)]
        server_id, host = instance_id(number), self._busy[number % len(self._busy)]
        project = f'{number % PROJECTS:032x}'
        return fake_nova.server_record(
            server_id, host_name(host), f'vm-{number}', self._changed.get(number, BOOTED),
            **{'tenant_id': project, 'user_id': project, 'created': BOOTED, 'key_name': 'key',
               'hostId': f'{host:056x}', 'accessIPv4': '', 'accessIPv6': '', 'config_drive': '',
               'OS-DCF:diskConfig': 'MANUAL', 'progress': 0, 'locked': False, 'description': None,
               'OS-EXT-AZ:availability_zone': f'az{host % ZONES}',
               'OS-EXT-SRV-ATTR:hypervisor_hostname': host_name(host),
               'OS-EXT-SRV-ATTR:instance_name': f'instance-{number:08x}',
               'OS-SRV-USG:launched_at': BOOTED, 'OS-SRV-USG:terminated_at': None, 'tags': [],
               'metadata': {'vmha:priority': '80'} if number % 50 == 0 else {},
               'image': '' if number % 2 else {'id': 'i1', 'links': self._links('images/i1')},
               'os-extended-volumes:volumes_attached': [
                   {'id': f'{number:08x}-cccc-4000-8000-000000000000',
                    'delete_on_termination': False}] if number % 2 else [],
               'security_groups': [{'name': 'default'}], 'links': self._links(f'servers/{number}'),
               'addresses': {'private': [
                   {'addr': f'10.1.{number >> 8 & 255}.{number & 255}', 'version': 4,
                    'OS-EXT-IPS:type': 'fixed', 'OS-EXT-IPS-MAC:mac_addr': 'fa:16:3e:00:00:01'}]},
               'flavor': {'vcpus': vcpus, 'ram': ram, 'disk': disk, 'ephemeral': 0, 'swap': 0,
                          'original_name': f'm{vcpus}', 'extra_specs': {}}})

    def _links(self, path):
        return [{'rel': rel, 'href': f'{self.url}/{path}'} for rel in ('self', 'bookmark')]

    # -- as it answers ------------------------------------------------------------------------

    def list_services(self, call):
        """All of them have sent a heartbeat since the last look."""
        self.beat()
        return super().list_services(call)

    def list_servers(self, call):
        """As many records are made as the page has."""
        since, host = call.query.get('changes-since'), call.query.get('host')
        numbers = range(self.total - 1, -1, -1)         # newest first
        if since:
            numbers = sorted((n for n, at in self._changed.items() if at >= since), reverse=True)
        elif host:
            numbers = [n for n in numbers
                       if host_name(self._busy[n % len(self._busy)]) == host]
        marker = call.query.get('marker')
        first = numbers.index(int(marker[:8], 16)) if marker else 0
        return self.page(call, 'servers', [
            self.record(n) for n in numbers[first:first + self.page_size + 1]])

    def _change(self, call):
        now = fake_nova.stamp(self.clock())
        step = max(1, self.total // call.body)
        self._changed.update(dict.fromkeys(range(0, self.total, step)[:call.body], now))
        return 200, {}

    def _told(self, _call):
        calls = [[c.path, c.query] for c in self.calls if not c.path.startswith('/lab/')]
        self.calls.clear()
        return 200, {'calls': calls, 'page_size': self.page_size}


def main(arguments=None):
    """Serve until the input ends."""
    hosts, each = map(int, arguments or sys.argv[1:])
    nova = LargeNova(hosts, each).start()
    print(nova.url, flush=True)
    sys.stdin.read()
    nova.stop()


if __name__ == '__main__':
    sys.exit(main())
