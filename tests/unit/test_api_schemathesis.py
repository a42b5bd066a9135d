"""The OpenAPI document that is served, and the whole application, token check included, agree.

schemathesis makes requests of the document: such as it allows, and such as it does not. No answer
may be a 5xx, or another than the document promises; what it does not allow must be refused.
"""

import collections

import hypothesis
from hypothesis import strategies as st
import schemathesis
from schemathesis import checks

from tests.unit import api_case

AT_LEAST = 2000                         # requests in all
EACH = 65                               # for an operation and a mode, where so many differ
TOKEN = {'X-Auth-Token': 'admin'}
HOSTS = ('compute1', 'compute2', 'spare1')
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)

# That a request which the schemas allow is also possible (the marker is there, the end of
# maintenance lies ahead, …) is not theirs to say.
checks.load_all_checks()
LEFT_OUT = [checks.CHECKS.get_one('positive_data_acceptance')]


class SchemathesisTest(api_case.ApiCase):

    def setUp(self):
        super().setUp()
        self.known = dict(host=HOSTS, failure_id=(1,), recovery_id=[self.fill()])
        for state, values in (('held', dict(resume='fenced')), ('moving', {}),
                              ('aborted', dict(ended_at=api_case.NOW))):
            row = api_case.recovery('compute2', state=state, **values)
            self.add(row)
            self.known['recovery_id'].append(row.id)
        self.markers = {
            '/v1/hosts': HOSTS, '/v1/load': HOSTS, '/v1/capacity': HOSTS[:2],
            '/v1/failures': (1,), '/v1/events': (1,), '/v1/recoveries': self.known['recovery_id'],
            '/v1/recoveries/{recovery_id}/moves': (1, 2)}
        self.counts = collections.Counter()         # (operation, mode) -> requests
        self.answers = collections.Counter()        # (operation, status) -> answers

    def metrics(self):
        class Metrics:
            exposition = staticmethod(lambda: (b'vmha_up 1\n', 'text/plain; charset=utf-8'))
            observe_request = staticmethod(lambda *args: None)
        return Metrics()

    def aim(self, case, number):
        """Have a request that is allowed be about something that there is."""
        def one(of):
            return of[number % len(of)]

        for name, values in self.known.items():
            if name in (case.path_parameters or ()):
                case.path_parameters[name] = one(values)
        if 'marker' in (case.query or ()):
            case.query['marker'] = one(self.markers[case.operation.path])
        if case.operation.label == 'POST /v1/failures':
            case.body['failure']['host'] = one(HOSTS)
        elif case.operation.label == 'POST /v1/plans':
            case.body['plan']['hosts'] = [one(HOSTS)]

    def check(self, operation, mode):
        """Make requests of an operation, and check the answers."""
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode),
                          number=st.none() | st.integers(0, 11))
        @hypothesis.settings(max_examples=EACH, derandomize=True, database=None, deadline=None,
                             suppress_health_check=list(hypothesis.HealthCheck))
        def run(case, number):
            # Of an empty list in a query nothing is sent: it is not wrong.
            hypothesis.assume([] not in (case.query or {}).values())
            if mode is MODES[0] and number is not None:
                self.aim(case, number)
            answer = case.call(headers=TOKEN)
            self.counts[operation.label, mode.value] += 1
            self.answers[operation.label, answer.status_code] += 1
            case.validate_response(answer, headers=TOKEN, excluded_checks=LEFT_OUT)
        try:
            run()
        except hypothesis.errors.Unsatisfiable:
            # Of what takes nothing, no request is wrong.
            self.assertFalse(operation.security and operation.path.startswith('/v1'), operation)

    def test_the_document_and_the_application_agree(self):
        schema = schemathesis.openapi.from_wsgi('/v1/openapi.json', self.wsgi)
        operations = [found.ok() for found in schema.get_all_operations()]
        for operation in operations:
            for mode in MODES:
                with self.subTest(operation=operation.label, mode=mode.value):
                    self.check(operation, mode)
        requests = sum(self.counts.values())
        print(f'{requests} requests, answers by status: {sorted(self.by_status().items())}')
        self.assertGreaterEqual(requests, AT_LEAST)
        for operation in operations:
            good = sum(n for (label, status), n in self.answers.items()
                       if label == operation.label and 200 <= status < 300)
            self.assertGreater(good, 0, f'{operation.label}: no request succeeded')
        # Both kinds were really tried: many that went well, many that were refused.
        statuses = self.by_status()
        self.assertGreater(statuses[200] + statuses[202], AT_LEAST // 4)
        self.assertGreater(statuses[400], AT_LEAST // 5)

    def by_status(self):
        found = collections.Counter()
        for (_label, status), number in self.answers.items():
            found[status] += number
        return found


class DocumentTest(api_case.ApiCase):
    """What schemathesis does not look at."""

    def test_every_route_has_every_answer_in_words(self):
        document = self.get('/v1/openapi.json', None)
        for path, operations in document['paths'].items():
            for method, operation in operations.items():
                for status, answer in operation['responses'].items():
                    self.assertTrue(answer['description'], (path, method, status))

    def test_the_document_needs_no_database(self):
        self.drop_tables()
        self.assertIn('paths', self.get('/v1/openapi.json', None))
