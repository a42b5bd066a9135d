"""What the commands have in common: the client, options of lists, and what stderr is told."""

import argparse
import itertools

from osc_lib.command import command
from osc_lib import exceptions

from vmha_nova.osc import client
from vmha_nova.osc import text

STALE = 60.0                            # seconds after which what the engine knows is old


def notices(status, now):
    """What a user should know before believing what is shown, as (kind, sentence).

    :param status: as the API has it.
    """
    paused, engine, snapshot = status['paused'], status['engine'], status['snapshot']
    if paused['paused']:
        # In the words of the reports and recoveries that wait (states.paused).
        reason = f': {paused["reason"]}' if paused['reason'] else ''
        yield 'paused', (f'recoveries are paused by {paused["user"] or "an operator"}{reason} '
                         '(go on with "openstack vmha resume")')
    if engine is None or not engine['alive']:
        since = '' if engine is None or engine['renewed_at'] is None else (
            f' (the last sign of {engine["holder"]} is of '
            f'{text.clock(text.time(engine["renewed_at"]))})')
        yield 'engine', (f'no engine seems to run{since}: what is shown may be old, and nothing '
                         'is done; look at vmha-engine')
    if snapshot is None:
        yield 'snapshot', 'no engine has written down the cloud yet: its hosts are not known'
        return
    if engine is not None and engine['alive']:
        now = text.time(engine['renewed_at'])   # the service's own clock; ours may be wrong
    times = [text.time(snapshot[key]) for key in ('nodes_at', 'instances_at')]
    if None in times:
        yield 'snapshot', 'the engine has not read the cloud yet: what is shown may be short'
    elif (age := (now - min(times)).total_seconds()) > STALE:
        why = ''.join(f'; {problem}' for problem in snapshot['problems'][:3])
        yield 'snapshot', (f'what the engine knows of the cloud is {text.duration(age)} old: what '
                           f'is shown may have changed{why}')


def positive(value):
    """An argument that is a number from 1."""
    number = int(value) if value.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'{value!r} is no number from 1')
    return number


def add_list_options(parser, keys, marker='ID', default=''):
    """Add --limit, --marker, --sort and --long.

    :param keys: what the API sorts by.
    :param default: the order it has by itself, as a user would type it.
    """
    parser.add_argument('--limit', type=positive, metavar='<num>',
                        help='show at most so many')
    parser.add_argument('--marker', metavar=f'<{marker.lower()}>',
                        help=f'show what comes after this one ({marker}) in the order asked for')
    parser.add_argument(
        '--sort', metavar='<key>[:asc|:desc]', type=_sort_of(keys),
        help=f'the order: one of {", ".join(keys)} (default: {default or keys[0]})')
    parser.add_argument('--long', action='store_true', help='show more columns')


def _sort_of(keys):
    def sort(value):
        key, _, direction = value.partition(':')
        if key not in keys:
            raise argparse.ArgumentTypeError(f'{key!r} is none of {", ".join(keys)}')
        if direction not in ('', 'asc', 'desc'):
            raise argparse.ArgumentTypeError(f'{direction!r} is neither asc nor desc')
        return key, direction or 'asc'
    return sort


def list_options(args):
    """What add_list_options() has read, as a query of the client."""
    key, direction = args.sort or (None, None)
    return dict(limit=args.limit, marker=args.marker, sort_key=key, sort_dir=direction)


def add_host(parser):
    """Add the argument that names a compute node."""
    parser.add_argument('host', metavar='<host>',
                        help='as "openstack compute service list" names it')


def add_switch(parser, name, yes, no):
    """Add --name and --no-name; None where neither is given."""
    group = parser.add_mutually_exclusive_group()
    for flag, value, words in ((name, True, yes), (f'no-{name}', False, no)):
        group.add_argument(f'--{flag}', action='store_const', const=value, help=words, dest=name)


def first(found, limit):
    """The first so many of what is found, as a list; None: all."""
    return list(itertools.islice(found, limit))


class Common:
    """Of every command."""

    @property
    def vmha(self):
        """The client."""
        return self.app.client_manager.vmha

    def say(self, line):
        """Tell the user something beside the output."""
        line = text.clean(line)
        self.app.stderr.write(text.shown(line, getattr(self.app.stderr, 'encoding', None)) + '\n')

    def give_notice(self):
        """Say what makes that what is shown may be old; that this fails is no failure."""
        try:
            status = self.vmha.status()
        except client.ClientError:
            return
        for _, line in notices(status, text.now()):
            self.say(f'Note: {line}')


class Command(Common, command.Command):
    """Prints nothing when all is well."""


class Lister(Common, command.Lister):
    """A list."""


class ShowOne(Common, command.ShowOne):
    """One thing. ``status`` is what the program ends with."""

    status = 0

    def run(self, parsed_args):
        """Show it and return the status."""
        return super().run(parsed_args) or self.status


def recovery_id(vmha, wanted):
    """The id of a recovery, from itself or from its host's name: that is its newest one."""
    if is_id(wanted):
        return wanted
    found = vmha.newest_recovery(wanted)
    if found is None:
        raise exceptions.CommandError(
            f'{wanted} is no id of a recovery, and no host of that name has had one: see '
            '"openstack vmha recovery list"')
    return found['id']


def is_id(wanted):
    """Whether a text looks like an id of a recovery (a UUID)."""
    parts = [len(p) for p in wanted.split('-')]
    return parts == [8, 4, 4, 4, 12] and all(c in '0123456789abcdef-' for c in wanted.lower())
