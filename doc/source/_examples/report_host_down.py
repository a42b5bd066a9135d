import datetime

from oslo_config import cfg
import oslo_messaging

URL = 'rabbit://USER:PASSWORD@controller:5672/?amqp_durable_queues=true'

oslo_messaging.set_transport_defaults('vmha')       # the exchange
bus = oslo_messaging.get_notification_transport(cfg.CONF, url=URL)
notifier = oslo_messaging.Notifier(bus, publisher_id='rack-controller', driver='messagingv2',
                                   topics=['vmha'], retry=3)
notifier.error({}, 'compute.host.down', {
    'host': 'compute1',
    'reason': 'outlet 7 is switched off',
    'source': 'rack-controller',
    'detected_at': datetime.datetime.now(datetime.timezone.utc).isoformat(),
    'evidence': {'pdu': 'pdu3', 'outlet': 7, 'state': 'off'},
})
bus.cleanup()
