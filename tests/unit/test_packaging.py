"""What setup.cfg promises exists, and the pins satisfy it."""

import ast
import configparser
import importlib
import importlib.metadata
import pathlib
import sys

from packaging import requirements
from packaging import utils
import testtools

from tests.unit import test_imports

ROOT = pathlib.Path(__file__).resolve().parents[2]


def lines_of(text):
    """Return the lines of a multi-line value or file, without blanks, comments and options."""
    lines = (line.partition('#')[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith('-')]


class PackagingTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.cfg = configparser.ConfigParser(interpolation=None)
        self.cfg.read(ROOT / 'setup.cfg', encoding='utf-8')

    def entry_points(self, group):
        pairs = (line.partition('=') for line in lines_of(self.cfg['options.entry_points'][group]))
        return {name.strip(): target.strip() for name, _, target in pairs}

    def load(self, target):
        module, _, attribute = target.partition(':')
        return getattr(importlib.import_module(module), attribute)

    def test_console_scripts_are_callable(self):
        scripts = self.entry_points('console_scripts')
        self.assertEqual({'vmha-engine', 'vmha-manage', 'vmha-monitor', 'vmha-status'},
                         set(scripts))
        for name, target in scripts.items():
            self.assertTrue(callable(self.load(target)), name)

    def test_options_are_listed(self):
        for target in self.entry_points('oslo.config.opts').values():
            for group, options in self.load(target)():
                self.assertTrue(options, group)

    def test_the_sample_configuration_has_our_options(self):
        generator = (ROOT / 'etc/vmha/vmha-config-generator.conf').read_text()
        for namespace in self.entry_points('oslo.config.opts'):
            self.assertIn(f'namespace = {namespace}\n', generator)

    def test_every_imported_library_is_required(self):
        wanted = lines_of(self.cfg['options']['install_requires'])
        wanted += lines_of(self.cfg['options.extras_require']['osc'])   # for vmha_nova.osc
        required = {utils.canonicalize_name(requirements.Requirement(line).name)
                    for line in wanted}
        distributions = importlib.metadata.packages_distributions()
        for path in (ROOT / 'vmha_nova').rglob('*.py'):
            for line, name in test_imports.imported(ast.parse(path.read_bytes()), ()):
                top = name.partition('.')[0]
                if top in sys.stdlib_module_names or top == 'vmha_nova':
                    continue
                owners = {utils.canonicalize_name(owner) for owner in distributions.get(top, ())}
                self.assertTrue(owners & required, f'{path.name}:{line}: {top} {owners}')

    def test_the_pins_satisfy_every_requirement(self):
        pins = {}
        for line in lines_of((ROOT / 'tools/constraints.txt').read_text()):
            name, _, version = line.partition('==')
            pins[utils.canonicalize_name(name)] = version
        wanted = lines_of(self.cfg['options']['install_requires'])
        for extra in self.cfg['options.extras_require'].values():
            wanted += lines_of(extra)
        for name in ('test-requirements.txt', 'doc/requirements.txt'):
            wanted += lines_of((ROOT / name).read_text())
        for line in wanted:
            requirement = requirements.Requirement(line)
            pin = pins.get(utils.canonicalize_name(requirement.name))
            self.assertIsNotNone(pin, f'{line}: no pin')
            self.assertIn(pin, requirement.specifier, line)
