"""openstack vmha load list."""

from vmha_nova.osc import base
from vmha_nova.osc import columns

SORT = ('host', 'zone', 'load', 'instances')
SHORT = (
    ('Host', 'host'), ('Zone', 'zone'), ('Up', 'up', columns.Flag),
    ('Enabled', 'enabled', columns.Flag), ('Spare', 'spare', columns.Flag),
    ('Instances', 'instances'), ('VCPUs Used', 'vcpus_used'), ('VCPUs', 'vcpus'),
    ('Memory MB Used', 'memory_mb_used'), ('Memory MB', 'memory_mb'),
    ('CPU Share', 'cpu_share', columns.Share), ('Load', 'load', columns.Share))
LONG = (*SHORT, ('Disk GB Used', 'disk_gb_used'), ('Disk GB', 'disk_gb'),
        ('CPU Share At', 'cpu_share_at', columns.Time))


class List(base.Lister):
    """List how loaded each compute node is, by Nova, Placement and what was measured last.

    Amounts contain allocation ratios. CPU Share is measured (from Nova's metrics), Load is the
    share in use that targets are chosen by.
    """

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        base.add_switch(parser, 'spare', 'only spare nodes', 'only nodes that are no spares')
        parser.add_argument('--zone', metavar='<zone>', help='only hosts of this zone')
        base.add_list_options(parser, SORT, 'host')
        return parser

    def take_action(self, parsed_args):
        """Show them."""
        args = parsed_args
        rows = list(self.vmha.load(zone=args.zone, spare=args.spare, **base.list_options(args)))
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)
