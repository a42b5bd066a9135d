"""Every rule about an instance and about a node, as decide() applies it."""

import dataclasses

from tests.unit import test_decide
from tests.unit import topology as t
from vmha_nova import decide
from vmha_nova import model

DEAD = test_decide.DEAD


class LeaveTest(test_decide.Case):
    """What is left alone, although there would be room."""

    def left(self, reason, policy=None, groups=(), **changes):
        self.assert_left(reason, [t.node('n1')], t.instance('i', DEAD, **changes),
                         policy=policy, groups=groups)

    def moved(self, policy=None, **changes):
        self.assert_goes_to('n1', [t.node('n1')], t.instance('i', DEAD, **changes), policy=policy)

    def test_the_owner_opts_out(self):
        for word in ('false', 'False', 'NO', '0', ' off '):
            self.left('its owner asked for no protection (vmha:protect)',
                      metadata={'vmha:protect': word})

    def test_any_other_word_is_no_opt_out(self):
        for word in ('true', '', 'maybe', '00'):
            self.moved(metadata={'vmha:protect': word})

    def test_an_untouched_project(self):
        policy = model.Policy(untouched_projects=frozenset({'theirs'}))
        self.left('policy leaves project theirs alone', policy, project_id='theirs')
        self.moved(policy, project_id='ours')

    def test_being_deleted(self):
        for state in ('deleting', 'soft-deleting'):
            self.left(f'it is being deleted (task_state {state})', task_state=state)
        for state in ('deleted', 'soft-delete'):
            self.left(f'it is deleted (vm_state {state})', vm_state=state)

    def test_being_deleted_in_error(self):
        self.left('it is being deleted (task_state deleting)', model.Policy(evacuate_error=True),
                  vm_state='error', task_state='deleting')

    def test_states_that_nova_cannot_carry(self):
        for state in ('paused', 'suspended', 'rescued', 'resized', 'building', 'shelved',
                      'shelved_offloaded'):
            self.left(f'Nova cannot carry {state} through an evacuation', vm_state=state)

    def test_error_is_left_unless_policy_says_otherwise(self):
        self.left('it was in ERROR before', vm_state='error')
        self.moved(model.Policy(evacuate_error=True), vm_state='error')

    def test_being_moved(self):
        for state in ('migrating', 'resize_prep', 'resize_finish', 'resize_reverting'):
            self.left(f'it was being moved (task_state {state})', task_state=state)

    def test_being_rebuilt(self):
        for state in ('rebuilding', 'rebuild_block_device_mapping', 'rebuild_spawning'):
            self.left(f'somebody evacuates or rebuilds it (task_state {state})', task_state=state)

    def test_states_nobody_knows(self):
        self.left('its vm_state dreaming is not known here', vm_state='dreaming')
        self.left('its vm_state (none) is not known here', vm_state='')
        self.left('its task_state teleporting is not known here', task_state='teleporting')

    def test_strict_affinity(self):
        self.left('Nova cannot evacuate a member of a strict-affinity group',
                  groups=[t.group('g', 'affinity', 'i')])

    def test_active_and_stopped_are_moved(self):
        self.moved(vm_state='active')
        self.moved(vm_state='stopped', power_state=4)

    def test_a_task_that_ended_with_the_host_is_no_obstacle(self):
        for state in ('rebooting', 'powering-off', 'image_uploading', 'rescuing', 'shelving'):
            self.moved(task_state=state)


class UnknownTest(test_decide.Case):
    """What must be known is not: the instance waits, and is not left."""

    def test_its_cell_is_down(self):
        self.assert_unplaced('its cell was down when Nova listed it, only its id is known',
                             [t.node('n1')], model.Instance('i', host=DEAD, known=False))

    def test_its_needs(self):
        self.assert_unplaced('what it needs is not known',
                             [t.node('n1')], t.instance('i', DEAD, needs={}))

    def test_its_zone(self):
        self.assert_unplaced('its zone is not known', [t.node(DEAD, zone=''), t.node('n1')],
                             t.instance('i', DEAD, zone=''))

    def test_the_backend_of_the_failed_host(self):
        self.assert_unplaced(
            'the image backend of dead1 is not known, and a target must have the same',
            [t.node(DEAD, backend=''), t.node('n1', backend='')])

    def test_the_failed_host_itself(self):
        plan = decide.decide(t.cluster([t.node('n1')], [t.instance('i', 'ghost')]),
                             [model.Failed('ghost')], model.Policy(need_same_backend=False), t.NOW)
        self.assertEqual(['n1'], [p.target for p in plan.placements])

    def test_its_group(self):
        cluster = dataclasses.replace(
            t.cluster([t.node(DEAD), t.node('n1')], [t.instance('i', DEAD)]), group_of={'i': 'g'})
        plan = decide.decide(cluster, [model.Failed(DEAD)], model.Policy(), t.NOW)
        self.assertEqual('its server group g is not known', plan.placements[0].reason)

    def test_the_policy_of_its_group(self):
        self.assert_unplaced('the policy herd of its server group is not known here',
                             [t.node('n1')], groups=[t.group('g', 'herd', 'i')])


class TargetTest(test_decide.Case):
    """What a target must be: one node that is not, and one that is."""

    def refused(self, reason, bad, instance=None, good=None, **values):
        """``bad`` is refused with that reason, though it is the only one and the emptier one."""
        self.assert_unplaced(f'no target: 1 host {reason} ({bad.host})', [bad], instance, **values)
        self.assert_goes_to('good', [bad, good or t.node('good', 0.5)], instance, **values)

    def test_down(self):
        self.refused('is down in Nova', t.node('bad', up=False))

    def test_forced_down(self):
        self.refused('is forced down', t.node('bad', forced_down=True))

    def test_maintenance(self):
        self.refused('is in maintenance', t.node('bad', maintenance=True))

    def test_disabled_by_somebody_else(self):
        self.refused('is disabled (disk swap, bob)',
                     t.node('bad', enabled=False, disabled_reason='disk swap, bob'))
        self.refused('is disabled (no reason given)', t.node('bad', enabled=False))

    def test_a_spare_disabled_by_somebody_else(self):
        self.refused('is disabled (bob)', t.spare('bad', parked=False, disabled_reason='bob'))

    def test_parked_by_us_but_no_spare(self):
        self.refused('is disabled (vmha: evacuated)', t.node(
            'bad', enabled=False, parked=True, disabled_reason='vmha: evacuated'))

    def test_capacity_not_known(self):
        self.refused('has a capacity that is not known', t.node('bad', capacity={}))

    def test_left_out_by_placement(self):
        self.refused("has no room by Placement's last answer", t.node('bad', has_room=False))

    def test_pressed(self):
        self.refused('is pressed (CPU above 95 %)',
                     t.node('bad', cpu_share=0.96, cpu_share_at=t.ago(179)))

    def test_an_old_or_moderate_measurement_presses_nobody(self):
        for share, seconds in ((0.99, 181), (0.99, -181), (0.95, 0), (None, 0)):
            self.assert_goes_to('n1', [
                t.node('n1', cpu_share=share, cpu_share_at=t.ago(seconds))])
        self.assert_goes_to('n1', [t.node('n1', cpu_share=0.99, cpu_share_at=None)])

    def test_another_zone(self):
        self.refused('is in another zone', t.node('bad', zone='az2'))

    def test_the_zone_is_that_of_the_failed_host(self):
        wrong = t.instance('i', DEAD, zone='az2')
        self.assert_goes_to('n1', [t.node('n1'), t.node('n2', zone='az2')], wrong)
        self.assert_goes_to('n2', [
            t.node(DEAD, zone=''), t.node('n1'), t.node('n2', zone='az2')], wrong)

    def test_another_backend(self):
        self.refused('has another image backend (rbd:other)', t.node('bad', backend='rbd:other'))
        self.refused('has an image backend that is not known', t.node('bad', backend=''))

    def test_another_backend_where_policy_does_not_mind(self):
        self.assert_goes_to('n1', [t.node('n1', backend='')],
                            policy=model.Policy(need_same_backend=False))

    def test_required_trait(self):
        self.refused('lacks trait HW_CPU_X86_AVX2', t.node('bad'),
                     t.instance('i', DEAD, extra_specs={'trait:HW_CPU_X86_AVX2': 'required'}),
                     t.node('good', 0.5, traits=frozenset({'HW_CPU_X86_AVX2'})))

    def test_forbidden_trait(self):
        self.refused('has forbidden trait CUSTOM_SLOW',
                     t.node('bad', traits=frozenset({'CUSTOM_SLOW'})),
                     t.instance('i', DEAD, extra_specs={'trait:CUSTOM_SLOW': 'forbidden'}))

    def test_aggregate_extra_specs(self):
        instance = t.instance('i', DEAD,
                              extra_specs={'aggregate_instance_extra_specs:disk': 'ssd'})
        good = t.node('good', 0.5, aggregates=(t.aggregate('a'), t.aggregate('b', disk='ssd')))
        self.refused('is in no aggregate with disk = ssd', t.node('bad'), instance, good)
        self.refused('is in no aggregate with disk = ssd',
                     t.node('bad', aggregates=(t.aggregate('a', disk='hdd'),)), instance, good)

    def test_aggregate_values_are_separated_by_commas(self):
        self.assert_goes_to(
            'n1', [t.node('n1', aggregates=(t.aggregate('a', disk='nvme, ssd'),))],
            t.instance('i', DEAD, extra_specs={'aggregate_instance_extra_specs:disk': 'ssd'}))

    def test_aggregate_extra_specs_with_or(self):
        instance = t.instance('i', DEAD, extra_specs={
            'aggregate_instance_extra_specs:disk': '<or> ssd <or> nvme'})
        self.refused('is in no aggregate with disk = <or> ssd <or> nvme',
                     t.node('bad', aggregates=(t.aggregate('a', disk='hdd'),)), instance,
                     t.node('good', 0.5, aggregates=(t.aggregate('a', disk='nvme'),)))

    def test_an_operator_that_is_not_understood_matches_nothing(self):
        self.assert_unplaced(
            'no target: 1 host is in no aggregate with rank = >= 3 (n1)',
            [t.node('n1', aggregates=(t.aggregate('a', rank='5'),))],
            t.instance('i', DEAD, extra_specs={'aggregate_instance_extra_specs:rank': '>= 3'}))

    def test_other_extra_specs_are_no_rules(self):
        self.assert_goes_to('n1', [t.node('n1')], t.instance('i', DEAD, extra_specs={
            'hw:cpu_policy': 'shared', 'trait:CUSTOM_X': 'perhaps'}))

    def test_reserved_for_other_projects(self):
        for key in ('filter_tenant_id', 'filter_tenant_id_2'):
            mine = t.node('good', 0.5, aggregates=(t.aggregate('a', **{key: 'x, project'}),))
            theirs = t.node('bad', aggregates=(t.aggregate('b', **{key: 'x,y'}),))
            self.refused('is reserved for other projects', theirs, good=mine)
            self.refused('is reserved for other projects', theirs)

    def test_reservations_of_several_aggregates_add_up(self):
        self.assert_goes_to('n1', [t.node('n1', aggregates=(
            t.aggregate('a', filter_tenant_id='x'),
            t.aggregate('b', filter_tenant_id='project')))])

    def test_tried_before(self):
        self.refused('has failed to take it before', t.node('bad'),
                     tried={'i': frozenset({'bad'})})

    def test_tried_by_another_instance(self):
        self.assert_goes_to('n1', [t.node('n1')], tried={'j': frozenset({'n1'})})
