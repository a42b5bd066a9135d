"""What is built of this checkout, installed into environments with nothing else in them."""

import configparser
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
import zipfile

import testtools

from tests.lab import environment

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = ROOT / 'tools/constraints.txt'
# What the service needs, and a desk does not.
OF_THE_SERVICE = {'alembic', 'cotyledon', 'flask', 'keystonemiddleware', 'kombu', 'oslo-db',
                  'oslo-messaging', 'oslo-policy', 'oslo-service', 'prometheus-client',
                  'sqlalchemy'}
# What they all have to do without: this checkout.
CLEAN = {name: value for name, value in os.environ.items()
         if not name.startswith(('PYTHON', 'OS_', 'VIRTUAL_ENV'))}
_SECONDS = 300

HELP = """
import importlib.metadata, types
app = types.SimpleNamespace(client_manager=None)
for entry in importlib.metadata.entry_points(group='openstack.vmha.v1'):
    if entry.load()(app, None).get_parser('it').format_help():
        print(entry.name)
"""


def setUpModule():
    """Build an sdist, and a wheel from what is in that."""
    global WORK, UV, DIST, CFG
    WORK = tempfile.TemporaryDirectory()
    log = pathlib.Path(WORK.name) / 'log'
    UV = environment.uv_program(log)
    DIST = pathlib.Path(WORK.name) / 'dist'
    uv('build', '--quiet', '--out-dir', DIST, '--build-constraint', PINS, ROOT)
    CFG = configparser.ConfigParser(interpolation=None)
    CFG.read(ROOT / 'setup.cfg', encoding='utf-8')


def tearDownModule():
    WORK.cleanup()


def uv(*words, **more):
    """Run uv; what it prints."""
    return output([UV, *words], cwd=WORK.name,
                  env={**CLEAN, 'UV_HTTP_TIMEOUT': '180', 'UV_SYSTEM_CERTS': 'true', **more})


def output(command, **options):
    """Run a command: what it prints. What goes wrong is in the text of the error."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=_SECONDS, **options)
    if done.returncode:
        raise AssertionError(f'{command}: {done.returncode}\n{done.stdout}\n{done.stderr}')
    return done.stdout


def lines(section, option):
    return [line for line in CFG[section][option].split('\n') if line]


def installed(name, extras):
    """A new environment with the wheel and these extras: its folder."""
    folder = pathlib.Path(WORK.name) / name
    (wheel,) = DIST.glob('*.whl')
    uv('venv', '--quiet', '--python', environment.interpreter(), folder)
    uv('pip', 'install', '--quiet', '--constraint', PINS,
       f'vmha-nova[{extras}] @ {wheel.as_uri()}', VIRTUAL_ENV=str(folder))
    return folder


def packages(folder):
    """The names of what is installed there."""
    return {entry['name'] for entry in json.loads(uv(
        'pip', 'list', '--format', 'json', VIRTUAL_ENV=str(folder)))}


class BuildTest(testtools.TestCase):

    def test_the_wheel_has_everything(self):
        (path,) = DIST.glob('*.whl')
        with zipfile.ZipFile(path) as wheel:
            names = set(wheel.namelist())
        # Data files are below NAME.data/data.
        data = {name.partition('.data/data/')[2] for name in names}
        self.assertEqual(set(lines('options.data_files', 'etc/vmha')) - data, set())
        sources = {str(p.relative_to(ROOT)) for p in (ROOT / 'vmha_nova').rglob('*')
                   if p.suffix in ('.py', '.mako', '.ini')}
        self.assertEqual(sources - names, set())
        self.assertEqual([], [name for name in names if name.startswith(('tests/', 'devstack/'))])

    def test_the_sdist_has_what_its_user_reads(self):
        (path,) = DIST.glob('*.tar.gz')
        with tarfile.open(path) as sdist:
            names = {name.partition('/')[2] for name in sdist.getnames()}
        for name in ('README.rst', 'LICENSE', 'setup.cfg', 'pyproject.toml', 'devstack/plugin.sh',
                     'doc/source/install.rst', 'tests/unit/test_imports.py', 'tox.ini',
                     *lines('options.data_files', 'etc/vmha')):
            self.assertIn(name, names)


class ServiceTest(testtools.TestCase):
    """A controller."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = installed('service', 'mysql,service')

    def run_program(self, name, *words):
        return output([self.folder / 'bin' / name, *words], cwd=WORK.name,
                      env={'PATH': '/usr/bin:/bin', 'HOME': WORK.name})

    def test_every_program_says_what_it_is(self):
        (wheel,) = DIST.glob('*.whl')
        version = wheel.name.split('-')[1]
        scripts = [line.partition('=')[0].strip()
                   for line in lines('options.entry_points', 'console_scripts')]
        self.assertIn('vmha-engine', scripts)
        for name in scripts:
            self.assertIn('usage: ' + name, self.run_program(name, '--help'))
            self.assertIn(version, self.run_program(name, '--version'))

    def test_the_tables_can_be_made(self):
        conf = pathlib.Path(WORK.name) / 'vmha.conf'
        conf.write_text(f'[database]\nconnection = sqlite:///{WORK.name}/vmha.sqlite\n')
        said = self.run_program('vmha-manage', '--config-file', str(conf), 'db', 'sync')
        newest = max((ROOT / 'vmha_nova/db/alembic/versions').glob('0*.py')).name.partition('_')[0]
        self.assertIn(newest, said)

    def test_samples_are_made_of_what_is_installed(self):
        etc = self.folder / 'etc/vmha'
        for program, config in (('oslo-config-generator', 'vmha-config-generator.conf'),
                                ('oslopolicy-sample-generator', 'vmha-policy-generator.conf')):
            sample = pathlib.Path(WORK.name) / f'{program}.sample'
            self.run_program(program, '--config-file', etc / config, '--output-file', str(sample))
            self.assertGreater(len(sample.read_text()), 1000, program)

    def test_it_needs_no_openstackclient(self):
        self.assertEqual(set(), packages(self.folder) & {'osc-lib', 'python-openstackclient'})


class DeskTest(testtools.TestCase):
    """An operator's machine, with nothing but the commands."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = installed('desk', 'osc')

    def test_nothing_of_the_service_is_needed(self):
        found = packages(self.folder)
        self.assertEqual(set(), found & OF_THE_SERVICE)
        self.assertIn('python-openstackclient', found)

    def test_every_command_is_there(self):
        environ = {'PATH': '/usr/bin:/bin', 'HOME': WORK.name}
        commands = [line.partition('=')[0].strip()
                    for line in lines('options.entry_points', 'openstack.vmha.v1')]
        # All in one process: openstackclient takes seconds to start.
        said = output([self.folder / 'bin/python', '-c', HELP], cwd=WORK.name, env=environ)
        self.assertEqual(sorted(commands), sorted(said.split()))
        said = output([self.folder / 'bin/openstack', 'vmha', 'host', 'set', '--help'],
                      cwd=WORK.name, env=environ)
        self.assertIn('usage: openstack vmha host set', said)

    def test_a_program_of_the_service_says_what_is_missing(self):
        done = subprocess.run([self.folder / 'bin/vmha-engine', '--help'], capture_output=True,
                              text=True, timeout=_SECONDS, env={'PATH': '/usr/bin:/bin'})
        self.assertEqual(1, done.returncode)
        self.assertIn("pip install 'vmha-nova[service]'", done.stderr)
        self.assertEqual(1, len(done.stderr.splitlines()))
