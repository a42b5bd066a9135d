"""The least rights with real guests, disks and volumes; and no key of Ceph's in any log."""

from tests.lab import accounts
from tests.lab import ceph
from tests.storage import base
from tools import least_policy
from vmha_nova import ceph as adapter
from vmha_nova import exception

PASSWORD = 'HiddenAccount1'
IMAGE = '{}/nothing-of-this-name'

#: The caps of the user 'vmha', and what needs each of them: a function of ceph.Ceph.
NEEDED = {
    ('mon', 'allow r'): lambda found: found.map(),
    ('mon', 'allow command "sessions"'): lambda found: found.clients(),
    ('mon', 'allow command "osd blocklist"'): lambda found: found.remove_range('10.99.0.1/32'),
    ('mon', 'allow command "osd down"'): lambda found: found.mark_dead([99]),
    ('mgr', 'allow r'): lambda found: found.inactive(['vms'], found.map()),
    ('osd', 'profile rbd-read-only pool=vms'): lambda found: found.users_of([IMAGE.format('vms')]),
    ('osd', 'profile rbd-read-only pool=volumes'): lambda found: found.users_of([
        IMAGE.format('volumes')]),
    ('osd', 'profile rbd-read-only pool=images'): lambda found: found.unanswered(
        found.map().epoch, ['images'], 5.0),
}


class CapsTest(base.StorageTest):
    def test_each_cap_is_needed_and_named(self):
        self.assertEqual({(kind, cap) for kind, caps in zip(
            ('mon', 'mgr', 'osd'), ceph.USERS['vmha'], strict=True) for cap in caps.split(', ')},
            NEEDED.keys())
        self.vmha.stop_engine()
        self.addCleanup(self.caps)
        for (kind, cap), call in NEEDED.items():
            with self.subTest(kind=kind, cap=cap):
                self.caps()
                self.ask(call)
                self.caps(without=(kind, cap))
                with self.assertRaises(exception.VmhaError) as caught:
                    self.ask(call)
                named = cap.partition('=')[0]           # which pool, the rest of the line says
                self.assertIn(f"lacks the cap {kind} '{named}", str(caught.exception))

    def caps(self, without=(None, None)):
        """Give the user its caps again, or all but one."""
        given = []
        for kind, caps in zip(('mon', 'mgr', 'osd'), ceph.USERS['vmha'], strict=True):
            kept = [cap for cap in caps.split(', ') if (kind, cap) != without]
            given += [kind, ', '.join(kept)] if kept else []
        self.ceph.command('auth caps', entity='client.vmha', caps=given)

    def ask(self, call):
        """What it answers to a client that has just connected."""
        found = adapter.Ceph(str(self.ceph.conf_file), 'vmha',
                             keyring=str(self.ceph.keyring('vmha')), timeout=5.0)
        try:
            return call(found)
        finally:
            found.close()


@base.all_only
class RecoveryTest(base.StorageTest):
    """The account has the role 'vmha', which Nova, Placement and Cinder allow the least."""

    overrides = {'service_credentials.username': 'vmha-least',
                 'service_credentials.password': PASSWORD,
                 'DEFAULT.debug': 'true', 'DEFAULT.default_log_levels': ''}

    def setUp(self):
        lab = base.the_lab()
        accounts.keystone(lab.session(), lab.state, 'vmha-least', PASSWORD, 'vmha')
        for service in least_policy.NEEDED:
            path = accounts.policy_file(lab.state, service)
            lines = least_policy.policy(service, accounts.policies(lab.state, service))
            path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
            self.addCleanup(path.unlink)
        accounts.wait_in_force(lab, 'vmha-least', PASSWORD)
        self.logs = [lab.log / f'{name}.log' for name in ('vmha-engine', 'vmha-monitor')]
        self.begun = {path: path.stat().st_size for path in self.logs if path.exists()}
        super().setUp()

    def test_an_image_a_volume_and_a_port(self):
        guests = (*self.boot('rbd', port=True), *self.boot('volume'))
        self.wait_recorded(*guests)
        self.vmha.start_monitor()
        self.lab.kill_host(self.SOURCE)
        self.report()
        self.wait_over()
        self.assertEqual('recovered', self.recovery().state, self.state())
        for ident in guests:
            self.assertGoesOn(ident)
        self.vmha.stop_monitor()
        for path in self.logs:
            with path.open('rb') as stream:
                stream.seek(self.begun.get(path, 0))
                text = stream.read()
            self.assertIn(b'DEBUG', text)
            for secret in (self.ceph.key('vmha'), PASSWORD):
                self.assertNotIn(secret.encode(), text, path.name)
