"""Stands for the sshd of a host: accepts connections on a port, on every address, and says hello.

Usage: door.py PORT
"""

import socket
import sys


def main():
    """Listen until killed."""
    with socket.create_server(('', int(sys.argv[1])), backlog=128) as door:
        while True:
            try:
                caller, _ = door.accept()
                with caller:
                    caller.sendall(b'SSH-2.0-lab\r\n')
            except OSError:
                pass                    # the caller had gone


main()
