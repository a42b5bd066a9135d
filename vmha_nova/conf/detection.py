"""[detection]: when a report is believed."""

from oslo_config import cfg
from oslo_config import types

GROUP = 'detection'
OPTS = [
    cfg.DictOpt('trust', default={'default': 'confirm', 'vmha-monitor': 'act'},
                help='What a report from a source is worth, as source:word pairs; the source '
                     '"default" stands for those not named, "nova" for Nova\'s own '
                     'service.update, "operator" for what operators report by "openstack vmha" '
                     'or vmha-manage, "vmha-monitor" for what vmha-monitor has found dead on all '
                     'its channels, "vmha-monitor-probable" and "vmha-monitor-isolated" for what '
                     'it is less sure of. act: acted on at once. '
                     'confirm: the heartbeat of the host must be missing too. ignore: written '
                     'down and dismissed.'),
    cfg.FloatOpt('heartbeat_silence', default=25.0, min=1.0,
                 help='Seconds without a new heartbeat that confirm a report. Must be more than '
                      "twice Nova's report_interval (10 s by default) and more than twice "
                      '[collector] interval, or a living host can be taken for dead.'),
    cfg.ListOpt('planned_shutdown', default=['disabled', 'forced_down'],
                item_type=types.String(choices=['disabled', 'forced_down']),
                help='What says, set in Nova by somebody else, that a host is out of service on '
                     'purpose: reports about it are dismissed, unless by force. That it is '
                     "forced down says so only against reports of other sources than 'nova': a "
                     'report of that source tells just this, as inspectors force down the hosts '
                     'that they find dead, and is a reason to look. Where a host is disabled '
                     'too, that is dismissed as well. Empty: nothing says so.'),
    cfg.FloatOpt('check_interval', default=1.0, min=0.1,
                 help='Seconds between looks at the heartbeats while a report is being checked.'),
]
