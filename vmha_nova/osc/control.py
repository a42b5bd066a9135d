"""openstack vmha pause, resume, status."""

from vmha_nova.osc import base
from vmha_nova.osc import columns
from vmha_nova.osc import text


class Pause(base.ShowOne):
    """Let no new recovery begin, until resume; what is under way goes on.

    For work that makes hosts look dead, of the network for instance. Reports are still taken,
    and wait.
    """

    def get_parser(self, prog_name):
        """Add the option."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--reason', metavar='<text>', default='',
                            help='why, for others to read: it is shown wherever something waits')
        return parser

    def take_action(self, parsed_args):
        """Pause."""
        return columns.fields(self.vmha.pause(parsed_args.reason))


class Resume(base.ShowOne):
    """Let recoveries begin again; reports that waited are taken up."""

    def take_action(self, parsed_args):
        """Resume."""
        return columns.fields(self.vmha.resume())


class Status(base.ShowOne):
    """Show whether the service works: its engine, its view of the cloud, the pause, the fence."""

    def take_action(self, parsed_args):
        """Show it."""
        status = self.vmha.status()
        for _, line in base.notices(status, text.now()):
            self.say(f'Note: {line}')
        flat = dict(version=status['version'], fence=status['fence'])
        for name in ('paused', 'engine', 'snapshot'):
            for key, value in (status[name] or {}).items():
                flat[name if key == name else f'{name}_{key}'] = value
        return columns.fields(flat, snapshot_problems=columns.Lines)
