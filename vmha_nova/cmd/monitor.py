"""vmha-monitor: watches the compute nodes and reports those that are down."""

import sys

from vmha_nova.cmd import daemon
from vmha_nova.monitor import service


def main(args=None):
    """Entry point; returns the exit status."""
    return daemon.run(service.MonitorService, service.check, args)


if __name__ == '__main__':
    sys.exit(main())
