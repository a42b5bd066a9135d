"""The contract: a test for each rule of tests/unit/nova_rules.py, with its name.

A class for each state that a cloud is in, which is expensive to make: ``Contract.scene`` makes
it once. Within one, tests use servers of their own, and leave the hosts as they were.
"""

import functools

from tests.contract.base import Contract
from tests.contract.base import SECOND
from tests.contract.calm import Calm
from tests.contract.stage import HOSTS
from tests.contract.stage import OTHER
from tests.contract.stage import SOURCE
from tests.contract.stage import TARGET
from vmha_nova import exception


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
        # Where Nova's conductor takes both calls at once, both computes work on the same record:
        # it is failed, and then done after all, and nobody takes the other one.
        found = statuses()
        self.assertTrue('done' not in found or found == ['accepted', 'done'], found)

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
