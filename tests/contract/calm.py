"""The contract where all hosts are well; see cases."""

import uuid

from tests.contract.base import Contract
from tests.contract.base import SECOND
from tests.contract.stage import HOSTS
from tests.contract.stage import OTHER
from tests.contract.stage import SILENT
from tests.contract.stage import SOURCE
from tests.contract.stage import TARGET
from vmha_nova import exception


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
