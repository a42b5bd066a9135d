"""vmha-status preflight: what it says of a real cloud, as it is and with something wrong."""

from tests.lab import ceph
from tests.storage import base

NOVA_CONF = '[DEFAULT]\nresume_guests_state_on_host_boot = {}\n'


class PreflightTest(base.StorageTest):
    def setUp(self):
        super().setUp()
        self.nova_conf = self.lab.dir / 'vmha' / 'nova-of-a-node.conf'
        self.addCleanup(self.nova_conf.unlink, missing_ok=True)

    def ask(self, resume=False):
        """(exit status, {what: level}) of preflight, with the files of a compute node."""
        self.nova_conf.write_text(NOVA_CONF.format(resume), encoding='ascii')
        status, found = self.vmha.preflight(
            '--nova-conf', str(self.nova_conf), '--ceph-conf',
            str(self.lab.state.data / self.SOURCE / 'ceph' / 'ceph.conf'))
        return status, {f['what']: f['level'] for f in found}

    def assertNames(self, words, level):
        """Beside what is so of the lab, it says one thing more: with these words."""
        status, found = self.ask()
        new = {what: of for what, of in found.items() if what not in self.usual}
        self.assertEqual(1, len(new), new)
        what, of = new.popitem()
        self.assertIn(words, what)
        self.assertEqual(level, of)
        self.assertEqual({'error': 2, 'warning': 1}[level], status)

    def assertUsual(self):
        """It says what is so of the lab, and nothing else."""
        self.assertEqual((1, self.usual), self.ask())

    usual = {'1 monitor only': 'warning'}

    def test_the_lab_as_it_is(self):
        ident = self.boot('rbd')[0]
        self.wait_recorded(ident)
        self.wait('the spare is reserved', lambda: self.store.marks()[self.SPARE].parked, 30)
        self.assertUsual()
        dump = self.ceph.command('osd dump')
        self.assertEqual(({}, {}), (dump['blocklist'], dump['range_blocklist']))

    def test_it_names_what_is_wrong_until_it_is_put_right(self):
        command = self.ceph.command
        self.assertUsual()
        for act, undo, words, level in (
                (lambda: command('osd set', key='noout'),
                 lambda: command('osd unset', key='noout'), 'the flag noout', 'warning'),
                (lambda: self._min_size('1'), lambda: self._min_size('2'),
                 'pool vms takes writes with a single copy left (min_size 1)', 'error'),
                (lambda: self.vmha.set_spare(self.SPARE, False),
                 lambda: self.vmha.set_spare(self.SPARE), 'no node is a spare', 'warning'),
                (lambda: self._caps('osd blocklist'), self._caps,
                 'client.vmha may not blocklist', 'error'),
                (lambda: self._caps('sessions'), self._caps,
                 'client.vmha lacks the cap mon \'allow command "sessions"\'', 'error')):
            with self.subTest(words):
                self.addCleanup(undo)
                act()
                self.assertNames(words, level)
                undo()
                self.assertUsual()
        status, found = self.ask(resume=True)
        self.assertEqual((2, 'error'), (status, found[
            f'{self.nova_conf}: resume_guests_state_on_host_boot is true']))

    def _min_size(self, value):
        self.ceph.command('osd pool set', pool='vms', var='min_size', val=value)

    def _caps(self, without=None):
        """Give the service's user its caps again, but for one of the monitors' commands."""
        mon, mgr, osd = ceph.USERS['vmha']
        mon = ', '.join(cap for cap in mon.split(', ') if cap != f'allow command "{without}"')
        self.ceph.command('auth caps', entity='client.vmha',
                          caps=['mon', mon, 'mgr', mgr, 'osd', osd])

    def test_a_lock_of_a_client_that_is_no_more(self):
        ident = self.boot('rbd')[0]
        self.wait_recorded(ident)
        self.assertUsual()
        self.lab.kill_host(self.SOURCE)
        self.wait('it is named', lambda: any(
            what.startswith('1 image locked by clients that are no more') and ident in what
            for what in self.ask()[1]), 60)

    def test_what_cannot_be_reached_is_named_and_the_rest_is_looked_at(self):
        self.ceph.command('osd set', key='noout')
        self.addCleanup(self.ceph.command, 'osd unset', key='noout')
        self.vmha.configure({'DEFAULT.transport_url': 'rabbit://a:b@10.89.0.10:1/',
                             'service_credentials.auth_url': 'http://10.89.0.10:1/v3',
                             'database.connection': 'mysql+pymysql://a:b@10.89.0.10:1/vmha'})
        status, found = self.ask()
        self.assertEqual(2, status)
        self.assertEqual(
            ['Nova and Placement', 'database', 'message bus'],
            sorted(what.partition(':')[0] for what, level in found.items() if level == 'error'))
        self.assertIn('the cluster has the flag noout', found)
        self.vmha.configure()
        self.ceph.freeze('mon')
        self.addCleanup(self.ceph.thaw, 'mon')
        status, found = self.ask()
        self.assertEqual(['Ceph'], [what.partition(':')[0] for what, level in found.items()
                                    if level == 'error'])
