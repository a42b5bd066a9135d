"""Time that passes when told to."""

import datetime


class Clock:
    """Aware UTC, beginning at ``start``."""

    def __init__(self, start):
        self.now = start

    def __call__(self):
        return self.now

    def tick(self, seconds):
        self.now += datetime.timedelta(seconds=seconds)
