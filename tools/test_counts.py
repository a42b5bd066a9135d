"""Read a subunit stream (v2) from standard input; print '<passed> <failed> <skipped>'.

The names of the tests that failed follow, one a line. A test that started and never ended counts
as failed.
"""

import sys

import subunit
import testtools

PASSED = ('success', 'xfail')
SKIPPED = ('skip',)
IGNORED = ('exists',)       # listed, not run


def count(stream):
    """Return (passed, skipped, failed) of the subunit v2 bytes in the binary file ``stream``.

    The first two are numbers, the last is a list of the names of tests.
    """
    tests = []
    result = testtools.StreamToDict(tests.append)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(stream, non_subunit_name='stdout').run(result)
    result.stopTestRun()
    passed = sum(test['status'] in PASSED for test in tests)
    skipped = sum(test['status'] in SKIPPED for test in tests)
    failed = [test['id'] for test in tests
              if test['status'] not in PASSED + SKIPPED + IGNORED]
    return passed, skipped, failed


if __name__ == '__main__':
    passed, skipped, failed = count(sys.stdin.buffer)
    print(passed, len(failed), skipped)
    for name in failed:
        print(name)
