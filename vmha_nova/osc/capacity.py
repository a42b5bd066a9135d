"""openstack vmha capacity show."""

from osc_lib import exceptions

from vmha_nova.osc import base
from vmha_nova.osc import columns
from vmha_nova.osc import text

SORT = ('host', 'instances', 'unplaced', 'unprotectable', 'storage_fill')
SHORT = (
    ('Host', 'host'), ('Fits', 'fits', columns.Flag), ('Instances', 'instances'),
    ('Placeable', 'placeable'), ('Unplaced', 'unplaced'), ('Unprotectable', 'unprotectable'),
    ('Storage Fill', 'storage_fill', columns.Share), ('Protection', 'protection'),
    ('Checked At', 'checked_at', columns.Time))
LONG = (*SHORT, ('Spares', 'spares', columns.Words), ('Protection Reason', 'protection_reason'))
INSTANCES = (
    ('Name', 'name'), ('Instance ID', 'instance_id'), ('Left', 'left', columns.Flag),
    ('Reason', 'reason'))


def summary(one):
    """What the death of a host would mean, in sentences."""
    instances = text.count(one['instances'], 'instance')
    parts = [f'{one["placeable"]} of {instances} would have a place']
    if one['unplaced']:
        parts.append(f'{one["unplaced"]} would wait')
    if one['unprotectable']:
        parts.append(f'{one["unprotectable"]} would be left alone')
    fits = {True: 'fits', False: 'does not fit', None: 'fits if the storage has room'}[one['fits']]
    yield f'{one["host"]} {fits}: {", ".join(parts)}'
    if one['fits'] is None:
        yield 'How full the storage would be without its disks is not known'
    elif one['storage_fill'] is not None:
        yield f'The storage would be {one["storage_fill"]:.0%} full without its disks'
    reason = f' ({one["protection_reason"]})' if one['protection_reason'] else ''
    yield f'Protection: {one["protection"]}{reason}'
    if one['spares']:
        yield f'Spares that would be taken: {", ".join(one["spares"])}'
    yield f'As of {text.clock(text.time(one["checked_at"]))}'


class Show(base.Lister):
    """Show whether the death of each host could be absorbed: room for its instances, storage.

    A host fits when none of its instances would wait for room and the storage does not fill up.
    With a host, the instances of it that would not be moved, each with the reason, and the sums
    on stderr.
    """

    def get_parser(self, prog_name):
        """Add the argument and the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('host', metavar='<host>', nargs='?',
                            help='as "openstack compute service list" names it (all hosts)')
        parser.add_argument('--unfit', action='store_true', help='only hosts that do not fit')
        base.add_list_options(parser, SORT, 'host')
        return parser

    def take_action(self, parsed_args):
        """Show all, or one."""
        args = parsed_args
        if args.host is not None:
            return self._one(args)
        rows = list(self.vmha.capacity(fits=False if args.unfit else None,
                                       **base.list_options(args)))
        self.give_notice()
        return columns.table(rows, LONG if args.long else SHORT)

    def _one(self, args):
        if args.unfit or args.limit or args.marker or args.sort:
            raise exceptions.CommandError(
                '--unfit, --limit, --marker and --sort are for the list of hosts: leave them out '
                f'to see {args.host}')
        found = self.vmha.capacity_of(args.host)
        for line in summary(found):
            self.say(line)
        self.give_notice()
        return columns.table(found['problems'], INSTANCES)
