"""The broken versions: what is changed, what goes wrong by it, and the test that has to see it.

``old`` stands once in ``file``. Who changes that code changes it here as well.
"""

import dataclasses

SCENARIOS = 'tests.unit.test_scenarios.ScenarioTest.test_'


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One broken version.

    :ivar part: of what: decide, verdict, moves, fence, storm, store, messages, collector
    :ivar breaks: what it does wrong, in words
    :ivar test: dotted name
    """

    name: str
    part: str
    breaks: str
    file: str
    old: str
    new: str
    test: str


def _scenario(name):
    return SCENARIOS + name.replace('-', '_')


MUTATIONS = (
    # -- decide -----------------------------------------------------------------------------------
    Mutation('failed-target', 'decide', 'a host that has failed itself is a target',
             'vmha_nova/decide.py',
             "        if host in self._hosts:\n            return 'has failed itself'",
             "        if False:\n            return 'has failed itself'",
             _scenario('spare-dies-mid-recovery')),
    Mutation('anti-affinity-ignored', 'decide',
             'members of an anti-affinity group are put on one host',
             'vmha_nova/rules.py',
             'members_there >= group.max_per_host', 'members_there > group.max_per_host',
             _scenario('anti-affinity-waits')),
    Mutation('priority-ignored', 'decide', 'the largest goes first, whatever its priority',
             'vmha_nova/decide.py',
             'return -priority, -size, instance_id', 'return -size, instance_id',
             _scenario('priority')),
    Mutation('refused-again', 'decide', 'a host that has refused an instance is asked again',
             'vmha_nova/decide.py',
             'if host in self._tried.get(instance.id, ()):', 'if False:',
             _scenario('target-full')),
    Mutation('backend-ignored', 'decide',
             'a host with another image backend is a target: Nova makes an empty disk there',
             'vmha_nova/rules.py',
             'if wanted.backend and node.backend != wanted.backend:', 'if False:',
             'tests.unit.test_rules.TargetTest.test_another_backend'),
    Mutation('local-disk-ignored', 'decide',
             'an instance whose disk was on the dead host itself is evacuated',
             'vmha_nova/rules.py',
             "or (instance.backing.local if instance.backing else ''))", "or '')",
             _scenario('left-alone')),
    Mutation('maintenance-ignored', 'verdict', 'a host in maintenance is recovered',
             'vmha_nova/verdict.py',
             'if node.maintenance and not failure.forced:', 'if False:',
             _scenario('maintenance')),
    # -- is it dead? ------------------------------------------------------------------------------
    Mutation('one-beat-is-life', 'verdict',
             'one heartbeat, which was on its way, is taken for life',
             'vmha_nova/verdict.py', 'ALIVE_BEATS = 2', 'ALIVE_BEATS = 1',
             _scenario('alive-one-late-beat')),
    Mutation('osds-no-witness', 'verdict',
             'a host whose OSDs are up is taken for dead: only its nova-compute is',
             'vmha_nova/verdict.py', 'osds.what in (disks.UP, disks.PARTLY)', 'osds.what in ()',
             _scenario('compute-down-osds-up')),
    Mutation('nobody-beats', 'verdict', 'where no host beats, all of them are taken for dead',
             'vmha_nova/verdict.py', 'if others and all(', 'if others and not all(',
             _scenario('nobody-beats')),
    Mutation('cell-down-ignored', 'verdict',
             'a host is fenced while its cell is down, and nothing is known of it',
             'vmha_nova/recovery.py',
             '        if recovery.host in self.collector.snapshot.unknown_hosts:\n'
             "            return f'the cell",
             "        if False:\n            return f'the cell",
             _scenario('cell-down-while-held')),
    # -- moves ------------------------------------------------------------------------------------
    Mutation('no-quiet-period', 'moves',
             'a call whose answer was lost is repeated before Nova can have listed the first one',
             'vmha_nova/moves.py',
             '    if seen_at < quiet:\n        return {}\n    if instance.task_state:',
             '    if instance.task_state:',
             _scenario('answer-lost-record-late')),
    Mutation('second-call', 'moves', 'an instance is evacuated while Nova is evacuating it',
             'vmha_nova/flight.py', 'if moves.running(move, records):', 'if False:',
             _scenario('others-evacuate-unseen')),
    Mutation('power-state-left', 'moves',
             'a stopped instance that Nova has started stays started',
             'vmha_nova/moves.py',
             "    if as_before(move, instance):\n        return _end('moved'",
             "    if True:\n        return _end('moved'",
             _scenario('power-state-put-back')),
    Mutation('forgotten', 'moves',
             'a recovery is over although a last list shows an instance that it does not know',
             'vmha_nova/recovery.py',
             'if {i.id for i in listed.value[0]} - {m.instance_id for m in rows}:', 'if False:',
             _scenario('last-list-has-one-more')),
    Mutation('others-forced-down', 'moves',
             'what others have forced down is taken for this service\'s doing',
             'vmha_nova/recovery.py', 'if found and not mine:', 'if False:',
             _scenario('nova-says-forced-down')),
    # -- the fence, and the order of things ---------------------------------------------------
    Mutation('unfenced', 'fence', 'instances are moved although the fence has failed',
             'vmha_nova/recovery.py',
             "        if result.error:\n            return Hold(f'{recovery.host} is not fenced",
             "        if False:\n            return Hold(f'{recovery.host} is not fenced",
             _scenario('fence-no-bmc')),
    Mutation('old-maps-trusted', 'fence',
             'a fence counts although an OSD still works by a map without it',
             'vmha_nova/fencing/storage.py',
             '            if not late:\n', '            if True:\n',
             _scenario('fence-osd-with-old-map')),
    Mutation('recorded-after', 'fence', 'an act is recorded only after it was done',
             'vmha_nova/lead.py',
             '        step = self.store.begin_step(self.term, kind, subject, recovery_id, plan)\n'
             '        try:\n'
             '            self.check_lock()\n'
             '            state, detail, evidence = function()\n',
             '        state, detail, evidence = function()\n'
             '        step = self.store.begin_step(self.term, kind, subject, recovery_id, plan)\n'
             '        try:\n'
             '            pass\n',
             _scenario('host-dies')),
    Mutation('fence-not-kept', 'fence', 'a fence that somebody removes is not put up again',
             'vmha_nova/guard.py',
             '        if plan is not None:\n            self._put(fence, last.recovery_id',
             '        if False:\n            self._put(fence, last.recovery_id',
             _scenario('fence-removed-by-others')),
    Mutation('lifted-early', 'fence',
             'the fence is lifted while old guests are still on the host',
             'vmha_nova/guard.py', "left = [r for r in records if r.status != 'completed']",
             'left = []', _scenario('return-cable-only')),
    Mutation('others-range', 'fence', 'a range that others have blocked is taken for ours',
             'vmha_nova/fencing/storage.py',
             "sorted(r for r in ranges if r not in there or r in ours)", 'sorted(ranges)',
             _scenario('fence-there-before')),
    Mutation('storage-not-asked', 'fence',
             'instances are sent to a storage whose placement groups are inactive',
             'vmha_nova/guard.py', 'reason = self.storage.ready(recovery.host)', "reason = ''",
             _scenario('storage-not-ready')),
    Mutation('storm-ignored', 'storm', 'any number of hosts is recovered at a time',
             'vmha_nova/storm.py', 'if len(failed) < 2:', 'if True:', _scenario('storm')),
    Mutation('pause-ignored', 'storm', 'recoveries begin while an operator has paused them',
             'vmha_nova/engine.py', 'if found.what == verdict.DEAD and view.pause.paused:',
             'if False:', _scenario('pause')),
    # -- the store, and what comes in ----------------------------------------------------------
    Mutation('term-not-compared', 'store', 'two engines that start together get one term',
             'vmha_nova/db/base.py',
             'sa.update(models.Leader).where(models.Leader.id == 1, models.Leader.term == term)',
             'sa.update(models.Leader).where(models.Leader.id == 1)',
             'tests.unit.test_store.SqliteTest.'
             'test_a_lead_that_was_taken_meanwhile_is_not_taken_again'),
    Mutation('old-term-writes', 'store', 'an engine that leads no more can write',
             'vmha_nova/db/base.py',
             '            if not found.rowcount:\n'
             "                raise exception.TermLost(f'another engine leads;",
             '            if False:\n'
             "                raise exception.TermLost(f'another engine leads;",
             'tests.unit.test_store.SqliteTest.'
             'test_the_newest_engine_leads_and_the_old_one_can_write_no_more'),
    Mutation('moves-by-halves', 'store', 'new moves are written although changes of others fail',
             'vmha_nova/db/store.py', '            session.add_all(told)\n',
             '            session.add_all(told)\n            session.commit()\n',
             'tests.unit.test_store.SqliteTest.test_moves_are_written_together_or_not_at_all'),
    Mutation('wish-lost', 'store', 'a wish is forgotten when another one was answered',
             'vmha_nova/db/store.py', 'if row.wish == answered:', 'if answered:',
             'tests.unit.test_store.SqliteTest.test_only_the_wish_that_was_answered_is_cleared'),
    Mutation('told-by-halves', 'store', 'a verdict is in the journal, and nobody was told',
             'vmha_nova/db/store.py',
             "            self._tell(session, 'vmha.host.verdict', dict(",
             "            session.commit()\n"
             "            self._tell(session, 'vmha.host.verdict', dict(",
             'tests.unit.test_store.SqliteTest.'
             'test_a_verdict_is_in_the_journal_and_told_or_neither'),
    Mutation('every-message-counts', 'store', 'a message that comes twice is two reports',
             'vmha_nova/db/store.py',
             'same = last is not None and not (', 'same = False and not (',
             _scenario('message-doubled')),
    Mutation('acknowledged-early', 'messages',
             'a report is acknowledged although it could not be written',
             'vmha_nova/messaging.py',
             "cannot be stored and was dropped: {e}')\n"
             '        except exception.StoreUnavailable as e:\n'
             '            return self._requeue(e)\n',
             "cannot be stored and was dropped: {e}')\n"
             '        except exception.StoreUnavailable:\n'
             '            pass\n',
             'tests.unit.test_messaging.HostDownTest.'
             'test_while_the_row_cannot_be_written_the_message_waits'),
    Mutation('cursor-first', 'collector',
             'changes are asked for from now on before those until now were read',
             'vmha_nova/collector/instances.py',
             '            listed = self._nova.servers(changes_since=since)\n',
             '            self.mark = started\n'
             '            listed = self._nova.servers(changes_since=since)\n',
             'tests.unit.test_collector_instances.InstancesTest.'
             'test_after_a_list_that_fails_the_next_one_begins_where_it_began'),
    Mutation('absence-is-proof', 'collector', 'who is missing on a list is taken for deleted',
             'vmha_nova/collector/instances.py',
             'self._look_up(sorted(lacking))', 'self._apply(number, gone=lacking)',
             'tests.unit.test_collector_instances.ReconcileTest.'
             'test_the_truth_about_every_instance'),
)
