"""What the contract tests need of a cloud besides what the service itself asks and does there.

Each test acts through ``nova``, which is the production adapter, or the simulator in its place.
"""

import abc

SOURCE, TARGET, OTHER, SILENT = 'compute1', 'compute2', 'compute3', 'compute4'
HOSTS = (SOURCE, TARGET, OTHER, SILENT)
FLAVOR = {'VCPU': 1, 'MEMORY_MB': 64}


class Stage(abc.ABC):
    """A cloud of four hosts. ``nova``: vmha_nova.nova.Nova, or what offers the same."""

    nova = None

    @abc.abstractmethod
    def now(self):
        """The time that Nova has, aware."""

    @abc.abstractmethod
    def pause(self, seconds):
        """Let time pass."""

    @abc.abstractmethod
    def boot(self, host, count=1, stopped=0, group=None):
        """Servers of the FLAVOR that are there: ids, the stopped ones first."""

    @abc.abstractmethod
    def delete(self, ident):
        """A server is deleted; returns when it is gone."""

    @abc.abstractmethod
    def put(self, ident, vm_state):
        """A server is paused, or in ERROR."""

    @abc.abstractmethod
    def kill(self, host):
        """nova-compute, and all that runs on the host, ends; Nova is told nothing."""

    @abc.abstractmethod
    def start(self, host):
        """nova-compute runs again, and has sent a heartbeat."""

    @abc.abstractmethod
    def full(self, host):
        """Within, a host has no memory left for others."""

    @abc.abstractmethod
    def lost_cell(self):
        """Within, the database of the cell with all hosts does not answer."""

    @abc.abstractmethod
    def group(self, policy):
        """A server group: its id."""

    @abc.abstractmethod
    def aggregate(self, name, host, metadata):
        """A host aggregate is there."""

    @abc.abstractmethod
    def trait(self, host, name):
        """A host has a trait."""

    @abc.abstractmethod
    def close(self):
        """All is as it was before."""
