"""The tables in the documents of faults in the middle of a recovery, made of cases.

Cases of two kinds: a call of the service to Nova that goes wrong (``tests/functional/
test_faults.py``), and something that is killed (``bench faults``).
"""

import itertools
import re
import statistics

from tests.lab import cases
from tests.lab import fault_proxy
from tests.lab import faults

_TIMES = {'once': 'once', 'always': 'always, for one server'}


def calls(found):
    """Head and rows: call, which faults of it, and what the service made of them.

    Faults with the same answer are one row.
    """
    order = list(fault_proxy.CALLS), list(fault_proxy.FAULTS)

    def place(case):
        return (case['times'] != 'once', order[0].index(case['call']), answer(case),
                order[1].index(case['fault']))

    def key(case):
        return case['times'], case['call'], answer(case)

    rows = []
    for (times, call, said), same in itertools.groupby(sorted(found, key=place), key):
        same = list(same)
        words = next((text for case in same for text in case['seen']), '')
        rows.append((call, _TIMES[times], '; '.join(case['fault'] for case in same), said,
                     _plain(words), _span(case['seconds'] for case in same)))
    return ('call', 'how often', 'fault', 'answer', 'in its own words', 'recovery, in seconds'
            ), rows


def answer(case):
    """What was made of a call that went wrong."""
    return case['answer'] if case['struck'] else 'did not come in this recovery'


def summary(found):
    """Head and rows: each fault, its moments together."""
    rows = []
    for name, fault in faults.FAULTS.items():
        same = [case for case in found if case['fault'] == name]
        if same:
            rows.append((
                fault.what, len(same), sum(case['recovered'] for case in same),
                sum(len(case['named']) for case in same), sum(case['lost'] for case in same),
                sum(case['doubled'] for case in same), *_longer(same)))
    return ('fault', 'moments', 'servers recovered', 'named', 'lost', 'evacuated twice',
            'longer than without a fault: median', 'at most'), rows


def moments(found):
    """Head and rows: each case."""
    rows = [(fault.what, f'{case["moment"]}: {case["where"]}', _seen(case), case['lost'],
             case['doubled'], _took(case))
            for name, fault in faults.FAULTS.items() for case in found if case['fault'] == name]
    return ('fault', 'moment', 'what was seen', 'lost', 'twice', 'took; without a fault'), rows


def _seen(case):
    words = [f'{case["recovered"]} of {case["servers"]} recovered',
             *[f'named: {cases.short(reason)}' for reason in case['named'][:1]],
             *['another term'] * bool(case['terms'])]
    return _plain('; '.join([*words, *case['seen'][:1]] if not case['named'] else words))


def _plain(words):
    """Somebody else's words, none of which means anything in reStructuredText."""
    return re.sub(r'([\\`*|]|_(?!\w))', r'\\\1', words)


def _took(case):
    return 'not over' if case['seconds'] is None else (
        f'{case["seconds"]:.1f} s; {case["seconds_without_fault"]:.1f} s')


def _longer(same):
    more = [case['seconds'] - case['seconds_without_fault'] for case in same
            if case['seconds'] is not None]
    return (f'{statistics.median(more):.1f} s', f'{max(more):.1f} s') if more else ('', '')


def _span(seconds):
    seconds = sorted(seconds)
    few, most = f'{seconds[0]:.0f}', f'{seconds[-1]:.0f}'
    return few if few == most else f'{few} to {most}'
