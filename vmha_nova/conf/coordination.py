"""[coordination]: how several processes agree on which of them leads."""

from oslo_config import cfg

GROUP = 'coordination'
OPTS = [
    cfg.StrOpt('backend_url', default='', secret=True,
               help='Where the lock is, in the words of tooz: etcd3+http://host:2379 for '
                    'processes of several machines, or file:///var/lib/vmha/locks for those of '
                    'one. Nobody has tried the other back ends of tooz. Empty: there is only '
                    'one, and it leads.'),
    cfg.FloatOpt('lease', default=15.0, min=5.0,
                 help='Seconds after which another process leads where the one that led has ended '
                      'or hangs. One that has no word of the lock stops after two thirds of '
                      'them, and goes on when it has the lock again. The same for all.'),
]
