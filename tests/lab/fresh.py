"""A lab as it was when it came up, whatever has happened to it since."""

import contextlib
import pathlib
import tempfile

import sqlalchemy as sa

from tests.lab import hosts
from tests.lab.lab import Lab
from tests.lab import services


@contextlib.contextmanager
def lab_for_bench(folder, progress, storage='ceph', virt='libvirt'):
    """The lab that is up in a folder, and is left up; or, of None, one for as long as this."""
    if folder is not None:
        yield Lab.load(folder)
        return
    with tempfile.TemporaryDirectory(prefix='vmha-bench-') as made:
        lab = Lab.up(pathlib.Path(made) / 'lab', 4, progress=progress, storage=storage,
                     virt=virt)
        try:
            yield lab
        finally:
            lab.down(wipe=True, progress=progress)


def clear(lab):
    """Of a lab without Ceph: all services and hosts on, no server, nothing recorded.

    What runs beside it, and might act meanwhile, is to be ended before.
    """
    _start(lab, [name for name in services.NAMES if name in lab.state.processes])
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


def forget_rows(url):
    """Empty a database of the service's: no tables are left in it."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        tables = sa.inspect(connection).get_table_names()
        connection.execute(sa.text('SET FOREIGN_KEY_CHECKS = 0'))
        for table in tables:
            connection.execute(sa.text(f'DROP TABLE `{table}`'))
    engine.dispose()


def freshen(lab):
    """Of a lab with Ceph and libvirt: the same, and no volume, nothing fenced, storage clean."""
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
