"""What tools/run_tests.sh counts, and what it names at the end."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).parents[2] / 'tools' / 'test_counts.py'
TESTS = '''
import unittest

class Mixed(unittest.TestCase):
    def test_fails(self):
        self.fail('as it should')
    def test_passes(self):
        pass
    @unittest.skip('not today')
    def test_skipped(self):
        pass

class NeverBegins(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError('as it should')
    def test_is_not_run(self):
        pass
'''


class CountsTest(unittest.TestCase):
    """One run of tests, and what is printed of it."""

    def test_what_failed_is_counted_and_named(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, 'test_example.py').write_text(TESTS)
            stream = subprocess.run(
                [sys.executable, '-m', 'subunit.run', 'test_example'],
                cwd=folder, stdout=subprocess.PIPE, check=False).stdout
        printed = subprocess.run([sys.executable, TOOL], input=stream, stdout=subprocess.PIPE,
                                 check=True).stdout.decode().splitlines()
        self.assertEqual('1 2 1', printed[0])
        self.assertEqual(
            {'test_example.Mixed.test_fails', 'setUpClass (test_example.NeverBegins)'},
            set(printed[1:]))
