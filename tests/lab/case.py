"""What tests of a whole recovery have in common, whatever cloud they run on."""

import time
import unittest


class RecoveryTest(unittest.TestCase):
    """compute1 dies, compute2 and compute3 are ordinary nodes, compute4 is the spare.

    A test has ``self.vmha``, a Vmha, and ``self.store``, once the engine was started.
    """

    SOURCE, SPARE = 'compute1', 'compute4'

    def report(self, reason='it fell silent', source='test'):
        """Publish that the host is down."""
        self.vmha.publish_host_down(self.SOURCE, reason, source)

    def wait(self, what, condition, seconds=120):
        """Poll until the condition holds; returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.2)
        self.fail(f'not within {seconds} s: {what}; {self.state()}')

    def state(self):
        """What the engine has on record, for messages."""
        return [str(r) for r in self.store.recoveries()] + [
            f'{m.name} {m.state} {m.target}: {m.reason}'
            for r in self.store.recoveries() for m in self.store.moves(r.id)] + [
            f'{f.host} {f.state}: {f.detail}' for f in self.store.failures()]

    def recovery(self):
        """The newest recovery, or None."""
        return (self.store.recoveries() or [None])[-1]

    def wait_over(self, seconds=180):
        """Wait for the end of the recovery; returns it."""
        return self.wait('the recovery is over', lambda: (
            self.recovery() if self.recovery() and self.recovery().ended_at else None), seconds)

    def reports(self):
        """Those of the source, oldest first: on a slow machine Nova tells of others as well."""
        return [f for f in self.store.failures() if f.host == self.SOURCE]

    def moves(self):
        """The moves of the newest recovery: {instance id: Move}."""
        return {m.instance_id: m for m in self.store.moves(self.recovery().id)}
