"""[api]: the limits of the REST API."""

from oslo_config import cfg

GROUP = 'api'
OPTS = [
    cfg.IntOpt('max_limit', default=1000, min=1, max=1000,
               help='Most entries on a page of a list, and as many as there are where a request '
                    'names no limit.'),
    cfg.IntOpt('max_body', default=1048576, min=16384,
               help='Bytes that the body of a request may have.'),
]
