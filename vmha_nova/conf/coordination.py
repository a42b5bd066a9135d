"""[coordination]: how several processes agree on which of them leads."""

from oslo_config import cfg

GROUP = 'coordination'
OPTS = [
    cfg.StrOpt('backend_url', default='', secret=True,
               help='Where the lock is, in the words of tooz: etcd3+http://host:2379, '
                    'redis://host, zookeeper://host, mysql://user:password@host/database, or '
                    'file:///var/lib/vmha/locks for processes of one machine. Empty: there is '
                    'only one, and it leads.'),
    cfg.FloatOpt('timeout', default=10.0, min=1.0,
                 help='Seconds without word of the lock after which who led does not lead any '
                      'more. No more than its lease in the backend (30 s in most), or two can '
                      'lead for a while.'),
]
