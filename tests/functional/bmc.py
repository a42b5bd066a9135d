"""BMCs that speak the real protocols, each a process on loopback: IPMI, Redfish, and Ironic."""

import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import urllib.request

import bcrypt

from tests.lab import common
from tests.lab import environment
from tests.lab import packages
from tests.lab import process

PACKAGES = {'openipmi': 'ipmi_sim', 'ipmitool': 'ipmitool', 'fence-agents': 'fence_redfish',
            'openssl': 'openssl'}
REQUIREMENTS = pathlib.Path(__file__).with_name('bmc-requirements.txt')
USER, PASSWORD = 'admin', 's3=cr;e%t'
_START = 60                             # seconds for a peer to listen


def ensure():
    """Install what the peers need; returns the folder of their Python environment."""
    progress = common.Progress()
    packages.ensure_packages(progress, PACKAGES)
    name = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    target = common.cache_dir() / f'bmc-{name}'
    with common.locked(target.with_suffix('.lock')):
        if not (target / 'complete').exists():
            log = target.with_suffix('.log')
            with progress.phase('peers with BMCs from the package index'):
                uv = environment.uv_program(log)
                common.run([uv, 'venv', '--clear', '--python', environment.interpreter(), target],
                           log, 120)
                common.run([uv, 'pip', 'install', '-r', REQUIREMENTS], log, 900,
                           dict(os.environ, VIRTUAL_ENV=str(target), UV_SYSTEM_CERTS='true'))
            (target / 'complete').touch()
    return target


class Peer:
    """A process with a folder and a port; ends with its whole group."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='vmha-bmc-'))
        self.port = _free_port()
        self._process = None

    def start(self, *command):
        """Start it; its output is in the file ``log``."""
        self._process = process.spawn(command, {
            'PATH': os.environ['PATH'] + ':/usr/sbin', 'HOME': str(self.folder),
            process.MARK: str(self.folder)}, self.folder / 'log')

    def stop(self):
        """End it, and whatever it has started."""
        if self._process is not None:
            process.kill(self._process, str(self.folder))
            self._process = None

    def remove(self):
        """Stop it and forget it."""
        self.stop()
        shutil.rmtree(self.folder)

    def wait(self, ready):
        """Wait until it answers; its log is in the error otherwise."""
        def answers():
            if not process.alive(self._process):
                raise common.LabError((self.folder / 'log').read_text(errors='replace')[-2000:])
            try:
                return ready()
            except (OSError, subprocess.SubprocessError):
                return False
        common.wait_until(f'{type(self).__name__} on port {self.port}', answers, _START)


class Ipmi(Peer):
    """A BMC that speaks RMCP+; its machine is the file ``power`` (1 or 0)."""

    def __init__(self):
        super().__init__()
        self.power(True)
        control = self.folder / 'control'
        control.write_text(_CONTROL)
        control.chmod(0o755)
        (self.folder / 'lan.conf').write_text(_LAN.format(
            port=self.port, control=control, user=USER, password=PASSWORD))
        (self.folder / 'commands').write_text(
            'mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n'
            'mc_enable 0x20\n')
        (self.folder / 'state').mkdir()
        self.start(shutil.which('ipmi_sim'), '-n', '-c', self.folder / 'lan.conf', '-f',
                   self.folder / 'commands', '-s', self.folder / 'state')
        tool = ['ipmitool', '-I', 'lanplus', '-H', '127.0.0.1', '-p', str(self.port), '-C', '3',
                '-N', '1', '-R', '1', '-U', USER, '-P', PASSWORD, 'chassis', 'power', 'status']
        self.wait(lambda: subprocess.run(tool, capture_output=True, timeout=20,
                                         check=False).returncode == 0)
        self.parameters = dict(
            agent='fence_ipmilan', ip='127.0.0.1', ipport=str(self.port), username=USER,
            password=PASSWORD, lanplus='1', cipher='3')

    def power(self, on):
        """Switch the machine, at the machine."""
        (self.folder / 'power').write_text('1\n' if on else '0\n')

    def on(self):
        """Whether the machine is on."""
        return (self.folder / 'power').read_text() == '1\n'

    def stick(self):
        """Orders are answered well from now on, and do nothing."""
        (self.folder / 'stuck').touch()


class Redfish(Peer):
    """A Redfish service over TLS, with one machine, which takes some seconds to be off."""

    def __init__(self, venv):
        super().__init__()
        key, certificate = self.folder / 'key', self.folder / 'certificate'
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj',
             '/CN=127.0.0.1', '-keyout', key, '-out', certificate], check=True, timeout=60,
            capture_output=True)
        _htpasswd(self.folder)
        (self.folder / 'settings').write_text(_REDFISH.format(folder=self.folder))
        self.power(True)
        self.start(venv / 'bin' / 'sushy-emulator', '--config', self.folder / 'settings', '--fake',
                   '--interface', '127.0.0.1', '--port', str(self.port), '--ssl-certificate',
                   certificate, '--ssl-key', key)
        self.wait(lambda: socket.create_connection(('127.0.0.1', self.port), 2).close() is None)
        self.parameters = dict(
            agent='fence_redfish', ip='127.0.0.1', ipport=str(self.port), username=USER,
            password=PASSWORD, ssl_insecure='1', systems_uri='/redfish/v1/Systems/machine')

    power, on, stick = Ipmi.power, Ipmi.on, Ipmi.stick


class Ironic(Peer):
    """API and conductor of a bare metal service in one process, with a machine of its own."""

    NODE = 'node1'

    def __init__(self, venv):
        super().__init__()
        for name in ('state', 'tftp', 'http'):
            (self.folder / name).mkdir()
        _htpasswd(self.folder)
        self.conf = self.folder / 'ironic.conf'
        self.conf.write_text(_IRONIC.format(folder=self.folder, port=self.port))
        common.run([venv / 'bin' / 'ironic-dbsync', '--config-file', self.conf, 'create_schema'],
                   self.folder / 'log', 120)
        self.start(venv / 'bin' / 'ironic', '--config-file', self.conf)
        self.url = f'http://127.0.0.1:{self.port}'
        self.wait(lambda: urllib.request.urlopen(self.url, timeout=5).status == 200)


def _free_port():
    """A port that is free for TCP and UDP, below those of outgoing connections."""
    for port in range(31001 + os.getpid() % 500, 32700):
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(('127.0.0.1', port))
            return port
        except OSError:
            continue
    raise common.LabError('no free port')


def _htpasswd(folder):
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / 'htpasswd').write_text(f'{USER}:{digest}\n')


_LAN = '''\
name "machine"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{control} 0x20"
  user 1 true "" "none" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
'''
_CONTROL = '''\
#!/bin/sh
here=$(dirname "$0"); action=$2; shift 2
if [ "$action" = get ]; then
    for name; do echo "$name:$([ "$name" = power ] && cat "$here/power" || echo 0)"; done
elif [ "$action" = set ]; then
    while [ $# -gt 1 ]; do
        [ "$1" = power ] && [ ! -e "$here/stuck" ] && echo "$2" >"$here/power"
        shift 2
    done
fi
true
'''
_REDFISH = '''\
import os
from sushy_tools.emulator.resources.systems import fakedriver

HERE = {folder!s:?}
SUSHY_EMULATOR_AUTH_FILE = HERE + '/htpasswd'
SUSHY_EMULATOR_STATE_DIR = HERE
SUSHY_EMULATOR_FAKE_SYSTEMS = [dict(uuid='machine', name='machine', power_state='On', nics=[])]


def _power(self, identity):
    return 'On' if open(HERE + '/power').read() == '1\\n' else 'Off'


def _set_power(self, identity, state):
    if not os.path.exists(HERE + '/stuck'):
        with open(HERE + '/power', 'w') as stream:
            stream.write('1\\n' if 'On' in state else '0\\n')


fakedriver.FakeDriver.get_power_state = _power
fakedriver.FakeDriver.set_power_state = _set_power
'''.replace('{folder!s:?}', "'{folder}'")
_IRONIC = '''\
[DEFAULT]
auth_strategy = http_basic
http_basic_auth_user_file = {folder}/htpasswd
rpc_transport = none
host = ironic
my_ip = 127.0.0.1
state_path = {folder}/state
tempdir = {folder}/state
use_stderr = true
enabled_hardware_types = fake-hardware
enabled_network_interfaces = noop
enabled_storage_interfaces = fake, noop
{fakes}
[api]
host_ip = 127.0.0.1
port = {port}
api_workers = 1
[conductor]
sync_power_state_interval = 3600
node_locked_retry_attempts = 1
[fake]
power_delay = 2
[database]
connection = sqlite:///{folder}/ironic.sqlite
[oslo_concurrency]
lock_path = {folder}/state
[pxe]
tftp_root = {folder}/tftp
[deploy]
http_root = {folder}/http
'''.replace('{fakes}', '\n'.join(f'enabled_{kind}_interfaces = fake' for kind in (
    'bios', 'boot', 'console', 'deploy', 'firmware', 'inspect', 'management', 'power', 'raid',
    'rescue', 'vendor')))
