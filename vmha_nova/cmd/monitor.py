"""vmha-monitor: watches the compute nodes and reports those that are down."""

import logging
import sys

import cotyledon
from oslo_config import cfg
from oslo_log import log

from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova.monitor import service
from vmha_nova import version

LOG = logging.getLogger(__name__)


def main(args=None):
    """Entry point; returns the exit status."""
    try:
        conf = opts.load(args, version.version())
    except cfg.Error as e:
        print(f'vmha-monitor: {e}', file=sys.stderr)
        return 2
    log.setup(conf, 'vmha')
    try:
        service.check(conf)
    except exception.VmhaError as e:
        LOG.error('vmha-monitor cannot start: %s', e)
        print(f'vmha-monitor: {e}', file=sys.stderr)
        return 1
    manager = cotyledon.ServiceManager()
    manager.add(service.MonitorService, workers=1, args=(conf,))
    manager.run()
    return 0


if __name__ == '__main__':
    sys.exit(main())
