"""Only nova-compute dies: the storage tells that the host lives, and its guests with it."""

from tests.storage import base


class WitnessTest(base.StorageTest):

    def test_a_host_whose_osd_is_up_keeps_its_guests(self):
        guest = self.boot('rbd')[0]
        self.wait_recorded(guest)
        self.lab.kill(self.SOURCE)
        self.report('nova-compute does not answer')
        self.wait('the report waits, and says for what', lambda: any(
            f.state == 'checking' and '0 of 1 OSDs of compute1 are down' in f.detail
            for f in self.store.failures()), 60)
        begin = len(self.counts(guest, self.SOURCE))
        self.wait('the guest goes on counting', lambda: (
            len(self.counts(guest, self.SOURCE)) > begin + 20), 60)
        self.assertEqual([], self.store.recoveries())
        self.assertEqual([], self.cloud.migrations(self.SOURCE, migration_type='evacuation'))
        self.assertFalse(self.ceph.command('osd dump')['range_blocklist'])
        self.lab.start_host(self.SOURCE)
        self.wait('the report is dismissed', lambda: any(
            f.state == 'dismissed' and 'is alive' in f.detail
            for f in self.store.failures()), 60)
