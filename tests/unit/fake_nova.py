"""A Nova, a Placement and a Keystone on loopback, as small as the tests need them.

Knows what matters to a client: microversions, pages, filters, cells that are down, and faults on
demand. Every request to Nova and Placement is recorded in ``calls``.
"""

import collections
import copy
import datetime
import http.server
import json
import re
import socket
import struct
import threading
import urllib.parse
import uuid

from keystoneauth1.identity import v3
from keystoneauth1 import session

from tests.unit import clock as clocks

START = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)

Call = collections.namedtuple('Call', 'method path query microversion body')


def stamp(time):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ')


def make_session(url, **settings):
    """A keystoneauth session for the services at ``url``."""
    auth = v3.Password(auth_url=f'{url}/identity/v3', username='vmha', password='x',
                       project_name='service', user_domain_id='default',
                       project_domain_id='default')
    return session.Session(auth=auth, **settings)


def server_record(server_id, host, name, updated, **fields):
    """A server with its details, as Nova shows it."""
    return {
        'id': server_id, 'name': name, 'tenant_id': 'p1', 'status': 'ACTIVE',
        'updated': updated, 'image': {'id': 'i1'}, 'metadata': {},
        'OS-EXT-SRV-ATTR:host': host, 'OS-EXT-STS:vm_state': 'active',
        'OS-EXT-STS:task_state': None, 'OS-EXT-STS:power_state': 1,
        'OS-EXT-AZ:availability_zone': 'nova',
        'flavor': {'vcpus': 2, 'ram': 512, 'disk': 5, 'ephemeral': 1, 'swap': 1025,
                   'original_name': 'small', 'extra_specs': {}}, **fields}


class Fault:
    """What goes wrong with requests to a path: an 'answer', 'half' of one, 'cut', 'hang', 'reset'.

    It lets ``skip`` requests pass, then strikes ``times`` times.
    """

    def __init__(self, kind, status=500, body=b'', headers=(), skip=0, times=1):
        self.kind, self.status, self.body, self.headers = kind, status, body, dict(headers)
        self.skip, self.left = skip, times

    def strikes(self):
        if self.skip:
            self.skip -= 1
            return False
        self.left -= 1
        return self.left >= 0


class FakeNova:
    """The cloud behind the three services; its attributes may be changed at any time."""

    def __init__(self, clock=None, page_size=1000, max_version='2.96'):
        self.clock = clock or clocks.Clock(START)
        self.page_size = page_size
        self.max_version = max_version
        self.services = {}                      # host -> record
        self.hypervisors = {}                   # host -> record
        self.servers = {}                       # id -> record, oldest first
        self.aggregates = []
        self.groups = {}
        self.migrations = []                    # oldest first
        self.hidden = {}                        # what they show instead of what is so
        self.providers = {}                     # id -> summary
        self.down_cell = set()                  # hosts
        self.admin = True                       # whether Nova takes the client for an admin
        self.left_out = set()                   # ids of servers that lists skip for no reason
        self.dropped = set()                    # ids dropped from a page once it is cut
        self.calls = []
        self.tokens = 0
        self.handlers = {}                      # (method, path) -> function(call), if not as usual
        self.faults = collections.defaultdict(list)
        self.release = threading.Event()        # lets hanging requests go

    # -- as tests set it up -------------------------------------------------------------------

    def start(self):
        self.server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), type('Handler', (Handler,), {'fake': self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        self.catalog = {'compute': f'{self.url}/v2.1', 'placement': f'{self.url}/placement'}
        return self

    def stop(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def session(self, **settings):
        return make_session(self.url, **settings)

    def fail(self, method, path, kind='answer', **how):
        """The next request(s) with this method and start of path go wrong."""
        if kind == 'error':                     # as Nova words its errors
            how['body'] = json.dumps({'aFault': {'message': how.pop('message')}}).encode()
            how['headers'] = {'x-compute-request-id': 'req-1'}
            kind = 'answer'
        self.faults[method].append((path, Fault(kind, **how)))

    def add_host(self, host, kind='QEMU', zone='nova', capacity=None, used=None):
        provider = str(uuid.uuid5(uuid.NAMESPACE_DNS, host))
        self.services[host] = {
            'binary': 'nova-compute', 'host': host, 'id': str(uuid.uuid4()), 'zone': zone,
            'status': 'enabled', 'state': 'up', 'disabled_reason': None, 'forced_down': False,
            'updated_at': '2026-11-23T12:00:00.000000'}
        self.hypervisors[host] = {
            'id': provider, 'hypervisor_type': kind, 'hypervisor_hostname': host, 'vcpus': 8,
            'service': {'host': host, 'id': self.services[host]['id'], 'disabled_reason': None}}
        capacity = capacity or {'VCPU': 128, 'MEMORY_MB': 32768, 'DISK_GB': 1000}
        self.providers[provider] = {
            'root_provider_uuid': provider, 'parent_provider_uuid': None, 'traits': ['HW_CPU'],
            'resources': {name: {'capacity': amount, 'used': (used or {}).get(name, 0)}
                          for name, amount in capacity.items()}}
        return provider

    def add_server(self, host, name='', **fields):
        server = server_record(str(uuid.uuid4()), host, name, **{
            'updated': stamp(self.clock()), **fields})
        self.servers[server['id']] = server
        return server['id']

    def change(self, server_id, **fields):
        """Change a server as Nova would: its time stamp moves."""
        self.servers[server_id].update(fields, updated=stamp(self.clock()))

    def delete(self, server_id):
        self.change(server_id, status='DELETED', **{'OS-EXT-STS:vm_state': 'deleted'})

    def beat(self, *hosts):
        for host in hosts or self.services:
            self.services[host]['updated_at'] = self.clock().isoformat()

    def add_migration(self, server_id, source, target, status='accepted', created_at=None):
        record = {'id': len(self.migrations) + 1, 'uuid': str(uuid.uuid4()),
                  'instance_uuid': server_id, 'source_compute': source, 'dest_compute': target,
                  'status': status, 'migration_type': 'evacuation', 'updated_at': None,
                  'created_at': (created_at or self.clock()).strftime('%Y-%m-%dT%H:%M:%S.000000')}
        self.migrations.append(record)
        return record['uuid']

    def count(self, method=None):
        return len([c for c in self.calls if method in (None, c.method)])

    # -- as it answers ------------------------------------------------------------------------

    def answer(self, call):
        """(status, body) of a request to Nova or Placement; body None: empty."""
        if (call.method, call.path) in self.handlers:
            return self.handlers[call.method, call.path](call)
        for pattern, method, handler in ROUTES:
            match = re.fullmatch(pattern, call.path)
            if match and method == call.method:
                return getattr(self, handler)(call, *match.groups())
        return 404, {'itemNotFound': {'code': 404, 'message': 'The resource could not be found.'}}

    def page(self, call, key, records, id_key='id'):
        """One page of records, after the marker; with Nova's next link where it gives one."""
        marker = call.query.get('marker')
        if marker:
            ids = [record[id_key] for record in records]
            if marker not in ids:
                return 400, {'badRequest': {'message': f'marker [{marker}] not found'}}
            records = records[ids.index(marker) + 1:]
        full = len(records) >= self.page_size
        records = records[:self.page_size]
        body = {key: [r for r in records if r[id_key] not in self.dropped]}
        if full and len(body[key]) == len(records):
            query = urllib.parse.urlencode({**call.query, 'marker': records[-1][id_key]})
            body[f'{key}_links'] = [
                {'rel': 'next', 'href': f'http://inside.example.org{call.path}?{query}'}]
        return 200, body

    def list_services(self, call):
        return 200, {'services': [
            {'binary': 'nova-compute', 'host': host, 'status': 'UNKNOWN'}
            if host in self.down_cell else record for host, record in self.services.items()]}

    def put_service(self, call, service_id):
        for record in self.services.values():
            if record['id'] == service_id:
                record.update(call.body, updated_at=self.clock().isoformat())
                return 200, {'service': record}
        return 404, {'itemNotFound': {'message': f'Service {service_id} could not be found.'}}

    def list_hypervisors(self, call):
        return self.page(call, 'hypervisors', [
            r for host, r in self.hypervisors.items() if host not in self.down_cell])

    def show_hypervisor(self, call, hypervisor_id):
        for record in self.hypervisors.values():
            if record['id'] == hypervisor_id:
                return 200, {'hypervisor': record}
        return 404, {'itemNotFound': {
            'message': f"Hypervisor with ID '{hypervisor_id}' could not be found."}}

    def list_groups(self, call):
        groups = list(self.groups.values())[int(call.query['offset']):]
        return 200, {'server_groups': groups[:min(self.page_size, int(call.query['limit']))]}

    def list_servers(self, call):
        since, host = call.query.get('changes-since'), call.query.get('host')
        found, unknown = [], []
        for server in reversed(self.servers.values()):
            at = server.get('OS-EXT-SRV-ATTR:host')
            if at in self.down_cell:
                unknown.append({'id': server['id'], 'status': 'UNKNOWN', 'tenant_id': 'p1'})
            elif (server['id'] not in self.left_out and host in (None, at)
                    and (server['updated'] >= since if since else server['status'] != 'DELETED')):
                found.append(server)
        if set(call.query) == {'all_tenants'}:
            found = unknown + found
        return self.page(call, 'servers', found)

    def show_server(self, call, server_id):
        server = self.servers.get(server_id)
        if server is None or server['status'] == 'DELETED' or not self.admin:
            return 404, {'itemNotFound': {'message': f'Instance {server_id} could not be found.'}}
        if server['OS-EXT-SRV-ATTR:host'] in self.down_cell:
            return 200, {'server': {'id': server_id, 'status': 'UNKNOWN', 'tenant_id': 'p1'}}
        return 200, {'server': server}

    def list_deleted(self, call):
        if call.query['status'] == 'deleted' and not self.admin:
            return 403, {'forbidden': {
                'message': 'Only administrators may list deleted instances'}}
        return 200, {'servers': []}

    def act(self, call, server_id):
        if server_id not in self.servers or not self.admin:
            return 404, {'itemNotFound': {'message': f'Instance {server_id} could not be found.'}}
        return (200 if 'evacuate' in call.body else 202), None

    def list_migrations(self, call):
        wanted = call.query['source_compute']
        return self.page(call, 'migrations', [
            {**r, **self.hidden} for r in reversed(self.migrations)
            if r['source_compute'] == wanted], 'uuid')

    def list_aggregates(self, call):
        return 200, {'aggregates': self.aggregates}

    def list_candidates(self, call):
        free = {id for id, summary in self.providers.items() if any(
            name == 'MEMORY_MB' and amounts['used'] < amounts['capacity']
            for name, amounts in summary['resources'].items())}
        return 200, {'allocation_requests': [], 'provider_summaries': {
            id: summary for id, summary in self.providers.items()
            if summary['root_provider_uuid'] in free}}


ROUTES = [
    ('/v2.1/os-services', 'GET', 'list_services'),
    ('/v2.1/os-services/(.+)', 'PUT', 'put_service'),
    ('/v2.1/os-hypervisors/detail', 'GET', 'list_hypervisors'),
    ('/v2.1/os-hypervisors/(.+)', 'GET', 'show_hypervisor'),
    ('/v2.1/os-aggregates', 'GET', 'list_aggregates'),
    ('/v2.1/os-server-groups', 'GET', 'list_groups'),
    ('/v2.1/servers/detail', 'GET', 'list_servers'),
    ('/v2.1/servers', 'GET', 'list_deleted'),
    ('/v2.1/servers/([^/]+)', 'GET', 'show_server'),
    ('/v2.1/servers/([^/]+)/action', 'POST', 'act'),
    ('/v2.1/os-migrations', 'GET', 'list_migrations'),
    ('/placement/allocation_candidates', 'GET', 'list_candidates'),
]


class Handler(http.server.BaseHTTPRequestHandler):
    """Speaks HTTP for the ``fake`` of its subclass."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    fake = None

    def log_message(self, *args):
        pass

    def send(self, status, body, headers=()):
        data = body if isinstance(body, bytes) else b'' if body is None else (
            json.dumps(body).encode())
        self.send_response(status)
        for name, value in {'Content-Type': 'application/json', **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        text = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        url = urllib.parse.urlsplit(self.path)
        asked = (self.headers.get('OpenStack-API-Version') or ' ').split(' ')[-1]
        call = Call(self.command, url.path, dict(urllib.parse.parse_qsl(url.query)), asked,
                    json.loads(text or b'null'))
        document = self.version_document(url.path.rstrip('/'))
        if not document and not url.path.startswith('/identity'):
            self.fake.calls.append(call)
        fault = next((fault for path, fault in self.fake.faults[self.command]
                      if url.path.startswith(path) and fault.strikes()), None)
        if fault:
            self.break_down(call, fault)
        elif document:
            self.send(200, document)
        elif url.path.startswith('/identity'):
            self.give_token()
        elif url.path.startswith('/v2.1') and _number(asked) > _number(self.fake.max_version):
            self.send(406, {'computeFault': {'message': f'no version {asked}'}})
        else:
            status, body = self.fake.answer(copy.deepcopy(call))
            request_id = f'req-{uuid.uuid4()}'
            self.send(status, body, {'x-compute-request-id': request_id,
                                     'x-openstack-request-id': request_id})

    def version_document(self, path):
        here = [{'rel': 'self', 'href': f'{self.fake.url}{path}/'}]
        return {
            '/v2.1': {'version': {
                'id': 'v2.1', 'status': 'CURRENT', 'version': self.fake.max_version,
                'min_version': '2.1', 'links': here}},
            '/placement': {'versions': [{
                'id': 'v1.0', 'status': 'CURRENT', 'max_version': '1.39', 'min_version': '1.0',
                'links': [{'rel': 'self', 'href': ''}]}]},
            '/identity/v3': {'version': {'id': 'v3.14', 'status': 'stable', 'links': here}},
        }.get(path)

    def give_token(self):
        domain = {'id': 'default', 'name': 'Default'}
        self.fake.tokens += 1
        self.send(201, {'token': {
            'expires_at': '2999-01-01T00:00:00.000000Z', 'issued_at': '2026-01-01T00:00:00Z',
            'methods': ['password'], 'user': {'id': 'u', 'name': 'vmha', 'domain': domain},
            'project': {'id': 'p', 'name': 'service', 'domain': domain},
            'catalog': [{'type': kind, 'name': kind, 'endpoints': [
                {'interface': 'public', 'region': 'R', 'region_id': 'R', 'url': url}]}
                for kind, url in self.fake.catalog.items()]}},
            {'X-Subject-Token': f'token-{self.fake.tokens}'})

    def break_down(self, call, fault):
        if fault.kind == 'answer':
            return self.send(fault.status, fault.body, fault.headers)
        if fault.kind == 'half':
            body = json.dumps(self.fake.answer(call)[1] or {'a': 1}).encode()
            return self.send(200, body[:len(body) // 2])
        if fault.kind == 'hang':
            self.fake.release.wait(30)
        elif fault.kind == 'cut':               # the promised length never comes
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wfile.write(b'{')
            self.wfile.flush()
        # Closed with nothing to linger for, which resets the connection.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close_connection = True
        self.connection.close()
        return None

    do_GET = do_POST = do_PUT = handle_any


def _number(version):
    return tuple(int(part) for part in version.split('.'))
