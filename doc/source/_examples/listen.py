import logging

from oslo_config import cfg
import oslo_messaging

URL = 'rabbit://USER:PASSWORD@controller:5672/?amqp_durable_queues=true'
LOG = logging.getLogger('listener')


class Endpoint:
    filter_rule = oslo_messaging.NotificationFilter(event_type=r'^vmha\.(recovery|move)\.')

    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        LOG.info('%s %s: %s %s, %s', metadata['message_id'], event_type, payload['host'],
                 payload['state'], payload['reason'])

    warn = error = info


logging.basicConfig(level=logging.INFO)
bus = oslo_messaging.get_notification_transport(cfg.CONF, url=URL)
target = oslo_messaging.Target(exchange='vmha', topic='vmha_events')
server = oslo_messaging.get_notification_listener(bus, [target], [Endpoint()])
server.start()
server.wait()
