"""PID 1 of a box: makes the folders private, then reaps what its parents have left.

Usage: box_init.py HOST FOLDER=PRIVATE...; /run becomes an empty one of its own.
"""

import os
import signal
import socket
import subprocess
import sys


def main():
    """Set up, say so, reap for ever."""
    socket.sethostname(sys.argv[1])
    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'], check=True)
    for name in ('lock', 'libvirt', 'ceph', 'openvswitch'):
        os.makedirs(f'/run/{name}')
    for pair in sys.argv[2:]:
        folder, _, private = pair.partition('=')
        subprocess.run(['mount', '--bind', private, folder], check=True)
    open('/run/box-is-up', 'w').close()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        # A parent that polls for a child would else wait for it in vain.
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


main()
