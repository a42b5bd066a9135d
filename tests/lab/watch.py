"""What the service notes while it works, and what Nova says of it: rows, and a witness."""

import dataclasses
import datetime
import threading

from keystoneauth1 import exceptions

from vmha_nova import states

#: Moves in these states have a target that was named before anything landed there.
_NAMED = ('waiting', 'sending', 'unsure', 'accepted')
_FINISHED = ('done', 'completed')
_LOOK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Change:
    """Something that was noted: ``kind`` is report, recovery, step, move or journal."""

    at: datetime.datetime
    kind: str
    subject: str
    state: str
    text: str


def facts(failures, recoveries, steps, moves, events):
    """Yield (key, Change) for rows as they are; ``at`` is when they became so, None if unknown."""
    opened = {row.id: row.created_at for row in recoveries}
    for row in failures:
        at = row.received_at if row.state == 'new' else opened.get(row.recovery_id)
        # What stands in parentheses counts seconds while the report is being checked.
        text = (row.detail or row.reason).partition(' (')[0]
        yield ('report', row.id), Change(at, 'report', row.host, row.state, text)
    for row in recoveries:
        yield ('recovery', row.id), Change(row.updated_at, 'recovery', row.host, row.state,
                                           row.reason)
    for row in steps:
        yield ('step', row.id), Change(row.ended_at or row.at, 'step', row.subject, row.state,
                                       f'{row.kind}: {row.detail}'.removesuffix(': '))
    for row in moves:
        at = {'sending': row.intent_at, 'accepted': row.accepted_at,
              'settling': row.landed_at}.get(row.state, row.ended_at)
        text = f'for {row.target}: {row.reason}' if row.state == 'waiting' else row.reason
        yield ('move', row.id), Change(at, 'move', row.name or row.instance_id, row.state, text)
    for row in events:
        yield ('journal', row.id), Change(row.at, 'journal', row.host, row.level, row.text)


class Rows:
    """The rows of the service, and how they change from look to look.

    :param store: vmha_nova's Store
    :param since: what was noted earlier is left out (aware datetime)

    :ivar report: the newest report of the host, or None
    :ivar recovery: the newest recovery of the host, or None
    :ivar moves: its moves
    :ivar named: ``{instance id: host}``: the target each move had before it landed
    """

    def __init__(self, store, host, since):
        self.store, self.host, self.since = store, host, since
        self.report = self.recovery = None
        self.moves, self.named = [], {}
        self._seen = {}

    def look(self):
        """Read the rows again; answers what has changed, oldest first."""
        now = datetime.datetime.now(datetime.timezone.utc)
        failures = [f for f in self.store.failures() if f.host == self.host]
        recoveries = [r for r in self.store.recoveries() if r.host == self.host]
        self.report = failures[-1] if failures else None
        self.recovery = recoveries[-1] if recoveries else None
        steps = []
        if self.recovery is not None:
            self.moves = self.store.moves(self.recovery.id)
            steps = self.store.steps(self.recovery.id)
        self.named.update({m.instance_id: m.target for m in self.moves
                           if m.target and m.state in _NAMED})
        found = []
        events = [e for e in self.store.events() if e.at >= self.since]
        for key, change in facts(failures, recoveries, steps, self.moves, events):
            if self._seen.get(key) != (change.state, change.text):
                self._seen[key] = (change.state, change.text)
                found.append(dataclasses.replace(change, at=change.at or now))
        return sorted(found, key=lambda change: change.at)

    @property
    def over(self):
        """Whether nothing more will happen."""
        if self.recovery is not None:
            return self.recovery.state in states.RECOVERY_OVER
        return self.report is not None and self.report.state in ('dismissed', 'duplicate')

    def count(self, state):
        """How many moves are in a state."""
        return sum(move.state == state for move in self.moves)

    def tally(self):
        """'12 moved, 3 accepted': the states of moves, counted, in the order of their table."""
        return ', '.join(f'{self.count(state)} {state}' for state in states.MOVE
                         if self.count(state))


@dataclasses.dataclass(frozen=True)
class Finding:
    """What Nova says of one server in the end.

    :ivar was: status before the failure
    :ivar named: the host that the service had named
    :ivar records: how many evacuation records Nova has of it
    :ivar seconds: from the failure's report until Nova showed it elsewhere as it was, or None
    :ivar stays: whether it was to stay where it is
    :ivar problems: what is not as it should be, in words
    """

    id: str
    name: str
    was: str
    named: str
    host: str
    status: str
    records: int
    seconds: float | None
    problems: tuple
    stays: bool = False


class Witness:
    """Nova's own word on what became of the servers of a host.

    Made before the failure; nothing that the service says is believed here. As a context manager
    it asks Nova, in a thread of its own, who is home again whenever somebody claims more than it
    has seen: a cloud that is at work is not asked all the time.

    :param cloud: a Cloud of the lab that nobody else uses
    :param passed: answers the seconds since the failure was reported
    :param staying: ids of servers that must be left alone

    :ivar claimed: how many servers are said to be home
    :ivar home: ``{id: seconds}`` of those that Nova has shown elsewhere, as they were
    """

    def __init__(self, cloud, host, passed, staying=()):
        self.cloud, self.host, self._passed = cloud, host, passed
        self.staying = frozenset(staying)
        self.before = {server['id']: server for server in cloud.servers(host)}
        self.claimed, self.home = 0, {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def _watch(self):
        while not self.all_home and not self._stop.wait(_LOOK_SECONDS):
            if self.claimed > len(self.home):
                self.look()

    def look(self):
        """Ask Nova who is home."""
        try:
            servers = self.cloud.servers()
        except (exceptions.ClientException, OSError):
            return                  # a witness that cannot see says nothing; it looks again
        passed = self._passed()
        for server in servers:
            before = self.before.get(server['id'])
            if before and is_home(server, before, self.host):
                self.home.setdefault(server['id'], passed)

    @property
    def all_home(self):
        """Whether Nova has shown each server that was to move elsewhere, as it was."""
        return len(self.home) == len(self.before.keys() - self.staying)

    def findings(self, named):
        """The Findings, by name. ``named``: ``{instance id: host}``."""
        after = {server['id']: server for server in self.cloud.servers()}
        records = {}
        for record in self.cloud.migrations(self.host, migration_type='evacuation'):
            records.setdefault(record['instance_uuid'], []).append(record)
        found = [
            (stayed if ident in self.staying else examine)(
                server, after.get(ident), records.get(ident, []), self.host,
                named.get(ident, ''), self.home.get(ident))
            for ident, server in self.before.items()]
        return sorted(found, key=lambda finding: natural(finding.name))


def is_home(server, before, source):
    """Whether a server is on another host, and as it was before."""
    host = server['OS-EXT-SRV-ATTR:host']
    return (bool(host) and host != source and server['OS-EXT-STS:task_state'] is None
            and server['status'] == before['status'])


def examine(before, after, records, source, named, seconds):
    """The Finding on one server.

    :param before: Nova's server before the failure
    :param after: the same afterwards, or None if Nova does not list it
    :param records: Nova's evacuation records of it
    :param named: the host that the service had named
    """
    problems = []
    host, status = '', 'not listed'
    if after is not None:
        host, status = after['OS-EXT-SRV-ATTR:host'] or '', after['status']
    if host == source:
        problems.append(f'still on {source}')
    elif not named or host != named:
        problems.append(f'on {host or "no host"}, and {named or "no host"} was named')
    if status != before['status']:
        problems.append(f'{status}, and was {before["status"]}')
    elif after['OS-EXT-STS:task_state'] is not None:
        problems.append(f'still {after["OS-EXT-STS:task_state"]}')
    if len(records) != 1:
        problems.append(f'{len(records)} evacuation records')
    for record in records:
        if record['status'] not in _FINISHED:
            problems.append(f'its evacuation record is "{record["status"]}"')
        elif record['dest_compute'] != host:
            problems.append(f'its evacuation record names {record["dest_compute"]}')
    return Finding(before['id'], before['name'], before['status'], named, host, status,
                   len(records), seconds, tuple(problems))


def stayed(before, after, records, source, named, seconds):
    """The Finding on one server that was to be left alone; parameters as of `examine`."""
    problems = []
    host, status = '', 'not listed'
    if after is not None:
        host, status = after['OS-EXT-SRV-ATTR:host'] or '', after['status']
    if host != source:
        problems.append(f'on {host or "no host"}, and was to stay on {source}')
    if records:
        problems.append(f'{len(records)} evacuation records, and it was to be left alone')
    return Finding(before['id'], before['name'], before['status'], named, host, status,
                   len(records), seconds, tuple(problems), stays=True)


def natural(name):
    """A key that sorts vm-2 before vm-10."""
    head, _, number = name.rpartition('-')
    return (head, int(number)) if number.isdigit() else (name, 0)
