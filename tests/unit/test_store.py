"""The store, on SQLite; the functional tests run the same on MariaDB."""

import datetime
import os
import tempfile
import threading
import unittest

from vmha_nova.db import store
from vmha_nova import exception


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class StoreScenarios:
    """What every database must do; ``self.url`` names an empty one."""

    waits = False                   # a transaction waits for others and never fails for them

    def open(self):
        opened = store.Store(now, connection=self.url)
        opened.upgrade()
        return opened

    def test_upgrade_twice_and_version(self):
        db = store.Store(now, connection=self.url)
        self.assertEqual('', db.version())
        db.upgrade()
        db.upgrade()
        self.assertEqual('0004', db.version())

    def test_the_newest_engine_leads_and_the_old_one_can_write_no_more(self):
        db = self.open()
        first = db.take_lead('a')
        report, _ = db.report_failure('h1', 'test')
        second = db.take_lead('b')
        self.assertEqual(first + 1, second)
        for write in (lambda: db.open_recovery(first, report, ''),
                      lambda: db.set_failure(first, report.id, 'dismissed'),
                      lambda: db.begin_step(first, 'fence', 'h1'),
                      lambda: db.keep_lead(first)):
            with self.assertRaises(exception.TermLost):
                write()
        self.assertEqual([], db.recoveries() + db.steps())
        self.assertEqual('new', db.failures()[0].state)

    def test_engines_that_start_together_get_different_terms(self):
        self.open()
        terms, lost = [], []

        def lead():
            try:
                terms.append(store.Store(now, connection=self.url).take_lead('x'))
            except (exception.TermLost, exception.StoreUnavailable) as e:
                lost.append(e)
        threads = [threading.Thread(target=lead) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertTrue(terms)
        self.assertEqual(len(terms), len(set(terms)), (terms, lost))

    def test_a_recovery_from_report_to_moves(self):
        db = self.open()
        term = db.take_lead('a')
        report, new = db.report_failure('h1', 'test', 'it burns', evidence={'a': [1]})
        self.assertTrue(new)
        recovery = db.open_recovery(term, report, 'dead')
        self.assertEqual(('confirmed', 'confirmed'), (recovery.state, recovery.stage))
        self.assertEqual(recovery.id, db.failures()[0].recovery_id)
        db.save_moves(term, recovery.id, new=[
            dict(instance_id='i2', position=1, state='waiting', was='active'),
            dict(instance_id='i1', position=0, state='left', was='paused')])
        first, second = db.moves(recovery.id)
        self.assertEqual(('i1', 'i2'), (first.instance_id, second.instance_id))
        at = now()
        db.save_moves(term, recovery.id, changed={second.id: dict(
            state='sending', tried=['x'], intent_at=at)})
        second = db.moves(recovery.id)[1]
        self.assertEqual((('x',), at), (second.tried, second.intent_at))
        held = db.set_recovery(term, recovery.id, state='held', resume='confirmed')
        self.assertEqual('confirmed', held.stage)
        self.assertEqual([recovery.id], [r.id for r in db.recoveries(open_only=True)])

    def test_states_change_only_as_they_are_allowed_to(self):
        db = self.open()
        term = db.take_lead('a')
        report, _ = db.report_failure('h1', 'test')
        recovery = db.open_recovery(term, report, '')
        with self.assertRaises(exception.InvalidTransition):
            db.set_recovery(term, recovery.id, state='moving')
        with self.assertRaises(exception.InvalidTransition):
            db.set_failure(term, report.id, 'dismissed')
        db.save_moves(term, recovery.id, new=[dict(instance_id='i', state='moved')])
        move = db.moves(recovery.id)[0]
        with self.assertRaises(exception.InvalidTransition):
            db.save_moves(term, recovery.id, changed={move.id: dict(state='sending')})
        self.assertEqual('moved', db.moves(recovery.id)[0].state)

    def test_the_same_report_only_counts_and_another_one_does_not(self):
        db = self.open()
        at = now()
        for _ in range(3):
            db.report_failure('h1', 'test', detected_at=at)
        db.report_failure('h2', 'test', detected_at=at)
        self.assertEqual([('h1', 2), ('h2', 0)], [(f.host, f.repeats) for f in db.failures()])
        _, new = db.report_failure('h1', 'operator', forced=True)
        self.assertTrue(new, 'an operator who insists is heard')

    def test_reports_of_many_threads_are_all_counted(self):
        db = self.open()
        errors = []

        def report(n):
            try:
                db.report_failure(f'h{n % 3}', 'test')
            except exception.StoreUnavailable as e:
                errors.append(e)
        threads = [threading.Thread(target=report, args=(n,)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = db.failures()
        self.assertEqual(24, sum(f.repeats + 1 for f in found) + len(errors))
        if self.waits:
            self.assertEqual([], errors)
        self.assertLess(len(errors), 24)

    def test_marks_steps_and_journal(self):
        db = self.open()
        term = db.take_lead('a')
        db.set_mark('h1', spare=True)
        db.set_mark('h1', parked=True)
        self.assertEqual((True, True), (db.marks()['h1'].spare, db.marks()['h1'].parked))
        db.drop_mark('h1')
        self.assertEqual({}, db.marks())
        step = db.begin_step(term, 'fence', 'h1')
        self.assertEqual(('intended', None), (db.steps()[0].state, db.steps()[0].ended_at))
        db.end_step(term, step, 'done', 'sure', {'epoch': 7})
        self.assertEqual({'epoch': 7}, db.steps(kind='fence')[0].evidence)
        for _ in range(3):
            db.note('warning', 'x', 'the same line')
        db.note('warning', 'x', 'another line')
        self.assertEqual([2, 0], [e.repeats for e in db.events()])

    def test_measured_load(self):
        db = self.open()
        term, at = db.take_lead('a'), now()
        db.save_loads(term, {'h1': (0.25, at), 'h2': (0.5, at)})
        db.save_loads(term, {'h1': (0.75, at)})
        self.assertEqual({'h1': (0.75, at), 'h2': (0.5, at)}, db.loads())

    def test_what_is_not_there(self):
        db = self.open()
        with self.assertRaises(exception.NotFound):
            db.recovery('nothing')
        with self.assertRaises(exception.NotFound):
            db.wish('nothing', 'abort')


class SqliteTest(StoreScenarios, unittest.TestCase):
    waits = True

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = 'sqlite:///' + os.path.join(folder.name, 'db')

    def test_a_database_that_is_not_there(self):
        db = store.Store(now, connection='sqlite:////nowhere/at/all')
        with self.assertRaises(exception.StoreUnavailable):
            db.marks()
