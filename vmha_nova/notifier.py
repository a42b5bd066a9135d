"""Tells the world: what the store has written down to be told is sent on the message bus.

oslo.messaging's Notifier sends, with the drivers, topics and retry of
[oslo_messaging_notifications], on the exchange ``vmha``. Every row is sent at least once, those of
one priority in their order, and deleted afterwards; an engine killed in between sends the last
ones again, with the same message_id. A queue that nobody reads grows for ever: who configures a
driver configures a listener, too.
"""

import importlib.metadata
import logging
import socket
import threading
import time
import uuid

import oslo_messaging
from oslo_messaging import opts
from oslo_messaging import transport

from vmha_nova import exception
from vmha_nova import messaging

LOG = logging.getLogger(__name__)
GROUP = 'oslo_messaging_notifications'
DRIVERS = 'oslo.messaging.notify.drivers'       # their entry points
IDLE = 1.0                              # seconds between looks
AGAIN, AGAIN_MAX = 1.0, 30.0            # seconds until a failed notification is tried again
SAY_AGAIN = 60.0                        # seconds before a condition is put in other words
STOP_SECONDS = 2.0
BATCH = 100                             # as many are sent twice when killed at the wrong moment
PRIORITY = {'vmha.move.failed': 'error', 'vmha.recovery.partial': 'error',
            'vmha.cloud.storm': 'error', 'vmha.recovery.held': 'warn'}      # of the others: info
_SPACE = uuid.UUID('6d1f4c3e-0a53-4c8e-9d0b-5f8f2f7b7e01')


class _Bus(transport.NotificationTransport):
    """A transport that remembers what went wrong.

    The drivers of oslo.messaging log a failed send and go on, so that Notifier's caller learns
    nothing of it; every driver that speaks to a bus does so through this one method. It also
    names the exchange, which is otherwise a default of the whole process, and gives the message
    the time of what it tells of, and the same id whenever it is sent.
    """

    def __init__(self, bus):
        super().__init__(bus._driver)
        self.note, self.error = None, None

    def _send_notification(self, target, ctxt, message, version, retry=None):
        message = dict(
            message, timestamp=str(self.note.at.replace(tzinfo=None)),
            message_id=str(uuid.uuid5(_SPACE, f'{self.note.id} {self.note.at.isoformat()}')))
        try:
            super()._send_notification(target(exchange=messaging.EXCHANGE), ctxt, message,
                                       version, retry)
        except Exception as e:          # of any library below
            self.error = e              # not raised: the driver would log the whole message


class Notifier:
    """Sends the rows of ``store.outbox()`` while ``lead`` is the lead of this engine.

    :param metrics: metrics.EngineMetrics, told of every row that was sent
    :raises ConfigurationError: what is configured cannot work
    """

    def __init__(self, conf, store, lead, metrics, monotonic=time.monotonic):
        self._conf = conf
        self._store = store
        self._lead = lead
        self._metrics = metrics
        self._publisher = f'vmha-engine.{socket.gethostname()}'
        self._options = options(conf)
        self._stop = threading.Event()
        self._sent = {}                 # id -> Note: sent, but still on record
        self._tries = 0                 # of the first of those that wait
        self._said = None               # what is wrong, in words, and when that was said
        self._monotonic = monotonic
        self._bus, self._notifier = None, None

    def run(self):
        """Send until stop(), or until another engine leads. For a thread of its own."""
        if self._options.driver:
            LOG.info('notifications go to exchange %s, topics %s, by %s', messaging.EXCHANGE,
                     ', '.join(self._options.topics), ', '.join(self._options.driver))
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                pause = self.cycle()
            except exception.TermLost:
                return                  # the engine's own loop says so
            except exception.StoreUnavailable as e:
                LOG.debug('no notification is sent while %s', e)    # the engine's loop says so
                pause = 2 * IDLE
            except Exception as e:
                self._say(f'notifications wait: internal error: {e!r}', exc_info=True)
                pause = AGAIN_MAX

    def stop(self, thread=None):
        """End after the notification under way. A bus that is silent can hold its thread up for
        two minutes; it is not waited for, as its row is sent again by the next engine.

        :param thread: the one of run()
        """
        self._stop.set()
        if thread is not None:
            thread.join(STOP_SECONDS)

    def cycle(self):
        """Send what waits; returns the seconds until the next look.

        :raises TermLost, StoreUnavailable: nothing is lost
        """
        notes = self._store.outbox(BATCH) if self._lead.term is not None else []
        if not notes:
            self._sent.clear()
            return IDLE
        leader = self._store.leader()
        if leader.term != self._lead.term:
            raise exception.TermLost('another engine sends them')
        done, pause = self._send_all(notes)
        if done:
            self._store.sent(self._lead.term, [n.id for n in done])
            for note in done:
                self._sent.pop(note.id, None)
        return pause

    def _send_all(self, notes):
        """Those that are sent, or not to be sent, up to the first that has to wait; the pause."""
        done = []
        for note in notes:
            if self._stop.is_set():
                return done, IDLE
            # An id is not enough: SQLite gives it to another row once the last one is deleted.
            if self._sent.get(note.id) != note:
                error = self._send(note)
                if error and not self._give_up(note, error):
                    return done, min(AGAIN * 2 ** (self._tries - 1), AGAIN_MAX)
                self._tries = 0
                self._metrics.observe(note)
                self._sent[note.id] = note
            done.append(note)
        return done, 0.0 if len(notes) == BATCH else IDLE

    def _send(self, note):
        """Send one; returns why it could not be sent, or ''."""
        if not self._options.driver:
            return ''
        try:
            if self._notifier is None:
                self._connect()
            self._bus.note, self._bus.error = note, None
            send = getattr(self._notifier, PRIORITY.get(note.event_type, 'info'))
            send({}, note.event_type, note.payload)
            error = self._bus.error
        except exception.ConfigurationError as e:
            error = e
        if error is None:
            if self._said:
                LOG.info('notifications are sent again')
                self._said = None
            return ''
        self._disconnect()
        return _words(error)

    def _give_up(self, note, error):
        """Whether a notification that was not sent is not to be tried any more: by ``retry``."""
        self._tries += 1
        if 0 <= self._options.retry < self._tries:
            LOG.error('notification %d, %s, is lost: %s', note.id, note.event_type, error)
            return True
        self._say(f'notifications wait: {error}')
        return False

    def _say(self, text, **values):
        """Log a condition and note it in the journal: once, and when its words change."""
        now = self._monotonic()
        if self._said and (self._said[0] == text or now - self._said[1] < SAY_AGAIN):
            return                      # a bus that goes away has many words for it
        self._said = text, now
        LOG.warning('%s', text, **values)
        try:
            self._store.note('warning', 'notifications', text[:500])
        except exception.StoreUnavailable:
            pass                        # the log has it

    def _connect(self):
        bus = messaging.transport(self._conf, self._options.transport_url, durable=True)
        self._bus = _Bus(bus)
        # One try at a time: what is in the driver's hands does not end when this service does.
        self._notifier = oslo_messaging.Notifier(self._bus, self._publisher, retry=0)

    def _disconnect(self):
        # A connection that was lost waits for its broker for ever when it is used again, whatever
        # is said of retries: the next try gets a new one.
        bus, self._bus, self._notifier = self._bus, None, None
        try:
            bus.cleanup()
        except Exception as e:
            LOG.debug('the connection for notifications: %s', e)


def options(conf):
    """The options of [oslo_messaging_notifications], found to be usable.

    :raises ConfigurationError: there is no such driver, which oslo.messaging would only log, or
                                no address of a message bus
    """
    for group, some in opts.list_opts():
        if group == GROUP:
            conf.register_opts(some, group=group)
    found = conf[GROUP]
    known = importlib.metadata.entry_points(group=DRIVERS).names
    if wrong := sorted(set(found.driver) - known):
        raise exception.ConfigurationError(
            f'[{GROUP}] driver: there is no {", ".join(wrong)}; there are '
            f'{", ".join(sorted(known))}')
    if found.driver:
        messaging.transport(conf, found.transport_url)
    return found


def _words(error):
    """An error in one line, with what to do about one that does not go away by itself."""
    text = (str(error).splitlines() or [repr(error)])[0]
    if 'PRECONDITION_FAILED' in text:
        text += (f': somebody else has made it otherwise; give [{GROUP}] topics a name that only '
                 'this service uses')
    return text
