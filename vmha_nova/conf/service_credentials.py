"""[service_credentials]: the account with which Nova and Placement are called."""

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = 'service_credentials'
OPTS = [
    cfg.StrOpt('region_name', help='Region whose endpoints are used.'),
    cfg.StrOpt('interface', default='internal', choices=['internal', 'public', 'admin'],
               help='Kind of endpoint that is used.'),
    cfg.FloatOpt('request_timeout', default=75.0, min=1.0,
                 help='Seconds after which a call to Nova or Placement is given up. Nova waits '
                      '60 s for a cell whose database is silent; below that, nothing is learnt '
                      'of the other cells either.'),
]


def register(conf):
    """Register keystoneauth's options beside ours (auth_url, username, password, cafile, …)."""
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_session_conf_options(conf, GROUP)


def listed():
    """keystoneauth's options for the sample file."""
    return (loading.get_auth_common_conf_options() + loading.get_session_conf_options()
            + loading.get_auth_plugin_conf_options('password'))
