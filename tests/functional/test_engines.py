"""One of two real engines leads: by a lock in a folder, and by one in etcd.

Those of etcd's have a PostgreSQL, as engines on several machines need a server. A frozen process
keeps what it has locked in SQLite.

The takeovers are timed; VMHA_TAKEOVERS says how many there are of each kind.
"""

import os
import time

from tests.functional import engines
from tests.functional import test_store_postgresql
from tests.lab import etcd
from vmha_nova.db import base

TAKEOVERS = int(os.environ.get('VMHA_TAKEOVERS', 2))


class Scenarios:
    """For each kind of lock."""

    slack = 0.0                         # seconds that a lock takes to notice that a lease is over

    def test_the_leader_is_killed_half_way_and_again_and_again(self):
        self.boot(3)
        self.start('a', 'b')            # at the same instant
        self.wait('one leads', self.leader)
        self.wait('the other one does not', lambda: all(
            'this process ' in self.log(name) for name in 'ab'))
        self.assertEqual(1, self.store.leader().term)
        self.die()
        self.wait('it is half way', self.half_way)
        took = [self.take_over()]
        self.wait('it is over', self.over, 60)
        self.assertRecovered()
        took += [self.take_over() for _ in range(TAKEOVERS - 1)]
        print(f'{self.lock().partition(":")[0]}, lease {engines.LEASE:g} s, seconds until '
              f'another one leads: {", ".join(f"{t:.1f}" for t in took)}')
        self.assertLess(max(took), engines.LEASE + self.slack)

    def take_over(self):
        """kill -9 of the leader; the killed one is started again. Returns the seconds."""
        first, term = self.leader(), self.store.leader().term
        self.kill(first)
        seconds = self.taken_over(term)
        self.assertEqual(self.other(first), self.leader())
        self.start(first)
        said = len(self.log(first))
        self.wait('it waits', lambda: 'does not lead' in self.log(first)[said:])
        return seconds

    def test_the_leader_is_stopped_and_the_other_one_takes_over_at_once(self):
        self.start('a', 'b')
        first = self.wait('one leads', self.leader)
        term = self.store.leader().term
        self.terminate(first)
        self.assertLess(self.taken_over(term), engines.LEASE / 2)
        self.wait('it ends', lambda: self.ended(first), 15)
        said = len(self.log(first))
        self.start(first)
        self.wait('it waits', lambda: 'does not lead' in self.log(first)[said:])
        self.terminate(first)
        self.wait('one that waits ends as quickly', lambda: self.ended(first), 15)


class FolderTest(Scenarios, engines.EnginesTest):
    """Processes of one machine."""

    def lock(self):
        return f'file://{self.folder}/lock'


class EtcdTest(Scenarios, engines.EnginesTest):
    slack = 1.0                         # it looks twice a second

    def database(self):
        return test_store_postgresql.emptied()

    def setUp(self):
        self.etcd = None
        super().setUp()

    def lock(self):
        if self.etcd is None:
            self.etcd = etcd.Etcd(self.folder, self.mark)
            self.addCleanup(self.etcd.kill)
            self.etcd.start()
        return self.etcd.url

    def test_the_leader_is_frozen_half_way_and_thawed(self):
        """What it has not sent then, it never sends."""
        self.boot(4)
        self.start('a', 'b')
        first = self.wait('one leads', self.leader)
        self.die()
        self.wait('it is half way', self.half_way)
        self.freeze(first)
        took = self.taken_over(self.store.leader().term)
        print(f'frozen, lease {engines.LEASE:g} s: another one leads after {took:.1f} s')
        # It may hang in the middle of a write, which the server ends after so long.
        self.assertLess(took, max(engines.LEASE, base.HANGS + 2))
        self.assertEqual(self.other(first), self.leader())
        self.wait('it is over', self.over, 60)
        self.assertRecovered()
        self.wait('the spare is one again', lambda: (
            self.nova.services['s1']['status'] == 'disabled'))
        self.wait('that is noted', lambda: {s.state for s in self.store.steps()} == {'done'})
        acts, term = self.nova.acts(), self.store.leader().term
        steps, moves = self.store.steps(), self.moves()
        self.thaw(first)
        self.wait('it notices', lambda: 'this engine ends' in self.log(first))
        time.sleep(3.0)
        self.assertEqual(acts, self.nova.acts())
        self.assertEqual((steps, moves), (self.store.steps(), self.moves()))
        self.assertEqual((term, self.other(first)), (self.store.leader().term, self.leader()))
        self.wait('it waits', lambda: 'does not lead' in (
            self.log(first).rpartition('this engine ends')[2]))

    def test_etcd_is_away_for_a_while(self):
        """For a moment: nothing. For longer: nobody leads, it is said, and goes on by itself."""
        self.boot(2)
        self.start('a', 'b')
        first = self.wait('one leads', self.leader)
        term = self.store.leader().term
        self.etcd.kill()
        self.etcd.start()
        time.sleep(engines.LEASE)
        self.assertEqual((first, term), (self.leader(), self.store.leader().term))
        self.etcd.kill()
        # Who led says so last: it leads until its lease is over.
        self.wait('both say so', lambda: 2 == len({
            e.text.partition(' waits')[0] for e in self.store.events()
            if e.kind == 'lock' and ' waits' in e.text}))
        self.die()
        time.sleep(5.0)
        self.assertEqual(([], term), (self.store.recoveries(), self.store.leader().term))
        self.etcd.start()
        self.wait('it is over', self.over, 60)
        self.assertRecovered()
        self.assertEqual(term + 1, self.store.leader().term)
