"""What tests of the REST API have in common: the program `openstack` as somebody or other."""

import concurrent.futures

from tests.functional import base

#: Processes of `openstack` at a time: each takes a second, most of which is its own.
_TOGETHER = 3


class ApiTest(base.LabTest):
    """With the API under uWSGI beside the engine."""

    def start(self):
        """The database, the spares, the API and the engine."""
        super().start()
        self.vmha.start_api()

    def ask(self, *words, account='admin', **options):
        """Run ``openstack vmha WORDS``, which must succeed; answers its decoded JSON."""
        return self.vmha.openstack(account, 'vmha', *words, **options)

    def run_(self, *words, account='admin', **options):
        """Run ``openstack vmha WORDS``; answers how it Ran."""
        return self.vmha.try_openstack(account, 'vmha', *words, **options)

    def all_of(self, calls):
        """Run commands, several at a time: ``(account, words)`` -> how they Ran, in order."""
        with concurrent.futures.ThreadPoolExecutor(_TOGETHER) as pool:
            return list(pool.map(lambda call: self.run_(*call[1], account=call[0]), calls))

    def assertSaid(self, words, ran, status=0):
        """It ended with that status, and said so, in words for people."""
        self.assertEqual(status, ran.status, ran)
        self.assertIn(words, ran.stderr, ran)
        self.assertNotIn('Traceback', ran.stderr, ran)

    def planned(self, host):
        """What `plan show` says: ``{name: row}``, a row with target, left, reason; its words."""
        ran = self.run_('plan', 'show', '--host', host, '-f', 'json')
        self.assertEqual(0, ran.status, ran)
        return {row['Name']: row for row in ran.json()}, ran.stderr

    def moved(self, recovery):
        """What `move list` says: ``{name: row}``."""
        return {row['Name']: row for row in self.ask('move', 'list', recovery)}

    def flavor(self, name, ram):
        """A flavor that the test alone uses; answers its id."""
        flavor = {'name': name, 'id': name, 'vcpus': 1, 'ram': ram, 'disk': 1}
        self.cloud.call('POST', '/flavors', {'flavor': flavor})
        self.addCleanup(self.cloud.call, 'DELETE', f'/flavors/{name}')
        return name

    def memory(self, host):
        """How many MiB a host has left, by Placement."""
        session, url = self.lab.session(), self.lab.urls['placement_url']
        provider, = session.get(f'{url}/resource_providers?name={host}').json()[
            'resource_providers']
        path = f'{url}/resource_providers/{provider["uuid"]}'
        found = session.get(f'{path}/inventories/MEMORY_MB').json()
        used = session.get(f'{path}/usages').json()['usages']['MEMORY_MB']
        return int((found['total'] - found['reserved']) * found['allocation_ratio']) - used

    def failure(self):
        """The newest report of the source."""
        return self.reports()[-1]

    def wait_snapshot(self, instances):
        """Wait until the engine has written down that so many instances are on compute1."""
        self.wait(f'the API knows of {instances} instances', lambda: (
            self.ask('host', 'show', self.SOURCE)['instances'] == instances), 30)

    def assertGoesBy(self, plan, recovery):
        """Each instance has gone where the plan had said; what had no place says why, as it did.

        :returns: ``{name: row}`` of `move list`
        """
        moves = self.moved(recovery)
        self.assertEqual(plan.keys(), moves.keys())
        for name, row in plan.items():
            move = moves[name]
            self.assertEqual(row['Target'] or '', move['Target'] or '', (row, move))
            if not row['Target']:
                self.assertEqual(('left' if row['Left'] else 'unplaced', row['Reason']),
                                 (move['State'], move['Reason']))
        return moves
