"""[notifications]: what is listened to.

What this service tells others is configured in [oslo_messaging_notifications], whose options are
oslo.messaging's own. A queue that nobody reads grows for ever: a driver is for where there is a
listener.
"""

from oslo_config import cfg

GROUP = 'notifications'
OPTS = [
    cfg.StrOpt('transport_url', default='', secret=True,
               help='Message bus on which hosts are reported down (exchange "vmha", topic '
                    '"vmha"). Empty: [DEFAULT] transport_url.'),
    cfg.StrOpt('nova_transport_url', default='', secret=True,
               help="Message bus of Nova's notifications. Empty: [DEFAULT] transport_url."),
    cfg.StrOpt('nova_exchange', default='nova',
               help="Nova's control_exchange."),
    cfg.ListOpt('nova_topics', default=['versioned_notifications'],
                help="Nova's [notifications] versioned_notifications_topics. Empty: not listened "
                     'to; moves are then followed by polling only.'),
    cfg.StrOpt('nova_pool', default='vmha-engine-nova',
               help="Name of a queue of our own for Nova's notifications, so that other consumers "
                    'of the same topics miss nothing. Where nobody else reads them, give an '
                    "empty name: then Nova's own queues are read, which otherwise grow for "
                    'ever.'),
]
