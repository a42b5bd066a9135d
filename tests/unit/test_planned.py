"""Hosts that somebody has taken out of service on purpose are left alone, and it is said."""

import unittest

from tests.unit import test_engine
from tests.unit import topology
from vmha_nova.db import models
from vmha_nova import model
from vmha_nova import verdict


class PlannedTest(unittest.TestCase):
    def planned(self, source='pinger', forced=False, ours=False, signs=None, **node):
        report = model.HostFailure(1, 'c1', source, '', None, topology.NOW, {}, forced, 'new', '',
                                   0, None)
        policy = model.Policy() if signs is None else model.Policy(planned_shutdown=signs)
        node = model.ComputeNode(**{**dict(host='c1', enabled=True), **node})
        return verdict.planned(report, node, ours, policy)

    def test_who_disabled_it(self):
        for reason, others in (('', True), ('fan', True), ('vmha: recovery 1', False),
                               ('vmha: spare node', False),
                               ('AUTO: Connection to libvirt lost: 1', False)):
            found = self.planned(enabled=False, disabled_reason=reason)
            self.assertEqual(others, bool(found), reason)
            self.assertEqual('', self.planned(disabled_reason=reason), 'it is enabled')
        self.assertIn('(fan)', self.planned(enabled=False, disabled_reason='fan'))
        self.assertIn('with force', found or self.planned(enabled=False))

    def test_who_forced_it_down_and_who_says_so(self):
        self.assertIn('planned shutdown', self.planned(forced_down=True))
        self.assertEqual('', self.planned(forced_down=True, ours=True))
        self.assertEqual('', self.planned('nova', forced_down=True), 'an inspector')
        self.assertIn('disabled', self.planned('nova', forced_down=True, enabled=False))

    def test_force_and_the_option_are_above_it(self):
        both = dict(enabled=False, forced_down=True)
        self.assertEqual('', self.planned(forced=True, **both))
        self.assertEqual('', self.planned(signs=frozenset(), **both))
        self.assertIn('forced down', self.planned(signs=frozenset(['forced_down']), **both))
        self.assertIn('is disabled', self.planned(signs=frozenset(['disabled']), **both))
        self.assertEqual('', self.planned(signs=frozenset(['disabled']), forced_down=True))


class ShutdownTest(test_engine.Base):
    def shut(self, world, **report):
        host = world.nova.hosts['c1']
        host.enabled, host.reason = False, 'new memory'
        world.settle()
        world.die('c1', **report)

    def test_a_disabled_host_that_is_switched_off_is_left_alone(self):
        world = self.world()
        self.shut(world)
        world.settle(20)
        report, = world.store.failures()
        self.assertEqual('dismissed', report.state)
        self.assertIn('planned shutdown of c1', report.detail)
        self.assertIn('new memory', report.detail)
        self.assertEqual([], world.store.recoveries())
        self.assertEqual([], self.acts(world, 'force_down'))
        world.write_down()
        self.assertIn('a report would be dismissed', world.planner.plan(['c1']).holds['c1'])

    def test_trusted_or_not(self):
        world = self.world(trust={'default': 'act'})
        self.shut(world)
        world.settle(20)
        self.assertEqual([], world.store.recoveries())

    def test_an_operator_insists(self):
        world = self.world()
        self.shut(world, forced=True)
        world.run(world.over)
        self.assertRecovered(world)
        self.assertEqual('new memory', world.nova.hosts['c1'].reason)

    def test_disabled_while_the_report_is_checked(self):
        world = self.world()
        world.die('c1')
        world.settle(1)
        world.nova.hosts['c1'].enabled = False
        world.settle(20)
        self.assertEqual([], world.store.recoveries())

    def test_forced_down_by_an_operator_and_reported_by_a_monitor(self):
        world = self.world()
        world.nova.hosts['c1'].forced_down = True
        world.settle()
        world.die('c1')
        world.settle(20)
        self.assertIn('forced down in Nova by somebody else', world.store.failures()[0].detail)
        self.assertEqual([], world.store.recoveries())

    def test_forced_down_by_an_inspector_and_reported_by_nova_too(self):
        world = self.world()
        world.nova.hosts['c1'].forced_down = True
        world.die('c1')
        world.store.report_failure('c1', 'nova', 'somebody has forced it down in Nova')
        world.settle(3)
        world.store.report_failure('c1', 'nova', 'somebody has forced it down in Nova')
        world.run(world.over)
        self.assertRecovered(world)

    def test_it_is_shown_as_protected_by_nothing(self):
        world = self.world()
        world.nova.hosts['c1'].enabled = False
        world.nova.hosts['c2'].enabled = False      # empty: nothing there to protect
        world.settle()
        world.write_down()
        with world.store.reading() as session:
            found = {row.host: row.protection_reason
                     for row in session.query(models.Capacity).all()}
        self.assertIn('reports about it are dismissed', found['c1'])
        self.assertNotIn('dismissed', found['c2'])
