"""The store, on SQLite; the functional tests run the same on MariaDB."""

import datetime
import itertools
import os
import tempfile
import threading
import unittest

from oslo_db import exception as db_exception
import sqlalchemy as sa

from vmha_nova.db import base
from vmha_nova.db import models
from vmha_nova.db import store
from vmha_nova import exception


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class StoreScenarios:
    """What every database must do; ``self.url`` names an empty one."""

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

    def test_a_lead_that_was_taken_meanwhile_is_not_taken_again(self):
        db = self.open()
        db.take_lead('a')

        @sa.event.listens_for(db._manager.writer.get_engine(), 'before_cursor_execute')
        def meanwhile(_connection, cursor, statement, *_others):
            if statement.startswith('UPDATE leader'):
                cursor.execute('UPDATE leader SET term = term + 1')
        with self.assertRaises(exception.TermLost):
            db.take_lead('b')

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

    def test_moves_are_written_together_or_not_at_all(self):
        db = self.open()
        term = db.take_lead('a')
        recovery = db.open_recovery(term, db.report_failure('h1', 'test')[0], '')
        db.save_moves(term, recovery.id, new=[dict(instance_id='i', state='moved')])
        with self.assertRaises(exception.InvalidTransition):
            db.save_moves(term, recovery.id, new=[dict(instance_id='j', state='waiting')],
                          changed={db.moves(recovery.id)[0].id: dict(state='sending')})
        self.assertEqual(['i'], [m.instance_id for m in db.moves(recovery.id)])

    def test_the_same_report_only_counts_and_another_one_does_not(self):
        db = self.open()
        at = now()
        for _ in range(3):
            db.report_failure('h1', 'test', detected_at=at)
        db.report_failure('h2', 'test', detected_at=at)
        self.assertEqual([('h1', 2), ('h2', 0)], [(f.host, f.repeats) for f in db.failures()])
        _, new = db.report_failure('h1', 'operator', forced=True)
        self.assertTrue(new, 'an operator who insists is heard')

    def test_sources_do_not_count_for_one_another(self):
        db = self.open()
        for source in ('ping', 'pdu', 'ping', 'pdu', 'pdu'):
            db.report_failure('h1', source)
        self.assertEqual([('ping', 1), ('pdu', 2)],
                         [(f.source, f.repeats) for f in db.failures()])

    def test_an_operator_who_insists_has_a_row_of_his_own_once(self):
        db = self.open()
        for forced in (False, True, True, False):
            db.report_failure('h1', 'operator', forced=forced)
        self.assertEqual([(False, 0), (True, 2)], [(f.forced, f.repeats) for f in db.failures()])

    def test_what_is_a_duplicate_only_counts_for_its_own_source(self):
        db = self.open()
        term = db.take_lead('a')
        recovery = db.open_recovery(term, db.report_failure('h1', 'ping')[0], '')
        for _ in range(2):
            report, new = db.report_failure('h1', 'pdu')
            if new:
                db.set_failure(term, report.id, 'duplicate', recovery_id=recovery.id)
        db.report_failure('h1', 'other')
        self.assertEqual(
            [('ping', 'accepted', 0), ('pdu', 'duplicate', 1), ('other', 'new', 0)],
            [(f.source, f.state, f.repeats) for f in db.failures()])

    # -- many at a time -------------------------------------------------------------------------
    def together(self, *writes):
        """Run them in threads that begin at the same moment; none may fail."""
        begin, errors = threading.Barrier(len(writes)), []

        def run(write):
            begin.wait()
            try:
                write()
            except Exception as e:
                errors.append(e)
        threads = [threading.Thread(target=run, args=(write,)) for write in writes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], errors)

    def test_first_reports_of_many_threads(self):
        db = self.open()
        self.together(*[lambda n=n: db.report_failure(f'h{n % 4}', f's{n // 4 % 2}')
                        for n in range(24)])
        self.assertEqual([(f'h{n}', source, 2) for n in range(4) for source in ('s0', 's1')],
                         sorted((f.host, f.source, f.repeats) for f in db.failures()))

    def test_first_marks_of_many_threads(self):
        db = self.open()
        values = (dict(spare=True), dict(pool='p'), dict(maintenance=True), dict(parked=True))
        self.together(*[lambda n=n, v=v: db.set_mark(f'h{n}', **v)
                        for n in range(3) for v in values])
        self.assertEqual([(f'h{n}', True, 'p', True, True) for n in range(3)], sorted(
            (m.host, m.spare, m.pool, m.maintenance, m.parked) for m in db.marks().values()))
        self.assertEqual(12, sum(n.event_type == 'vmha.host.updated' for n in db.outbox()))

    def test_pauses_and_lines_of_many_threads(self):
        db = self.open()
        self.together(*[lambda n=n: db.pause(True, f'reason {n}') for n in range(8)],
                      *[lambda: db.note('info', 'x', 'the same line')] * 8)
        self.assertTrue(db.paused().paused)
        self.assertEqual({'the same line'}, {e.text for e in db.events()})

    def test_an_abort_in_the_middle_of_something_else_is_not_lost(self):
        db, api = self.open(), store.Store(now, connection=self.url)
        term = db.take_lead('a')
        for host, what in (
                ('h1', lambda ident: db.wish(ident, 'approve')),
                ('h2', lambda ident: db.set_recovery(term, ident, answered='approve'))):
            ident = db.open_recovery(term, db.report_failure(host, 'test')[0], '').id
            if host == 'h2':
                db.wish(ident, 'approve')
            abort = threading.Thread(target=api.wish, args=(ident, 'abort'))

            def meet(_connection, _cursor, statement, *_, abort=abort):
                if statement.startswith('UPDATE recovery') and abort.ident is None:
                    abort.start()       # between what is read and what is written
                    abort.join(0.5)
            engine = db._manager.writer.get_engine()
            sa.event.listen(engine, 'before_cursor_execute', meet)
            what(ident)
            sa.event.remove(engine, 'before_cursor_execute', meet)
            abort.join()
            self.assertEqual('abort', db.recovery(ident).wish, host)

    def test_only_the_wish_that_was_answered_is_cleared(self):
        db = self.open()
        term = db.take_lead('a')
        recovery = db.open_recovery(term, db.report_failure('h1', 'test')[0], '')
        db.wish(recovery.id, 'abort')
        for answered, left in (('approve', 'abort'), ('', 'abort'), ('abort', '')):
            self.assertEqual(left, db.set_recovery(term, recovery.id, answered=answered).wish)

    # -- maintenance ----------------------------------------------------------------------------
    def test_maintenance_ends_when_its_time_is_over(self):
        db = self.open()
        term, at = db.take_lead('a'), now()
        db.set_mark('h1', spare=True, maintenance=True, maintenance_until=at)
        before = at - datetime.timedelta(microseconds=1)
        self.assertFalse(db.end_maintenance(term, 'h1', before))
        self.assertTrue(db.marks()['h1'].maintenance)
        self.assertTrue(db.end_maintenance(term, 'h1', at))
        mark = db.marks()['h1']
        self.assertEqual((True, False, None), (mark.spare, mark.maintenance,
                                               mark.maintenance_until))
        self.assertFalse(db.end_maintenance(term, 'h1', at), 'it is over')
        self.assertEqual([True, False], [
            n.payload['maintenance'] for n in db.outbox() if n.event_type == 'vmha.host.updated'])

    def test_maintenance_of_no_time_or_no_host_does_not_end(self):
        db = self.open()
        term = db.take_lead('a')
        db.set_mark('h1', maintenance=True)
        self.assertFalse(db.end_maintenance(term, 'h1', now()))
        self.assertFalse(db.end_maintenance(term, 'h2', now()))
        self.assertEqual([('h1', True)],
                         [(m.host, m.maintenance) for m in db.marks().values()])

    def test_an_engine_that_leads_no_more_ends_no_maintenance(self):
        db = self.open()
        term, at = db.take_lead('a'), now()
        db.set_mark('h1', maintenance=True, maintenance_until=at)
        db.take_lead('b')
        with self.assertRaises(exception.TermLost):
            db.end_maintenance(term, 'h1', at)
        self.assertTrue(db.marks()['h1'].maintenance)

    def test_maintenance_that_is_made_longer_in_the_same_moment_stays(self):
        db = self.open()
        term = db.take_lead('a')
        for _ in range(10):
            at = now()
            later = at + datetime.timedelta(hours=1)
            db.set_mark('h1', maintenance=True, maintenance_until=at)
            self.together(
                lambda at=at: db.end_maintenance(term, 'h1', at),
                lambda later=later: db.set_mark('h1', maintenance=True, maintenance_until=later))
            mark = db.marks()['h1']
            self.assertEqual((True, later), (mark.maintenance, mark.maintenance_until))

    def test_marks_steps_and_journal(self):
        db = self.open()
        term = db.take_lead('a')
        db.set_mark('h1', spare=True)
        db.set_mark('h1', parked=True)
        self.assertEqual((True, True), (db.marks()['h1'].spare, db.marks()['h1'].parked))
        step = db.begin_step(term, 'fence', 'h1')
        self.assertEqual(('intended', None), (db.steps()[0].state, db.steps()[0].ended_at))
        db.end_step(term, step, 'done', 'sure', {'epoch': 7})
        self.assertEqual({'epoch': 7}, db.steps(kind='fence')[0].evidence)
        for _ in range(3):
            db.note('warning', 'x', 'the same line')
        db.note('warning', 'x', 'another line')
        self.assertEqual([2, 0], [e.repeats for e in db.events()])

    def test_a_verdict_is_in_the_journal_and_told_or_neither(self):
        db = self.open()
        db.tell_verdict('h1', 'dead', 'no address answers', 'alive', {'osds': 'down'}, 'error')
        event, = db.events()
        self.assertEqual(('error', 'verdict', 'h1', 'dead: no address answers'),
                         (event.level, event.kind, event.host, event.text))
        note, = db.outbox()
        self.assertEqual(('vmha.host.verdict', dict(
            host='h1', verdict='dead', before='alive', reason='no address answers',
            evidence={'osds': 'down'})), (note.event_type, note.payload))

        def killed(*args):
            raise RuntimeError
        db._tell = killed
        with self.assertRaises(RuntimeError):
            db.tell_verdict('h1', 'alive', 'it answers', 'dead', {}, 'info')
        self.assertEqual([event], db.events())

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
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = 'sqlite:///' + os.path.join(folder.name, 'db')

    def test_a_database_that_is_not_there(self):
        db = store.Store(now, connection='sqlite:////nowhere/at/all')
        with self.assertRaises(exception.StoreUnavailable):
            db.marks()

    def test_another_file_in_its_place_is_the_database_from_then_on(self):
        db = self.open()
        db.set_mark('h1', spare=True)
        self.url += '-copy'
        copy = self.open()
        copy.set_mark('h2', spare=True)
        copy.close()
        path = self.url.removeprefix('sqlite:///').removesuffix('-copy')
        os.replace(path + '-copy', path)
        os.remove(path + '-wal')        # or it is taken for this one's
        self.assertEqual(['h2'], list(db.marks()))

    def test_a_connection_that_may_not_write_is_given_up(self):
        db = self.open()
        with db.reading() as session:   # as one that was opened before the rights were put right
            session.execute(sa.text('PRAGMA query_only = 1'))
        with self.assertRaises(exception.StoreUnavailable):
            db.set_mark('h1', spare=True)
        db.set_mark('h1', spare=True)


class BusyTest(unittest.TestCase):
    """What a MariaDB says to one of two who collide."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.rests = []
        self.db = store.Store(now, connection=f'sqlite:///{folder.name}/db',
                              rest=self.rests.append)
        self.db.upgrade()
        self.term = self.db.take_lead('a')
        self.recovery = self.db.open_recovery(
            self.term, self.db.report_failure('h1', 'test')[0], '')
        self.errors = []
        sa.event.listen(self.db._manager.writer.get_engine(), 'before_cursor_execute', self.meet)

    def meet(self, _connection, _cursor, statement, *_):
        if statement.startswith(('INSERT', 'UPDATE')) and self.errors:
            raise self.errors.pop()

    def writes(self):
        db, ident = self.db, self.recovery.id
        return ((lambda: db.report_failure('h2', 'test'), lambda: len(db.failures()) - 1),
                (lambda: db.set_mark('h2', spare=True), lambda: len(db.marks())),
                (lambda: db.pause(True), lambda: int(db.paused().paused)),
                (lambda: db.wish(ident, 'abort'), lambda: int(bool(db.recovery(ident).wish))),
                (lambda: db.note('info', 'x', 'a line'), lambda: len(db.events())))

    def test_who_collides_tries_again(self):
        for write, count in self.writes():
            with self.subTest(write):
                self.rests.clear()
                self.errors[:] = [db_exception.DBDeadlock(), db_exception.DBDuplicateEntry()] * 2
                write()
                self.assertEqual([1, 2, 3, 4], self.rests)
                self.assertEqual(1, count())

    def test_but_not_for_ever(self):
        for write, count in self.writes():
            with self.subTest(write):
                self.rests.clear()
                self.errors[:] = [db_exception.DBDeadlock()] * 5
                self.assertRaises(exception.StoreBusy, write)
                self.assertEqual([1, 2, 3, 4], self.rests)
                self.assertEqual(0, count())

    def test_nor_what_fails_for_another_reason(self):
        for write, count in self.writes():
            with self.subTest(write):
                self.errors[:] = [db_exception.DBConnectionError()]
                self.assertRaises(exception.StoreUnavailable, write)
                self.assertEqual(([], 0), (self.rests, count()))

    def test_nor_what_waited_for_a_lock_as_long_as_that_goes(self):
        ticks = itertools.count()
        self.db._clock = lambda: now() + datetime.timedelta(seconds=50 * next(ticks))
        self.errors[:] = [db_exception.DBDeadlock()]
        self.assertRaises(exception.StoreBusy, self.db.note, 'info', 'x', 'a line')
        self.assertEqual([], self.rests)

    def test_what_the_engine_writes_is_its_loops_to_try_again(self):
        self.errors[:] = [db_exception.DBDeadlock()]
        self.assertRaises(exception.StoreBusy, self.db.keep_lead, self.term)
        self.assertEqual([], self.rests)

    def test_rests_are_short_and_grow(self):
        rests = []
        for tried in (1, 4):
            for share in (0.0, 1.0):
                base.rest(tried, rests.append,
                          lambda low, high, share=share: low + share * (high - low))
        self.assertEqual([0.01, 0.1, 0.01, 0.8], rests)


class RefusedTest(unittest.TestCase):
    """What does not fit into the database is no sign that it is away."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.db = store.Store(now, connection=f'sqlite:///{folder.name}/db')
        self.db.upgrade()

    def test_no_value_where_one_is_needed(self):
        with self.assertRaises(exception.StoreRefused), self.db._writer() as session:
            session.add(models.HostFailure(host='h1', received_at=None, state='new'))

    def test_a_value_that_is_too_long(self):
        too_long = db_exception.DBDataError(sa.exc.DataError('', {}, Exception('1406')))
        with self.assertRaises(exception.StoreRefused), self.db._writer():
            raise too_long

    def test_a_name_that_is_there_is_none(self):
        with self.assertRaises(exception.StoreBusy), self.db._writer() as session:
            session.execute(sa.insert(models.HostMark), [dict(host='h1'), dict(host='h1')])
