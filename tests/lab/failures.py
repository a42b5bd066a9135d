"""The tables in the documents: of what fails, how fast that is found, and what many hosts cost.

The first is made of rows that tests append to a file, others of reports of `bench_detection` and
`bench_scale`, those of faults in a recovery of cases: see `fault_tables`.
"""

import dataclasses
import json
import os
import pathlib

from tests.lab import bench_scale
from tests.lab import cases

#: Names the file that rows are appended to; without it they are kept nowhere.
VARIABLE = 'VMHA_FAILURES'
_KINDS = {'refused': 'its processes are killed; its network card refuses connections',
          'silent_power': 'it loses its power: nothing answers',
          'silent_cable': 'its cables are pulled: it and its guests run on'}
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
    rows = {one.what: one for one in (load(path) if path.exists() else [])}
    rows[row.what] = row
    path.write_text(json.dumps([dataclasses.asdict(one) for one in rows.values()], indent=1)
                    + '\n', encoding='utf-8')


def load(path):
    """The Rows of a file."""
    return [Row(**one) for one in json.loads(pathlib.Path(path).read_text(encoding='utf-8'))]


def text(path):
    """The table of a file, or of a folder of cases, whichever it is, in reStructuredText."""
    path = pathlib.Path(path)
    found = cases.Cases(path).all() if path.is_dir() else json.loads(
        path.read_text(encoding='utf-8'))
    if isinstance(found, dict):
        return sizes(found) if 'clouds' in found else speeds(found)
    if 'fault' not in found[0]:
        return table(load(path))
    from tests.lab import fault_tables      # which needs more than the lab itself does
    if 'call' in found[0]:
        return _table((16, 12, 24, 12, 26, 10), *fault_tables.calls(found))
    return _table((30, 10, 10, 10, 10, 10, 10, 10), *fault_tables.summary(found)) + (
        '\n' + _table((20, 22, 34, 6, 6, 12), *fault_tables.moments(found)))


def gathered(folder):
    """The cases of a folder as one file."""
    return json.dumps(cases.Cases(folder).all(), indent=1, ensure_ascii=False) + '\n'


def table(rows):
    """The Rows as a table."""
    return _table((26, 14, 8, 30, 22), _HEAD, [
        (row.what, row.verdict, '' if row.after is None else f'{row.after:.1f} s', row.done,
         row.guest) for row in rows])


def speeds(report):
    """Median and maximum of each kind of failure."""
    rows = [(_KINDS[kind], *(f'{report[figure][kind][which]:.1f}'
                             for figure in ('detect_s', 'outage_s')
                             for which in ('median', 'max')))
            for kind in report['detect_s']]
    return _table((40, 15, 15, 15, 15), (
        f'seconds, {len(next(iter(report["runs"].values())))} runs of each', 'detect_s, median',
        'maximum', 'outage_s, median', 'maximum'), rows)


def sizes(report):
    """What clouds of several sizes cost."""
    return _table((30, *[20] * len(report['clouds'])), bench_scale.head(report),
                  bench_scale.figures(report))


def _table(widths, head, rows):
    lines = ['.. Made by "python -m tests.lab table" of what was measured.', '',
             '.. list-table::', '   :header-rows: 1', f'   :widths: {" ".join(map(str, widths))}',
             '']
    for cells in (head, *rows):
        lines += [f'   {" " if number else "*"} - {cell}'.rstrip()
                  for number, cell in enumerate(cells)]
    return '\n'.join(lines) + '\n'
