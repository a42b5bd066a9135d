"""A program on a host of the lab that writes to an image, as a guest's disk would be."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from tests.lab import bindings
from tests.lab.common import wait_until

# Runs on a host: opens an image as client.nova and writes to all of it, over and over; a line of
# JSON for its address, for every write, and for the error that ends it. What it writes to is 16
# objects, so nearly all placement groups.
_WRITER = '''
import json, sys, time, rados, rbd
def say(**what):
    print(json.dumps(what), flush=True)
cluster = rados.Rados(conffile='/etc/ceph/ceph.conf', name='client.nova')
cluster.connect()
say(address=cluster.get_addrs())
pool, _, name = sys.argv[1].partition('/')
number = 0
try:
    image = rbd.Image(cluster.open_ioctx(pool), name)
    say(opened=True)
    while True:
        image.write(b'x' * 4096, number % 16 * 4194304)
        image.flush()
        number += 1
        say(wrote=number)
        time.sleep(0.02)
except rbd.Error as error:
    say(error=error.errno)
while True:
    time.sleep(1)
    try:
        image.write(b'y' * 4096, 0)
        image.flush()
        say(revived=True)
    except (rbd.Error, NameError) as error:
        say(still=str(error))
'''


class Writer:
    """A guest's disk in use, as far as Ceph can tell."""

    def __init__(self, lab, host, image):
        self.host, self.image = host, image
        self._said, self._changed = [], threading.Condition()
        self.process = subprocess.Popen(
            lab.boxes[host].command([sys.executable, '-c', _WRITER, image]),
            stdout=subprocess.PIPE, text=True, env={
                'PYTHONPATH': str(bindings.folder()), 'PATH': os.environ['PATH']})
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(ValueError):   # closed
            for line in self.process.stdout:
                with self._changed:
                    self._said.append((time.monotonic(), json.loads(line)))
                    self._changed.notify_all()

    def said(self, key):
        """What it said under this key so far: (monotonic time, value)."""
        with self._changed:
            return [(at, what[key]) for at, what in self._said if key in what]

    def wait(self, key, since=0.0, seconds=30):
        """Wait for it to say something after ``since``; returns the value."""
        return wait_until(f'{key} of the writer on {self.host}', lambda: [
            (value,) for at, value in self.said(key) if at > since], seconds, 0.01)[0][0]

    @property
    def address(self):
        return self.wait('address')

    def stop(self):
        """SIGKILL, to what runs in the box; what has started it follows."""
        children = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children')
        for pid in children.read_text(encoding='ascii').split() if children.exists() else ():
            os.kill(int(pid), signal.SIGKILL)
        self.process.wait(10)
        self.process.stdout.close()
