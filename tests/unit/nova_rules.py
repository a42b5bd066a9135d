"""The rules of Nova and Placement that the simulated ones keep, by name.

This is their one source. The simulator says with ``obeys`` which method keeps which; a contract
test with the name of each holds it against the simulator and against the real Nova of the lab;
and each is broken once, to see its test fail (tests/unit/test_contract.py).
"""

RULES = {
    # services
    'services_are_listed': 'Each nova-compute is listed, with its id and zone, up and enabled.',
    'a_living_host_beats': 'The heartbeat of a host that lives goes on, forced down or not.',
    'a_dead_host_is_up_for_a_while': 'Who stops beating is up until the time for it is over.',
    'forced_down_is_down_at_once': 'A host that is forced down is down, and beats all the same.',
    'forced_up_is_up_at_once': 'Taken back, it is up if it beats.',
    'disabled_has_a_reason': 'Disabling takes a reason, enabling drops it; up stays as it was.',
    'acts_move_the_beat': 'What changes a service moves its time stamp, as a heartbeat does.',
    'a_service_not_known': 'An act on a service that is not there is answered 404.',
    # compute nodes
    'hypervisors_are_listed': "One per host; its id is Placement's provider; else 404.",
    'aggregates_are_listed': 'By host, with their metadata.',
    'traits_are_told': 'Placement tells the traits of a host.',
    'placement_counts_what_is_there': 'A server counts on its host by its flavor, until deleted.',
    'placement_leaves_out_the_full': 'A host without memory left is absent, and not gone.',
    'an_evacuation_counts_on_its_target': 'From the call on, before it has landed.',
    'the_source_counts_on': 'Evacuated servers count on the source until it has started again.',
    # servers
    'servers_are_listed': 'All of all projects; or those of one host.',
    'changes_are_listed': 'Since a time: who changed then or later, and no others.',
    'deleted_is_listed_as_a_change': 'A deleted server is on no list but that of changes.',
    'a_server_not_known': 'A server that is deleted, or never was, is answered 404.',
    'stamps_change': 'The stamp of a server changes with its state, and not without.',
    'groups_are_listed': 'With the members that are not deleted.',
    # stopping and starting
    'stopped_and_started': 'A server is stopped, and started, after a while with a task state.',
    'power_acts_fit_the_state': 'Stopped is not stopped (409), active not started (409).',
    'an_error_can_be_stopped': 'A server in ERROR can be stopped, and is no more in ERROR.',
    'busy_is_not_stopped': 'What has a task state is not stopped (409).',
    'a_dead_host_stops_nothing': 'There it stays in its task state.',
    # evacuation: when it is taken
    'a_host_that_is_up_is_not_evacuated': 'Refused (400), and nothing has changed.',
    'a_host_that_went_silent_is_evacuated': 'Not forced down, once Nova takes it for down.',
    'an_evacuation_wants_a_server': 'One that is not there is answered 404.',
    'an_evacuation_wants_a_target': 'A host that is not there is 404, about the host.',
    'its_own_host_is_no_target': 'Refused (400).',
    'only_active_stopped_and_error': 'Other states are refused (409).',
    'a_task_state_is_overwritten': 'Evacuate is taken whatever is being done to the server.',
    # evacuation: what becomes of it
    'who_runs_runs_again': 'A running server ends active on the target.',
    'who_is_stopped_stays_so': 'A stopped one ends stopped.',
    'who_is_in_error_runs': 'One in ERROR ends active, also if it was stopped before.',
    'it_is_rebuilding_meanwhile': 'Its task state says so, and its host is still the source.',
    'it_has_a_record': 'At once, with source and target: accepted, pre-migrating, done.',
    'done_means_arrived': 'When the record is done, the host is the target, the task state none.',
    'records_newest_first': 'Those of a source, the newest first, or only those since a time.',
    'records_go_with_the_server': 'A deleted server has none any more, and is not waited for.',
    'a_disabled_target_takes_nothing': 'No valid host: ERROR where it was, the record error.',
    'a_target_that_is_down_takes_nothing': 'The same.',
    'a_full_target_takes_nothing': 'The same.',
    'anti_affinity_is_kept': 'The same, where a member of its group is.',
    'affinity_cannot_be_evacuated': 'The same, as its group is on the host that failed.',
    'a_dead_target_takes_it_later': 'The call waits until its nova-compute starts.',
    'a_target_that_dies_ends_nothing': 'Its record stays, and its task state, also afterwards.',
    'a_second_one_spoils_the_first': 'It is taken; the server ends in ERROR, a record failed.',
    # the way back
    'not_up_before_it_is_clean': 'Not taken back (400) while evacuations from it are done.',
    'a_start_cleans_up': 'A nova-compute that starts makes done evacuations completed.',
    'a_start_completes_what_flies': 'Also those under way, which land all the same, as done.',
    # a cell whose database does not answer
    'a_lost_cell_has_unknown_services': 'They are listed by their host alone.',
    'a_lost_cell_has_unknown_servers': 'The list of all names them; others leave them out.',
    'a_lost_cell_shows_no_server': 'One asked for is there, and nothing is known of it.',
    'a_lost_cell_has_no_records': 'Its evacuations are not listed, and nothing says so.',
    'a_lost_cell_breaks_other_lists': 'Compute nodes and groups are not listed at all.',
    'a_lost_cell_takes_no_acts': 'What came of an act is not known.',
    'placement_knows_no_cells': 'It goes on.',
}


def obeys(*names):
    """Say of a method of the simulator which rules it keeps.

    :raises KeyError: there is no such rule
    """
    for name in names:
        RULES[name]

    def mark(method):
        method.obeys = names
        return method
    return mark


def kept_by(simulator):
    """The rules that a class of simulator says it keeps: method -> names."""
    return {name: method.obeys for base in simulator.__mro__ for name, method in vars(base).items()
            if hasattr(method, 'obeys')}
