"""A node on which DevStack runs the plugin, in a folder of its own, without DevStack.

What the plugin uses of DevStack and of the system is in tests/unit/devstack: functions and
programs that say what they were asked for.
"""

import configparser
import os
import pathlib
import shlex
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
STUBS = pathlib.Path(__file__).with_name('devstack')
PROGRAMS = (
    'a2dissite', 'blkid', 'ceph', 'ceph-authtool', 'ceph-mon', 'ceph-osd', 'chown', 'dd',
    'hostname', 'install', 'monmaptool', 'mysql', 'openstack', 'oslo-config-generator',
    'rabbitmqctl', 'systemctl', 'uuidgen', 'uwsgi', 'virsh', 'vmha-manage', 'wipefs')
STACK = ('stack pre-install', 'stack install', 'stack post-config', 'stack extra',
         'stack test-config')
CONTROLLER = 'mysql,rabbit,key,placement-api,g-api,c-api,c-vol,n-api,n-cond,n-sch,n-cpu'
SUBNODE = 'n-cpu,placement-client'


class Node:
    """A node that is stacked by a local.conf.

    :ivar calls: what the last run asked for: lists of words, from the first phase to the last
    :param folder: an empty one
    :param cluster: the folder of the Ceph that it shares with other nodes
    :param settings: what local.conf says
    """

    def __init__(self, folder, cluster=None, services=CONTROLLER, name='node1', **settings):
        self.folder = pathlib.Path(folder)
        self.settings = settings
        (self.folder / 'bin').mkdir(parents=True)
        (self.folder / 'nova.conf').write_text('[DEFAULT]\nmy_ip = 10.0.0.1\n')
        for program in PROGRAMS:
            (self.folder / 'bin' / program).symlink_to(STUBS / 'program')
        self.environment = {
            'PATH': f'{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8',
            'SANDBOX': str(self.folder), 'DEVSTACK': str(ROOT / 'devstack'),
            'CLUSTER': str(cluster or self.folder / 'cluster'), 'HOSTNAME': name,
            'ENABLED_SERVICES': services, 'VIRT_DRIVER': 'libvirt', 'STACK_USER': 'stack',
            'DATA_DIR': f'{self.folder}/data', 'SYSTEMD_DIR': f'{self.folder}/systemd',
            'VMHA_CONF_DIR': f'{self.folder}/etc/vmha',
            'VMHA_CEPH_ETC_DIR': f'{self.folder}/etc/ceph',
            'VMHA_CEPH_LIB_DIR': f'{self.folder}/lib/ceph', '_VMHA_CEPH_WAIT': '1',
            'NOVA_CONF': f'{self.folder}/nova.conf',
            'GLANCE_API_CONF': f'{self.folder}/glance-api.conf', 'REGION_NAME': 'RegionOne',
            'SERVICE_PROTOCOL': 'http', 'SERVICE_HOST': '10.0.0.1', 'HOST_IP': '10.0.0.1',
            'SERVICE_PASSWORD': 'service-password', 'SERVICE_DOMAIN_NAME': 'Default',
            'DATABASE_PASSWORD': 'database-password', 'ENABLE_DEBUG_LOG_LEVEL': 'True',
            'SERVICE_TIMEOUT': '60', 'INSTANCE_NAME_PREFIX': 'instance-',
            'OS_USERNAME': 'demo'}          # openrc's

    def run(self, script, *phases, **more):
        """One run of stack.sh, unstack.sh or clean.sh; raises if it ends early.

        :raises subprocess.CalledProcessError: stderr says why
        """
        log = self.folder / 'calls'
        log.unlink(missing_ok=True)
        environment = {**self.environment, **self.settings, **more}
        try:
            subprocess.run([STUBS / 'run', script, *phases], env=environment, check=True,
                           capture_output=True, text=True, timeout=120)
        finally:
            text = log.read_text().replace(str(self.folder), '') if log.exists() else ''
            log.unlink(missing_ok=True)
            self.calls = [shlex.split(line) for line in text.splitlines()]

    def stack(self, **more):
        """stack.sh."""
        self.run('stack.sh', *STACK, **more)

    def unstack(self, **more):
        """unstack.sh."""
        self.run('unstack.sh', 'unstack', **more)

    def clean(self):
        """clean.sh, behind the unstack.sh that it runs."""
        self.run('clean.sh', 'clean')

    def asked(self, *beginning):
        """The calls that begin so, without that beginning."""
        length = len(beginning)
        return [call[length:] for call in self.calls if call[:length] == [*beginning]]

    def place(self, *beginning):
        """Which of the calls is the first that begins so."""
        return next(at for at, call in enumerate(self.calls)
                    if call[:len(beginning)] == [*beginning])

    def ini(self, name):
        """A file that was written: ``{section: {option: value}}``, the node's folder as ''."""
        parser = configparser.ConfigParser(interpolation=None, delimiters='=', default_section='')
        parser.optionxform = str
        text = (self.folder / name).read_text()
        parser.read_string(text.replace(str(self.folder), ''))
        return {section: dict(parser[section]) for section in parser.sections()}

    def files(self):
        """What is there: ``{path: content, or None for a folder}``; '->' for what is a link."""
        found = {}
        for path in sorted(self.folder.rglob('*')):
            name = str(path.relative_to(self.folder))
            if name.startswith(('bin/', 'cluster')):
                continue
            found[name] = (f'-> {os.readlink(path)}' if path.is_symlink()
                           else path.read_text() if path.is_file() else None)
        return found
