"""A small client of the lab's Nova, for tests: explicit microversions, bounded waits."""

import collections
import datetime
import time

from keystoneauth1 import exceptions

from tests.lab import bootstrap
from tests.lab.common import LabError
from tests.lab.common import wait_until

#: From 2.95 on, Nova leaves evacuated servers stopped.
MICROVERSION = '2.94'

_PAGE = 500


class Cloud:
    """Calls Nova as the administrator. Servers, services and migrations are Nova's own dicts.

    Calls raise keystoneauth1's exceptions; waits raise LabError.

    :param session: keystoneauth1 session
    :param urls: ``State.urls``
    """

    def __init__(self, session, urls):
        self.session = session
        self.urls = urls

    def call(self, method, path, body=None, microversion=MICROVERSION, timeout=60, **query):
        """One request to Nova; answers the decoded body, or None where there is none.

        :param path: what follows ``/v2.1``
        :param query: query parameters; those that are None are left out
        """
        try:
            answer = self.session.request(
                self.urls['compute_url'] + path, method, json=body, timeout=timeout,
                params={name: value for name, value in query.items() if value is not None},
                headers={'OpenStack-API-Version': f'compute {microversion}'})
        except exceptions.HttpError as error:
            # keystoneauth1 does not understand Nova's errors; people would like to.
            error.args = (f'{method} {path}: {error.http_status}: {_explanation(error)}',)
            raise
        return answer.json() if answer.content else None

    def pages(self, path, key, **query):
        """All items of a list that Nova gives in pages."""
        items = []
        while True:
            marker = items[-1]['id'] if items else None
            page = self.call('GET', path, limit=_PAGE, marker=marker, **query)[key]
            items.extend(page)
            if len(page) < _PAGE:
                return items

    # Servers

    def servers(self, host=None, **query):
        """Details of all projects' servers, or of those on one host."""
        return self.pages('/servers/detail', 'servers', all_tenants=1, host=host, **query)

    def server(self, server_id):
        """Details of one server."""
        return self.call('GET', f'/servers/{server_id}')['server']

    def boot(self, host, n=1, stopped=0, name='vm', metadata=None, flavor=None, image=None,
             server_group=None, timeout=None, networks='none', **fields):
        """Make ``n`` servers on ``host``, of which ``stopped`` end SHUTOFF; returns their details.

        :param flavor: id; the lab's own if None
        :param image: id; the lab's own if None
        :param server_group: id of a group that they become members of
        :param timeout: seconds; if None, a time that grows with ``n``
        :param networks: as in Nova's API
        :param fields: more of the request's ``server``
        :raises LabError: one ended in ERROR, or not all were ready in time
        """
        server = {'name': name, 'networks': networks,
                  'imageRef': self.image_id() if image is None else image,
                  'flavorRef': flavor or bootstrap.FLAVOR['id'], 'host': host,
                  'metadata': metadata or {}, 'min_count': n, 'max_count': n,
                  'return_reservation_id': True, **fields}
        body = {'server': server}
        if server_group is not None:
            body['os:scheduler_hints'] = {'group': server_group}
        made = self.call('POST', '/servers', body, timeout=300)['reservation_id']
        deadline = time.monotonic() + (timeout or 60 + 3 * n)
        ready = self._wait_booted(made, n, 'ACTIVE', deadline - time.monotonic())
        for one in ready[:stopped]:
            self.action(one['id'], {'os-stop': None})
        self._wait_booted(made, stopped, 'SHUTOFF', deadline - time.monotonic())
        return self.servers(reservation_id=made)

    def _wait_booted(self, reservation, n, status, timeout):
        """Wait until ``n`` servers of one boot have the status; returns them."""

        def ready():
            found = self.servers(reservation_id=reservation)
            for server in found:
                if server['status'] == 'ERROR':
                    reason = server.get('fault', {}).get('message', 'no reason given')
                    raise LabError(f'server {server["id"]} is in ERROR: {reason}')
            having = [server for server in found if server['status'] == status
                      and server['OS-EXT-STS:task_state'] is None]
            return having if len(having) >= n else None

        if n == 0:
            return []
        return wait_until(f'{n} servers {status}', ready, timeout, 0.5)

    def action(self, server_id, body):
        """POST a server's action, such as ``{'os-stop': None}``."""
        return self.call('POST', f'/servers/{server_id}/action', body)

    def evacuate(self, server_id, host=None, microversion=MICROVERSION):
        """Ask Nova to evacuate a server, to ``host`` if one is named."""
        target = {} if host is None else {'host': host}
        self.call('POST', f'/servers/{server_id}/action', {'evacuate': target}, microversion)

    def wait_moved(self, server_ids, source, timeout=120):
        """Wait until the servers are on another host and nothing is being done to them."""
        wanted = set(server_ids)

        def moved():
            found = [server for server in self.servers() if server['id'] in wanted
                     and server['OS-EXT-SRV-ATTR:host'] != source
                     and server['OS-EXT-STS:task_state'] is None]
            return found if len(found) == len(wanted) else None

        return wait_until(f'{len(wanted)} servers away from {source}', moved, timeout, 0.5)

    def delete_all(self, host=None, timeout=None):
        """Delete every server, or those of one host, and wait until they are gone.

        :param timeout: seconds; if None, a time that grows with their number
        """
        doomed = self.servers(host)
        for server in doomed:
            try:
                self.call('DELETE', f'/servers/{server["id"]}')
            except exceptions.NotFound:
                pass
        wait_until('deletion of the servers', lambda: not self.servers(host),
                   timeout or 60 + 3 * len(doomed), 0.5)

    def image_id(self):
        """Id of the lab's image."""
        url = self.urls['image_url'] + '/v2/images'
        images = self.session.get(url, params={'name': bootstrap.IMAGE}, timeout=60).json()
        return images['images'][0]['id']

    def count(self):
        """``{host: {status: how many}}``; a server without a host counts for ''."""
        table = collections.defaultdict(collections.Counter)
        for server in self.servers():
            table[server['OS-EXT-SRV-ATTR:host'] or ''][server['status']] += 1
        return {host: dict(counted) for host, counted in table.items()}

    # Hosts

    def services(self, binary=None, host=None):
        """Nova's services."""
        return self.call('GET', '/os-services', binary=binary, host=host)['services']

    def service(self, host, binary='nova-compute'):
        """One service.

        :raises LabError: Nova knows none
        """
        found = self.services(binary, host)
        if not found:
            raise LabError(f'Nova knows no {binary} on {host}')
        return found[0]

    def set_service(self, host, **fields):
        """Change a nova-compute's record: ``forced_down``, ``status``, ``disabled_reason``."""
        self.call('PUT', f'/os-services/{self.service(host)["id"]}', fields)

    def hypervisors(self):
        """Names of the hosts that the scheduler can use."""
        # From 2.88 on, Nova calls every one of them, and hangs on those that do not answer.
        found = self.call('GET', '/os-hypervisors/detail', microversion='2.87')['hypervisors']
        return [hypervisor['service']['host'] for hypervisor in found]

    def migrations(self, source=None, **query):
        """Migrations, or those away from one host."""
        return self.pages('/os-migrations', 'migrations', source_compute=source, **query)

    def wait_heartbeat(self, host, binary, since, timeout=120):
        """Wait until a service has reported after ``since``, a datetime in UTC."""

        def reported():
            for service in self.services(binary, host):
                beat = service['updated_at']
                if beat and datetime.datetime.fromisoformat(beat) > since:
                    return service
            return None

        return wait_until(f'a sign of life of {binary} on {host}', reported, timeout, 0.5)

    def wait_up(self, hosts, timeout=120):
        """Wait until Nova sees the hosts up and the scheduler knows them."""
        hosts = set(hosts)
        wait_until(f'{", ".join(sorted(hosts))} up in Nova', lambda: hosts <= {
            service['host'] for service in self.services('nova-compute')
            if service['state'] == 'up'}, timeout, 0.5)
        wait_until(f'{", ".join(sorted(hosts))} known to the scheduler',
                   lambda: hosts <= set(self.hypervisors()), timeout, 0.5)

    def bring_back(self, host, timeout=120):
        """Take a host whose nova-compute runs again back into service.

        Nova refuses to lift forced_down until nova-compute has cleaned up after the evacuations;
        and a service that is enabled before it is up stays excluded from scheduling for a while.
        """

        def lifted():
            try:
                self.set_service(host, forced_down=False)
            except exceptions.BadRequest:
                return False
            return True

        wait_until(f'end of forced_down on {host}', lifted, timeout, 0.5)
        self.wait_up([host], timeout)
        self.set_service(host, status='enabled')


def _explanation(error):
    """What Nova says about a request that it refused."""
    try:
        (content,) = error.response.json().values()
        return content['message']
    except (AttributeError, ValueError, KeyError, TypeError):
        return error.message
