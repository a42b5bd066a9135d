"""No fence: the operator's word."""

from vmha_nova import exception

UNSAFE = ('[fence] driver = none proves nothing about the dead host: a guest that still runs '
          'there would write to the same disk as its copy. Only where that cannot be (a test '
          "cloud with Nova's fake virt driver) or where you make sure of it yourself, set "
          '[fence] unsafe_without_fence = true')


class NoFence:
    """The operator's word instead of a fence.

    :raises ConfigurationError: without that word.
    """

    name = 'none'
    proves = "nothing: the operator's word that a host reported down cannot write"
    done = ''
    lasting = False

    def __init__(self, unsafe_without_fence):
        if not unsafe_without_fence:
            raise exception.ConfigurationError(UNSAFE)

    def plan(self, host, ours=()):
        """Return the operator's word."""
        return {'driver': self.name, 'host': host,
                'word': '[fence] unsafe_without_fence = true, set by the operator'}

    def fence(self, host, plan):
        """Return the operator's word as the evidence."""
        return plan

    def keep(self, host, evidence):
        """Nothing is in force."""
