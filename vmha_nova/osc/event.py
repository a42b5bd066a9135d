"""openstack vmha event list."""

from vmha_nova.osc import base
from vmha_nova.osc import columns

SHORT = (
    ('Last At', 'last_at', columns.Time), ('Level', 'level'), ('Kind', 'kind'), ('Host', 'host'),
    ('Repeats', 'repeats'), ('Text', 'text'))
LONG = (('ID', 'id'), ('At', 'at', columns.Time), *SHORT, ('Recovery ID', 'recovery_id'))


class List(base.Lister):
    """List the journal, newest first: what an operator should know of the service's work."""

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--recovery', metavar='<recovery>',
                            help="only lines of this recovery: its id, or a host's name for the "
                                 'newest recovery of that host')
        parser.add_argument('--level', choices=('info', 'warning', 'error'),
                            help='only lines of this level')
        parser.add_argument('--host', metavar='<host>', help='only lines about this host')
        parser.add_argument('--kind', metavar='<kind>', help='only lines of this kind')
        base.add_list_options(parser, ('id',), default='id:desc')
        return parser

    def take_action(self, parsed_args):
        """Show them."""
        args = parsed_args
        recovery = None if args.recovery is None else base.recovery_id(self.vmha, args.recovery)
        rows = list(self.vmha.events(recovery_id=recovery, level=args.level, host=args.host,
                                     kind=args.kind, **base.list_options(args)))
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)
