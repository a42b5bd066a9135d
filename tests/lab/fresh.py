"""A lab as it was when it came up, whatever has happened to it since."""

import contextlib
import pathlib
import tempfile

from tests.lab import hosts
from tests.lab.lab import Lab
from tests.lab import services


@contextlib.contextmanager
def lab_for_bench(folder, progress, fake=False):
    """The lab that is up in a folder, and is left up; or, of None, one for as long as this.

    :param fake: with Nova's fake hypervisor, else with Ceph and libvirt
    """
    if folder is not None:
        yield Lab.load(folder)
        return
    with tempfile.TemporaryDirectory(prefix='vmha-bench-') as made:
        kind = {} if fake else {'storage': 'ceph', 'virt': 'libvirt'}
        lab = Lab.up(pathlib.Path(made) / 'lab', 4, progress=progress, **kind)
        try:
            yield lab
        finally:
            lab.down(wipe=True, progress=progress)


def clear(lab):
    """In a lab with Nova's fake hypervisor: all hosts in service, no server, nothing recorded."""
    dead = [host for host in lab.hosts if not lab.alive(host)]
    down = dead + [host for host in lab.hosts if host not in dead and _out_of_service(lab, host)]
    for host in dead:
        lab.start_host(host)
    # Servers first: a host is only taken back when its evacuations are cleaned up.
    lab.delete_all()
    for host in down:
        lab.bring_back(host)
    for path in lab.state.data.glob('vmha.sqlite*'):
        path.unlink()


def freshen(lab):
    """In one with Ceph and libvirt: all on, no server, no volume, nothing fenced, all clean."""
    lab.network.lose(0)
    for name in ('watch', *lab.hosts):
        lab.join(name)
    _freshen_ceph(lab.ceph)
    _start(lab, [name for name in services.NAMES if name in lab.state.processes])
    for host in lab.hosts:
        if lab.boxes[host].alive():
            lab.thaw(host)
            if not lab.ceph.alive(f'osd.{host}'):
                lab.ceph.start_osd(host)
            _start(lab, hosts.daemons(lab.state, host))
        if not lab.boxes[host].alive():
            lab.start_host(host)
        elif _out_of_service(lab, host):
            lab.restart_compute(host)
    lab.cloud().delete_all()
    for host in lab.hosts:
        if _out_of_service(lab, host):
            lab.bring_back(host)
    lab.volumes().delete_all()
    lab.ceph.wait_clean()
    for path in lab.state.data.glob('vmha.sqlite*'):
        path.unlink()


def _start(lab, names):
    for name in names:
        if not lab.alive(name):
            lab.start(name)


def _freshen_ceph(ceph):
    for name in ('mon', 'mgr'):
        if ceph.alive(name):
            ceph.thaw(name)
        else:
            ceph.revive(name)
    dump = ceph.command('osd dump')
    for client in dump['blocklist']:
        ceph.command('osd blocklist', blocklistop='rm', addr=client)
    for one in dump['range_blocklist']:
        ceph.command('osd blocklist', blocklistop='rm', range='range',
                     addr=one.removeprefix('cidr:').replace(':0/', '/'))


def _out_of_service(lab, host):
    service = lab.cloud().service(host)
    return service['forced_down'] or service['status'] != 'enabled' or service['state'] != 'up'
