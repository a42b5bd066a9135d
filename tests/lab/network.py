"""Network namespaces of a lab: a switch, a control node, and one for each compute host.

Nothing of it is connected to the machine's own network, so labs side by side may use the same
addresses.
"""

import ctypes
import os
import pathlib
import shutil
import subprocess

from tests.lab.common import LabError

CONTROL = '10.89.0.10'
_FIRST = 11                             # last byte of the first host's address
_CLONE_NEWNET = 0x40000000
_SECONDS = 20


class Network:
    """The namespaces ``PREFIX-sw``, ``PREFIX-ctl`` and ``PREFIX-HOST`` of each host.

    :param prefix: short, and another one for every lab
    """

    def __init__(self, prefix, hosts):
        self.prefix = prefix
        self.hosts = list(hosts)
        self._outside = None            # where this process was before it entered

    def namespace(self, name):
        """The namespace of a host, of the control node 'ctl' or the switch 'sw'."""
        return f'{self.prefix}-{name}'

    def address(self, host):
        """The address of a host, or of 'ctl'."""
        return CONTROL if host == 'ctl' else f'10.89.0.{_FIRST + self.hosts.index(host)}'

    def up(self):
        """Make everything; what an earlier try has left is removed first."""
        self.down()
        _ip('netns', 'add', self.namespace('sw'))
        self._switch('link', 'set', 'lo', 'up')
        self._switch('link', 'add', 'br0', 'type', 'bridge')
        self._switch('link', 'set', 'br0', 'up')
        for name in ('ctl', *self.hosts):
            self._plug(name)

    def down(self):
        """Remove the namespaces, and with them all links. Processes in them must be gone."""
        for name in ('ctl', *self.hosts, 'sw'):
            if (pathlib.Path('/run/netns') / self.namespace(name)).exists():
                _ip('netns', 'del', self.namespace(name))

    def cut(self, host):
        """Pull the network cable of a host."""
        self._switch('link', 'set', host, 'down')

    def join(self, host):
        """Put the cable back."""
        self._switch('link', 'set', host, 'up')

    def exec_prefix(self, name):
        """What a command needs in front to run in the namespace of a host, or of 'ctl'."""
        return [_program(), 'netns', 'exec', self.namespace(name)]

    def enter(self):
        """Move this process into the control node's namespace, and all it will start.

        Threads that run already stay where they are: to be called first, from the main thread.

        :raises LabError: there is no such namespace
        """
        path = f'/run/netns/{self.namespace("ctl")}'
        outside = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            _set_namespace(path)
        except BaseException:
            os.close(outside)
            raise
        self._outside = outside

    def leave(self):
        """Move this process back to where it was before it entered, if it has.

        What is installed needs the machine's own network.
        """
        if self._outside is not None:
            _set_namespace(f'/proc/self/fd/{self._outside}')
            os.close(self._outside)
            self._outside = None

    def _plug(self, name):
        namespace = self.namespace(name)
        _ip('netns', 'add', namespace)
        self._switch('link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0',
                     'netns', namespace)
        self._switch('link', 'set', name, 'master', 'br0', 'up')
        _ip('-n', namespace, 'link', 'set', 'lo', 'up')
        _ip('-n', namespace, 'addr', 'add', f'{self.address(name)}/24', 'dev', 'eth0')
        _ip('-n', namespace, 'link', 'set', 'eth0', 'up')

    def _switch(self, *words):
        _ip('-n', self.namespace('sw'), *words)


def _set_namespace(path):
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise LabError(f'{path}: {error.strerror}; is the lab up?') from error
    try:
        # os.setns is there from Python 3.12 on.
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            raise LabError(f'{path}: {os.strerror(ctypes.get_errno())}')
    finally:
        os.close(descriptor)


def _program():
    return shutil.which('ip', path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin') or 'ip'


def _ip(*words):
    try:
        subprocess.run([_program(), *words], check=True, capture_output=True, text=True,
                       timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, 'stderr', '') or str(error)).strip()
        raise LabError(f'ip {" ".join(words)}: {said}') from error
