"""openstack vmha move list."""

from vmha_nova.osc import base
from vmha_nova.osc import columns

SORT = ('position', 'name', 'state', 'priority', 'target')
STATES = ('waiting', 'unplaced', 'sending', 'unsure', 'accepted', 'settling', 'moved', 'left',
          'gone', 'failed')
SHORT = (
    ('Name', 'name'), ('Instance ID', 'instance_id'), ('Was', 'was'), ('Target', 'target'),
    ('State', 'state'), ('Attempts', 'attempts'), ('Reason', 'reason'))
LONG = (
    ('ID', 'id'), ('Position', 'position'), *SHORT, ('Project ID', 'project_id'),
    ('Priority', 'priority'), ('Faults', 'faults'), ('Tried', 'tried', columns.Words),
    ('Intent At', 'intent_at', columns.Time), ('Accepted At', 'accepted_at', columns.Time),
    ('Landed At', 'landed_at', columns.Time), ('Ended At', 'ended_at', columns.Time),
    ('Not Before', 'not_before', columns.Time))


class List(base.Lister):
    """List the moves of a recovery: for each instance of its host, where it goes or why not."""

    def get_parser(self, prog_name):
        """Add the argument and the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('recovery', metavar='<recovery>',
                            help="its id, or a host's name for the newest recovery of that host")
        parser.add_argument('--state', choices=STATES, help='only moves in this state')
        parser.add_argument('--target', metavar='<host>', help='only moves to this host')
        base.add_list_options(parser, SORT)
        return parser

    def take_action(self, parsed_args):
        """Show them."""
        args = parsed_args
        ident = base.recovery_id(self.vmha, args.recovery)
        rows = list(self.vmha.moves(ident, state=args.state, target=args.target,
                                    **base.list_options(args)))
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)
