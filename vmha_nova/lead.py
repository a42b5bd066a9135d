"""The lead of one engine: the term in which it may write, and acts that are recorded.

Two things keep one that was replaced from acting: the lock, which it knows to have lost without
asking anybody, and the term in the database, which another one raises when it takes the lead.
"""

import logging

from vmha_nova import exception

LOG = logging.getLogger(__name__)


class Lead:
    """Shared by everything that writes in one engine's name; ``term`` is None before take().

    :param holds: function: whether this process has the lock of all engines
    """

    def __init__(self, store, holds=lambda: True):
        self.store = store
        self.holds = holds
        self.term = None

    def take(self, holder):
        """Take the lead; the engine that had it can write no more."""
        self.term = self.store.take_lead(holder)

    def check(self):
        """Make sure that this engine still leads: TermLost if it does not.

        For right before an act that waited for others after it was recorded.
        """
        self.store.keep_lead(self.term)
        self.check_lock()               # last: it takes no time in which something could change

    def check_lock(self):
        """TermLost if the lock was lost, or the backend was away for too long; asks nobody."""
        if not self.holds():
            raise exception.TermLost('the lock of the lead is lost')

    def step(self, kind, subject, recovery_id, function, plan=None):
        """Record, act, record. ``function`` returns (state, detail, evidence).

        :param plan: evidence of what is about to be done, for who finds the act half done
        """
        step = self.store.begin_step(self.term, kind, subject, recovery_id, plan)
        try:
            self.check_lock()
            state, detail, evidence = function()
        except Exception as e:
            self.store.end_step(self.term, step, 'failed', str(e))
            raise
        self.store.end_step(self.term, step, state, detail, evidence)
        LOG.info('%s %s: %s%s', kind, subject, state, f' ({detail})' if detail else '')
