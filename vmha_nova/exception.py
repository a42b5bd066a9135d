"""The errors of this service. Adapters raise them; nothing here knows of HTTP."""

#: What is said of an address instead of showing it: it can have a password in it.
NO_ADDRESS = ('is no address that can be read: in a password, %XX stands for each character that '
              'means something there, as %40 for @')


class VmhaError(Exception):
    """Base of all; its text is one line for an operator."""


class ConfigurationError(VmhaError):
    """The service cannot work as it is configured."""


class Rejected(VmhaError):
    """The other side understood the request and refused it; asking again changes nothing.

    ``code`` is the HTTP status it gave.
    """

    def __init__(self, message, code=0):
        super().__init__(message)
        self.code = code


class NotFound(Rejected):
    """The thing asked for does not exist (a GET answered 404)."""


class Unreachable(VmhaError):
    """The request was never sent: asking again is safe."""


class OutcomeUnknown(VmhaError):
    """The request may or may not have taken effect (timeout, reset, 5xx)."""


class Held(VmhaError):
    """What was about to begin must not; the text says why."""


class FenceFailed(VmhaError):
    """The host could not be proven unable to write."""


class TermLost(VmhaError):
    """Another engine leads; this one must not write or act any more."""


class UnknownHost(VmhaError):
    """No such compute node."""


class InvalidTransition(VmhaError):
    """A state was asked for that cannot follow the present one."""


class StoreUnavailable(VmhaError):
    """The database did not take or give what was asked."""


class StoreBusy(StoreUnavailable):
    """Others wrote the same at the same time, and this was undone; it may work at once."""


class StoreRefused(StoreUnavailable):
    """What was given does not fit into the database; it never will."""
