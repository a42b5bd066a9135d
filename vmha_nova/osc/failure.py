"""openstack vmha failure list, show, report."""

from vmha_nova.osc import base
from vmha_nova.osc import columns
from vmha_nova.osc import wait

SORT = ('id', 'received_at', 'host', 'source', 'state')
STATES = ('new', 'checking', 'accepted', 'duplicate', 'dismissed')
SHORT = (
    ('ID', 'id'), ('Received At', 'received_at', columns.Time), ('Host', 'host'),
    ('Source', 'source'), ('State', 'state'), ('Reason', 'reason'), ('Detail', 'detail'))
LONG = (
    *SHORT, ('Forced', 'forced', columns.Flag), ('Repeats', 'repeats'),
    ('Detected At', 'detected_at', columns.Time), ('Recovery ID', 'recovery_id'),
    ('Evidence', 'evidence', columns.Pairs))


class List(base.Lister):
    """List reports that a host is down, newest first, and what was made of them."""

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--host', metavar='<host>', help='only reports of this host')
        parser.add_argument('--source', metavar='<source>', help='only reports from there')
        parser.add_argument('--state', choices=STATES, help='only reports in this state')
        base.add_list_options(parser, SORT, default='id:desc')
        return parser

    def take_action(self, parsed_args):
        """Show them."""
        args = parsed_args
        rows = list(self.vmha.failures(host=args.host, source=args.source, state=args.state,
                                       **base.list_options(args)))
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)


class Show(base.ShowOne):
    """Show a report that a host is down, its evidence and what was made of it."""

    def get_parser(self, prog_name):
        """Add the argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument('failure', metavar='<id>', type=base.positive,
                            help='of the report, see "openstack vmha failure list"')
        return parser

    def take_action(self, parsed_args):
        """Show it."""
        found = self.vmha.failure(parsed_args.failure)
        self.give_notice()
        return columns.fields(found)


class Report(base.ShowOne):
    """Report a compute node as down: if it is proven dead, its instances are moved elsewhere.

    The engine looks at it within a second. The same report again only counts. With --wait, the
    command ends with status 0 when the host is recovered, 1 when it ends otherwise, 2 after
    --timeout.
    """

    def get_parser(self, prog_name):
        """Add the argument and the options."""
        parser = super().get_parser(prog_name)
        base.add_host(parser)
        parser.add_argument('--reason', metavar='<text>', default='reported by an operator',
                            help='what you have seen, for others to read (%(default)s)')
        parser.add_argument('--source', metavar='<name>',
                            help='who says so, where that is not an operator; the configuration '
                                 'says what its word is worth')
        parser.add_argument('--force', action='store_true',
                            help='do not wait for the evidence: you know that it is dead. It is '
                                 'fenced all the same')
        wait.add_options(parser)
        return parser

    def take_action(self, parsed_args):
        """Send the report; follow it where that is asked for."""
        args = parsed_args
        wait.check(args)
        values = dict(reason=args.reason)
        if args.source is not None:
            values['source'] = args.source
        if args.force:
            values['force'] = True
        found, new = self.vmha.report(args.host, **values)
        if not new:
            self.say(f'{args.host} is reported already: report {found["id"]} is '
                     f'{found["state"]}, {found["detail"] or found["meaning"]}')
        if not args.wait:
            self.give_notice()
            return columns.fields(found)
        self.status, found, recovery = wait.following(self, args).failure(found)
        if recovery is not None:
            found = dict(found, recovery_state=recovery['state'],
                         recovery_reason=recovery['reason'], moves=recovery['moves'])
        return columns.fields(found, moves=columns.Counts)
