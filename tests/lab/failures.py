"""The table of what fails: rows that tests append to a file, and the table in the documents."""

import dataclasses
import json
import os
import pathlib

#: Names the file that rows are appended to; without it they are kept nowhere.
VARIABLE = 'VMHA_FAILURES'
_HEAD = ('what happened', 'verdict', 'after', 'what was done', 'the guest')


@dataclasses.dataclass(frozen=True)
class Row:
    """One failure on the lab.

    :ivar after: seconds until the verdict; None where it did not change
    :ivar guest: what became of the guest, in words
    """

    what: str
    verdict: str
    after: float | None
    done: str
    guest: str


def append(row):
    """Add a row to the file that the environment names; it takes the place of an older one."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    path = pathlib.Path(path)
    rows = [one for one in (load(path) if path.exists() else []) if one.what != row.what]
    path.write_text(json.dumps([dataclasses.asdict(one) for one in [*rows, row]], indent=1) + '\n',
                    encoding='utf-8')


def load(path):
    """The Rows of a file."""
    return [Row(**one) for one in json.loads(pathlib.Path(path).read_text(encoding='utf-8'))]


def table(rows):
    """The rows as a table in reStructuredText."""
    lines = ['.. Made by "python -m tests.lab table" of what a run of the tests has shown.', '',
             '.. list-table::', '   :header-rows: 1', '   :widths: 26 14 8 30 22', '']
    for cells in (_HEAD, *map(_cells, rows)):
        lines += [f'   {"*" if number == 0 else " "} - {cell}'.rstrip()
                  for number, cell in enumerate(cells)]
    return '\n'.join(lines) + '\n'


def _cells(row):
    after = '' if row.after is None else f'{row.after:.1f} s'
    return row.what, row.verdict, after, row.done, row.guest
