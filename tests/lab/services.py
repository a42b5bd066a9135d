"""The services of a lab: how each is started, and how one sees that it is ready.

A service's name is also the name of its log. A compute host's nova-compute has the host's name;
what else runs on a host has that name in front, as in ``compute1-libvirtd``.
"""

import dataclasses
import getpass
import pathlib
import urllib.error
import urllib.request

from tests.lab.common import LabError
from tests.lab.conf import write
from tests.lab import hosts
from tests.lab import libvirt
from tests.lab import openvswitch
from tests.lab.packages import PACKAGES
from tests.lab.packages import program
from tests.lab.ports import answers
from tests.lab import process
from tests.lab.state import PASSWORD
from tests.lab import tls

#: Code of the lab that runs inside the services.
_INSIDE = pathlib.Path(__file__).with_name('inside')

#: What the OpenStack services build on.
INFRASTRUCTURE = ('epmd', 'rabbitmq', 'memcached', 'mariadb')

#: Services that only report to Nova: they have no port to look at.
RPC_SERVICES = ('nova-conductor', 'nova-scheduler')

#: Those of Cinder, which a lab with Ceph has; its API is ``cinder``.
VOLUME_SERVICES = ('cinder-scheduler', 'cinder-volume')

#: What Neutron's agents speak to, in a lab that has them.
NETWORK_SERVICE = 'neutron-rpc-server'

#: HAProxy with TLS in front of the others, if somebody starts it.
TLS = 'tls'

#: All services but the compute hosts.
NAMES = (*INFRASTRUCTURE, TLS, 'keystone', 'placement', 'glance', 'neutron', 'nova-api',
         *RPC_SERVICES, 'cinder', *VOLUME_SERVICES, NETWORK_SERVICE)

#: MariaDB's socket, seen from its data folder.
MARIADB_SOCKET = 'mariadb.sock'

#: Workers and threads, when ``up`` is not told otherwise.
SETTINGS = {'conductor_workers': 1, 'api_processes': 2, 'api_threads': 8}


@dataclasses.dataclass(frozen=True)
class Service:
    """How to start one service.

    :ivar env: environment besides the common one
    :ivar ready: function without arguments; true once it serves, None when only Nova can tell
    :ivar stop_seconds: how long it may take to end after a SIGTERM
    :ivar box: the Box that it runs in, if any
    """

    name: str
    command: list
    env: dict
    ready: object = None
    stop_seconds: float = 10
    box: object = None


def describe(state, name):
    """The Service with this name: one of `NAMES`, or of a compute host.

    :raises LabError: there is no such service
    """
    host, _, part = name.partition('-')
    if name in state.hosts:
        return _compute(state, name)
    if host in state.hosts and part in _DAEMONS:
        return _DAEMONS[part](state, host)
    if name in RPC_SERVICES:
        return _rpc(state, name, 'nova/nova.conf', 'nova/controller.conf')
    if name in VOLUME_SERVICES:
        return _rpc(state, name, 'cinder/cinder.conf')
    if name == NETWORK_SERVICE:
        return _rpc(state, name, 'neutron/neutron.conf')
    if name not in _BUILDERS:
        raise LabError(f'no service {name}; there are {", ".join((*NAMES, *state.hosts))}')
    return _BUILDERS[name](state)


def environment(state, extra=None):
    """The whole environment of a service: little, so that the caller's shell changes nothing."""
    return {'PATH': f'{state.venv / "bin"}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
            'HOME': str(state.folder / 'home'), 'LANG': 'C.UTF-8',
            process.MARK: state.mark, **(extra or {})}


def write_conf(state):
    """Write the configuration of those that are not OpenStack, and make their folders."""
    for folder in (state.data / 'rabbitmq', state.conf, state.log, state.folder / 'home'):
        folder.mkdir(parents=True, exist_ok=True)
    tls.make(state)
    (state.conf / 'enabled_plugins').write_text('[].\n', encoding='ascii')
    (state.conf / 'rabbitmq.conf').write_text(
        f'listeners.tcp.1 = {state.bind}:{state.ports["rabbitmq"]}\n'
        f'listeners.ssl.1 = {state.bind}:{state.ports["rabbitmq_tls"]}\n'
        f'ssl_options.cacertfile = {tls.folder(state) / tls.CA}\n'
        f'ssl_options.certfile = {tls.folder(state) / tls.SERVER}\n'
        f'ssl_options.keyfile = {tls.folder(state) / tls.SERVER_KEY}\n'
        'vm_memory_high_watermark.absolute = 1GB\n'
        'default_user = openstack\n'
        f'default_pass = {PASSWORD}\n'
        'loopback_users = none\n', encoding='ascii')
    write_mariadb_conf(state.conf / 'mariadb.cnf', state.data / 'mariadb', state.bind,
                       state.ports['mariadb'], {
                           f'ssl-{name}': tls.folder(state) / file for name, file in (
                               ('ca', tls.CA), ('cert', tls.SERVER), ('key', tls.SERVER_KEY))})


def write_mariadb_conf(path, data, bind, port, more=None):
    """Write the configuration of a MariaDB that trades durability for speed.

    What was committed survives a SIGKILL of it all the same; the end of the machine it does not.

    :param more: further options, ``{name: value}``
    """
    write(path, {'mysqld': {**(more or {}),
        'user': getpass.getuser(), 'datadir': data, 'bind-address': bind, 'port': port,
        # Below the data folder, where it is found by a relative, short path: a socket's path
        # may have no more than 107 characters.
        'socket': MARIADB_SOCKET, 'pid-file': 'mariadb.pid',
        'skip-name-resolve': 1, 'max_connections': 1000,
        'innodb_buffer_pool_size': '256M', 'innodb_log_file_size': '32M',
        'innodb_flush_log_at_trx_commit': 2, 'innodb_doublewrite': 0,
        'character-set-server': 'utf8mb4', 'collation-server': 'utf8mb4_general_ci'}})


def _epmd(state):
    # Erlang would start one by itself, but as a daemon that nobody could stop by its record.
    return Service('epmd', [program('epmd'), '-address', state.bind, '-port', state.ports['epmd']],
                   {}, lambda: answers(state.bind, state.ports['epmd']))


def _rabbitmq(state):
    interface = state.bind.replace('.', ',')
    env = {
        # A node named by address needs no resolver, whatever network the lab is in.
        'RABBITMQ_NODENAME': f'lab{state.ports["rabbitmq"]}@{state.bind}',
        'RABBITMQ_USE_LONGNAME': 'true',
        'RABBITMQ_NODE_IP_ADDRESS': state.bind,
        'RABBITMQ_NODE_PORT': str(state.ports['rabbitmq']),
        'RABBITMQ_DIST_PORT': str(state.ports['rabbitmq_dist']),
        'ERL_EPMD_ADDRESS': state.bind,
        'ERL_EPMD_PORT': str(state.ports['epmd']),
        'RABBITMQ_MNESIA_BASE': str(state.data / 'rabbitmq'),
        'RABBITMQ_LOG_BASE': str(state.log), 'RABBITMQ_LOGS': '-',
        'RABBITMQ_CONFIG_FILE': str(state.conf / 'rabbitmq'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(state.conf / 'enabled_plugins'),
        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
        # Without busy waiting it leaves the cores to those who have work.
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
            f'-kernel inet_dist_use_interface {{{interface}}} '
            '+sbwt none +sbwtdcpu none +sbwtdio none',
    }
    # The distribution's wrapper would switch to its own user.
    return Service('rabbitmq', [PACKAGES['rabbitmq-server']], env,
                   lambda: answers(state.bind, state.ports['rabbitmq']), 20)


def _memcached(state):
    command = [program('memcached'), '-u', getpass.getuser(), '-l', state.bind,
               '-p', state.ports['memcached'], '-m', '64']
    return Service('memcached', command, {},
                   lambda: answers(state.bind, state.ports['memcached']))


def _mariadb(state):
    command = [program('mariadbd'), f'--defaults-file={state.conf / "mariadb.cnf"}']
    return Service('mariadb', command, {},
                   lambda: answers(state.bind, state.ports['mariadb']), 20)


def _tls(state):
    # -db: it stays in the foreground.
    command = [program('haproxy'), '-db', '-f', tls.folder(state) / 'haproxy.cfg']
    return Service(TLS, command, {}, lambda: answers(state.bind, state.ports['keystone_tls']))


def _keystone(state):
    env = {'OS_KEYSTONE_CONFIG_DIR': str(state.conf / 'keystone'),
           'OS_KEYSTONE_CONFIG_FILES': 'keystone.conf'}
    return _web(state, 'keystone', 'keystone.wsgi.api', env, 1, 4)


def _placement(state):
    env = {'OS_PLACEMENT_CONFIG_DIR': str(state.conf / 'placement')}
    return _web(state, 'placement', 'placement.wsgi.api', env, 1, 8)


def _glance(state):
    env = {'OS_GLANCE_CONFIG_DIR': str(state.conf / 'glance')}
    return _web(state, 'glance', 'glance.wsgi.api', env, 1, 2)


def _cinder(state):
    return _web(state, 'cinder', 'cinder.wsgi.api', {}, 1, 4,
                '--pyargv', f'--config-file {state.conf / "cinder" / "cinder.conf"}')


def _neutron(state):
    env = {'OS_NEUTRON_CONFIG_DIR': str(state.conf / 'neutron'),
           'OS_NEUTRON_CONFIG_FILES': 'neutron.conf', 'PYTHONPATH': str(_INSIDE)}
    return _web(state, 'neutron', 'lab_neutron', env, 1, 4)


def _nova_api(state):
    env = {'OS_NOVA_CONFIG_DIR': str(state.conf / 'nova'),
           'OS_NOVA_CONFIG_FILES': 'api-paste.ini;nova.conf;controller.conf'}
    return _web(state, 'nova-api', 'nova.wsgi.osapi_compute', env,
                state.settings['api_processes'], state.settings['api_threads'])


def _rpc(state, name, *files):
    """A program that reads these files below ``conf``."""
    return Service(name, [state.venv / 'bin' / name, *_options(state, *files)], {})


def _options(state, *files):
    return [word for file in files for word in ('--config-file', state.conf / file)]


def _compute(state, host):
    program = ([state.venv / 'bin' / 'nova-compute'] if state.virt == 'libvirt' else
               [state.venv / 'bin' / 'python', _INSIDE / 'lab_compute.py'])
    return Service(host, [*program, *_options(state, 'nova/nova.conf', f'nova/{host}.conf')], {},
                   box=hosts.box(state, host) if state.prefix else None)


def _libvirtd(state, host):
    box = hosts.box(state, host)
    return Service(f'{host}-libvirtd', ['/usr/sbin/libvirtd'], {}, lambda: libvirt.answers(box),
                   box=box)


def _door(state, host):
    box = hosts.box(state, host)
    port = '22'
    return Service(f'{host}-door', ['/usr/bin/python3', '-I', _INSIDE / 'door.py', port], {},
                   lambda: answers(box.network.address(host), port), box=box)


def _ovsdb(state, host):
    box = hosts.box(state, host)
    return Service(f'{host}-ovsdb', openvswitch.database_command(box.folder), {},
                   lambda: openvswitch.database_answers(box), box=box)


def _vswitchd(state, host):
    box = hosts.box(state, host)
    return Service(f'{host}-vswitchd', openvswitch.switch_command(), {},
                   lambda: openvswitch.switch_answers(box), box=box)


def _ovs_agent(state, host):
    own = _rpc(state, 'neutron-openvswitch-agent', 'neutron/neutron.conf', f'neutron/{host}.conf')
    return dataclasses.replace(own, name=f'{host}-ovs-agent', box=hosts.box(state, host))


def _web(state, name, module, env, processes, threads, *more):
    """A WSGI application of the OpenStack services."""
    port = name.replace('-', '_')
    command = uwsgi(state.venv / 'bin' / 'uwsgi', f'{state.bind}:{state.ports[port]}', module,
                    processes, threads, *more)
    return Service(name, command, env, lambda: speaks_http(state.http(port)))


def uwsgi(program, address, module, processes, threads, *more):
    """The command line of a WSGI application under uWSGI, as the OpenStack projects advise."""
    return [
        program, '--http-socket', address, '--module', f'{module}:application', '--need-app',
        '--lazy-apps', '--master', '--die-on-term', '--enable-threads', '--processes', processes,
        '--threads', threads, '--thunder-lock', '--listen', '128', '--buffer-size', '65535',
        '--http-raw-body', '--add-header', 'Connection: close', '--disable-logging', '--log-5xx',
        *more]


def speaks_http(url):
    """Whether a request is answered; uWSGI listens long before the application is loaded."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=30):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


_BUILDERS = {
    'epmd': _epmd, 'rabbitmq': _rabbitmq, 'memcached': _memcached, 'mariadb': _mariadb,
    TLS: _tls,
    'keystone': _keystone, 'placement': _placement, 'glance': _glance, 'neutron': _neutron,
    'nova-api': _nova_api, 'cinder': _cinder,
}

_DAEMONS = {'door': _door, 'libvirtd': _libvirtd, 'ovsdb': _ovsdb, 'vswitchd': _vswitchd,
            'ovs-agent': _ovs_agent}
