"""[return]: how a host that had failed comes back into service."""

from oslo_config import cfg

GROUP = 'return'
OPTS = [
    cfg.BoolOpt('automatic', default=True,
                help='Put a host that had failed back into service when its recovery is over, '
                     'its old guests are gone and it works again. Only what this service did to '
                     'it in Nova is undone. Without, an operator does that.'),
    cfg.FloatOpt('stable_for', default=60.0, min=0.0,
                 help='Seconds for which the host must have sent heartbeats without a gap before '
                      'that.'),
    cfg.StrOpt('becomes', default='as_before',
               choices=[('as_before', 'a spare is a spare again, an ordinary node is enabled'),
                        ('spare', 'a spare, in place of one that a recovery has taken'),
                        ('ordinary', 'an ordinary compute node; a spare loses its mark')],
               help='What the host is then. "spare" goes with [recovery] spare_after = '
                    'ordinary, or there are fewer ordinary nodes with each failure.'),
    cfg.FloatOpt('flap_window', default=1800.0, min=0.0,
                 help='Where a host fails again so few seconds after it was back in service, its '
                      'recovery is held until an operator approves. 0: it never is.'),
]
