"""When to look at what.

What a list lacks is not gone: Nova leaves out cells that are down, and still answers 200. An
instance goes when a record says deleted or a GET answers 404; a node when it is listed no more,
holds no instance, and the GET of its compute node answers 404. A list that fails changes nothing
but ``Cluster.problems``. No call is made per host or per instance unless something is amiss.
"""

import threading

from vmha_nova.collector import board as boards
from vmha_nova.collector import instances
from vmha_nova.collector import nodes


class Collector:
    """Keeps a Cluster fresh from ``nova``; ``clock`` returns aware UTC.

    ``snapshot`` may be read by any thread at any time. The methods may be called by any thread,
    too, and all but ``poke`` and those that begin with ``on_`` may wait for Nova.
    """

    def __init__(self, nova, clock, settings=None):
        self._clock = clock
        self._settings = settings or boards.Settings()
        self._poked = False
        self._wake = threading.Event()
        self._board = boards.Board()
        self._instances = instances.Instances(
            nova, clock, self._settings, self._board, self._between_pages,
            lambda: self._nodes.cells_answer)
        self._nodes = nodes.Nodes(
            nova, clock, self._settings, self._board, self._instances.doubt, self._between_pages)
        often, seldom = self._settings.interval, self._settings.nodes_interval
        self._nodes_job = boards.Job(self._nodes.look_at_nodes, seldom, often)
        self._services_job = boards.Job(self._nodes.look_at_services, often, often)
        self._delta_job = boards.Job(self._instances.look_at_changes, often, often)
        self._full_job = boards.Job(self._look_at_all, self._settings.full_interval, often)

    @property
    def snapshot(self):
        """The newest model.Cluster."""
        return self._board.snapshot

    @property
    def read_all_at(self):
        """When the newest list of all servers was begun; None before the first."""
        return self._full_job.began_at

    def refresh(self):
        """Do what is due; returns the seconds until something is due again. Raises nothing.

        The first call reads everything, and can take minutes in a large cloud.
        """
        # Nodes before services, so that the services of ironic are known for what they are.
        for job in (self._nodes_job, self._services_job):
            if job.wait(self._clock()) <= 0:
                boards.quietly(job, self._clock)
        if self._full_wait(self._clock()) <= 0:
            boards.quietly(self._full_job, self._clock)
        else:
            self._look_at_changes_if_due()
        now = self._clock()
        return max(0.0, min(self._nodes_job.wait(now), self._services_job.wait(now),
                            self._full_wait(now), self._delta_wait(now)))

    def refresh_services(self, within=0.0):
        """Look at the services now; raises what Nova's adapter raises.

        :param within: a look that began no more than so many seconds ago will do
        """
        self._services_job.run(self._clock, within)

    def on_enabled(self, host):
        """Nova has confirmed just now that it schedules to a host again."""
        self._nodes.take_enabled(host)

    def refresh_nodes(self):
        """Look at hypervisors, Placement, aggregates and server groups now.

        Each of them is taken, even if another fails; then raises what Nova's adapter raised.
        """
        self._nodes_job.run(self._clock)

    def refresh_instances(self):
        """Look at the changed servers now; raises what Nova's adapter raises.

        Callers that come while somebody looks share the next look. ``snapshot.instances_at`` is
        then not before the call.
        """
        first = self._instances.mark is None
        (self._full_job if first else self._delta_job).run(self._clock)

    def reconcile(self, host):
        """The host's instances by a fresh list, which is merged into the snapshot.

        Each instance the snapshot has there and the list lacks is asked for by itself; one that
        could not be read is returned as it was, with ``known`` False. Raises what Nova's adapter
        raises when the list itself could not be read.
        """
        return self._instances.reconcile(host)

    def is_gone(self, instance_id):
        """Ask for one server; whether Nova proves, by 404, that there is none. Raises likewise."""
        return self._instances.is_gone(instance_id)

    def on_metrics(self, host, metrics):
        """Take a host's measured load; ``metrics`` as the payload of metrics.update has them."""
        self._nodes.take_metrics(host, metrics)

    def poke(self):
        """A notification tells of a change: the next refresh looks at the changed servers."""
        if not self._poked:             # one wake-up for a burst of them
            self._poked = True
            self._wake.set()

    def ask(self, instance_id):
        """Something of a server changed that no list of changes shows: the next look asks for it.
        """
        self._instances.ask(instance_id)

    def wait(self, seconds):
        """Wait that long, or until poked."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _look_at_all(self):
        self._instances.look_at_all()
        if self._delta_job.began_at is None:
            self._delta_job.began_at = self._full_job.began_at

    def _look_at_changes_if_due(self):
        if self._delta_wait(self._clock()) <= 0:
            self._poked = False         # a poke from here on is for the next time
            boards.quietly(self._delta_job, self._clock)

    def _delta_wait(self, now):
        if self._instances.mark is None:
            return self._full_wait(now)
        often = max(self._settings.min_delta_gap,
                    self._delta_job.took / self._settings.delta_share)
        return self._delta_job.wait(now, min(often, self._settings.interval) if self._poked
                                    else None)

    def _full_wait(self, now):
        again = self._instances.incomplete and self._nodes.cells_answer
        return self._full_job.wait(now, self._settings.full_interval / 6 if again else None)

    def _between_pages(self):
        """Keep the heartbeats and the changes coming while a long list is read."""
        if self._services_job.wait(self._clock()) <= 0:
            boards.quietly(self._services_job, self._clock)
        if self._instances.mark is not None:
            self._look_at_changes_if_due()
