"""[metrics]: figures for Prometheus, from the engine. The API has its own under /metrics."""

from oslo_config import cfg

GROUP = 'metrics'
OPTS = [
    cfg.PortOpt('port', default=0,
                help='TCP port on which the engine answers GET /metrics, without asking who '
                     'asks. 0: it does not.'),
    cfg.StrOpt('listen', default='127.0.0.1',
               help='Address it listens on. What it shows names no instance and no host, but '
                    'says how well the cloud is protected: give an address that only the '
                    'monitoring reaches.'),
]
