"""Fences: what proves that a dead host can write no more. And whether the storage is ready.

A fence is an object with ``name``, ``proves`` (one line for the operator) and
``fence(host) -> evidence dict``, which raises FenceFailed. Storage has ``ready() -> ''`` or the
reason why moves must wait.
"""

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

    def __init__(self, unsafe_without_fence):
        if not unsafe_without_fence:
            raise exception.ConfigurationError(UNSAFE)

    def fence(self, host):
        """Return the operator's word as the evidence."""
        return {'driver': self.name, 'host': host,
                'word': '[fence] unsafe_without_fence = true, set by the operator'}


class UncheckedStorage:
    """Storage nobody asks: always ready, and its backends unknown."""

    name = 'none'

    def ready(self):
        """'' always."""
        return ''
