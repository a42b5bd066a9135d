"""The fence by power against peers that speak the real protocols.

IPMI: OpenIPMI's simulator with ipmitool and fence_ipmilan. Redfish: sushy-tools' emulator over TLS
with fence_redfish. Ironic: its own API and conductor with openstacksdk.
"""

import contextlib
import datetime
import os
import pathlib
import socket
import sqlite3
import stat
import tempfile
import time
import unittest

from keystoneauth1 import http_basic
from keystoneauth1 import session

from tests.functional import bmc
from tests.lab import common
from vmha_nova import exception
from vmha_nova.fencing import agents
from vmha_nova.fencing import ironic
from vmha_nova.fencing import parameters
from vmha_nova.fencing import power

TIMEOUT, PATIENCE = 30.0, 15.0          # seconds


def utc():
    return datetime.datetime.now(datetime.timezone.utc)


class Base(unittest.TestCase):
    """A host c1 with a BMC; the parameters are in a file, as an operator writes them."""

    @classmethod
    def setUpClass(cls):
        cls.venv = bmc.ensure()

    def peer(self, made):
        self.addCleanup(made.remove)
        return made

    def fence(self, values, patience=PATIENCE, timeout=TIMEOUT, ironic_=None):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / 'power.conf'
        with open(path, 'x', opener=lambda *args: os.open(*args, mode=0o600)) as stream:
            stream.write('[c1]\n' + ''.join(f'{k} = {v}\n' for k, v in values.items()))
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        return power.PowerFence(parameters.Parameters(str(path)), agents.Agents(timeout), ironic_,
                                (), patience, lambda: None, utc)

    def put_up(self, fence):
        return fence.fence('c1', fence.plan('c1'))

    def refused(self, fence):
        with self.assertRaises(exception.FenceFailed) as caught:
            self.put_up(fence)
        text = str(caught.exception)
        for secret in (bmc.PASSWORD, 'wr0ng'):
            self.assertNotIn(secret, text)
        return text


class MachineTests:
    """What is so of every protocol."""

    def test_off(self):
        fence = self.fence(self.machine.parameters)
        self.assertFalse(fence.ask('c1').off)
        evidence = self.put_up(fence)
        self.assertFalse(self.machine.on())
        self.assertEqual('Status: OFF', evidence['status_answer'])
        self.assertNotIn(bmc.PASSWORD, str(evidence))
        self.assertTrue(fence.ask('c1').off)

    def test_already_off(self):
        self.machine.power(False)
        evidence = self.put_up(self.fence(self.machine.parameters))
        self.assertEqual((1, 'Status: OFF'), (evidence['orders'], evidence['status_answer']))

    def test_wrong_password_is_the_same_line_each_time(self):
        fence = self.fence({**self.machine.parameters, 'password': 'wr0ng'}, patience=3.0)
        found = {self.refused(fence) for _ in range(2)}
        self.assertEqual(1, len(found), found)
        self.assertIn(self.machine.parameters['agent'], found.pop())
        self.assertTrue(self.machine.on())

    def test_no_answer(self):
        self.machine.stop()
        begun = time.monotonic()
        fence = self.fence(self.machine.parameters, patience=2.0, timeout=4.0)
        found = {self.refused(fence) for _ in range(2)}
        self.assertEqual(1, len(found), found)
        self.assertLess(time.monotonic() - begun, 40)

    def test_says_off_and_stays_on(self):
        self.machine.stick()
        fence = self.fence({**self.machine.parameters, 'power_timeout': '3'}, patience=8.0)
        self.assertIn(self.machine.parameters['agent'], self.refused(fence))
        self.assertTrue(self.machine.on())

    def test_switched_on_again(self):
        fence = self.fence(self.machine.parameters)
        evidence = self.put_up(fence)
        self.machine.power(True)
        fence._off_at.clear()
        plan = fence.keep('c1', evidence)
        self.assertIsNotNone(plan)
        fence.fence('c1', plan)
        self.assertFalse(self.machine.on())


class IpmiTest(MachineTests, Base):
    def setUp(self):
        super().setUp()
        self.machine = self.peer(bmc.Ipmi())


class RedfishTest(MachineTests, Base):
    def setUp(self):
        super().setUp()
        self.machine = self.peer(bmc.Redfish(self.venv))

    def test_a_certificate_that_nobody_vouches_for(self):
        values = dict(self.machine.parameters)
        del values['ssl_insecure']
        self.assertIn('fence_redfish', self.refused(self.fence(values, patience=1.0)))
        self.assertTrue(self.machine.on())


class IronicTest(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.service = bmc.Ironic(cls.venv)
        cls.addClassCleanup(cls.service.remove)
        cls.connection = cls.account()._connection().baremetal
        cls.connection.create_node(name=cls.service.NODE, driver='fake-hardware')

    @classmethod
    def account(cls, password=bmc.PASSWORD, timeout=20.0, url=None):
        return ironic.Ironic(session.Session(http_basic.HTTPBasicAuth(
            endpoint=url or cls.service.url, username=bmc.USER, password=password)),
            timeout=timeout)

    def setUp(self):
        super().setUp()
        self.switch('power on')

    def switch(self, state):
        """By an order that is over when this returns."""
        self.free()
        self.connection.set_node_power_state(self.service.NODE, state)
        self.free()
        self.assertEqual(state, self.state())

    def free(self):
        common.wait_until('the end of the last order', lambda: self.connection.get_node(
            self.service.NODE).reservation is None, 30)

    def state(self):
        return self.connection.get_node(self.service.NODE).power_state

    def node_fence(self, account=None, node=None, patience=PATIENCE):
        return self.fence({'agent': 'ironic', 'node': node or self.service.NODE}, patience,
                          ironic_=account or self.account())

    @contextlib.contextmanager
    def locked(self):
        """Another conductor is at the node."""
        def write(holder):
            with contextlib.closing(sqlite3.connect(
                    self.service.folder / 'ironic.sqlite', timeout=20)) as database:
                database.execute('UPDATE nodes SET reservation = ?', (holder,))
                database.commit()
        write('other')
        try:
            yield
        finally:
            write(None)

    def test_off(self):
        evidence = self.put_up(self.node_fence())
        self.assertEqual(('power_state power off', 'ironic'),
                         (evidence['status_answer'], evidence['agent']))
        self.assertEqual('power off', self.state())

    def test_already_off(self):
        self.switch('power off')
        self.assertEqual('power_state power off',
                         self.put_up(self.node_fence())['status_answer'])

    def test_wrong_password(self):
        found = {self.refused(self.node_fence(self.account('wr0ng'), patience=1.0))
                 for _ in range(2)}
        self.assertEqual(1, len(found), found)
        self.assertEqual('power on', self.state())

    def test_no_such_node(self):
        self.assertEqual('ironic: there is no node nobody',
                         self.refused(self.node_fence(node='nobody', patience=1.0)))

    def test_no_answer(self):
        with socket.socket() as silent:
            silent.bind(('127.0.0.1', 0))
            silent.listen()
            begun = time.monotonic()
            url = f'http://127.0.0.1:{silent.getsockname()[1]}'
            account = self.account(timeout=2.0, url=url)
            self.assertIn('ironic: ', self.refused(self.node_fence(account, patience=2.0)))
            self.assertLess(time.monotonic() - begun, 40)

    def test_a_locked_node_is_no_proof_and_is_tried_again(self):
        self.switch('power off')
        with self.locked():
            self.assertEqual(f'ironic: the node {self.service.NODE} is locked',
                             self.refused(self.node_fence(patience=3.0)))
        self.put_up(self.node_fence())

    def test_what_it_wrote_down_before_is_no_proof(self):
        """Somebody has switched the machine on since, and the order did not work."""
        self.switch('power off')
        fence = self.node_fence(self.account('wr0ng'), patience=1.0)
        self.refused(fence)
