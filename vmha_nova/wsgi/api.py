"""The REST API as a WSGI application: ``vmha_nova.wsgi.api:application``.

Reads /etc/vmha/vmha.conf, or the files that the environment variable VMHA_CONFIG_FILES names
(separated by semicolons). What keeps it from working ends the process with one line.
"""

import os

from oslo_config import cfg
from oslo_log import log

from vmha_nova.api import app
from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import service
from vmha_nova import version

FILES = 'VMHA_CONFIG_FILES'


def make(environ=os.environ):
    """The application.

    :raises SystemExit: with one line that says what to do.
    """
    files = [f for f in environ.get(FILES, '').split(';') if f]
    try:
        conf = opts.load([f'--config-file={f}' for f in files], version.version())
        log.setup(conf, 'vmha')
        store = service.make_store(conf)
        made = app.create(conf, store, service.make_planner(conf, store), conf.fence.driver)
        _check(conf)
    except (exception.VmhaError, cfg.Error) as e:
        raise SystemExit(f'vmha-api: {e}') from None
    return made


def _check(conf):
    group = conf.keystone_authtoken     # there since auth_token has registered it
    if not (group.auth_type or group.auth_section):
        raise exception.ConfigurationError(
            '[keystone_authtoken] auth_type is not set: give auth_type = password, auth_url, '
            'username, password, project_name and their domains, with which tokens are checked')


application = make()
