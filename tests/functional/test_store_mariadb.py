"""The scenarios of the store and of the API's lists on a real MariaDB."""

import unittest

from tests.functional import base
from tests.lab import fresh
from tests.unit import api_case
from tests.unit import test_api_pages
from tests.unit import test_store
from vmha_nova.db import store


def emptied():
    """The URL of the lab's database, without tables."""
    url = base.the_lab().urls['vmha_database_url']
    fresh.forget_rows(url)
    return url


class MariadbStoreTest(test_store.StoreScenarios, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.url = emptied()
        self.addCleanup(emptied)


class MariadbPagesTest(test_api_pages.PagesScenarios, api_case.ApiCase):
    def database(self):
        """The lab's, with all tables and no rows."""
        url = emptied()
        self.addCleanup(emptied)
        store.Store(None, connection=url).upgrade()
        return url

    def test_every_character(self):
        self.call('PUT', '/v1/pause', {'pause': {'paused': True, 'reason': 'lunch \U0001f355'}},
                  status=200)
        shown = self.call('GET', '/v1/status', status=200).json['status']['paused']
        self.assertEqual('lunch \U0001f355', shown['reason'])
