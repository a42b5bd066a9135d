"""All options, and how a configuration object is made."""

import logging

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log

from vmha_nova.conf import api
from vmha_nova.conf import ceph
from vmha_nova.conf import collector
from vmha_nova.conf import coordination
from vmha_nova.conf import detection
from vmha_nova.conf import fence
from vmha_nova.conf import homecoming
from vmha_nova.conf import metrics
from vmha_nova.conf import monitor
from vmha_nova.conf import notifications
from vmha_nova.conf import recovery
from vmha_nova.conf import service_credentials
from vmha_nova.conf import storm

GROUPS = (api, ceph, collector, coordination, detection, fence, homecoming, metrics, monitor,
          notifications, recovery, service_credentials, storm)
DEFAULT_DATABASE = 'sqlite:////var/lib/vmha/vmha.sqlite'


def register_opts(conf):
    """Register every option on ``conf``."""
    for module in GROUPS:
        conf.register_opts(module.OPTS, group=module.GROUP)
    service_credentials.register(conf)
    db_options.set_defaults(conf, connection=DEFAULT_DATABASE)
    log.register_options(conf)
    log.set_defaults(default_log_levels=log.get_default_log_levels() + [
        'oslo.messaging=WARN', 'oslo_messaging=WARN', 'amqp=WARN', 'alembic=WARN'])


def list_opts():
    """(group, options) pairs for oslo-config-generator."""
    pairs = [(m.GROUP, m.OPTS) for m in GROUPS]
    extra = service_credentials.listed()
    return [(g, o + extra if g == service_credentials.GROUP else o) for g, o in pairs]


def load(args, version, cli_opts=(), default_config_files=None):
    """A new configuration object from the command line and the files it names.

    :raises cfg.Error: what is wrong, in one line.
    """
    conf = cfg.ConfigOpts()
    register_opts(conf)
    conf.register_cli_opts(cli_opts)
    conf(args, project='vmha', version=version, default_config_files=default_config_files)
    return conf


def log_values(conf, logger):
    """Where debug is set, log the values of all options; those that are secret as ****."""
    try:
        if conf.debug:
            conf.log_opt_values(logger, logging.DEBUG)
    except cfg.Error as e:              # what is wrong may be of no meaning to this program
        logger.warning('%s', e)
