"""A host returns, started anew or only reconnected, before, while or after its guests moved.

virsh on all hosts is the witness: see `tests.lab.copies`.
"""

import time

from tests.storage import base
from tests.storage import monitored

LONG = 120                              # seconds; how fast it is, others measure


class ReturnTest(monitored.MonitoredTest):
    """The guest ends on the spare, and nowhere else; the host comes back into service."""

    overrides = {'return.stable_for': 5}
    restarted = False                   # nova-compute, once it was asked for

    # -- how it fails and returns -----------------------------------------------------------------
    def lose_power(self):
        self.fail_now('power', self.lab.kill_host, self.SOURCE)
        self.wait_verdict('dead', LONG)

    def power_on(self):
        self.lab.start_host(self.SOURCE, wait=False)

    def lose_cables(self):
        self.fail_now('cables', self.lab.cut, self.SOURCE)
        self.wait_verdict('dead', LONG)

    def reconnect(self):
        self.lab.join(self.SOURCE)

    # -- when it returns --------------------------------------------------------------------------
    def before(self, fail, come_back):
        """It is fenced, and Nova takes no call before it is there again."""
        fail()
        self.wait('it is fenced', lambda: self.recovery() and self.fenced(), 120)
        self.lab.kill('nova-api')
        come_back()
        self.wait('it lives', lambda: self.lab.alive(self.SOURCE), 30)
        time.sleep(20)                  # for its nova-compute to start, and to beat
        self.lab.start('nova-api')
        self.assertEqual([], self.evacuations())
        self.wait('an end', lambda: self.approved().ended_at, 240)

    def approved(self):
        """The recovery; an operator lets it go on where it is held as the host beats again."""
        recovery = self.recovery()
        if recovery.state == 'held' and 'sends heartbeats again' in recovery.reason:
            self.vmha.manage('recovery', 'approve', recovery.id, json=False)
        return recovery

    def during(self, fail, come_back):
        """Nova has taken the call, and the guest is nowhere yet."""
        fail()
        self.wait('Nova has taken the call', lambda: self.recovery() and any(
            m.accepted_at for m in self.moves().values()), 120)
        come_back()

    def after(self, fail, come_back):
        """The guest runs on the spare."""
        fail()
        self.wait('a recovery', self.recovery, 60)
        self.wait_over(240)
        self.assertGoesOn(self.guest)
        come_back()

    # -- how it ends ------------------------------------------------------------------------------
    def fenced(self):
        return any(s.state == 'done' for s in self.store.steps(self.recovery().id, 'fence'))

    def evacuations(self):
        return self.cloud.migrations(self.SOURCE, migration_type='evacuation')

    def ends(self):
        """All is in order again, and at no time could two copies write."""
        self.wait('a recovery', self.recovery, 60)
        self.wait_over(300)
        self.assertEqual('recovered', self.recovery().state, self.state())
        self.assertGoesOn(self.guest)
        self.wait('the fence is lifted', self.lifted, 150)
        self.assertEqual({}, self.lab.guests(self.SOURCE), 'its old copy is gone')
        self.wait('it is in service again', lambda: self.recovery().released_at, 150)
        service = self.cloud.service(self.SOURCE)
        self.assertEqual((False, 'enabled'), (service['forced_down'], service['status']))
        self.assertOneWriter()
        self.assertEqual(1, len([e for e in self.evacuations()
                                 if e['status'] in ('done', 'completed')]))
        self.assertCountsOnSpare()

    def lifted(self):
        """Whether the fence is lifted; an operator does what it waits for, once.

        A nova-compute that started before Nova had ended the evacuation has not cleaned up.
        """
        if not self.restarted and any(
                'restart nova-compute' in e.text for e in self.store.events()):
            self.restarted = True
            self.lab.restart_compute(self.SOURCE)
        return any(s.state == 'done' for s in self.store.steps(self.recovery().id, 'lift'))

    def assertCountsOnSpare(self):
        begin = len(self.counts(self.guest, self.SPARE))
        self.wait('it goes on counting', lambda: (
            len(self.counts(self.guest, self.SPARE)) > begin + 5), 60)

    def reconnected(self, when):
        """It stays out until its nova-compute is started anew, which removes the old copy."""
        when(self.lose_cables, self.reconnect)
        self.wait('a recovery', self.recovery, 60)
        self.wait_over(300)
        self.assertGoesOn(self.guest)
        self.wait('it says why the host stays out', lambda: any(
            'restart nova-compute' in e.text for e in self.store.events()), 90)
        self.assertIn(self.guest, self.lab.guests(self.SOURCE), 'the old copy is there, shut out')
        self.ends()

    # -- the tests --------------------------------------------------------------------------------
    @base.all_only
    def test_restarted_before_its_evacuations(self):
        self.before(self.lose_power, self.power_on)
        self.ends()

    @base.all_only
    def test_restarted_during_its_evacuations(self):
        self.during(self.lose_power, self.power_on)
        self.ends()

    @base.all_only
    def test_restarted_after_its_evacuations(self):
        self.after(self.lose_power, self.power_on)
        self.restarted = True           # that start is enough
        self.ends()

    @base.all_only
    def test_reconnected_before_its_evacuations(self):
        self.reconnected(self.before)

    @base.all_only
    def test_reconnected_during_its_evacuations(self):
        self.reconnected(self.during)

    @base.all_only
    def test_reconnected_after_its_evacuations(self):
        self.reconnected(self.after)
