"""Breaks a copy of the code, and looks whether the named test sees it.

The checkout is never touched. A test counts as one that catches a broken version if it passes on
the code as it is, and fails on that version by an assertion: what cannot be imported, or ends by
another exception, was not caught but merely broken.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from tests.mutations import table

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPIED = ('vmha_nova', 'tests', 'tools', 'doc', 'setup.cfg')
LONGEST = 300                           # seconds of one test
WRITTEN = ('name', 'part', 'breaks', 'file', 'test', 'caught', 'seen')
SHOWN = 200                             # characters of what an assertion said
RAISED = re.compile(r'[\w.]+(Error|Broken): ')
LOG_LINE = re.compile(r'[+-] +[0-9]+\.[0-9]  ')
# Runs tests, and prints what came of each; in a process of its own, in the copy.
_RUN = '''
import json, logging, os, sys, unittest
logging.disable(logging.CRITICAL)
import vmha_nova
assert os.path.realpath(vmha_nova.__file__).startswith(os.path.realpath(os.getcwd())), vmha_nova
for name in sys.argv[1:]:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromName(name).run(result)
    print(json.dumps(dict(ran=result.testsRun, skipped=len(result.skipped),
                          failures=[text for _, text in result.failures],
                          errors=[text for _, text in result.errors])))
'''


class NotCaught(Exception):
    """A test does not do what it is named for; the text says how."""


def problem(mutation, root=ROOT):
    """Why a mutation cannot be made, ''."""
    found = (root / mutation.file).read_text(encoding='utf-8').count(mutation.old)
    if found != 1:
        return f'{mutation.name}: {mutation.file} has its old text {found} times, not once'
    if mutation.old == mutation.new:
        return f'{mutation.name}: it changes nothing'
    return ''


def run(mutations, say=print):
    """Try mutations; yields what came of each, as the document has it.

    :param say: called with a line of progress
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        copy(root)
        tests = sorted({mutation.test for mutation in mutations})
        whole = dict(zip(tests, _run(tests, root), strict=True))
        for mutation in mutations:
            yield _try(mutation, root, whole[mutation.test], say)


def copy(root):
    """The code that tests take, without what was made of it."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(
                '__pycache__', '*.pyc'))
        else:
            shutil.copy(ROOT / name, root / name)


def _try(mutation, root, unbroken, say):
    file = root / mutation.file
    whole = file.read_text(encoding='utf-8')
    found = dataclasses.asdict(mutation)
    try:
        if reason := problem(mutation, root):
            raise NotCaught(reason)
        _passes(mutation, unbroken)
        file.write_text(whole.replace(mutation.old, mutation.new), encoding='utf-8')
        found.update(caught=True, seen=_fails(mutation, root))
    except NotCaught as e:
        found.update(caught=False, seen=str(e))
    finally:
        file.write_text(whole, encoding='utf-8')
    say(f'{"caught    " if found["caught"] else "NOT CAUGHT"} {mutation.name}: {found["seen"]}')
    return found


def _passes(mutation, result):
    if result['ran'] != 1 or result['skipped'] or result['errors'] or result['failures']:
        raise NotCaught(f'{mutation.test} does not pass on the code as it is: {result}')


def _fails(mutation, root):
    """What the assertion said, in a line."""
    result, = _run([mutation.test], root)
    if result['errors']:
        raise NotCaught(f'an error instead of a failure: {_last(result["errors"][0])}')
    if not result['failures']:
        raise NotCaught('the test passes')
    return _said(result['failures'][0])


def _run(tests, root):
    """What came of each test; the same for all where they cannot be run."""
    try:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-B', '-c', _RUN, *tests], cwd=root,
            timeout=LONGEST * len(tests), env={**os.environ, 'PYTHONPATH': str(root)},
            capture_output=True, text=True, check=False)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        error = done.stderr
    except subprocess.TimeoutExpired:
        found, error = [], f'it took more than {LONGEST} s'
    if len(found) == len(tests):
        return found
    return [dict(ran=0, skipped=0, failures=[], errors=[error])] * len(tests)


def _last(text):
    return text.strip().splitlines()[-1]


def _said(text):
    """What a failed assertion said: which invariant, or what is in a log, or how it began."""
    lines = text.strip().splitlines()
    at = next((n for n, line in enumerate(lines) if RAISED.match(line)), -1)
    words = lines[at].partition(': ')[2]
    if words.startswith('invariant '):      # a scenario's log follows
        return words
    # Of a log that was compared, what is in it that should not be; or what is missing.
    for sign, said in (('+', 'in the log'), ('-', 'not in the log')):
        for line in lines:
            if LOG_LINE.match(line) and line.startswith(sign):
                return f'{said}: {" ".join(line[1:].split())}'
    return ' '.join(' '.join(lines[at:]).split()).partition(': ')[2][:SHOWN]


def load(path):
    """Results that were written."""
    return json.loads(pathlib.Path(path).read_text(encoding='utf-8'))


def write(path, found):
    """Write results beside those of other mutations that were written there before."""
    path = pathlib.Path(path)
    known = {one['name']: one for one in [*(load(path) if path.exists() else ()), *found]}
    path.write_text(json.dumps([
        {key: known[one.name][key] for key in WRITTEN}
        for one in table.MUTATIONS if one.name in known], indent=1, ensure_ascii=False) + '\n',
        encoding='utf-8')


def named(name):
    """The mutation of a name; KeyError."""
    return {one.name: one for one in table.MUTATIONS}[name]
