"""The store's scenarios on a real MariaDB."""

import unittest

import sqlalchemy as sa

from tests.functional import base
from tests.unit import test_store


class MariadbStoreTest(test_store.StoreScenarios, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.url = base.the_lab().urls['vmha_database_url']
        self.empty()
        self.addCleanup(self.empty)

    def empty(self):
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            tables = sa.inspect(connection).get_table_names()
            connection.execute(sa.text('SET FOREIGN_KEY_CHECKS = 0'))
            for table in tables:
                connection.execute(sa.text(f'DROP TABLE `{table}`'))
        engine.dispose()
