"""The fence by power: the host is switched off, and counts as off when its BMC says so."""

import itertools
import logging
import time

from vmha_nova import exception
from vmha_nova.fencing import ironic

LOG = logging.getLogger(__name__)
PAUSES = (0.5, 1.0, 2.0, 4.0)           # seconds between looks whether an order has worked
TRUSTED = 10.0                          # seconds for which "off" is not asked again
LOOK_UP = 10.0                          # seconds for looking up names of BMCs of all hosts
FIRST = 'it is switched off before anything is moved'


class PowerFence:
    """Switches hosts off with the parameters of [fence] power_file.

    Whoever runs on a host that is off writes no more, to any disk, seen or not. It is off when
    its BMC says "off" after it was told so, however the order itself was answered. It is asked
    with growing pauses, and told again, for ``patience`` seconds; then this has failed.

    :param parameters: parameters.Parameters
    :param agents: agents.Agents
    :param ironic_: ironic.Ironic
    :param own: names of the machine that this runs on
    :param patience: seconds
    :param check_lead: function: TermLost if another engine leads
    :param clock: function: aware UTC, for the evidence
    """

    name = 'power'
    proves = 'the host is off'
    done = 'its power fence was begun, so that it may have been switched off'
    lasting = False                     # it stays off until somebody switches it on

    def __init__(self, parameters, agents, ironic_, own, patience, check_lead, clock,
                 monotonic=time.monotonic, sleep=time.sleep):
        self._parameters = parameters
        self._agents = agents
        self._ironic = ironic_
        self._own = frozenset(own)
        self._patience = patience
        self._check_lead = check_lead
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._off_at = {}               # host -> when it was last seen to be off
        self._silent = {}               # host -> why that could not be asked again, as logged
        self._said = {}                 # host -> why it cannot be powered off, as logged

    def plan(self, host, ours=()):
        """Which agent is to switch it off, and how it is reached."""
        if host in self._own:
            raise exception.FenceFailed(
                f'this engine runs on {host}: it is not dead, and would switch itself off')
        peer, by = self._peer(host)
        if reason := by.problem(peer):
            raise exception.FenceFailed(reason)
        return {'driver': self.name, 'host': host, 'agent': peer.agent, 'whole': True,
                'entries': []}

    def fence(self, host, plan):
        """Switch it off; returns the plan with what was answered, and when."""
        end, taken = self._monotonic() + self._patience, None
        self._off_at.pop(host, None)
        for orders in itertools.count(1):
            peer, by = self._peer(host)
            self._check_lead()
            refused = ''
            try:
                taken = by.off(peer)
            except exception.FenceFailed as e:
                refused = str(e)
            for pause in PAUSES:        # it may need a moment, and an order then would disturb
                try:
                    answer = by.status(peer)
                    if answer.off and (by.live or taken is not None):
                        self._off_at[host] = self._monotonic()
                        return {**plan, 'agent': peer.agent, 'orders': orders,
                                'order_answer': refused or taken, 'status_answer': answer.text,
                                'off_at': self._clock().isoformat()}
                    problem = (f'{peer.agent}: it was told to be off, and its status is still '
                               f'"{answer.text}"')
                except exception.FenceFailed as e:
                    problem = str(e)
                left = end - self._monotonic()
                if left <= 0:
                    raise exception.FenceFailed(refused or problem)
                self._sleep(min(pause, left))

    def keep(self, host, evidence):
        """The same plan again where it is on again.

        That the BMC does not answer proves nothing: it may have lost its power since.
        """
        now = self._monotonic()
        if now - self._off_at.get(host, now - TRUSTED) < TRUSTED:
            return None
        try:
            answer = self.ask(host)
        except exception.FenceFailed as e:
            if self._silent.get(host) != str(e):
                LOG.warning('whether %s is still off cannot be asked: %s', host, e)
            self._silent[host] = str(e)
            answer = None
        if answer is None or answer.off:
            self._off_at[host] = now
            return None
        return {key: evidence[key] for key in (
            'driver', 'host', 'agent', 'whole', 'entries', 'covered') if key in evidence}

    # -- what it is worth for a host ------------------------------------------------------------
    def problem(self, host, look_up=False):
        """Why a host cannot be switched off, as far as that is known without its BMC; ''.

        :param look_up: whether to find out if the name of its BMC has an address; takes its time
        """
        try:
            peer, by = self._peer(host)
        except exception.FenceFailed as e:
            return str(e)
        return by.problem(peer) or (by.unresolved(peer) if look_up else '')

    def protect(self, levels):
        """Levels of protection with this fence before others: host -> (level, why).

        :param levels: the same without it
        """
        problems = self.problems(levels)
        found = {}
        for host, (level, why) in levels.items():
            if problems[host]:
                found[host] = level, f'{why}; it cannot be switched off: {problems[host]}'
            elif level == 'none':
                found[host] = self.name, f'{FIRST}; besides, {why}'
            else:
                found[host] = f'{self.name}+{level}', f'{FIRST}; where that fails, {why}'
        return found

    def problems(self, hosts=None):
        """Why each of some hosts, or of those in the file, cannot be switched off: host -> ''.

        What is new is logged, a line for each. That a name of a BMC has no address is found out,
        too, for as many hosts as that is possible in some seconds.
        """
        end, found = self._monotonic() + LOOK_UP, {}
        for host in sorted(self._parameters.all() if hosts is None else hosts):
            found[host] = self.problem(host, self._monotonic() < end)
            if found[host] and found[host] != self._said.get(host):
                LOG.warning('%s cannot be switched off: %s', host, found[host])
            self._said[host] = found[host]
        return found

    def ask(self, host):
        """Whether the BMC of a host says that it is off: agents.Answer; raises FenceFailed."""
        peer, by = self._peer(host)
        return by.status(peer)

    def powered(self, host):
        """Whether it could be switched off, as far as that is known without its BMC."""
        return not self.problem(host)

    def _peer(self, host):
        try:
            peer = self._parameters.of(host)
        except exception.ConfigurationError as e:
            raise exception.FenceFailed(str(e)) from e
        return peer, self._ironic if peer.agent == ironic.NAME else self._agents
