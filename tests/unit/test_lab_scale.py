"""The benchmark of large clouds, on small ones: its calls and its figures, not its times."""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest

from tests.lab import bench_scale
from tests.lab import scale_cloud

HOSTS, EACH, MESSAGES = 100, 24, 50


class ScaleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / 'report.json'
            with contextlib.redirect_stdout(io.StringIO()) as out, \
                    contextlib.redirect_stderr(io.StringIO()) as errors:
                cls.status = bench_scale.main([
                    f'--hosts={HOSTS}', f'--instances-per-host={EACH}',
                    f'--notifications={MESSAGES}', f'--report={report}'])
            if not report.exists():
                raise AssertionError(errors.getvalue())
            cls.result = json.loads(report.read_text(encoding='ascii'))
        cls.table = out.getvalue()
        cls.small, cls.large = (cls.result['clouds'][str(n)] for n in (bench_scale.LEAST, HOSTS))

    def test_the_whole_cloud_was_read_without_a_complaint(self):
        self.assertEqual((HOSTS, HOSTS * EACH, []), tuple(
            self.large[key] for key in ('hosts', 'instances', 'problems')))

    def test_everything_is_read_in_pages(self):
        full = self.large['full_refresh']
        self.assertEqual(1000, full['page_size'])
        self.assertEqual(-(-HOSTS * EACH // 1000), full['by_path']['/v2.1/servers/detail'])
        self.assertEqual(1, full['by_path']['/v2.1/os-hypervisors/detail'])

    def test_what_changed_takes_the_same_calls_however_large_the_cloud_is(self):
        for cloud in (self.small, self.large):
            self.assertEqual({'/v2.1/servers/detail': 1}, cloud['delta_refresh']['by_path'])
            self.assertEqual(cloud['delta_refresh']['changed'], cloud['delta_refresh']['applied'])
            self.assertEqual(1, cloud['services_refresh']['calls'])

    def test_every_host_is_checked_and_fits(self):
        for found in (self.large['every_host'], self.large['every_host_written']):
            self.assertEqual(HOSTS, found['hosts'])
        self.assertEqual(HOSTS, self.large['every_host']['fit'])
        for name in ('decide_one', 'decide_one_without_spares'):
            self.assertEqual(self.large[name]['instances'], self.large[name]['placed'])

    def test_notifications_were_taken_for_what_they_are(self):
        self.assertEqual(MESSAGES, self.large['listener']['notifications'])
        self.assertEqual(MESSAGES // 5, self.large['listener']['measured'])

    def test_the_limits_are_held_against_the_largest_cloud(self):
        self.assertEqual(self.large['memory']['peak_mb'],
                         self.result['limits']['peak_mb']['found'])
        self.assertEqual(bool(self.result['missed']), bool(self.status))
        self.assertIn('peak_mb', self.table)

    def test_a_limit_that_is_missed(self):
        self.assertEqual(['peak_mb'], bench_scale.missed({
            name: dict(limit=limit, found=limit + (name == 'peak_mb'))
            for name, (limit, _value) in bench_scale.LIMITS.items()}))


class CloudTest(unittest.TestCase):
    def test_all_instances_are_on_hosts_that_are_no_spares(self):
        cloud = scale_cloud.LargeNova(40, 5)
        cloud.url = ''
        found = [cloud.record(n)['OS-EXT-SRV-ATTR:host'] for n in range(cloud.total)]
        self.assertEqual(200, len(found))
        self.assertEqual({scale_cloud.host_name(n) for n in range(40)
                          if not scale_cloud.is_spare(n)}, set(found))


if __name__ == '__main__':
    unittest.main()
