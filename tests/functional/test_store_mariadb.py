"""The scenarios of the store and of the API's lists on a real MariaDB."""

import threading
import time
import unittest

import sqlalchemy as sa

from tests.functional import base
from tests.lab import fresh
from tests.unit import api_case
from tests.unit import test_api_pages
from tests.unit import test_store
from vmha_nova.db import base as db_base
from vmha_nova.db import store
from vmha_nova import exception


def emptied():
    """The URL of the lab's database, without tables."""
    url = base.the_lab().urls['vmha_database_url']
    fresh.forget_rows(url)
    return url


class ServerScenarios:
    """Of a database that several machines use."""

    def test_an_engine_that_hangs_in_the_middle_of_a_write_keeps_no_other_from_the_lead(self):
        """A machine without power closes no connection, so its locks would stay."""
        first, second = self.open(), store.Store(test_store.now, connection=self.url)
        term = first.take_lead('a')
        began, goes_on, errors = threading.Event(), threading.Event(), []

        def write():
            try:
                with first.leading(term) as session:
                    began.set()
                    goes_on.wait(60)
                    session.execute(sa.text('SELECT 1'))
            except exception.VmhaError as e:
                errors.append(e)
        hangs = threading.Thread(target=write)
        hangs.start()
        self.assertTrue(began.wait(10))
        begin = time.monotonic()
        self.assertEqual(term + 1, second.take_lead('b'))
        self.assertLess(time.monotonic() - begin, db_base.HANGS + 5)
        goes_on.set()
        hangs.join(30)
        self.assertEqual(1, len(errors), 'it has written nothing')
        self.assertRaises(exception.TermLost, first.keep_lead, term)


class MariadbStoreTest(test_store.StoreScenarios, ServerScenarios, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.url = emptied()
        self.addCleanup(emptied)


class ServerPages(test_api_pages.PagesScenarios):
    """The API's lists on one."""

    def test_every_character(self):
        self.call('PUT', '/v1/pause', {'pause': {'paused': True, 'reason': 'lunch \U0001f355'}},
                  status=200)
        shown = self.call('GET', '/v1/status', status=200).json['status']['paused']
        self.assertEqual('lunch \U0001f355', shown['reason'])


class MariadbPagesTest(ServerPages, api_case.ApiCase):
    def database(self):
        """The lab's, with all tables and no rows."""
        url = emptied()
        self.addCleanup(emptied)
        store.Store(None, connection=url).upgrade()
        return url
