"""What the programs have in common that run until they are stopped."""

import logging
import sys

import cotyledon
from oslo_config import cfg
from oslo_log import log

from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import version

LOG = logging.getLogger(__name__)


def run(kind, check, args=None, cannot=lambda conf, text: None):
    """Read the configuration, see if it can work, and run; returns the exit status.

    :param kind: a cotyledon.Service with a ``name``, made with conf
    :param check: function of conf; raises a VmhaError that says in one line what to do
    :param cannot: function of conf and that line: where else it is told
    """
    try:
        conf = opts.load(args, version.version())
    except cfg.Error as e:
        print(f'{kind.name}: {e}', file=sys.stderr)
        return 2
    log.setup(conf, 'vmha')
    try:
        check(conf)
    except exception.VmhaError as e:
        LOG.error('%s cannot start: %s', kind.name, e)
        print(f'{kind.name}: {e}', file=sys.stderr)
        cannot(conf, f'{kind.name} cannot start: {e}')
        return 1
    opts.log_values(conf, LOG)
    manager = cotyledon.ServiceManager()
    manager.add(kind, workers=1, args=(conf,))
    manager.run()
    return 0
