"""Moves under way: sending the evacuate calls, taking their answers, following them in Nova.

Works on rows of one recovery; ``change(recovery, rows, {move id: columns})`` records and returns
the rows as they are then.
"""

import collections
import dataclasses
import datetime
import logging

from vmha_nova import exception
from vmha_nova import moves
from vmha_nova import pace
from vmha_nova import rules
from vmha_nova import states

LOG = logging.getLogger(__name__)
EAGER = 0.5                             # seconds between looks while notifications come
# Nova sends rebuild.end before it writes the new host and ends the record: for so many seconds
# after a notification it is worth looking again.
SETTLES = 2.0
FRESH = 60.0                            # seconds for which calls are sent on a look at Nova
JUST = 0.5                              # seconds after which Nova's records are read once more
FEW = 6                                 # instances that are asked for one by one, each time


@dataclasses.dataclass
class Look:
    """When one of Nova's lists was read last."""

    asked_at: datetime.datetime | None = None       # when the last look began
    at: datetime.datetime | None = None             # when the last one began that was answered
    error: str = ''                                 # why the last one failed


@dataclasses.dataclass
class Seen:
    """What was last read of one recovery's moves; rebuilt by looking again."""

    records: list | None = None                     # Nova's evacuation records of the source
    of_records: Look = dataclasses.field(default_factory=Look)
    of_servers: Look = dataclasses.field(default_factory=Look)  # all that have changed
    asked: int = 0                                  # servers asked for, one by one
    earlier: list | None = None                     # moves of the recoveries it took over from

    @property
    def at(self):
        """When the older of the two lists was asked for; None while one was never read."""
        times = self.of_records.at, self.of_servers.at
        return None if None in times else min(times)

    @property
    def error(self):
        """Why one of them cannot be read, ''."""
        return self.of_records.error or self.of_servers.error


class Flight:
    """See the module. ``settings``: model.Policy."""

    def __init__(self, store, lead, nova, collector, jobs, clock, settings):
        self.store = store
        self.lead = lead
        self.nova = nova
        self.collector = collector
        self.jobs = jobs
        self.clock = clock
        self.settings = settings
        self._poked_at = None
        self.pace = None                # pace.Pace, once something is sent
        # What this process has sent and not seen the end of: move id -> (when, how many were in
        # flight then). What another one has sent takes room, and says nothing about the pace.
        self._sent = {}
        self._told = {}                 # recovery id -> what was said of the pace

    def poke(self):
        """A notification tells that something moved: look soon."""
        self._poked_at = self.clock()

    def follows(self):
        """Whether moves that this process has sent are under way."""
        return bool(self._sent)

    def rest(self):
        """There is nothing to do: the pace is found anew when there is."""
        self.pace = None
        self._sent.clear()
        self._told.clear()

    def follow(self, recovery, rows, seen, change):
        """Bring the rows up to date with the answers of calls and with Nova's lists."""
        before = {m.id: m.state for m in rows}
        rows = self._follow(recovery, rows, seen, change)
        self._learn(before, rows, seen.records or ())
        return rows

    def _follow(self, recovery, rows, seen, change):
        rows = change(recovery, rows, self._answers(rows))
        looks = self._take(recovery, seen)
        if seen.at is not None:
            # Who is not as the records say may be so by now: ``seen.at`` is the older look's time.
            instances = self.collector.snapshot.instances
            rows = change(recovery, rows, self._progress(recovery, rows, seen, instances))
            rows = self._settle(recovery, rows, instances, change)
            self._ask(rows, seen, looks)
        self._look(recovery, rows, seen)
        return rows

    def _learn(self, before, rows, records):
        """Let what has become of the calls of this process set the pace."""
        now = self.clock()
        for move in rows:
            done = move.state == 'accepted' and moves.done(move, records)
            if move.id not in self._sent or not done and (
                    move.state in ('sending', 'accepted', before[move.id])):
                continue
            sent, flying = self._sent.pop(move.id)
            if done or move.landed_at is not None:
                self.pace = pace.landed(self.pace, move.target, sent, flying, now)
            elif move.state in ('waiting', 'unsure'):
                self.pace = pace.trouble(self.pace, '', sent, now)
            elif move.state != 'gone':
                self.pace = pace.trouble(self.pace, move.target, sent, now)

    def _answers(self, rows):
        """Take the answers of calls that have ended; a call nobody waits for is unsure."""
        now, changes = self.clock(), {}
        for move in rows:
            if move.state != 'sending':
                continue
            result = self.jobs.collect(('send', move.id))
            if result is not None:
                changes[move.id] = moves.sent(move, result.error, self.settings, now)
                if result.error:
                    LOG.warning('evacuate %s (%s): %s', move.name, move.instance_id,
                                changes[move.id]['reason'])
            elif not self.jobs.under_way(('send', move.id)):
                lost = exception.OutcomeUnknown('its answer was lost with the engine that asked')
                changes[move.id] = moves.sent(move, lost, self.settings, move.intent_at)
        return changes

    def send(self, recovery, cluster, rows, seen, change):
        """Send the next moves: as many as the pace leaves room for."""
        now, changes, ready = self.clock(), {}, []
        if seen.error or (now - seen.at).total_seconds() > FRESH:
            return rows                 # what others do there meanwhile is not known
        self.pace = self.pace or pace.start(self.settings, now)
        # Nova is one: so is the pace, however many hosts have failed.
        flying = [m for m in self.store.under_way() if m.state != 'settling' and not (
            m.state == 'accepted' and moves.done(m, seen.records))]
        room = min(self.pace.window.size - len(flying),
                   pace.calls(self.pace) - sum(m.state == 'sending' for m in flying))
        ripe = [m for m in rows if m.state == 'waiting' and not (
            m.not_before and m.not_before > now)]
        doubtful = self._doubtful(recovery, seen) if ripe and room > 0 else {}
        per_target = {}
        for move in flying:
            per_target[move.target] = per_target.get(move.target, 0) + 1
        for move in ripe:
            if room <= 0:
                break
            node = cluster.nodes.get(move.target)
            if node is None or not node.enabled:
                continue
            if instead := self._never_twice(recovery, move, seen.records, doubtful):
                changes[move.id] = instead
                continue
            if per_target.get(move.target, 0) >= pace.room(self.pace, node)[0]:
                continue
            per_target[move.target] = per_target.get(move.target, 0) + 1
            room -= 1
            changes[move.id] = moves.intend(move, seen.records, now)
            ready.append(move)
        rows = change(recovery, rows, changes)
        for move in ready:
            self._sent[move.id] = now, len(flying) + len(ready)
            self.jobs.start(('send', move.id), self._evacuate, move, recovery.host,
                            seen.records, seen.of_records.at)
        if ready:
            self._tell(recovery, cluster.nodes)
        return rows

    def _never_twice(self, recovery, move, records, doubtful):
        """The change for a move that is not to be sent, as there is a call already; None."""
        if moves.running(move, records):        # ours that was given up, or somebody else's
            return moves.join(move, records, self.settings, self.clock())
        if move.instance_id in doubtful:
            return moves.doubt(move, doubtful[move.instance_id], recovery, self.clock())
        return None

    def _doubtful(self, recovery, seen):
        """Instances that may run where an earlier recovery has sent them; see moves.unended."""
        if seen.earlier is None:        # those are over, and let go of: they change no more
            line = moves.line(recovery, self.store.recoveries(host=recovery.host))
            seen.earlier = [m for one in line[1:] for m in self.store.moves(one.id)]
        return moves.unended(seen.earlier, seen.records)

    def _tell(self, recovery, nodes):
        """Write down at which pace it goes on, if that is another one."""
        text = pace.describe(self.pace, [
            nodes[host] for host in sorted(self.pace.targets) if host in nodes])
        if self._told.get(recovery.id) != text:
            self._told[recovery.id] = text
            self.store.note('info', 'pace', text, recovery.host, recovery.id)

    def _evacuate(self, move, source, records, records_at):
        # Nova checks no task state here: it would turn a deletion, or somebody else's evacuation,
        # into this one. Of a host that is down Nova deletes at once, and what else is asked of an
        # instance there is on the list of changes, made every few seconds. But for a moment only
        # its record shows an evacuation, with the instance on the source and in no task.
        if (self.clock() - records_at).total_seconds() >= JUST:
            known = {r.id for r in records}
            if any(r.instance_id == move.instance_id and r.id not in known
                   for r in self.nova.evacuations(source)):
                raise exception.Unreachable('somebody else evacuates it')
        if any(r.instance_id == move.instance_id and r.status in moves.DONE for r in records):
            self.collector.is_gone(move.instance_id)    # it has left once: perhaps since the list
        found = self.collector.snapshot.instances.get(move.instance_id)
        if found is None or not found.known:
            raise exception.Unreachable('Nova cannot show it now')
        if found.host != source or rules.task_reason(found.task_state):
            raise exception.Unreachable(f'it is on {found.host or "no host"}, in task state '
                                        f'{found.task_state or "none"}')
        # A process that slept since it recorded its intent may have been replaced meanwhile.
        self.lead.check()
        try:
            self.nova.evacuate(move.instance_id, move.target)
        except exception.NotFound as e:
            self.nova.server(move.instance_id)      # NotFound again: it is proven gone
            raise exception.Rejected(f'{e}, but it exists', code=409) from e

    def _take(self, recovery, seen):
        """Take what was read; returns the Looks that were answered."""
        taken = []
        for what, look in (('records', seen.of_records), ('servers', seen.of_servers)):
            result = self.jobs.collect((what, recovery.id))
            if result is None:
                continue
            if result.error:
                if look.error != str(result.error):
                    LOG.warning('recovery %s: Nova cannot be read: %s', recovery.id, result.error)
                look.error = str(result.error)
                continue
            look.at, value = result.value
            look.error = ''
            if look is seen.of_records:
                seen.records = value
            taken.append(look)
        return taken

    def _look(self, recovery, rows, seen):
        """Read Nova's lists again when there is reason to: neither waits for the other."""
        now, whole = self.clock(), self.settings.follow_interval
        poked = self._poked_at is not None and seen.of_records.asked_at is not None and (
            (seen.of_records.asked_at - self._poked_at).total_seconds() <= SETTLES)
        for what, look, every, read, *of in (
                ('records', seen.of_records, EAGER if poked else whole,
                 self._read_records, recovery, rows),
                ('servers', seen.of_servers, whole, self._read_servers)):
            key = (what, recovery.id)
            if self._due(look, every, rows, now) and not self.jobs.under_way(key):
                look.asked_at = now
                self.jobs.start(key, read, now, *of)

    @staticmethod
    def _due(look, every, rows, now):
        if look.asked_at is None:
            return True
        age = (now - look.asked_at).total_seconds()
        if look.at is None:
            return age >= 1.0
        return age >= every and bool(look.error or any(
            m.state in states.IN_FLIGHT or m.state == 'waiting' for m in rows))

    def _read_records(self, now, recovery, rows):
        """Nova's records of the host, and then anew whoever's evacuation it has broken off.

        What is to be done with those depends on what they are by then. Returns when they were
        asked for, and them.
        """
        records = self.nova.evacuations(recovery.host)
        broken = [m.instance_id for m in rows if m.state in ('accepted', 'unsure')
                  and moves.ended(m, records) and not moves.done(m, records)]
        left = broken[FEW:]
        for instance_id in broken[:FEW]:
            try:
                self.collector.is_gone(instance_id)
            except exception.VmhaError as e:
                LOG.debug('they are listed instead: %s', e)     # one record may be broken
                left.append(instance_id)
        if left:
            self._read_servers(now)
        return now, records

    def _read_servers(self, now):
        """Read which servers have changed, into the collector's snapshot; returns likewise."""
        self.collector.refresh_instances()
        snapshot = self.collector.snapshot
        if snapshot.instances_at is None or snapshot.instances_at < now:
            raise exception.Unreachable('; '.join(snapshot.problems) or 'servers not listed')
        return now, None

    def _ask(self, rows, seen, looks):
        """Ask for a few of those that have arrived as Nova's records say, and are not seen there.

        After the list of servers, which goes by Nova's clocks, and lacks what has changed where
        ours is far ahead. And after each of records once nobody waits to be sent any more: until
        then, who has arrived can wait for the list.
        """
        busy = any(m.state == 'waiting' for m in rows)
        arrived = [m for m in rows if m.state == 'settling' or (
            m.state in ('accepted', 'unsure') and moves.done(m, seen.records))]
        for move in arrived:
            self.jobs.collect(('ask', move.id))
        if not looks:
            return
        wanted = collections.deque(m for m in arrived if m.state == 'settling' or not busy or (
            seen.of_servers in looks))
        wanted.rotate(-seen.asked)      # each has its turn, also where some stay as they are
        seen.asked += FEW
        for move in list(wanted)[:FEW]:
            self.jobs.start(('ask', move.id), self.collector.is_gone, move.instance_id)

    def _progress(self, recovery, rows, seen, instances):
        changes = {}
        for move in rows:
            if move.state not in ('unsure', 'accepted', 'settling'):
                continue
            instance = instances.get(move.instance_id)
            if instance is None and not self.proven_gone(move):
                continue
            try:
                change = moves.follow(move, recovery.host, instance, seen.records, seen.at,
                                      self.settings, self.clock())
            except Exception as e:      # one move's trouble is that move's
                LOG.exception('move of %s', move.instance_id)
                change = dict(reason=f'internal error: {e}')
            if any(getattr(move, k) != v for k, v in change.items()):
                changes[move.id] = change
                if change.get('state') in ('moved', 'failed', 'unplaced', 'gone'):
                    LOG.info('%s (%s): %s, %s', move.name, move.instance_id, change['state'],
                             change['reason'])
        return changes

    def proven_gone(self, move):
        """Whether Nova proves that the instance is deleted.

        That it is on no list proves nothing: its cell may be down, or this process may be younger
        than the list.
        """
        result = self.jobs.insist(('prove', move.id), self.collector.is_gone, move.instance_id)
        return result is not None and result.value is True

    def _settle(self, recovery, rows, instances, change):
        """Stop what was stopped, start what ran."""
        now, answers, acts = self.clock(), {}, {}
        for move in rows:
            instance = instances.get(move.instance_id)
            if move.state != 'settling' or instance is None:
                continue
            key = ('power', move.id)
            result = self.jobs.collect(key)
            if result is not None:
                answers[move.id] = moves.settled_call(move, result.error, now)
                self.poke()
            elif not self.jobs.under_way(key) and not (move.not_before and move.not_before > now):
                act = moves.power_act(move, instance)
                if act:
                    acts[move.id] = (act, move.instance_id)
        intents = {i: dict(reason=f'{act} is asked for, as it was {row.was} before')
                   for i, (act, _) in acts.items() for row in rows if row.id == i}
        rows = change(recovery, rows, {**answers, **intents})
        for move_id, (act, instance_id) in acts.items():
            self.jobs.start(('power', move_id), self._power, act, instance_id)
        return rows

    def _power(self, act, instance_id):
        self.lead.check()               # for the same reason
        getattr(self.nova, act)(instance_id)
