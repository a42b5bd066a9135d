"""What is written through the API: reports, marks, wishes, the pause; and what is asked."""

import datetime

from tests.unit import api_case
from vmha_nova.db import models
from vmha_nova import exception

NOW = api_case.NOW
HOUR = datetime.timedelta(hours=1)


class FailureTest(api_case.ApiCase):

    def report(self, persona='service', status=202, **values):
        values.setdefault('host', 'compute2')
        return self.post('/v1/failures', {'failure': values}, persona, status)

    def test_a_report_is_a_row_that_the_engine_finds(self):
        self.fill()
        made = self.report(reason='no answer', source='pinger', evidence={'lost': [1, 2]},
                           detected_at='2026-03-01T12:59:30+01:00')['failure']
        [row] = self.store.failures(open_only=True)
        self.assertEqual((made['id'], 'compute2', 'pinger', 'no answer', 'new', False),
                         (row.id, row.host, row.source, row.reason, row.state, row.forced))
        self.assertEqual(NOW - datetime.timedelta(seconds=30), row.detected_at)
        self.assertEqual(
            {'lost': [1, 2], 'reporter': {'user_id': 'id-of-service', 'user': 'service',
                                          'project_id': 'project-1'}}, row.evidence)
        self.assertEqual(made, self.get(f'/v1/failures/{row.id}')['failure'])
        self.assertEqual(made, self.get('/v1/failures', state='new')['failures'][0])

    def test_who_reports_is_not_for_the_reporter_to_say(self):
        self.fill()
        self.report(evidence={'reporter': 'the king'})
        self.assertEqual('service', self.store.failures()[-1].evidence['reporter']['user'])

    def test_a_report_on_the_word_of_the_whole_system(self):
        self.fill()
        self.report('system_admin')
        self.assertEqual({'user_id': 'id-of-system_admin', 'user': 'system_admin',
                          'project_id': None}, self.store.failures()[-1].evidence['reporter'])

    def test_the_same_report_again_is_the_same_report(self):
        self.fill()
        first = self.report(source='pinger')['failure']
        again = self.report(source='pinger', status=200)['failure']
        self.assertEqual(first['id'], again['id'])
        self.assertEqual([0, 1], [r['repeats'] for r in (first, again)])
        self.assertEqual(1, len(self.store.failures(open_only=True)))

    def test_a_report_of_another_source_is_another_report(self):
        self.fill()
        first = self.report(source='pinger')['failure']
        other = self.report(source='nova')['failure']
        self.assertEqual([(first['id'], 'pinger', 0), (other['id'], 'nova', 0)],
                         [(r.id, r.source, r.repeats)
                          for r in self.store.failures(open_only=True)])

    def test_a_report_that_is_delivered_twice_after_all_was_over(self):
        self.fill()
        values = dict(source='pinger', detected_at='2026-03-01T11:59:00Z')
        made = self.report(**values)['failure']
        self.store.set_failure(3, made['id'], 'dismissed', 'it is alive')
        self.assertEqual(made['id'], self.report(status=200, **values)['failure']['id'])
        values['detected_at'] = '2026-03-01T12:00:00.000001Z'
        self.assertNotEqual(made['id'], self.report(**values)['failure']['id'])

    def test_what_is_not_said(self):
        self.fill()
        made = self.report('admin')['failure']
        self.assertEqual(('operator', '', made['received_at']),
                         (made['source'], made['reason'], made['detected_at']))

    def test_force(self):
        self.fill()
        made = self.report('admin', reason='I pulled the plug', force=True)['failure']
        self.assertEqual((True, 'I pulled the plug (forced by admin)'),
                         (made['forced'], made['reason']))
        self.report('admin', host='compute1', force=True)
        self.assertEqual('(forced by admin)', self.store.failures()[-1].reason)

    def test_a_host_that_nova_does_not_have(self):
        self.fill()
        for host in ('nowhere', 'compute', 'compute2.example.org', 'COMPUTE2', ' compute2'):
            with self.subTest(host):
                self.assertIn('openstack compute service list',
                              self.detail(self.report(host=host, status=404)))
        self.assertEqual(1, len(self.store.failures()))

    def test_before_any_engine_has_looked_every_host_may_be_there(self):
        self.report(host='compute7')
        self.assertEqual('compute7', self.store.failures()[-1].host)

    def test_it_works_while_no_engine_runs(self):
        """No leader at all, and nothing written down."""
        self.report()
        self.put('/v1/pause', {'pause': {'paused': True}})
        status = self.get('/v1/status')['status']
        self.assertIsNone(status['engine'])
        self.assertIsNone(status['snapshot'])
        for path in ('/v1/hosts', '/v1/load', '/v1/capacity', '/v1/recoveries', '/v1/events'):
            self.assertEqual({path.split('/')[-1]: []}, self.get(path))

    def test_times(self):
        self.fill()
        for text, status in (
                ('2026-03-01T11:00:00Z', 202), ('2026-03-01T11:00:00.5+05:30', 200),
                ('1970-01-01T00:00:00+14:00', 200), ('9998-12-31T23:59:59-14:00', 200),
                ('2026-03-01T11:00:00', 400), ('2026-03-01', 400), ('now', 400), ('', 400),
                ('2026-13-01T11:00:00Z', 400), ('2026-02-30T11:00:00Z', 400),
                ('0001-01-01T00:00:00Z', 400), ('9999-12-31T23:59:59-14:00', 400),
                ('2026-03-01T11:00:00+25:00', 400), ('2026-03-01T11:00:00Z\n', 400),
                ('٢٠٢٦-03-01T11:00:00Z', 400), (1772362800, 400), (None, 400)):
            with self.subTest(text):
                answer = self.report(status=status, detected_at=text)
                if status == 400:
                    self.assertIn('failure.detected_at', self.detail(answer))

    def test_evidence_has_a_limit(self):
        self.fill()
        self.assertIn('16384 characters',
                      self.detail(self.report(evidence={'log': 'x' * 20000}, status=400)))
        self.report(evidence={'log': 'x' * 16000})

    def test_the_log_says_who_has_reported(self):
        self.fill()
        with self.assertLogs('vmha_nova.api.failures', 'INFO') as logs:
            self.report(reason='smoke')
            self.report(reason='smoke', status=200)
        self.assertEqual(['service reports compute2 as down: smoke'],
                         [r.getMessage() for r in logs.records])


class RecoveryTest(api_case.ApiCase):

    def act(self, recovery_id, action, status=202):
        return self.post(f'/v1/recoveries/{recovery_id}/actions', {'action': action},
                         status=status)

    def test_everything_about_a_recovery(self):
        recovery_id = self.fill()
        one = self.get(f'/v1/recoveries/{recovery_id}')['recovery']
        self.assertEqual(1, one['failure_id'])
        self.assertEqual({'moved': 1, 'failed': 1}, one['moves'])
        [step] = one['steps']
        self.assertEqual(('fence', 'compute1', 'done', {'entries': ['10.0.0.1/32']}),
                         tuple(step[k] for k in ('kind', 'subject', 'state', 'evidence')))
        self.assertEqual(['6 at a time'], [event['text'] for event in one['pace']])
        moves = self.get(f'/v1/recoveries/{recovery_id}/moves')['moves']
        self.assertEqual([('moved', 'compute2', []), ('failed', '', ['spare1'])],
                         [(m['state'], m['target'], m['tried']) for m in moves])

    def test_a_recovery_that_is_not_there(self):
        for path in ('/v1/recoveries/none', '/v1/recoveries/none/moves', '/v1/recoveries/1'):
            self.assertIn('there is no recovery', self.detail(self.get(path, status=404)))
        self.act('none', 'approve', 404)

    def test_which_wish_makes_sense_in_which_state(self):
        over = dict(ended_at=NOW)
        for state, values, possible in (
                ('confirmed', {}, 'approve abort'), ('moving', {}, 'approve abort'),
                ('held', dict(resume='fenced'), 'approve abort'),
                ('partial', over, 'retry release'), ('aborted', over, 'retry release'),
                ('recovered', over, 'release'), ('dismissed', over, 'release'),
                ('partial', dict(over, released_at=NOW), '')):
            for action in ('approve', 'abort', 'retry', 'release'):
                with self.subTest(state=state, values=values, action=action):
                    row = api_case.recovery('compute2', state=state, **values)
                    self.add(row)
                    status = 202 if action in possible.split() else 409
                    answer = self.act(row.id, action, status)
                    if status == 202:
                        self.assertEqual((action, state), (answer['recovery']['wish'],
                                                           answer['recovery']['state']))
                    else:
                        self.assertIn(row.id, self.detail(answer))
                    self.assertEqual(action if status == 202 else '',
                                     self.store.recovery(row.id).wish)

    def test_an_abort_is_not_taken_back(self):
        row = api_case.recovery('compute2', state='held', resume='fenced')
        self.add(row)
        self.act(row.id, 'abort')
        self.act(row.id, 'abort')
        self.assertIn('being aborted', self.detail(self.act(row.id, 'approve', 409)))
        self.assertEqual('abort', self.store.recovery(row.id).wish)

    def test_what_is_no_wish(self):
        recovery_id = self.fill()
        for body in ({'action': 'explode'}, {'action': ''}, {'action': None}, {}, [], 'retry',
                     {'action': 'retry', 'force': True}, {'action': ['retry']}):
            self.post(f'/v1/recoveries/{recovery_id}/actions', body, status=400)


class HostTest(api_case.ApiCase):

    def mark(self, host='compute1', status=200, **values):
        return self.patch(f'/v1/hosts/{host}', {'host': values}, status=status)

    def test_marks(self):
        self.fill()
        shown = self.mark(spare=True, pool='gold', backend='rbd:fast')['host']
        self.assertEqual((True, 'gold', 'rbd:fast'),
                         (shown['spare'], shown['pool'], shown['backend']))
        self.assertEqual(shown, self.get('/v1/hosts/compute1')['host'])
        mark = self.store.marks()['compute1']
        self.assertEqual((True, 'gold', 'rbd:fast', False),
                         (mark.spare, mark.pool, mark.backend, mark.maintenance))
        self.mark(pool='')
        self.assertEqual((True, ''), (self.store.marks()['compute1'].spare,
                                      self.store.marks()['compute1'].pool))
        self.assertEqual('rbd:vms', self.mark(backend='')['host']['backend'])

    def test_maintenance_for_a_time(self):
        self.fill()
        shown = self.mark(maintenance=True, maintenance_until='2026-03-01T14:00:00+01:00')['host']
        self.assertEqual((True, '2026-03-01T13:00:00.000000+00:00'),
                         (shown['maintenance'], shown['maintenance_until']))
        self.mark(maintenance_until='2026-03-01T15:00:00Z')
        self.assertEqual(NOW + 3 * HOUR, self.store.marks()['compute1'].maintenance_until)
        self.mark(maintenance_until=None)
        self.assertIsNone(self.store.marks()['compute1'].maintenance_until)
        self.mark(maintenance_until='2026-03-01T15:00:00Z')
        shown = self.mark(maintenance=False)['host']
        self.assertEqual((False, None), (shown['maintenance'], shown['maintenance_until']))

    def test_an_end_of_no_maintenance(self):
        self.fill()
        for values in (dict(maintenance_until='2026-03-01T15:00:00Z'),
                       dict(maintenance=False, maintenance_until='2026-03-01T15:00:00Z')):
            self.assertIn('not in maintenance', self.detail(self.mark(status=400, **values)))
        self.assertNotIn('compute1', self.store.marks())

    def test_an_end_that_is_over(self):
        self.fill()
        for until in ('2026-03-01T12:00:00Z', '2020-01-01T00:00:00Z'):
            self.assertIn('is over', self.detail(self.mark(
                maintenance=True, maintenance_until=until, status=400)))

    def test_an_end_that_is_no_time(self):
        self.fill()
        for until in ('tomorrow', '2026-03-01T15:00:00', 5, '', True, []):
            self.assertIn('maintenance_until', self.detail(self.mark(
                maintenance=True, maintenance_until=until, status=400)))

    def test_what_is_no_place_of_disks(self):
        self.fill()
        for word in ('rbd:', 'ceph', 'vms', 'RBD:vms'):
            self.assertIn('backend', self.detail(self.mark(backend=word, status=400)))
        self.mark(backend='local')

    def test_what_is_no_mark(self):
        self.fill()
        for values in (dict(spare='yes'), dict(spare=1), dict(spare=None), dict(pool=None),
                       dict(pool='p' * 256), dict(pool='a\nb'), dict(parked=True),
                       dict(host='compute2'), {}):
            self.mark(status=400, **values)
        self.assertNotIn('compute1', self.store.marks())

    def test_a_host_that_is_not_there(self):
        self.fill()
        for host in ('nowhere', 'COMPUTE1'):
            self.assertIn('openstack compute service list',
                          self.detail(self.mark(host, spare=True, status=404)))
        self.assertNotIn('nowhere', self.store.marks())
        self.get('/v1/hosts/nowhere', status=404)

    def test_before_any_engine_has_looked(self):
        self.assertIn('Is vmha-engine running'.lower(), self.detail(self.mark(
            spare=True, status=409)).lower())
        self.assertEqual({}, self.store.marks())

    def test_what_the_list_says(self):
        recovery_id = self.fill()
        compute1, compute2, spare1 = self.get('/v1/hosts')['hosts']
        for host, expected in (
                (compute1, dict(up=False, forced_down=True, disabled_reason='vmha: failed',
                                unprotected_instances=1, fits=True, protection='storage',
                                recovery_id=recovery_id, recovery_state='partial')),
                (compute2, dict(zone='az2', load=0.25, cpu_share=0.125, maintenance=True,
                                unprotected_instances=1, fits=False, protection='none',
                                protection_reason='no storage fence', recovery_id=None)),
                (spare1, dict(spare=True, pool='gold', parked=True, enabled=False, fits=None,
                              unprotected_instances=None, protection=None, cpu_share=None))):
            self.assertEqual(expected, {k: host[k] for k in expected})

    def test_load(self):
        self.fill()
        compute2 = self.get('/v1/load')['load'][1]
        expected = dict(vcpus_used=4, vcpus=16, memory_mb_used=2048, memory_mb=65536,
                        disk_gb_used=20, disk_gb=None, cpu_share=0.125, load=0.25,
                        cpu_share_at='2026-03-01T12:00:00.000000+00:00')
        self.assertEqual(expected, {k: compute2[k] for k in expected})

    def test_a_node_of_which_nothing_is_known(self):
        self.add(models.Node(host='new', zone='', up=False, enabled=False, backend='',
                             instances=0, load_share=0.0, record={}))
        host = self.get('/v1/hosts/new')['host']
        self.assertEqual(('', '', False), (host['address'], host['disabled_reason'],
                                           host['forced_down']))
        load = self.get('/v1/load')['load'][0]
        self.assertEqual((0, None), (load['vcpus_used'], load['vcpus']))

    def test_capacity(self):
        self.fill()
        one = self.get('/v1/capacity/compute2')['capacity']
        self.assertEqual([dict(instance_id='i-1', name='<script>web</script>', left=False,
                               reason='spare1 has no room')], one.pop('problems'))
        self.assertEqual(one, self.get('/v1/capacity', fits='false')['capacity'][0])
        self.assertEqual(['spare1'], one['spares'])
        self.assertIn('has not been worked out',
                      self.detail(self.get('/v1/capacity/spare1', status=404)))
        self.get('/v1/capacity/COMPUTE2', status=404)


class PlanTest(api_case.ApiCase):

    def plan(self, *hosts, status=200):
        return self.post('/v1/plans', {'plan': {'hosts': list(hosts)}}, 'reader', status)

    def test_a_plan(self):
        self.fill()
        plan = self.plan('compute2', 'compute1')['plan']
        self.assertEqual(['compute2', 'compute1'], plan['hosts'])
        self.assertEqual({'compute2': 'there is a pause'}, plan['holds'])
        self.assertEqual(['Placement did not answer'], plan['problems'])
        self.assertEqual(dict(host='compute2', instance_id='i-1', name='<b>web</b>',
                              project_id='p-1', priority=50, target='spare1', left=False,
                              reason=''), plan['placements'][0])
        self.assertEqual((None, 'no room'), (plan['placements'][1]['target'],
                                             plan['placements'][1]['reason']))

    def test_hosts_that_are_not_there(self):
        self.fill()
        self.assertIn("'nowhere'", self.detail(self.plan('compute1', 'nowhere', status=404)))

    def test_nothing_is_known_yet(self):
        self.planner.error = exception.Unreachable('no engine has written down the cloud yet')
        self.assertIn('no engine', self.detail(self.plan('compute1', status=409)))

    def test_how_many(self):
        self.planner.known = {f'h{n}' for n in range(60)}
        self.plan(*(f'h{n}' for n in range(50)))
        for hosts in ([], [f'h{n}' for n in range(51)], [''], [None], ['a\0'],
                      ['h' * 256]):
            with self.subTest(len(hosts)):
                self.plan(*hosts, status=400)


class ControlTest(api_case.ApiCase):

    def test_a_pause(self):
        made = self.put('/v1/pause', {'pause': {'paused': True, 'reason': 'a new switch'}})
        self.assertEqual(dict(paused=True, reason='a new switch', user='admin',
                              at='2026-03-01T12:00:00.000000+00:00'), made['pause'])
        self.assertEqual(made['pause'], self.get('/v1/status', 'reader')['status']['paused'])
        self.assertTrue(self.store.paused().paused)
        self.now += HOUR
        self.put('/v1/pause', {'pause': {'paused': False}})
        self.assertEqual(dict(paused=False, reason='', user='admin',
                              at='2026-03-01T13:00:00.000000+00:00'),
                         self.get('/v1/status')['status']['paused'])

    def test_what_is_no_pause(self):
        for body in ({'pause': {}}, {'pause': {'paused': 'true'}}, {'pause': {'paused': None}},
                     {'pause': {'paused': True, 'until': 'tomorrow'}}, {'paused': True},
                     {'pause': {'paused': True, 'reason': 'r' * 1001}}):
            self.put('/v1/pause', body, status=400)
        self.assertFalse(self.store.paused().paused)

    def test_status(self):
        self.fill()
        status = self.get('/v1/status')['status']
        self.assertEqual('storage', status['fence'])
        self.assertEqual(dict(
            instances_at='2026-03-01T12:00:00.000000+00:00',
            nodes_at='2026-03-01T12:00:00.000000+00:00',
            written_at='2026-03-01T12:00:00.000000+00:00', problems=['cell2 is down'],
            unknown_hosts=['compute9']), status['snapshot'])
        self.assertEqual(dict(holder='controller:42', term=3, alive=True,
                              renewed_at='2026-03-01T12:00:00.000000+00:00'), status['engine'])

    def test_an_engine_that_says_nothing_for_half_a_minute_is_not_alive(self):
        self.fill()
        for seconds, alive in ((29, True), (30, False), (3600, False)):
            self.now = NOW + datetime.timedelta(seconds=seconds)
            self.assertEqual(alive, self.get('/v1/status')['status']['engine']['alive'])
