"""A guest's network port follows it."""

from tests.lab import openvswitch
from tests.storage import base


class PortTest(base.StorageTest):
    def test_the_port_is_bound_and_wired_where_the_guest_is_now(self):
        guest = self.boot(port=True)[0]
        network = self.lab.neutron()
        port, = network.ports(guest)
        self.assertEqual((self.SOURCE, 'ovs', 'ACTIVE'), self.binding(guest))
        plugged = f'tap{port["id"][:11]}'
        self.assertIn(plugged, openvswitch.bridge_ports(self.lab.boxes[self.SOURCE]))
        self.wait_recorded(guest)
        self.lab.kill_host(self.SOURCE)
        self.report()
        self.wait_over()
        self.assertGoesOn(guest)
        self.wait('the port is wired', lambda: self.binding(guest) == (self.SPARE, 'ovs',
                                                                       'ACTIVE'), 60)
        self.assertEqual([port['id']], [p['id'] for p in network.ports(guest)])
        self.assertEqual(port['mac_address'], network.ports(guest)[0]['mac_address'])
        self.assertIn(plugged, openvswitch.bridge_ports(self.lab.boxes[self.SPARE]))

    def binding(self, guest):
        port, = self.lab.neutron().ports(guest)
        return port['binding:host_id'], port['binding:vif_type'], port['status']
