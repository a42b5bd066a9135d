"""openstack vmha recovery list, show, approve, abort, retry, release."""

import shutil

from osc_lib import exceptions

from vmha_nova.osc import base
from vmha_nova.osc import client
from vmha_nova.osc import columns
from vmha_nova.osc import text
from vmha_nova.osc import timeline
from vmha_nova.osc import wait

SORT = ('created_at', 'updated_at', 'host', 'state')
STATES = ('confirmed', 'fenced', 'down_in_nova', 'moving', 'held', 'dismissed', 'recovered',
          'partial', 'aborted')
SHORT = (
    ('ID', 'id'), ('Host', 'host'), ('State', 'state'), ('Moves', 'moves', columns.Counts),
    ('Reason', 'reason'), ('Created At', 'created_at', columns.Time),
    ('Ended At', 'ended_at', columns.Time))
LONG = (
    *SHORT, ('Stage', 'stage'), ('Approved', 'approved', columns.Flag), ('Wish', 'wish'),
    ('Reported At', 'reported_at', columns.Time), ('Updated At', 'updated_at', columns.Time),
    ('Released At', 'released_at', columns.Time))


class List(base.Lister):
    """List recoveries, newest first: what is done, or was done, about hosts that failed."""

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--host', metavar='<host>', help='only recoveries of this host')
        parser.add_argument('--state', choices=STATES,
                            help='only recoveries in this state; held ones wait for something')
        parser.add_argument('--open', action='store_const', const=True,
                            help='only recoveries that are not over')
        base.add_list_options(parser, SORT, default='created_at:desc')
        return parser

    def take_action(self, parsed_args):
        """Show them."""
        args = parsed_args
        rows = list(self.vmha.recoveries(host=args.host, state=args.state, open=args.open,
                                         **base.list_options(args)))
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)


class One(base.ShowOne):
    """What works on one recovery."""

    nargs = None                        # of the recovery, as argparse has it

    def get_parser(self, prog_name):
        """Add the argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument('recovery', metavar='<recovery>', nargs=self.nargs,
                            help="its id, or a host's name for the newest recovery of that host")
        return parser

    def shown(self, recovery):
        """The recovery as columns."""
        return columns.fields(recovery, moves=columns.Counts, steps=columns.Acts,
                              pace=columns.Journal)


class Show(One):
    """Show a recovery: how far it is and why, and the acts it has recorded.

    With --timeline every instance is explained: when Nova was asked to move it, took it and was
    done, where it went, and what stands in the way where it did not. With --wait it is followed
    to its end first, and the command ends with status 0 when the host is recovered, 1 when it
    ends otherwise, 2 after --timeout.
    """

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--timeline', action='store_true',
                            help='draw the acts and the moves of its instances over time, as wide '
                                 'as the terminal (COLUMNS); in other formats than table, list '
                                 'the moves')
        wait.add_options(parser)
        return parser

    def run(self, parsed_args):
        """Show it, as a drawing where that is asked for."""
        if not parsed_args.timeline or parsed_args.formatter != 'table':
            return super().run(parsed_args)
        recovery, moves = self._read(parsed_args)
        stdout = self.app.stdout
        encoding = getattr(stdout, 'encoding', None)
        fancy = text.encodable(timeline.CHARACTERS, encoding)
        for line in timeline.draw(recovery, moves, text.now(),
                                  shutil.get_terminal_size().columns, fancy):
            stdout.write(text.shown(line, encoding) + '\n')
        return self.status

    def take_action(self, parsed_args):
        """Show it in the format asked for."""
        recovery, moves = self._read(parsed_args)
        if parsed_args.timeline:
            recovery['timeline'] = moves
        return self.shown(recovery)

    def _read(self, args):
        wait.check(args)
        ident = base.recovery_id(self.vmha, args.recovery)
        if args.wait:
            self.status, _ = wait.following(self, args).recovery(ident)
        recovery = self.vmha.recovery(ident)
        moves = list(self.vmha.moves(ident)) if args.timeline else []
        if not args.wait:
            self.give_notice()
        return recovery, moves


class Act(One):
    """What an operator asks of a recovery; the engine takes it up within a second."""

    action = ''
    wanted = ('recovered',)             # ends that are a success

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        wait.add_options(parser)
        return parser

    def take_action(self, parsed_args):
        """Ask for it; follow the recovery where that is asked for."""
        wait.check(parsed_args)
        ident = base.recovery_id(self.vmha, parsed_args.recovery)
        before = self.vmha.recovery(ident)
        recovery = self.vmha.act(ident, self.action)
        if parsed_args.wait:
            self.status, recovery = wait.following(self, parsed_args).recovery(
                ident, before, self.wanted)
        else:
            self.give_notice()
        return self.shown(recovery)


class Approve(Act):
    """Let a recovery go on that waits for an operator's word.

    It is held because too many hosts have failed, because its host has failed again too soon, or
    because its host sends heartbeats again; make sure in that case that the host is off. What it
    is held for otherwise (its fence, its storage, room for its instances) stays in the way.

    With --all, all that are held before anything was done about their hosts, after a storm of
    failures for instance. Those whose hosts send heartbeats again are not among them.
    """

    action = 'approve'
    nargs = '?'

    def get_parser(self, prog_name):
        """Add the option."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--all', action='store_true',
                            help='all that are held before they have begun')
        return parser

    def take_action(self, parsed_args):
        """Approve one, or all."""
        args = parsed_args
        if args.all == bool(args.recovery):
            raise exceptions.CommandError('name a recovery, or give --all')
        if not args.all:
            return super().take_action(args)
        if args.wait:
            raise exceptions.CommandError('--wait follows one recovery: name it')
        approved = []
        for recovery in list(self.vmha.recoveries(state='held')):
            if recovery['stage'] == 'confirmed':
                try:
                    self.vmha.act(recovery['id'], self.action)
                    approved.append(recovery['host'])
                except client.Conflict as e:    # it has ended meanwhile
                    self.say(f'{recovery["host"]}: {e}')
        self.give_notice()
        return columns.fields(dict(approved=approved))


class Abort(Act):
    """End a recovery: nothing more is sent to Nova, what Nova has taken up goes on to its end.

    Its host stays fenced and out of service.
    """

    action = 'abort'
    wanted = ('recovered', 'aborted')


class Retry(Act):
    """Try again what has failed, of a recovery that is over (partial or aborted)."""

    action = 'retry'


class Release(One):
    """Give your word that the host of a recovery that is over can never write again.

    It is gone for good, and its address may serve another machine: its fence is lifted. A host
    that comes back needs no such word: it is let back when its old guests are gone.
    """

    def take_action(self, parsed_args):
        """Ask for it."""
        recovery = self.vmha.act(base.recovery_id(self.vmha, parsed_args.recovery), 'release')
        self.give_notice()
        return self.shown(recovery)
