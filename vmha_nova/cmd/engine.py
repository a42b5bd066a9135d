"""vmha-engine: collects load, listens for host-down reports and carries out recoveries."""

import sys

from vmha_nova.cmd import daemon
from vmha_nova import exception
from vmha_nova import service


def main(args=None):
    """Entry point; returns the exit status."""
    return daemon.run(service.EngineService, service.check, args, _note)


def _note(conf, text):
    """Where an operator will look, if there is a database to write it to."""
    try:
        service.make_store(conf).note('error', 'start', text)
    except exception.VmhaError:
        pass


if __name__ == '__main__':
    sys.exit(main())
