"""What an empty cloud needs first: accounts, a catalogue, an image and a flavor."""

from tests.lab.state import PASSWORD
from tests.lab.state import REGION

#: The services' own accounts, and the one of vmha_nova.
USERS = ('nova', 'placement', 'glance', 'neutron', 'vmha')

IMAGE = 'tiny'
FLAVOR = {'name': 'tiny', 'id': '1', 'vcpus': 1, 'ram': 64, 'disk': 1}


def accounts(session, state):
    """Make the project ``service``, its users and the catalogue.

    ``keystone-manage bootstrap`` has made the roles and the administrator, in the template.

    :param session: keystoneauth1 session of the administrator
    """
    url = state.urls['auth_url']

    def create(kind, **content):
        answer = session.post(f'{url}/{kind}s', json={kind: content}, timeout=60)
        return answer.json()[kind]['id']

    roles = session.get(f'{url}/roles', timeout=60).json()['roles']
    granted = [role['id'] for role in roles if role['name'] in ('admin', 'service')]
    project = create('project', name='service', domain_id='default')
    create('region', id=REGION)
    for name in USERS:
        user = create('user', name=name, password=PASSWORD, domain_id='default')
        for role in granted:
            session.put(f'{url}/projects/{project}/users/{user}/roles/{role}', timeout=60)
    for kind, name, endpoint in (
            ('identity', 'keystone', url), ('compute', 'nova', state.urls['compute_url']),
            ('placement', 'placement', state.urls['placement_url']),
            ('image', 'glance', state.urls['image_url']),
            ('network', 'neutron', state.urls['network_url'])):
        service = create('service', type=kind, name=name)
        for interface in ('public', 'internal', 'admin'):
            create('endpoint', service_id=service, interface=interface, url=endpoint,
                   region_id=REGION)


def image(session, state):
    """Upload an image; the fake driver never reads it."""
    url = state.urls['image_url'] + '/v2/images'
    content = {'name': IMAGE, 'disk_format': 'raw', 'container_format': 'bare',
               'visibility': 'public'}
    made = session.post(url, json=content, timeout=60).json()
    session.put(f'{url}/{made["id"]}/file', data=b'\0' * 1024, timeout=60,
                headers={'Content-Type': 'application/octet-stream'})


def flavor(session, state):
    """Make the flavor; a host of the fake driver holds a thousand of it and more."""
    session.post(state.urls['compute_url'] + '/flavors', json={'flavor': FLAVOR}, timeout=60)
