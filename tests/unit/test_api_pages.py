"""Lists: pages, sorting, filters; and that their entries are what vmha_nova.views shows."""

import datetime
import json
import urllib.parse

from tests.unit import api_case
from vmha_nova.api import schemas
from vmha_nova.db import models
from vmha_nova import views

MANY = 23
NOW = api_case.NOW

# list -> path, its query's schema, member that tells entries apart
LISTS = {
    'hosts': ('/v1/hosts', schemas.hosts, 'host'),
    'load': ('/v1/load', schemas.load, 'host'),
    'capacity': ('/v1/capacity', schemas.capacity, 'host'),
    'failures': ('/v1/failures', schemas.failures, 'id'),
    'recoveries': ('/v1/recoveries', schemas.recoveries, 'id'),
    'moves': ('/v1/recoveries/{}/moves', schemas.moves, 'id'),
    'events': ('/v1/events', schemas.events, 'id'),
}
STATES = ('waiting', 'moved', 'failed')


def _at(number):
    return NOW + datetime.timedelta(microseconds=number)


class PagesScenarios:
    """What every database must do with many rows, most of them equal in what they are sorted by.
    """

    def setUp(self):
        super().setUp()
        hosts = [f'compute{n:02}' for n in range(MANY)]
        self.recovery_id = 'r00'
        self.add(
            *(api_case.node(h, zone=f'az{n % 3}', up=n % 2 == 0, enabled=n % 5 != 0,
                            instances=n % 4, load_share=(n % 7) / 7)
              for n, h in enumerate(hosts)),
            *(api_case.capacity(h, instances=n % 4, placeable=n % 2, unplaced=n % 3,
                                unprotectable=n % 2, fits=(True, False, True, None)[n % 4],
                                storage_fill=None if n % 3 == 0 else (n % 7) / 7,
                                protection=('storage', 'word', 'none')[n % 3], spares=hosts[:2])
              for n, h in enumerate(hosts)),
            *(models.HostMark(host=h, spare=n % 3 == 0, pool=('', 'gold')[n % 2],
                              maintenance=n % 3 == 1, backend=('', 'rbd:fast')[n % 2],
                              maintenance_until=_at(n) if n % 6 == 1 else None, updated_at=NOW)
              for n, h in enumerate(hosts) if n % 2),
            *(models.HostFailure(
                host=hosts[n % 5], source=('nova', 'pinger')[n % 2], reason='\N{SNOWMAN} "\\',
                detected_at=_at(n) if n % 3 else None, received_at=_at(n % 3), forced=n % 2 == 0,
                evidence={'a': {'b': [1, None, 'é"']}, 'n': n}, detail='',
                state=('new', 'accepted', 'dismissed')[n % 3], repeats=n,
                recovery_id=None if n % 2 else f'r{n:02}') for n in range(MANY)),
            *(api_case.recovery(
                hosts[n % 6], id=f'r{n:02}', state=('moving', 'held', 'partial')[n % 3],
                resume='fenced' if n % 3 == 1 else '', created_at=_at(n % 4),
                updated_at=_at(n % 5), reason='%s {} <b>', approved=n % 2 == 0,
                wish='abort' if n == 3 else '', ended_at=_at(n) if n % 3 == 2 else None,
                released_at=_at(n) if n % 6 == 2 else None) for n in range(MANY)),
            *(models.Event(at=_at(n), last_at=_at(n + 1), level=('info', 'warning')[n % 2],
                           kind=('engine', 'wish')[n % 2], host=hosts[n % 5], text=f'line\n{n}',
                           recovery_id=None if n % 2 else 'r00', repeats=n % 3)
              for n in range(MANY)))
        self.add(*(api_case.move(
            f'r{n // MANY:02}', n, STATES[n % 3], name=f'vm-{n % 4}', priority=50 + n % 2,
            target=hosts[n % 3] if n % 2 else '', tried=hosts[:n % 3], position=n % 6,
            accepted_at=_at(n) if n % 2 else None, not_before=_at(n) if n % 3 else None)
            for n in range(2 * MANY)))


    def test_every_entry_once_by_every_key_in_both_directions(self):
        for name, (path, schema, ident) in LISTS.items():
            path = path.format(self.recovery_id)
            for key in schema(1000)['properties']['sort_key']['enum']:
                for direction in ('asc', 'desc'):
                    with self.subTest(name=name, key=key, direction=direction):
                        found, pages = self.pages(path, name, sort_key=key, limit=4,
                                                  sort_dir=direction)
                        self.assertEqual(-(-MANY // 4), pages)
                        ids = [one[ident] for one in found]
                        self.assertEqual(MANY, len(set(ids)), ids)
                        self.assertEqual(MANY, len(ids), ids)
                        values = [one[key] for one in found]
                        self.assert_sorted(values, ids, direction == 'desc')

    def assert_sorted(self, values, ids, down):
        known = [(v, i) for v, i in zip(values, ids, strict=True) if v is not None]
        self.assertEqual(sorted(known, reverse=down), known)
        # What is not known comes last, whatever the direction.
        unknown = ids[len(known):]
        self.assertEqual([None] * len(unknown), values[len(known):])
        self.assertEqual(sorted(unknown, reverse=down), unknown)

    def test_filters(self):
        path = f'/v1/recoveries/{self.recovery_id}/moves'
        for where, name, query, wanted in (
                ('/v1/hosts', 'hosts', dict(zone='az1'), lambda h: h['zone'] == 'az1'),
                ('/v1/hosts', 'hosts', dict(up=True), lambda h: h['up']),
                ('/v1/hosts', 'hosts', dict(enabled='False'), lambda h: not h['enabled']),
                ('/v1/hosts', 'hosts', dict(spare='true'), lambda h: h['spare']),
                ('/v1/hosts', 'hosts', dict(spare='false'), lambda h: not h['spare']),
                ('/v1/hosts', 'hosts', dict(maintenance='false'), lambda h: not h['maintenance']),
                ('/v1/hosts', 'hosts', dict(pool='gold'), lambda h: h['pool'] == 'gold'),
                ('/v1/hosts', 'hosts', dict(pool=''), lambda h: h['pool'] == ''),
                ('/v1/hosts', 'hosts', dict(protection='none', fits='true'),
                 lambda h: h['protection'] == 'none' and h['fits']),
                ('/v1/load', 'load', dict(zone='az0', spare='true'),
                 lambda h: h['zone'] == 'az0' and h['spare']),
                ('/v1/load', 'load', dict(up='false', enabled='true'),
                 lambda h: not h['up'] and h['enabled']),
                ('/v1/capacity', 'capacity', dict(fits='false'), lambda c: c['fits'] is False),
                ('/v1/capacity', 'capacity', dict(protection='word'),
                 lambda c: c['protection'] == 'word'),
                ('/v1/failures', 'failures', dict(host='compute02'),
                 lambda f: f['host'] == 'compute02'),
                ('/v1/failures', 'failures', dict(source='nova', state='new'),
                 lambda f: f['source'] == 'nova' and f['state'] == 'new'),
                ('/v1/recoveries', 'recoveries', dict(state='held'),
                 lambda r: r['state'] == 'held'),
                ('/v1/recoveries', 'recoveries', dict(host='compute03', open='true'),
                 lambda r: r['host'] == 'compute03' and r['ended_at'] is None),
                ('/v1/recoveries', 'recoveries', dict(open='false'),
                 lambda r: r['ended_at'] is not None),
                (path, 'moves', dict(state='moved'), lambda m: m['state'] == 'moved'),
                (path, 'moves', dict(target='compute01'), lambda m: m['target'] == 'compute01'),
                (path, 'moves', dict(target=''), lambda m: m['target'] == ''),
                ('/v1/events', 'events', dict(level='warning'),
                 lambda e: e['level'] == 'warning'),
                ('/v1/events', 'events', dict(kind='wish', host='compute01'),
                 lambda e: e['kind'] == 'wish' and e['host'] == 'compute01'),
                ('/v1/events', 'events', dict(recovery_id='r00'),
                 lambda e: e['recovery_id'] == 'r00')):
            with self.subTest(where=where, query=query):
                every = [one for one in self.get(where)[name] if wanted(one)]
                self.assertNotEqual([], every)
                self.assertLess(len(every), MANY)
                self.assertEqual(every, self.get(where, **query)[name])
                # The links keep the filters.
                self.assertEqual(every, self.pages(where, name, limit=2, **query)[0])

    def test_entries_are_what_views_shows(self):
        def same(expected, found):
            self.assertEqual(json.loads(json.dumps(expected)), found)

        store = self.store
        same([views.failure(f) for f in store.failures()],
             self.get('/v1/failures', sort_dir='asc')['failures'])
        same([views.event(e) for e in store.events()],
             self.get('/v1/events', sort_dir='asc')['events'])
        recoveries = {}
        for one in store.recoveries():
            counts = {}
            for move in store.moves(one.id):
                counts[move.state] = counts.get(move.state, 0) + 1
            recoveries[one.id] = views.recovery(one, counts)
            moves = [views.move(m) for m in store.moves(one.id)]
            same(moves, self.get(f'/v1/recoveries/{one.id}/moves')['moves'])
        found = self.get('/v1/recoveries')['recoveries']
        same(recoveries, {one['id']: one for one in found})
        for one in found:
            shown = self.get(f'/v1/recoveries/{one["id"]}')['recovery']
            same(dict(one, steps=[], pace=[], failure_id=shown['failure_id']), shown)

    def test_the_marks_of_hosts_are_those_of_the_store(self):
        marks = self.store.marks()
        for one in self.get('/v1/hosts')['hosts']:
            mark = marks.get(one['host'])
            if mark is None:
                self.assertEqual(
                    (False, '', False, None, False, 'rbd:vms'),
                    (one['spare'], one['pool'], one['maintenance'], one['maintenance_until'],
                     one['parked'], one['backend']))
                continue
            shown = json.loads(json.dumps(views.mark(mark)))
            shown['backend'] = shown['backend'] or 'rbd:vms'
            self.assertEqual(shown, {k: one[k] for k in shown})

    def test_a_host_shows_the_newest_recovery_that_keeps_it_out(self):
        expected = {}
        for one in sorted(self.store.recoveries(), key=lambda r: (r.created_at, r.id)):
            if one.released_at is None:
                expected[one.host] = (one.id, one.state)
        self.assertGreater(len(expected), 3)
        for one in self.get('/v1/hosts')['hosts']:
            self.assertEqual(expected.get(one['host'], (None, None)),
                             (one['recovery_id'], one['recovery_state']))

    def test_markers(self):
        for name, (path, _schema, ident) in LISTS.items():
            path = path.format(self.recovery_id)
            last = self.get(path)[name][-1][ident]
            with self.subTest(name):
                self.assertEqual({name: []}, self.get(path, marker=last))
                unknown = 999999 if ident == 'id' and name != 'recoveries' else 'nowhere'
                self.assertIn('marker', self.detail(self.get(path, marker=unknown, status=400)))

    def test_a_marker_need_not_pass_the_filter(self):
        self.assertEqual(['compute04', 'compute07'], [
            h['host'] for h in self.get('/v1/hosts', marker='compute03', zone='az1',
                                        limit=2)['hosts']])

    def test_a_move_of_another_recovery_is_a_marker_too(self):
        """It is sorted where it would be; nothing of it is shown."""
        other = self.get('/v1/recoveries/r01/moves')['moves'][-1]['id']
        self.assertEqual([], self.get('/v1/recoveries/r00/moves', marker=other)['moves'])

    def test_what_comes_and_goes_between_pages_neither_hides_nor_repeats_others(self):
        first = self.get('/v1/failures', limit=5)
        self.store.report_failure('compute22', 'test')
        found, _ = self.pages(first['failures_links'][0]['href'], 'failures')
        ids = [f['id'] for f in first['failures'] + found]
        self.assertEqual(sorted(range(1, MANY + 1), reverse=True), ids)


class SqlitePagesTest(PagesScenarios, api_case.ApiCase):

    settings = dict(max_limit=50)

    def test_numbers_that_are_none(self):
        self.add(api_case.node('odd', load_share=float('inf')),
                 api_case.capacity('odd', storage_fill=float('nan')))
        odd = self.get('/v1/hosts/odd')['host']
        self.assertIsNone(odd['load'])
        self.assertIsNone(self.get('/v1/capacity/odd')['capacity']['storage_fill'])

    def test_limits(self):
        for limit, status in (('1', 200), ('50', 200), ('51', 400), ('0', 400), ('-1', 400),
                              ('1.5', 400), ('', 400), ('all', 400), ('9' * 30, 400),
                              ('٣', 400), ('1e1', 400), ('+1', 400)):
            with self.subTest(limit):
                answer = self.get('/v1/hosts', limit=limit, status=status)
                if status == 400:
                    self.assertIn('limit', self.detail(answer))

    def test_a_page_has_no_more_than_the_limit_of_the_configuration(self):
        self.add(*(api_case.node(f'more{n:03}') for n in range(60)))
        answer = self.get('/v1/hosts')
        self.assertEqual(50, len(answer['hosts']))
        self.assertEqual(MANY + 60, len(self.pages('/v1/hosts', 'hosts')[0]))

    def test_a_link_is_the_same_request_behind_the_last_entry(self):
        answer = self.get('/v1/hosts', limit=2, zone='az1', sort_key='load', sort_dir='desc')
        [link] = answer['hosts_links']
        self.assertEqual('next', link['rel'])
        url = urllib.parse.urlsplit(link['href'])
        self.assertEqual('http://localhost/v1/hosts', url._replace(query='').geturl())
        self.assertEqual(
            dict(limit='2', zone='az1', sort_key='load', sort_dir='desc',
                 marker=answer['hosts'][-1]['host']), dict(urllib.parse.parse_qsl(url.query)))

    def test_the_last_page_has_no_link(self):
        self.assertNotIn('hosts_links', self.get('/v1/hosts', limit=MANY))
        self.assertIn('hosts_links', self.get('/v1/hosts', limit=MANY - 1))

    def test_names_in_links_are_quoted(self):
        for name in ('a&b', 'a b', 'ü', '<b>', 'a%20b', 'a+b', "'"):
            self.add(api_case.node(name), api_case.node(name + '~'))
        found, _ = self.pages('/v1/hosts', 'hosts', limit=1)
        self.assertEqual(MANY + 14, len({h['host'] for h in found}))

    def test_unknown_parameters(self):
        for query in (dict(sort='host'), dict(limit=1, limits=1), dict(host='compute1'),
                      {'sort_key': 'record'}, {'sort_key': 'host;--'}, dict(sort_dir='up'),
                      dict(up='yes'), dict(up='1'), dict(protection='magic')):
            with self.subTest(query):
                self.assertIn('query', self.detail(self.get('/v1/hosts', status=400, **query)))
        self.assertIn('known here: limit, marker, sort_key, sort_dir, zone',
                      self.detail(self.get('/v1/hosts', x='1', status=400)))
        self.assertIn('known here: none', self.detail(self.get('/v1/status', x='1', status=400)))

    def test_a_parameter_twice(self):
        answer = self.call('GET', '/v1/hosts?zone=az1&zone=az2', status=400)
        self.assertIn("'zone' is there twice", self.detail(answer.json))

    def test_control_characters(self):
        for text in ('%00', 'a%0a', '%0aa', 'a%7f', '%c2%85', '%1b[2J'):
            for path in (f'/v1/hosts?zone={text}', f'/v1/hosts?marker={text}',
                         f'/v1/hosts/{text}', f'/v1/recoveries/{text}',
                         f'/v1/recoveries/{text}/moves', f'/v1/capacity/{text}',
                         f'/v1/events?recovery_id={text}'):
                with self.subTest(path):
                    self.call('GET', path, status=400)

    def test_what_is_too_long(self):
        for path in (f'/v1/hosts?zone={"z" * 256}', f'/v1/hosts/{"h" * 256}',
                     f'/v1/recoveries/{"r" * 65}', f'/v1/recoveries?marker={"r" * 65}'):
            detail = self.detail(self.call('GET', path, status=400).json)
            self.assertIn('is too long', detail)

    def test_numbers_of_failures(self):
        for number, status in (('1', 200), ('23', 200), ('24', 404), ('2147483647', 404),
                               ('2147483648', 400), ('0', 400), ('-1', 400), ('1' * 40, 400),
                               ('one', 400), ('1.0', 400), ('٣', 400), (' 1', 400), ('1_0', 400)):
            with self.subTest(number):
                self.call('GET', f'/v1/failures/{number}', status=status)
                if number not in ('1', '23'):
                    self.call('GET', f'/v1/failures?marker={number}', status=400)

    def test_bytes_that_are_no_text(self):
        self.call('GET', '/v1/hosts/%ff%fe', status=404)
        self.assertEqual([], self.call('GET', '/v1/hosts?zone=%ff%fe', status=200).json['hosts'])
        self.call('GET', '/v1/hosts?marker=%ed%a0%80', status=400)
