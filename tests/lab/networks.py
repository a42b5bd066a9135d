"""A small client of the lab's Neutron: a network for servers, and their ports."""

import datetime

from tests.lab.common import wait_until

_NAME = 'lab'


class Networks:
    """Calls Neutron as the administrator. Ports and agents are Neutron's own dicts.

    :param session: keystoneauth1 session
    :param url: ``State.urls['network_url']``
    """

    def __init__(self, session, url):
        self.session = session
        self.url = url + '/v2.0'

    def _get(self, kind, **query):
        answer = self.session.get(f'{self.url}/{kind}', params=query, timeout=60)
        return answer.json()[kind]

    def _create(self, kind, **content):
        answer = self.session.post(f'{self.url}/{kind}s', json={kind: content}, timeout=60)
        return answer.json()[kind]

    def create(self):
        """Make the network that servers with a port are on."""
        made = self._create('network', name=_NAME)
        self._create('subnet', network_id=made['id'], ip_version=4, cidr='192.0.2.0/24',
                     enable_dhcp=False, gateway_ip=None)

    def as_network(self):
        """What the request for a server says to get a port, which is deleted with it."""
        return [{'uuid': self._get('networks', name=_NAME)[0]['id']}]

    def ports(self, server_id):
        """The ports of a server: ``binding:host_id`` is where, status ACTIVE means wired."""
        return self._get('ports', device_id=server_id)

    def wait_agents(self, hosts, since=None, timeout=120):
        """Wait until Neutron hears from the agents of hosts.

        :param since: datetime in UTC, without its zone; what was heard earlier does not count
        """
        def heard(agent):
            beat = datetime.datetime.fromisoformat(agent['heartbeat_timestamp'])
            return agent['alive'] and (since is None or beat >= since)

        wait_until(f'agents of Neutron on {", ".join(hosts)}', lambda: set(hosts) <= {
            agent['host'] for agent in self._get('agents') if heard(agent)}, timeout, 0.5)
