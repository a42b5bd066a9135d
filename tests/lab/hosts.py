"""Compute hosts that are boxes, the network between them, and the Ceph on their disks."""

from tests.lab.box import Box
from tests.lab.ceph import Cluster
from tests.lab import libvirt
from tests.lab.network import Network


def network(state):
    """The lab's Network."""
    return Network(state.prefix, state.hosts)


def box(state, host):
    """The Box of a host."""
    return Box(host, network(state), state.data / host, state.mark,
               {'/etc/ceph': 'ceph', **libvirt.PRIVATE})


def cluster(state):
    """The lab's Cluster; made by its ``create``, which `bringup` calls."""
    return Cluster(state.data / 'ceph', network(state),
                   {host: box(state, host) for host in state.hosts}, state.mark)


def daemons(state, host):
    """Names of the services that a host's nova-compute needs, in the order of starting."""
    names = [f'{host}-door', *[f'{host}-libvirtd'] * (state.virt == 'libvirt')]
    if state.network == 'ovs':
        names += [f'{host}-ovsdb', f'{host}-vswitchd']
    return names


def agents(state, host):
    """Names of the services that report to the cloud: perhaps Neutron's, and nova-compute."""
    return [*[f'{host}-ovs-agent'] * (state.network == 'ovs'), host]
