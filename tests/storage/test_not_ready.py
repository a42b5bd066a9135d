"""The storage, or who speaks for it, is not there when it is needed."""

import itertools
import time

from tests.storage import base


class NotReadyTest(base.StorageTest):
    def test_too_few_osds_it_holds_names_the_pool_and_goes_on_by_itself(self):
        ident = self.boot('rbd')[0]
        self.wait_recorded(ident)
        self.ceph.kill_osd('compute2')
        self.wait('Ceph has noticed', lambda: not self.ceph.osd_up('compute2'), 60)
        self.lab.kill_host(self.SOURCE)
        self.report()
        self.wait('it is held, and names the pool', lambda: self.recovery() and (
            self.recovery().state == 'held' and 'pool vms' in self.recovery().reason), 90)
        self.assertEqual([], self.cloud.migrations(self.SOURCE, migration_type='evacuation'))
        self.ceph.start_osd('compute2')
        self.wait_over(180)
        self.assertEqual('recovered', self.recovery().state)
        self.assertGoesOn(ident)


class MonitorTest(base.StorageTest):
    """Nothing is evacuated on a fence that nobody has confirmed, and the engine never hangs."""

    def lives(self):
        """The engine does its work: a report is looked at."""
        self.vmha.manage('failure', 'report', 'no-such-host', '--reason', 'is it alive?',
                         json=False)
        self.wait('the engine looks at reports', lambda: any(
            f.host == 'no-such-host' and f.state == 'dismissed'
            for f in self.store.failures()), 30)

    def evacuated(self):
        """Nova's evacuation records."""
        return self.cloud.migrations(self.SOURCE, migration_type='evacuation')

    def test_a_monitor_that_hangs_before_the_fence(self):
        ident = self.boot('rbd')[0]
        self.wait_recorded(ident)
        self.ceph.freeze('mon')
        self.lab.kill_host(self.SOURCE)
        self.report()
        self.wait('the report waits, and says for what', lambda: any(
            f.state == 'checking' and 'whether the host lives is not known' in f.detail
            for f in self.store.failures()), 90)
        self.vmha.manage('failure', 'report', self.SOURCE, '--force', json=False)
        self.wait('it is held when an operator insists', lambda: self.recovery() and (
            self.recovery().state == 'held'), 90)
        self.lives()
        self.assertEqual([], self.evacuated())
        self.assertFalse(self.cloud.service(self.SOURCE)['forced_down'])
        self.ceph.thaw('mon')
        self.wait_over()
        self.assertEqual('recovered', self.recovery().state)
        self.assertGoesOn(ident)

    def test_a_monitor_that_dies_after_the_fence(self):
        idents = self.boot('rbd', 2)
        self.wait_recorded(*idents)
        self.lab.kill_host(self.SOURCE)
        self.report()
        self.wait('it is fenced', lambda: self.recovery() and (
            self.store.steps(self.recovery().id, 'fence')), 60)
        self.ceph.kill('mon')
        sent = self.evacuated()
        self.lives()
        self.wait('it is held', lambda: self.recovery().state == 'held', 60)
        fenced = [s for s in self.store.steps(self.recovery().id, 'fence') if s.state == 'done']
        self.assertTrue(fenced or not sent, 'evacuated without a fence')
        self.ceph.revive('mon')
        self.wait_over()
        self.assertEqual('recovered', self.recovery().state)
        for ident in idents:
            self.assertGoesOn(ident)

    def test_a_monitor_that_fails_at_each_step(self):
        """As soon as a step shows, the monitor is killed or hangs, for longer than a call may."""
        idents = self.boot('rbd', 2)
        self.wait_recorded(*idents)
        self.lab.kill_host(self.SOURCE)
        self.report()
        seen, faults = [], itertools.cycle(((self.ceph.kill, self.ceph.revive),
                                            (self.ceph.freeze, self.ceph.thaw)))
        end = time.monotonic() + 420
        while not (self.recovery() and self.recovery().ended_at):
            self.assertLess(time.monotonic(), end, (seen, self.state()))
            step = self.step()
            if step not in seen:
                seen.append(step)
                break_it, mend_it = next(faults)
                broken = time.monotonic()
                break_it('mon')
                self.lives()
                time.sleep(max(0, broken + 7 - time.monotonic()))
                mend_it('mon')
            time.sleep(0.1)
        print('the monitor failed at', seen)
        self.assertLessEqual({'checking', 'fence intended', 'sent'}, set(seen))
        self.assertGreater(len(seen), 4)
        self.assertEqual('recovered', self.recovery().state)
        fenced = [s.ended_at for s in self.store.steps(self.recovery().id, 'fence')
                  if s.state == 'done']
        for move in self.moves().values():
            self.assertGreater(move.intent_at, fenced[0])
        self.assertEqual(sorted(idents), sorted(r['instance_uuid'] for r in self.evacuated()))
        for ident in idents:
            self.assertGoesOn(ident)

    def step(self):
        """Where it stands: the report's state, then the last step, then what the moves are at."""
        recovery = self.recovery()
        if recovery is None:
            return self.store.failures()[0].state if self.store.failures() else 'published'
        states = {m.state for m in self.store.moves(recovery.id)}
        if states & {'sending', 'accepted', 'settling', 'moved'}:
            return 'sent' if 'moved' not in states else 'one moved'
        steps = self.store.steps(recovery.id)
        return f'{steps[-1].kind} {steps[-1].state}' if steps else 'confirmed'
