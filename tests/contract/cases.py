"""The contract: a test for each rule of tests/unit/nova_rules.py, with its name.

A class for each state that a cloud is in, which is expensive to make: ``Contract.scene`` makes
it once. Within one, tests use servers of their own, and leave the hosts as they were.
"""

import datetime
import functools
import uuid

from tests.contract.stage import FLAVOR
from tests.contract.stage import HOSTS
from tests.contract.stage import OTHER
from tests.contract.stage import SILENT
from tests.contract.stage import SOURCE
from tests.contract.stage import TARGET
from vmha_nova import exception

SECOND = 1.2                            # Nova keeps its times in whole seconds


class Contract:
    """What the tests have in common. ``make_stage`` is for who runs them."""

    make_stage = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stage = cls.make_stage()
        cls.addClassCleanup(cls.stage.close)
        cls.nova = cls.stage.nova
        cls.scene()

    @classmethod
    def scene(cls):
        """What there is for all tests of the class."""

    # -- how it is ------------------------------------------------------------------------------
    @classmethod
    def service(cls, host):
        return next(s for s in cls.nova.services() if s.host == host)

    @classmethod
    def id_of(cls, host):
        return cls.service(host).id

    def look(self, ident):
        """What a server is like, in short."""
        found = self.nova.server(ident)
        return found.host, found.vm_state, found.task_state

    def record(self, ident):
        """The only evacuation record of a server, None."""
        found = [r for r in self.nova.evacuations(SOURCE) if r.instance_id == ident]
        self.assertLess(len(found), 2)
        return found[0] if found else None

    def used(self, host):
        provider = next(h.id for h in self.nova.hypervisors() if h.host == host)
        used = self.nova.providers()[provider].used
        return {name: used[name] for name in FLAVOR}

    @staticmethod
    def plus(used, count):
        return {name: amount + count * FLAVOR[name] for name, amount in used.items()}

    @classmethod
    def wait(cls, what, condition, seconds=30):
        end = cls.stage.now() + datetime.timedelta(seconds=seconds)
        while not (found := condition()):
            if cls.stage.now() > end:
                raise AssertionError(f'not within {seconds} s: {what}')
            cls.stage.pause(0.2)
        return found

    def stays(self, expected, condition, seconds=3):
        end = self.stage.now() + datetime.timedelta(seconds=seconds)
        while self.stage.now() < end:
            self.assertEqual(expected, condition())
            self.stage.pause(0.5)

    # -- what is done ---------------------------------------------------------------------------
    def refused(self, code, act, *arguments, error=exception.Rejected):
        with self.assertRaises(exception.VmhaError) as caught:
            act(*arguments)
        self.assertIs(error, type(caught.exception), caught.exception)
        self.assertEqual(code, caught.exception.code, caught.exception)

    def unknown(self, act, *arguments, error=exception.Unreachable):
        with self.assertRaises(exception.VmhaError) as caught:
            act(*arguments)
        self.assertIs(error, type(caught.exception), caught.exception)

    @classmethod
    def fail_source(cls):
        """The source dies and is forced down, if it is not yet."""
        cls.stage.kill(SOURCE)
        if not cls.service(SOURCE).forced_down:
            cls.nova.force_down(cls.id_of(SOURCE), True)

    @classmethod
    def landed(cls, ident, target):
        """Wait until a server is there for good."""
        cls.wait(f'{ident} on {target}', lambda: (
            cls.nova.server(ident).host == target and not cls.nova.server(ident).task_state
            and any(r.status == 'done' for r in cls.nova.evacuations(SOURCE)
                    if r.instance_id == ident)))

    def taken(self, act, *arguments):
        """Act, and fail where that is refused."""
        try:
            act(*arguments)
        except exception.VmhaError as e:
            self.fail(str(e))

    def evacuated(self, ident, target=TARGET):
        self.taken(self.nova.evacuate, ident, target)
        self.landed(ident, target)
        return self.nova.server(ident)


class Calm(Contract):
    """All hosts are well, but one that went silent a moment ago, of which Nova knows nothing."""

    @classmethod
    def scene(cls):
        cls.off, cls.runs, cls.spoilt, cls.paused = cls.stage.boot(SOURCE, 4, stopped=1)
        cls.stopping, cls.moving = cls.stage.boot(SILENT, 2)
        cls.stage.put(cls.spoilt, 'error')
        cls.stage.put(cls.paused, 'paused')
        cls.stage.kill(SILENT)
        cls.stage.pause(SECOND)         # its last heartbeat may be on its way

    # -- services -------------------------------------------------------------------------------
    def test_services_are_listed(self):
        found = self.nova.services()
        self.assertEqual(sorted(HOSTS), sorted(s.host for s in found))
        self.assertEqual(len(HOSTS), len({s.id for s in found}))
        one = self.service(TARGET)
        self.assertEqual((True, True, '', False, 'nova'), (
            one.up, one.enabled, one.disabled_reason, one.forced_down, one.zone))

    def test_a_living_host_beats(self):
        for _ in range(2):
            before = self.service(TARGET).beat
            self.wait('a heartbeat', lambda before=before: self.service(TARGET).beat != before)

    def test_a_dead_host_is_up_for_a_while(self):
        self.stays((True, self.service(SILENT).beat),
                   lambda: (self.service(SILENT).up, self.service(SILENT).beat), 4)
        self.wait('Nova notices', lambda: not self.service(SILENT).up, 70)

    def test_forced_down_is_down_at_once(self):
        self.nova.force_down(self.id_of(OTHER), True)
        self.addCleanup(self.nova.force_down, self.id_of(OTHER), False)
        now = self.service(OTHER)
        self.assertEqual((False, True), (now.up, now.forced_down))
        self.wait('it beats on', lambda: self.service(OTHER).beat != now.beat)
        self.assertFalse(self.service(OTHER).up)

    def test_forced_up_is_up_at_once(self):
        self.nova.force_down(self.id_of(OTHER), True)
        self.nova.force_down(self.id_of(OTHER), False)
        now = self.service(OTHER)
        self.assertEqual((True, False), (now.up, now.forced_down))

    def test_disabled_has_a_reason(self):
        self.nova.disable(self.id_of(OTHER), 'new disks')
        now = self.service(OTHER)
        self.assertEqual((False, 'new disks', True), (now.enabled, now.disabled_reason, now.up))
        self.nova.enable(self.id_of(OTHER))
        now = self.service(OTHER)
        self.assertEqual((True, '', True), (now.enabled, now.disabled_reason, now.up))

    def test_a_service_not_known(self):
        nobody = str(uuid.uuid4())
        self.refused(404, self.nova.force_down, nobody, True, error=exception.NotFound)
        self.refused(404, self.nova.disable, nobody, 'x', error=exception.NotFound)
        self.refused(404, self.nova.enable, nobody, error=exception.NotFound)

    # -- compute nodes --------------------------------------------------------------------------
    def test_hypervisors_are_listed(self):
        found = self.nova.hypervisors()
        self.assertEqual(sorted(HOSTS), sorted(h.host for h in found))
        self.assertEqual({h.id for h in found}, set(self.nova.providers()))
        self.assertEqual(found[0], self.nova.hypervisor(found[0].id))
        self.refused(404, self.nova.hypervisor, str(uuid.uuid4()), error=exception.NotFound)

    def test_aggregates_are_listed(self):
        self.stage.aggregate('fast', TARGET, {'disk': 'ssd'})
        found = self.nova.aggregates()
        self.assertEqual([TARGET], list(found))
        one, = found[TARGET]
        self.assertEqual(('fast', 'ssd'), (one.name, one.metadata['disk']))

    def test_traits_are_told(self):
        self.stage.trait(OTHER, 'CUSTOM_RACK_7')
        having = {i for i, p in self.nova.providers().items() if 'CUSTOM_RACK_7' in p.traits}
        self.assertEqual({h.id for h in self.nova.hypervisors() if h.host == OTHER}, having)

    def test_placement_counts_what_is_there(self):
        before = self.used(TARGET)
        one, = self.stage.boot(TARGET)
        self.assertEqual(self.plus(before, 1), self.used(TARGET))
        self.stage.delete(one)
        self.wait('it counts no more', lambda: self.used(TARGET) == before)

    def test_placement_leaves_out_the_full(self):
        one, = (h.id for h in self.nova.hypervisors() if h.host == OTHER)
        with self.stage.full(OTHER):
            self.assertNotIn(one, self.nova.providers())
            self.assertIn(one, {h.id for h in self.nova.hypervisors()})
        self.assertIn(one, self.nova.providers())

    # -- servers --------------------------------------------------------------------------------
    def test_servers_are_listed(self):
        found = {s.id: s.host for s in self.nova.servers().instances}
        for ident, host in ((self.off, SOURCE), (self.runs, SOURCE), (self.stopping, SILENT)):
            self.assertEqual(host, found[ident])
        there = {s.id for s in self.nova.servers(host=SOURCE).instances}
        self.assertEqual({self.off, self.runs, self.spoilt, self.paused}, there)

    def test_changes_are_listed(self):
        changes, = self.stage.boot(TARGET)
        self.stage.pause(SECOND)
        since = self.stage.now()
        self.assertNotIn(changes, self.changed(since))
        self.nova.stop(changes)
        self.assertIn(changes, self.changed(since))
        self.assertNotIn(self.off, self.changed(since))

    def changed(self, since):
        return {s.id for s in self.nova.servers(changes_since=since).instances}

    def test_deleted_is_listed_as_a_change(self):
        since = self.stage.now()
        one, = self.stage.boot(TARGET)
        self.stage.delete(one)
        for found in (self.nova.servers(), self.nova.servers(host=TARGET)):
            self.assertNotIn(one, {s.id for s in found.instances})
            self.assertEqual(frozenset(), found.deleted)
        found = self.nova.servers(changes_since=since)
        self.assertNotIn(one, {s.id for s in found.instances})
        self.assertIn(one, found.deleted)
        self.stage.pause(SECOND)
        self.assertNotIn(one, self.nova.servers(changes_since=self.stage.now()).deleted)

    def test_a_server_not_known(self):
        one, = self.stage.boot(TARGET)
        self.assertEqual((TARGET, 'active', ''), self.look(one))
        self.stage.delete(one)
        for ident in (one, str(uuid.uuid4())):
            self.refused(404, self.nova.server, ident, error=exception.NotFound)

    def test_stamps_change(self):
        one, = self.stage.boot(TARGET)
        self.stage.pause(SECOND)
        stamp = self.nova.server(one).stamp
        self.stage.pause(SECOND)
        self.assertEqual(stamp, self.nova.server(one).stamp)
        self.nova.stop(one)
        self.assertNotEqual(stamp, self.nova.server(one).stamp)

    def test_groups_are_listed(self):
        group = self.stage.group('anti-affinity')
        stays, = self.stage.boot(TARGET, group=group)
        goes, = self.stage.boot(OTHER, group=group)
        found = next(g for g in self.nova.groups() if g.id == group)
        self.assertEqual(('anti-affinity', {stays, goes}), (found.policy, found.members))
        self.stage.delete(goes)
        found = next(g for g in self.nova.groups() if g.id == group)
        self.assertEqual({stays}, found.members)

    # -- stopping and starting ------------------------------------------------------------------
    def test_stopped_and_started(self):
        one, = self.stage.boot(TARGET)
        for act, task, after in ((self.nova.stop, 'powering-off', ('stopped', 4)),
                                 (self.nova.start, 'powering-on', ('active', 1))):
            act(one)
            self.assertIn(self.nova.server(one).task_state, (task, ''))
            self.wait(after, lambda: not self.nova.server(one).task_state)
            found = self.nova.server(one)
            self.assertEqual(after, (found.vm_state, found.power_state))

    def test_power_acts_fit_the_state(self):
        self.refused(409, self.nova.stop, self.off)
        self.refused(409, self.nova.start, self.runs)
        self.assertEqual((SOURCE, 'stopped', ''), self.look(self.off))

    def test_an_error_can_be_stopped(self):
        self.assertEqual((SOURCE, 'error', ''), self.look(self.spoilt))
        self.taken(self.nova.stop, self.spoilt)
        self.wait('stopped', lambda: self.look(self.spoilt) == (SOURCE, 'stopped', ''))

    def test_a_dead_host_stops_nothing(self):
        self.nova.stop(self.stopping)
        self.stays((SILENT, 'active', 'powering-off'), lambda: self.look(self.stopping))

    # -- evacuations that are not taken ---------------------------------------------------------
    def test_a_host_that_is_up_is_not_evacuated(self):
        before = self.nova.server(self.runs)
        self.refused(400, self.nova.evacuate, self.runs, TARGET)
        self.assertEqual(before, self.nova.server(self.runs))
        self.assertEqual([], [r for r in self.nova.evacuations(SOURCE)
                              if r.instance_id == self.runs])

    def test_a_host_that_went_silent_is_evacuated(self):
        self.wait('Nova notices', lambda: not self.service(SILENT).up, 70)
        self.assertFalse(self.service(SILENT).forced_down)
        self.taken(self.nova.evacuate, self.moving, TARGET)
        self.wait('it lands', lambda: self.look(self.moving) == (TARGET, 'active', ''))

    def test_an_evacuation_wants_a_server(self):
        self.refused(404, self.nova.evacuate, str(uuid.uuid4()), TARGET,
                     error=exception.NotFound)

    def test_an_evacuation_wants_a_target(self):
        self.refused(404, self.nova.evacuate, self.runs, 'compute9')

    def test_only_active_stopped_and_error(self):
        self.refused(409, self.nova.evacuate, self.paused, TARGET)


class Failed(Contract):
    """The source is dead and forced down; it had many servers."""

    @classmethod
    def scene(cls):
        cls.began = cls.stage.now()
        cls.off, cls.error, cls.busy, cls.left, *others = cls.stage.boot(SOURCE, 24, stopped=2)
        cls.servers = iter(others)
        cls.stage.put(cls.error, 'error')
        anti, affine = map(cls.stage.group, ('anti-affinity', 'affinity'))
        cls.anti, = cls.stage.boot(SOURCE, group=anti)
        cls.stage.boot(TARGET, group=anti)
        cls.affine, = cls.stage.boot(SOURCE, group=affine)
        cls.stage.kill(SOURCE)
        cls.nova.stop(cls.busy)
        cls.stage.pause(SECOND)
        cls.beat = cls.service(SOURCE).beat
        cls.nova.force_down(cls.id_of(SOURCE), True)

    @functools.cached_property
    def one(self):
        """A server for this test alone."""
        return next(self.servers)

    def test_acts_move_the_beat(self):
        beats = [self.beat, self.service(SOURCE).beat]
        for act, *arguments in ((self.nova.disable, 'it burns'), (self.nova.enable,)):
            self.stage.pause(SECOND)
            act(self.id_of(SOURCE), *arguments)
            beats.append(self.service(SOURCE).beat)
        self.stays(beats[-1], lambda: self.service(SOURCE).beat)
        self.assertEqual(sorted(set(beats)), beats)

    # -- evacuations that are taken -------------------------------------------------------------
    def test_its_own_host_is_no_target(self):
        self.refused(400, self.nova.evacuate, self.left, SOURCE)

    def test_who_runs_runs_again(self):
        found = self.evacuated(self.one)
        self.assertEqual(('active', 1), (found.vm_state, found.power_state))

    def test_who_is_stopped_stays_so(self):
        found = self.evacuated(self.off)
        self.assertEqual(('stopped', 4), (found.vm_state, found.power_state))

    def test_who_is_in_error_runs(self):
        self.assertEqual((SOURCE, 'error', ''), self.look(self.error))
        self.assertEqual('active', self.evacuated(self.error).vm_state)

    def test_a_task_state_is_overwritten(self):
        self.assertEqual((SOURCE, 'active', 'powering-off'), self.look(self.busy))
        self.assertEqual('active', self.evacuated(self.busy).vm_state)

    def test_busy_is_not_stopped(self):
        self.nova.evacuate(self.one, TARGET)
        self.refused(409, self.nova.stop, self.one)
        self.landed(self.one, TARGET)

    def test_it_is_rebuilding_meanwhile(self):
        self.nova.evacuate(self.one, TARGET)
        host, vm_state, task = self.look(self.one)
        self.assertEqual((SOURCE, 'active'), (host, vm_state))
        self.assertStartsWith('rebuild', task)
        self.landed(self.one, TARGET)

    def assertStartsWith(self, start, text):
        self.assertEqual(start, text[:len(start)])

    def test_it_has_a_record(self):
        self.nova.evacuate(self.one, TARGET)
        first, seen = self.record(self.one), []
        self.assertEqual((SOURCE, TARGET), (first.source, first.target))
        self.assertLess(abs((self.stage.now() - first.created_at).total_seconds()), 5)

        def ended():
            now = self.record(self.one)
            self.assertEqual(first.id, now.id)
            seen.append(now.status)
            return now.status not in ('accepted', 'pre-migrating')
        seen.append(first.status)
        self.wait('its end', ended)
        found = list(dict.fromkeys(['accepted', *seen]))        # which it may have left at once
        self.assertEqual(['accepted', 'pre-migrating', 'done'], found)

    def test_done_means_arrived(self):
        self.nova.evacuate(self.one, TARGET)

        def done():
            if self.record(self.one).status != 'done':
                return False
            self.assertEqual((TARGET, 'active', ''), self.look(self.one))
            return True
        self.wait('its end', done)

    def test_records_newest_first(self):
        older, newer = self.one, next(self.servers)
        self.evacuated(older)
        self.stage.pause(SECOND)
        self.evacuated(newer)
        found = [r.instance_id for r in self.nova.evacuations(SOURCE)]
        self.assertLess(found.index(newer), found.index(older))
        since = self.record(newer).created_at
        found = [r.instance_id for r in self.nova.evacuations(SOURCE, since=since)]
        self.assertEqual((True, False), (newer in found, older in found))
        self.assertEqual([], self.nova.evacuations(TARGET))

    def test_records_go_with_the_server(self):
        self.evacuated(self.one)
        self.assertIsNotNone(self.record(self.one))
        self.stage.delete(self.one)
        self.assertIsNone(self.record(self.one))

    def test_an_evacuation_counts_on_its_target(self):
        some, before = [self.one, next(self.servers), next(self.servers)], self.used(TARGET)
        for one in some:
            self.nova.evacuate(one, TARGET)

        def counts_early():
            landed = [one for one in some if self.nova.server(one).host == TARGET]
            self.assertLess(len(landed), len(some), 'it never did')
            return self.used(TARGET) != self.plus(before, len(landed))
        self.wait('it counts before it has landed', counts_early)
        for one in some:
            self.landed(one, TARGET)
        self.assertEqual(self.plus(before, 3), self.used(TARGET))

    def test_the_source_counts_on(self):
        before = self.used(SOURCE)
        self.evacuated(self.one)
        self.stays(before, lambda: self.used(SOURCE), 2)

    # -- no valid host --------------------------------------------------------------------------
    def assertNoHost(self, ident, target):
        self.nova.evacuate(ident, target)
        self.wait('its end', lambda: self.record(ident).status not in (
            'accepted', 'pre-migrating'))
        self.assertEqual('error', self.record(ident).status)
        self.wait('no task state', lambda: not self.nova.server(ident).task_state)
        self.assertEqual((SOURCE, 'error', ''), self.look(ident))
        self.assertStartsWith('No valid host was found.', self.nova.server(ident).fault)

    def test_a_disabled_target_takes_nothing(self):
        self.nova.disable(self.id_of(OTHER), 'new disks')
        self.addCleanup(self.nova.enable, self.id_of(OTHER))
        self.assertNoHost(self.one, OTHER)

    def test_a_target_that_is_down_takes_nothing(self):
        self.nova.force_down(self.id_of(OTHER), True)
        self.addCleanup(self.nova.force_down, self.id_of(OTHER), False)
        self.assertNoHost(self.one, OTHER)

    def test_a_full_target_takes_nothing(self):
        with self.stage.full(OTHER):
            self.assertNoHost(self.one, OTHER)

    def test_anti_affinity_is_kept(self):
        self.assertNoHost(self.anti, TARGET)

    def test_affinity_cannot_be_evacuated(self):
        self.assertNoHost(self.affine, TARGET)

    # -- what goes wrong meanwhile --------------------------------------------------------------
    def test_a_dead_target_takes_it_later(self):
        self.stage.kill(OTHER)
        self.addCleanup(self.stage.start, OTHER)
        self.nova.evacuate(self.one, OTHER)
        self.stays(('accepted', (SOURCE, 'active', 'rebuilding')),
                   lambda: (self.record(self.one).status, self.look(self.one)), 4)
        self.stage.start(OTHER)
        self.landed(self.one, OTHER)

    def test_a_target_that_dies_ends_nothing(self):
        self.addCleanup(self.stage.start, OTHER)
        self.nova.evacuate(self.one, OTHER)
        self.wait('it is claimed', lambda: self.record(self.one).status == 'pre-migrating')
        self.stage.kill(OTHER)
        self.assertEqual('pre-migrating', self.record(self.one).status, 'it was killed too late')
        self.stage.start(OTHER)
        self.stays(('pre-migrating', SOURCE), lambda: (
            self.record(self.one).status, self.nova.server(self.one).host), 4)

    def test_a_second_one_spoils_the_first(self):
        self.nova.evacuate(self.one, TARGET)
        self.nova.evacuate(self.one, OTHER)

        def statuses():
            return sorted(r.status for r in self.nova.evacuations(SOURCE)
                          if r.instance_id == self.one)
        self.assertEqual(2, len(statuses()))
        self.wait('one failed', lambda: 'failed' in statuses())
        self.wait('ERROR', lambda: self.nova.server(self.one).vm_state == 'error')
        self.assertNotIn('done', statuses())

    # -- a cell that does not answer ------------------------------------------------------------
    def test_a_lost_cell_has_unknown_services(self):
        with self.stage.lost_cell():
            found = self.nova.services()
            self.assertEqual(([], set(HOSTS)), (list(found), found.unknown))

    def test_a_lost_cell_has_unknown_servers(self):
        every = {s.id for s in self.nova.servers().instances}
        with self.stage.lost_cell():
            found = self.nova.servers()
            self.assertEqual(((), every), (found.instances, found.unknown))
            for short in (self.nova.servers(host=SOURCE),
                          self.nova.servers(changes_since=self.began)):
                self.assertEqual(((), frozenset(), frozenset()), (
                    short.instances, short.deleted, short.unknown))

    def test_a_lost_cell_shows_no_server(self):
        with self.stage.lost_cell():
            found = self.nova.server(self.left)
            self.assertEqual((self.left, False, ''), (found.id, found.known, found.host))

    def test_a_lost_cell_has_no_records(self):
        self.evacuated(self.one)
        with self.stage.lost_cell():
            self.assertEqual([], self.nova.evacuations(SOURCE))
        self.assertEqual('done', self.record(self.one).status)

    def test_a_lost_cell_breaks_other_lists(self):
        one = self.nova.hypervisors()[0]
        with self.stage.lost_cell():
            self.unknown(self.nova.hypervisors)
            self.unknown(self.nova.hypervisor, one.id)
            self.unknown(self.nova.groups)

    def test_a_lost_cell_takes_no_acts(self):
        source, other = self.id_of(SOURCE), self.id_of(OTHER)
        with self.stage.lost_cell():
            for act, *arguments in (
                    (self.nova.force_down, other, True), (self.nova.disable, other, 'x'),
                    (self.nova.enable, source), (self.nova.evacuate, self.left, TARGET),
                    (self.nova.stop, self.left)):
                self.unknown(act, *arguments, error=exception.OutcomeUnknown)
        self.assertEqual((SOURCE, 'active', ''), self.look(self.left))
        self.assertEqual((True, True), (self.service(OTHER).enabled, self.service(OTHER).up))

    def test_placement_knows_no_cells(self):
        before = self.nova.providers().keys()
        with self.stage.lost_cell():
            self.assertEqual(before, self.nova.providers().keys())


class Returning(Contract):
    """The source is dead and forced down, and starts again."""

    @classmethod
    def scene(cls):
        cls.servers = iter(cls.stage.boot(SOURCE, 4))

    def setUp(self):
        super().setUp()
        self.fail_source()
        self.one = next(self.servers)

    def test_not_up_before_it_is_clean(self):
        self.evacuated(self.one)
        self.refused(400, self.nova.force_down, self.id_of(SOURCE), False)
        self.assertTrue(self.service(SOURCE).forced_down)
        self.stage.delete(self.one)
        self.nova.force_down(self.id_of(SOURCE), False)
        self.assertFalse(self.service(SOURCE).forced_down)

    def test_a_start_cleans_up(self):
        before = self.used(SOURCE)
        self.evacuated(self.one)
        self.stage.start(SOURCE)
        self.wait('completed', lambda: self.record(self.one).status == 'completed')
        self.assertEqual((TARGET, 'active', ''), self.look(self.one))
        self.wait('it counts no more', lambda: self.used(SOURCE) == self.plus(before, -1))
        self.nova.force_down(self.id_of(SOURCE), False)
        self.wait('up', lambda: self.service(SOURCE).up)

    def test_a_start_completes_what_flies(self):
        self.stage.kill(OTHER)
        self.addCleanup(self.stage.start, OTHER)
        self.nova.evacuate(self.one, OTHER)
        self.stage.start(SOURCE)
        self.wait('completed', lambda: self.record(self.one).status == 'completed')
        self.assertEqual((SOURCE, 'active', 'rebuilding'), self.look(self.one))
        self.stage.start(OTHER)
        self.landed(self.one, OTHER)
        self.stage.delete(self.one)     # or its record keeps the source from being taken back


SCENES = (Calm, Failed, Returning)


def tests_of(scene):
    """The rules that a class tests."""
    return [name.removeprefix('test_') for name in vars(scene) if name.startswith('test_')]
