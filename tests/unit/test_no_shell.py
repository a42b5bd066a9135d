"""Nothing here starts a shell, runs text as code, or loads what could be code.

The source is read, not imported. What bandit finds besides is in `tox -e pep8`.
"""

import ast
import pathlib
import textwrap

import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: Functions that take a command line as text, or that start a program past subprocess.
SHELLS = {'os.popen', 'os.system', 'subprocess.getoutput', 'subprocess.getstatusoutput',
          'pty.spawn', 'asyncio.create_subprocess_shell', 'commands.getoutput'}
EXECS = ('os.exec', 'os.spawn', 'os.posix_spawn')
#: Functions that run text as code.
CODE = {'eval', 'exec', 'compile', 'builtins.eval', 'builtins.exec', 'builtins.compile',
        'code.interact', 'runpy.run_path', 'runpy.run_module'}
#: Modules whose loaders make whatever object the data says.
LOADERS = ('pickle', 'cPickle', 'dill', 'marshal', 'shelve', 'jsonpickle', 'cloudpickle')
#: What subprocess starts programs with.
STARTERS = {f'subprocess.{name}' for name in ('Popen', 'run', 'call', 'check_call',
                                              'check_output')}
#: yaml.load and its relatives, but for the safe one.
YAML = {'yaml.load', 'yaml.load_all', 'yaml.full_load', 'yaml.full_load_all',
        'yaml.unsafe_load', 'yaml.unsafe_load_all'}

NO_LIST = 'a program is started with something that is not written as a list'
UNSEEN = 'a program is started with options that cannot be seen'


def faults(text):
    """What breaks the rules in a source text: list of 'line: what'."""
    tree = ast.parse(text)
    names = _imported(tree)
    found = [f'{node.lineno}: imports {name}' for node in ast.walk(tree)
             for name in _modules(node) if name.partition('.')[0] in LOADERS]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            # Also where it is not called: it could be, under another name.
            name = _name(node, names)
            if name in SHELLS | CODE | YAML or name.startswith(EXECS):
                found.append(f'{node.lineno}: {name}')
        if isinstance(node, ast.Call):
            found += [f'{node.lineno}: {what}' for what in _call(node, names)]
    return found


def _call(node, names):
    """What is wrong with how a program is started."""
    for keyword in node.keywords:
        if keyword.arg == 'shell' and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
            yield 'shell'
    if _name(node.func, names) in STARTERS:
        command = node.args[0] if node.args else None
        # What is not written as a list where it is started could be a text.
        if not isinstance(command, (ast.List, ast.Tuple)):
            yield NO_LIST
        if any(keyword.arg is None for keyword in node.keywords):
            yield UNSEEN


def _imported(tree):
    """What names stand for: {name here: full name}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                names[one.asname or one.name.partition('.')[0]] = (
                    one.name if one.asname else one.name.partition('.')[0])
        elif isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                names[one.asname or one.name] = f'{node.module}.{one.name}'
    return names


def _modules(node):
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    return [node.module or ''] if isinstance(node, ast.ImportFrom) else []


def _name(node, names):
    """The full name of `a.b.c`, '' where it is something else."""
    if isinstance(node, ast.Attribute):
        owner = _name(node.value, names)
        return owner and f'{owner}.{node.attr}'
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ''


class NoShellTest(testtools.TestCase):
    def test_the_package(self):
        files = sorted((ROOT / 'vmha_nova').rglob('*.py'))
        self.assertGreater(len(files), 80)
        self.assertEqual([], [
            f'{path.relative_to(ROOT)}:{fault}' for path in files
            for fault in faults(path.read_text(encoding='utf-8'))])

    def test_there_is_something_to_look_at(self):
        """Programs are started here, and as the rule wants it."""
        text = (ROOT / 'vmha_nova/fencing/agents.py').read_text(encoding='utf-8')
        self.assertIn('[program], stdin', text)
        self.assertTrue(faults(text.replace('[program]', 'program')))

    def test_what_breaks_it(self):
        for text, fault in (
                ('import os\nos.system("x")', '2: os.system'),
                ('from os import popen as p\np("x")', '2: os.popen'),
                ('import os as o\nrun = o.execvp', '2: os.execvp'),
                ('import subprocess\nsubprocess.run(["x"], shell=True)', '2: shell'),
                ('import subprocess\nsubprocess.run(["x"], shell=flag)', '2: shell'),
                ('import subprocess\nsubprocess.run("x")', f'2: {NO_LIST}'),
                ('import subprocess\nsubprocess.run(["x"], **more)', f'2: {UNSEEN}'),
                ('import subprocess\nsubprocess.getoutput("x")', '2: subprocess.getoutput'),
                ('eval("1")', '1: eval'), ('run = exec', '1: exec'),
                ('import pickle', '1: imports pickle'),
                ('from pickle import loads', '1: imports pickle'),
                ('import yaml\nyaml.load(x)', '2: yaml.load'),
                ('import yaml\nyaml.load(x, Loader=yaml.Loader)', '2: yaml.load')):
            with self.subTest(text):
                self.assertEqual([fault], faults(text))

    def test_what_is_fine(self):
        self.assertEqual([], faults(textwrap.dedent('''
            import re
            import subprocess
            import yaml
            re.compile('x')
            yaml.safe_load('x')
            subprocess.run(['x', 'y'], check=True, shell=False)
            session.execute(evaluate)
            ''')))
