"""A bad time for a lab: every core is busy, and now and then its network loses packets."""

import os
import sys
import threading

from tests.lab import process

#: Per cent of all packets, for so many seconds, with so many good ones in between.
LOSS, BAD, GOOD = 20, 2.0, 4.0


class Noise:
    """Within, there is noise in a lab whose hosts are boxes.

    :ivar bad_times: how often packets were lost for a while
    :ivar problem: why it has ended before its time, None if it has not
    """

    def __init__(self, lab):
        self.lab = lab
        self.bad_times, self.problem = 0, None
        self._busy = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        environment = {process.MARK: self.lab.state.mark}
        self._busy = [process.spawn([sys.executable, '-I', '-c', 'while True: pass'], environment,
                                    os.devnull) for _ in range(os.cpu_count())]
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(30)
        self.lab.network.lose(0)
        for one in self._busy:
            process.kill(one, self.lab.state.mark)

    def _run(self):
        try:
            while not self._end.wait(GOOD):
                self.lab.network.lose(LOSS)
                self.bad_times += 1
                self._end.wait(BAD)
                self.lab.network.lose(0)
        except Exception as error:      # silence would look like noise
            self.problem = repr(error)
