"""What operators would see, in words: the log of a scenario, a line for each change of something.

    seconds  report 1 of c1: new -> checking: waiting whether ...
    seconds  recovery r1 of c1: confirmed -> fenced: fenced by storage
    seconds  step fence c1: intended
    seconds  move web of r1: waiting -> sending on s1: asking Nova ...
    seconds  journal, warning: ...
    seconds  * what the scenario has done
"""

KINDS = {'host': 'report', 'recovery': 'recovery', 'move': 'move'}


class Story:
    """See the module. ``seconds()`` is the virtual time since the beginning.

    :ivar say: called with (what, values) of everything the store has written
    """

    def __init__(self, seconds):
        self._seconds = seconds
        self.say = lambda what, values: None
        self.lines = []
        self.last_at = 0.0
        self._known = {}                # (kind, id) -> [name, state, reason]

    def write(self, text):
        """A line."""
        self.last_at = self._seconds()
        self.lines.append(f'{self.last_at:7.1f}  {text}')

    def mark(self, text):
        """What is done to the cloud, or to the engine."""
        self.write(f'* {text}')

    def hear(self, what, values):
        """Something was written to the database."""
        getattr(self, '_' + what)(**values)
        self.say(what, values)

    def text(self):
        """All of it."""
        return '\n'.join(self.lines) + '\n'

    def _told(self, event_type, payload):
        _, kind, word = event_type.split('.')
        if event_type == 'vmha.host.updated':
            self.write(f'mark of {payload["host"]}: {_mark(payload)}')
        elif event_type == 'vmha.host.released':
            self.write(f'{payload["host"]} is let go: recovery {payload["id"]} looks after it no '
                       'more')
        elif event_type == 'vmha.host.verdict':
            self.write(f'monitor: {payload["host"]}: {payload["before"]} -> '
                       f'{payload["verdict"]}: {payload["reason"]}')
        elif kind == 'cloud':
            self.write(f'{word}: {payload["reason"]}')
        elif word == 'reported':
            self._known['report', payload['id']] = [
                f'report {payload["id"]} of {payload["host"]}', 'new', '']
            self.write(f'report {payload["id"]} of {payload["host"]}: new: by '
                       f'{payload["source"]}{", by force" * payload["forced"]}: '
                       f'{payload["reason"]}')
        else:
            self._changed(KINDS[kind], payload)

    def _changed(self, kind, payload):
        state, key = payload['state'], (kind, payload['id'])
        old = self._known[key][1] if key in self._known else ''
        name = {'report': f'report {payload["id"]} of {payload.get("host")}',
                'recovery': f'recovery {payload["id"]} of {payload.get("host")}',
                'move': f'move {payload.get("name")} of {payload.get("recovery_id")}'}[kind]
        reason = payload['detail' if kind == 'report' else 'reason']
        where = f' on {payload["target"]}' if kind == 'move' and payload['target'] else ''
        self._known[key] = [name, state, reason]
        self.write(f'{name}: {old}{" -> " * bool(old)}{state}{where}: {reason}')

    def _detail(self, kind, id, state, reason, target=''):
        known = self._known.get((kind, id))
        if known is None or known[1] != state or _words(known[2]) == _words(reason):
            return
        known[2] = reason
        self.write(f'{known[0]}: {state}{f" on {target}" if target else ""}: {reason}')

    def _step(self, id, kind, subject, recovery_id, state, detail):
        old = 'intended' if state != 'intended' else ''
        of = f' ({recovery_id})' if recovery_id else ''
        self.write(f'step {kind} {subject}{of}: {old}{" -> " * bool(old)}{state}'
                   f'{f": {detail}" if detail else ""}')

    def _noted(self, level, kind, host, text):
        if kind != 'verdict':           # that is told as well
            self.write(f'journal, {level}: {text}')


def _words(text):
    """What counts as another reason: not another number in brackets."""
    return text.split('(')[0]


def _mark(payload):
    words = [w for w in ('spare', 'parked', 'maintenance') if payload[w]]
    words += [f'{w} {payload[w]}' for w in ('pool', 'backend') if payload[w]]
    return ', '.join(words) or 'none'
