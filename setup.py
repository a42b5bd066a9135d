"""Hands setup.cfg to pbr, which adds the version from git. Everything else is in setup.cfg."""

import setuptools

setuptools.setup(setup_requires=['pbr>=6.1.1'], pbr=True)
