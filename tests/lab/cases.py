"""What happened in one case each: a file of a folder for each, so that a long run can be resumed.

Also how what the service noted meanwhile is said in a few words.
"""

import json
import pathlib
import re

#: Characters of what was seen that a case keeps.
_LONG = 300
_ID = re.compile(r'\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b')
# Addresses differ from lab to lab; what follows these words is what a library has to say of it.
_ADDRESS = re.compile(r"127\.0\.0\.1'?:\d+|'127\.0\.0\.1'")
_MORE = re.compile(r'(: (vmha_nova|HTTPConnectionPool|\w+(\.\w+)*Error)\b|\. Trying again|'
                   r' \(Background on).*')
_LOGGED = re.compile(r'^\S+ \S+ \d+ (?:WARNING|ERROR|CRITICAL) \S+ (?:\[[^]]*\] ){1,2}(.+)', re.M)
_USUAL = ('no spare', 'stays out', 'is taken for dead')
_PLAIN = re.compile(r'[^A-Za-z0-9.]+')


class Cases:
    """The cases of a folder; ``folder`` None: nothing is kept, and nothing is done already."""

    def __init__(self, folder=None):
        self.folder = folder and pathlib.Path(folder)

    def done(self, *name):
        """Whether there is a case of that name, which is one of several words."""
        return self.folder is not None and self._path(name).exists()

    def keep(self, case, *name):
        """Write a case, a dict, in one piece."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._path(name).with_suffix('.partial')
        partial.write_text(json.dumps(case, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        partial.replace(self._path(name))

    def all(self):
        """All of them, by their names."""
        return [json.loads(path.read_text(encoding='utf-8'))
                for path in sorted(self.folder.glob('*.json'))]

    def _path(self, name):
        plain = (_PLAIN.sub('-', str(word)).strip('-') for word in name)
        return self.folder / f'{"--".join(plain)}.json'


def troubles(changes, log=''):
    """What went wrong, in the service's own words: texts, the first of each only.

    :param changes: watch.Changes, oldest first
    :param log: what the engine has logged meanwhile
    """
    rows = [change.text if change.kind in ('move', 'journal') else f'{change.state}: {change.text}'
            for change in changes if _is_trouble(change)]
    lines = [line for line in _LOGGED.findall(log) if not any(u in line for u in _USUAL)]
    return list(dict.fromkeys(short(text) for text in [*rows, *lines]))


def short(text):
    """A text without what differs from run to run, and without what libraries add to it."""
    return _ADDRESS.sub('…', _ID.sub('…', _MORE.sub('', text)))[:_LONG]


def _is_trouble(change):
    """Whether a change tells of something that does not happen in a recovery without a fault."""
    if change.kind == 'move':
        return change.state in ('unsure', 'failed') or (
            change.state == 'unplaced' and 'another node' in change.text) or (
            change.state == 'waiting' and 'not sent' in change.text)
    if change.kind == 'journal':        # that the only spare is taken, and a dead host out
        return change.state in ('warning', 'error') and not any(u in change.text for u in _USUAL)
    return (change.kind, change.state) in (('recovery', 'held'), ('step', 'failed'))


def answer(changes, log=''):
    """What the service made of a fault: 'named', 'decided again', 'looked for' or 'retried'.

    'looked for': nobody knew what Nova had made of a call, and Nova's lists told. That can be over
    between two looks at the rows, but not in the log.
    """
    states = {change.state for change in changes if change.kind == 'move'
              and _is_trouble(change)}
    if 'outcome unknown' in log:
        states.add('unsure')
    for state, word in (('failed', 'named'), ('unplaced', 'decided again'),
                        ('unsure', 'looked for')):
        if state in states:
            return word
    return 'retried'
