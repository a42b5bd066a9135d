"""The scenarios of the store, of the API's lists and of the figures on a real PostgreSQL."""

import unittest

import sqlalchemy as sa

from tests.functional import test_store_mariadb
from tests.lab import postgresql
from tests.unit import api_case
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


class PostgresqlPagesTest(test_store_mariadb.ServerPages, api_case.ApiCase):
    def database(self):
        """With all tables and no rows."""
        url = emptied()
        store.Store(None, connection=url).upgrade()
        return url


class PostgresqlGaugesTest(test_metrics.GaugesTest):
    def url(self):
        return emptied()
