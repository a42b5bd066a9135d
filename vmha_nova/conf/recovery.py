"""[recovery]: what is moved, where to, and how many at a time."""

from oslo_config import cfg

GROUP = 'recovery'
OPTS = [
    cfg.IntOpt('window', default=24, min=1,
               help='Evacuations in flight at a time, in all, at most. How many there are follows '
                    'what Nova answers: more as long as they land faster then, fewer when that '
                    'makes no difference, half when one fails.'),
    cfg.IntOpt('window_start', default=8, min=1,
               help='Evacuations in flight at a time, in all, when a recovery begins; never more '
                    'than window.'),
    cfg.IntOpt('window_per_target', default=8, min=1,
               help='Evacuations in flight at a time to one target, at most. Fewer after one has '
                    'failed there, while they take more than twice the usual time there, and '
                    'while its heartbeats are late.'),
    cfg.IntOpt('window_per_target_start', default=3, min=1,
               help='Evacuations in flight at a time to one target when a recovery begins; never '
                    'more than window_per_target.'),
    cfg.IntOpt('max_attempts', default=3, min=1,
               help='How often an instance is tried, each time on another node, before it is '
                    'given up and named as failed.'),
    cfg.IntOpt('max_faults', default=8, min=1,
               help='How often a call for one instance may stay without an answer (timeout, '
                    'connection lost, 5xx) or not be sent at all, while Nova lists the others, '
                    'before the instance is named as failed.'),
    cfg.FloatOpt('quiet_period', default=90.0, min=1.0,
                 help='Seconds to wait after a call with unknown outcome before Nova, if it '
                      'shows no trace of it, is asked again. Must be longer than any request '
                      "timeout on the way to Nova's services (rpc_response_timeout: 60 s), or an "
                      'instance can be evacuated twice.'),
    cfg.FloatOpt('move_timeout', default=900.0, min=10.0,
                 help='Seconds after which an evacuation that Nova has taken up and not finished '
                      'is named as failed.'),
    cfg.FloatOpt('follow_interval', default=3.0, min=0.2,
                 help='Seconds between looks at the evacuations under way where no notification '
                      'comes.'),
    cfg.BoolOpt('spares_only', default=False,
                help='Never use nodes that are not spares as targets.'),
    cfg.ListOpt('untouched_projects', default=[],
                help='Ids of projects whose instances are never touched (service VMs that have '
                     'their own high availability).'),
    cfg.BoolOpt('evacuate_error', default=False,
                help='Evacuate also instances that were in ERROR before the failure; they end '
                     'ACTIVE.'),
    cfg.FloatOpt('max_cpu_share', default=0.95, min=0.0, max=1.0,
                 help='A node with a higher measured CPU load is no target.'),
    cfg.FloatOpt('cpu_share_ttl', default=180.0, min=1.0,
                 help='Seconds a measured CPU load counts.'),
    cfg.StrOpt('spare_after', default='reserve',
               choices=[('reserve', 'stays a spare: scheduling is turned off again'),
                        ('ordinary', 'becomes an ordinary compute node')],
               help='What becomes of a spare when the recovery that took it is over. While it '
                    'is taken, Nova may schedule other instances there too.'),
]
