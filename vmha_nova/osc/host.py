"""openstack vmha host list, show, set."""

from osc_lib import exceptions

from vmha_nova.osc import base
from vmha_nova.osc import columns
from vmha_nova.osc import text

SORT = ('host', 'zone', 'up', 'enabled', 'instances', 'load')
SHORT = (
    ('Host', 'host'), ('Zone', 'zone'), ('Up', 'up', columns.Flag),
    ('Enabled', 'enabled', columns.Flag), ('Spare', 'spare', columns.Flag),
    ('Maintenance', 'maintenance', columns.Flag), ('Instances', 'instances'),
    ('Load', 'load', columns.Share), ('Protection', 'protection', columns.Known),
    ('Unprotected', 'unprotected_instances', columns.Known), ('Fits', 'fits', columns.Flag))
LONG = (
    *SHORT, ('Pool', 'pool'), ('Backend', 'backend'), ('Address', 'address'),
    ('CPU Share', 'cpu_share', columns.Share), ('Parked', 'parked', columns.Flag),
    ('Forced Down', 'forced_down', columns.Flag), ('Disabled Reason', 'disabled_reason'),
    ('Maintenance Until', 'maintenance_until', columns.Time),
    ('Recovery State', 'recovery_state'), ('Recovery ID', 'recovery_id'),
    ('Protection Reason', 'protection_reason'))


def unprotected(host):
    """Whether something on a host is not protected, or nobody knows whether it is."""
    return host['protection'] in (None, 'none') or host['unprotected_instances'] != 0


class List(base.Lister):
    """List compute nodes: how loaded each is, how it is protected, and what it is marked as.

    Protection says what keeps a dead host from writing (power: it is switched off; storage: its
    fence there; word: only an operator's word that it is off; none), Fits whether its death could
    be absorbed now.
    """

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        base.add_switch(parser, 'spare', 'only spare nodes', 'only nodes that are no spares')
        parser.add_argument('--zone', metavar='<zone>', help='only hosts of this zone')
        parser.add_argument('--pool', metavar='<pool>', help='only hosts of this spare pool')
        parser.add_argument('--maintenance', action='store_const', const=True,
                            help='only hosts in maintenance, which are left alone')
        parser.add_argument('--unprotected', action='store_true',
                            help='only hosts that nothing would fence, or with instances that '
                                 'would find no place or be left alone, or not known to have none')
        base.add_list_options(parser, SORT, 'host')
        return parser

    def take_action(self, parsed_args):
        """Show them."""
        args, query = parsed_args, base.list_options(parsed_args)
        if args.unprotected:            # the API has no such filter: it is counted here
            query['limit'] = None
        found = self.vmha.hosts(zone=args.zone, pool=args.pool, spare=args.spare,
                                maintenance=args.maintenance, **query)
        if args.unprotected:
            found = filter(unprotected, found)
        rows = base.first(found, args.limit)
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)


class Show(base.ShowOne):
    """Show a compute node: how it is, how it is protected and why, what it is marked as."""

    def get_parser(self, prog_name):
        """Add the argument."""
        parser = super().get_parser(prog_name)
        base.add_host(parser)
        return parser

    def take_action(self, parsed_args):
        """Show it."""
        host = self.vmha.host(parsed_args.host)
        self.give_notice()
        return columns.fields(
            host, load=columns.Share, cpu_share=columns.Share, protection=columns.Known,
            unprotected_instances=columns.Known, fits=columns.Flag)


class Set(base.Command):
    """Mark a compute node: as a spare, of a pool, in maintenance, where it keeps disks."""

    def get_parser(self, prog_name):
        """Add the argument and the options."""
        parser = super().get_parser(prog_name)
        base.add_host(parser)
        base.add_switch(
            parser, 'spare', 'keep it free for recoveries: scheduling is off until one needs it',
            'it is an ordinary node: scheduling is turned on again')
        parser.add_argument('--pool', metavar='<pool>',
                            help="the spare pool: spares serve the hosts of their own; '' for "
                                 'none')
        base.add_switch(parser, 'maintenance',
                        'leave it alone, whatever is reported of it, and move nothing there',
                        'it is watched over again')
        parser.add_argument(
            '--until', metavar='<time>',
            help='when maintenance ends by itself: +30m, +2h, +1d from now, an ISO time (UTC '
                 f'where it says nothing else), or "{text.NEVER}"; only with --maintenance')
        parser.add_argument(
            '--backend', metavar='<backend>',
            help="where its nova-compute keeps disks: rbd:POOL or local; '' for what is seen "
                 'of it')
        return parser

    def take_action(self, parsed_args):
        """Send what is to be changed."""
        values = {key: getattr(parsed_args, key)
                  for key in ('spare', 'pool', 'maintenance', 'backend')
                  if getattr(parsed_args, key) is not None}
        if parsed_args.until is not None:
            if not parsed_args.maintenance:
                raise exceptions.CommandError(
                    '--until is when maintenance ends: give --maintenance with it')
            try:
                values['maintenance_until'] = text.until(parsed_args.until, text.now())
            except ValueError as e:
                raise exceptions.CommandError(f'--until: {e}') from e
        if not values:
            raise exceptions.CommandError(
                'nothing to set: give --spare, --no-spare, --pool, --maintenance, '
                '--no-maintenance or --backend')
        self.vmha.set_host(parsed_args.host, **values)
