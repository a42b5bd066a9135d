"""Versions of the code that are broken on purpose, each of which a named test has to catch."""
