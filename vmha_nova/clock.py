"""Time for what waits: a clock that nobody sets."""

import datetime
import time


def wall():
    """Now, aware UTC, by the machine's clock."""
    return datetime.datetime.now(datetime.timezone.utc)


class Steady:
    """Now, aware UTC, going on evenly whatever is done to the machine's clock.

    A quiet period that ends early is a second evacuation, and one that begins anew with a clock
    set back is an hour in which nobody is helped. So what the machine's clock was set by is taken
    over only when take_over() is called: while nothing is being waited for.
    """

    def __init__(self, wall=wall, uptime=lambda: time.clock_gettime(time.CLOCK_BOOTTIME)):
        self._wall = wall
        self._uptime = uptime           # seconds, from anywhere, never set
        self.take_over()

    def __call__(self):
        at, uptime = self._origin
        return at + datetime.timedelta(seconds=self._uptime() - uptime)

    def take_over(self):
        """Show what the machine's clock shows."""
        self._origin = self._wall(), self._uptime()
