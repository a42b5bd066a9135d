"""Storage that nobody asks: what is known of it is the operator's word."""

import collections
import dataclasses

from vmha_nova import disks


class UncheckedStorage:
    """Storage nobody asks: always ready, nothing known of where disks are."""

    lead = None

    def check_lead(self):
        """TermLost if another engine leads by now."""
        if self.lead is not None:
            self.lead.check()

    def look(self):
        """Do nothing; returns the seconds until the next look."""
        return 60.0

    def unread(self, host, cluster):
        """Nothing."""
        return ()

    def with_backends(self, cluster):
        """The cluster as it is."""
        return cluster

    def backed(self, cluster, host, fenced=None):
        """The cluster as it is."""
        return cluster

    def foreseen(self, cluster):
        """The cluster as it is."""
        return cluster

    def protections(self, cluster):
        """Nothing but a word keeps hosts from writing: host -> (level, why)."""
        return dict.fromkeys(cluster.nodes, ('word', (
            'nothing fences it: that it can write no more is the word of whoever reports it '
            '([fence] driver = none)')))

    def fills(self, cluster):
        """Nothing."""
        return {}

    def covered(self, cluster, host, plan):
        """None that it could tell."""
        return []

    def ready(self, host):
        """'' always."""
        return ''

    def osd_state(self, host):
        """None: it is no witness."""

    def refresh_map(self):
        """Do nothing."""


class NamedStorage(UncheckedStorage):
    """Storage nobody asks, of hosts that are switched off: each keeps disks where it is said to.

    No instance is taken elsewhere without that word: where a target keeps disks in another place,
    Nova makes a new and empty one.

    :param everywhere: the backend of hosts of which nothing else is said, '' for none
    :param protect: function: levels of protection -> the same with that fence
    """

    def __init__(self, everywhere='', protect=None):
        self._everywhere = everywhere
        self._protect = protect or dict
        self._backends = disks.Backends()

    def with_backends(self, cluster):
        """The cluster with the backend of every node, by the operator's word."""
        return self._backends.of(cluster, {}, self._everywhere)

    def backed(self, cluster, host, fenced=None):
        """The cluster with what backs the instances of a host, by the operator's word."""
        backed = self.foreseen(cluster).instances
        return dataclasses.replace(cluster, instances=collections.ChainMap(
            {i.id: backed[i.id] for i in cluster.on(host)}, cluster.instances))

    def foreseen(self, cluster):
        """The same for all instances."""
        def backing(instance):
            node = cluster.nodes.get(instance.host)
            return disks.named_backing(instance, disks.backend(
                node.backend, None, self._everywhere) if node else '')
        return dataclasses.replace(cluster, instances=disks.Backed(cluster.instances, backing))

    def protections(self, cluster):
        """What keeps hosts from writing once they are said to be dead: host -> (level, why)."""
        return self._protect(dict.fromkeys(cluster.nodes, (
            'none', 'no other fence is configured')))
