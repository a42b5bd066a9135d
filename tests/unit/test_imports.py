"""Imports point one way, and a few other rules a reader of the source can check.

The source is read, not imported. A new module needs a line in IMPORTS.
"""

import ast
import pathlib
import sys
import tempfile
import textwrap

import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'vmha_nova'
LONGEST = 500       # lines; a longer module is two modules

# What a module may import of this package. A name stands for the package below it as well (db for
# db.store), and a module may import what is in the same package (db.store may import db.models).
VALUES = {'exception', 'model', 'states'}
JUDGEMENT = {'capacity', 'decide', 'disks', 'marks', 'pace', 'rules', 'storm', 'summary',
             'verdict'}
# What the monitor works out of what its channels saw.
MONITOR = {f'monitor.{name}' for name in ('channels', 'history', 'verdict', 'watch')}
ADAPTERS = {'ceph', 'fencing', 'messaging', 'nova'}
IMPORTS = {
    # values, and what is worked out of them without I/O
    'clock': set(),
    'exception': set(),
    'model': set(),
    'states': {'exception'},
    'verdict': {'disks', 'model', 'states'},
    'rules': {'model', 'states'},
    'decide': {'model', 'rules', 'states'},
    'disks': {'model'},
    'marks': {'model'},
    'pace': {'model'},
    'storm': {'model'},
    'capacity': {'decide', 'disks', 'model', 'verdict'},
    'summary': set(),
    'views': {'model', 'states'},
    # what speaks to the outside
    'ceph': VALUES,
    'conf': {'exception'},
    'db': VALUES | {'views'},
    'fencing': VALUES,
    'messaging': VALUES,
    'nova': VALUES,
    # the work; adapters are handed in by constructor
    'collector': VALUES | JUDGEMENT | {'db'},
    'storage': VALUES | {'disks'},
    'unchecked': {'disks'},
    'preflight': {'disks', 'model', 'rules'},
    'planner': VALUES | JUDGEMENT | {'db'},
    'recorder': VALUES | JUDGEMENT | {'db'},
    'metrics': VALUES | {'db', 'version'},
    'notifier': VALUES | {'messaging'},
    'jobs': set(),
    'lead': {'exception'},
    'moves': VALUES | JUDGEMENT,
    'guard': VALUES | {'moves'},
    'homecoming': VALUES | JUDGEMENT,
    'flight': VALUES | JUDGEMENT | {'db', 'jobs', 'moves'},
    'recovery': VALUES | JUDGEMENT | {
        'db', 'flight', 'guard', 'homecoming', 'jobs', 'moves'},
    'coordination': {'exception'},
    'monitor.channels': set(),
    'monitor.verdict': {'monitor.channels'},
    'monitor.history': {'monitor.channels'},
    'monitor.watch': {'monitor.channels', 'monitor.history', 'monitor.verdict'},
    'monitor': VALUES | MONITOR | {'disks', 'preflight'},
    'engine': VALUES | JUDGEMENT | {
        'collector', 'db', 'flight', 'homecoming', 'jobs', 'lead', 'moves', 'recovery'},
    # what others see of it
    'policies': set(),
    'api': VALUES | {'db', 'disks', 'policies', 'version', 'views'},
    'osc': set(),
    # what puts it together
    'service': VALUES | JUDGEMENT | ADAPTERS | {
        'clock', 'collector', 'conf', 'coordination', 'db', 'engine', 'flight', 'jobs', 'metrics',
        'moves', 'notifier', 'planner', 'recorder', 'recovery', 'storage', 'unchecked'},
    'monitor.service': VALUES | MONITOR | ADAPTERS | {
        'clock', 'coordination', 'metrics', 'monitor', 'service'},
    'version': set(),
    'wsgi': VALUES | {'api', 'conf', 'db', 'metrics', 'planner', 'service', 'version'},
    'cmd': VALUES | JUDGEMENT | ADAPTERS | {
        'collector', 'conf', 'db', 'engine', 'monitor', 'monitor.service', 'preflight', 'service',
        'storage', 'version'},
}

# These import nothing but the standard library.
STANDARD_LIBRARY_ONLY = VALUES | JUDGEMENT | MONITOR

# Who may import a library. A library that is not named here is free.
LIBRARIES = {
    'alembic': {'db'},
    'cotyledon': {'cmd', 'monitor.service', 'service'},
    'eventlet': set(),
    'flask': {'api'},
    'jsonschema': {'api'},
    'keystoneauth1': {'cmd', 'conf', 'fencing', 'nova', 'osc', 'service'},
    'keystonemiddleware': {'api', 'wsgi'},
    'novaclient': {'nova'},
    'openstack': {'fencing', 'nova'},
    'osc_lib': {'osc'},
    'oslo_db': {'cmd', 'conf', 'db', 'service'},
    'oslo_messaging': {'cmd', 'conf', 'messaging', 'notifier', 'service'},
    'oslo_policy': {'api', 'policies', 'wsgi'},
    'prometheus_client': {'metrics'},
    'rados': {'ceph'},
    'rbd': {'ceph'},
    'sqlalchemy': {'db'},
    'tooz': {'coordination'},
}

MAY_PRINT = {'cmd'}


def entry_of(module, table):
    """Return the key of ``table`` for ``module``, a dotted name below the package; None: none."""
    parts = module.split('.')
    for length in range(len(parts), 0, -1):
        name = '.'.join(parts[:length])
        if name in table:
            return name
    return None


def module_name(path, package):
    """Return the dotted name of a source file below the package's folder; '' for the package."""
    parts = list(path.relative_to(package).with_suffix('').parts)
    if parts[-1] == '__init__':
        parts.pop()
    return '.'.join(parts)


def imported(tree, package_parts):
    """Yield (line, dotted name) of every import in ``tree``, wherever it stands.

    ``package_parts`` is the package the source is in, for relative imports. ``from a import b``
    yields ``a.b``, for b may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = list(package_parts[:len(package_parts) - node.level + 1]) + base
            for alias in node.names:
                yield node.lineno, '.'.join([*base, alias.name])


def wrong_import(entry, target):
    """Return why a module under ``entry`` may not import ``target``, or ''."""
    top, _, rest = target.partition('.')
    if top == PACKAGE:
        goal = entry_of(rest, IMPORTS) if rest else None
        if goal is None:
            return f'imports {target}, which is not in the table'
        if goal != entry and goal not in IMPORTS[entry]:
            return f'imports {target}; {entry} may import {sorted(IMPORTS[entry])}'
    elif entry in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
        return f'imports {target}; {entry} may import the standard library only'
    elif entry not in LIBRARIES.get(top, {entry}):
        return f'imports {target}, which is for {sorted(LIBRARIES[top]) or "nobody"}'
    return ''


def prints(tree):
    return [node.lineno for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            and node.func.id == 'print']


def check_package(root):
    """Return what is wrong with the imports and prints of the package in ``root``, as lines."""
    package = root / PACKAGE
    found = []
    for path in sorted(package.rglob('*.py')):
        module = module_name(path, package)
        where = path.relative_to(root)
        tree = ast.parse(path.read_bytes(), filename=str(path))
        inside = (PACKAGE, *path.relative_to(package).parent.parts)
        if not module:
            found += [f'{where}:{line}: imports {name}; the package itself imports nothing'
                      for line, name in imported(tree, inside)]
            continue
        entry = entry_of(module, IMPORTS)
        if entry is None:
            found.append(f'{where}: {module} is not in the table')
            continue
        for line, name in imported(tree, inside):
            if reason := wrong_import(entry, name):
                found.append(f'{where}:{line}: {reason}')
        if entry not in MAY_PRINT:
            found += [f'{where}:{line}: print' for line in prints(tree)]
    return found


def check_length(root, folders):
    """Return the modules below ``folders`` that are too long, as lines."""
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob('*.py')):
            lines = len(path.read_bytes().splitlines())
            if lines > LONGEST:
                found.append(f'{path.relative_to(root)}: {lines} lines')
    return found


class SourceTest(testtools.TestCase):

    def test_imports_point_one_way(self):
        found = check_package(ROOT)
        self.assertEqual([], found, '\n'.join(found))

    def test_modules_are_short(self):
        found = check_length(ROOT, [PACKAGE, 'tests'])
        self.assertEqual([], found, '\n'.join(found))

    def test_the_table_names_only_its_own_entries(self):
        named = set().union(*IMPORTS.values(), *LIBRARIES.values(), MAY_PRINT)
        self.assertEqual(set(), named - set(IMPORTS))

    def test_the_table_has_no_circle(self):
        rest = dict(IMPORTS)
        while free := [name for name, goals in rest.items() if not goals & set(rest)]:
            for name in free:
                del rest[name]
        self.assertEqual({}, rest)


class CheckerTest(testtools.TestCase):
    """The checker finds what it is there to find, in a tree made up for it."""

    def check(self, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                path = root / PACKAGE / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(textwrap.dedent(text))
            return check_package(root)

    def assert_found(self, expected, files):
        found = self.check(files)
        self.assertEqual(1, len(found), found)
        self.assertIn(expected, found[0])

    def test_a_good_tree(self):
        self.assertEqual([], self.check({
            '__init__.py': '',
            'model.py': 'import dataclasses\n',
            'decide.py': 'from vmha_nova import model\nfrom vmha_nova import states\n',
            'db/__init__.py': '',
            'db/models.py': 'import sqlalchemy\n',
            'db/store.py': '''
                from vmha_nova.db import models
                from vmha_nova import exception
                from . import models as same
                ''',
            'engine.py': 'import logging\nfrom vmha_nova.db import store\n',
            'cmd/__init__.py': '',
            'cmd/engine.py': 'from vmha_nova import service\nprint("hello")\n',
        }))

    def test_an_import_that_points_the_wrong_way(self):
        self.assert_found('vmha_nova/model.py:1: imports vmha_nova.decide',
                          {'model.py': 'from vmha_nova import decide\n'})

    def test_a_name_out_of_a_module(self):
        self.assert_found('vmha_nova/decide.py:1: imports vmha_nova.db.store.get',
                          {'decide.py': 'from vmha_nova.db.store import get\n'})

    def test_a_plain_import(self):
        self.assert_found('vmha_nova/nova.py:1: imports vmha_nova.db.store',
                          {'nova.py': 'import vmha_nova.db.store\n'})

    def test_a_relative_import(self):
        self.assert_found('vmha_nova/db/store.py:1: imports vmha_nova.engine',
                          {'db/store.py': 'from .. import engine\n'})

    def test_a_relative_import_of_an_init(self):
        self.assert_found('vmha_nova/db/__init__.py:1: imports vmha_nova.engine.run',
                          {'db/__init__.py': 'from ..engine import run\n'})

    def test_an_import_inside_a_function(self):
        self.assert_found('vmha_nova/engine.py:2: imports vmha_nova.nova',
                          {'engine.py': 'def f():\n    from vmha_nova import nova\n'})

    def test_the_package_imports_nothing(self):
        self.assert_found('vmha_nova/__init__.py:1', {'__init__.py': 'import os\n'})

    def test_the_package_as_a_whole(self):
        self.assert_found('vmha_nova/nova.py:1: imports vmha_nova, which is not in the table',
                          {'nova.py': 'import vmha_nova\n'})

    def test_a_library_in_a_pure_module(self):
        self.assert_found('decide may import the standard library only',
                          {'decide.py': 'import oslo_log\n'})

    def test_a_library_outside_its_place(self):
        self.assert_found("vmha_nova/engine.py:1: imports sqlalchemy.orm, which is for ['db']",
                          {'engine.py': 'from sqlalchemy import orm\n'})

    def test_eventlet(self):
        self.assert_found('imports eventlet, which is for nobody',
                          {'cmd/engine.py': 'import eventlet\n'})

    def test_a_print(self):
        self.assert_found('vmha_nova/engine.py:2: print',
                          {'engine.py': 'def f():\n    print(1)\n'})

    def test_a_module_nobody_has_named(self):
        self.assert_found('surprise is not in the table', {'surprise.py': ''})

    def test_a_long_module(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, lines in (('short', LONGEST), ('long', LONGEST + 1)):
                (root / f'{name}.py').write_text('x = 1\n' * lines)
            self.assertEqual(['long.py: 501 lines'], check_length(root, ['.']))
