"""The distribution's part of the lab: RabbitMQ, MariaDB and memcached, as packages."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab.common import run

#: What apt installs, and the program that shows that it is there.
PACKAGES = {
    'rabbitmq-server': '/usr/lib/rabbitmq/bin/rabbitmq-server',
    'mariadb-server': 'mariadbd',
    'memcached': 'memcached',
}

_POLICY = pathlib.Path('/usr/sbin/policy-rc.d')
_INSTALL_SECONDS = 900


def program(name):
    """The full path of an installed program, or None.

    Daemons live in sbin folders that an ordinary user's PATH may not name.
    """
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')


def missing():
    """Names of the packages that are not installed."""
    return [name for name, path in PACKAGES.items() if program(path) is None]


def ensure_packages(progress):
    """Install what is missing, without starting any of the daemons that come with it.

    :raises LabError: apt failed
    """
    if not missing():
        return
    with locked(cache_dir() / 'apt.lock'):
        names = missing()
        if not names:
            return
        with progress.phase(f'packages {", ".join(names)}'):
            log = cache_dir() / 'apt.log'
            apt = [*_root(), 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get',
                   '-o', 'DPkg::Lock::Timeout=600', '-y', '-q']
            with _no_daemons():
                run([*apt, 'update'], log, _INSTALL_SECONDS)
                run([*apt, 'install', '--no-install-recommends', *names], log, _INSTALL_SECONDS)
        if missing():
            raise LabError(f'apt is through, but there is no {", ".join(missing())}: see {log}')


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
