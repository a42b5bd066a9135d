"""TLS in front of a lab: a certificate authority, and HAProxy before the HTTP services.

RabbitMQ and MariaDB speak it themselves, on a port beside the plain one and on the same port. The
authority and the certificates are made with every lab. HAProxy is the service ``tls``, which is
started by who wants it; what it leads to is said by `urls`.
"""

import subprocess

#: Files of the folder `folder`: the authority, and what a server shows.
CA, SERVER, SERVER_KEY = 'ca.pem', 'server.pem', 'server.key'
#: Another authority; what a server shows that is certified by that one; and one of another name.
OTHER_CA, STRANGER, OTHER_NAME = 'other-ca.pem', 'stranger.pem', 'other-name.pem'

#: What HAProxy stands in front of: ``{frontend, also a name of ports.NAMES: port's name behind}``.
FRONTENDS = {'keystone_tls': 'keystone', 'placement_tls': 'placement',
             'nova_api_tls': 'nova_api', 'cinder_tls': 'cinder'}

_CURVE = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes')


def folder(state):
    """Where the certificates are."""
    return state.conf / 'tls'


def make(state):
    """Make the authorities and the certificates, and write HAProxy's configuration."""
    own = folder(state)
    own.mkdir(parents=True, exist_ok=True)
    for name, subject in ((CA, 'lab'), (OTHER_CA, 'other')):
        _openssl('req', '-x509', *_CURVE, '-days', '30', '-subj', f'/CN={subject} authority',
                 '-keyout', own / f'{name}.key', '-out', own / name)
    key = own / SERVER_KEY
    _openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key)
    for name, alternative, authority in (
            (SERVER, f'IP:{state.bind}', CA), (STRANGER, f'IP:{state.bind}', OTHER_CA),
            (OTHER_NAME, 'DNS:elsewhere.invalid', CA)):
        request, extension = own / f'{name}.csr', own / f'{name}.ext'
        extension.write_text(f'subjectAltName = {alternative}\n', encoding='ascii')
        _openssl('req', '-new', '-key', key, '-subj', '/CN=server', '-out', request)
        _openssl('x509', '-req', '-in', request, '-CA', own / authority,
                 '-CAkey', own / f'{authority}.key', '-CAcreateserial', '-days', '30',
                 '-extfile', extension, '-out', own / name)
    write_proxy(state)


def write_proxy(state, shown=None):
    """Write HAProxy's configuration.

    :param shown: what it shows instead of the right certificate, ``{frontend: file}``
    """
    own = folder(state)
    lines = ['defaults', '    mode http', '    timeout connect 5s',
             '    timeout client 120s', '    timeout server 120s']
    for name, behind in FRONTENDS.items():
        bundle = own / f'{name}.pem'
        bundle.write_text(''.join((own / file).read_text(encoding='ascii') for file in (
            (shown or {}).get(name, SERVER), SERVER_KEY)), encoding='ascii')
        lines += [f'frontend {name}',
                  f'    bind {state.bind}:{state.ports[name]} ssl crt {bundle}',
                  '    http-request set-header X-Forwarded-Proto https',
                  f'    default_backend {behind}',
                  f'backend {behind}', f'    server one {state.bind}:{state.ports[behind]}']
    (own / 'haproxy.cfg').write_text('\n'.join(lines) + '\n', encoding='ascii')


def urls(state):
    """Where things are that speak TLS; see `state.State.urls`."""
    def https(name):
        return f'https://{state.bind}:{state.ports[name]}'
    plain = state.urls
    port, secure = state.ports['rabbitmq'], state.ports['rabbitmq_tls']
    return {'auth_url': https('keystone_tls') + '/v3',
            'compute_url': https('nova_api_tls') + '/v2.1',
            'placement_url': https('placement_tls'),
            'volume_url': https('cinder_tls') + '/v3',
            'transport_url': plain['transport_url'].replace(f':{port}/', f':{secure}/')}


def lead(session, state, secure=True):
    """Have the catalogue name HAProxy, where nobody else looks: in endpoints of the kind 'admin'.

    :param session: keystoneauth1 session of the administrator
    """
    keystone, secured = state.urls['auth_url'], urls(state)
    for kind, name in (('compute', 'compute_url'), ('placement', 'placement_url'),
                       ('block-storage', 'volume_url')):
        for service in session.get(f'{keystone}/services?type={kind}').json()['services']:
            one, = session.get(f'{keystone}/endpoints?interface=admin&service_id='
                               f'{service["id"]}').json()['endpoints']
            url = secured[name] if secure else state.urls[name]
            session.patch(f'{keystone}/endpoints/{one["id"]}', json={'endpoint': {'url': url}})


def _openssl(*words):
    subprocess.run(['openssl', *map(str, words)], check=True, capture_output=True, timeout=60)
