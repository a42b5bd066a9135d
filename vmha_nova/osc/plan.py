"""openstack vmha plan show."""

import collections

from vmha_nova.osc import base
from vmha_nova.osc import columns
from vmha_nova.osc import text

SHORT = (
    ('Name', 'name'), ('Instance ID', 'instance_id'), ('Priority', 'priority'),
    ('Target', 'target'), ('Left', 'left', columns.Flag), ('Reason', 'reason'))
LONG = (*SHORT, ('Project ID', 'project_id'))


def summary(plan):
    """The plan in sentences: for each host what goes where, and what stands in the way."""
    for host in plan['hosts']:
        mine = [p for p in plan['placements'] if p['host'] == host]
        parts = [f'{n} to {target}' for target, n in sorted(collections.Counter(
            p['target'] for p in mine if p['target']).items())]
        left = sum(p['left'] for p in mine)
        none = sum(not p['target'] and not p['left'] for p in mine)
        parts += [f'{none} without a place'] * bool(none) + [f'{left} left alone'] * bool(left)
        yield f'{host}: {", ".join(parts) or "nothing to move"}'
        if plan['holds'].get(host):
            yield f'{host}: {plan["holds"][host]}'
    if plan['spares']:
        yield f'Spares that would be taken: {", ".join(plan["spares"])}'
    for problem in plan['problems']:
        yield f'Not known: {problem}'
    yield f'As of {text.clock(text.time(plan["snapshot_at"]))}'


class Show(base.Lister):
    """Show what would be done if hosts died now: each instance's target, or why it has none.

    Nothing is done. The sums, and what the recovery would be held for, go to stderr. What is
    left alone by policy is no lack of room.
    """

    def get_parser(self, prog_name):
        """Add the options."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--host', metavar='<host>', action='append', nargs='+', required=True,
                            help='that would die, as "openstack compute service list" names it; '
                                 'several die together')
        parser.add_argument('--long', action='store_true', help='show more columns')
        return parser

    def take_action(self, parsed_args):
        """Ask for the plan."""
        hosts = list(dict.fromkeys(host for some in parsed_args.host for host in some))
        plan = self.vmha.plan(hosts)
        for line in summary(plan):
            self.say(line)
        self.give_notice()
        layout = LONG if parsed_args.long else SHORT
        if len(hosts) > 1:
            layout = (('Host', 'host'), *layout)
        return columns.table(plan['placements'], layout)
