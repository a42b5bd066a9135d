"""The tables of the document "What it survives", made of what runs have written.

``python -m tests.survival`` makes the ``.inc`` files anew from the ``.json`` files beside them, in
``doc/source/_figures``:

- ``exploration.json``: ``tools/scenario.py explore --campaign FOLDER --summary``;
- ``mutations.json``: ``tools/mutations.py --all --report FILE``;
- ``faults.inc``, ``calls.inc``: of the lab (``python -m tests.lab table``), where they are there.
"""

import json
import pathlib
import textwrap

from tests.scenarios import events

FIGURES = pathlib.Path(__file__).resolve().parents[1] / 'doc' / 'source' / '_figures'
SHOWN = 150                             # characters of what a test saw
_HEAD = '.. Made by "python -m tests.survival" of what was measured.\n\n'
_LAB = (
    ('faults', 'What is killed in the middle of a recovery', (
        'Hosts and engines of real processes, a host that dies, and one more fault at one moment '
        'of its recovery.')),
    ('calls', 'Calls to Nova that go wrong', (
        'Each call of a recovery, once with each fault, between the engine and Nova.')))


def texts(figures=FIGURES):
    """The files as they have to be: name -> text."""
    found = {'lab.inc': _HEAD + lab(figures)}
    for name, make in (('exploration', exploration), ('mutations', mutations)):
        path = figures / f'{name}.json'
        found[f'{name}.inc'] = _HEAD + make(json.loads(path.read_text(encoding='utf-8')))
    return found


def lab(figures):
    """What was tried on the lab; nothing where that was not done yet."""
    return '\n'.join(
        f'{title}\n{"-" * len(title)}\n\n{text}\n\n.. include:: /_figures/{name}.inc\n'
        for name, title, text in _LAB if (figures / f'{name}.inc').exists())


def exploration(found):
    """How much was tried at random, and how often each event happened."""
    counts = _table((60, 40), ('', 'how many'), [
        ('scenarios', found['scenarios']),
        ('seeds, each a cloud and what happens to it', found['seeds']),
        ('steps, the invariants checked after each', found['steps']),
        ('kills of the engine between two of its writes or acts', found['kills']),
        ('events that were let happen', sum(found['happened'].values())),
        ('seeds that broke an invariant', len(found['failed'])),
        ('CPU time, in minutes', round(found['cpu_s'] / 60)),
        ('of the code at', ', '.join(f'{commit} ({_number(seeds)} seeds)'
                                     for commit, seeds in found['commits'].items()))])
    words = {name: events.usage(name).partition(': ')[2] for name in events.names()}
    kinds = sorted(found['happened'].items(), key=lambda item: (-item[1], item[0]))
    return counts + '\n' + _table((20, 65, 15), ('event', 'what it is', 'how often'), [
        (f'``{name}``', words[name], count) for name, count in kinds])


def mutations(found):
    """Each broken version, and the test that has caught it."""
    return _table((38, 26, 36), ('broken so that', 'caught by', 'which saw'), [
        (f'{one["breaks"]} (``{one["file"]}``)', _by(one['test']) if one['caught'] else 'nothing',
         _literal(one['seen'])) for one in found])


def _by(test):
    name = test.rsplit('.', 1)[1].removeprefix('test_')
    if '.ScenarioTest.' in test:
        return f'scenario ``{name.replace("_", "-")}``'
    return f'``{test.removeprefix("tests.unit.")}``'


def _literal(text):
    text = textwrap.shorten(text.replace('`', "'"), SHOWN, placeholder=' …')
    return f'``{text}``'


def _number(value):
    return f'{value:,}' if isinstance(value, int) else value


def _table(widths, head, rows):
    lines = ['.. list-table::', '   :header-rows: 1', f'   :widths: {" ".join(map(str, widths))}',
             '']
    for cells in (head, *rows):
        lines += [f'   {" " if number else "*"} - {_number(cell)}'.rstrip()
                  for number, cell in enumerate(cells)]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    for _name, _text in texts().items():
        (FIGURES / _name).write_text(_text, encoding='utf-8')
