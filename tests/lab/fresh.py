"""A lab with Ceph and libvirt as it was when it came up, whatever has happened to it since."""


def freshen(lab):
    """All hosts on and in service, no server, no volume, nothing fenced, storage clean."""
    _freshen_ceph(lab.ceph)
    for host in lab.hosts:
        lab.join(host)
        if lab.boxes[host].alive():
            lab.thaw(host)
            if not lab.ceph.alive(f'osd.{host}'):
                lab.ceph.start_osd(host)
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
