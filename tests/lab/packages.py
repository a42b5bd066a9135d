"""The distribution's part of the lab: RabbitMQ, MariaDB, Ceph and so on, as packages."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.lab import bindings
from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab.common import run
from tests.lab import guest

#: What apt installs, and the program that shows that it is there.
PACKAGES = {
    'rabbitmq-server': '/usr/lib/rabbitmq/bin/rabbitmq-server',
    'mariadb-server': 'mariadbd',
    'memcached': 'memcached',
    'haproxy': 'haproxy',
    'openssl': 'openssl',
}

#: The same for a lab with Ceph, whose hosts are namespaces.
CEPH = {
    'ceph-mon': 'ceph-mon', 'ceph-mgr': 'ceph-mgr', 'ceph-osd': 'ceph-osd',
    'ceph-common': 'ceph', 'iproute2': 'ip', 'nftables': 'nft',
    **{name: f'/usr/share/doc/{name}' for name in bindings.PACKAGES},
}

#: For one with libvirt. Some have no program: the folder with their copyright stands for it.
LIBVIRT = {
    'qemu-system-x86': 'qemu-system-x86_64', 'qemu-utils': 'qemu-img',
    'qemu-block-extra': '/usr/share/doc/qemu-block-extra',
    'libvirt-daemon': 'libvirtd', 'libvirt-clients': 'virsh',
    'libvirt-daemon-system': '/usr/share/doc/libvirt-daemon-system',
    'python3-libvirt': '/usr/share/doc/python3-libvirt',
    **{name: f'/usr/share/doc/{name}' for name in guest.PACKAGES},
}

#: What the lock of several engines is in.
ETCD = {'etcd-server': 'etcd'}

#: The other database. Its programs are in a folder of its version; see postgresql.py.
POSTGRESQL = {'postgresql': '/usr/share/doc/postgresql'}

#: For one whose ports Open vSwitch plugs.
OVS = {'openvswitch-switch': 'ovs-vswitchd'}

_POLICY = pathlib.Path('/usr/sbin/policy-rc.d')
_INSTALL_SECONDS = 900


def program(name):
    """The full path of an installed program, or None.

    Daemons live in sbin folders that an ordinary user's PATH may not name.
    """
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')


def missing(wanted):
    """Names of the packages that are not installed.

    :param wanted: ``{package: program, or path of a file, that shows it is there}``
    """
    return [name for name, path in wanted.items()
            if program(path) is None and not os.path.isdir(path)]


def ensure_packages(progress, wanted):
    """Install what is missing, without starting any of the daemons that come with it.

    :param wanted: see `missing`
    :raises LabError: apt failed
    """
    if not missing(wanted):
        return
    with locked(cache_dir() / 'apt.lock'):
        names = missing(wanted)
        if not names:
            return
        with progress.phase(f'packages {", ".join(names)}'):
            log = cache_dir() / 'apt.log'
            apt = [*_root(), 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get',
                   '-o', 'DPkg::Lock::Timeout=600', '-y', '-q']
            with _no_daemons():
                run([*apt, 'update'], log, _INSTALL_SECONDS)
                run([*apt, 'install', '--no-install-recommends', *names], log, _INSTALL_SECONDS)
        if missing(wanted):
            raise LabError(f'apt is through, but there is no {", ".join(missing(wanted))}: '
                           f'see {log}')


def _root():
    """What a command needs in front to run as root."""
    return [] if os.geteuid() == 0 else ['sudo', '-n']


@contextlib.contextmanager
def _no_daemons():
    """Keep maintainer scripts from starting services; an existing policy is left as it is."""
    if _POLICY.exists():
        yield
        return
    with tempfile.NamedTemporaryFile('w') as policy:
        policy.write('#!/bin/sh\nexit 101\n')
        policy.flush()
        subprocess.run([*_root(), 'install', '-m', '0755', policy.name, str(_POLICY)],
                       check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run([*_root(), 'rm', '-f', str(_POLICY)], check=True, timeout=30)
