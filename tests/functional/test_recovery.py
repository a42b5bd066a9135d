"""A compute node dies, and its instances run on the spare."""

from tests.functional import base
from tests.lab import common
from tests.lab import vmha


class RecoveryTest(base.LabTest):
    def test_everybody_runs_on_the_spare_and_the_stopped_stay_stopped(self):
        self.boot(6, stopped=2, metadata={'vmha:priority': '70'})
        self.start()
        self.die()
        self.wait_over()
        moves, records = self.assertRecovered()
        self.assertEqual({self.SPARE}, {m.target for m in moves.values()})
        self.assertEqual(len(self.before), len(records), 'one evacuation each, none twice')
        service = self.cloud.service(self.SOURCE)
        self.assertTrue(service['forced_down'])
        self.assertIn(self.recovery().id, service['disabled_reason'])
        self.wait('the spare is reserved again', lambda: (
            self.cloud.service(self.SPARE)['status'] == 'disabled'))
        shown = self.vmha.manage('recovery', 'show', self.recovery().id)
        self.assertEqual(['moved'], sorted({m['state'] for m in shown['moves']}))
        self.vmha.stop_engine()

    def test_a_stopped_guest_whose_first_attempt_found_no_host(self):
        """compute4 fills up behind the engine's back: Nova puts the servers into ERROR."""
        self.configure(collector__nodes_interval='600', recovery__window='2')
        self.boot(2, stopped=1)
        self.start()
        self.enterContext(base.full(self.lab, self.SPARE))
        self.die()
        self.wait_over()
        moves, records = self.assertRecovered()
        self.assertEqual({self.SPARE}, {h for m in moves.values() for h in m.tried})
        self.assertEqual(4, len(records), 'one that failed and one that worked, each')

    def test_somebody_forces_the_host_down_in_nova(self):
        self.boot(2, stopped=0)
        self.start()
        self.lab.kill_host(self.SOURCE)
        self.cloud.set_service(self.SOURCE, forced_down=True)
        self.wait_over()
        self.assertRecovered()
        self.assertEqual(['nova'], [f.source for f in self.reports()])
        steps = {s.kind: s.state for s in self.store.steps(self.recovery().id)}
        self.assertEqual('not_ours', steps['force_down'])


class KilledEngineTest(base.LabTest):
    """kill -9 of the engine, started again: every server recovered, none evacuated twice."""

    def killed_when(self, condition):
        self.configure(recovery__window='2', recovery__window_per_target='2')
        self.boot(6, stopped=1)
        self.start()
        self.die()
        self.wait('the moment to kill has come', condition)
        self.vmha.kill_engine()
        self.vmha.start_engine()
        self.wait_over()
        _moves, records = self.assertRecovered()
        self.assertEqual(len(self.before), len(records), records)

    def moves_in(self, *states):
        found = self.store.moves(self.recovery().id) if self.recovery() else []
        return [m for m in found if m.state in states]

    def test_while_the_report_is_checked(self):
        self.killed_when(self.reports)

    def test_as_the_first_calls_go_out(self):
        self.killed_when(lambda: self.moves_in('sending', 'accepted'))

    def test_half_way(self):
        self.killed_when(lambda: len(self.moves_in('moved')) >= 3)


class TwoEnginesTest(base.LabTest):
    """One leads; the other one takes over from it. What is reported meanwhile is not lost."""

    def test_reported_while_no_engine_lives_and_the_leader_is_killed_half_way(self):
        second = vmha.Vmha(self.lab, 'vmha-engine-2')
        self.addCleanup(self.end, second)
        lock = {'coordination.backend_url': f'file://{self.lab.state.data}/vmha-lock',
                'coordination.lease': 6, 'recovery.window': 2,
                'recovery.window_per_target': 2}
        self.vmha.configure(lock)
        second.configure(lock)
        self.boot(6, stopped=1)
        self.start()
        second.start_engine(until='waits')
        self.vmha.kill_engine()
        second.kill_engine()
        self.die()
        self.assertEqual([], self.reports(), 'it waits in its queue')
        second.start_engine()
        self.vmha.start_engine(until='waits')
        self.wait('it moves', lambda: self.recovery() and any(
            m.state in ('accepted', 'moved') for m in self.store.moves(self.recovery().id)))
        second.kill_engine()
        self.wait_over()
        _moves, records = self.assertRecovered()
        self.assertEqual(len(self.before), len(records), records)
        self.assertEqual(1, len(self.reports()))
        self.assertEqual(3, self.store.leader().term)

    @staticmethod
    def end(second):
        try:
            second.kill_engine()
        except common.LabError:
            pass                        # never started


class MariadbTest(base.LabTest):
    """The same on MariaDB."""

    database = 'mariadb'

    def test_recovery_and_restart(self):
        self.boot(3, stopped=1)
        self.start()
        self.addCleanup(self.forget)
        self.die()
        self.wait('it moves', lambda: self.recovery() and any(
            m.state in ('accepted', 'moved') for m in self.store.moves(self.recovery().id)))
        self.vmha.kill_engine()
        self.vmha.start_engine()
        self.wait_over()
        _moves, records = self.assertRecovered()
        self.assertEqual(len(self.before), len(records))

    def forget(self):
        """Leave no marks to the next test."""
        for host in self.store.marks():
            self.store.set_mark(host, spare=False, pool='', maintenance=False, parked=False,
                                backend='')
