"""What a person sees: aligned tables, lines with relative times, and a live table."""

import dataclasses
import datetime
import pathlib
import shlex
import shutil
import sys
import textwrap

from tests.lab import vmha
from tests.lab.watch import natural
from vmha_nova import states

_INDENT = '  '
_COLOURS = {'waiting': 'dim', 'unplaced': 'magenta', 'sending': 'yellow', 'unsure': 'magenta',
            'accepted': 'yellow', 'settling': 'cyan', 'moved': 'green', 'left': 'dim',
            'gone': 'dim', 'failed': 'bold red'}


def sentences(text, stream):
    """Print a paragraph, wrapped."""
    print(textwrap.fill(' '.join(text.split()), 79, initial_indent=_INDENT,
                        subsequent_indent=_INDENT), file=stream, flush=True)


def table(titles, rows, stream):
    """Print rows (sequences of values) aligned under their titles; None prints as nothing."""
    cells = [[str(t) for t in titles]] + [
        ['' if value is None else f'{value:.1f}' if isinstance(value, float) else str(value)
         for value in row] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(titles))]
    for line in cells:
        print((_INDENT + '  '.join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True))).rstrip(),
            file=stream)
    stream.flush()


def few(names):
    """'vm-1, vm-2' or, of those that follow each other, 'vm-3 ... vm-18'."""
    runs = []
    for name in sorted(names, key=natural):
        stem, number = natural(name)
        if runs and number and natural(runs[-1][-1]) == (stem, number - 1):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ', '.join(', '.join(run) if len(run) < 3 else f'{run[0]} ... {run[-1]}'
                     for run in runs)


class Plain:
    """A line for each change. ``start``: aware datetime that the times count from."""

    def __init__(self, start, stream):
        self.start, self.stream = start, stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def changes(self, changes):
        """Print changes; the moves that got a target together are one line."""
        for change in merged(changes):
            print(line(change, self.start), file=self.stream, flush=True)

    def draw(self, rows):
        """Nothing to draw."""


class Live:
    """A table of the moves that changes in place; everything else scrolls by above it."""

    def __init__(self, start, stream):
        # Only here: without a terminal, rich is not needed.
        from rich import console
        from rich import live
        self.start = start
        self._console = console.Console(file=stream, highlight=False, soft_wrap=False)
        self._rows = None
        self._live = live.Live(console=self._console, get_renderable=self._render,
                               refresh_per_second=4, transient=True)

    def __enter__(self):
        self._live.__enter__()
        return self

    def __exit__(self, *error):
        self._live.__exit__(*error)

    def changes(self, changes):
        """Print what is not a move: those are in the table."""
        for change in changes:
            if change.kind != 'move':
                self._console.print(line(change, self.start), markup=False, no_wrap=True,
                                    overflow='ellipsis')

    def draw(self, rows):
        """Show these Rows from now on."""
        self._rows = rows

    def _render(self):
        from rich import box
        from rich import table as tables
        now = datetime.datetime.now(datetime.timezone.utc)
        rows = self._rows
        shown = tables.Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True,
                             title_justify='left', title_style='bold')
        shown.title = f'{seconds(now, self.start):.0f} s: {where(rows)}'
        if rows is None or not rows.moves:
            return shown
        for name in ('instance', 'priority', 'was', 'target', 'state', 'took', 'reason'):
            shown.add_column(name, no_wrap=True, overflow='ellipsis',
                             ratio=1 if name == 'reason' else None,
                             justify='right' if name in ('priority', 'took') else 'left')
        fits = max(3, shutil.get_terminal_size().lines - 6)
        for move in fitting(rows.moves, fits):
            shown.add_row(move.name, str(move.priority), move.was, move.target,
                          f'[{_COLOURS[move.state]}]{move.state}[/]', took(move, now),
                          move.reason.replace('[', r'\['))
        return shown


def merged(changes):
    """The changes, those to 'waiting' with the same words put together."""
    together, found = {}, []
    for change in changes:
        if (change.kind, change.state) != ('move', 'waiting'):
            found.append(change)
        elif change.text in together:
            together[change.text].append(change.subject)
        else:
            together[change.text] = [change.subject]
            found.append(change)
    return [dataclasses.replace(change, subject=f'{len(names)} servers')
            if change.state == 'waiting' and len(names := together[change.text]) > 1 else change
            for change in found]


def line(change, start):
    """A change as one line."""
    since = max(0.0, seconds(change.at, start))
    kind = 'server' if change.kind == 'move' else change.kind
    return (f'{_INDENT}+{since:5.1f} s  {kind:<8}  {change.subject:<10}  {change.state:<12}  '
            f'{change.text}').rstrip()


def where(rows):
    """Where things stand, in one line."""
    if rows is None or rows.report is None:
        return 'the report is under way'
    if rows.recovery is None:
        return f'report {rows.report.state}, {rows.report.detail}'
    return f'{rows.recovery.state}; {rows.tally() or rows.recovery.reason}'


def fitting(moves, most):
    """As many moves as fit; those that are done are the first that are not shown."""
    spare = len(moves) - most
    shown = []
    for move in moves:
        if spare > 0 and move.state in states.MOVE_FINAL - {'failed'}:
            spare -= 1
        else:
            shown.append(move)
    return shown[:most]


def took(move, now):
    """Seconds since Nova was asked to evacuate, or how many it took."""
    if move.intent_at is None:
        return ''
    return f'{seconds(move.ended_at or now, move.intent_at):.1f} s'


def seconds(later, earlier):
    """Seconds between two times."""
    return (later - earlier).total_seconds()


def how_to_use(service, dead, stream):
    """Print commands for a cloud that goes on running; ``dead``: the host that was killed."""
    lab = service.lab
    folder, conf = shlex.quote(str(lab.dir)), shlex.quote(str(service.conf_file))
    python = f'PYTHONPATH={shlex.quote(str(vmha.ROOT))} {shlex.quote(sys.executable)} -P -m'
    installed = pathlib.Path(sys.executable).with_name('vmha-manage')
    manage = shlex.quote(str(installed)) if installed.exists() else (
        f'{python} vmha_nova.cmd.manage')
    print(f'''
  The cloud and {vmha.ENGINE} go on running (--keep). In a shell:

  lab() {{ {python} tests.lab "$@" --dir {folder}; }}
  vmha-manage() {{ {manage} --config-file {conf} "$@"; }}
  openstack() {{ {shlex.quote(str(lab.state.venv / 'bin' / 'openstack'))} "$@"; }}
  eval "$(lab env)"

  openstack compute service list
  openstack server list --all-projects --long
  vmha-manage recovery list
  vmha-manage load list
  # the same, and more, by "openstack vmha ...": see "The REST API" in tests/lab/README.rst

  lab bring-back {dead}  # the dead host comes back
  lab kill-host compute2  # another one dies,
  vmha-manage failure report compute2  # and is reported

  ls {shlex.quote(str(lab.log))}
  lab down --wipe  # the end
''', file=stream, flush=True)
