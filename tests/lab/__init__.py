"""The test lab: a small, real OpenStack cloud on one machine. See README.rst.

>>> from tests.lab import Lab
>>> lab = Lab.up(hosts=4, servers=20, stopped=2)
>>> lab.kill_host('compute1')
>>> lab.down()
"""

from tests.lab.common import LabError
from tests.lab.lab import Lab

__all__ = ['Lab', 'LabError']
