"""[collector]: how fresh the view of the cloud is kept."""

from oslo_config import cfg

GROUP = 'collector'
OPTS = [
    cfg.FloatOpt('interval', default=10.0, min=1.0,
                 help='Seconds between looks at the services and at the instances that changed.'),
    cfg.FloatOpt('nodes_interval', default=60.0, min=1.0,
                 help='Seconds between looks at hypervisors, Placement, aggregates and server '
                      'groups.'),
    cfg.FloatOpt('full_interval', default=3600.0, min=60.0,
                 help='Seconds between full lists of all instances.'),
    cfg.FloatOpt('capacity_interval', default=60.0, min=5.0,
                 help='Seconds between checks whether the death of each host fits. While a '
                      'host is being recovered they wait.'),
]
