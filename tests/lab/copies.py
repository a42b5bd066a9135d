"""A witness of where guests are: asks virsh on all hosts over and over."""

import subprocess
import threading
import time

from tests.lab.common import LabError
from tests.lab import libvirt
from tests.lab.network import STORAGE

_SECONDS = 5
_INTERVAL = 1.0


class Copies:
    """Within, all hosts are asked which guests they have, once a second or so.

    A guest on two hosts is no harm while all but one of them are shut out of the storage as a
    whole: a host that was only cut off goes on with what it has until its nova-compute is
    started anew. Every other time is in ``wrong``.

    :ivar looks: ``[(seconds since 1970, {server id: hosts that have it})]``
    :ivar wrong: the looks at which two hosts that may write had the same guest
    :ivar problem: why it has ended before its time, None if it has not
    """

    def __init__(self, lab):
        self.lab = lab
        self.looks, self.wrong, self.problem = [], [], None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(60)

    @property
    def most(self):
        """On how many hosts at once a guest was seen, shut out ones included."""
        return max((len(hosts) for _, found in self.looks for hosts in found.values()), default=0)

    def _run(self):
        try:
            while not self._end.wait(_INTERVAL):
                self._look()
        except Exception as error:      # a witness that has gone home must not look like one
            self.problem = repr(error)

    def _look(self):
        # A fence that comes or goes meanwhile is seen at one of the ends.
        before = self._fenced()
        found = {}
        for host in self.lab.hosts:
            for guest in where(self.lab, host):
                found.setdefault(guest, []).append(host)
        fenced = before | self._fenced()
        look = time.time(), found
        self.looks.append(look)
        if any(len(set(hosts) - fenced) > 1 for hosts in found.values()):
            self.wrong.append(look)

    def _fenced(self):
        shut_out = self.lab.ceph.command('osd dump')['range_blocklist']
        return {host for host in self.lab.hosts if any(
            f':{self.lab.network.address(host, STORAGE)}:' in one for one in shut_out)}


def where(lab, host):
    """Ids of the guests that a host has, by virsh; by its processes where libvirt is not there."""
    box = lab.boxes[host]
    try:
        done = subprocess.run(box.command(['virsh', '-q', 'list', '--uuid']), text=True,
                              capture_output=True, timeout=_SECONDS, check=True)
        return set(done.stdout.split())
    except LabError:
        return set()                    # it is off
    except subprocess.SubprocessError:
        return set(libvirt.guests(box))
