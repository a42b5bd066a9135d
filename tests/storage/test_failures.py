"""One failure after the other, with nobody who reports: each ends as the table of verdicts says.

Each puts its row into the table of the documents: see `tests.lab.failures`.
"""

import time

from tests.lab.network import MANAGEMENT
from tests.lab.network import STORAGE
from tests.lab import verdicts
from tests.storage import base
from tests.storage import monitored
from tests.storage.monitored import BEATLESS
from tests.storage.monitored import MAP
from tests.storage.monitored import REFUSED
from tests.storage.monitored import SILENT

OUTAGE = 60                             # seconds


class FailuresTest(monitored.MonitoredTest):
    # -- what continuous integration runs -------------------------------------------------------
    def test_the_power_cord(self):
        self.fail_now('A host dies; its network card lives, and refuses connections',
                      self.lab.kill_host, self.SOURCE)
        after = self.wait_verdict('dead', REFUSED)
        self.assertEvacuated()
        self.enter('dead', after)

    def test_the_cable_of_the_management_network(self):
        self.fail_now('The cable of the management network is pulled',
                      self.lab.cut, self.SOURCE, MANAGEMENT)
        after = self.wait_verdict('isolated', BEATLESS)
        self.assertLeftAlone()
        self.lab.join(self.SOURCE)
        self.wait_verdict('alive', 240)
        self.assertCountsOn()
        self.enter('isolated', after)

    def test_the_cable_of_the_storage_network(self):
        self.fail_now('The cable of the storage network is pulled',
                      self.lab.cut, self.SOURCE, STORAGE)
        after = self.wait_verdict('storage-trouble', SILENT)
        self.assertLeftAlone(MAP)       # Ceph has missed its OSD by then
        self.assertFalse(self.ceph.osd_up(self.SOURCE))
        self.lab.join(self.SOURCE)
        self.wait_verdict('alive', 240)
        self.assertCountsOn()
        self.enter('storage-trouble', after)

    # -- the rest -------------------------------------------------------------------------------
    @base.all_only
    def test_no_power_at_all(self):
        self.fail_now('A host loses its power: nothing answers any more',
                      self.lab.kill_host, self.SOURCE, silent=True)
        after = self.wait_verdict('probably-dead', SILENT)
        dead = self.wait_verdict('dead', MAP)
        self.assertEvacuated()
        self.enter(f'probably-dead, then dead after {dead:.0f} s', after)

    @base.all_only
    def test_both_cables(self):
        self.fail_now('Both cables of a host are pulled', self.lab.cut, self.SOURCE)
        after = self.wait_verdict('probably-dead', SILENT)
        dead = self.wait_verdict('dead', MAP)
        self.assertEvacuated()
        self.enter(f'probably-dead, then dead after {dead:.0f} s', after)

    @base.all_only
    def test_nova_compute_alone(self):
        self.fail_now('nova-compute is killed', self.lab.kill, self.SOURCE)
        after = self.wait_verdict('compute-down', BEATLESS)
        self.assertLeftAlone()
        self.assertCountsOn()
        self.enter('compute-down', after)
        self.lab.start_host(self.SOURCE)
        self.wait_verdict('alive', 240)

    @base.all_only
    def test_libvirtd_alone(self):
        self.fail_now('libvirtd is killed', self.lab.kill, f'{self.SOURCE}-libvirtd')
        self.assertLeftAlone(30)
        self.assertCountsOn()
        self.assertEqual([], [v for v in self.verdicts() if v.verdict != 'alive'])
        self.enter('alive', None)

    @base.all_only
    def test_its_osd_alone(self):
        self.fail_now('The OSD of a host is killed', self.ceph.kill_osd, self.SOURCE)
        after = self.wait_verdict('storage-trouble', SILENT)
        self.assertLeftAlone()
        self.assertCountsOn()
        self.enter('storage-trouble', after)
        self.ceph.start_osd(self.SOURCE)
        self.wait_verdict('alive', 240)

    @base.all_only
    def test_the_cables_of_the_monitor(self):
        for networks, what in (
                ((), 'The monitor loses its own cables'),
                ((MANAGEMENT,), 'The monitor loses the management network'),
                ((STORAGE,), 'The monitor loses the storage network')):
            with self.subTest(what):
                self.fail_now(what, self.lab.cut, 'watch', *networks)
                self.assertLeftAlone(30)
                self.assertEqual([], self.store.failures())
                first = self.doubts()[0]
                self.lab.join('watch')
                self.wait('it sees all of them again', lambda: not self.doubts()[-1].verdict, 60)
                self.assertCountsOn()
                # Whatever it could not see, it has said nothing of anybody.
                said = verdicts.verdicts(self.log(), self.broken)
                self.assertEqual([], [v for v in said if v.verdict not in ('alive', 'unclear')])
                self.assertEqual([], self.store.failures())
                self.enter(first.verdict, first.at - self.broken)

    def doubts(self):
        return verdicts.doubts(self.log(), self.broken)

    @base.all_only
    def test_rabbitmq_is_down_during_detection(self):
        self.away('rabbitmq', 'A host dies, and RabbitMQ is down for 60 s')

    @base.all_only
    def test_the_api_of_nova_is_down_during_detection(self):
        self.away('nova-api', 'A host dies, and the API of Nova is down for 60 s')

    def away(self, service, what):
        """The host dies just as a service of the cloud does, which comes back a minute later."""
        self.fail_now(what, self.lab.kill, service)
        self.lab.kill_host(self.SOURCE)
        back = time.monotonic() + OUTAGE
        while time.monotonic() < back:
            self.assertNobodyElse()
            time.sleep(1)
        self.lab.start(service)
        after = self.wait_verdict('dead', OUTAGE + 60)
        self.assertEvacuated(300)
        self.enter('dead', after)
