"""Fences in the operator's order: the next one is for hosts that the one before cannot fence."""

from vmha_nova import exception

NONE, STORAGE, POWER = 'none', 'storage', 'power'
ORDERS = ((NONE,), (STORAGE,), (POWER,), (POWER, STORAGE))


def has(conf, driver):
    """Whether a driver is one of [fence] driver."""
    return driver in conf.fence.driver


def order(conf):
    """[fence] driver as a tuple.

    :raises ConfigurationError: that is no order in which fences work.
    """
    found = tuple(conf.fence.driver)
    if found not in ORDERS:
        raise exception.ConfigurationError(
            f'[fence] driver = {", ".join(found)}: it is one of '
            + '; '.join(', '.join(some) for some in ORDERS))
    return found


class Fences:
    """The configured fences, first the one that is tried first."""

    def __init__(self, *fences):
        self._fences = fences
        self.name = ', '.join(f.name for f in fences)
        self.proves = ', or '.join(f.proves for f in fences)
        # The one of them of which something stays in force, None.
        self.lasting = next((f for f in fences if f.lasting), None)

    def __iter__(self):
        return iter(self._fences)

    def of(self, evidence):
        """The fence by which a plan or evidence is; None: none of these."""
        return next((f for f in self._fences if f.name == evidence.get('driver')), None)
