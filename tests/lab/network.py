"""Network namespaces of a lab: switches, a control node, a watcher, and one for each host.

There are two networks, each with a switch of its own, and everybody has a cable to both:
'management' has the services of the cloud, 'storage' has Ceph, its clients and its OSDs. So a host
can lose one and keep the other. The watcher is where a monitor runs whose own cable can be pulled.

Nothing of it is connected to the machine's own network, so labs side by side may use the same
addresses.
"""

import ctypes
import os
import pathlib
import shutil
import subprocess

from tests.lab.common import LabError

MANAGEMENT, STORAGE = NETWORKS = ('management', 'storage')
#: The networks as such, and the addresses of the control node in them.
SUBNETS = {MANAGEMENT: '10.89.0.0/24', STORAGE: '10.90.0.0/24'}
CONTROL, CONTROL_STORAGE = '10.89.0.10', '10.90.0.10'

_LAST = {'ctl': 10, 'watch': 9}         # last byte of an address
_FIRST = 11                             # of the first host's
_CARDS = {MANAGEMENT: 'eth0', STORAGE: 'eth1'}
_CLONE_NEWNET = 0x40000000
_SECONDS = 20


class Network:
    """The namespaces ``PREFIX-sw``, ``PREFIX-ctl``, ``PREFIX-watch``, and a ``PREFIX-HOST`` each.

    :param prefix: short, and another one for every lab
    """

    def __init__(self, prefix, hosts):
        self.prefix = prefix
        self.hosts = list(hosts)
        self._outside = None            # where this process was before it entered

    def namespace(self, name):
        """The namespace of a host, of the control node 'ctl', 'watch', or the switches 'sw'."""
        return f'{self.prefix}-{name}'

    def address(self, name, network=MANAGEMENT):
        """The address of a host, of 'ctl' or of 'watch' in one of the networks."""
        last = _LAST.get(name) or _FIRST + self.hosts.index(name)
        return f'{SUBNETS[network].rpartition(".")[0]}.{last}'

    def up(self):
        """Make everything; what an earlier try has left is removed first."""
        self.down()
        _ip('netns', 'add', self.namespace('sw'))
        self._switch('link', 'set', 'lo', 'up')
        for network in NETWORKS:
            self._switch('link', 'add', _bridge(network), 'type', 'bridge')
            self._switch('link', 'set', _bridge(network), 'up')
        for name in (*_LAST, *self.hosts):
            self._plug(name)

    def down(self):
        """Remove the namespaces, and with them all links. Processes in them must be gone."""
        for name in (*_LAST, *self.hosts, 'sw'):
            if (pathlib.Path('/run/netns') / self.namespace(name)).exists():
                _ip('netns', 'del', self.namespace(name))

    def cut(self, name, *networks):
        """Pull the cable of a host, or of 'watch', to the networks named; to all if none is."""
        for network in networks or NETWORKS:
            self._switch('link', 'set', _cable(name, network), 'down')

    def join(self, name, *networks):
        """Put the cable back."""
        for network in networks or NETWORKS:
            self._switch('link', 'set', _cable(name, network), 'up')

    def lose(self, percent):
        """Have the switches drop so many of all packets, whoever sends them; 0: none any more."""
        rules = 'add table bridge loss; delete table bridge loss'
        if percent:
            rules += ('; table bridge loss { chain passing { type filter hook forward priority 0; '
                      f'numgen random mod 100 <= {percent - 1:d} drop; }}; }}')
        _ip('netns', 'exec', self.namespace('sw'), _program('nft'), rules)

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
        _ip('-n', namespace, 'link', 'set', 'lo', 'up')
        for network in NETWORKS:
            cable, card = _cable(name, network), _CARDS[network]
            self._switch('link', 'add', cable, 'type', 'veth', 'peer', 'name', card,
                         'netns', namespace)
            self._switch('link', 'set', cable, 'master', _bridge(network), 'up')
            _ip('-n', namespace, 'addr', 'add', f'{self.address(name, network)}/24', 'dev', card)
            _ip('-n', namespace, 'link', 'set', card, 'up')

    def _switch(self, *words):
        _ip('-n', self.namespace('sw'), *words)


def _bridge(network):
    return f'br-{network}'


def _cable(name, network):
    """The end of a cable that is in the switch."""
    return f'{name}-{network[0]}'


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


def _program(name='ip'):
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin') or name


def _ip(*words):
    try:
        subprocess.run([_program(), *words], check=True, capture_output=True, text=True,
                       timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, 'stderr', '') or str(error)).strip()
        raise LabError(f'ip {" ".join(words)}: {said}') from error
