"""A host loses its power, and its guests go on counting elsewhere."""

import time

from tests.lab import guest
from tests.lab import network
from tests.storage import base


class PowerCordTest(base.StorageTest):
    def test_every_guest_on_the_storage_goes_on_and_a_local_disk_is_left(self):
        local = self.boot('local')[0]
        rbd = self.boot('rbd', 2)
        volume = self.boot('volume')[0]
        self.wait_recorded(local, volume, *rbd)
        self.lab.kill_host(self.SOURCE)
        killed = time.time()
        self.report()
        self.wait_over()
        for ident in (*rbd, volume):
            self.assertGoesOn(ident)
            self.assertEqual('moved', self.moves()[ident].state)
        self.assertEqual('left', self.moves()[local].state)
        self.assertIn('not on the storage', self.moves()[local].reason)
        self.assertEqual(self.SOURCE, self.cloud.server(local)['OS-EXT-SRV-ATTR:host'])
        evidence = self.store.steps(self.recovery().id, 'fence')[0].evidence
        self.assertTrue(evidence['entries'])
        self.assertEqual([self.lab.network.address(self.SOURCE, one) + '/32'
                          for one in network.NETWORKS], evidence['ranges'])
        self.assertEqual(set(evidence['covered']), {*rbd, volume})
        self.assertEqual([], guest.overlaps(self.on_disk(f'vms/{rbd[0]}_disk')))
        print('first numbers after', [round(
            self.lines(i, self.SPARE)[1].time - killed, 1) for i in (*rbd, volume)])
