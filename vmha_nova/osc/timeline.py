"""Pure: a recovery as a Gantt chart for a terminal, from the API's JSON.

One line an act (fence, force_down, …) and one an instance: its name, a bar from the call to Nova
to the end, the target, the state and, where it was not simply moved, the reason. What has a
longer reason than its line has room for goes on below.
"""

import collections
import dataclasses

from vmha_nova.osc import axis
from vmha_nova.osc import text

NARROWEST = 60                          # columns; a narrower terminal wraps
NAME, BAR = 12, 16                      # columns that a name and a bar have at least
UNDER_WAY = frozenset({'sending', 'unsure', 'accepted', 'settling'})

# What is drawn: name -> (character, the same in ASCII, what it means)
SIGNS = {
    'asked': ('░', '.', 'Nova is asked'),
    'rebuilt': ('█', '=', 'Nova rebuilds it'),
    'settled': ('▓', '+', 'its power state is put back'),
    'act': ('▒', '#', 'an act on a host'),
    'moved': ('●', '|', 'moved'),
    'failed': ('✗', 'x', 'failed, or a try that failed'),
    'gone': ('○', 'o', 'gone'),
    'going': ('▶', '>', 'under way'),
    'done': ('◆', '*', 'done'),
    'break': ('┆', ':', 'time in which nothing happened'),
}
RULER = {True: ('─', '┬', '≈'), False: ('-', '+', '~')}
CHARACTERS = ''.join([fancy for fancy, _, _ in SIGNS.values()] + list(RULER[True])) + '…'


@dataclasses.dataclass
class Row:
    """One line. ``spans``: (start, end, sign), times in seconds; ``mark``: (time, sign)."""

    name: str
    words: str
    reason: str = ''
    spans: tuple = ()
    mark: tuple | None = None

    def times(self):
        """First and last time of the bar, None: there is none."""
        found = [t for start, end, _ in self.spans for t in (start, end)]
        found += [self.mark[0]] if self.mark else []
        return (min(found), max(found)) if found else None


def draw(recovery, moves, now, width=80, fancy=True):
    """Return the lines.

    :param recovery: as GET /v1/recoveries/{id} has it, with its steps.
    :param moves: all of its moves.
    :param now: aware datetime.
    :param fancy: False: ASCII only.
    """
    width = max(width, NARROWEST)
    start = text.time(recovery['reported_at'])

    def since(value):
        """A time of the API in seconds since the report, None where there is none."""
        return None if not value else (text.time(value) - start).total_seconds()

    ended = since(recovery['ended_at'])
    end = (now - start).total_seconds() if ended is None else ended
    acts = [_act(step, since, end) for step in recovery['steps']]
    names = _names(moves)
    rows = [_move(move, names[move['id']], since, end) for move in moves]
    rows.sort(key=lambda row: (row.times() is None, row.times() or ()))     # stable: position
    chart = Chart([*acts, *rows], end, width, fancy)
    lines = _heading(recovery, moves, start, end, width)
    lines += ['', *chart.ruler()]
    for row in acts:
        lines += chart.lines(row)
    if acts and rows:
        lines.append('')
    for row in rows:
        lines += chart.lines(row)
    if not rows:
        lines += ['', 'No instance of it is known yet.' if ended is None else
                  'There was no instance to move.']
    return [line.rstrip() for line in lines + ['', *chart.legend()]]


def _heading(recovery, moves, start, end, width):
    over = recovery['ended_at'] is not None
    counts = collections.Counter(move['state'] for move in moves)
    # The reason of what is over begins with the tally.
    state = f'{recovery["state"]} {"in" if over else "after"} {text.duration(end)}'
    parts = [f'{recovery["host"]}: {state}', '' if over else text.tally(counts),
             recovery['reason']]
    times = f'Recovery {recovery["id"]}; 0 is {text.clock(start)}, when it was reported'
    if over:
        times += f'; it ended at {text.clock(text.time(recovery["ended_at"]))}'
    return [line for part in (', '.join(filter(None, map(text.clean, parts))), times)
            for line in text.wrap(part, width)]


def _act(step, since, end):
    """A row for a step; one after the end of the recovery has no bar, it may be days later."""
    at, over = since(step['at']), since(step['ended_at'])
    words = f'+{text.duration(at)} {step["subject"]} {step["state"]}'
    if over is not None and over - at >= 0.1:
        words += f' in {text.duration(over - at)}'
    row = Row(text.clean(step['kind']), text.clean(words), text.clean(step['detail']))
    if at > end:
        return row
    sign = {'failed': 'failed', 'intended': 'going'}.get(step['state'], 'done')
    over = min(end if over is None else over, end)
    return dataclasses.replace(row, spans=((at, over, 'act'),), mark=(over, sign))


def _names(moves):
    """Move id -> a name that no other move has."""
    names = {m['id']: text.clean(m['name']) or m['instance_id'] for m in moves}
    often = collections.Counter(names.values())
    return {m['id']: names[m['id']] if often[names[m['id']]] == 1
            else f'{names[m["id"]]} {m["instance_id"][:8]}' for m in moves}


def _move(move, name, since, end):
    state, target = move['state'], move['target']
    intent, accepted, landed, over = (
        since(move[f'{what}_at']) for what in ('intent', 'accepted', 'landed', 'ended'))
    words = f'{target} {state}' if target else state
    reason = move['reason'] or ('' if state == 'moved' else move['meaning'])
    if state == 'moved':
        reason = ''
        if None not in (intent, over):
            words += f' in {text.duration(over - intent)}'
    if move['attempts'] > 1:
        words += f' (attempt {move["attempts"]})'
    row = Row(name, text.clean(words), text.clean(reason))
    if intent is None:
        return row
    if state in UNDER_WAY:
        last, sign = end, 'going'
    elif state in ('moved', 'failed', 'gone') and over is not None:
        last, sign = over, state
    else:                               # all that is known of a try that came to nothing
        last, sign = accepted or intent, 'failed'
    points = [(intent, 'asked'), (accepted, 'rebuilt'), (landed, 'settled')]
    points = [(max(at, intent), kind) for at, kind in points if at is not None]
    ends = [at for at, _ in points[1:]] + [max(last, points[-1][0])]
    return dataclasses.replace(row, mark=(ends[-1], sign), spans=tuple(
        (at, stop, kind) for (at, kind), stop in zip(points, ends, strict=True) if stop > at))


class Chart:
    """Where things are on the lines."""

    def __init__(self, rows, end, width, fancy):
        self.fancy = fancy
        self.width = width
        self.dots = '…' if fancy else '..'
        self.name = min(max([NAME, *(text.width(r.name) for r in rows)]), max(NAME, width // 4))
        # What the rest of a line is to have room for: all but reasons, and of those a part.
        barred = [r for r in rows if r.times()]
        words = max((text.width(r.words) for r in barred), default=0)
        reason = max((text.width(r.reason) + 2 for r in barred if r.reason), default=0)
        room = width - self.name - 2
        self.bar = max(BAR, min(room - words, max(room - words - reason, room * 2 // 5)))
        self.rest = self.name + self.bar + 2
        spans = [(0.0, 0.0), (end, end), *(r.times() for r in barred)]
        self.axis = axis.Axis(spans, self.bar)
        self.used = {'break'} if self.axis.breaks() else set()

    def _sign(self, name):
        self.used.add(name)
        return SIGNS[name][0 if self.fancy else 1]

    def ruler(self):
        """The axis, as two lines."""
        line, tick, gap = RULER[self.fancy]
        labels, marks = [' '] * self.bar, [line] * self.bar
        for column, label in self.axis.ticks():
            labels[column:column + len(label)] = label
            marks[column] = tick
        for column in self.axis.breaks():
            marks[column] = gap
        return [' ' * (self.name + 1) + ''.join(part) for part in (labels, marks)]

    def _bar(self, row):
        cells = [' '] * self.bar
        for column in self.axis.breaks():
            cells[column] = self._sign('break')
        for start, end, sign in row.spans:
            for column in range(self.axis.column(start), self.axis.column(end) + 1):
                cells[column] = self._sign(sign)
        cells[self.axis.column(row.mark[0])] = self._sign(row.mark[1])
        return ''.join(cells)

    def lines(self, row):
        """The lines of a row: one, and more where its reason is long."""
        name = text.pad(text.cut(row.name, self.name, self.dots, middle=True), self.name)
        if row.times() is None:         # nothing to draw: the words take its place
            return self._below(name, text.wrap(
                f'{row.words}: {row.reason}' if row.reason else row.words,
                self.width - self.name - 1))
        room = self.width - self.rest
        words = f'{row.words}: {row.reason}' if row.reason else row.words
        first = f'{name} {self._bar(row)} '
        if text.width(words) <= room:
            return [first + words]
        if text.width(row.words) > room:
            first, rest = first.rstrip(), words
        else:
            first, rest = first + row.words, row.reason
        return [first, *self._below(' ' * self.name,
                                    text.wrap(rest, self.width - self.name - 3), '  ')]

    def _below(self, name, lines, indent=''):
        blank = ' ' * self.name
        return [f'{blank if number else name} {indent}{line}'
                for number, line in enumerate(lines)]

    def legend(self):
        """What the characters mean, of those that were drawn."""
        return text.wrap_parts([f'{SIGNS[name][0 if self.fancy else 1]} {SIGNS[name][2]}'
                                for name in SIGNS if name in self.used], self.width)
