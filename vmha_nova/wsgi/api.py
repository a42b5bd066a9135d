"""The REST API as a WSGI application: ``vmha_nova.wsgi.api:application``.

Reads /etc/vmha/vmha.conf, or the files that the environment variable VMHA_CONFIG_FILES names
(separated by semicolons). What keeps it from working ends the process with one line.
"""

import logging
import os

from oslo_config import cfg
from oslo_log import log

from vmha_nova.api import app
from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import metrics
from vmha_nova import service
from vmha_nova import version

LOG = logging.getLogger(__name__)
FILES = 'VMHA_CONFIG_FILES'


def make(environ=os.environ):
    """The application.

    :raises SystemExit: with one line that says what to do.
    """
    files = [f for f in environ.get(FILES, '').split(';') if f]
    try:
        conf = opts.load([f'--config-file={f}' for f in files], version.version())
        log.setup(conf, 'vmha')
        # A client waits for every request: while the database is away, it is told so at once.
        conf.set_override('max_retries', 0, 'database')
        store = service.make_store(conf)
        made = app.create(conf, store, service.make_planner(conf, store),
                          ', '.join(conf.fence.driver), metrics.Metrics(store, service.clock))
        _check_account(conf)
        _check_tables(conf)
        opts.log_values(conf, LOG)
    except (exception.VmhaError, cfg.Error) as e:
        raise SystemExit(f'vmha-api: {e}') from None
    return made


def _check_account(conf):
    group = conf.keystone_authtoken     # there since auth_token has registered it
    if not (group.auth_type or group.auth_section):
        raise exception.ConfigurationError(
            '[keystone_authtoken] auth_type is not set: give auth_type = password, auth_url, '
            'username, password, project_name and their domains, with which tokens are checked')


def _check_tables(conf):
    """Find out whether the tables are those of this program; a database that is away may come."""
    store = service.make_store(conf)
    try:
        there, wanted = store.version(), store.newest_version()
        with store.reading() as session:
            engine = session.connection().engine
    except exception.StoreUnavailable as e:
        LOG.warning('the tables cannot be checked: %s', e)
        return
    engine.dispose()                    # no connection goes into processes that are forked
    if there != wanted:
        raise exception.ConfigurationError(
            f'the database {"is at version " + there if there else "has no tables"}, this '
            f'program wants {wanted}: run "vmha-manage db sync"')


application = make()
