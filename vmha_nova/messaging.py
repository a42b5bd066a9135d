"""Notifications: hosts reported down, and what Nova tells of services, load and instances.

A message that asks for something becomes a row before it is acknowledged; while the row cannot
be written, the message goes back to its queue. Nothing a message contains stops a listener.
"""

import datetime
import logging
import ssl
import threading

import kombu
import oslo_messaging
from oslo_messaging.notify import dispatcher
from oslo_messaging.notify import listener
from oslo_messaging import transport as oslo_transport

from vmha_nova import exception

LOG = logging.getLogger(__name__)
EXCHANGE = TOPIC = 'vmha'
HOST_DOWN = 'compute.host.down'
STOP_SECONDS = 5
DRIVERS = 'oslo.messaging._drivers'     # oslo.log's name for the loggers of oslo_messaging
NEEDED = ('host', 'reason', 'source', 'detected_at')
# What Nova does not count as a change of the server: no list of changes shows it.
DISKS = ('instance.volume_attach.end', 'instance.volume_detach.end', 'instance.volume_swap.end')
# Ours end with these; they are what a recovery waits for.
MOVED = ('instance.rebuild', 'instance.evacuate', 'instance.power_o', 'compute_task.')


def transport(conf, url, durable=False):
    """A notification transport for ``url`` ('': [DEFAULT] transport_url).

    :raises ConfigurationError: there is no usable address.
    """
    try:
        parsed = oslo_messaging.TransportURL.parse(conf, url or None)
    except oslo_messaging.InvalidTransportURL as e:
        raise exception.ConfigurationError(f'message bus: {e}') from e
    except ValueError:                  # its text would be a part of the password
        raise exception.ConfigurationError(
            f'message bus: transport_url {exception.NO_ADDRESS}') from None
    if parsed.transport == 'rabbit' and not any(h.hostname for h in parsed.hosts):
        raise exception.ConfigurationError(
            'no message bus: set [DEFAULT] transport_url, as in nova.conf '
            '(rabbit://USER:PASSWORD@HOST:5672/)')
    if parsed.transport == 'rabbit' and any(
            '/' in (host.username or '') + (host.password or '') for host in parsed.hosts):
        # It gives it to kombu as it is, which takes the part before for a port, and says so.
        raise exception.ConfigurationError(
            'message bus: oslo.messaging cannot use a user or a password with a slash in it, '
            'however it is written: have another one')
    if durable and parsed.transport == 'rabbit':
        # Only for our own exchange: Nova's queues keep the settings of the configuration.
        parsed.query['amqp_durable_queues'] = 'true'
    try:
        return oslo_messaging.get_notification_transport(conf, url=str(parsed))
    except oslo_messaging.DriverLoadFailure as e:
        raise exception.ConfigurationError(f'message bus: {e}') from e


def probe(conf, seconds=10.0):
    """Connect to the message buses. Of other kinds than RabbitMQ nothing is said.

    :raises Unreachable: one cannot be reached, or does not let us in.
    """
    for url in {conf.notifications.transport_url, conf.notifications.nova_transport_url}:
        bus = oslo_messaging.TransportURL.parse(conf, url or None)
        for host in bus.hosts if bus.transport == 'rabbit' else ():
            try:
                with kombu.Connection(
                        hostname=host.hostname, port=host.port or 5672, userid=host.username,
                        password=host.password, virtual_host=bus.virtual_host or '/',
                        ssl=_tls(conf.oslo_messaging_rabbit, host.hostname),
                        connect_timeout=seconds) as one:
                    one.connect()
            except Exception as e:
                raise exception.Unreachable(
                    f'{host.hostname}:{host.port}: {str(e).splitlines()[0] or e!r}') from e


def _tls(group, hostname):
    """kombu's ``ssl`` for the options of oslo.messaging, which gives it the same."""
    if not group.ssl:
        return False
    files = {name: path for name, path in (
        ('ca_certs', group.ssl_ca_file), ('certfile', group.ssl_cert_file),
        ('keyfile', group.ssl_key_file)) if path}
    if group.ssl_ca_file:
        files.update(cert_reqs=ssl.CERT_REQUIRED, server_hostname=hostname)
    return files or True


def host_down(host, reason, source, evidence=None, detected_at=None):
    """The payload of a host-down notification.

    :param detected_at: datetime with a zone; None: now
    """
    detected_at = detected_at or datetime.datetime.now(datetime.timezone.utc)
    return {'host': host, 'reason': reason, 'source': source, 'evidence': evidence or {},
            'detected_at': detected_at.isoformat()}


class _Bus(oslo_transport.NotificationTransport):
    """A transport that remembers what went wrong: oslo.messaging's drivers only log it."""

    def __init__(self, bus):
        super().__init__(bus._driver)
        self.error = None

    def _send_notification(self, target, *args, **values):
        try:
            super()._send_notification(target(exchange=EXCHANGE), *args, **values)
        except Exception as e:          # of any library below
            self.error = e              # not raised: the driver would log the whole message


class HostDownSender:
    """Reports hosts as down, over one connection. For one thread at a time.

    :param seconds: how long send() waits for the message bus, None: for as long as it takes. A
        connection that was lost waits for its broker inside the library, for ever: it is left to
        a thread then, which delivers what it has once the broker is back, and send() fails at
        once until it has.
    :param retry: how often one is tried again
    :raises ConfigurationError: there is no usable address
    """

    def __init__(self, conf, seconds=10.0, retry=0):
        self._conf = conf
        self._seconds = seconds
        self._retry = retry
        self._sending = None
        self._bus = None
        transport(conf, conf.notifications.transport_url)

    def send(self, host, reason, source, evidence=None, detected_at=None):
        """Send one report; once this returns, the broker has confirmed that it has it.

        The same report may be sent again, with the same ``detected_at``: it counts once.

        :raises Unreachable: it may not have been sent
        """
        if self._sending is not None and self._sending.is_alive():
            raise exception.Unreachable('it has not answered yet')
        errors = []
        self._sending = threading.Thread(
            target=self._send, name='host-down', daemon=True,
            args=(source, host_down(host, reason, source, evidence, detected_at), errors))
        self._sending.start()
        self._sending.join(self._seconds)
        if self._sending.is_alive():
            raise exception.Unreachable(f'it has not answered for {self._seconds:g} s')
        if errors:
            raise exception.Unreachable(_words(errors[0])) from errors[0]

    def close(self):
        """Disconnect; who is still waiting for its broker is left alone."""
        if self._sending is None or not self._sending.is_alive():
            self._disconnect()

    def _send(self, source, payload, errors):
        try:
            if self._bus is None:
                self._bus = _Bus(transport(
                    self._conf, self._conf.notifications.transport_url, durable=True))
            self._bus.error = None
            oslo_messaging.Notifier(
                self._bus, publisher_id=source, driver='messagingv2', topics=[TOPIC],
                retry=self._retry).error({}, HOST_DOWN, payload)
            if self._bus.error is not None:
                raise self._bus.error
        except Exception as e:
            errors.append(e)
            self._disconnect()

    def _disconnect(self):
        bus, self._bus = self._bus, None
        try:
            if bus is not None:
                bus.cleanup()
        except Exception as e:              # what is confirmed is confirmed
            LOG.debug('the connection for host-down notifications: %s', e)


def publish_host_down(conf, host, reason, source, evidence=None, detected_at=None, retry=3,
                      seconds=None):
    """Report a host as down, as a monitoring system does.

    Returns once the broker has confirmed that it has the message.

    :param retry: how often it is tried again
    :param seconds: how long it is waited for, None: as long as it takes; a broker that is silent
        takes two minutes
    :raises ConfigurationError: there is no usable address
    :raises Unreachable: the broker did not confirm it
    """
    sender = HostDownSender(conf, seconds, retry)
    try:
        sender.send(host, reason, source, evidence, detected_at)
    except exception.Unreachable as e:
        raise exception.Unreachable(f'message bus: {e}') from e.__cause__
    finally:
        sender.close()


def _words(error):
    """What is wrong; MessageDeliveryFailure says 'unable to connect' of everything, and kombu's
    errors say nothing where there are no words below.
    """
    if isinstance(error, oslo_messaging.MessageDeliveryFailure) and error.__context__:
        error = error.__context__
    while not str(error) and error.__context__:
        error = error.__context__
    return str(error) or type(error).__name__


def parse_host_down(payload):
    """The arguments of Store.report_failure from a payload.

    :raises ValueError: what is wrong with it, in words.
    """
    if not isinstance(payload, dict):
        raise ValueError('the payload is no object')
    missing = [k for k in NEEDED if not isinstance(payload.get(k), str)]
    if missing:
        raise ValueError(f'no text in {", ".join(missing)}')
    evidence = payload.get('evidence', {})
    if not isinstance(evidence, dict):
        raise ValueError('evidence is no object')
    host, source = payload['host'].strip(), payload['source'].strip()
    if not host or len(host) > 255 or len(source) > 255:
        raise ValueError('host is empty, or host or source is longer than 255')
    detected_at = datetime.datetime.fromisoformat(payload['detected_at'])
    if detected_at.tzinfo is None:
        detected_at = detected_at.replace(tzinfo=datetime.timezone.utc)
    return dict(host=host, source=source, reason=payload['reason'][:2000], evidence=evidence,
                detected_at=detected_at)


class _Endpoint:
    """Common to both: every priority, errors, requeueing."""

    kind = ''

    def __init__(self, store, wake):
        self.store = store
        self.wake = wake
        self.stopping = threading.Event()

    def take(self, event_type, payload):
        """What is done with a message; may raise ValueError for one that makes no sense."""
        raise NotImplementedError

    def handle(self, ctxt, publisher_id, event_type, payload, metadata):
        """Called by oslo.messaging for a message of any priority."""
        try:
            self.take(event_type, payload)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            return self.drop(f'a message of type {str(event_type)[:80]!r} from '
                             f'{str(publisher_id)[:80]!r} makes no sense and was dropped: {e}')
        except exception.StoreRefused as e:     # it would come back for ever
            return self.drop(f'a message of type {str(event_type)[:80]!r} from '
                             f'{str(publisher_id)[:80]!r} cannot be stored and was dropped: {e}')
        except exception.StoreUnavailable as e:
            return self._requeue(e)
        return oslo_messaging.NotificationResult.HANDLED

    def drop(self, text):
        """Note that a message makes no sense; the note, too, is written before it is gone."""
        LOG.warning('%s', text)
        try:
            self.store.note('warning', 'malformed', text[:500])
        except exception.StoreUnavailable as e:
            return self._requeue(e)
        return oslo_messaging.NotificationResult.HANDLED

    def _requeue(self, error):
        LOG.error('a message waits in its queue: %s', error)
        self.stopping.wait(1.0)         # or it would come back at once, over and over
        return oslo_messaging.NotificationResult.REQUEUE

    audit = debug = info = warn = error = critical = sample = handle


class HostDownEndpoint(_Endpoint):
    """Host-down notifications on our own exchange."""

    def take(self, event_type, payload):
        if event_type != HOST_DOWN:
            raise ValueError(f'only {HOST_DOWN} is understood')
        report, new = self.store.report_failure(**parse_host_down(payload))
        if new:
            LOG.info('%s is reported down by %s: %s', report.host, report.source, report.reason)
        self.wake()


class NovaEndpoint(_Endpoint):
    """Nova's versioned notifications: mostly hints to look, at once.

    :param engine: is woken, told what moves, and asked if it looks at the servers itself
    """

    filter_rule = oslo_messaging.NotificationFilter(
        event_type=r'^(service\.update|metrics\.update|instance\.|compute_task\.)')

    def __init__(self, store, collector, engine):
        super().__init__(store, engine.wake)
        self.collector = collector
        self.engine = engine

    def take(self, event_type, payload):
        data = payload['nova_object.data']
        if event_type == 'metrics.update':
            self.collector.on_metrics(data['host'], data['metrics'])
        elif event_type == 'service.update':
            self._service(data)
        else:
            if event_type in DISKS:
                self.collector.ask(data['uuid'])
            if event_type.startswith(MOVED):
                self.engine.moved()
            if not self.engine.follows():
                self.collector.poke()

    def _service(self, data):
        if data['binary'] != 'nova-compute' or not data['forced_down']:
            return
        if any(r.host == data['host'] and r.ended_at is None
               for r in self.store.recoveries(unreleased=True)):
            return                      # the echo of what we did, or nothing new
        _report, new = self.store.report_failure(
            data['host'], 'nova', 'somebody has forced it down in Nova')
        if new:
            LOG.info('%s was forced down in Nova by somebody else', data['host'])
        self.wake()


class _Dispatcher(dispatcher.NotificationDispatcher):
    """oslo.messaging's, which would requeue what it cannot take apart, over and over for ever."""

    def __init__(self, endpoint):
        super().__init__([endpoint], oslo_messaging.NoOpSerializer())
        self.endpoint = endpoint

    def dispatch(self, incoming):
        try:
            result = super().dispatch(incoming)
        except Exception as e:
            return self.endpoint.drop(f'a message that cannot be taken apart was dropped: {e}')
        # None: of no priority that notifications have.
        return result or self.endpoint.drop('a message without a known priority was dropped')


class Undecodable(logging.Handler):
    """Hears what oslo.messaging only logs: messages it rejects before anybody sees them."""

    def __init__(self, store):
        super().__init__(level=logging.ERROR)
        self.store = store

    def emit(self, record):
        if not record.exc_info or 'essage' not in str(record.msg):
            return
        text = f'a message that cannot be read was dropped: {record.exc_info[1]}'
        try:
            self.store.note('warning', 'malformed', text[:500])
        except exception.StoreUnavailable:
            pass                        # oslo.messaging's own log line remains


class Listeners:
    """Both listeners; start() and stop() are not blocking for long."""

    def __init__(self, conf, store, collector, engine):
        self._undecodable = Undecodable(store)
        self._endpoints, self._listeners = [], []
        self._started = False
        options = conf.notifications
        # No pool: publishers make these queues themselves, so that nothing is lost even before
        # this service has run for the first time.
        self._add(HostDownEndpoint(store, engine.wake),
                  transport(conf, options.transport_url, durable=True), EXCHANGE, [TOPIC])
        if options.nova_topics:
            self._add(NovaEndpoint(store, collector, engine),
                      transport(conf, options.nova_transport_url), options.nova_exchange,
                      options.nova_topics, options.nova_pool or None)

    def _add(self, endpoint, bus, exchange, topics, pool=None):
        self._endpoints.append(endpoint)
        self._listeners.append(listener.NotificationServer(
            bus, [oslo_messaging.Target(exchange=exchange, topic=t) for t in topics],
            _Dispatcher(endpoint), allow_requeue=True, pool=pool))

    def start(self):
        """Listen in threads of their own; a bus that is away is waited for."""
        self._started = True
        logging.getLogger(DRIVERS).addHandler(self._undecodable)
        for server in self._listeners:
            # start() returns only once the bus answers.
            threading.Thread(target=server.start, daemon=True).start()

    def stop(self):
        """Stop listening; messages not taken stay in their queues."""
        if not self._started:
            return
        for endpoint in self._endpoints:
            endpoint.stopping.set()
        for server in self._listeners:
            # One that never came to listen, as its bus is away, does not end either.
            ending = threading.Thread(target=lambda s=server: (s.stop(), s.wait()), daemon=True)
            ending.start()
            ending.join(STOP_SECONDS)
        logging.getLogger(DRIVERS).removeHandler(self._undecodable)
