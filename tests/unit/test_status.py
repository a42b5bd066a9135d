"""The command vmha-status, against a Nova on loopback and a Ceph made up for it."""

import contextlib
import errno
import io
import json
import os
import pathlib
import socket
import sqlite3
import tempfile
import types

import testtools

from tests.unit import clock as clocks
from tests.unit import fake_nova
from tests.unit import fake_rados
from vmha_nova.ceph import wire
from vmha_nova.cmd import status
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova.nova import records

HOSTS = ('compute1', 'compute2', 'compute3', 'spare1')
IPS = {h: f'10.0.0.{n}' for n, h in enumerate(HOSTS, 11)}
OWN = ('allow r, allow command "sessions", allow command "osd blocklist", '
       'allow command "osd down"')
NOVA_CONF = '[DEFAULT]\nresume_guests_state_on_host_boot = false\n'
CONF = '''
[DEFAULT]
transport_url = {bus}
[database]
connection = {database}
[service_credentials]
auth_type = password
auth_url = {keystone}
username = vmha
password = x
project_name = service
user_domain_id = default
project_domain_id = default
interface = public
[fence]
driver = {fence}
[ceph]
timeout = 1
hosts_backend = rbd:vms
[detection]
heartbeat_silence = {silence}
'''


class Base(testtools.TestCase):
    """An installation in which nothing is wrong."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.database = self.folder / 'vmha.sqlite'
        self.make_cloud()
        self.make_ceph()
        self.settings = dict(bus='fake://', database=f'sqlite:///{self.database}',
                             keystone=f'{self.nova.url}/identity/v3', fence='storage',
                             silence=25)
        db = store.Store(clocks.Clock(fake_nova.START), connection=self.settings['database'])
        db.upgrade()
        db.set_mark('spare1', spare=True)
        self.write('nova.conf', NOVA_CONF)

    def make_cloud(self):
        self.nova = fake_nova.FakeNova().start()
        self.addCleanup(self.nova.stop)
        for host, ip in IPS.items():
            self.nova.add_host(host)
            self.nova.hypervisors[host]['host_ip'] = ip
        self.others = [{'binary': 'nova-conductor', 'host': 'control1'}]
        self.nova.handlers['GET', '/v2.1/os-services'] = lambda call: (200, {
            'services': [*self.nova.services.values(),
                         *([] if call.query.get('binary') else self.others)]})

    def make_ceph(self):
        self.fake = fake = fake_rados.FakeCluster()
        self.addCleanup(fake.released.set)
        self.patch(wire, 'GRACE', 0.2)
        self.patch(wire, '_PARTING', 0.1)
        self.patch(wire, 'binding', lambda name: getattr(fake, name))
        self.patch(status, 'AGAIN', 0.0)
        self.patch(status, 'READY', 0.3)
        fake.pools = {'vms': 3, 'volumes': 4, 'images': 5}
        fake.osds = [fake_rados.osd(n, ip) for n, ip in enumerate(IPS.values())]
        self.dump = {**fake.answer('osd dump', None, {}), 'flags': 'sortbitwise',
                     'require_min_compat_client': 'octopus'}
        for pool in self.dump['pools']:
            pool['crush_rule'] = 0
        self.config = [{'section': 'client', 'name': 'rbd_read_from_replica_policy',
                        'value': 'localize'}]
        fake.replies = {
            'osd dump': self.dump, 'config dump': self.config,
            'osd crush dump': {
                'types': [{'type_id': 0, 'name': 'osd'}, {'type_id': 1, 'name': 'host'}],
                'rules': [{'rule_id': 0, 'steps': [
                    {'op': 'chooseleaf_firstn', 'num': 0, 'type': 'host'}]}]},
            'mon dump': {'quorum': [0, 1, 2], 'mons': [
                {'rank': n, 'name': name, 'public_addrs': {'addrvec': [
                    {'addr': f'10.0.1.{n}:3300', 'nonce': 0}]}}
                for n, name in enumerate('abc')]},
            'osd df': {'nodes': [{'id': n, 'kb': 1000, 'kb_used': 100} for n in range(4)]}}
        self.connect('10.0.0.1:0/1', 'client.vmha', OWN)    # as fake_rados says of us

    def connect(self, client, user='client.nova', caps='profile rbd'):
        self.fake.monitors['a'].append(fake_rados.session(client, user, caps=caps))

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding='utf-8')
        return str(path)

    def run_it(self, *words):
        """(exit status, stdout, stderr) of the command."""
        conf = self.write('vmha.conf', CONF.format(**self.settings))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = status.main(['--config-file', conf, *words])
            except SystemExit as e:
                code = e.code
        self.assertNotIn('Traceback', out.getvalue() + err.getvalue())
        return code, out.getvalue(), err.getvalue()

    def preflight(self, *words):
        """(exit status, findings)."""
        code, out, err = self.run_it(
            'preflight', '--format', 'json', '--nova-conf', str(self.folder / 'nova.conf'), *words)
        self.assertEqual('', err)
        return code, json.loads(out)

    def assertFound(self, level, *starts, words=()):
        """Findings that begin so, of that level, and no others; words of the one that there is."""
        code, found = self.preflight()
        self.assertEqual(sorted(starts), sorted(
            next((s for s in starts if f['what'].startswith(s)), f['what']) for f in found), found)
        self.assertEqual({level}, {f['level'] for f in found})
        self.assertEqual({'error': 2, 'warning': 1}[level], code)
        for word in words:
            self.assertIn(word, found[0]['what'])


class OutputTest(Base):
    def test_nothing_to_say(self):
        self.assertEqual((0, []), self.preflight())
        self.assertEqual((0, 'nothing found that stands in the way\n', ''), self.run_it(
            'preflight', '--nova-conf', str(self.folder / 'nova.conf')))

    def test_a_note_is_no_reason_to_fail(self):
        code, out, _ = self.run_it('preflight')
        self.assertEqual(0, code)
        self.assertTrue(out.startswith('NOTE: resume_guests_state'), out)
        self.assertTrue(out.endswith('\n1 note\n'), out)

    def test_text(self):
        self.dump['flags'] = 'noout,nodown'
        code, out, err = self.run_it('preflight')
        self.assertEqual((2, ''), (code, err))
        self.assertEqual(
            'ERROR: the cluster has the flag nodown\n'
            '    why: OSDs that died are not noticed: guests on all hosts hang\n'
            '    do:  ceph osd unset nodown\n'
            'WARNING: the cluster has the flag noout\n', out[:out.index('    why: the copies')])
        self.assertTrue(out.endswith('\n1 error, 1 warning, 1 note\n'), out)
        self.assertFalse([line for line in out.splitlines()[1:] if len(line) > 99])

    def test_json(self):
        self.dump['flags'] = 'noout'
        self.assertEqual((1, [{
            'level': 'warning', 'what': 'the cluster has the flag noout',
            'why': 'the copies that die with a host are not made anew',
            'todo': 'ceph osd unset noout'}]), self.preflight())

    def test_help_tells_the_exit_statuses(self):
        for words in (['--help'], ['preflight', '--help'], ['upgrade', 'check', '--help']):
            code, out, _ = self.run_it(*words)
            self.assertEqual(0, code)
            self.assertIn(status.EXITS, ' '.join(out.split()))

    def test_it_says_what_it_does_on_a_terminal(self):
        said = []
        self.assertEqual(0, len(status.Gathering(
            status.opts.load([], ''), said.append).facts().nova_confs))
        self.assertIn('message bus …', said)

    def test_the_check_itself_fails(self):
        for words in (['preflight', '--colour'], [], ['upgrade']):
            code, out, err = self.run_it(*words)
            self.assertEqual((255, ''), (code, out))
            self.assertIn('usage: vmha-status', err)
        code, _, err = self.run_it('--config-file', '/nowhere/vmha.conf', 'preflight')
        self.assertEqual(255, code)
        self.assertIn('/nowhere/vmha.conf', err)

    def test_what_nobody_thought_of(self):
        for error in (AssertionError('so it is'), KeyboardInterrupt(), exception.VmhaError('x')):
            def fail(facts, error=error):
                raise error
            self.patch(status.preflight, 'findings', fail)
            code, out, err = self.run_it('preflight')
            self.assertEqual((255, ''), (code, out))
            self.assertEqual(1, len(err.splitlines()))

    def test_nothing_is_changed(self):
        self.nova.add_server('compute1', **{'os-extended-volumes:volumes_attached': [{'id': 'v'}]})
        before = self.content()
        self.preflight()
        self.assertEqual(before, self.content())
        self.assertEqual(set(), {c.method for c in self.nova.calls} - {'GET'})
        self.assertEqual(set(), {what for what, _ in self.fake.log} & {
            'osd blocklist', 'osd down', 'config set'})


    def content(self):
        """What the database holds, and what else is in its folder but SQLite's own files."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return list(database.iterdump()), {
                name for name in os.listdir(self.folder)
                if name != 'vmha.conf' and not name.startswith('vmha.sqlite-')}


class UnreachableTest(Base):
    """One part that is away is one finding; of the others everything is told."""

    def setUp(self):
        super().setUp()
        self.noout = 'the cluster has the flag noout'
        self.spare = 'no node is a spare'

    def assertOnly(self, start, *others, words=()):
        self.dump['flags'] = 'noout'
        code, found = self.preflight()
        self.assertEqual(2, code)
        errors = [f for f in found if f['level'] == 'error']
        self.assertEqual(1, len(errors), errors)
        self.assertTrue(errors[0]['what'].startswith(start), errors)
        for word in words:
            self.assertIn(word, errors[0]['what'])
        self.assertEqual(sorted(others), sorted(
            f['what'] for f in found if f['level'] != 'error'))

    def test_no_database(self):
        self.database.unlink()
        self.assertOnly('database: there is no /', self.noout, words=['vmha-manage db sync'])
        self.assertFalse(self.database.exists())

    def test_a_database_without_tables_or_of_another_version(self):
        with contextlib.closing(sqlite3.connect(self.database)) as db, db:
            db.execute('UPDATE alembic_version SET version_num = "0001x"')
        self.assertOnly('database: it is at version 0001x, ', self.noout, words=['db sync'])
        self.database.unlink()
        self.database.touch()
        self.assertOnly('database: it is at version none, ', self.noout)

    def test_a_database_that_does_not_answer(self):
        for url in ('mysql+pymysql://a:b@127.0.0.1:1/vmha', 'nonsense'):
            self.settings['database'] = url
            self.assertOnly('database: ', self.noout)

    def test_a_database_that_takes_the_connection_and_says_nothing(self):
        silent = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(silent.close)
        self.patch(status, 'PATIENCE', 0.5)
        self.settings['database'] = (
            f'mysql+pymysql://a:b@127.0.0.1:{silent.getsockname()[1]}/vmha')
        self.assertOnly('database: no answer within 0.5 s', self.noout)
        self.assertEqual((255, '', 'vmha-status: no answer within 0.5 s\n'),
                         self.run_it('upgrade', 'check'))

    def test_no_message_bus(self):
        for url, words in (('rabbit://a:b@127.0.0.1:1/', 'Connection refused'),
                           ('rabbit://', 'set [DEFAULT] transport_url'), ('nonsense', '')):
            self.settings['bus'] = url
            self.assertOnly('message bus: ', self.noout, words=[words])

    def test_no_keystone(self):
        self.settings['keystone'] = 'http://127.0.0.1:1/v3'
        self.assertOnly('Nova and Placement: ', self.noout, words=['127.0.0.1:1'])

    def test_no_placement(self):
        self.nova.fail('GET', '/placement', status=503, times=99)
        self.assertOnly('Nova and Placement: Placement: ', self.noout)

    def test_no_cinder(self):
        self.nova.add_server('compute1', 'a', **{
            'os-extended-volumes:volumes_attached': [{'id': 'v'}]})
        self.assertOnly(
            'Cinder: ', self.noout, 'no storage client is on record of compute1',
            '1 instance would wait: where its disks are was not read since it was last started or '
            'changed (a)', words=['block-storage'])

    def test_no_ceph(self):
        store.Store(clocks.Clock(fake_nova.START), connection=self.settings['database']).set_mark(
            'spare1', spare=False)
        self.fake.hanging.add('connect')
        self.assertOnly('Ceph: osd tree: no answer in time', self.spare)
        self.fake.hanging.clear()
        self.fake.codes['connect'] = errno.EACCES
        self.assertOnly('Ceph: ', self.spare, words=['refuse the key of client.vmha'])

    def test_one_answer_of_ceph(self):
        for prefix in ('osd crush dump', 'mon dump', 'config dump', 'osd df'):
            self.fake.codes = {prefix: errno.EACCES}
            self.assertOnly(f'Ceph: {prefix}: ', self.noout,
                            words=[f'allow command "{prefix}"'])
        self.fake.codes = {}
        self.fake.replies['osd df'] = None
        self.assertOnly('Ceph: osd df: TypeError', self.noout)

    def test_sessions_may_not_be_read(self):
        self.fake.codes['sessions b'] = errno.EACCES
        self.assertOnly('Ceph: clients: ', self.noout, words=['allow command "sessions"'])

    def test_a_control_service_without_an_address(self):
        self.nova.handlers['GET', '/v2.1/os-services'] = lambda call: (
            200, {'services': [*self.nova.services.values()]}) if (
            call.query.get('binary')) else (403, {})
        self.assertOnly('control services: ', self.noout, words=['403'])

    def test_a_configuration_with_which_the_engine_does_not_start(self):
        self.settings['silence'] = 3
        self.assertOnly('configuration: ', self.noout, words=['heartbeat_silence'])

    def test_a_file_that_cannot_be_read(self):
        for words in (['--nova-conf', '/nowhere'],
                      ['--ceph-conf', self.write('bad', 'no section\n')]):
            code, found = self.preflight(*words)
            self.assertEqual((2, 1), (code, len(found)), found)
            self.assertTrue(found[0]['what'].startswith(words[1]), found)


class FindingTest(Base):
    """What is found out here, not in vmha_nova.preflight."""

    def setUp(self):
        super().setUp()
        self.server = self.nova.add_server('compute1', 'a')
        self.image = f'vms/{self.server}_disk'
        self.fake.images[self.image] = ([], [])
        # It has two more disks, of which nothing is known, and nobody has read the storage.
        self.usual = [f['what'] for f in self.preflight()[1]]

    def found(self):
        return [f for f in self.preflight()[1] if f['what'] not in self.usual]

    def sleeping(self, sleep):
        """This happens instead of waiting until it looks again."""
        self.patch(status, 'time', types.SimpleNamespace(sleep=sleep))

    def test_a_lock_of_a_client_that_is_no_more(self):
        self.fake.images[self.image] = ([], ['10.0.0.11:0/7'])
        self.assertEqual(
            [f'1 image locked by clients that are no more: {self.image}'],
            [f['what'] for f in self.found()])
        self.connect('10.0.0.11:0/7')
        self.assertEqual([], self.found())

    def test_a_lock_of_a_client_that_comes_back_at_once(self):
        """Its monitor has died, and it is at another one now."""
        self.fake.images[self.image] = ([], ['10.0.0.11:0/7'])
        self.sleeping(lambda seconds: self.connect('10.0.0.11:0/7'))
        self.assertEqual([], self.found())

    def test_a_client_that_comes_while_images_are_opened(self):
        touch = self.fake.touch

        def come(what, args=None):
            if what == 'open' and not self.fake.images[self.image][0]:
                self.fake.images[self.image] = (['10.0.0.11:0/7'], [])
                self.connect('10.0.0.11:0/7')
            touch(what, args)
        self.fake.touch = come
        self.sleeping(lambda seconds: self.fail('it was taken for stale'))
        self.assertEqual([], self.found())

    def test_caps_of_those_that_use_disks_and_of_no_others(self):
        self.fake.images[self.image] = (['10.0.0.11:0/7'], [])
        self.connect('10.0.0.11:0/7', 'client.qemu', 'allow r')
        self.connect('10.0.0.12:0/8', 'client.crash', 'profile crash')
        self.assertEqual(['client.qemu may not blocklist (monitor caps: allow r)'],
                         [f['what'] for f in self.found()])

    def test_caps_of_our_own(self):
        self.fake.monitors['a'][0]['caps']['text'] = 'allow r, allow command "sessions"'
        self.assertEqual(['client.vmha may not blocklist', 'client.vmha may not mark OSDs down'],
                         [f['what'].partition(' (')[0] for f in self.found()])

    def test_placement_groups_that_do_not_answer(self):
        self.fake.silent.add(('vms', 3))
        self.assertEqual(['Ceph: placement groups: pool vms: 1 do not answer'],
                         [f['what'] for f in self.found()])
        before = self.fake.asked('open')
        self.preflight()
        self.assertEqual(before, self.fake.asked('open'), 'it would hang')

    def test_control_services(self):
        self.others.append({'binary': 'nova-scheduler', 'host': 'compute2'})
        self.nova.hypervisors['compute3']['host_ip'] = '127.0.0.9'
        self.assertEqual(['compute2 also carries a control service: nova-scheduler'],
                         [f['what'] for f in self.found()])

    def test_this_machine(self):
        self.patch(status, '_is_here', lambda ip: ip == IPS['compute2'])
        self.assertEqual(['this machine is the compute node compute2'],
                         [f['what'] for f in self.found()])

    def test_a_bus_on_a_host(self):
        self.settings['bus'] = f'fake://{IPS["compute2"]}'
        self.settings['fence'] = 'none\nunsafe_without_fence = true'
        self.assertEqual(['no fence is configured ([fence] driver = none)',
                          'compute2 also carries a control service: the message bus'],
                         [f['what'] for f in self.found()])

    def test_no_fence_and_not_the_word_for_it(self):
        self.settings['fence'] = 'none'
        self.assertIn('configuration: [fence] driver = none proves nothing',
                      self.found()[0]['what'])

    def test_a_disk_elsewhere_than_said(self):
        db = store.Store(clocks.Clock(fake_nova.START), connection=self.settings['database'])
        term = db.take_lead('x')
        stamp = records._stamp({'updated': fake_nova.stamp(self.nova.clock())},
                               ('', '.eph0', '.swap'), ())
        db.save_disks(term, [status.model.DiskRecord(
            self.server, 'compute1', stamp, {}, 'local', 'its disk is not there', [], [],
            fake_nova.START)])
        db.set_mark('compute1', backend='rbd:vms')
        self.assertIn('compute1 is said to keep disks in rbd:vms, and disks of instances there '
                      'are in local', [f['what'] for f in self.found()])

    def test_addresses_of_this_machine(self):
        self.assertTrue(status._is_here('127.0.0.1'))
        self.assertFalse(status._is_here('192.0.2.1'))
        self.assertFalse(status._is_here('no address'))
        self.assertIn('127.0.0.1', status._addresses('localhost'))
        self.assertEqual(set(), status._addresses('no.such.name.invalid'))

    def test_files_of_nodes(self):
        nova = self.write('n', '[DEFAULT]\nmy_ip=1\n  resume_guests_state_on_host_boot = True\n'
                          '[libvirt]\nx = a\n b\n')
        ceph = self.write('c', '; ours\n[client]\n\trbd read from replica policy = localize ; so\n'
                          '\t\tcrush location = host=compute1\n[client.nova]\nkeyring = k\n')
        self.assertEqual([f'{nova}: resume_guests_state_on_host_boot is true'], [
            f['what'] for f in self.preflight('--nova-conf', nova)[1]
            if f['what'] not in self.usual])
        self.config.clear()
        self.assertEqual(1, len(self.found()))
        found = self.preflight('--ceph-conf', ceph)[1]
        self.assertEqual([], [f for f in found if f['what'] not in self.usual])


class UpgradeTest(Base):
    def test_good(self):
        newest = store.Store(None, connection=self.settings['database']).newest_version()
        self.assertEqual((0, f'database: {newest}, this version wants {newest}\n', ''),
                         self.run_it('upgrade', 'check'))
        code, out, _ = self.run_it('upgrade', 'check', '--format', 'json')
        self.assertEqual((0, True), (code, json.loads(out)['good']))

    def test_old(self):
        with contextlib.closing(sqlite3.connect(self.database)) as db, db:
            db.execute('UPDATE alembic_version SET version_num = "0000"')
        code, out, _ = self.run_it('upgrade', 'check')
        self.assertEqual(2, code)
        self.assertIn('database: 0000, this version wants', out)
        code, out, _ = self.run_it('upgrade', 'check', '--format', 'json')
        self.assertEqual((2, False), (code, json.loads(out)['good']))

    def test_no_tables(self):
        self.database.unlink()
        self.database.touch()
        code, out, _ = self.run_it('upgrade', 'check')
        self.assertEqual(2, code)
        self.assertIn('database: no tables', out)

    def test_no_database(self):
        self.database.unlink()
        code, _, err = self.run_it('upgrade', 'check')
        self.assertEqual(255, code)
        self.assertIn('vmha-status: there is no /', err)
        self.assertFalse(self.database.exists())
