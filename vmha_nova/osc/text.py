"""Pure: times and texts as a terminal shows them, and as a user types them.

Widths are columns of a terminal: a Chinese character takes two, a combining one none.
"""

import datetime
import re
import unicodedata

UNITS = (('d', 86400), ('h', 3600), ('m', 60), ('s', 1))
RELATIVE = re.compile(r'\+(?=\d)' + ''.join(rf'(?:(\d+){unit})?' for unit, _ in UNITS) + '$')
NEVER = 'never'


def now():
    """The time, aware UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def time(value):
    """An ISO text of the API as an aware datetime, None where there is none."""
    return None if not value else datetime.datetime.fromisoformat(value)


def clock(value):
    """A datetime as a user reads it: 2026-03-01 12:00:00Z."""
    return f'{value.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%SZ}'


def duration(seconds):
    """Seconds as a short text: 3.2s, 42s, 1m02s, 2h03m, 3d04h."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f'{seconds:.1f}s'
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds}s'
    if seconds < 3600:
        return f'{seconds // 60}m{seconds % 60:02}s'
    if seconds < 86400:
        return f'{seconds // 3600}h{seconds % 3600 // 60:02}m'
    return f'{seconds // 86400}d{seconds % 86400 // 3600:02}h'


def until(value, at):
    """What a user types for a time to come, as the API wants it.

    ``+1d``, ``+2h``, ``+1h30m`` are counted from ``at``; ISO 8601 without an offset is UTC, as all
    times shown are; ``never`` is None. Raises ValueError.
    """
    if value == NEVER:
        return None
    if match := RELATIVE.match(value):
        seconds = sum(int(n) * unit for n, (_, unit) in zip(match.groups(), UNITS, strict=True)
                      if n)
        try:
            return (at + datetime.timedelta(seconds=seconds)).isoformat(timespec='seconds')
        except OverflowError as e:
            raise ValueError(f'{value} is too far away') from e
    try:
        when = datetime.datetime.fromisoformat(value)
    except ValueError as e:
        raise ValueError(f'{value!r} is no time: say +30m, +2h or +1d from now, '
                         f'2026-03-01T18:00Z, or "{NEVER}"') from e
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    return when.isoformat(timespec='seconds')


def count(number, noun):
    """'1 host', '2 hosts'."""
    return f'{number} {noun}' + ('' if number == 1 else 's')


def tally(counts):
    """{'moved': 18, 'failed': 2} as '18 moved, 2 failed'; the most first."""
    return ', '.join(f'{n} {what}' for what, n in sorted(
        counts.items(), key=lambda item: (-item[1], item[0])) if n)


# -- fitting into a width -----------------------------------------------------------------------
def clean(value):
    """A text on one line without anything a terminal would obey."""
    return ''.join(c if c.isprintable() else '?' for c in ' '.join(str(value).split()))


def _columns(char):
    if unicodedata.combining(char) or unicodedata.category(char) in ('Cf', 'Me', 'Mn'):
        return 0
    return 2 if unicodedata.east_asian_width(char) in 'WF' else 1


def width(value):
    """How many columns a text takes."""
    return len(value) if value.isascii() else sum(map(_columns, value))


def _head(value, room):
    used = 0
    for number, char in enumerate(value):
        used += _columns(char)
        if used > room:
            return value[:number]
    return value


def cut(value, room, dots='…', middle=False):
    """A text cut to ``room`` columns; ``middle``: its end is kept, it tells names apart."""
    if width(value) <= room:
        return value
    room = max(room - len(dots), 0)
    if not middle:
        return _head(value, room) + dots
    tail = _head(value[::-1], room // 2)[::-1]
    return _head(value, room - width(tail)) + dots + tail


def pad(value, room):
    """A text filled up with blanks to ``room`` columns."""
    return value + ' ' * (room - width(value))


def wrap(value, room):
    """A text as lines of at most ``room`` columns, broken at blanks where that is possible."""
    lines, line = [], ''
    for word in value.split():
        while line and width(line) + 1 + width(word) > room:
            lines.append(line)
            line = ''
        line = f'{line} {word}' if line else word
        while width(line) > room:
            head = _head(line, room) or line[0]
            lines.append(head)
            line = line[len(head):]
    return [*lines, line] if line else lines


def wrap_parts(parts, room, between='   '):
    """Texts that are not to be broken, as lines of at most ``room`` columns."""
    lines = []
    for part in parts:
        if lines and width(lines[-1]) + len(between) + width(part) <= room:
            lines[-1] += between + part
        else:
            lines.append(part)
    return lines


def encodable(value, encoding):
    """Whether an output of this encoding (None: unknown) can show the text."""
    try:
        value.encode(encoding or 'ascii')
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def shown(value, encoding):
    """The text with ? for what the encoding lacks."""
    if encodable(value, encoding):
        return value
    try:
        return value.encode(encoding or 'ascii', 'replace').decode(encoding or 'ascii')
    except LookupError:
        return value.encode('ascii', 'replace').decode('ascii')
