"""Values of the API as columns: readable in a table, themselves in JSON."""

import functools
import json

from cliff import columns

from vmha_nova.osc import text


@functools.total_ordering
class Cell(columns.FormattableColumn):
    """Any value; null is empty."""

    missing = ''

    def human_readable(self):
        """The value for a table."""
        return self.missing if self._value is None else self.words(self._value)

    def words(self, value):
        """A value that is not null, for a table."""
        return str(value)

    # For --sort-column: what is not known comes last, also next to values that need no Cell.
    def _order(self):
        return self._value is None, 0 if self._value is None else self._value

    def __eq__(self, other):
        return self._order() == _order(other)

    def __lt__(self, other):
        return self._order() < _order(other)

    __hash__ = None


def _order(value):
    return value._order() if isinstance(value, Cell) else (value is None, value)


class Text(Cell):
    """A text with more in it than what is printed: of a guest's fault, perhaps."""

    def words(self, value):
        """Its lines, without anything a terminal would obey."""
        return '\n'.join(map(text.clean, value.splitlines()))


class Known(Cell):
    """A value whose absence is worth a word."""

    missing = 'unknown'


class Flag(Known):
    """A bool."""

    def words(self, value):
        """Yes or no."""
        return 'yes' if value else 'no'


class Time(Cell):
    """An ISO time."""

    def words(self, value):
        """The time in UTC, to the second."""
        return text.clock(text.time(value))


class Share(Cell):
    """A fraction, 1.0 being all of it."""

    def words(self, value):
        """Per cent."""
        return f'{value:.0%}'


class Counts(Cell):
    """A dict of numbers."""

    def words(self, value):
        """The numbers and what they count."""
        return text.tally(value)


class Words(Cell):
    """A list."""

    def words(self, value):
        """The members, joined."""
        return ', '.join(map(str, value))


class Pairs(Cell):
    """A dict of anything."""

    def words(self, value):
        """A line for each pair."""
        return '\n'.join(f'{k}: {v if isinstance(v, str) else json.dumps(v)}'
                         for k, v in value.items())


class Acts(Cell):
    """The steps of a recovery."""

    def words(self, value):
        """A line for each step."""
        return '\n'.join(
            f'{text.clock(text.time(step["at"]))} {step["kind"]} {step["subject"]}: '
            f'{step["state"]}' + (f' ({step["detail"]})' if step['detail'] else '')
            for step in value)


class Journal(Cell):
    """Lines of the journal."""

    def words(self, value):
        """When, and what."""
        return '\n'.join(f'{text.clock(text.time(line["at"]))} {text.clean(line["text"])}'
                         for line in value)


class Lines(Cell):
    """A list of sentences."""

    def words(self, value):
        """A line for each."""
        return '\n'.join(map(str, value))


def cell(value, kind=None):
    """A value as a column; what a table can show as it is stays so: numbers are aligned then."""
    if kind is None and isinstance(value, str) and not value.isprintable():
        kind = Text
    if kind is None and value is not None:
        return value
    return (kind or Cell)(value)


def table(rows, layout):
    """Rows (dicts) as cliff wants a list; ``layout``: (title, key[, kind of Cell]), …."""
    return ([title for title, *_ in layout],
            [[cell(row.get(key), *kind) for _, key, *kind in layout] for row in rows])


def fields(row, **kinds):
    """A dict as cliff wants one thing; ``kinds``: key -> kind of Cell, where it does not show."""
    return tuple(row), tuple(cell(value, kinds.get(key) or _kind(key, value))
                             for key, value in row.items())


def _kind(key, value):
    if key.endswith(('_at', '_until')) or key == 'at':
        return Time
    for types, kind in ((bool, Flag), (dict, Pairs), (list, Words)):
        if isinstance(value, types):
            return kind
    return None
