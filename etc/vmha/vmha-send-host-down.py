#!/usr/bin/env python3
"""Report a host as down, with nothing but oslo.messaging: an example to start from.

    vmha-send-host-down.py HOST REASON

The address of the message bus is read from the environment, for a command line is no place for a
password:

    VMHA_TRANSPORT_URL=rabbit://USER:PASSWORD@controller:5672/?amqp_durable_queues=true

A notifier that cannot send logs it, and nothing else: the exit status does not tell. That of
vmha-notify does.
"""

import datetime
import logging
import os
import sys

from oslo_config import cfg
import oslo_messaging

if len(sys.argv) != 3 or 'VMHA_TRANSPORT_URL' not in os.environ:
    sys.exit(__doc__)
host, reason = sys.argv[1:]
logging.basicConfig(level=logging.ERROR)
conf = cfg.ConfigOpts()
conf([], default_config_files=[])

oslo_messaging.set_transport_defaults('vmha')       # the exchange
bus = oslo_messaging.get_notification_transport(conf, url=os.environ['VMHA_TRANSPORT_URL'])
notifier = oslo_messaging.Notifier(bus, publisher_id='my-monitor', driver='messagingv2',
                                   topics=['vmha'], retry=3)
notifier.error({}, 'compute.host.down', {
    'host': host,                       # as Nova names it
    'reason': reason,                   # for the operator
    'source': 'my-monitor',             # [detection] trust goes by it
    'detected_at': datetime.datetime.now(datetime.timezone.utc).isoformat(),
    'evidence': {'ping': 'lost', 'since_seconds': 30},
})
bus.cleanup()
