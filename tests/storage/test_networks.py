"""The lab itself: each host has a cable to each network, and losing one leaves the other."""

import json
import subprocess
import time
import unittest

from tests.lab.common import wait_until
from tests.lab import fresh
from tests.lab import hosts
from tests.lab.network import MANAGEMENT
from tests.lab.network import NETWORKS
from tests.lab.network import STORAGE
from tests.storage import base

HOST = 'compute3'
_CONNECT = '''
import json, socket, sys
def answer(address):
    try:
        with socket.create_connection((address, 22), timeout=1):
            return 'open'
    except ConnectionRefusedError:
        return 'refused'
    except OSError:
        return 'silent'
print(json.dumps([answer(address) for address in sys.argv[1:]]))
'''


class NetworksTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.lab = base.the_lab()
        self.addCleanup(fresh.freshen, self.lab)
        fresh.freshen(self.lab)

    def seen(self, viewer='watch', host=HOST):
        """How a host looks from somewhere: {network: 'open', 'refused' or 'silent'}."""
        done = subprocess.run(
            [*self.lab.network.exec_prefix(viewer), '/usr/bin/python3', '-I', '-c', _CONNECT,
             *(self.lab.network.address(host, one) for one in NETWORKS)],
            capture_output=True, text=True, timeout=20, check=True)
        return dict(zip(NETWORKS, json.loads(done.stdout), strict=True))

    def test_a_cable_at_a_time(self):
        for viewer in ('watch', 'compute1'):
            self.assertEqual({MANAGEMENT: 'open', STORAGE: 'open'}, self.seen(viewer))
        for cut, left in (NETWORKS, reversed(NETWORKS)):
            with self.subTest(cut=cut):
                self.lab.cut(HOST, cut)
                self.assertEqual({cut: 'silent', left: 'open'}, self.seen())
                self.lab.join(HOST, cut)
                wait_until('it answers again', lambda: set(self.seen().values()) == {'open'}, 20)
        self.lab.cut(HOST)
        self.assertEqual({'silent'}, set(self.seen().values()))
        self.assertEqual({'open'}, set(self.seen(host='compute1').values()))

    @base.all_only
    def test_the_cable_of_the_watcher_is_its_own(self):
        self.lab.cut('watch')
        self.assertEqual({'silent'}, set(self.seen().values()))
        self.assertEqual({'open'}, set(self.seen('ctl').values()))

    @base.all_only
    def test_a_host_whose_processes_are_killed_refuses(self):
        self.lab.kill_host(HOST)
        self.assertEqual({'refused'}, set(self.seen().values()))
        self.assertFalse(self.lab.alive(hosts.daemons(self.lab.state, HOST)[0]))
        self.lab.start_host(HOST)
        self.assertEqual({'open'}, set(self.seen().values()))

    @base.all_only
    def test_ceph_is_on_the_storage_network_and_the_cloud_on_the_other(self):
        def beat():
            return self.lab.cloud().service(HOST)['updated_at']
        self.lab.cut(HOST, STORAGE)
        wait_until('Ceph misses its OSD', lambda: not self.lab.ceph.osd_up(HOST), 60)
        last = beat()
        wait_until('a heartbeat', lambda: beat() != last, 15)
        self.lab.join(HOST, STORAGE)
        wait_until('Ceph has its OSD', lambda: self.lab.ceph.osd_up(HOST), 60)
        self.lab.cut(HOST, MANAGEMENT)
        time.sleep(3)                   # a heartbeat may have been on its way
        last = beat()
        time.sleep(6)
        self.assertEqual(last, beat())
        self.assertTrue(self.lab.ceph.osd_up(HOST))

    def test_the_switches_lose_packets_and_stop_to(self):
        self.addCleanup(self.lab.network.lose, 0)
        self.lab.network.lose(100)
        self.assertEqual({'silent'}, set(self.seen().values()))
        self.lab.network.lose(0)
        self.assertEqual({'open'}, set(self.seen().values()))
