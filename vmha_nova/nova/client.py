"""The calls to Nova, Placement and, for what is attached where, Cinder.

Reads raise ``Unreachable`` (nothing usable came back: no answer, 5xx, or an answer of the wrong
shape), ``Rejected`` (4xx) or ``NotFound``. A list is whole or it raises.

Acts raise ``Unreachable`` when it is certain that Nova did not act on the request, ``Rejected``
or ``NotFound`` when Nova refused it, and ``OutcomeUnknown`` in every other case. Nothing is ever
sent twice here: whether to try again is decided elsewhere, by who knows what that may break.

Microversions are named for every call. Evacuate goes out at 2.94 at most: from 2.95 on, Nova
leaves the evacuated server stopped.
"""

import contextlib
import datetime
import threading
import urllib.parse

from novaclient import client as nova_client
from openstack import connection
from openstack import exceptions as sdk_exc

from vmha_nova import exception
from vmha_nova.nova import records
from vmha_nova.nova import wire

EVACUATE_MAX = (2, 94)
AGGREGATES = '2.41'
ATTACHMENTS = '3.27'         # Cinder's
SERVICE_PUT = '2.53'         # services are named by UUID
MIGRATIONS = '2.59'          # in pages
GROUPS = '2.64'              # one policy, and its rules
SERVICES = '2.69'            # services of a cell that is down are listed as UNKNOWN
HYPERVISORS = '2.87'         # from 2.88 on there is no vcpus, and Nova may ask hosts for uptime
SERVERS = '2.90'
CANDIDATES = '1.36'          # Placement; provider summaries show whole trees from 1.29 on

_PAGE = 1000                 # Nova's default for [api] max_limit
_REASON = 255                # Nova's limit for disabled_reason


class Nova:
    """Nova and Placement of one region.

    ``session`` is a keystoneauth session; one token serves everything. ``timeout`` is in seconds
    of silence. Below the 60 s that Nova waits for a cell whose database is silent, nothing is
    learnt of the other cells either. Safe for use by several threads.
    """

    def __init__(self, session, region_name=None, interface='public', timeout=75.0):
        self._session = wire.Session(session, timeout)
        self._region = region_name
        self._interface = interface
        # Strict: a service that cannot be discovered raises now and is tried anew the next time.
        # Otherwise the SDK would remember it as missing for good.
        self._connection = connection.Connection(
            session=self._session, region_name=region_name, interface=interface,
            strict_proxies=True)
        self._lock = threading.Lock()
        self._maximum = None
        self._client = None
        self._page = _PAGE

    # -- what the cloud looks like ------------------------------------------------------------

    @property
    def max_microversion(self):
        """The newest microversion of this Nova, as in (2, 93); asked for once."""
        if self._maximum is None:
            with wire.reading("Nova's version document"):
                data = self._proxy('compute').get_endpoint_data()
                self._maximum = tuple(data.max_microversion)
        return self._maximum

    def services(self):
        """All nova-compute services: a ``ServiceList``."""
        with wire.reading('GET /os-services'):
            return records.service_list(self._get(
                'compute', '/os-services', SERVICES, binary='nova-compute')['services'])

    def hypervisors(self, between=None):
        """All compute node records, ironic ones too; ``between`` is called between pages."""
        path = '/os-hypervisors/detail'
        with wire.reading(f'GET {path}'):
            return [records.hypervisor(record) for record in self._pages(
                path, 'hypervisors', HYPERVISORS, between=between)]

    def hypervisor(self, hypervisor_id):
        """One compute node record, read anew.

        :raises NotFound: Nova says that there is none (any more).
        """
        path = f'/os-hypervisors/{hypervisor_id}'
        with wire.reading(f'GET {path}'):
            return records.hypervisor(self._get(
                'compute', path, HYPERVISORS, thing=hypervisor_id)['hypervisor'])

    def aggregates(self):
        """The host aggregates: host -> tuple of Aggregate, by name."""
        with wire.reading('GET /os-aggregates'):
            return records.aggregates(
                self._get('compute', '/os-aggregates', AGGREGATES)['aggregates'])

    def groups(self):
        """All server groups of all projects; their members are those not deleted."""
        path, found = '/os-server-groups', {}
        with wire.reading(f'GET {path}'):
            while True:
                body = self._get('compute', path, GROUPS, all_projects='true',
                                 limit=_PAGE, offset=len(found))
                page = {r['id']: records.group(r) for r in body['server_groups']}
                # Nova names neither a next page nor its own limit: an empty page is the end.
                if not page.keys() - found.keys():
                    return list(found.values())
                found.update(page)

    def servers(self, host=None, changes_since=None, between=None):
        """Servers of all projects: a ``ServerList``.

        ``host`` restricts it to one host. ``changes_since`` (aware datetime) restricts it to what
        changed since, deleted ones included. Both make Nova leave out cells that are down without
        a word; only the unrestricted list names their servers, as ``unknown``, and only as many
        as its first page holds. ``between`` is called between pages: such a list can take minutes.
        """
        filters = {'all_tenants': '1'}
        if host is not None:
            filters['host'] = host
        if changes_since is not None:
            utc = changes_since.astimezone(datetime.timezone.utc)
            filters['changes-since'] = utc.strftime('%Y-%m-%dT%H:%M:%SZ')
        path = '/servers/detail'
        with wire.reading(f'GET {path}'):
            return records.server_list(
                self._pages(path, 'servers', SERVERS, between=between, **filters))

    def server(self, instance_id):
        """One server, read anew; ``known`` is False when its cell is down.

        :raises NotFound: Nova says, to an admin, that there is none (any more).
        """
        path = f'/servers/{instance_id}'
        with wire.reading(f'GET {path}'):
            try:
                body = self._get('compute', path, SERVERS, thing=instance_id)
            except exception.NotFound:
                # Nova says the same of another project's server to an account that is no admin
                # (any more). Only to an admin does it list deleted servers, so this raises then.
                self._get('compute', '/servers', SERVERS, status='deleted', limit=1)
                raise
            return records.instance(body['server'])

    def providers(self):
        """What Placement says of the hosts with memory left: root provider id -> Provider.

        One call for all. A provider without a free MiB is absent from the answer, and not gone.
        """
        path = '/allocation_candidates'
        with wire.reading(f'GET {path}'):
            return records.providers(self._get(
                'placement', path, CANDIDATES, resources='MEMORY_MB:1')['provider_summaries'])

    def evacuations(self, host, since=None):
        """The evacuation records that have ``host`` as their source, newest first.

        ``since`` (aware datetime) leaves out records created before it.
        """
        path, found = '/os-migrations', {}
        with wire.reading(f'GET {path}'):
            # Not by changes-since: Nova compares that with updated_at, which a record just made
            # does not have. It sorts by created_at, so the first old one ends the list.
            for record in self._pages(path, 'migrations', MIGRATIONS, id_key='uuid',
                                      migration_type='evacuation', source_compute=host):
                migration = records.migration(record)
                if since is not None and migration.created_at < since:
                    break
                found[migration.id] = migration
        return list(found.values())

    # -- acts ---------------------------------------------------------------------------------

    def force_down(self, service_id, forced):
        """Tell Nova that a nova-compute is down for certain, or (False) take that back."""
        self._put_service(service_id, {'forced_down': forced}, 'forced_down')

    def disable(self, service_id, reason):
        """Keep the scheduler from using a host; Nova takes 255 characters of the reason."""
        body = {'status': 'disabled', 'disabled_reason': reason[:_REASON]}
        self._put_service(service_id, body, 'status')

    def enable(self, service_id):
        """Let the scheduler use a host."""
        self._put_service(service_id, {'status': 'enabled'}, 'status')

    def evacuate(self, instance_id, target):
        """Have Nova rebuild a server on the host ``target``, which its scheduler verifies.

        Returns Nova's request id. Nova does not refuse a second evacuate while the first runs.
        """
        return self._action(f'evacuate {instance_id} to {target}', instance_id,
                            lambda servers: servers.evacuate(instance_id, host=target))

    def attachments(self, instance_id):
        """Where Cinder has a server's volumes: volume id -> pool/image, '' where not on RBD.

        Volumes whose attachment tells no place are left out.
        """
        path = '/attachments/detail'
        with wire.reading(f'GET {path}'):
            body = self._get('block_storage', path, ATTACHMENTS, all_tenants='true',
                             instance_id=instance_id)
            return records.attachments(body['attachments'], instance_id)

    def reset_to_active(self, instance_id):
        """Set a server's vm_state to active; returns Nova's request id."""
        return self._action(f'reset the state of {instance_id}', instance_id,
                            lambda servers: servers.reset_state(instance_id, 'active'))

    def stop(self, instance_id):
        """Stop a server; returns Nova's request id."""
        return self._action(f'stop {instance_id}', instance_id,
                            lambda servers: servers.stop(instance_id))

    def start(self, instance_id):
        """Start a server; returns Nova's request id."""
        return self._action(f'start {instance_id}', instance_id,
                            lambda servers: servers.start(instance_id))

    # -- how ----------------------------------------------------------------------------------

    def _proxy(self, service):
        with self._lock:                # the first use discovers the service
            try:
                return getattr(self._connection, service)
            except (sdk_exc.ServiceDiscoveryException, sdk_exc.NotSupported) as error:
                url = self._session.get_endpoint(service_type=service, interface=self._interface,
                                                 region_name=self._region)
                if (url or '').startswith('https:'):
                    # The SDK keeps to itself that a certificate was refused.
                    self._session.get(url, authenticated=False, raise_exc=False)
                raise exception.Unreachable(f'{service} at {url} tells no version') from error

    def _get(self, service, path, microversion, thing=None, **params):
        """The JSON object that answers a GET; ``thing`` is the id that a 404 must name."""
        response = self._proxy(service).get(
            path, params=params, microversion=microversion, raise_exc=False)
        if response.status_code != 200:
            raise wire.read_refusal(f'GET {path}', response, thing)
        return response.json()

    def _pages(self, path, key, microversion, between=None, id_key='id', **filters):
        """Yield the records of all pages.

        No limit is asked for: with one, Nova leaves out the servers of cells that are down.
        """
        seen, query = set(), filters
        while True:
            body = self._get('compute', path, microversion, **query)
            page = body[key]
            yield from page
            new = {record[id_key] for record in page} - seen
            links = [link['href'] for link in body.get(f'{key}_links') or ()
                     if link['rel'] == 'next']
            if links and not new:
                raise ValueError('the same page again')
            if links:
                self._page = len(page)
            # Nova offers a next page only where this one is full to the last record, and counts
            # after it has dropped some: a server just being scheduled, which it found twice, or a
            # compute node without a service. So a long page without a next one is not the end yet.
            elif not new or 2 * len(page) < self._page:
                return
            seen |= new
            query = {**filters, 'marker': _marker(links) or page[-1][id_key]}
            if between is not None:
                between()

    @contextlib.contextmanager
    def _acting(self, what, thing):
        """Have everything ready for an act, so that what fails inside may have been sent."""
        try:
            with wire.reading(what):
                self._session.get_token()
                self._ready()
        except exception.VmhaError as error:
            raise exception.Unreachable(f'not sent: {error}') from error
        with wire.acting(what, thing):
            yield

    def _ready(self):
        maximum = self.max_microversion
        with self._lock:
            if self._client is None:
                version = '.'.join(str(part) for part in min(maximum, EVACUATE_MAX))
                self._client = nova_client.Client(
                    version, session=self._session, region_name=self._region,
                    endpoint_type=self._interface)
        self._client.client.get_endpoint()

    def _put_service(self, service_id, body, key):
        path = f'/os-services/{service_id}'
        what = f'PUT {path} {body}'
        with self._acting(what, service_id):
            response = self._proxy('compute').put(
                path, json=body, microversion=SERVICE_PUT, raise_exc=False)
            if response.status_code != 200:
                raise wire.act_refusal(what, response, service_id)
            service = response.json()['service']
            if service['id'] != service_id or service[key] != body[key]:
                raise exception.OutcomeUnknown(f'{what}: answered 200 with {service}')

    def _action(self, what, instance_id, send):
        with self._acting(what, instance_id):
            answer = send(self._client.servers)
            # Nova puts its request id on every answer; one without it is somebody else's.
            if not any(answer.request_ids):
                raise exception.OutcomeUnknown(f'{what}: the answer is not from Nova')
            return answer.request_ids[0]


def _marker(links):
    """The marker of the next page; its host and path may be those of Nova's inside."""
    if not links:
        return ''
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(links[0]).query)
    return query.get('marker', [''])[0]
