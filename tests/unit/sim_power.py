"""BMCs beside the simulated Nova: they switch its hosts off, or fail in the ways BMCs fail."""

from vmha_nova import exception
from vmha_nova.fencing import agents
from vmha_nova.fencing import parameters

DEAD, STUCK, SLOW = 'no answer', 'says off was done, and stays on', 'off only after a while'


class SimPower:
    """The file of parameters and the agent in one.

    :ivar moods: host -> what is wrong with its BMC
    :ivar calls: (action, host)
    """

    live = True

    def __init__(self, nova, hosts):
        self.nova = nova
        self.hosts = list(hosts)
        self.moods = {}
        self.calls = []
        self.on_off = lambda host: None     # for who else has to know

    # -- parameters.Parameters ------------------------------------------------------------------
    def all(self):
        return {host: self.of(host) for host in self.hosts}

    def of(self, host):
        if host not in self.hosts:
            raise exception.ConfigurationError(f'{host} has no section in power.conf')
        return parameters.Peer(host, 'fence_sim', {})

    # -- agents.Agents --------------------------------------------------------------------------
    def problem(self, peer):
        return ''

    def unresolved(self, peer):
        return ''

    def off(self, peer):
        self._call('off', peer)
        if peer.host not in self.moods:
            self.nova.lose_power(peer.host)
            self.on_off(peer.host)
        elif self.moods[peer.host] == SLOW:
            del self.moods[peer.host]   # the next order works
        return 'Success'

    def status(self, peer):
        self._call('status', peer)
        powered = self.nova.hosts[peer.host].powered
        return agents.Answer(not powered, 'Status: ON' if powered else 'Status: OFF')

    def _call(self, action, peer):
        self.calls.append((action, peer.host))
        if self.moods.get(peer.host) == DEAD:
            raise exception.FenceFailed(f'fence_sim: {action}: no answer')
