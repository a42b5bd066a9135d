"""Following a failure report and its recovery to the end, with their progress on stderr."""

import argparse
import shutil
import time

from osc_lib import exceptions

from vmha_nova.osc import base
from vmha_nova.osc import client
from vmha_nova.osc import progress
from vmha_nova.osc import text

INTERVAL = 1.0                          # seconds between looks
NOTICE = 10.0                           # seconds between looks at the service itself
TIMEOUT = 2                             # exit status


def add_options(parser):
    """Add --wait and --timeout."""
    parser.add_argument('--wait', action='store_true',
                        help='follow the recovery to its end, with its progress on stderr; '
                             'Ctrl-C leaves it going')
    parser.add_argument('--timeout', metavar='<seconds>', type=_seconds,
                        help='with --wait: end after so many seconds, with status 2; the recovery '
                             'goes on (no limit)')


def _seconds(value):
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f'{value!r} is no number of seconds')
    return seconds


def check(args):
    """Refuse --timeout where nothing is waited for."""
    if args.timeout is not None and not args.wait:
        raise exceptions.CommandError('--timeout is for --wait: give that with it')


def following(command, args):
    """The Wait of a command, with its progress on stderr."""
    return Wait(command.vmha, Screen(command.app.stderr), args.timeout)


class Screen:
    """Where progress is shown: one line redrawn on a terminal, else a line for each change."""

    def __init__(self, stream, width=None):
        self.stream = stream
        self.live = stream.isatty()
        self.encoding = getattr(stream, 'encoding', None)
        self.fancy = text.encodable(''.join(progress.SIGNS[True]) + '…', self.encoding)
        self._width = width
        self._drawn = self._said = ''

    @property
    def width(self):
        """Columns of the terminal, less one: some go to the next line after the last."""
        return (self._width or shutil.get_terminal_size().columns) - 1

    def show(self, drawn, said, key):
        """Show how it is now: ``drawn`` on a terminal, else ``said`` when ``key`` is another."""
        if not self.live:
            if key != self._said:
                self._said = key
                self.say(said)
        elif drawn != self._drawn:
            self._drawn = drawn
            self._write(f'\r{drawn}\x1b[K')

    def say(self, line):
        """A line that stays."""
        drawn, self._drawn = self._drawn, ''
        self._write(f'\r\x1b[K{line}\n' if drawn else f'{line}\n')

    def close(self):
        """Leave what was drawn last, and begin a new line."""
        if self._drawn:
            self._write('\n')
        self._drawn = ''

    def _write(self, value):
        self.stream.write(text.shown(value, self.encoding))
        self.stream.flush()


class Timeout(Exception):
    """It takes longer than the user wants to wait."""


class Wait:
    """Waits. What cannot be read for a while is said once, and tried until the time is over.

    :param timeout: seconds, None: for ever.
    """

    def __init__(self, vmha, screen, timeout=None, now=text.now, clock=time.monotonic,
                 sleep=time.sleep):
        self.vmha = vmha
        self.screen = screen
        self.timeout = timeout
        self.now = now
        self.clock = clock
        self.sleep = sleep
        self._began = clock()
        self._noticed_at = None
        self._noticed = set()
        self._paused = False
        self._said = None
        self._lost = ''

    def failure(self, report):
        """Follow a report until it is settled, and the recovery it led to.

        :returns: (exit status, report, recovery or None)
        """
        ident = report['id']
        again = f'openstack vmha failure show {ident}'
        try:
            report = self._until(self._settled, self._show_report,
                                 lambda: self.vmha.failure(ident))
            self.screen.close()
            if report['recovery_id'] is None:
                self.screen.say(f'Report {ident} of {report["host"]} is {report["state"]}: '
                                f'{text.clean(report["detail"])}')
                return 1, report, None
            if report['state'] == 'duplicate':
                self.screen.say(f'Report {ident} of {report["host"]} is a duplicate: '
                                f'{text.clean(report["detail"])}')
        except Timeout as e:
            report = e.args[0]
            return self._too_long(f'report {ident} of {report["host"]}', again), report, None
        except KeyboardInterrupt:
            self._left(f'Report {ident} of {report["host"]}', again)
            raise
        status, recovery = self.recovery(report['recovery_id'])
        return status, report, recovery

    def recovery(self, ident, before=None, wanted=('recovered',)):
        """Follow a recovery to its end.

        :param before: the recovery as it was before something was asked of it.
        :param wanted: states that are a success.
        :returns: (exit status, recovery)
        """
        again = f'openstack vmha recovery show {ident} --wait'
        recovery = None
        try:
            recovery = self._until(progress.ended, self._show_recovery,
                                   lambda: self.vmha.recovery(ident))
            if self.screen.live:        # else the verdict says it all
                self._show_recovery(recovery)
            self.screen.close()
            status, sentence = progress.verdict(recovery, wanted)
            if before is not None and before['ended_at'] == recovery['ended_at'] is not None:
                status, sentence = 1, self._refusal(recovery) or sentence
            self.screen.say(sentence)
            return status, recovery
        except Timeout as e:
            recovery = e.args[0]
            return self._too_long(f'the recovery of {recovery["host"]}', again), recovery
        except KeyboardInterrupt:
            self._left('The recovery', again)
            raise

    # -- the loop -------------------------------------------------------------------------------
    def _until(self, over, show, read):
        """Read and show until ``over``; Timeout carries what was read last."""
        while True:
            found = self._try(read)
            if found is not None:
                if over(found):
                    return found
                self._give_notice()
                show(found)
            left = None if self.timeout is None else (
                self.timeout - (self.clock() - self._began))
            if left is not None and left <= 0:
                if found is None:
                    read()              # raises what is in the way
                raise Timeout(found)
            self.sleep(INTERVAL if left is None else min(INTERVAL, left))

    def _try(self, read):
        try:
            found = read()
        except (client.Unavailable, client.ServerError) as e:
            if str(e) != self._lost:
                self._lost = str(e)
                self.screen.say(f'Still trying: {e}')
            return None
        self._lost = ''
        return found

    def _give_notice(self):
        if self._noticed_at is not None and self.clock() - self._noticed_at < NOTICE:
            return
        self._noticed_at = self.clock()
        try:
            status = self.vmha.status()
        except client.ClientError:
            return
        self._paused = status['paused']['paused']
        for kind, line in base.notices(status, self.now()):
            if kind not in self._noticed:
                self.screen.say(f'Note: {line}')
            self._noticed.add(kind)

    # -- a report -------------------------------------------------------------------------------
    @staticmethod
    def _settled(report):
        return report['state'] not in ('new', 'checking')

    def _show_report(self, report):
        parts = [report['state'], text.clean(report['detail'] or report['meaning'])]
        words = f'report {report["id"]} of {report["host"]}: {", ".join(parts)}'
        passed = text.duration((self.now() - text.time(report['received_at'])).total_seconds())
        # What is in brackets goes on with the seconds.
        self.screen.show(text.cut(f'{passed} {words}', self.screen.width,
                                  '…' if self.screen.fancy else '..'), f'+{passed} {words}',
                         [part.partition(' (')[0] for part in parts])

    # -- a recovery -----------------------------------------------------------------------------
    def _show_recovery(self, recovery):
        held = recovery['state'] == 'held' and recovery['wish'] not in progress.PENDING
        new = self._said != (held, recovery['reason'])
        self._said = held, recovery['reason']
        if held and new:
            for sentence in progress.held(recovery, self._paused):
                self.screen.say(sentence)
        now = self.now()
        self.screen.show(progress.line(recovery, now, self.screen.width, self.screen.fancy),
                         progress.sentence(recovery, now, new and not held),
                         (progress.state(recovery), progress.counts(recovery), self._said))

    def _refusal(self, recovery):
        """What the engine says of a wish that it has not fulfilled, ''."""
        for event in self.vmha.events(recovery_id=recovery['id'], kind='wish', limit=1):
            return text.clean(event['text'])
        return ''

    # -- the end --------------------------------------------------------------------------------
    def _too_long(self, what, again):
        self.screen.close()
        self.screen.say(f'{what[0].upper()}{what[1:]} is not over after '
                        f'{text.duration(self.timeout)}; it goes on, and "{again}" shows it.')
        return TIMEOUT

    def _left(self, what, again):
        self.screen.close()
        self.screen.say(f'{what} goes on without this command; "{again}" shows it.')
