"""Switch compute hosts that are boxes on and off, with what runs in them."""

from tests.lab import hosts
from tests.lab import libvirt
from tests.lab import openvswitch
from tests.lab import runtime


def build(state):
    """Make the hosts of a new lab and their Ceph, and start all but the nova-computes.

    Returns when the storage is whole: every OSD up, every placement group clean.
    """
    ceph = hosts.cluster(state)
    for box in ceph.boxes.values():
        if state.virt == 'libvirt':
            libvirt.write_files(box.folder)
        if state.network == 'ovs':
            openvswitch.write_files(box.folder, state.log / 'openvswitch.log')
        box.start()
    ceph.create()
    for host, box in ceph.boxes.items():
        ceph.write_client_conf(box.folder / 'ceph', host)
    _start_daemons(state, *state.hosts)
    if state.virt == 'libvirt':
        for box in ceph.boxes.values():
            libvirt.define_secrets(box, {user: ceph.key(user) for user in libvirt.SECRETS})
    ceph.wait_clean()
    ceph.close()


def switch_on(state, host):
    """Power a host on, and start what runs there, but for its nova-compute."""
    ceph = hosts.cluster(state)
    ceph.boxes[host].start()
    ceph.start_osd(host)
    _start_daemons(state, host)


def _start_daemons(state, *names):
    daemons = [daemon for host in names for daemon in hosts.daemons(state, host)]
    for daemon in daemons:
        runtime.start(state, daemon)
    for daemon in daemons:
        runtime.wait_ready(state, daemon)
