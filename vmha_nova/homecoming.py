"""The way back of a host that had failed, once its recovery is over.

    its old guests are gone, or never left       guard.py
    the ranges of its fence are lifted           guard.py
    it beats without a gap for long enough
    forced_down is taken back                    where this service had set it
    Nova shows it as up
    it is enabled, or parked as a spare          where this service had disabled it

Each is recorded before it is done and again after, and looked at anew each time: who is killed in
between, or is late, finds it as it is. What somebody else did in Nova stays.
"""

import logging

from vmha_nova import exception
from vmha_nova import marks

LOG = logging.getLogger(__name__)
DISABLED = 'vmha: recovery '            # reasons in Nova of hosts that this service took out


def forced_by_us(steps):
    """Whether forced_down is this service's doing, by its steps ``force_down`` and ``force_up``.

    One that was only intended may have been done; to take it back must have worked.
    """
    ours = False
    for step in steps:
        if step.kind == 'force_down':
            ours = ours or step.state in ('done', 'intended')
        elif step.state in ('done', 'not_ours'):
            ours = False
    return ours


class Homecoming:
    """See the module. Used from the loop's thread; its jobs change Nova."""

    def __init__(self, store, lead, nova, collector, guard, jobs, clock, settings):
        self.store = store
        self.lead = lead
        self.nova = nova
        self.collector = collector
        self.guard = guard
        self.jobs = jobs
        self.clock = clock
        self.settings = settings
        self._beats = {}                # host -> (the first beat seen, since when others came)

    def watch_over(self, recovery, node):
        """Do what is next for a host whose recovery is over.

        :param node: None while nothing is known of it
        :returns: why it is still out, in words; '' where there is nothing to say
        """
        well = self._steady(recovery.host, node)
        reason = self.guard.watch_over(recovery, node, well)
        if reason is None or reason:
            return reason or ''
        if recovery.wish == 'release':
            self._released(recovery, "let go, at an operator's word")
        elif node is None:
            return ''
        elif self._back(recovery, node):
            if self.settings.return_automatic and self.settings.return_becomes == 'ordinary' and (
                    self._marked_spare(recovery.host)):
                # And so it is enabled.
                self.store.keep_mark(self.lead.term, recovery.host, spare=False)
            self._released(recovery, 'in service again' if node.enabled else (
                f'back, and disabled in Nova ({node.disabled_reason})'))
        elif self.settings.return_automatic and recovery.host in self._beats:
            return self._bring_back(recovery, node, well)
        return ''

    def forced_by_us(self, host):
        """Whether a host that is forced down is so by this service."""
        return forced_by_us(self.store.steps(kind=('force_down', 'force_up'), subject=host))

    def _steady(self, host, node):
        """Whether a host has sent heartbeats without a gap for as long as it must.

        The first beat that is seen may be an old one, and counts for nothing.
        """
        beat = node and node.heartbeat
        if not beat or (beat.looked_at - beat.changed_at).total_seconds() >= (
                self.settings.heartbeat_silence):
            self._beats.pop(host, None)
            return False
        first, since = self._beats.setdefault(host, (beat.value, None))
        if since is None:
            if beat.value == first:
                return False
            since = beat.changed_at
            self._beats[host] = first, since
        return (beat.changed_at - since).total_seconds() >= self.settings.return_after

    @staticmethod
    def _back(recovery, node):
        return node.up and not node.forced_down and (
            node.enabled or not node.disabled_reason.startswith(DISABLED)) and (
            node.heartbeat and node.heartbeat.changed_at > recovery.ended_at)

    def _bring_back(self, recovery, node, well):
        host = recovery.host
        if node.forced_down and not self.forced_by_us(host):
            return 'it is forced down in Nova, and not by this service: who has done so undoes it'
        if not well:
            return (f'it sends heartbeats again, and is put back into service when they have come '
                    f'for {self.settings.return_after:g} s without a gap')
        if node.forced_down:
            result = self.jobs.insist(('return', host), self._put_up, recovery)
            return f'it cannot be put up in Nova: {result.error}' if (
                result is not None and result.error) else ''
        if not node.up:
            return ''                   # Nova says so in a moment
        result = self.jobs.insist(('return', host), self._open, recovery)
        return f'it cannot be enabled in Nova: {result.error}' if (
            result is not None and result.error) else ''

    def _fresh(self, recovery):
        """The node as Nova has it now.

        :raises Held: its recovery goes on, or another one was begun.
        """
        self.collector.refresh_services()
        now = self.store.recovery(recovery.id)
        if now.ended_at is None or now.released_at is not None:
            raise exception.Held('a recovery of it goes on')
        node = self.collector.snapshot.nodes.get(recovery.host)
        if node is None:
            raise exception.UnknownHost(f'Nova has no compute node {recovery.host!r} any more')
        return node

    def _put_up(self, recovery):
        node = self._fresh(recovery)
        if node.forced_down and self.forced_by_us(node.host):
            self.lead.step('force_up', node.host, recovery.id, lambda: (
                self.nova.force_down(node.service_id, False),
                ('done', 'its nova-compute works, and its old guests are gone', {}))[1])
            self.collector.refresh_services()

    def _open(self, recovery):
        node = self._fresh(recovery)
        host, becomes = node.host, self.settings.return_becomes
        if node.forced_down or node.enabled or not node.disabled_reason.startswith(DISABLED):
            return                      # somebody else has a hand in it
        spare = self._marked_spare(host)
        if becomes == 'spare' or (becomes == 'as_before' and spare):
            # Noted first: killed in between, the node is still known to be ours to enable.
            self.store.keep_mark(self.lead.term, host, spare=True, parked=True)
            self.lead.step('park', host, recovery.id, lambda: (
                self.nova.disable(node.service_id, marks.SPARE_REASON),
                ('done', 'it has come back, and is a spare', {}))[1])
        else:
            if spare:
                self.store.keep_mark(self.lead.term, host, spare=False, parked=False)
            self.lead.step('enable', host, recovery.id, lambda: (
                self.nova.enable(node.service_id), ('done', 'it has come back', {}))[1])
        self.collector.refresh_services()

    def _marked_spare(self, host):
        mark = self.store.marks().get(host)
        return mark is not None and mark.spare

    def _released(self, recovery, how):
        host, node = recovery.host, self.collector.snapshot.nodes.get(recovery.host)
        if node is not None and not node.forced_down and self.forced_by_us(host):
            # So that it is not taken for ours when somebody forces it down the next time.
            self.lead.step('force_up', host, recovery.id, lambda: (
                'not_ours', 'somebody else has put it up', {}))
        # So that a new failure counts as new.
        self.store.set_recovery(self.lead.term, recovery.id, released_at=self.clock(),
                                answered='release')
        self._beats.pop(host, None)
        LOG.info('%s is %s', host, how)


def shortages(cluster, out):
    """Pools of hosts without a spare that is free: pool -> why, for an operator.

    :param out: hosts that have failed and are not back
    """
    found = {}
    for pool in sorted({n.pool for n in cluster.nodes.values()}):
        hosts = [n for h, n in sorted(cluster.nodes.items()) if n.pool == pool]
        spares = {n.host: _taken(n, cluster, out) for n in hosts if n.spare}
        if all(spares.values()):        # or there are none
            name = f' of pool {pool}' if pool else ''
            found[pool] = (
                f'no spare{name} is free: '
                + ', '.join(f'{host} {why}' for host, why in spares.items())
                if spares else f'no node{name} is marked as spare ("openstack vmha host set HOST '
                               '--spare"): only nodes in service can take instances')
    return found


def _taken(node, cluster, out):
    """Why a spare is not free, ''."""
    if node.host in out:
        return 'has failed'
    if not node.up:
        return 'is down in Nova'
    if node.maintenance:
        return 'is in maintenance'
    if not node.enabled and not node.parked:
        return 'is disabled by somebody else'
    instances = len(cluster.by_host.get(node.host, ()))
    return f'holds {instances} instances' if instances else ''
