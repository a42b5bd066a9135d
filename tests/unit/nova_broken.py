"""For each rule of nova_rules.py a change of the simulator, sim_nova.py, that breaks it.

Used by BrokenTest of test_contract.py: rule -> (what stands there, once; what stands there then).
"""

CHANGES = {
    'services_are_listed': ('self.up(h), h.enabled,', 'self.up(h), not h.enabled,'),
    'a_living_host_beats': ('host.beat_at = host.changed_at = now', 'host.beat_at = now'),
    'a_dead_host_is_up_for_a_while': ('DOWN_TIME = 60.0', 'DOWN_TIME = 1.0'),
    'forced_down_is_down_at_once': (
        'return not host.forced_down and (', 'return ('),
    'forced_up_is_up_at_once': (
        'host.forced_down, host.changed_at = forced,',
        ('host.beat_at = START - datetime.timedelta(1)\n        '
        'host.forced_down, host.changed_at = forced,')),
    'disabled_has_a_reason': (
        'host.changed_at = True, \'\', self.clock()',
        'host.changed_at = True, host.reason, self.clock()'),
    'acts_move_the_beat': (
        'host.enabled, host.reason, host.changed_at = False, reason, self.clock()',
        'host.enabled, host.reason = False, reason'),
    'a_service_not_known': (
        "raise exception.NotFound(f'Service", "raise exception.Rejected(f'Service"),
    'hypervisors_are_listed': (
        'return [self._hypervisor(h) for h in self.hosts]',
        'return [self._hypervisor(h) for h in self.hosts][1:]'),
    'aggregates_are_listed': ('return self.aggregates_', 'return {}'),
    'traits_are_told': (
        'frozenset(self.traits.get(host.name, ())))', 'frozenset())'),
    'placement_counts_what_is_there': (
        'for ident in holders & self.servers_.keys():',
        'for ident in list(holders & self.servers_.keys())[:0]:'),
    'placement_leaves_out_the_full': (
        "if used['MEMORY_MB'] < host.memory:", "if used['MEMORY_MB'] <= host.memory:"),
    'an_evacuation_counts_on_its_target': (
        'and r.id in self._flying}', 'and r.id in ()}'),
    'the_source_counts_on': (
        "                    and r.status == 'done'}\n        holders",
        "                    and r.status == 'gone'}\n        holders"),
    'servers_are_listed': (
        's for s in found.values() if host in (None, s.host) and',
        's for s in found.values() if'),
    'changes_are_listed': (
        'whole(self.servers_.changed[ident]) >= whole(changes_since))', 'True)'),
    'deleted_is_listed_as_a_change': (
        'deleted = {} if changes_since is None else self.servers_.deleted', 'deleted = {}'),
    'a_server_not_known': (
        'raise exception.NotFound(ident, 404)', 'raise exception.Rejected(ident, 404)'),
    'stamps_change': (
        'self.servers_[ident], stamp=str(self.clock()), **values)',
        'self.servers_[ident], **values)'),
    'groups_are_listed': ('members=g.members & members)', 'members=g.members)'),
    'stopped_and_started': (
        "self._power(ident, ('stopped',), 'active', 'powering-on', 1)",
        "self._power(ident, ('stopped',), 'active', 'powering-on', 4)"),
    'power_acts_fit_the_state': ('if server.vm_state not in old:', 'if False:'),
    'an_error_can_be_stopped': ("('active', 'error'), 'stopped'", "('active',), 'stopped'"),
    'busy_is_not_stopped': (
        '        if server.task_state:\n            raise',
        '        if False:\n            raise'),
    'a_dead_host_stops_nothing': (
        'self._send(server.host, lambda: self._after(1.0, ends))', 'self._after(1.0, ends)'),
    'a_host_that_is_up_is_not_evacuated': (
        'if self.up(self.hosts[server.host]):', 'if False:'),
    'a_host_that_went_silent_is_evacuated': (
        'if self.up(self.hosts[server.host]):',
        'if not self.hosts[server.host].forced_down:'),
    'an_evacuation_wants_a_server': (
        "raise exception.NotFound(f'Instance", "raise exception.Rejected(f'Instance"),
    'an_evacuation_wants_a_target': (
        "raise exception.Rejected(f'Compute host", "raise exception.NotFound(f'Compute host"),
    'its_own_host_is_no_target': ('if target == server.host:', 'if False:'),
    'only_active_stopped_and_error': (
        "EVACUABLE = ('active',", "EVACUABLE = ('paused', 'active',"),
    'a_task_state_is_overwritten': (
        'if server.vm_state not in EVACUABLE:',
        'if server.task_state or server.vm_state not in EVACUABLE:'),
    'who_runs_runs_again': (
        "vm_state='stopped' if was == 'stopped' else 'active',", "vm_state='stopped',"),
    'who_is_stopped_stays_so': (
        "vm_state='stopped' if was == 'stopped' else 'active',", "vm_state='active',"),
    'who_is_in_error_runs': (
        "vm_state='stopped' if was == 'stopped' else 'active',", 'vm_state=was,'),
    'it_is_rebuilding_meanwhile': (
        "self._set(ident, task_state='rebuilding')",
        "self._set(ident, task_state='rebuilding', host=target)"),
    'it_has_a_record': ("self._mark(record, 'pre-migrating')", "self._mark(record, 'running')"),
    'done_means_arrived': (
        "        if was != 'stopped':\n            self._runs(record)",
        "        if was != 'stopped':\n            self._mark(record, 'done')"),
    'records_newest_first': ('for r in reversed(self.records)', 'for r in self.records'),
    'records_go_with_the_server': (
        'and r.instance_id in self.servers_ and (since', 'and (since'),
    'a_disabled_target_takes_nothing': (' and target.enabled and ', ' and '),
    'a_target_that_is_down_takes_nothing': (' and self.up(target)\n', '\n'),
    'a_full_target_takes_nothing': (
        "<= target.vcpus and used['MEMORY_MB'] <= target.memory", '<= target.vcpus'),
    'anti_affinity_is_kept': ("if there != (group.policy == 'affinity'):", 'if not there:'),
    'affinity_cannot_be_evacuated': (
        "if there != (group.policy == 'affinity'):", 'if there:'),
    'a_dead_target_takes_it_later': (
        'self._queue = [(h, f) for h, f in self._queue if not self.hosts[h].alive]',
        'self._queue = []'),
    'a_target_that_dies_ends_nothing': (' and target.starts == starts)', ')'),
    'a_second_one_spoils_the_first': (
        "self._mark(record, 'failed' if spoilt else 'done')", "self._mark(record, 'done')"),
    'not_up_before_it_is_clean': (
        "if not forced and any(r.status == 'done'", "if not forced and any(r.status == 'gone'"),
    'a_start_cleans_up': ("(*FLYING, 'done'):", 'FLYING:'),
    'a_start_completes_what_flies': ("(*FLYING, 'done'):", "('done',):"),
    'a_lost_cell_has_unknown_services': ('frozenset(self.down))\n\n', 'frozenset())\n\n'),
    'a_lost_cell_has_unknown_servers': (
        'for s in found.values() if every and', 'for s in found.values() if False and'),
    'a_lost_cell_shows_no_server': (
        'if self.servers_[ident].host in self.down:', 'if False:'),
    'a_lost_cell_has_no_records': (
        'r.source == host and host not in self.down', 'r.source == host'),
    'a_lost_cell_breaks_other_lists': (
        'self._cell(*(self.servers_[i].host for i in members))', 'pass'),
    'a_lost_cell_takes_no_acts': (
        'self._cell(host.name, error=exception.OutcomeUnknown)', 'pass'),
    'placement_knows_no_cells': (
        'for host in self.hosts.values():\n            used',
        ('for host in [h for h in self.hosts.values() if h.name not in self.down]:\n'
        '            used')),
}
