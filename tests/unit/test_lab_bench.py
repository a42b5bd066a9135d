"""The benchmark of recoveries: what is made of what was measured."""

import unittest

from tests.lab import bench_recovery


def run(moved, first=0.5, errors=0, finished=True, **more):
    return {'all_moved_s': moved, 'first_accept_s': first, 'errors': errors, 'left': 0,
            'finished': finished, **more}


def ours(moved, first=0.5, errors=0):
    return run(moved, first, errors, engine_cpu_s=2.0, engine_rss_mb=200)


class SummaryTest(unittest.TestCase):

    def test_ratios_of_medians_to_the_best_window(self):
        runs = [{'servers': 20, 'slow': 1, 'by': {
            'vmha': ours(moved, first), '2': run(20.0, 0.4), '8': run(bare, 0.6)}}
            for moved, first, bare in ((11.0, 0.5, 10.0), (30.0, 0.6, 50.0), (12.0, 0.7, 8.0))]
        found = bench_recovery.summary(runs)['sizes']['20 servers']
        self.assertEqual((3, 12.0, '8', 1.2), (
            found['rounds'], found['all_moved_s'], found['best_window'],
            found['ratio_to_best_window']))
        self.assertEqual((0.6, 1.2), (found['first_accept_s'], found['ratio_first_accept']))
        self.assertNotIn('ratio_to_naive', found)

    def test_the_flood_is_no_window_and_its_errors_are_its_own(self):
        by = {'vmha': ours(100.0), '4': run(100.0), 'flood': run(150.0, 2.0, 7, False)}
        found = bench_recovery.summary([{'servers': 200, 'slow': 3, 'by': by}])['sizes'][
            '200 servers, 3 times as slow']
        self.assertEqual(('4', 1.0, 0.667, False, 7, 0), (
            found['best_window'], found['ratio_first_accept'], found['ratio_to_naive'],
            found['naive_finished'], found['naive_errors'], found['errors']))

    def test_a_server_that_is_lost_shows(self):
        lost = {**ours(10.0, errors=1), 'left': 2}
        found = bench_recovery.summary([{'servers': 20, 'slow': 1, 'by': {
            'vmha': lost, '2': run(20.0)}}])
        self.assertEqual(3, found['sizes']['20 servers']['errors'])
