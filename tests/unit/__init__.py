"""The unit tests. The scenarios, where there are any, run with them."""

import os


def load_tests(loader, tests, pattern):
    here = os.path.dirname(__file__)
    top = os.path.dirname(os.path.dirname(here))
    for folder in (here, os.path.join(os.path.dirname(here), 'scenarios')):
        if os.path.isfile(os.path.join(folder, '__init__.py')):
            tests.addTests(loader.discover(folder, pattern or 'test*.py', top))
    return tests
