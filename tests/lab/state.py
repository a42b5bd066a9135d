"""What is known about one lab: its folder, addresses and processes, kept in DIR/lab.json."""

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets

from tests.lab.common import LabError
from tests.lab.common import locked
from tests.lab import ports
from tests.lab.process import Process

#: The one password of every account. A lab holds nothing worth a better one.
PASSWORD = 'lab'
REGION = 'RegionOne'

#: Who calls the API of vmha_nova besides the administrator: ``{user: (role, project)}``; None for
#: the project is the scope of the whole system.
CALLERS = {
    'reader': ('vmha_reader', 'demo'), 'system-reader': ('reader', None),
    'member': ('member', 'demo'), 'monitor': ('service', 'service')}

#: Marks a folder as a lab's, so that nothing else is ever wiped.
SIGN = '.vmha-lab'
_FILE = 'lab.json'


@dataclasses.dataclass
class State:
    """The facts of one lab; everything else about it follows from them.

    :ivar mark: random word that every process of the lab carries in its environment
    :ivar ports: ``{name: port}``, see `ports.NAMES`
    :ivar hosts: names of the compute hosts
    :ivar settings: ``{name: number}``: workers and threads, see `services`
    :ivar ready: whether ``up`` went through
    :ivar storage: ``none`` or ``ceph``
    :ivar virt: ``fake`` or ``libvirt``
    :ivar network: ``none``, or ``ovs`` for ports that Open vSwitch plugs
    :ivar prefix: how the names of its network namespaces begin; '' if it has none
    :ivar processes: ``{service: Process}``, also of services that were stopped since
    """

    folder: pathlib.Path
    venv: pathlib.Path
    bind: str
    ports: dict
    hosts: list
    settings: dict
    mark: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))
    ready: bool = False
    processes: dict = dataclasses.field(default_factory=dict)
    storage: str = 'none'
    virt: str = 'fake'
    network: str = 'none'
    prefix: str = ''

    @property
    def log(self):
        """Folder with one log per service."""
        return self.folder / 'log'

    @property
    def conf(self):
        """Folder with the configuration files."""
        return self.folder / 'conf'

    @property
    def data(self):
        """Folder with what the services keep: databases, images, keys."""
        return self.folder / 'data'

    def http(self, service):
        """Base URL of an HTTP service."""
        return f'http://{self.bind}:{self.ports[service]}'

    @property
    def urls(self):
        """Where things are; ``database_url`` has ``{name}`` in place of the database's name."""
        bind, port = self.bind, self.ports
        return {
            'auth_url': self.http('keystone') + '/v3',
            'compute_url': self.http('nova_api') + '/v2.1',
            'image_url': self.http('glance'),
            'network_url': self.http('neutron'),
            'placement_url': self.http('placement'),
            'vmha_url': self.http('vmha_api'),
            'transport_url': f'rabbit://openstack:{PASSWORD}@{bind}:{port["rabbitmq"]}/',
            'database_url': f'mysql+pymysql://lab:{PASSWORD}@{bind}:{port["mariadb"]}/{{name}}',
            'vmha_database_url':
                f'mysql+pymysql://vmha:{PASSWORD}@{bind}:{port["mariadb"]}/vmha',
            'memcached': f'{bind}:{port["memcached"]}',
            **({'volume_url': self.http('cinder') + '/v3'} if self.storage == 'ceph' else {}),
        }

    @property
    def credentials(self):
        """Keystone accounts, as arguments of v3.Password: ``{name: {argument: value}}``.

        The administrator, a service user for vmha_nova, and callers of its API: see `CALLERS`.
        """
        projects = {'admin': 'admin', 'vmha': 'service',
                    **{name: project for name, (_role, project) in CALLERS.items()}}
        return {name: {
            'auth_url': self.urls['auth_url'], 'username': name, 'password': PASSWORD,
            'user_domain_name': 'Default',
            **({'project_name': project, 'project_domain_name': 'Default'} if project
               else {'system_scope': 'all'})} for name, project in projects.items()}

    def save(self):
        """Write DIR/lab.json in one piece: a reader sees the old or the new text, whole."""
        content = {
            'folder': str(self.folder), 'venv': str(self.venv), 'bind': self.bind,
            'ports': self.ports, 'hosts': self.hosts, 'settings': self.settings,
            'mark': self.mark, 'ready': self.ready, 'region': REGION, 'log': str(self.log),
            'storage': self.storage, 'virt': self.virt, 'network': self.network,
            'prefix': self.prefix,
            'urls': self.urls, 'credentials': self.credentials,
            'processes': {name: dataclasses.asdict(process)
                          for name, process in self.processes.items()},
        }
        partial = self.folder / f'{_FILE}.{os.getpid()}'
        partial.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
        partial.replace(self.folder / _FILE)

    @contextlib.contextmanager
    def change(self):
        """Hold the lab's lock and its newest processes; what the body changes is saved."""
        with locked(self.folder / 'lab.lock', timeout=60):
            self.processes = load(self.folder).processes
            yield
            self.save()

    def forget(self):
        """Remove DIR/lab.json: there is no lab here any more."""
        (self.folder / _FILE).unlink(missing_ok=True)
        ports.release(self.folder)


def default_dir():
    """The lab's folder when none is named."""
    chosen = os.environ.get('VMHA_LAB_DIR')
    return pathlib.Path(chosen or '~/.cache/vmha-lab/default').expanduser().absolute()


def exists(folder):
    """Whether there is a lab, running or not, in ``folder``."""
    return (pathlib.Path(folder) / _FILE).exists()


def load(folder):
    """Read the State of the lab in ``folder``.

    :raises LabError: there is none, or its file cannot be understood
    """
    path = pathlib.Path(folder) / _FILE
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return State(
            folder=pathlib.Path(content['folder']), venv=pathlib.Path(content['venv']),
            bind=content['bind'], ports=content['ports'], hosts=content['hosts'],
            settings=content['settings'], mark=content['mark'], ready=content['ready'],
            storage=content['storage'], virt=content['virt'], network=content['network'],
            prefix=content['prefix'],
            processes={name: Process(**process)
                       for name, process in content['processes'].items()})
    except FileNotFoundError as error:
        raise LabError(f'no lab in {folder}: make one with `python -m tests.lab up`') from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f'{path} is not a lab\'s state: {error!r}') from error
