"""Read a subunit stream (v2) from standard input; print '<passed> <failed> <skipped>'.

A test that started and never ended counts as failed.
"""

import collections
import sys

import subunit
import testtools

PASSED = ('success', 'xfail')
SKIPPED = ('skip',)
IGNORED = ('exists',)       # listed, not run


def count(stream):
    """Return (passed, failed, skipped) of the subunit v2 bytes in the binary file ``stream``."""
    statuses = collections.Counter()
    result = testtools.StreamToDict(lambda test: statuses.update([test['status']]))
    result.startTestRun()
    subunit.ByteStreamToStreamResult(stream, non_subunit_name='stdout').run(result)
    result.stopTestRun()
    passed = sum(statuses.pop(status, 0) for status in PASSED)
    skipped = sum(statuses.pop(status, 0) for status in SKIPPED)
    for status in IGNORED:
        statuses.pop(status, None)
    return passed, sum(statuses.values()), skipped


if __name__ == '__main__':
    print(*count(sys.stdin.buffer))
