"""An etcd on loopback, which a test starts, takes away, and brings back with what it knew."""

import socket
import urllib.request

from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import tail
from tests.lab.common import wait_until
from tests.lab import packages
from tests.lab import process


class Etcd:
    """One member, its data in ``folder``.

    :param mark: of the processes, see tests.lab.process
    :ivar url: as [coordination] backend_url has it
    """

    def __init__(self, folder, mark):
        packages.ensure_packages(Progress(), packages.ETCD)
        self._data, self._log, self._mark = folder / 'etcd', folder / 'etcd.log', mark
        self._client, self._peer = _free_ports(2)
        self.url = f'etcd3+http://127.0.0.1:{self._client}'
        self._process = None

    def start(self):
        """Start it, and wait until it serves."""
        client, peer = (f'http://127.0.0.1:{p}' for p in (self._client, self._peer))
        self._process = process.spawn(
            [packages.program('etcd'), '--data-dir', self._data,
             '--listen-client-urls', client, '--advertise-client-urls', client,
             '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer,
             '--initial-cluster', f'default={peer}'],
            {process.MARK: self._mark, 'PATH': '/usr/bin:/bin'}, self._log)
        try:
            wait_until('etcd serves', lambda: self._healthy(client), 30)
        except LabError as error:
            raise LabError(f'{error}\n{tail(self._log)}') from error

    def kill(self):
        """SIGKILL it; what it knew stays."""
        if self._process is not None:
            process.kill(self._process, self._mark)

    def _healthy(self, url):
        if not process.alive(self._process):
            raise LabError('etcd has ended')
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f'{url}/health', timeout=2) as answer:
                return b'true' in answer.read()
        except OSError:
            return False


def _free_ports(count):
    held = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
