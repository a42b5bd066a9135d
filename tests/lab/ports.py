"""Ports for a lab that no other lab and nothing else on the machine uses."""

import pathlib
import socket

from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import locked

#: What needs a port.
NAMES = ('epmd', 'rabbitmq_dist', 'rabbitmq', 'mariadb', 'memcached',
         'keystone', 'placement', 'glance', 'neutron', 'nova_api', 'cinder', 'vmha_api',
         'rabbitmq_tls', 'keystone_tls', 'placement_tls', 'nova_api_tls', 'cinder_tls')

# Below the range that Linux takes the ports of outgoing connections from (32768 and above): a
# service that is stopped for a while finds its port free when it starts again.
_FIRST, _LAST, _STEP = 21000, 31000, 20


def claim(folder, bind):
    """Reserve a block of ports for the lab in ``folder``, and return ``{name: port}``.

    The reservation is a file in the cache that names the folder. It holds until `release`, or
    until the folder has no lab any more, also while the lab's services are stopped.

    :param bind: address that the ports must be free on
    :raises LabError: no block is free, or the address is not the machine's
    """
    if not _free(bind, 0):
        raise LabError(f'{bind} is not an address of this machine')
    with locked(_claims() / 'lock', timeout=60):
        for first in range(_FIRST, _LAST, _STEP):
            block = range(first, first + len(NAMES))
            mark = _claims() / str(first)
            if _taken(mark, folder) or not all(_free(bind, port) for port in block):
                continue
            mark.write_text(f'{folder}\n', encoding='utf-8')
            return dict(zip(NAMES, block, strict=True))
    raise LabError(f'no {len(NAMES)} free ports in a row between {_FIRST} and {_LAST}')


def release(folder):
    """Give the reservation of the lab in ``folder`` back."""
    with locked(_claims() / 'lock', timeout=60):
        for mark in _claims().glob('[0-9]*'):
            if _owner(mark) == pathlib.Path(folder):
                mark.unlink()


def answers(bind, port):
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((bind, port), timeout=2):
            return True
    except OSError:
        return False


def _claims():
    folder = cache_dir() / 'ports'
    folder.mkdir(exist_ok=True)
    return folder


def _owner(mark):
    return pathlib.Path(mark.read_text(encoding='utf-8').strip())


def _taken(mark, folder):
    """Whether another folder's lab holds this reservation."""
    return mark.exists() and _owner(mark) != pathlib.Path(folder) and _owner(mark).exists()


def _free(bind, port):
    with socket.socket(socket.AF_INET6 if ':' in bind else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError:
            return False
    return True
