"""Open vSwitch on a compute host that is a box, with Neutron's agent for it.

The switch works in user space: the machine's kernel need not have it. Networks are local ones,
because the guests have nothing to say to each other: what is real is that each port is bound to
its host, wired there by the agent, and reported.
"""

import subprocess

from tests.lab.common import run

#: Where the database of a host's switch listens, as seen in its box.
_SOCKET = '/run/openvswitch/db.sock'
_SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
_LOGGING = ('-vconsole:warn', '-vsyslog:off', '-vfile:off')
_SECONDS = 30

#: Of Neutron's privileged helpers, those that the agent uses.
_HELPERS = ('privsep', 'privsep_ovs_vsctl', 'privsep_namespace', 'privsep_link',
            'privsep_conntrack')


def write_files(own, log):
    """Make the switch's database below ``own``, the host's folder."""
    database = _database(own)
    database.parent.mkdir(parents=True, exist_ok=True)
    run(['/usr/bin/ovsdb-tool', 'create', database, _SCHEMA], log, _SECONDS)


def database_command(own):
    """How the switch's database is started."""
    return ['/usr/sbin/ovsdb-server', _database(own), f'--remote=punix:{_SOCKET}', '--pidfile',
            *_LOGGING]


def switch_command():
    """How the switch is started."""
    return ['/usr/sbin/ovs-vswitchd', f'unix:{_SOCKET}', '--pidfile', *_LOGGING]


def database_answers(box):
    """Whether the database serves; an empty one is made ready for the switch."""
    return _succeeds(box, 'ovs-vsctl', '--timeout=5', '--no-wait', 'init')


def switch_answers(box):
    """Whether the switch works."""
    return _succeeds(box, 'ovs-appctl', '--timeout=5', 'version')


def bridge_ports(box):
    """Names of the interfaces that are plugged into the bridge of the guests."""
    done = subprocess.run(box.command(['ovs-vsctl', '--timeout=5', 'list-ports', 'br-int']),
                          capture_output=True, text=True, timeout=_SECONDS, check=True)
    return done.stdout.split()


def agent_sections(host, own, helper):
    """What Neutron's agent on a host is told: ``{section: {option: value}}``.

    :param helper: command that starts a privileged helper; there is no sudo in it
    """
    return {
        'DEFAULT': {'host': host, 'state_path': own / 'neutron'},
        'ovs': {'datapath_type': 'netdev', 'ovsdb_connection': f'unix:{_SOCKET}'},
        'agent': {'report_interval': 2, 'root_helper': '', 'polling_interval': 1},
        'securitygroup': {'enable_security_group': False, 'firewall_driver': 'noop'},
        'oslo_concurrency': {'lock_path': own / 'neutron' / 'lock'},
        **{name: {'helper_command': helper} for name in _HELPERS},
    }


def nova_sections():
    """What nova-compute is told besides."""
    return {'DEFAULT': {'vif_plugging_is_fatal': True, 'vif_plugging_timeout': 60},
            'os_vif_ovs': {'ovsdb_connection': f'unix:{_SOCKET}'}}


def _database(own):
    return own / 'openvswitch' / 'conf.db'


def _succeeds(box, *words):
    try:
        subprocess.run(box.command(words), capture_output=True, timeout=_SECONDS, check=True)
    except subprocess.SubprocessError:
        return False
    return True
