"""Ceph's Python bindings, which come from the distribution, for the interpreter that runs here."""

import importlib.machinery
import os
import pathlib
import sys
import sysconfig

from tests.lab.common import cache_dir
from tests.lab.common import LabError

#: Packages of the distribution that have them.
PACKAGES = ('python3-rados', 'python3-rbd')

_NAMES = ('rados', 'rbd')
_INSTALLED = pathlib.Path('/usr/lib/python3/dist-packages')


def folder():
    """A folder for PYTHONPATH that holds the bindings and nothing else.

    The distribution's own folder would bring all its other modules along.

    :raises LabError: they are not installed, or are for another Python
    """
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    found = {name: _INSTALLED / f'{name}{suffix}' for name in _NAMES}
    missing = [str(path) for path in found.values() if not path.exists()]
    if missing:
        raise LabError(f'no {", ".join(missing)}: install {" and ".join(PACKAGES)}, and use the '
                       f'Python they are built for (this one is {sys.executable}, {suffix})')
    target = cache_dir() / f'bindings{suffix}'
    target.mkdir(exist_ok=True)
    for path in found.values():
        _link(target / path.name, path)
    return target


def expose():
    """Make ``import rados`` and ``import rbd`` work here.

    :raises LabError: they are not installed, or are for another Python
    """
    if all(importlib.machinery.PathFinder.find_spec(name) for name in _NAMES):
        return
    path = str(folder())
    if path not in sys.path:
        sys.path.insert(0, path)


def _link(name, target):
    """A symbolic link; others may be making the same one."""
    if name.is_symlink() and os.readlink(name) == str(target):
        return
    fresh = name.with_name(f'{name.name}.{os.getpid()}')
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(name)
