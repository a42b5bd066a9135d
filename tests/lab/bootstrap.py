"""What an empty cloud needs first: accounts, a catalogue, an image and a flavor."""

import pathlib

from tests.lab.state import CALLERS
from tests.lab.state import PASSWORD
from tests.lab.state import REGION

#: The services' own accounts, and the one of vmha_nova.
USERS = ('nova', 'placement', 'glance', 'neutron', 'vmha')

IMAGE = 'tiny'
FLAVOR = {'name': 'tiny', 'id': '1', 'vcpus': 1, 'ram': 64, 'disk': 1}

#: What a guest that is real needs more.
REAL_RAM = 96
_DISK_BYTES = 4 << 20


def accounts(session, state):
    """Make the projects, their users, the role vmha_reader and the catalogue.

    ``keystone-manage bootstrap`` has made the other roles and the administrator, in the template.

    :param session: keystoneauth1 session of the administrator
    """
    url = state.urls['auth_url']

    def create(kind, **content):
        answer = session.post(f'{url}/{kind}s', json={kind: content}, timeout=60)
        return answer.json()[kind]['id']

    def account(name, *granted, project):
        user = create('user', name=name, password=PASSWORD, domain_id='default')
        place = f'projects/{projects[project]}' if project else 'system'
        for role in granted:
            session.put(f'{url}/{place}/users/{user}/roles/{roles[role]}', timeout=60)

    found = session.get(f'{url}/roles', timeout=60).json()['roles']
    roles = {role['name']: role['id'] for role in found}
    roles['vmha_reader'] = create('role', name='vmha_reader')
    projects = {name: create('project', name=name, domain_id='default')
                for name in ('service', 'demo')}
    create('region', id=REGION)
    endpoints = [
        ('identity', 'keystone', url), ('compute', 'nova', state.urls['compute_url']),
        ('placement', 'placement', state.urls['placement_url']),
        ('image', 'glance', state.urls['image_url']),
        ('network', 'neutron', state.urls['network_url']),
        ('vmha', 'vmha', state.urls['vmha_url'])]
    users = list(USERS)
    if state.storage == 'ceph':
        endpoints.append(('block-storage', 'cinder', state.urls['volume_url']))
        users.append('cinder')
    for name in users:
        account(name, 'admin', 'service', project='service')
    for name, (role, project) in CALLERS.items():
        account(name, role, project=project)
    for kind, name, endpoint in endpoints:
        service = create('service', type=kind, name=name)
        for interface in ('public', 'internal', 'admin'):
            create('endpoint', service_id=service, interface=interface, url=endpoint,
                   region_id=REGION)


def image(session, state):
    """Upload an image that the fake driver never reads."""
    _upload(session, state, IMAGE, 'raw', 'bare', b'\0' * 1024)


def real_image(session, state, kernel, ramdisk, command_line):
    """Upload an image of an empty disk, and the kernel that is started with it.

    :param kernel: path of a kernel
    :param ramdisk: path of its initramfs
    :param command_line: what the kernel is told
    """
    ids = {}
    for kind, name, path in (('aki', 'kernel', kernel), ('ari', 'ramdisk', ramdisk)):
        content = pathlib.Path(path).read_bytes()
        ids[f'{name}_id'] = _upload(session, state, name, kind, kind, content)
    _upload(session, state, IMAGE, 'raw', 'bare', b'\0' * _DISK_BYTES,
            os_command_line=command_line, **ids)


def _upload(session, state, name, disk, container, data, **properties):
    """Make an image that everybody may use; returns its id."""
    url = state.urls['image_url'] + '/v2/images'
    content = {'name': name, 'disk_format': disk, 'container_format': container,
               'visibility': 'public', **properties}
    made = session.post(url, json=content, timeout=60).json()['id']
    session.put(f'{url}/{made}/file', data=data, timeout=60,
                headers={'Content-Type': 'application/octet-stream'})
    return made


def flavor(session, state):
    """Make the flavor; a host of the fake driver holds a thousand of it and more."""
    content = FLAVOR if state.virt == 'fake' else {**FLAVOR, 'name': 'small', 'ram': REAL_RAM}
    session.post(state.urls['compute_url'] + '/flavors', json={'flavor': content}, timeout=60)
