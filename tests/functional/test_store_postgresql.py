"""The scenarios of the store, of the API's lists and of the figures on a real PostgreSQL."""

import unittest

import sqlalchemy as sa

from tests.functional import test_store_mariadb
from tests.lab import postgresql
from tests.unit import api_case
from tests.unit import test_api_pages
from tests.unit import test_metrics
from tests.unit import test_store
from vmha_nova.db import store


def emptied():
    """The URL of the database, without tables."""
    url = postgresql.shared().url
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text('DROP SCHEMA public CASCADE'))
        connection.execute(sa.text('CREATE SCHEMA public'))
    engine.dispose()
    return url


class PostgresqlStoreTest(test_store.StoreScenarios, test_store_mariadb.ServerScenarios,
                          unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.url = emptied()


class PostgresqlPagesTest(test_api_pages.PagesScenarios, api_case.ApiCase):
    def database(self):
        """With all tables and no rows."""
        url = emptied()
        store.Store(None, connection=url).upgrade()
        return url

    def test_every_character(self):
        self.call('PUT', '/v1/pause', {'pause': {'paused': True, 'reason': 'lunch \U0001f355'}},
                  status=200)
        shown = self.call('GET', '/v1/status', status=200).json['status']['paused']
        self.assertEqual('lunch \U0001f355', shown['reason'])


class PostgresqlGaugesTest(test_metrics.GaugesTest):
    def url(self):
        return emptied()
