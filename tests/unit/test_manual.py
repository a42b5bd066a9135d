"""The manual, and the messages, name commands that exist and options that they take."""

import argparse
import configparser
import contextlib
import importlib
import io
import pathlib
import re
import shlex
import types

import testtools

from vmha_nova.cmd import manage
from vmha_nova.cmd import notify

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / 'doc/source').glob('*.rst'), ROOT / 'README.rst'])
RULES = ROOT / 'etc/vmha/vmha-alerts.yaml'
OPENSTACK, MANAGE, NOTIFY = 'openstack vmha', 'vmha-manage', 'vmha-notify'


def commands():
    """The commands of openstack: 'host list' -> its class."""
    cfg = configparser.ConfigParser(interpolation=None)
    cfg.read(ROOT / 'setup.cfg', encoding='utf-8')
    found = {}
    for line in cfg['options.entry_points']['openstack.vmha.v1'].split('\n'):
        name, _, target = (part.strip() for part in line.partition('='))
        if name:
            module, _, attribute = target.partition(':')
            found[name.removeprefix('vmha_').replace('_', ' ')] = getattr(
                importlib.import_module(module), attribute)
    return found


def named(text, program):
    """The words behind every mention of a program, as far as they may be a command."""
    text = ' '.join(text.split())
    return [m[1].split() for m in re.finditer(rf'{program}((?: [a-z]+)+)', text)]


def typed(text):
    """The command lines in a page's blocks, as a shell would take them apart."""
    found = re.findall(r'^ +[$#] (.*(?:\\\n.*)*)', text, re.MULTILINE)
    return [shlex.split(line.replace('\\\n', ' ')) for line in found
            if OPENSTACK in line or MANAGE in line or line.startswith(NOTIFY)]


def refusal(parser, arguments):
    """What a parser says against arguments, ''."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(arguments)
    except SystemExit:
        return said.getvalue()
    except argparse.ArgumentError as e:
        return str(e)
    return ''


class ManualTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.commands = commands()

    def is_command(self, words):
        """Whether words begin with a command. Sentences go on behind it."""
        return any(' '.join(words[:n]) in self.commands for n in (1, 2))

    def problem(self, words):
        """What is wrong with a line that is typed, ''."""
        for at, word in enumerate(words):
            if word.endswith(MANAGE):
                return refusal(manage._parser(), words[at + 1:])
        if words[0] == NOTIFY:
            return refusal(notify._parser(), words[1:])
        words = words[2:]
        for length in (2, 1):
            command = self.commands.get(' '.join(words[:length]))
            if command is not None:
                app = types.SimpleNamespace(client_manager=None)
                return refusal(command(app, None).get_parser('it'), words[length:])
        return 'there is no such command'

    def test_pages_name_commands_that_exist(self):
        count = 0
        for page in [*PAGES, RULES]:
            for words in named(page.read_text(), OPENSTACK):
                count += 1
                self.assertTrue(self.is_command(words), f'{page.name}: {OPENSTACK} {words}')
        self.assertGreater(count, 50)

    def test_messages_name_commands_that_exist(self):
        count = 0
        for path in (ROOT / 'vmha_nova').rglob('*.py'):
            # Long texts are literals behind each other.
            text = re.sub(r"'\s*\n\s*f?'", '', path.read_text())
            for words in named(text, f'"{OPENSTACK}'):
                count += 1
                self.assertTrue(self.is_command(words), f'{path.name}: {OPENSTACK} {words}')
        self.assertGreater(count, 10)

    def test_what_is_typed_there_can_be_typed(self):
        count = 0
        for page in PAGES:
            for words in typed(page.read_text()):
                count += 1
                self.assertEqual('', self.problem(words), f'{page.name}: {" ".join(words)}')
        self.assertGreater(count, 30)

    def test_what_cannot_be_typed_is_found(self):
        for line in ('openstack vmha host lst', 'openstack vmha host set compute1 --sparse',
                     'openstack vmha plan show', '/opt/vmha/bin/vmha-manage db snyc',
                     'openstack vmha recovery list --state helt', 'vmha-notify compute1'):
            self.assertNotEqual('', self.problem(line.split()), line)
        self.assertFalse(self.is_command(['hosts', 'list']))
