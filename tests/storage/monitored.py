"""Tests in which nobody reports by hand: vmha-monitor watches the hosts."""

import time

from tests.lab.copies import Copies
from tests.lab import failures
from tests.lab import guest
from tests.lab import verdicts
from tests.storage import base

#: Seconds within which the verdict has to be there.
REFUSED, SILENT, BEATLESS, MAP = 4.0, 9.0, 25.0, 40.0


class MonitoredTest(base.StorageTest):
    """A guest on the host that will fail, an engine, a monitor, and virsh as the witness."""

    def setUp(self):
        super().setUp()
        self.vmha.start_monitor()
        self.guest = self.boot()[0]
        self.wait_recorded(self.guest)
        self.copies = Copies(self.lab)
        self.copies.__enter__()
        self.addCleanup(self.copies.__exit__)
        self.begun = self.broken = time.time()

    # -- what happens ---------------------------------------------------------------------------
    def fail_now(self, what, act, *args, **options):
        """Have something happen; what is measured counts from here."""
        self.what, self.broken = what, time.time()
        act(*args, **options)

    def state(self):
        """What engine and monitor have to say, for messages."""
        said = [f'{v.at - self.broken:+.1f} s {v.host}: {v.verdict}: {v.reason}'
                for v in verdicts.verdicts(self.log(), self.begun)]
        return '\n'.join(['', *super().state(), *said, *self.log().splitlines()[-30:]])

    # -- what the monitor says ------------------------------------------------------------------
    def log(self):
        """Its log."""
        return self.vmha.monitor_log.read_text(encoding='utf-8', errors='replace')

    def verdicts(self, host=None):
        """Its verdicts of a host since the failure: list of verdicts.Said."""
        return [v for v in verdicts.verdicts(self.log(), self.broken)
                if v.host == (host or self.SOURCE)]

    def wait_verdict(self, what, seconds):
        """Wait for a verdict of the host; returns how long after the failure it was there."""
        found = self.wait(f'the verdict {what} of {self.SOURCE}', lambda: [
            v for v in self.verdicts() if v.verdict == what], seconds + 15)[0]
        after = found.at - self.broken
        self.assertLess(after, seconds, found)
        return after

    def assertNobodyElse(self):
        """No other host was ever reported, or taken for dead."""
        said = [v for v in verdicts.verdicts(self.log(), self.begun) if v.host != self.SOURCE
                and v.verdict in ('dead', 'probably-dead')]
        self.assertEqual([], said)
        self.assertLessEqual({f.host for f in self.store.failures()}, {self.SOURCE})

    # -- what is done ---------------------------------------------------------------------------
    def assertEvacuated(self, seconds=240):
        """It is, and the guest goes on elsewhere; nowhere twice."""
        self.wait('a recovery', self.recovery, 60)
        self.wait_over(seconds)
        self.assertEqual('recovered', self.recovery().state, self.state())
        self.assertGoesOn(self.guest)
        self.assertOneWriter()
        self.assertNobodyElse()

    def assertLeftAlone(self, seconds=20):
        """Nothing is done for so long, or was before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.assertEqual([], self.store.recoveries(), self.state())
            time.sleep(0.5)
        self.assertEqual([], self.cloud.migrations(self.SOURCE, migration_type='evacuation'))
        dump = self.ceph.command('osd dump')
        self.assertFalse(dump['range_blocklist'])
        self.assertFalse(self.cloud.service(self.SOURCE)['forced_down'])
        self.assertIn(self.guest, self.lab.guests(self.SOURCE))
        self.assertEqual(1, self.copies.most)
        self.assertOneWriter()
        self.assertNobodyElse()

    def assertCountsOn(self):
        """The guest goes on where it was."""
        begin = len(self.counts(self.guest, self.SOURCE))
        self.wait('the guest goes on counting', lambda: (
            len(self.counts(self.guest, self.SOURCE)) > begin + 5), 90)

    def assertOneWriter(self):
        """No two copies could write at any time, and the disk shows that none did."""
        self.assertIsNone(self.copies.problem)
        self.assertTrue(self.copies.looks)
        self.assertEqual([], self.copies.wrong)
        self.assertEqual([], guest.overlaps(self.on_disk(f'vms/{self.guest}_disk')))

    # -- the table ------------------------------------------------------------------------------
    def enter(self, verdict, after, **more):
        """Put what has happened into the table of the documents."""
        row = failures.Row(self.what, verdict, after and round(after, 1),
                           more.get('done') or self._done(), self._guest())
        print(row)
        failures.append(row)

    def _done(self):
        recovery = self.recovery()
        if recovery is None:
            waiting = self.reports()
            return 'nothing' if not waiting else f'nothing: the report is {waiting[-1].state}'
        fence, = [s for s in self.store.steps(recovery.id, 'fence') if s.state == 'done'][:1]
        moved = [m for m in self.moves().values() if m.state == 'moved']
        return (f'fenced after {fence.ended_at.timestamp() - self.broken:.0f} s, '
                f'evacuated {len(moved)} of {len(self.moves())}')

    def _guest(self):
        for host in self.lab.hosts:
            counted = self.counts(self.guest, host) if host != self.SOURCE else ()
            if counted:
                first = next(line for line in self.lines(self.guest, host) if line.what == 'COUNT')
                last = self.lab.console_file(self.guest, self.SOURCE).stat().st_mtime
                return f'on the spare, {first.time - last:.0f} s later'
        times = [line.time for line in self.lines(self.guest, self.SOURCE)
                 if line.what == 'COUNT' and line.time > self.broken - 5]
        gap = max((b - a for a, b in zip(times, times[1:], strict=False)), default=0.0)
        return 'ran on' if gap < 3 else f'stood still for {gap:.0f} s, ran on'
