"""What setup.cfg promises exists, and the pins satisfy it."""

import ast
import configparser
import importlib
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tempfile

from packaging import requirements
from packaging import utils
import testtools

from tests.unit import test_imports
from vmha_nova.conf import opts
from vmha_nova import policies

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
        self.assertEqual({'vmha-engine', 'vmha-manage', 'vmha-monitor', 'vmha-notify',
                          'vmha-status'},
                         set(scripts))
        for name, target in scripts.items():
            self.assertTrue(callable(self.load(target)), name)

    def test_files_to_copy_are_installed(self):
        files = [ROOT / line for line in lines_of(self.cfg['options.data_files']['etc/vmha'])]
        for path in files:
            self.assertTrue(path.is_file(), path)
        wanted = {path for path in (ROOT / 'etc/vmha').iterdir() if path.suffix != '.sample'}
        self.assertEqual(wanted, set(files))
        for path in files:
            runs = bool(path.stat().st_mode & 0o111)
            self.assertEqual(path.suffix in ('.py', '.sh'), runs, path)

    def test_options_are_listed(self):
        for target in self.entry_points('oslo.config.opts').values():
            for group, options in self.load(target)():
                self.assertTrue(options, group)

    def test_everything_in_etc_comes_with_the_package(self):
        there = {f'etc/vmha/{path.name}' for path in (ROOT / 'etc/vmha').iterdir()
                 if path.suffix != '.sample'}
        self.assertEqual(there, set(lines_of(self.cfg['options.data_files']['etc/vmha'])))

    def test_every_program_has_a_unit(self):
        for name in ('engine', 'monitor'):
            unit = (ROOT / f'etc/vmha/vmha-{name}.service').read_text()
            self.assertIn(f'/bin/vmha-{name} --config-file /etc/vmha/vmha.conf\n', unit)

    def sample(self, program, config):
        """What a generator makes of one of our files, run as `tox -e genconfig` does."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'sample'
            subprocess.run([sys.executable, '-c', program, '--config-file', ROOT / config,
                            '--output-file', path], check=True, cwd=ROOT, timeout=120,
                           capture_output=True)
            return path.read_text()

    def test_the_sample_configuration_has_every_option(self):
        sample = self.sample('from oslo_config import generator; generator.main()',
                             'etc/vmha/vmha-config-generator.conf')
        listed = {group: {option.name for option in options}
                  for group, options in opts.list_opts()}
        self.assertIn('heartbeat_silence', listed['detection'])
        for group, names in listed.items():
            section = re.search(rf'^\[{group}\]$(.*?)(?=^\[|\Z)', sample, re.DOTALL | re.MULTILINE)
            self.assertIsNotNone(section, group)
            shown = set(re.findall(r'^#?(\w+) = ?', section[1], re.MULTILINE))
            missing = {name.replace('-', '_') for name in names} - shown
            self.assertEqual(set(), missing, group)

    def test_the_sample_policy_has_every_rule(self):
        sample = self.sample('from oslo_policy import generator; generator.generate_sample()',
                             'etc/vmha/vmha-policy-generator.conf')
        rules = [rule.name for rule in policies.list_rules()]
        self.assertGreater(len(rules), 10)
        for name in rules:
            self.assertIn(f'"{name}"', sample)

    def test_every_imported_library_is_required(self):
        required = {extra: {utils.canonicalize_name(requirements.Requirement(line).name)
                            for line in lines_of(self.cfg['options.extras_require'][extra])}
                    for extra in ('osc', 'service')}
        self.assertNotIn('install_requires', self.cfg['options'])
        distributions = importlib.metadata.packages_distributions()
        for path in (ROOT / 'vmha_nova').rglob('*.py'):
            extra = 'osc' if 'osc' in path.parts else 'service'
            for line, name in test_imports.imported(ast.parse(path.read_bytes()), ()):
                top = name.partition('.')[0]
                if top in sys.stdlib_module_names or top == 'vmha_nova':
                    continue
                owners = {utils.canonicalize_name(owner) for owner in distributions.get(top, ())}
                self.assertTrue(owners & required[extra],
                                f'{path.name}:{line}: {top} {owners} for [{extra}]')

    def test_the_pins_satisfy_every_requirement(self):
        pins = {}
        for line in lines_of((ROOT / 'tools/constraints.txt').read_text()):
            name, _, version = line.partition('==')
            pins[utils.canonicalize_name(name)] = version
        wanted = []
        for extra in self.cfg['options.extras_require'].values():
            wanted += lines_of(extra)
        for name in ('test-requirements.txt', 'doc/requirements.txt'):
            wanted += lines_of((ROOT / name).read_text())
        for line in wanted:
            requirement = requirements.Requirement(line)
            pin = pins.get(utils.canonicalize_name(requirement.name))
            self.assertIsNotNone(pin, f'{line}: no pin')
            self.assertIn(pin, requirement.specifier, line)
