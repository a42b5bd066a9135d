"""Every core is busy and packets are lost: nobody is taken for dead."""

import time

from tests.lab import noise
from tests.lab import verdicts
from tests.storage import monitored

MINUTES = 2


class NoiseTest(monitored.MonitoredTest):
    def test_no_false_alarm(self):
        end = time.monotonic() + 60 * MINUTES
        with noise.Noise(self.lab) as heard:
            while time.monotonic() < end:
                self.assertEqual([], self.store.failures())
                time.sleep(1)
        self.assertIsNone(heard.problem)
        self.assertGreater(heard.bad_times, 5 * MINUTES)
        self.assertEqual([], verdicts.reports(self.log(), self.begun))
        said = [v for v in verdicts.verdicts(self.log(), self.begun)
                if v.verdict in ('dead', 'probably-dead', 'isolated')]
        self.assertEqual([], said)
        self.assertEqual([], self.store.recoveries())
        self.assertCountsOn()
