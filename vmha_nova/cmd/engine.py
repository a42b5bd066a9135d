"""vmha-engine: collects load, listens for host-down reports and carries out recoveries."""

import logging
import sys

import cotyledon
from oslo_config import cfg
from oslo_log import log

from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import service
from vmha_nova import version

LOG = logging.getLogger(__name__)


def main(args=None):
    """Entry point; returns the exit status."""
    try:
        conf = opts.load(args, version.version())
    except cfg.Error as e:
        print(f'vmha-engine: {e}', file=sys.stderr)
        return 2
    log.setup(conf, 'vmha')
    try:
        service.check(conf)
    except exception.VmhaError as e:
        LOG.error('vmha-engine cannot start: %s', e)
        print(f'vmha-engine: {e}', file=sys.stderr)
        _note(conf, f'vmha-engine cannot start: {e}')
        return 1
    fence = service.make_fence(conf)
    LOG.info('fence: %s, which proves: %s', fence.name, fence.proves)
    manager = cotyledon.ServiceManager()
    manager.add(service.EngineService, workers=1, args=(conf,))
    manager.run()
    return 0


def _note(conf, text):
    """Where an operator will look, if there is a database to write it to."""
    try:
        service.make_store(conf).note('error', 'start', text)
    except exception.VmhaError:
        pass


if __name__ == '__main__':
    sys.exit(main())
