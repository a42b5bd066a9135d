"""What is over and old is cut back; what an engine still goes by is not, whatever its age."""

import contextlib
import datetime
import io
import json
import tempfile
from unittest import mock

from tests.unit import test_engine_storage_kept as kept
from vmha_nova.cmd import manage
from vmha_nova.db import models
from vmha_nova.db import purge
from vmha_nova.db import snapshot

DAYS = datetime.timedelta(days=60)


class Killed(BaseException):
    """kill -9 of the program."""


class Base(kept.Base):
    def age(self, world):
        """Two months go by, with nothing in them."""
        world.clock.now += DAYS
        for host in world.nova.hosts.values():
            if host.alive:
                host.beat_at = world.clock()
        world.settle(20)

    def back(self, world):
        """An operator brings c1 back into service, by the book."""
        host = world.nova.hosts['c1']
        host.linked = host.powered = host.alive = True
        world.settle(10)
        world.nova.restart_compute('c1')
        world.settle(20)
        host.forced_down, host.enabled = False, True
        world.settle(20)
        self.assertTrue(self.recovery(world).released_at)

    def purge(self, world, days=30, **options):
        return purge.purge(world.store, world.clock() - datetime.timedelta(days=days), **options)

    def rows(self, world):
        with world.store.reading() as session:
            return {table.__name__: session.query(table).count() for table in (
                models.Recovery, models.Move, models.Step, models.HostFailure, models.Event)}

    def fences(self, world):
        return world.engine.work.guard._fences('c1')


class PurgeTest(Base):
    def test_what_is_over_goes_and_the_next_failure_is_as_the_first(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        self.back(world)
        self.age(world)
        before = self.rows(world)
        counted = self.purge(world, dry_run=True)
        self.assertEqual(before, self.rows(world), 'a dry run')
        with mock.patch.object(snapshot, 'BATCH', 3):
            self.assertEqual(counted, self.purge(world))
        self.assertEqual((1, 8, 1), tuple(counted[k] for k in ('recoveries', 'moves', 'failures')))
        after = self.rows(world)
        self.assertEqual((0, 0, 0), (after['Recovery'], after['Move'], after['HostFailure']))
        self.assertEqual(before['Step'] - after['Step'], counted['steps'])
        self.assertEqual(before['Event'] - after['Event'], counted['events'])
        self.assertEqual(dict.fromkeys(purge.NAMES, 0), self.purge(world))
        world.nova.boot('c1', 2, 'new')
        world.settle(8)
        world.die('c1')
        world.run(world.over)
        self.assertRecovered(world)
        self.assertFenced(world)

    def test_what_is_young_stays(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        self.back(world)
        before = self.rows(world)
        self.assertEqual(dict.fromkeys(purge.NAMES, 0), self.purge(world))
        self.assertEqual(before, self.rows(world))

    def test_a_host_that_is_out_for_months(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        self.age(world)
        before = self.rows(world)
        found = self.purge(world)
        self.assertEqual((0, 0, 0), (found['recoveries'], found['moves'], found['failures']))
        self.assertEqual(dict(before, Event=0, Step=0), dict(self.rows(world), Event=0, Step=0))
        self.assertTrue(self.fences(world))
        world.ceph.entries.clear()
        world.ceph.ranges.clear()
        world.settle(20)
        self.assertEqual({kept.RANGE}, world.ceph.ranges, 'its fence is kept as ever')
        self.back(world)
        self.assertEqual(set(), world.ceph.ranges)

    def test_a_recovery_that_a_later_one_took_over_and_whose_fence_is_up(self):
        world = self.world()
        world.cut('c1')
        world.run(world.over)
        first = self.recovery(world)
        world.nova.boot('c1', 1, 'late')
        world.settle(8)
        world.ceph.late = {2}           # the second fence is begun, and never in force
        world.store.report_failure('c1', 'other', 'again', forced=True)
        world.run(lambda: len(world.store.recoveries()) == 2 and self.held(world) and (
            world.store.steps(self.recovery(world).id, 'fence')))
        self.heal(world)
        world.run(lambda: self.recovery(world).state == 'dismissed')
        self.assertTrue(world.store.recovery(first.id).released_at)
        self.age(world)
        self.assertEqual(0, self.purge(world)['recoveries'])
        self.assertIn(first.id, {s.recovery_id for s in self.fences(world)})
        world.ceph.late = set()
        world.nova.restart_compute('c1')
        self.back(world)
        self.age(world)
        self.assertEqual(2, self.purge(world)['recoveries'])
        self.assertEqual([], self.fences(world))

    def test_reports_that_are_open_or_of_a_recovery_that_stays(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        world.store.report_failure('c1', 'other', 'it is dead')     # a duplicate
        world.nova.down.add('c2')
        world.store.report_failure('c2', 'test', 'its cell is down')
        world.store.report_failure('c9', 'test', 'there is no such host')
        world.settle(20)
        self.age(world)
        self.assertEqual(1, self.purge(world)['failures'])
        self.assertEqual(['accepted', 'duplicate', 'checking'],
                         [f.state for f in world.store.failures()])

    def test_killed_anywhere_no_fence_is_forgotten_and_none_comes_back(self):
        for up in (False, True):
            with self.subTest(up=up):
                world = self.world()
                for count in (1, 2):    # two recoveries, and their fences were lifted
                    self.fails(world, count)
                    self.back(world)
                    world.nova.boot('c1', 2, f'again{count}-')
                    world.settle(8)
                if up:
                    self.fails(world, 3)
                self.age(world)
                expected, kills = [s.id for s in self.fences(world)], 0
                self.assertEqual(up, bool(expected))
                self.assertEqual(2 + up, self.rows(world)['Recovery'])
                with mock.patch.object(snapshot, 'BATCH', 1):
                    while self.killed(world):
                        self.assertEqual(expected, [s.id for s in self.fences(world)], kills)
                        kills += 1
                self.assertGreater(kills, 20)
                self.assertEqual(up, self.rows(world)['Recovery'])

    def fails(self, world, count):
        world.cut('c1')
        world.run(lambda: len(world.store.recoveries()) == count and world.over())

    def killed(self, world):
        """Purge, and be killed at the second row; whether there was one row at least."""
        rows, delete = [], purge._delete

        def one_row(*args):
            rows.append(args)
            if len(rows) > 1:
                raise Killed
            delete(*args)
        with mock.patch.object(purge, '_delete', one_row), contextlib.suppress(Killed):
            self.purge(world)
        return bool(rows)


class BeginningTest(Base):
    """Which recoveries of a host can go, by its history."""

    def beginning(self, *steps, recoveries='ab', **values):
        old = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        rows = [models.Recovery(**dict(dict(
            id=ident, host='c1', state='recovered', created_at=old, ended_at=old,
            released_at=old), **values.get(ident, {}))) for ident in recoveries]
        acts = [models.Step(id=n, recovery_id=ident, kind=kind, state=state, evidence=dict(
            driver=driver)) for n, (ident, kind, state, driver) in enumerate(steps, 1)]
        return ''.join(purge._beginning(rows, acts, old + DAYS))

    def test_it(self):
        young = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
        up, tried = ('a', 'fence', 'done', 'storage'), ('a', 'fence', 'intended', 'storage')
        lift, begun = ('b', 'lift', 'done', ''), ('b', 'lift', 'intended', '')
        for expected, steps, values in (
                ('ab', (), {}), ('', (), dict(a=dict(released_at=None))),
                ('a', (), dict(b=dict(released_at=None))),
                ('', (), dict(a=dict(ended_at=young))), ('', (), dict(a=dict(released_at=young))),
                ('', (), dict(a=dict(state='moving', ended_at=None))),
                ('', (up,), {}), ('', (tried,), {}), ('', (up, begun), {}), ('ab', (up, lift), {}),
                ('ab', (('a', 'fence', 'done', 'none'),), {}),
                ('', (('a', 'fence', 'failed', 'storage'),), {}),
                ('', (('a', 'fence', 'done', 'one of tomorrow'),), {}),
                ('a', (('b', 'fence', 'done', 'storage'),), {}),
                # The lift of the first ended a fence of the second too.
                ('', (('b', 'fence', 'done', 'storage'), ('a', 'lift', 'done', '')),
                 dict(b=dict(released_at=None))),
                ('ab', (('b', 'fence', 'done', 'storage'), ('a', 'lift', 'done', '')), {})):
            with self.subTest(steps=steps, values=values):
                self.assertEqual(expected, self.beginning(*steps, **values))


class CommandTest(Base):
    def manage(self, world, *argv):
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
            file.write(f'[database]\nconnection = {world.store.url}\n')
            file.flush()
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
                    mock.patch.object(manage.service, 'clock', world.clock):
                status = manage.main(['--config-file', file.name, 'db', 'purge', *argv])
        return status, out.getvalue(), err.getvalue()

    def test_it(self):
        world = self.world()
        world.die('c1')
        world.run(world.over)
        self.back(world)
        self.age(world)
        status, out, err = self.manage(world, '--older-than', '30', '--dry-run', '--json')
        self.assertEqual((0, 1, 8), (status, json.loads(out)[0]['recoveries'],
                                     json.loads(out)[0]['moves']))
        self.assertIn('would delete, of before 2026-0', err)
        self.assertEqual(1, self.rows(world)['Recovery'])
        status, out, err = self.manage(world, '--older-than', '90')
        self.assertEqual(1, self.rows(world)['Recovery'])
        status, out, err = self.manage(world, '--older-than', '30')
        self.assertIn('| recoveries | moves | steps | failures | events |', out)
        self.assertIn('deleted, of before', err)
        self.assertEqual(0, self.rows(world)['Recovery'])

    def test_days_are_a_number_from_one(self):
        for argv in ((), ('--older-than', '0'), ('--older-than', '-1'), ('--older-than', 'x'),
                     ('--older-than', '1.5'), ('--older-than', '99999999')):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                manage.main(['db', 'purge', *argv])
