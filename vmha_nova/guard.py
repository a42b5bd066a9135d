"""A failed host's fence, from its plan to its end, and whether the storage would serve guests.

Only one answer lets a call go out: the fence is in force as recorded, and the storage is ready.
An error is not that answer.
"""

import collections
import logging
import threading

from vmha_nova import exception
from vmha_nova import moves

LOG = logging.getLogger(__name__)
GUARD = 5.0                             # seconds between looks at the fence and the storage
STALE = 30.0                            # seconds after which an answer counts no more
READ_AGAIN = 30.0                       # seconds before disks that could not be read are again
OFF = 'it was switched off, and nothing here switches it on: do that when it is well'


class Guard:
    """See the module. ``fence`` is a fencing.fences.Fences, ``storage`` as in storage."""

    def __init__(self, store, lead, nova, fence, storage, jobs, clock):
        self.store = store
        self.lead = lead
        self.nova = nova
        self.fence = fence
        self.storage = storage
        self.jobs = jobs
        self.clock = clock
        self._looked = {}               # recovery id -> (when, why nothing may be sent)
        self._read_at = {}              # recovery id -> when its host's disks were read
        self._tended = {}               # host -> when its fence was found to be kept
        self._kept = {}                 # recovery id -> (when, why its host stays out)
        # Host -> what is held while its fence is changed, so that none is put up while an older
        # recovery of that host still takes one back.
        self._turn = collections.defaultdict(threading.Lock)

    # -- before: where the disks are, and the fence ---------------------------------------------
    def read_disks(self, recovery, cluster):
        """Have the host's disks read that are not on record: '', why not, or None: under way."""
        if not self.storage.unread(recovery.host, cluster):
            return ''
        at = self._read_at.get(recovery.id)
        if at is not None and (self.clock() - at).total_seconds() < READ_AGAIN:
            return ''                   # tried just now: who is still unread waits
        result = self.jobs.insist(('disks', recovery.id), self.storage.read, recovery.host,
                                  cluster)
        if result is None:
            return None
        if result.error:
            return str(result.error)
        self._read_at[recovery.id] = self.clock()
        return ''

    def backed(self, recovery, cluster):
        """The cluster with what backs the host's instances, under its fence or one to come."""
        return self.storage.backed(cluster, recovery.host, self.fenced(recovery))

    def fenced(self, recovery):
        """The evidence of the recovery's fence, None while there is none.

        That is none of another driver; and one that was lifted, or was about to be, is none.
        """
        found = None
        for step in self.store.steps(recovery.id, ('fence', 'lift')):
            if step.kind == 'lift':
                found = None
            elif step.state == 'done' and self.fence.of(step.evidence) is not None:
                found = step.evidence
        return found

    def lifted(self, recovery):
        """Whether its host may write again, or was about to be let: its fence proves nothing."""
        return bool(self.store.steps(recovery.id, 'lift'))

    def begun(self, host):
        """What fences that were begun may have done to the host, in words; '': nothing."""
        fences = [self.fence.of(s.evidence) for s in self._fences(host)]
        return '; '.join(dict.fromkeys(f.done for f in fences if f is not None and f.done))

    def never_out(self, recovery):
        """Whether neither this recovery nor one that it took over from has done anything."""
        return not self.begun(recovery.host) and len(self._line(recovery)) == 1

    def put_up(self, recovery, cluster, objection=lambda: ''):
        """Fence the host, unless that is done; returns by which driver.

        What one fence cannot do, the next one is asked to. Raises what says why it is not fenced.

        :param objection: why it must not begin now, ''; asked when its turn has come
        """
        with self._turn[recovery.host]:
            if (done := self.fenced(recovery)) is not None:
                return done['driver']
            problems = []
            for fence in self.fence:
                try:
                    self._put_up(fence, recovery, cluster, objection)
                    return fence.name
                except (exception.Held, exception.TermLost, exception.StoreUnavailable):
                    raise
                except Exception as e:
                    # Not even a fault of ours in one keeps the next from being tried.
                    LOG.log(logging.WARNING, '%s is not fenced by %s: %s', recovery.host,
                            fence.name, e, exc_info=not isinstance(e, exception.VmhaError))
                    problems.append((fence.name, e))
            if len(problems) == 1:
                raise problems[0][1]
            raise exception.FenceFailed('; '.join(f'by {name}: {e}' for name, e in problems))

    def _put_up(self, fence, recovery, cluster, objection):
        ours = self._ranges('ours', recovery.host, *self._others(recovery.host))
        plan = fence.plan(recovery.host, ours)
        # What is covered is worked out, and on record, before anything is done: later Nova
        # notes changes of the instances that are our own doing.
        plan['covered'] = self.storage.covered(cluster, recovery.host, plan)
        if reason := objection():
            raise exception.Held(reason)
        self._put(fence, recovery.id, recovery.host, plan, fence.proves)

    def _put(self, fence, recovery_id, host, plan, detail):
        self.lead.step('fence', host, recovery_id, lambda: (
            'done', detail, fence.fence(host, plan)), plan)

    def _fences(self, host):
        """The fences of a host that were done, or begun, since one was last lifted."""
        found = []
        for step in self.store.steps(kind=('fence', 'lift'), subject=host):
            if step.kind == 'fence':
                found.append(step)
            elif step.state == 'done':
                found.clear()
        return found

    def _ranges(self, what, *hosts):
        """The ranges that are in those of some hosts: all ('ranges'), or 'ours' to lift."""
        return {r for h in hosts for s in self._fences(h) for r in s.evidence.get(what, ())}

    def _others(self, host):
        """The other hosts that are out."""
        return {r.host for r in self.store.recoveries(unreleased=True)} - {host}

    # -- meanwhile ------------------------------------------------------------------------------
    def objection(self, recovery):
        """Why nothing may be sent now, '' where all is well; None before the first answer."""
        at, reason = self._looked.get(recovery.id, (None, None))
        if at is not None and (self.clock() - at).total_seconds() < GUARD:
            return reason
        result = self.jobs.insist(('guard', recovery.id), self._look, recovery)
        if result is None:              # the look takes its time, but not any time
            return None if at is not None and (
                self.clock() - at).total_seconds() >= STALE else reason
        if result.error:
            self._looked.pop(recovery.id, None)
            return f'the storage cannot be asked: {result.error}'
        self._looked[recovery.id] = self.clock(), result.value
        return result.value

    def _look(self, recovery):
        with self._turn[recovery.host]:
            self._keep(recovery.host)
            evidence = self.fenced(recovery)
            if evidence is not None and (problem := self._keep_off(recovery, evidence)):
                return problem
        if evidence is None and any(fence.done for fence in self.fence):
            return (f'no fence of {recovery.host} by [fence] driver = {self.fence.name} is on '
                    'record: abort the recovery and retry it')
        reason = self.storage.ready(recovery.host)
        return f'the storage is not ready: {reason}' if reason else ''

    def _keep_off(self, recovery, evidence):
        """Fence the host again where a fence that does not last is not in force any more.

        Only before something is sent: once its recovery is over, it may be switched on.
        """
        fence = self.fence.of(evidence)
        plan = None if fence.lasting else fence.keep(recovery.host, evidence)
        if plan is None:
            return ''
        try:
            self._put(fence, recovery.id, recovery.host, plan, f'again: {fence.proves}')
        except exception.FenceFailed as e:
            return f'{recovery.host} was switched on again, and is not fenced: {e}'
        return ''

    def _keep(self, host):
        """Have the host's fence in force as recorded, and recorded as it is in force.

        All that was ever proven or begun since it was let in last is kept, of whichever recovery:
        what an earlier one moved must not meet its old guests either.
        """
        fence = self.fence.lasting
        fences = [s for s in self._fences(host) if fence and self.fence.of(s.evidence) is fence]
        proven = [s for s in fences if s.state == 'done']
        if not proven:
            return
        last = proven[-1]               # what a later one will cover is for that one to say
        kept = {**last.evidence, **{what: sorted({one for s in fences for one in s.evidence[what]})
                                    for what in ('entries', 'ranges', 'ours')}}
        plan = fence.keep(host, kept)
        if plan is None and last is not fences[-1]:
            plan = kept                 # it is all there, and not known to be in force
        if plan is not None:
            self._put(fence, last.recovery_id, host, plan,
                      'in force again, or for longer, or for more clients')

    def tend(self, host):
        """Keep a host's fence while its recovery is open, whatever that waits for.

        :returns: why that does not work, ''.
        """
        at = self._tended.get(host)
        if not self.fence.lasting or (
                at is not None and (self.clock() - at).total_seconds() < GUARD):
            return ''
        result = self.jobs.insist(('tend', host), self._tend, host)
        if result is None or result.error:
            return str(result.error) if result else ''
        self._tended[host] = self.clock()
        return ''

    def _tend(self, host):
        with self._turn[host]:
            self._keep(host)

    # -- after: until the host may use the storage again ----------------------------------------
    def watch_over(self, recovery, node, well):
        """Keep the fence of a host whose recovery is over until the host may return.

        :param well: whether its nova-compute has sent heartbeats for long enough
        :returns: why it must stay out, '' when nothing of ours keeps it out, None: not known yet
        """
        if not any(fence.done for fence in self.fence) and node is not None and _in_service(node):
            return ''                   # Nova has seen to it
        at, reason = self._kept.get(recovery.id, (None, None))
        if at is not None and (self.clock() - at).total_seconds() < GUARD:
            return reason
        result = self.jobs.insist(('keep', recovery.id), self._keep_or_lift, recovery, well)
        if result is None:
            return reason
        if result.error:
            return f'its fence cannot be checked: {result.error}'
        self._kept[recovery.id] = self.clock(), result.value
        return result.value

    def _keep_or_lift(self, recovery, well):
        host = recovery.host
        with self._turn[host]:
            if self.store.recovery(recovery.id).released_at is not None:
                return f'another recovery of {host} was begun'
            fences = self._fences(host)
            if not fences and self.lifted(recovery):
                return ''               # what an earlier recovery had moved was looked at then
            by = [self.fence.of(s.evidence) for s in fences]
            last = by[-1] if by else None
            off = OFF if last and last.done and not last.lasting and not well else ''
            reason = '' if recovery.wish == 'release' else self._uncleaned(recovery, well, off)
            if reason:
                self._keep(host)
                return reason
            if any(fence is not None and fence.done for fence in by):
                self._lift(recovery, any(fence is not None and fence.lasting for fence in by))
            return reason

    def _lift(self, recovery, lasts):
        """Take back what lasts of the host's fences; from now on none of them proves anything."""
        host = recovery.host
        # An address may have been another host's, which is out as well.
        ranges = self._ranges('ours', host) - self._ranges('ranges', *self._others(host))
        self.lead.step('lift', host, recovery.id, lambda: (
            self.fence.lasting.lift(ranges) if lasts else None, ('done', (
                "an operator's word that it writes no more"
                if recovery.wish == 'release' else 'its old guests are gone'),
                {'ranges': sorted(ranges)}))[1])

    def _uncleaned(self, recovery, well, off):
        """Why old guests may still be on the host; '': they are proven gone.

        :param off: what is to be said of a host that is switched off, ''

        Nova ends an evacuation's record as 'completed' when a nova-compute that has started again
        has removed the old guest. A heartbeat proves no such thing: a host whose cable was put
        back beats, and its old guests run.
        """
        # An earlier recovery's guests, too, where the host failed again before it was let back.
        rows = [m for one in self._line(recovery) for m in self.store.moves(one.id)]
        sent = collections.defaultdict(list)
        for move in rows:
            if move.intent_at is not None:
                sent[move.instance_id].append(move)
        listed = self.nova.evacuations(recovery.host)
        self._need_records(recovery.host, sent, listed)
        records = [r for r in listed if r.status not in moves.BROKEN
                   and any(r.id not in m.known for m in sent[r.instance_id])]
        # Said first, also of a host that is off: it must not be started before that is settled.
        if away := self._elsewhere(recovery.host, rows, listed):
            return (f'{", ".join(away)} may run there, though Nova shows it here: that evacuation '
                    'was begun, and never ended. The next start of nova-compute, or of the guest, '
                    'would run it here as well. See that it does not run there ("virsh list"), '
                    f'then "openstack vmha recovery release {recovery.id}", and put '
                    f'{recovery.host} in service')
        left = [r for r in records if r.status != 'completed']
        if left:
            return off or (
                f'{len(left)} of {len(records)} evacuated guests are not cleaned up on '
                f'{recovery.host}: restart nova-compute there; or, only if the machine is '
                f'gone for good, "openstack vmha recovery release {recovery.id}"')
        # What never left has no second copy; but an operator who aborts may mean the host. The
        # last look may be of the time before it was taken down.
        if not records and not (well and recovery.state != 'aborted') and not any(
                s.host == recovery.host and s.up and not s.forced_down
                for s in self.nova.services()):
            return off or f'nothing has left {recovery.host}: put it in service when it is well'
        return ''

    def _line(self, recovery):
        return moves.line(recovery, self.store.recoveries(host=recovery.host))

    def _elsewhere(self, host, rows, listed):
        """Guests that may run on a target, and would on the host when it starts: 'NAME on HOST'.

        Not those that its next start leaves alone, as it completes their records.
        """
        found = []
        for ident, records in moves.unended(rows, listed).items():
            if any(r.status != 'completed' for r in records):
                continue
            try:
                instance = self.nova.server(ident)
            except exception.NotFound:
                continue
            if not instance.known:
                raise exception.Unreachable(f'Nova cannot show {ident} now')
            if instance.host == host:
                last = next(m for m in rows if m.instance_id == ident and m.intent_at)
                found.append(f'{last.name} on '
                             f'{" or ".join(sorted({r.target for r in records})) or last.target}')
        return sorted(found)

    def _need_records(self, host, sent, listed):
        """Nova's list of a cell that is down is empty, and does not say so.

        :param sent: instance id -> moves for which an evacuation was asked
        :raises Unreachable: it lacks one that has taken place, or that Nova had taken.
        """
        having = {r.instance_id for r in listed}
        for ident, some in sent.items():
            if ident in having or not any(m.landed_at or m.accepted_at for m in some):
                continue
            try:
                self.nova.server(ident)
            except exception.NotFound:
                continue                # its records are gone with it
            raise exception.Unreachable(
                f'Nova lists no evacuation of {some[-1].name} from {host}, and there was one: '
                'is its cell down?')


def _in_service(node):
    return node.up and node.enabled and not node.forced_down
