"""Power through OpenStack's bare metal service, with the account of [service_credentials]."""

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import session as ks_session
from openstack import connection
from openstack import exceptions as sdk_exc

from vmha_nova import exception
from vmha_nova.fencing import agents

NAME = 'ironic'
OFF = 'power off'
NODE = 'node'
LOCKED, AWAY = 409, 503
FIELDS = ('uuid', 'name', 'power_state', 'target_power_state', 'reservation', 'last_error')


class Ironic:
    """Ironic's nodes; ``[host] node`` is a node's name or UUID, by default the host's name.

    :param session: keystoneauth1 session
    :param timeout: seconds for one request
    """

    live = False                        # what Ironic shows is what it last wrote down

    def __init__(self, session, region_name=None, interface=None, timeout=20.0):
        # The same token and connections, with a time limit of its own.
        self._session = ks_session.Session(
            auth=session.auth, session=session.session, verify=session.verify, cert=session.cert,
            timeout=timeout)
        # Whether to try again is decided by who knows for how long.
        self._options = dict(region_name=region_name, baremetal_interface=interface,
                             baremetal_connect_retries=0, baremetal_status_code_retries=0)
        self._made = None

    def problem(self, peer):
        """Nothing that could be known without asking it."""
        return ''

    def unresolved(self, peer):
        """Nothing: where Ironic is, Keystone says."""
        return ''

    def off(self, peer):
        """Tell the node to be off, hard; Ironic does it after it has answered."""
        node = self._node(peer)
        self._ask(node, lambda baremetal: baremetal.set_node_power_state(node, OFF))
        return 'power off accepted'

    def status(self, peer):
        """Whether the node is off, and Ironic is done with it: an agents.Answer."""
        node = self._node(peer)
        found = self._ask(node, lambda baremetal: baremetal.get_node(node, fields=FIELDS))
        done = not (found.target_power_state or found.reservation or found.last_error)
        text = f'power_state {found.power_state}'
        for name in ('target_power_state', 'reservation', 'last_error'):
            if value := getattr(found, name):
                text += f', {name} {agents.words(str(value), {})}'
        return agents.Answer(done and found.power_state == OFF, text)

    def _connection(self):
        if self._made is None:
            self._made = connection.Connection(session=self._session, **self._options)
        return self._made

    @staticmethod
    def _node(peer):
        return peer.values.get(NODE) or peer.host

    def _ask(self, node, call):
        try:
            return call(self._connection().baremetal)
        except (sdk_exc.SDKException, ks_exc.ClientException, OSError) as e:
            code = getattr(e, 'status_code', None) or getattr(e, 'http_status', None)
            why = {LOCKED: f'the node {node} is locked', 404: f'there is no node {node}'}.get(
                code) or agents.words(str(e), {})
            raise exception.FenceFailed(f'ironic: {why}') from e
