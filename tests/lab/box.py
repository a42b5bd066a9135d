"""A compute host in a box: namespaces of its own, so that it can die, freeze or be cut off whole.

A box has its own network, processes, mounts and host name. What runs in it dies with its PID 1:
that is the power cord.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal

from tests.lab.common import LabError
from tests.lab.common import tail
from tests.lab.common import wait_until
from tests.lab import process

_INIT = pathlib.Path(__file__).with_name('inside') / 'box_init.py'
_SECONDS = 20


class Box:
    """The box of one compute host.

    :ivar host: its name
    :ivar folder: folder with all that is its own; what survives the power cord
    :param network: a Network that is up
    :param mark: the lab's mark, see `process`
    :param private: ``{folder of the machine: name below the box's folder}``; both must exist
    """

    def __init__(self, host, network, folder, mark, private=None):
        self.host = host
        self.network = network
        self.folder = pathlib.Path(folder)
        self.mark = mark
        self.private = dict(private or {})

    @property
    def log(self):
        """Path of the log of its PID 1."""
        return self.folder / 'box.log'

    def start(self):
        """Power on.

        :raises LabError: it is on already, or does not come up
        """
        if self.alive():
            raise LabError(f'{self.host} is on already')
        self.folder.mkdir(parents=True, exist_ok=True)
        hosts = self.folder / 'hosts'
        hosts.write_text('127.0.0.1 localhost\n' + ''.join(
            f'{self.network.address(h)} {h}\n' for h in ('ctl', *self.network.hosts)),
            encoding='ascii')
        mounts = {'/etc/hosts': hosts, **{
            folder: self.folder / name for folder, name in self.private.items()}}
        for folder, own in mounts.items():
            if folder != '/etc/hosts':
                pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
                own.mkdir(parents=True, exist_ok=True)
        started = process.spawn([
            *self.network.exec_prefix(self.host), _tool('unshare'), '--mount', '--uts', '--ipc',
            '--pid', '--fork', '--kill-child', '--mount-proc', '/usr/bin/python3', '-I', _INIT,
            self.host, *(f'{folder}={own}' for folder, own in mounts.items())],
            {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', process.MARK: self.mark}, self.log)
        self._file.write_text(json.dumps(dataclasses.asdict(started)), encoding='ascii')
        try:
            wait_until(f'{self.host} on', self._is_up, _SECONDS, 0.02)
        except LabError as error:
            raise LabError(f'{error}\n{tail(self.log)}') from error

    def kill(self):
        """Pull the power cord; returns when nothing runs in the box any more."""
        outside, init = self._recorded(), self._init()
        if init is not None:
            namespace = _namespace(init)
            _signal(init, signal.SIGKILL)
            self._wake_doors()
            wait_until(f'the end of {self.host}', lambda: not _members(namespace), _SECONDS, 0.02)
        if outside is not None:
            process.kill(outside, self.mark)

    def freeze(self):
        """Stop everything in the box where it stands; to the others it just falls silent."""
        for pid in self.pids():
            _signal(pid, signal.SIGSTOP)

    def thaw(self):
        """Let everything in the box go on."""
        for pid in self.pids():
            _signal(pid, signal.SIGCONT)
        self._wake_doors()

    def alive(self):
        """Whether the box is on."""
        return self._init() is not None

    def pids(self):
        """Pids, as seen from outside, of all that runs in the box."""
        init = self._init()
        return [] if init is None else _members(_namespace(init))

    def command(self, words):
        """The command that runs ``words`` in the box; what it starts dies with the box.

        :raises LabError: it is off
        """
        init = self._init()
        if init is None:
            raise LabError(f'{self.host} is off')
        return [_tool('nsenter'), '--target', str(init), '--mount', '--uts', '--ipc', '--net',
                '--pid', '--', *map(str, words)]

    def _wake_doors(self):
        """Let every nsenter go on through which something came in.

        It stops itself when what it started is stopped, and would never reap it.
        """
        inside = set(self.pids())
        for pid in {_parent(pid) for pid in inside} - inside - {0, os.getpid()}:
            _signal(pid, signal.SIGCONT)

    @property
    def _file(self):
        return self.folder / 'box.json'

    def _recorded(self):
        try:
            return process.Process(**json.loads(self._file.read_text(encoding='ascii')))
        except FileNotFoundError:
            return None

    def _init(self):
        """The pid of the box's PID 1 as seen from outside, None while it is off."""
        outside = self._recorded()
        if outside is None or not process.alive(outside):
            return None
        children = pathlib.Path(f'/proc/{outside.pid}/task/{outside.pid}/children')
        try:
            found = children.read_text(encoding='ascii').split()
        except OSError:
            return None
        return int(found[0]) if found and _namespace(int(found[0])) != _namespace(
            os.getpid()) else None

    def _is_up(self):
        outside, init = self._recorded(), self._init()
        if not process.alive(outside):
            raise LabError(f'{self.host} does not start')
        return init is not None and pathlib.Path(f'/proc/{init}/root/run/box-is-up').exists()


def _tool(name):
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/usr/bin') or name


def _namespace(pid):
    """The pid namespace of a process, '' where there is no such process."""
    try:
        return os.readlink(f'/proc/{pid}/ns/pid')
    except OSError:
        return ''


def _parent(pid):
    """The pid of the parent of a process, 0 where there is none to be seen."""
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return 0
    return int(text.rpartition(')')[2].split()[1])


def _members(namespace):
    return [int(name) for name in os.listdir('/proc')
            if name.isdigit() and namespace and _namespace(name) == namespace]


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
