"""What a request may have in it: whatever it is, the answer says what is wrong with it."""

import io
import json
import time

from tests.unit import api_case

FAILURES = '/v1/failures'


class BodyCase(api_case.ApiCase):

    def setUp(self):
        super().setUp()
        self.fill()

    def send(self, data, status=400, path=FAILURES, method='POST', **options):
        """Send bytes as they are; returns the text of the error."""
        options.setdefault('content_type', 'application/json')
        options.setdefault('headers', {'X-Auth-Token': 'admin'})
        answer = self.client.open(path, method=method, data=data, **options)
        self.assertEqual(status, answer.status_code, answer.text)
        self.assertEqual('application/json', answer.headers['Content-Type'])
        return self.detail(answer.json) if status >= 400 else answer.json


class BodyTest(BodyCase):

    def test_what_is_no_json(self):
        for data in (b'', b'{', b'nonsense', b'{"failure":}', b"{'failure': 1}", b'{"a":1}}',
                     b'{"failure": {"host": "compute2"}} {}', b'\xff\xfe{}', b'\0',
                     '{"failure": 1}'.encode('utf-16'), b'\xef\xbb\xbf{}', b'{"a": NaN}',
                     b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 01}', b'["a",]',
                     b'{"a": "\x01"}', b'{"a": ' + b'9' * 5000 + b'}', b'[' * 100000,
                     b'{"a":' * 100000):
            with self.subTest(data[:30]):
                self.assertRegex(self.send(data), '^The body (is not|is empty|goes)')

    def test_what_no_database_keeps(self):
        for value, words in (
                ('"\\u0000"', 'NUL'), ('{"a\\u0000": 1}', 'NUL'), ('["\\ud800"]', 'surrogate'),
                ('{"\\udfff": 1}', 'surrogate'), ('9223372036854775808', 'too large'),
                ('-9223372036854775809', 'too large'), ('1e999', 'too large'),
                ('{"a": [1, {"b": -1e400}]}', 'too large'), ('[' * 40 + ']' * 40, 'deeper'),
                ('{"a": 1, "a": 2}', 'twice')):
            with self.subTest(value[:30]):
                data = f'{{"failure": {{"host": "compute2", "evidence": {{"x": {value}}}}}}}'
                self.assertIn(words, self.send(data.encode()))
        self.assertEqual(1, len(self.store.failures()))

    def test_what_every_database_keeps(self):
        evidence = {'large': 9223372036854775807, 'small': -9223372036854775808, 'float': 1e300,
                    'text': '\N{GRINNING FACE} ü \n\t"\\ \x7f  ', '': None, 'a' * 1000: [],
                    'deep': [[[[{'a': [True, False, {}]}]]]], '\N{GRINNING FACE}': ''}
        made = self.post(FAILURES, {'failure': {'host': 'compute2', 'evidence': evidence,
                                                'reason': '\N{GRINNING FACE} it burns'}},
                         status=202)['failure']
        self.assertEqual(evidence, {k: v for k, v in made['evidence'].items()
                                    if k != 'reporter'})
        self.assertEqual(made, self.get(f'/v1/failures/{made["id"]}')['failure'])
        self.assertEqual(made, self.get('/v1/failures')['failures'][0])

    def test_halves_that_belong_together_are_one_character(self):
        data = b'{"failure": {"host": "compute2", "reason": "\\ud83d\\ude00"}}'
        self.assertEqual('\N{GRINNING FACE}', self.send(data, 202)['failure']['reason'])

    def test_unknown_fields(self):
        for method, path, body in (
                ('POST', FAILURES, {'failure': {'host': 'compute2', 'id': 5}}),
                ('POST', FAILURES, {'failure': {'host': 'compute2'}, 'more': 1}),
                ('PATCH', '/v1/hosts/compute1', {'host': {'spare': True, 'up': True}}),
                ('PUT', '/v1/pause', {'pause': {'paused': True, 'user': 'root'}}),
                ('POST', '/v1/plans', {'plan': {'hosts': ['compute1'], 'dry_run': False}})):
            with self.subTest(path=path, body=body):
                detail = self.send(json.dumps(body), path=path, method=method)
                self.assertIn('known here: ', detail)
        self.assertFalse(self.store.paused().paused)

    def test_what_is_missing(self):
        for body in ({}, {'failure': {}}, {'failure': {'reason': 'x'}}, {'failure': None}, [],
                     None, 'failure', 5, {'failure': ['compute2']}):
            self.send(json.dumps(body))

    def test_what_is_of_another_kind(self):
        for values in (dict(host=5), dict(host=None), dict(host=['compute2']), dict(host=''),
                       dict(host='h' * 256), dict(host='a\tb'), dict(host='compute2\n'),
                       dict(host='\x85'), dict(reason=None), dict(reason='r' * 4001),
                       dict(source=''), dict(source=True), dict(evidence=[]),
                       dict(evidence='x'), dict(force='true'), dict(force=1),
                       dict(evidence={str(n): n for n in range(65)})):
            with self.subTest(str(values)[:40]):
                body = {'failure': dict(dict(host='compute2'), **values)}
                self.assertIn(f'failure.{next(iter(values))}', self.send(json.dumps(body)))

    def test_a_message_repeats_no_novel(self):
        detail = self.send(json.dumps({'failure': {'host': 'h' * 100000}}))
        self.assertLess(len(detail), 400)
        detail = self.send(json.dumps({'x' * 100000: 1}))
        self.assertLess(len(detail), 500)
        self.assertIn('known here: failure', detail)

    def test_names_of_markup_and_of_sql_are_names(self):
        for text in ('<script>alert(1)</script>', "'; DROP TABLE host_failure; --",
                     '" OR ""="', '${jndi:ldap://x}', '%s%d%n', '{0.__class__}'):
            self.store.set_failure(3, self.store.failures()[-1].id, 'accepted')
            made = self.send(json.dumps({'failure': {
                'host': 'compute2', 'reason': text, 'source': text,
                'evidence': {text: text}}}), 202)['failure']
            self.assertEqual((text, text, text), (made['reason'], made['source'],
                                                  made['evidence'][text]))
            self.send(json.dumps({'failure': {'host': text}}), 404)
            self.assertEqual([made], self.get(FAILURES, source=text)['failures'])

    def test_other_kinds_of_body(self):
        data = json.dumps({'failure': {'host': 'compute2'}})
        for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data',
                     'application/xml', 'application/json-patch+json', '', None, 'json', 'é'):
            with self.subTest(kind):
                self.assertIn('application/json', self.send(data, 415, content_type=kind))
        for kind in ('application/json; charset=utf-8', 'APPLICATION/JSON'):
            self.send(data, 202 if kind[0] == 'a' else 200, content_type=kind)

    def test_what_has_no_body_needs_none(self):
        self.send(b'nonsense', 200, path='/v1/hosts', method='GET')


class CostTest(BodyCase):
    """No body takes long to be refused. Seconds of the processor, with room for a slow machine."""

    def assertCheap(self, data, words, path='/v1/plans'):
        begin = time.process_time()
        self.assertIn(words, self.send(data, path=path))
        self.assertLess(time.process_time() - begin, 1.5)

    def test_a_list_whose_members_cannot_be_sorted(self):
        members = ','.join(f'{{"a":{n}}}' if n % 2 else f'[{n}]' for n in range(4500))
        self.assertCheap(f'{{"plan":{{"hosts":[{members}]}}}}'.encode(), 'is too long')

    def test_as_many_wrong_members_as_a_body_holds(self):
        self.assertCheap(b'{"plan":{"hosts":[' + b'"",' * 349_000 + b'""]}}', 'is too long')

    def test_as_many_unknown_names_as_a_body_holds(self):
        names = ','.join(f'"{n:x}":1' for n in range(100_000))
        self.assertCheap(f'{{"failure":{{{names}}}}}'.encode(), 'known here: host', FAILURES)
        self.assertCheap(f'{{"failure":{{"host":"a","evidence":{{{names}}}}}}}'.encode(),
                         'too many properties', FAILURES)

    def test_the_same_host_twice_is_one_host(self):
        self.send(b'{"plan":{"hosts":["compute1","compute1"]}}', 200, '/v1/plans')


class LargeBodyTest(BodyCase):

    settings = dict(max_body=65536)

    def test_ten_megabytes(self):
        data = b'{"failure": {"host": "' + b'x' * 10_000_000 + b'"}}'
        begin = time.monotonic()
        for path, method in ((FAILURES, 'POST'), ('/v1/hosts/compute1', 'PATCH'),
                             ('/v1/pause', 'PUT'), ('/v1/hosts', 'GET')):
            self.assertIn('65536 bytes', self.send(data, 413, path=path, method=method))
        self.assertLess(time.monotonic() - begin, 10)

    def test_of_what_is_too_long_nothing_is_kept(self):
        class Source(io.BytesIO):
            most = 0

            def read(self, size=-1):
                found = super().read(size)
                Source.most = max(Source.most, len(found))
                return found

        data = b'{"a": "' + b'x' * 10_000_000 + b'"}'
        self.send(None, 413, input_stream=Source(data), content_length=len(data))
        self.assertLessEqual(Source.most, 65536)

    def test_a_length_nobody_has_told(self):
        """As with chunks: the server ends the stream."""
        data = b'{"failure": {"host": "' + b'x' * 10_000_000 + b'"}}'
        self.send(None, 413, input_stream=io.BytesIO(data),
                  environ_overrides={'wsgi.input_terminated': True, 'CONTENT_LENGTH': ''})
        self.send(None, 202, input_stream=io.BytesIO(b'{"failure": {"host": "compute2"}}'),
                  environ_overrides={'wsgi.input_terminated': True, 'CONTENT_LENGTH': ''})

    def test_without_a_token(self):
        self.send(b'x' * 10_000_000, 401, headers={})

    def test_just_enough(self):
        data = json.dumps({'failure': {'host': 'compute2'}}).encode()
        self.send(data + b' ' * (65536 - len(data)), 202)
        self.send(data + b' ' * (65537 - len(data)), 413)
