"""A failed host's fence, from its plan to its end, and whether the storage would serve guests.

Only one answer lets a call go out: the fence is in force as recorded, and the storage is ready.
An error is not that answer.
"""

GUARD = 5.0                             # seconds between looks at the fence and the storage
READ_AGAIN = 30.0                       # seconds before disks that could not be read are again
ENDED = ('failed', 'error', 'cancelled')    # of Nova's evacuation records; nothing was moved


class Guard:
    """See the module. ``fence`` and ``storage`` as in fencing and storage."""

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
        self._kept = {}                 # recovery id -> (when, why its host stays out)

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
        """The evidence of the recovery's fence, None while there is none."""
        done = [s for s in self.store.steps(recovery.id, 'fence') if s.state == 'done']
        return done[-1].evidence if done else None

    def put_up(self, recovery, cluster):
        """Fence the host, unless that is done. Raises what says why it is not fenced."""
        if self.fenced(recovery) is not None:
            return
        plan = self.fence.plan(recovery.host, self._ours(recovery.host))
        # What is covered is worked out, and on record, before anything is done: later Nova notes
        # changes of the instances that are our own doing.
        backed = self.storage.backed(cluster, recovery.host, dict(plan, covered=()))
        plan = dict(plan, covered=[i.id for i in backed.on(recovery.host) if i.backing is None
                                   or not (i.backing.local or i.backing.unsure)])
        self.lead.step('fence', recovery.host, recovery.id, lambda: (
            'done', self.fence.proves, self.fence.fence(recovery.host, plan)), plan)

    def _ours(self, host):
        """The ranges that fences of the host have put in force, or were about to, not lifted."""
        ours = set()
        for step in self.store.steps(kind=('fence', 'lift'), subject=host):
            if step.kind == 'fence':
                ours |= set(step.evidence.get('ours', ()))
            elif step.state == 'done':
                ours.clear()
        return ours

    # -- meanwhile ------------------------------------------------------------------------------
    def objection(self, recovery):
        """Why nothing may be sent now, '' where all is well; None before the first answer."""
        at, reason = self._looked.get(recovery.id, (None, None))
        if at is not None and (self.clock() - at).total_seconds() < GUARD:
            return reason
        result = self.jobs.insist(('guard', recovery.id), self._look, recovery)
        if result is None:
            return reason
        if result.error:
            self._looked.pop(recovery.id, None)
            return f'the storage cannot be asked: {result.error}'
        self._looked[recovery.id] = self.clock(), result.value
        return result.value

    def _look(self, recovery):
        self._keep(recovery)
        reason = self.storage.ready(recovery.host)
        return f'the storage is not ready: {reason}' if reason else ''

    def _keep(self, recovery):
        """Have the fence in force as recorded, and recorded as it is in force."""
        evidence = self.fenced(recovery)
        if not self.fence.lasting or evidence is None:
            return
        found = self.fence.keep(recovery.host, evidence)
        if found is not None:
            self.lead.step('fence', recovery.host, recovery.id,
                           lambda: ('done', 'in force again, or for more clients', found), found)

    # -- after: until the host may use the storage again ----------------------------------------
    def watch_over(self, recovery, node):
        """Keep the fence of a host whose recovery is over until the host may return.

        :returns: why it must stay out, '' when nothing of ours keeps it out, None: not known yet
        """
        if not self.fence.lasting:
            return ''
        at, reason = self._kept.get(recovery.id, (None, None))
        if at is not None and (self.clock() - at).total_seconds() < GUARD:
            return reason
        result = self.jobs.insist(('keep', recovery.id), self._keep_or_lift, recovery, node)
        if result is None:
            return reason
        if result.error:
            return f'its fence cannot be checked: {result.error}'
        self._kept[recovery.id] = self.clock(), result.value
        return result.value

    def _keep_or_lift(self, recovery, node):
        reason = self._uncleaned(recovery, node)
        if reason:
            self._keep(recovery)
            return reason
        ours = self._ours(recovery.host)
        if ours:
            self.lead.step('lift', recovery.host, recovery.id, lambda: (
                self.fence.lift(ours),
                ('done', 'its old guests are gone', {'ranges': sorted(ours)}))[1])
        return ''

    def _uncleaned(self, recovery, node):
        """Why old guests may still be on the host; '': they are proven gone.

        Nova ends an evacuation's record as 'completed' when a nova-compute that has started again
        has removed the old guest. A heartbeat proves no such thing: a host whose cable was put
        back beats, and its old guests run.
        """
        sent = {m.instance_id: m for m in self.store.moves(recovery.id) if m.attempts or m.faults}
        records = [r for r in self.nova.evacuations(recovery.host) if r.instance_id in sent
                   and r.id not in sent[r.instance_id].known and r.status not in ENDED]
        left = [r for r in records if r.status != 'completed']
        if left:
            return (f'{len(left)} of {len(records)} evacuated guests are not cleaned up on '
                    f'{recovery.host}: restart nova-compute there')
        if not records and (node is None or node.forced_down or not node.up):
            return f'nothing has left {recovery.host}: put it in service when it is well'
        return ''
