"""Three of four hosts die at once, as the monitor and the storage see it."""

import time

from tests.lab import verdicts
from tests.storage import base
from tests.storage import monitored


class StormTest(monitored.MonitoredTest):
    DEAD = ('compute1', 'compute2', 'compute3')

    @base.all_only
    def test_the_monitor_doubts_itself_and_the_engine_begins_nothing(self):
        self.what, self.broken = 'three of four', time.time()
        for host in self.DEAD:
            self.lab.kill_host(host)
        self.wait('the monitor doubts itself', lambda: [
            d for d in verdicts.doubts(self.log(), self.broken) if d.verdict], 30)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            self.assertEqual([], [m for host in self.DEAD for m in self.cloud.migrations(
                host, migration_type='evacuation')])
            self.assertFalse(any(self.cloud.service(host)['forced_down'] for host in self.DEAD))
            self.assertLessEqual({r.state for r in self.store.recoveries()}, {'confirmed', 'held'})
            time.sleep(2)
        print([(d.verdict, d.reason) for d in verdicts.doubts(self.log(), self.broken)],
              self.state())
