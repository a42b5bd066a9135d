"""The loop: observe, decide, act, record.

    cycle():  observe()         the snapshot of the cloud, and the rows that wait for us
              judge()           is the host that was reported really dead? -> a recovery
              look_for_storm()  have too many hosts failed? (storm.py)
              Work.advance()    the next thing for each recovery (recovery.py)
              end_maintenance() of hosts whose time is over
              keep_spares()     spares wait with scheduling turned off
              watch_over()      hosts that are out: keep their fence; bring them back
              keep_up()         say that we lead; keep the measured load for others to see

The loop itself never waits for Nova: whatever does runs as a job, and the loop goes on with the
rest and takes the answer when it is there. Anything that happens elsewhere (a notification, a
finished job) wakes it.
"""

import dataclasses
import logging
import threading

from vmha_nova import exception
from vmha_nova import homecoming
from vmha_nova import jobs
from vmha_nova import lead
from vmha_nova import marks
from vmha_nova import recovery as recovery_work
from vmha_nova import states
from vmha_nova import storm
from vmha_nova import verdict

LOG = logging.getLogger(__name__)
IDLE, BUSY = 1.0, 0.25                  # seconds between cycles nobody wakes
KEEP_UP = 5.0                           # seconds between writes while nothing happens
SAY_AGAIN = 60.0                        # seconds before a condition is put in other words


@dataclasses.dataclass(frozen=True)
class View:
    """What one cycle works on."""

    cluster: object                     # model.Cluster, with the marks of the database
    marks: dict
    reports: list
    recoveries: list                    # open ones
    out: dict                           # host -> newest recovery whose host is not back
    pause: object                       # model.Pause


class Engine:
    """One engine. ``holder`` names it; ``settings`` is a model.Policy.

    :param executor: runs the jobs; its size bounds the calls under way.
    :param idle: called after a cycle in which nothing was under way.
    :param leadership: has leads(), and problem; None: there is no other engine
    """

    def __init__(self, store, nova, collector, fence, storage, executor, clock, holder,
                 settings, idle=lambda: None, leadership=None):
        self.store = store
        self.nova = nova
        self.collector = collector
        self.storage = storage
        self.clock = clock
        self.holder = holder
        self.settings = settings
        self._leadership = leadership
        self.lead = storage.lead = (
            lead.Lead(store) if leadership is None else lead.Lead(store, leadership.leads))
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._said = {}
        self._storm = None              # whether there is one, as it was told
        self._short = None              # pools without a free spare, likewise; None: not looked
        self._idle = idle
        self._kept_at, self._loads = None, {}
        self._led_at = None             # since when it leads, until the cloud was read since
        self.jobs = jobs.Jobs(executor, self._wake.set, clock)
        self.work = recovery_work.Work(store, self.lead, nova, collector, fence, storage,
                                       self.jobs, clock, settings)
        self.home = homecoming.Homecoming(store, self.lead, nova, collector, self.work.guard,
                                          self.jobs, clock, settings)

    # -- the loop -------------------------------------------------------------------------------
    def run(self, leads=lambda: None):
        """Wait for the lock, then lead and work until stop().

        :param leads: called once, when this engine has the lead
        :raises TermLost: another engine leads, or may by now
        """
        pause = 0
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            try:
                if self.term is None:
                    if not self.lead.holds():
                        self._wait_for_lock()
                        pause = BUSY
                        continue
                    self.take_lead()
                    leads()
                self.lead.check_lock()
                pause = self.cycle()
            except exception.StoreUnavailable as e:
                self._say('store', f'nothing is done while {e}', logging.ERROR)
                pause = 2 * IDLE

    def _wait_for_lock(self):
        """Say why nobody may lead. That another engine does is no news to anybody."""
        problem = self._leadership.problem
        if problem:
            self._say('lock', f'{self.holder} waits, and so does every other engine that does '
                      f'not reach it: {problem}', logging.ERROR)

    def stop(self):
        """End the loop after the cycle under way."""
        self._stop.set()
        self._wake.set()

    def wake(self):
        """Something has happened elsewhere: look now."""
        self._wake.set()

    def moved(self):
        """Nova has told of an instance: look at the moves under way, soon.

        Each evacuation makes a dozen of these. The loop comes round by itself where moves are
        under way.
        """
        self.work.flight.poke()

    def follows(self):
        """Whether moves are under way, so that the loop has the changed servers listed."""
        return self.work.flight.follows()

    @property
    def term(self):
        """The term in which this engine leads or has led, None before."""
        return self.lead.term

    def take_lead(self):
        """Take the lead; the engine that had it can write no more."""
        self.lead.take(self.holder)
        self._led_at = self.clock()
        LOG.info('%s leads with term %d', self.holder, self.term)

    def cycle(self):
        """Do once what is to be done; returns the seconds until the next cycle."""
        view = self.observe()
        if not self._is_read(view.cluster):
            return BUSY                 # nothing is decided before
        broken = {report.id for report in view.reports if not self._try(
            f'report {report.id} of {report.host}', self.judge, report, view)}
        open_ = [r for r in view.recoveries if r.state not in states.RECOVERY_OVER]
        self.work.open = {r.host: r.id for r in open_}
        self.work.down = frozenset(r.host for r in [*open_, *view.reports])
        self.work.pause = view.pause
        self.look_for_storm(view, open_, broken)
        for recovery in view.recoveries:
            self._try(f'recovery {recovery.id} of {recovery.host}', self.work.advance, recovery,
                      view.cluster)
        self._try('ending maintenance', self.end_maintenance, view)
        self._try('keeping the spares', self.keep_spares, view)
        for host, recovery in view.out.items():
            self._try(f'{host}, which is out', self.watch_over, recovery, view)
        self._try('keeping up', self.keep_up, view)
        self.jobs.sweep()
        if view.reports or view.recoveries:
            return BUSY
        self.work.flight.rest()
        self._idle()
        return IDLE

    def _is_read(self, cluster):
        """Whether the cloud was read since this engine leads.

        What it knows from before, the engine that led then may have changed since.
        """
        if cluster.nodes_at is None or cluster.instances_at is None:
            return False                # the collector is at it, for the first time
        if self._led_at is None:
            return True
        old = [(key, look) for at, key, look in (
            (cluster.nodes_at, 'services', self.collector.refresh_services),
            (cluster.instances_at, 'instances', self.collector.refresh_instances))
            if at < self._led_at]
        for key, look in old:
            self.jobs.insist((key,), look)
        if not old:
            self._led_at = None         # the clock may be set back from here on
        return not old

    def _try(self, what, function, *args):
        """Do it; what goes wrong with one thing does not stop the others. Returns if it went."""
        try:
            function(*args)
            return True
        except (exception.TermLost, exception.StoreUnavailable):
            raise
        except Exception as e:
            self._say(('internal', what), f'{what}: internal error: {type(e).__name__}: {e}',
                      logging.ERROR, exc_info=True)
            return False

    def observe(self):
        """Everything the cycle works on, read once."""
        marks_ = self.store.marks()
        cluster = self.storage.with_backends(
            marks.with_marks(self.collector.snapshot, marks_, self.clock()))
        out = {r.host: r for r in self.store.recoveries(unreleased=True)}
        for problem in cluster.problems:
            self._say(('cluster', problem.split(':')[0]), problem, logging.WARNING)
        return View(cluster=cluster, marks=marks_, out=out,
                    pause=self.store.paused(), reports=self.store.failures(open_only=True),
                    recoveries=self.store.recoveries(open_only=True))

    # -- reports --------------------------------------------------------------------------------
    def judge(self, report, view):
        """Turn a report into a recovery, or say why not."""
        known = view.out.get(report.host)
        if known is not None and known.ended_at is None:
            self._close(report, 'duplicate', f'recovery {known.id} is at it: '
                        f'{known.state}, {known.reason}', recovery_id=known.id)
            return
        evidence = verdict.watch(report, view.cluster.nodes.get(report.host))
        if evidence is not None:
            self.store.set_failure(self.term, report.id, 'checking', report.detail,
                                   evidence=evidence)
            report = dataclasses.replace(report, evidence=evidence, state='checking')
        osds = self.storage.osd_state(report.host)
        found = verdict.judge(report, view.cluster, self.settings, self.clock(), osds)
        node = view.cluster.nodes.get(report.host)
        if node is not None and found.what in (verdict.DEAD, verdict.WAIT) and (
                reason := verdict.planned(
                    report, node, node.forced_down and self.home.forced_by_us(report.host),
                    self.settings)):
            found = verdict.Verdict(verdict.DISMISS, reason)
        if found.what == verdict.DEAD and view.pause.paused:
            self._wait(report, verdict.Verdict(verdict.WAIT, (
                f'{states.paused(view.pause)}. {found.reason}')), view)
        elif found.what == verdict.DEAD:
            if osds is not None:
                report = dataclasses.replace(report, evidence={
                    **report.evidence, 'osds': {
                        'what': osds.what, 'text': osds.text,
                        'seen_at': osds.seen_at and osds.seen_at.isoformat()}})
            self._take(report, found, known, view)
        elif found.what == verdict.WAIT:
            self._wait(report, found, view)
        else:
            self._close(report, 'dismissed', found.reason)

    def _wait(self, report, found, view):
        if (report.state, report.detail) != ('checking', found.reason):
            if report.detail.split('(')[0] != found.reason.split('(')[0]:
                LOG.info('report %d of %s: %s', report.id, report.host, found.reason)
            self.store.set_failure(self.term, report.id, 'checking', found.reason)
        node = view.cluster.nodes.get(report.host)
        last = view.cluster.nodes_at if node is None or node.heartbeat is None else (
            node.heartbeat.looked_at)
        if last is None or (self.clock() - last).total_seconds() >= self.settings.check_interval:
            self.jobs.insist(('services',), self.collector.refresh_services)
            self.jobs.insist(('map',), self.storage.refresh_map)

    def _take(self, report, found, known, view):
        """Open a recovery for a dead host that holds instances."""
        if report.host in view.cluster.unknown_hosts:
            self._wait_for_list(report, 'its cell is down')     # Nova would list nothing
            return
        # Which instances it holds is known; whether it holds none, or came back with some, is
        # worth a question. What has changed since is listed once Nova holds the host down.
        instances = view.cluster.on(report.host)
        if known is not None or not instances:
            listed = self.jobs.insist(('host', report.host), self.collector.reconcile,
                                      report.host)
            if listed is None:
                return
            if listed.error:
                self._wait_for_list(report, listed.error)
                return
            instances = listed.value
        if known is not None:           # that recovery is over and the host never came back
            # What had left, and is there again, came back with the host.
            dealt_with = {m.instance_id for m in self.store.moves(known.id)
                          if m.state not in ('moved', 'gone')}
            # And a host that was let back, if not yet into service, has failed anew.
            back = known.state == 'dismissed' or self.work.guard.lifted(known) or (
                bool(self.store.steps(known.id, 'force_up')))
            if not back and all(i.id in dealt_with for i in instances):
                retry = '' if known.state == 'recovered' else (
                    f'; "openstack vmha recovery retry {known.id}" tries again')
                self._close(report, 'duplicate', f'recovery {known.id} has dealt with it: '
                            f'{known.state}, {known.reason}{retry}', recovery_id=known.id)
                return
        if not instances:
            # It is dead all the same, and counts when others die with it.
            beat = view.cluster.nodes[report.host].heartbeat
            self._close(report, 'dismissed', f'{report.host} holds no instances: nothing to '
                        f'recover ({found.reason})', evidence={
                            'baseline': beat and beat.value, **report.evidence, 'empty': True})
            return
        recovery = self.store.open_recovery(self.term, report, found.reason)
        view.out[report.host] = recovery        # for other reports of that host in this cycle
        LOG.warning('%s is taken for dead: %s; recovery %s for %d instances', report.host,
                    found.reason, recovery.id, len(instances))
        self.wake()

    def _wait_for_list(self, report, error):
        detail = f'the instances of {report.host} cannot be listed: {error}'
        if report.detail != detail:
            self.store.set_failure(self.term, report.id, 'checking', detail)

    def _close(self, report, state, detail, **values):
        log = LOG.info if state == 'duplicate' else LOG.warning
        log('report %d of %s from %s: %s, %s', report.id, report.host, report.source, state,
            detail)
        self.store.set_failure(self.term, report.id, state, detail, **values)

    # -- storms ---------------------------------------------------------------------------------
    def look_for_storm(self, view, open_, broken):
        """Work out what must not begin by itself, and say so: once a storm, and loudly.

        :param broken: reports that cannot be judged, by id
        """
        waiting = {r.host: r for r in open_ if not r.approved and not self.work.begun(r)}
        found = {}
        if waiting:
            now, down = self.clock(), self.settings.heartbeat_silence / 2
            recent = {r.host for r in self.store.recoveries(since=storm.since(now))
                      if r.state != 'dismissed'}
            # Those that died with what waits count with it, however long it waits.
            first = min([now, *(r.created_at for r in waiting.values())])
            empty = [r for r in self.store.failures(since=storm.since(first))
                     if r.evidence.get('empty')]
            recent.update(r.host for r in empty if r.received_at >= storm.since(now))
            # Read anew: what was just judged is a report no more, and a recovery or nothing. What
            # cannot be judged never will be, and must not hold others up.
            reports = [r for r in self.store.failures(open_only=True) if r.id not in broken]
            failed = storm.silent([*reports, *empty], view.cluster, down).union(
                r.host for r in self.store.recoveries(open_only=True) if r.ended_at is None)
            found = storm.excesses(waiting, failed, recent, view.cluster, self.settings.limits)
        self.work.storm = found
        if bool(found) == self._storm:
            return
        text = storm.loud(found) if found else 'the storm is over: no recovery is held for it'
        held = [dict(host=h, recovery_id=waiting[h].id) for h in sorted(found)]
        if self.store.turn(
                self.term, 'storm', '', 'error' if found else 'info', text,
                'vmha.cloud.storm' if found else 'vmha.cloud.calm', dict(
                    reason=text, limits=sorted({e.limit for e in found.values()}),
                    hosts=sorted({h for e in found.values() for h in e.hosts}), held=held)):
            LOG.log(logging.ERROR if found else logging.INFO, '%s', text)
        self._storm = bool(found)

    def end_maintenance(self, view):
        """End maintenance whose time is over."""
        for host, mark in view.marks.items():
            now = self.clock()
            if mark.maintenance and marks.expired(mark, now) and (
                    self.store.end_maintenance(self.term, host, now)):
                self.store.note('info', 'maintenance', f'{host}: the time of its maintenance is '
                                'over, it is looked after again', host=host)
                LOG.info('%s: the time of its maintenance is over', host)

    # -- spares and returned hosts --------------------------------------------------------------
    def keep_spares(self, view):
        """Scheduling is off on every spare that no open recovery uses, and only there by us.

        A call that turns a spare the other way ends first: Nova may answer it minutes after it was
        done, and what is noted of it then is to be true. One that was reported is left as it is:
        what is done to it changes what Nova shows as its heartbeat, and it would seem alive.
        """
        pools = {node.pool for node in view.cluster.nodes.values()}
        self._tell_shortages(homecoming.shortages(view.cluster, view.out), pools)
        used = self._used_spares(view)
        for node in view.cluster.nodes.values():
            if not node.spare or node.host in view.out or node.host in self.work.down:
                continue                # one that failed is for its way back
            key = ('park', node.host)
            if node.enabled and node.up and node.host not in used and (
                    not self.jobs.running(('enable', node.host))):
                result = self.jobs.insist(key, self._park, node.host)
                if result is not None and result.error:
                    self._say(key, f'spare {node.host} cannot be disabled: {result.error}',
                              logging.ERROR, node.host)
            elif not node.enabled and not node.parked and self._parked_by_us(node):
                self.store.keep_mark(self.term, node.host, parked=True)
            elif not node.enabled and not node.parked:
                self._say(key, f'spare {node.host} is disabled by somebody else '
                          f'({node.disabled_reason or "no reason given"}) and cannot be used; '
                          'enable it in Nova, this service then keeps it', logging.WARNING,
                          node.host)
        for host, mark in view.marks.items():
            node = view.cluster.nodes.get(host)
            if mark.parked and not mark.spare and host not in self.work.down and (
                    node is not None and node.up) and not any(
                    self.jobs.running((kind, host)) for kind in ('park', 'enable')):
                result = self.jobs.insist(('unpark', host), self._unpark, host)
                if result is not None and result.error:
                    self._say(('unpark', host), f'{host} cannot be enabled: {result.error}',
                              logging.ERROR, host)

    def _tell_shortages(self, short, pools):
        """Say once which pools have no free spare any more, and when they have.

        What an engine before this one has told stands in the journal, and may be so no more.
        """
        for pool in sorted(pools if self._short is None else short.keys() ^ self._short):
            text = short.get(pool, f'there is a free spare{f" of pool {pool}" * bool(pool)} again')
            if self.store.turn(
                    self.term, 'spares', f'pool {pool}' if pool else '',
                    'warning' if pool in short else 'info', text,
                    'vmha.cloud.no_spare' if pool in short else 'vmha.cloud.spare_again',
                    dict(pool=pool, reason=text)):
                LOG.log(logging.WARNING if pool in short else logging.INFO, '%s', text)
        self._short = frozenset(short)

    def _used_spares(self, view):
        used = set()
        for recovery in view.recoveries:
            if recovery.ended_at is None:
                used.update(m.target for m in self.store.moves(recovery.id))
        return used

    def _parked_by_us(self, node):
        """Whether a spare is disabled by a call of ours that Nova has done after a later one."""
        return node.disabled_reason == marks.SPARE_REASON and bool(
            self.store.steps(kind='park', subject=node.host))

    def _park(self, host):
        def act():
            # Noted first: killed in between, the node is still known to be ours to enable.
            self.store.keep_mark(self.term, host, parked=True)
            self.lead.check_lock()
            self.nova.disable(node.service_id, marks.SPARE_REASON)
            return 'done', 'scheduling is off until a recovery needs it', {}
        self.collector.refresh_services()
        node = self.collector.snapshot.nodes[host]
        if node.enabled:                # or somebody has just disabled it, for a reason of theirs
            self.lead.step('park', host, None, act)
            self.collector.refresh_services()

    def _unpark(self, host):
        self.collector.refresh_services()
        node = self.collector.snapshot.nodes[host]
        if not node.enabled and node.disabled_reason == marks.SPARE_REASON:
            self.lead.step('unpark', host, None, lambda: (
                self.nova.enable(node.service_id), ('done', 'it is no spare any more', {}))[1])
            self.collector.refresh_services()
        self.store.keep_mark(self.term, host, parked=False)

    def watch_over(self, recovery, view):
        """Keep a failed host's fence while its recovery is open; then bring it back."""
        if recovery.ended_at is None:
            problem = self.work.guard.tend(recovery.host)
            if problem:
                self._say(('fence', recovery.host), f'the fence of {recovery.host} cannot be '
                          f'kept: {problem}', logging.ERROR, recovery.host)
            return
        node = view.cluster.nodes.get(recovery.host)
        reason = self.home.watch_over(
            recovery, None if recovery.host in view.cluster.unknown_hosts else node)
        if reason:
            self._say(('out', recovery.host), f'{recovery.host} stays out: {reason}',
                      logging.WARNING, recovery.host)

    def keep_up(self, view):
        """Now and then: find out if another engine leads, and write down the measured load.

        An idle engine that was replaced would else end at the first report it should act upon.
        """
        now = self.clock()
        if self._kept_at is not None and (now - self._kept_at).total_seconds() < KEEP_UP:
            return
        loads = {n.host: (n.cpu_share, n.cpu_share_at) for n in view.cluster.nodes.values()
                 if n.cpu_share is not None}
        self.store.save_loads(self.term, dict(loads.items() - self._loads.items()))
        self._kept_at, self._loads = now, loads

    def _say(self, key, text, level, host='', **values):
        """Log and note a standing condition: once, and when its words change, but not often."""
        said, at = self._said.get(key, (None, None))
        now = self.clock()
        if said == text or (at is not None and (now - at).total_seconds() < SAY_AGAIN):
            return
        self._said[key] = text, now
        LOG.log(level, text, **values)
        if level >= logging.WARNING:
            kind = key if isinstance(key, str) else key[0]
            try:
                self.store.note(logging.getLevelName(level).lower(), kind, text, host)
            except exception.StoreUnavailable:
                pass                    # the log has it
