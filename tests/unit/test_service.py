"""What the engine finds out before it starts: settings that would let it fail later."""

import contextlib
import gc
import os
import tempfile
import weakref

import sqlalchemy as sa
import testtools

from vmha_nova.conf import opts
from vmha_nova import exception
from vmha_nova import service

CONF = """\
[DEFAULT]
transport_url = fake://
[database]
connection = {database}
[service_credentials]
auth_type = password
auth_url = http://127.0.0.1:9/v3
username = vmha
password = x
project_name = service
user_domain_id = default
project_domain_id = default
[fence]
unsafe_without_fence = true
[ceph]
hosts_backend = {backend}
"""


class CheckTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.database = 'sqlite:///' + os.path.join(self.folder, 'db')

    def conf(self, backend=''):
        path = os.path.join(self.folder, 'vmha.conf')
        with open(path, 'w', encoding='ascii') as stream:
            stream.write(CONF.format(database=self.database, backend=backend))
        return opts.load([f'--config-file={path}'], '')

    def refused(self, words, call, *args):
        error = self.assertRaises(exception.ConfigurationError, call, *args)
        self.assertIn(words, str(error))

    def test_tables_that_are_missing_old_or_right(self):
        conf = self.conf()
        self.refused('has no tables', service.check, conf)
        service.make_store(conf).upgrade()
        service.check(conf)
        with sa.create_engine(self.database).begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
        self.refused('is at version 0001, this program wants', service.check, conf)

    def test_a_database_that_cannot_be_opened_is_said_in_one_line(self):
        self.database = f'sqlite:///{self.folder}/nowhere/db'
        error = self.assertRaises(exception.StoreUnavailable, service.check, self.conf())
        self.assertIn('unable to open', str(error))

    def test_nothing_is_open_when_the_process_is_forked(self):
        conf = self.conf()
        store = service.make_store(conf)
        store.upgrade()
        store.close()
        service.check(conf)
        paths = set()
        for one in os.listdir('/proc/self/fd'):
            with contextlib.suppress(OSError):      # of the listing itself
                paths.add(os.readlink(f'/proc/self/fd/{one}'))
        self.assertFalse([path for path in paths if path.startswith(self.folder)])

    def test_a_backend_that_is_none(self):
        self.refused("[ceph] hosts_backend: 'vms' is no place of disks", service.make_pools,
                     self.conf('vms').ceph)


class MemoryTest(testtools.TestCase):
    def test_what_is_there_is_set_aside_and_looked_through_the_next_time(self):
        self.addCleanup(gc.unfreeze)
        circle = []
        circle.append(circle)
        service.settle_memory()
        self.assertTrue(gc.get_freeze_count())
        self.assertFalse(any(one is circle for one in gc.get_objects()))
        witness = Witness()
        witness.itself, gone = witness, weakref.ref(witness)
        gc.freeze()
        del witness
        gc.collect()
        self.assertIsNotNone(gone())
        service.settle_memory()
        self.assertIsNone(gone())


class Witness:
    """Something that can be seen to go."""
