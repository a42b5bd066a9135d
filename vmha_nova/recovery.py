"""One recovery, from a host taken for dead to instances that run elsewhere.

``STAGES`` maps the state a recovery is in to the method that does what is next. A method returns
None (still at it), Go(state, reason) or Hold(reason). A held recovery stays at its stage: the
same method is asked again until it has nothing to hold for. Everything a method needs to know
after a crash stands in the database; what is kept in memory only saves work.
"""

import dataclasses
import datetime
import logging

from vmha_nova import decide
from vmha_nova import exception
from vmha_nova import flight
from vmha_nova import guard
from vmha_nova import homecoming
from vmha_nova import marks
from vmha_nova import model
from vmha_nova import moves
from vmha_nova import states
from vmha_nova import storm
from vmha_nova import summary
from vmha_nova import verdict

LOG = logging.getLogger(__name__)
SECOND_ROUND = 10.0                     # seconds before hosts that refused are asked again
RECENT = 1.0                            # seconds: a look at Nova's services that is no older


@dataclasses.dataclass(frozen=True)
class Go:
    """The stage is done; ``state`` is next."""

    state: str
    reason: str = ''


@dataclasses.dataclass(frozen=True)
class Hold:
    """The recovery waits, for what the reason says."""

    reason: str


class Work:
    """What is done for recoveries.

    :param settings: model.Policy.
    """

    def __init__(self, store, lead, nova, collector, fence, storage, jobs, clock, settings):
        self.store = store
        self.lead = lead
        self.nova = nova
        self.collector = collector
        self.jobs = jobs
        self.clock = clock
        self.settings = settings
        self.guard = guard.Guard(store, lead, nova, fence, storage, jobs, clock)
        self.flight = flight.Flight(store, lead, nova, collector, jobs, clock, settings)
        self.down = frozenset()         # hosts that failed or are said to have: no targets
        self.open = {}                  # host -> id of its recovery, where that is not over
        self.pause = model.Pause()      # holds what has not begun
        self.storm = {}                 # host -> storm.Excess that holds what has not begun
        self._seen = {}

    STAGES = {'confirmed': 'plan_and_fence', 'fenced': 'take_down', 'down_in_nova': 'prepare',
              'moving': 'move'}

    # -- the stages -----------------------------------------------------------------------------
    def advance(self, recovery, cluster):
        """Do what is next for one recovery and record where it stands."""
        if recovery.state in states.RECOVERY_OVER:
            # To let its host go is for who watches over hosts that are out.
            if recovery.wish and (recovery.wish != 'release' or recovery.released_at is not None):
                self._after_the_end(recovery)
            return
        if recovery.wish in ('release', 'retry'):
            recovery = self._refuse(recovery, 'it is under way; abort it first')
        if recovery.wish == 'approve':
            recovery = self._set(recovery, answered='approve', approved=True)
        if recovery.wish == 'abort':
            step = self._abort(recovery)
        else:
            step = getattr(self, self.STAGES[recovery.stage])(recovery, cluster)
        if isinstance(step, Hold):
            if recovery.state != 'held' or recovery.reason != step.reason:
                if recovery.state != 'held':
                    LOG.info('recovery %s of %s is held: %s', recovery.id, recovery.host,
                             step.reason)
                self._set(recovery, state='held', resume=recovery.stage, reason=step.reason)
        elif isinstance(step, Go):
            self._go(recovery, step)
        elif recovery.state == 'held':
            self._go(recovery, Go(recovery.resume, 'what it was held for is settled'))

    def plan_and_fence(self, recovery, cluster):
        """Name what goes where, and what cannot; then make sure that the host writes no more."""
        rows = self.store.moves(recovery.id)
        report = self._watch(recovery, cluster)
        now = self.clock()
        # An operator who insists knows better than its heartbeats, as long as nobody had to wait.
        if recovery.state == 'held' or not (verdict.at_once(report, now, self.settings) or (
                report.forced and self._at_work(recovery))):
            found = verdict.again(report, cluster.nodes.get(recovery.host), self.settings, now)
            if found.what == verdict.ALIVE:
                if self.jobs.running(('fence', recovery.id)):
                    return None         # it ends first: what it has done is taken back then
                self._leave(recovery, rows, found.reason)
                done = self.guard.begun(recovery.host) or 'nothing was done to it'
                return Go('dismissed', f'{found.reason}; {done}. Should it be '
                                       'dead all the same: "openstack vmha failure report '
                                       f'{recovery.host} --force"')
            if found.what == verdict.WAIT:
                return Hold(found.reason)
        unread = self.guard.read_disks(recovery, cluster)
        if unread is None:
            return None
        if unread:
            return Hold(f'where the disks of {recovery.host} are cannot be read: {unread}')
        rows = self._decide(recovery, cluster, rows)
        movable = [m for m in rows if m.state not in states.MOVE_FINAL]
        if not movable:
            return self._finish(recovery, cluster, rows)
        # What an operator decides upon comes first: what has no place has one more reason then.
        if reason := self._not_now(recovery, self.pause):
            return Hold(reason)
        if all(m.state == 'unplaced' for m in movable):
            return Hold(f'none of {len(movable)} instances has a place to go; '
                        f'the first one: {movable[0].reason}')
        # It may wait for its turn, and must not begin if that has changed by then.
        result = self.jobs.insist(
            ('fence', recovery.id), self.guard.put_up, recovery, cluster,
            lambda: self._not_now(recovery, self.store.paused()))
        if result is None:
            return None
        if result.error:
            return Hold(f'{recovery.host} is not fenced: {result.error}')
        return Go('fenced', f'fenced by {result.value}')

    def _at_work(self, recovery):
        """Whether this engine has begun, and has not stopped since."""
        return any(self.jobs.under_way((kind, recovery.id)) for kind in ('disks', 'fence'))

    def begun(self, recovery):
        """Whether something was done already that is not to be stopped half way."""
        return recovery.stage != 'confirmed' or bool(self.store.steps(recovery.id, 'fence'))

    def _not_now(self, recovery, pause):
        """Why this recovery does not begin now: mostly an operator has to let it; ''."""
        if self.begun(recovery):
            return ''
        if recovery.host in self.collector.snapshot.unknown_hosts:
            return f'the cell of {recovery.host} is down: nothing is known of it'
        excess = self.storm.get(recovery.host)
        if excess is not None and not recovery.approved:
            return storm.waits_for_word(excess, recovery.id)
        if not recovery.approved and (reason := storm.flaps(
                recovery, self.store.recoveries(host=recovery.host), self.settings.flap_window)):
            return reason
        return states.paused(pause) if pause.paused else ''

    def take_down(self, recovery, cluster):
        """Tell Nova that the host is down; meanwhile, begin with what comes next."""
        if self.jobs.running(('return', recovery.host)):
            return None                 # the end of its last way back
        down = self.jobs.insist(('down', recovery.id), self._take_down, recovery)
        self.jobs.start(('list', recovery.id), self._list, recovery)
        if self.guard.objection(recovery) == '':
            self._enable_targets(recovery, cluster, self.store.moves(recovery.id))
        if down is None:
            return None
        if down.error:
            return Hold(f'{recovery.host} cannot be taken down in Nova: {down.error}')
        return Go('down_in_nova', f'{recovery.host} is forced down and disabled in Nova')

    def prepare(self, recovery, cluster):
        """Wait for the storage, and plan with what the host held; meanwhile, enable spares."""
        self._watch(recovery, cluster)  # this may take long, and each heartbeat counts
        reason = self.guard.objection(recovery)
        if reason:
            return Hold(reason)
        if reason is None:
            self.jobs.start(('list', recovery.id), self._list, recovery)
            return None
        listed = self.jobs.insist(('list', recovery.id), self._list, recovery)
        self._enable_targets(recovery, cluster, self.store.moves(recovery.id))
        if listed is None:
            return None
        if listed.error:
            return Hold(f'the instances of {recovery.host} cannot be listed: {listed.error}')
        _instances, self._seen[recovery.id] = listed.value
        rows = self._decide(recovery, dataclasses.replace(
            self.collector.snapshot, nodes=cluster.nodes), self.store.moves(recovery.id))
        count = sum(m.state == 'waiting' for m in rows)
        return Go('moving', f'{count} instances to evacuate from {recovery.host}')

    def move(self, recovery, cluster):
        """Evacuate in order of priority, a few at a time, and follow each until it is home."""
        seen = self._seen.setdefault(recovery.id, flight.Seen())
        rows = self.flight.follow(recovery, self.store.moves(recovery.id), seen, self._change)
        if seen.error:
            return Hold(f'Nova cannot be read: {seen.error}')
        if seen.at is None:
            return None                 # nothing is decided before the first look at Nova
        if any(m.state in ('waiting', 'unplaced') for m in rows):
            self.guard.read_disks(recovery, cluster)
            rows = self._decide(recovery, cluster, rows)
        if all(m.state in states.MOVE_FINAL for m in rows):
            return self._finish(recovery, cluster, rows)
        report = self._watch(recovery, cluster)
        found = verdict.again(report, cluster.nodes.get(recovery.host), self.settings,
                              self.clock())
        if found.what == verdict.DEAD and recovery.approved:
            recovery = self._set(recovery, approved=False)      # of heartbeats that are no more
        if found.what == verdict.ALIVE and not (recovery.approved or report.forced):
            return Hold(f'{recovery.host} sends heartbeats again, and its guests may run there: '
                        'nothing is sent until it is off, or until an operator says '
                        f'"openstack vmha recovery approve {recovery.id}"')
        if any(m.state == 'waiting' for m in rows):
            reason = self.guard.objection(recovery)
            if reason:
                return Hold(reason)
            if reason is None:
                return None
        rows = self.flight.send(recovery, cluster, rows, seen, self._change)
        return self._stuck(rows, self._enable_targets(recovery, cluster, rows))

    # -- deciding -------------------------------------------------------------------------------
    def _decide(self, recovery, cluster, rows):
        """Give every move that waits a target or a reason; add instances not seen before."""
        now = self.clock()
        cluster = summary.as_found(self.guard.backed(recovery, cluster), rows)
        rows = self._change(recovery, rows, {
            m.id: change for m in rows if m.state in ('waiting', 'unplaced')
            for change in [self._ended_by_others(m, recovery, cluster, now)] if change})
        open_ = {m.instance_id: m for m in rows if m.state in ('waiting', 'unplaced')
                 and not self._keep_target(m, cluster, now)
                 and not (m.not_before and m.not_before > now)}
        known = {m.instance_id for m in rows}
        if not open_ and all(i.id in known for i in cluster.on(recovery.host)):
            return rows
        failed = [self._failed(
            recovery.host, [m for m in rows if m.instance_id not in open_], cluster,
            settled=frozenset(known - set(open_)),
            tried={m.instance_id: frozenset(m.tried) for m in rows})]
        failed += [self._failed(
            host, self.store.moves(self.open[host]) if host in self.open else (), cluster,
            settled=cluster.by_host.get(host, frozenset()))
            for host in sorted(self.down - {recovery.host})]
        plan = decide.decide(cluster, failed, self.settings, now)
        new, changed = [], {}
        for placement in plan.placements:
            instance, values = placement.instance, summary.planned(placement, now)
            move = open_.get(instance.id)
            if move is None:
                new.append(dict(values, instance_id=instance.id, name=instance.name,
                                project_id=instance.project_id, was=instance.vm_state,
                                position=len(rows) + len(new), tried=[], known=[]))
            elif move.tried and values['state'] == 'unplaced':
                # Everywhere else is no place either, and what refused it may have room again:
                # a second round, while attempts are left.
                changed[move.id] = dict(
                    tried=[], not_before=now + datetime.timedelta(seconds=SECOND_ROUND),
                    reason=f'{move.reason}; {placement.reason}')
            elif any(getattr(move, k) != v for k, v in values.items()):
                changed[move.id] = values
        if not new and not changed:
            return rows
        LOG.info('recovery %s of %s: %s', recovery.id, recovery.host, summary.describe(plan))
        self.store.save_moves(self.lead.term, recovery.id, new=new, changed=changed)
        return self.store.moves(recovery.id)

    def _ended_by_others(self, move, recovery, cluster, now):
        """The change for a move whose instance needs or allows none any more, or None."""
        instance = cluster.instances.get(move.instance_id)
        if instance is None:
            return dict(state='gone', reason='deleted before its turn came',
                        ended_at=now) if self.flight.proven_gone(move) else None
        if instance.host not in ('', recovery.host):
            if move.intent_at and instance.host == move.target and not instance.task_state:
                return moves.arrived(move, instance, now)   # of a call that had been given up
            return dict(state='gone', ended_at=now,
                        reason=f'it was on {instance.host} before its turn came')
        if not instance.host and instance.known:
            return dict(state='failed', ended_at=now, reason='Nova has it on no host any more, '
                        f'in vm_state {instance.vm_state or "(none)"}')
        reason = decide.leave_reason(instance, cluster, self.settings)
        return dict(state='left', reason=reason, ended_at=now) if reason else None

    def _keep_target(self, move, cluster, now):
        """A waiting move changes its target only when that is no target any more.

        Or when it must not be sent at all: what was planned before the fence may not be under it.
        """
        if move.state != 'waiting' or move.target in move.tried or move.target in self.down:
            return False
        instance = cluster.instances.get(move.instance_id)
        if instance is not None and instance.backing is not None and instance.backing.unsure:
            return False
        node = cluster.nodes.get(move.target)
        return node is not None and not decide.target_problem(node, self.settings, now)

    def _failed(self, host, leaving, cluster, **values):
        """A host as the plan has to see it, with what its moves under way take elsewhere."""
        return model.Failed(
            host=host, bound=moves.bound(host, cluster, leaving),
            pledged={m.instance_id: m.target for m in leaving if moves.uncounted(m, cluster)},
            **values)

    # -- acting: fence, force_down, disable, enable ----------------------------------------------
    def _take_down(self, recovery):
        self.collector.refresh_services()
        node = self.collector.snapshot.nodes.get(recovery.host)
        if node is None:
            raise exception.UnknownHost(f'Nova has no compute node {recovery.host!r} any more')
        # force_down first: disabling a service that Nova takes for up makes nova-api call it.
        # What an earlier recovery has done is this service's as well.
        forced = homecoming.forced_by_us(self.store.steps(
            kind=('force_down', 'force_up'), subject=recovery.host))
        for kind, found, act in (
                ('force_down', node.forced_down and not forced,
                 lambda: self.nova.force_down(node.service_id, True)),
                ('disable', not node.enabled and not node.disabled_reason.startswith(
                    homecoming.DISABLED),
                 lambda: self.nova.disable(node.service_id, homecoming.DISABLED + recovery.id))):
            mine = self.store.steps(recovery.id, kind)
            if any(s.state in ('done', 'not_ours') for s in mine):
                continue
            if found and not mine:
                self.lead.step(kind, recovery.host, recovery.id, lambda: (
                    'not_ours', 'found so; will not be undone', {}))
            else:
                self.lead.step(kind, recovery.host, recovery.id,
                          lambda act=act: (act(), ('done', '', {}))[1])

    def _list(self, recovery):
        """The host's instances and evacuation records, read after its fence."""
        asked_at = self.clock()
        self.collector.refresh_services(RECENT)
        if recovery.host in self.collector.snapshot.unknown_hosts:
            raise exception.Unreachable('its cell is down')
        instances, records_at = self.collector.reconcile(recovery.host), self.clock()
        return instances, flight.Seen(
            self.nova.evacuations(recovery.host), flight.Look(asked_at, records_at),
            flight.Look(asked_at, asked_at))

    def _enable_targets(self, recovery, cluster, rows):
        """Turn scheduling on where this service had turned it off and a move wants to go.

        One at first, so that a call goes out early; the others when that is answered, or if that
        one hangs. None that was reported (Engine.keep_spares). Returns why one cannot be, ''.
        """
        closed, wanted = '', list(dict.fromkeys(m.target for m in rows if m.state == 'waiting'))
        if recovery.stage != 'moving':
            wanted = wanted[:1]
        elif moves.first_call(rows):
            return ''
        for host in wanted:
            node = cluster.nodes.get(host)
            if node is None or node.enabled or not node.parked or host in self.down or (
                    not node.up) or any(self.jobs.running((k, host)) for k in ('park', 'unpark')):
                continue
            result = self.jobs.insist(('enable', host), self._enable, host, recovery.id)
            if result is not None and result.error:
                closed = closed or f'{host} cannot be enabled: {result.error}'
        return closed

    def _enable(self, host, recovery_id):
        self.collector.refresh_services()
        node = self.collector.snapshot.nodes[host]
        if not node.enabled:
            if node.disabled_reason != marks.SPARE_REASON:
                raise exception.Rejected('somebody else has disabled it '
                                         f'({node.disabled_reason or "no reason given"})')
            self.lead.step('enable_spare', host, recovery_id,
                      lambda: (self.nova.enable(node.service_id), ('done', '', {}))[1])
            self.collector.on_enabled(host)
        self.store.keep_mark(self.lead.term, host, parked=False)

    def _finish(self, recovery, cluster, rows):
        """Over, unless a last list shows an instance that no list has shown before."""
        listed = self.jobs.insist(('last', recovery.id), self._list, recovery)
        if listed is None:
            return None
        if listed.error:
            return Hold(f'whether {recovery.host} holds more instances is not known: '
                        f'{listed.error}')
        if {i.id for i in listed.value[0]} - {m.instance_id for m in rows}:
            self._decide(recovery, dataclasses.replace(
                self.collector.snapshot, nodes=cluster.nodes), rows)
            return None
        return Go(*summary.outcome(rows))

    def _stuck(self, rows, closed):
        if closed and all(m.state in states.MOVE_FINAL or m.state in ('waiting', 'unplaced')
                          for m in rows):
            return Hold(closed)
        stuck = [m for m in rows if m.state == 'unplaced']
        if stuck and all(m.state in states.MOVE_FINAL or m.state == 'unplaced' for m in rows):
            return Hold(f'{len(stuck)} of {len(rows)} instances have no place to go; '
                        f'{stuck[0].name or stuck[0].instance_id}: {stuck[0].reason}')
        return None

    # -- what operators ask for -----------------------------------------------------------------
    def _abort(self, recovery):
        """Send nothing more, follow what is under way, then end."""
        rows = self._leave(recovery, self.store.moves(recovery.id), 'aborted by an operator')
        if any(m.state in states.IN_FLIGHT for m in rows):
            seen = self._seen.setdefault(recovery.id, flight.Seen())
            self.flight.follow(recovery, rows, seen, self._change)
            return Hold(f'to be aborted, and Nova cannot be read: {seen.error}') if (
                seen.error) else None
        if any(self.jobs.running((kind, recovery.id)) for kind in ('fence', 'down', 'list')):
            return None                 # it ends first: nothing is done for what is over
        return Go('aborted', f'aborted by an operator: {summary.tally(rows, "nothing planned")}')

    def _leave(self, recovery, rows, reason):
        now = self.clock()
        return self._change(recovery, rows, {
            m.id: dict(state='left', reason=reason, ended_at=now)
            for m in rows if m.state in ('waiting', 'unplaced')})

    def _after_the_end(self, recovery):
        """Try again at an operator's wish, or say why not."""
        answer = ''
        if recovery.wish != 'retry' or recovery.state not in ('partial', 'aborted'):
            answer = f'it is {recovery.state}'
        elif recovery.released_at is not None:
            # What proved that the host cannot write was about its last life.
            answer = (f'{recovery.host} was in service again since, or failed again; '
                      'report it as down if it is')
        elif self.store.steps(recovery.id, 'force_up') or (
                self.jobs.running(('return', recovery.host))):
            answer = f'{recovery.host} is on its way back into service'
        elif self.guard.lifted(recovery):
            answer = (f'the fence of {recovery.host} was lifted since, so that it may write '
                      'again; report it as down if it is')
        if answer:
            self._refuse(recovery, answer)
            return
        rows, now = self.store.moves(recovery.id), self.clock()
        again = ('failed',) if recovery.state == 'partial' else ('failed', 'left')
        self._change(recovery, rows, {
            m.id: moves.retry(m, now) for m in rows if m.state in again})
        self._set(recovery, answered='retry', ended_at=None,
                  reason="tried again at an operator's wish",
                  state='moving' if recovery.state == 'partial' and (
                      self.guard.fenced(recovery)) else 'confirmed')

    def _refuse(self, recovery, answer):
        self.store.note('warning', 'wish', f'recovery {recovery.id}: {recovery.wish} is not '
                        f'possible: {answer}', host=recovery.host, recovery_id=recovery.id)
        return self._set(recovery, answered=recovery.wish)

    def _watch(self, recovery, cluster):
        """The report of this recovery, with the heartbeats that have come since."""
        report = self.store.report_of(recovery.id)
        evidence = verdict.watch(report, cluster.nodes.get(recovery.host))
        if evidence is None:
            return report
        self.store.set_failure(self.lead.term, report.id, report.state, report.detail,
                               evidence=evidence)
        return dataclasses.replace(report, evidence=evidence)

    # -- recording ------------------------------------------------------------------------------
    def _change(self, recovery, rows, changes):
        if not changes:
            return rows
        self.store.save_moves(self.lead.term, recovery.id, changed=changes)
        return self.store.moves(recovery.id)

    def _set(self, recovery, **values):
        return self.store.set_recovery(self.lead.term, recovery.id, **values)

    def _go(self, recovery, step):
        over = step.state in states.RECOVERY_OVER
        values = dict(state=step.state, reason=step.reason, resume='')
        if step.state == 'fenced':      # an approval to begin is none to go on whatever comes
            values.update(approved=False)
        if over:
            values.update(ended_at=self.clock(),
                          answered='abort' if step.state == 'aborted' else '')
            self._seen.pop(recovery.id, None)
            self._give_up_spares(recovery)
        if step.state == 'dismissed' and self.guard.never_out(recovery):
            values.update(released_at=self.clock())     # it never was out of service
        self._set(recovery, **values)
        LOG.info('recovery %s of %s: %s, %s', recovery.id, recovery.host, step.state, step.reason)
        self.jobs.wake()                # the next stage begins at once

    def _give_up_spares(self, recovery):
        """Where policy says so, the spares this recovery took are ordinary nodes from now on."""
        if self.settings.spare_after != 'ordinary':
            return
        for step in self.store.steps(recovery.id, 'enable_spare'):
            if step.state in ('done', 'intended'):      # killed before it was noted as done
                # It may be parked again by now: then it is enabled, as any that is no spare.
                self.store.keep_mark(self.lead.term, step.subject, spare=False)
