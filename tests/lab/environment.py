"""The virtual environment with the OpenStack services, shared by all labs of a user.

It is named after the hash of requirements.txt and of its interpreter, so that a change of the pins
makes a new one and a lab that still runs keeps the old one.
"""

import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

from tests.lab.common import built
from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab.common import run

REQUIREMENTS = pathlib.Path(__file__).with_name('requirements.txt')

_DEBIAN_PYTHON = '/usr/bin/python3'
_INSTALL_SECONDS = 1800

#: One that can be moved, and that finds the distribution's bindings of Ceph and libvirt: no index
#: has them. What is pinned comes before what the distribution has of the same name.
_OPTIONS = ('--relocatable', '--system-site-packages')


@functools.cache
def interpreter():
    """Path of the Python that the services run on.

    The distribution's own is preferred: its bindings of Ceph and libvirt exist for no other.
    """
    probe = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
    if os.path.exists(_DEBIAN_PYTHON):
        tried = subprocess.run([_DEBIAN_PYTHON, '-c', probe], timeout=60, check=False,
                               stderr=subprocess.DEVNULL)
        if tried.returncode == 0:
            return _DEBIAN_PYTHON
    return sys.executable


@functools.cache
def fingerprint():
    """Twelve hexadecimal digits that change with the pins, the interpreter and the options."""
    version = subprocess.run([interpreter(), '-VV'], timeout=60, check=True,
                             capture_output=True).stdout
    recipe = REQUIREMENTS.read_bytes() + version + ' '.join(_OPTIONS).encode()
    return hashlib.sha256(recipe).hexdigest()[:12]


def venv_dir():
    """Where the environment is or will be: ``$VMHA_LAB_VENV``, or a folder of the cache."""
    chosen = os.environ.get('VMHA_LAB_VENV')
    return pathlib.Path(chosen) if chosen else cache_dir() / f'venv-{fingerprint()}'


def ensure_venv(progress):
    """Build the environment if it is not there, and return its path.

    It is built under another name and renamed when it is complete: what has the name is whole.

    :raises LabError: the installation failed; shows the end of its log
    """
    target = venv_dir().absolute()
    if target.exists():
        if not (target / 'bin' / 'nova-compute').exists():
            raise LabError(f'{target} has no nova-compute: remove it, and it is built anew')
        return target
    lock = target.with_name(target.name + '.lock')
    with locked(lock, waiting=lambda: progress(f'another process builds {target}: waiting')):
        if target.exists():
            return target
        with progress.phase('OpenStack from the package index'), built(target) as partial:
            _build(partial, target.with_name(target.name + '.log'))
    return target


def _build(folder, log):
    """Make the environment."""
    uv = uv_program(log)
    run([uv, 'venv', *_OPTIONS, '--python', interpreter(), folder], log, 120)
    env = dict(os.environ, VIRTUAL_ENV=str(folder), UV_HTTP_TIMEOUT='180',
               UV_SYSTEM_CERTS='true')          # those apt and pip trust, too
    run([uv, 'pip', 'install', '--compile-bytecode', '-r', REQUIREMENTS], log,
        _INSTALL_SECONDS, env)
    if not (folder / 'bin' / 'nova-compute').exists():
        raise LabError(f'the installation has no nova-compute: see {log}')


def uv_program(log):
    """Path of a uv: the one that is installed, or one in an environment of its own.

    :param log: a file for what pip says, if it must be installed
    """
    found = shutil.which('uv')
    if found:
        return found
    helper = cache_dir() / 'uv'
    uv = helper / 'bin' / 'uv'
    if not uv.exists():
        run([interpreter(), '-m', 'venv', '--clear', helper], log, 120)
        run([helper / 'bin' / 'pip', 'install', 'uv'], log, 300)
    return str(uv)
