"""The part of the collector that knows the compute nodes."""

import dataclasses
import datetime
import itertools
import types

from vmha_nova.collector import board as boards
from vmha_nova import exception
from vmha_nova import model

# Versioned metrics.update carries whole percents, 0 to 100: nova/compute/monitors/cpu/
# virt_driver.py stores int(share * 100), and MetricPayload (nova/notifications/objects/metrics.py)
# passes that on. Only the unversioned notification is divided by 100 (MonitorMetric.to_dict).
CPU_METRIC, CPU_WHOLE = 'cpu.percent', 100.0
NAMED = 5                               # hosts named in a sentence


class Nodes:
    """Services, hypervisors, Placement, aggregates and groups, joined into ComputeNodes.

    ``doubt`` is called with the ids of instances whose hosts' cells are down; ``between`` between
    the pages of a long list.
    """

    def __init__(self, nova, clock, settings, board, doubt, between):
        self._nova = nova
        self._clock = clock
        self._settings = settings
        self._board = board
        self._doubt = doubt
        self._between = between
        # What was read last, by host unless said otherwise.
        self._services = {}
        self._beats = {}
        self._unknown = frozenset()             # hosts of cells that are down
        self._missing = frozenset()             # hosts listed before, and now not at all
        self._hypervisors = {}
        self._ironic = frozenset()
        self._replaced = False                  # a service has a new id: so may its compute node
        self._aggregates = {}
        self._providers = {}                    # id -> (Provider, when it was read)
        self._with_room = frozenset()           # ids in Placement's last answer
        self._shares = {}                       # (share, when it was measured)
        self._enabled = {}                      # when Nova confirmed that, since the last look
        self._hypervisors_job = boards.Job(
            self._look_at_hypervisors, settings.full_interval, settings.interval)

    @property
    def cells_answer(self):
        """Whether, by the last look at the services, no cell was down."""
        return not self._unknown and not self._board.noted('services')

    def look_at_services(self):
        """One call: who is up, and the heartbeats."""
        started = self._clock()
        with self._board.noting('services'):
            listed = self._nova.services()
        ended = self._clock()
        with self._board.lock:
            found = {service.host: service for service in listed}
            for host, service in found.items():
                old = self._services.get(host)
                self._replaced |= old is not None and old.id != service.id
                self._beats[host] = _beat(self._beats.get(host), old, service, started, ended,
                                          self._settings.interval)
            # A host that Nova does not list, or only as of a cell that is down, cannot take
            # instances: the scheduler does not see it. So it counts as not up. Its heartbeat
            # stays as it was, not looked at, so that this is no evidence of its death.
            absent = self._services.keys() - found.keys()
            found.update({host: dataclasses.replace(self._services[host], up=False)
                          for host in absent})
            self._services = found
            self._enabled = {h: at for h, at in self._enabled.items() if at >= started}
            self._unknown = listed.unknown
            self._missing = frozenset(absent) - listed.unknown - self._ironic
            self._board.note(
                'cells', f'Nova has cells that are down: what is known of '
                f'{_some(self._unknown)} is old' if self._unknown else '')
            self._board.note(
                'missing', f'Nova lists the nova-compute of {_some(self._missing)} no more'
                if self._missing else '')
            by_host = self._board.snapshot.by_host
            self._doubt(itertools.chain.from_iterable(
                by_host.get(host, ()) for host in self._unknown))
            self._publish(nodes_at=started, unknown_hosts=listed.unknown)

    def look_at_nodes(self):
        """What changes slowly; each list is taken, even if another fails."""
        failed = []
        for look in (self._look_at_hypervisors_if_due, self._look_at_placement,
                     self._look_at_aggregates, self._look_at_groups, self._look_for_missing):
            try:
                look()
            except exception.VmhaError as error:
                failed.append(error)
        self._publish()
        if failed:
            raise failed[0]

    def _look_at_hypervisors_if_due(self):
        # The costliest of Nova's lists for what it tells, and that hardly changes: read now and
        # then, and whenever there is a host of which nothing is known yet.
        strangers = (self._services.keys() - self._hypervisors.keys() - self._ironic
                     - self._missing - self._unknown)
        if strangers or self._replaced or self._hypervisors_job.wait(self._clock()) <= 0:
            self._hypervisors_job.run(self._clock)

    def _look_at_hypervisors(self):
        with self._board.noting('hypervisors'):
            listed = self._nova.hypervisors(between=self._between)
        with self._board.lock:
            self._ironic |= {h.host for h in listed if h.type == 'ironic'}
            self._hypervisors = {**self._hypervisors, **{
                h.host: h for h in listed if h.host not in self._ironic}}
            self._replaced = False

    def _look_at_placement(self):
        started = self._clock()
        with self._board.noting('Placement'):
            listed = self._nova.providers()
        with self._board.lock:
            self._providers = {**self._providers, **{
                provider.id: (provider, started) for provider in listed.values()}}
            self._with_room = frozenset(listed)

    def _look_at_aggregates(self):
        with self._board.noting('aggregates'):
            self._aggregates = self._nova.aggregates()

    def _look_at_groups(self):
        # These are in Nova's own database and no cell's: what is not listed is gone.
        with self._board.noting('server groups'):
            groups = {group.id: group for group in self._nova.groups()}
        self._board.publish(
            groups=types.MappingProxyType(groups),
            group_of=types.MappingProxyType({
                member: group.id for group in groups.values() for member in group.members}))

    def _look_for_missing(self):
        """Forget the nodes that Nova has deleted. It deletes none that holds instances."""
        snapshot = self._board.snapshot
        if not self.cells_answer or snapshot.instances_at is None:
            return
        suspects = [host for host in sorted(self._missing)
                    if host in self._hypervisors and not snapshot.by_host.get(host)]
        with self._board.noting('missing hosts'):
            for host in suspects[:self._settings.max_lookups]:
                try:
                    self._nova.hypervisor(self._hypervisors[host].id)
                except exception.NotFound:
                    self._forget(host)

    def _forget(self, host):
        with self._board.lock:
            if host in self._missing:           # and has not come back meanwhile
                self._missing -= {host}
                for table in (self._services, self._beats, self._hypervisors, self._shares):
                    table.pop(host, None)

    def take_enabled(self, host):
        """See Collector.on_enabled."""
        with self._board.lock:
            self._enabled[host] = self._clock()
            self._publish()

    def take_metrics(self, host, metrics):
        """See Collector.on_metrics."""
        values = {metric['nova_object.data']['name']: metric['nova_object.data']['value']
                  for metric in metrics}
        if CPU_METRIC not in values:
            return
        share = min(1.0, max(0.0, values[CPU_METRIC] / CPU_WHOLE))
        with self._board.lock:
            self._shares[host] = (share, self._clock())
            if host in self._board.snapshot.nodes:
                nodes = self._board.snapshot.nodes.copy()
                nodes[host] = self._node(host)
                self._board.publish(nodes=types.MappingProxyType(nodes))

    def _publish(self, **fields):
        with self._board.lock:
            self._board.publish(nodes=types.MappingProxyType({
                host: self._node(host) for host in self._services if host not in self._ironic
            }), **fields)

    def _node(self, host):
        service, hypervisor = self._services[host], self._hypervisors.get(host)
        provider_id = hypervisor.id if hypervisor else ''
        provider, usage_at = self._providers.get(provider_id, (model.Provider(''), None))
        share, share_at = self._shares.get(host, (None, None))
        enabled = service.enabled or host in self._enabled
        ttl = self._settings.cpu_share_ttl
        if share_at is not None and (self._clock() - share_at).total_seconds() > ttl:
            share = share_at = None
        return model.ComputeNode(
            host=host, service_id=service.id, provider_id=provider_id, up=service.up,
            enabled=enabled, disabled_reason='' if enabled else service.disabled_reason,
            forced_down=service.forced_down, heartbeat=self._beats.get(host), zone=service.zone,
            aggregates=self._aggregates.get(host, ()), traits=provider.traits,
            capacity=provider.capacity, used=provider.used,
            has_room=provider_id in self._with_room, usage_at=usage_at,
            cores=hypervisor.cores if hypervisor else 0,
            address=hypervisor.address if hypervisor else '',
            cpu_share=share, cpu_share_at=share_at)


def _beat(beat, old, new, started, ended, most):
    """The Heartbeat after a look that found Service ``new`` where ``old`` was.

    A new value was there at the latest when the look ended, and was the newest at least until it
    started: so the silence, looked_at - changed_at, is never made longer than it was. And one
    look adds no more than ``most`` seconds to it: while nobody looked, nothing was heard of
    anybody, and a clock that was set makes nobody silent.
    """
    if not new.beat:
        return beat
    if beat is None or old is None:
        return model.Heartbeat(new.beat, changed_at=ended, looked_at=started)
    if not new.beats_since(old):
        added = (started - max(beat.looked_at, beat.changed_at)).total_seconds()
        beyond = datetime.timedelta(seconds=added - min(max(added, 0.0), most))
        return dataclasses.replace(beat, looked_at=started,
                                   changed_at=beat.changed_at + beyond)
    return model.Heartbeat(new.beat, changed_at=ended, looked_at=started)


def _some(hosts):
    """A few of these hosts, and how many they are."""
    named = sorted(hosts)[:NAMED]
    rest = len(hosts) - len(named)
    return ', '.join(named) + (f' and {rest} more' if rest else '')
