"""Rows as JSON text, a column at a time.

A page has a thousand rows. To make objects of them, with datetimes in them, and text of those
again, takes longer than all else that is done for a page; so each column goes in one step from
what the driver gives to what is shown. That is what vmha_nova.views shows of the same rows, which
the tests make sure of.
"""

import json
import typing

import sqlalchemy as sa

NULL = 'null'
_quote = json.encoder.encode_basestring_ascii
_FLAGS = {False: 'false', True: 'true', None: NULL}     # finds 0 and 1 too


# -- from the values of a column, as the driver gives them, to JSON texts ------------------------
def text(values):
    """Of strings."""
    if None in values:
        return [NULL if v is None else _quote(v) for v in values]
    return map(_quote, values)


def number(values):
    """Of integers and floats; null for what is no number."""
    return [NULL if 'n' in digits else digits for digits in map(repr, values)]  # None, nan, inf


def flag(values):
    """Of booleans."""
    return map(_FLAGS.__getitem__, values)


def time(values):
    """Of naive UTC times: SQLite gives text, with six digits for microseconds, others datetimes.
    """
    return [NULL if v is None else f'"{v[:10]}T{v[11:]}+00:00"' if isinstance(v, str)
            else f'"{v.isoformat(timespec="microseconds")}+00:00"' for v in values]


def document(values):
    """Of JSON."""
    return [NULL if v is None else v for v in values]


def member(default):
    """Of a member of a JSON object; ``default``: JSON for where there is none, or null."""
    return lambda values: [default if v in (None, NULL) else v for v in values]


def flag_member(values):
    """The same of a boolean, which SQLite makes 0 or 1; false where there is none."""
    return ['true' if v in ('true', '1') else 'false' for v in values]


def word(table):
    """Of a state: what it means, by one of the tables of vmha_nova.states."""
    texts = {state: _quote(meaning) for state, meaning in table.items()}
    return lambda values: [texts.get(v, '""') for v in values]      # of a newer version


# -- from rows to pages --------------------------------------------------------------------------
class Page(typing.NamedTuple):
    """Entries of a list as JSON texts, and their ids."""

    texts: list
    idents: list


class Shape:
    """What an entry of a list looks like: member -> (column, function above).

    :param ident: the member whose column tells entries apart
    """

    def __init__(self, ident, **members):
        self._members = members
        self.at = list(members).index(ident)
        # As the driver gives them: SQLAlchemy makes nothing of their types. JSON is asked for as
        # text, because there are drivers that take it apart.
        self.columns = [sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON)
                        else sa.type_coerce(column, sa.types.NullType())
                        for column, _ in members.values()]

    def page(self, rows, **more):
        """A Page of rows of the columns.

        :param more: further members: JSON texts by ident
        """
        if not rows:
            return Page([], [])
        columns = list(zip(*rows, strict=True))
        idents = columns[self.at]
        shown = [encode(values) for (_, encode), values in zip(
            self._members.values(), columns, strict=True)]
        shown += [map(texts.__getitem__, idents) for texts in more.values()]
        form = '{' + ','.join(f'"{name}":%s' for name in (*self._members, *more)) + '}'
        return Page(list(map(form.__mod__, zip(*shown, strict=True))), list(idents))
