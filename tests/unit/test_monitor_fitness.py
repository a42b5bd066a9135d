"""What vmha-status preflight says of the monitor; what the engine makes of its reports."""

import datetime
import os
import pathlib
import socket
import tempfile
import types
import unittest

from tests.unit import test_engine
from vmha_nova.cmd import status
from vmha_nova.conf import opts
from vmha_nova import model
from vmha_nova.monitor import fitness
from vmha_nova.monitor import reporter


class FitnessTest(unittest.TestCase):
    """Compute nodes on loopback."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'vmha.conf')
        self.sock = socket.create_server(('127.8.1.1', 0))
        self.addCleanup(self.sock.close)
        self.port = self.sock.getsockname()[1]

    def conf(self, **options):
        with open(self.path, 'w', encoding='ascii') as stream:
            stream.write('[monitor]\n' + ''.join(f'{k} = {v}\n' for k, v in options.items()))
        return opts.load([f'--config-file={self.path}'], '')

    def found(self, nodes=('c1',), **options):
        values = dict(witnesses=f'127.8.1.1:{self.port}', management_ports=self.port,
                      management_addresses='c1:127.8.1.1')
        cluster = types.SimpleNamespace(nodes={n: model.ComputeNode(n) for n in nodes})
        return {f.what: f.level for f in fitness.findings(
            self.conf(**values | options), cluster, seconds=3.0)}

    def assertFound(self, level, words, **options):
        found = self.found(**options)
        self.assertEqual({level}, {lv for what, lv in found.items() if words in what}, found)

    def test_all_is_well(self):
        self.assertEqual({}, self.found())

    def test_without_an_option_nobody_is_asked(self):
        self.assertFalse(fitness.in_use(opts.load([], '', default_config_files=[])))
        self.assertTrue(fitness.in_use(self.conf(interval=3)))

    def test_what_is_not_well(self):
        self.assertFound('error', 'does not resolve',
                         management_addresses='c1:127.8.1.1+nowhere.invalid')
        self.assertFound('warning', 'names nobody', witnesses='')
        self.assertFound('error', 'not address:port', witnesses='gateway')
        hangs = socket.create_server(('127.8.1.3', 0), backlog=0)
        self.addCleanup(hangs.close)
        for _ in range(4):              # its queue is full, and nobody accepts
            full = socket.socket()
            self.addCleanup(full.close)
            full.setblocking(False)
            full.connect_ex(hangs.getsockname())
        self.assertFound('error', 'none of [monitor] witnesses answers',
                         witnesses=f'127.8.1.3:{hangs.getsockname()[1]}')
        self.assertFound('warning', 'c9, which is no compute node',
                         management_addresses='c1:127.8.1.1,c9:127.8.1.9')
        self.assertFound('warning', 'is known of c2', nodes=('c1', 'c2'))
        self.assertFound('warning', 'c1 did not answer on the management network '
                         '(c1: 127.8.1.2:', management_addresses='c1:127.8.1.2')

    def test_preflight_says_it(self):
        conf = self.conf(failures=9, witnesses='gateway')
        problems = [f.what for f in status.Gathering(conf).facts().problems]
        self.assertTrue([p for p in problems if 'failures (9) must not be' in p], problems)
        self.assertTrue([p for p in problems if "'gateway' is not address:port" in p], problems)
        silent = opts.load([], '', default_config_files=[])
        self.assertFalse([f for f in status.Gathering(silent).facts().problems
                          if 'monitor' in f.what])


class TrustTest(test_engine.Base):
    """By default the engine acts on what the monitor has found dead, and on nothing else."""

    def setUp(self):
        super().setUp()
        self.trust = opts.load([], '', default_config_files=[]).detection.trust

    def report(self, world, source, alive=False):
        if alive:
            world.store.report_failure('c1', source, 'somebody says so',
                                       detected_at=world.clock())
            world.engine.wake()
        else:
            world.die('c1', source=source, detected_at=world.clock())
        begin = world.clock()
        world.run(lambda: bool(world.store.recoveries()) or (
            world.clock() - begin > datetime.timedelta(seconds=40)), seconds=60)
        return (world.clock() - begin).total_seconds()

    def test_a_host_found_dead_on_all_channels_is_recovered_at_once(self):
        world = self.world(trust=self.trust)
        self.assertLess(self.report(world, reporter.SOURCE), 3)
        world.run(world.over)
        self.assertRecovered(world)

    def test_what_is_probable_waits_for_the_heartbeat(self):
        for source in ('vmha-monitor-probable', 'vmha-monitor-isolated', 'nova', 'anybody'):
            world = self.world(trust=self.trust)
            self.assertGreater(self.report(world, source), 3, source)
            self.assertTrue(world.store.recoveries(), source)

    def test_a_host_that_lives_is_not_evacuated_because_somebody_says_so(self):
        for source in ('vmha-monitor-probable', 'nova', 'operator'):
            world = self.world(trust=self.trust)
            self.report(world, source, alive=True)
            self.assertEqual([], world.store.recoveries(), source)
            self.assertEqual('dismissed', world.store.failures()[-1].state)

    def test_every_source_has_a_name_the_documentation_knows(self):
        text = (pathlib.Path(__file__).parents[2] / 'doc/source/monitor.rst').read_text()
        for source in reporter.SOURCES.values():
            self.assertIn(f'``{source}``', text)
