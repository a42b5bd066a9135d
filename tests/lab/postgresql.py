"""A PostgreSQL of its own on a loopback port, with an empty database for vmha.

PostgreSQL refuses to run as root: then it runs as the user that the package has made.
"""

import atexit
import functools
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab.common import tail
from tests.lab.common import wait_until
from tests.lab import packages

USER = 'postgres'                       # what the package calls it
_SECONDS = 120


@functools.cache
def shared():
    """One for all who ask, until the end of this process."""
    server = Postgresql()
    atexit.register(server.stop)
    return server.start()


class Postgresql:
    """One cluster; it lives from start() to stop(). Durability is traded for speed.

    :ivar url: as [database] connection has it
    """

    def __init__(self):
        packages.ensure_packages(Progress(), packages.POSTGRESQL)
        self._programs = max(pathlib.Path('/usr/lib/postgresql').glob('*/bin/postgres'),
                             key=lambda path: int(path.parts[-3])).parent
        self._server = None
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-pg-'))

    def start(self):
        """Make the cluster and the database, and serve; returns itself."""
        if os.geteuid() == 0:
            found = pwd.getpwnam(USER)
            os.chown(self._folder, found.pw_uid, found.pw_gid)
            self._as = dict(user=found.pw_uid, group=found.pw_gid, extra_groups=[])
        else:
            self._as = {}
        with socket.create_server(('127.0.0.1', 0)) as free:
            self._port = free.getsockname()[1]
        data, self._log = self._folder / 'data', self._folder / 'log'
        self._run('initdb', '-D', data, '-U', 'vmha', '-A', 'trust', '-E', 'UTF8',
                  '--locale', 'C.UTF-8', '--no-sync')
        with open(self._log, 'ab') as log:
            self._server = subprocess.Popen(
                [self._programs / 'postgres', '-D', data, '-p', str(self._port),
                 '-c', 'listen_addresses=127.0.0.1', '-c', f'unix_socket_directories={data}',
                 '-c', 'fsync=off', '-c', 'max_connections=200'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, **self._as)
        try:
            wait_until('PostgreSQL serves', self._serves, 30)
        except LabError as error:
            raise LabError(f'{error}\n{tail(self._log)}') from error
        self._run('createdb', *self._where(), 'vmha')
        self.url = f'postgresql+psycopg2://vmha@127.0.0.1:{self._port}/vmha'
        return self

    def stop(self):
        """End it, and remove all of it."""
        if self._server is not None:
            self._server.terminate()    # waits for its clients: they may be frozen
            try:
                self._server.wait(2)
            except subprocess.TimeoutExpired:
                self._server.send_signal(3)     # SIGQUIT: at once
                self._server.wait(30)
            self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _where(self):
        return '-h', '127.0.0.1', '-p', str(self._port), '-U', 'vmha'

    def _serves(self):
        if self._server.poll() is not None:
            raise LabError('PostgreSQL has ended')
        return subprocess.run([self._programs / 'pg_isready', '-q', *self._where()],
                              timeout=30, check=False).returncode == 0

    def _run(self, program, *arguments):
        with open(self._log, 'ab') as log:
            try:
                subprocess.run([self._programs / program, *arguments], stdin=subprocess.DEVNULL,
                               stdout=log, stderr=log, cwd=self._folder, timeout=_SECONDS,
                               check=True, **self._as)
            except subprocess.SubprocessError as error:
                raise LabError(f'{program}: {error}\n{tail(self._log)}') from error
