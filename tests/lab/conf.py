"""The configuration files of the lab's services, as far as they differ from the defaults."""

import base64
import secrets
import shutil

from tests.lab import hosts
from tests.lab import libvirt
from tests.lab import openvswitch
from tests.lab.state import PASSWORD
from tests.lab.state import REGION

#: Believe the proxy that speaks TLS: see tls.py. Only with it, links are of the right scheme.
_PROXIED = {'oslo_middleware': {'enable_proxy_headers_parsing': True}}

def write_all(state):
    """Write every service's configuration, and make the folders that it names."""
    for folder in ('images', 'images-staging', 'images-tasks', 'fernet', 'credential', 'neutron'):
        (state.data / folder).mkdir(parents=True, exist_ok=True)
    _keys(state)
    for service, sections in (('keystone', keystone(state)), ('placement', placement(state)),
                              ('neutron', neutron(state)), ('nova', nova(state))):
        write(state.conf / service / f'{service}.conf', sections)
    write(state.conf / 'nova' / 'controller.conf', controller(state))
    write(state.conf / 'glance' / 'glance-api.conf', glance(state))
    for host in state.hosts:
        write_compute(state, host)
        if state.network == 'ovs':
            write(state.conf / 'neutron' / f'{host}.conf', openvswitch.agent_sections(
                host, state.data / host, _helper(state, 'neutron', host)))
    if state.storage == 'ceph':
        write(state.conf / 'cinder' / 'cinder.conf', cinder(state))
        shutil.copy(state.venv / 'etc' / 'cinder' / 'api-paste.ini', state.conf / 'cinder')
    for service in ('nova', 'neutron'):
        shutil.copy(state.venv / 'etc' / service / 'api-paste.ini', state.conf / service)
    shutil.copy(state.venv / 'etc' / 'glance' / 'glance-api-paste.ini', state.conf / 'glance')


def write(path, sections):
    """Write ``{section: {option: value}}`` as a configuration file."""
    lines = []
    for section, options in sections.items():
        lines.append(f'[{section}]')
        lines.extend(f'{option} = {value}' for option, value in options.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def keystone(state):
    """Keystone, with cheap password hashes: it authenticates all day and guards nothing."""
    return {
        'database': _database(state, 'keystone'),
        'token': {'expiration': 86400},
        'fernet_tokens': {'key_repository': state.data / 'fernet'},
        'fernet_receipts': {'key_repository': state.data / 'fernet'},
        'credential': {'key_repository': state.data / 'credential'},
        'cache': {'enabled': True, 'backend': 'dogpile.cache.pymemcache',
                  'memcache_servers': state.urls['memcached']},
        'identity': {'password_hash_rounds': 4},
        **_PROXIED,
    }


def placement(state):
    """Placement."""
    return {
        'placement_database': _database(state, 'placement'),
        'keystone_authtoken': _authtoken(state, 'placement'),
        **_PROXIED,
    }


def glance(state):
    """Glance."""
    return {
        **_image_store(state),
        'database': _database(state, 'glance'),
        'os_glance_staging_store': {'filesystem_store_datadir': state.data / 'images-staging'},
        'os_glance_tasks_store': {'filesystem_store_datadir': state.data / 'images-tasks'},
        'paste_deploy': {'flavor': 'keystone'},
        'oslo_concurrency': {'lock_path': state.data / 'glance-lock'},
        'keystone_authtoken': _authtoken(state, 'glance'),
    }


def _image_store(state):
    """Where Glance keeps the images: in Ceph, if there is one, and else in a folder."""
    if state.storage == 'none':
        return {'DEFAULT': {'enabled_backends': 'files:file'},
                'glance_store': {'default_backend': 'files'},
                'files': {'filesystem_store_datadir': state.data / 'images'}}
    return {
        # Nova and Cinder clone an image's snapshot when they are told where it is.
        'DEFAULT': {'enabled_backends': 'ceph:rbd', 'show_image_direct_url': True},
        'glance_store': {'default_backend': 'ceph'},
        'ceph': {'rbd_store_pool': 'images', 'rbd_store_user': 'glance',
                 'rbd_store_ceph_conf': hosts.cluster(state).conf_file},
    }


def cinder(state):
    """Cinder, with its volumes in Ceph."""
    own = state.data / 'cinder'
    return {
        'DEFAULT': {
            'host': 'controller', 'my_ip': state.bind, 'state_path': own,
            'transport_url': state.urls['transport_url'], 'auth_strategy': 'keystone',
            'api_paste_config': state.conf / 'cinder' / 'api-paste.ini',
            'glance_api_servers': state.http('glance'), 'enabled_backends': 'ceph',
            'report_interval': 2, 'graceful_shutdown_timeout': 3, 'periodic_fuzzy_delay': 0,
            'use_default_quota_class': False, 'quota_volumes': -1, 'quota_gigabytes': -1,
        },
        'ceph': {
            'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver', 'volume_backend_name': 'ceph',
            'rbd_pool': 'volumes', 'rbd_user': 'cinder',
            'rbd_ceph_conf': hosts.cluster(state).conf_file,
            'rbd_secret_uuid': libvirt.SECRETS['cinder'],
        },
        'database': _database(state, 'cinder'),
        'oslo_concurrency': {'lock_path': own / 'lock'},
        'coordination': {'backend_url': f'file://{own}/coordination'},
        **_PROXIED,
        'keystone_authtoken': _authtoken(state, 'cinder'),
        'service_user': {**_account(state, 'cinder'), 'send_service_user_token': True},
    }


def neutron(state):
    """Neutron: Nova asks it for ports even where servers have none, and there are no agents."""
    driver = {'none': 'logger', 'ovs': 'openvswitch'}[state.network]
    return {
        'DEFAULT': {
            'core_plugin': 'ml2', 'service_plugins': '', 'auth_strategy': 'keystone',
            'state_path': state.data / 'neutron', 'transport_url': state.urls['transport_url'],
            'notify_nova_on_port_status_changes': state.network != 'none',
            'notify_nova_on_port_data_changes': False,
            'dhcp_agent_notification': False, 'api_workers': 1,
            'rpc_workers': 0 if state.network == 'none' else 1,
        },
        'database': _database(state, 'neutron'),
        'ml2': {'type_drivers': 'local', 'project_network_types': 'local',
                'mechanism_drivers': driver, 'extension_drivers': ''},
        'oslo_concurrency': {'lock_path': state.data / 'neutron' / 'lock'},
        'keystone_authtoken': _authtoken(state, 'neutron'),
        'nova': _account(state, 'nova'),
    }


def nova(state):
    """What all of Nova's services share."""
    return {
        'DEFAULT': {
            'my_ip': state.bind, 'transport_url': state.urls['transport_url'],
            'compute_driver': 'fake.FakeDriverWithoutFakeNodes',
            'report_interval': 2, 'service_down_time': 30, 'rpc_response_timeout': 20,
            # SIGTERM ends a service in seconds, not in three minutes.
            'graceful_shutdown_timeout': 3, 'manager_shutdown_timeout': 2,
            # Periodic tasks begin at once instead of up to a minute later.
            'periodic_fuzzy_delay': 0,
            # Each run emits a metrics.update notification.
            'update_resources_interval': 30, 'compute_monitors': 'cpu.virt_driver',
            # The fake driver forgets its guests when it stops: nothing to compare records with.
            'sync_power_state_interval': -1,
            'resume_guests_state_on_host_boot': False,
            'vif_plugging_is_fatal': False, 'vif_plugging_timeout': 0,
            # As many as builds: they share their threads, and the lower limit would hold for both.
            'max_concurrent_snapshots': 10,
        },
        'filter_scheduler': {'track_instance_changes': False},
        'glance': {'endpoint_override': state.http('glance')},
        'vnc': {'enabled': False},
        'notifications': {'notification_format': 'versioned',
                          'notify_on_state_change': 'vm_and_task_state'},
        'oslo_messaging_notifications': {'driver': 'messagingv2'},
        # Reconnect within seconds of RabbitMQ's return.
        'oslo_messaging_rabbit': {'rabbit_interval_max': 4},
        'quota': {'driver': 'nova.quota.NoopQuotaDriver'},
        'placement': _account(state, 'placement'),
        'neutron': _account(state, 'neutron'),
        **({'cinder': _account(state, 'nova')} if state.storage == 'ceph' else {}),
        'service_user': {**_account(state, 'nova'), 'send_service_user_token': True},
    }


def controller(state):
    """What Nova's API, conductor and scheduler have for themselves."""
    return {
        'DEFAULT': {'host': 'controller', 'state_path': state.data / 'nova'},
        'api': {'max_limit': 1000},
        'api_database': _database(state, 'nova_api'),
        'database': _database(state, 'nova'),
        'wsgi': {'api_paste_config': state.conf / 'nova' / 'api-paste.ini'},
        'conductor': {'workers': state.settings['conductor_workers']},
        # A new host can be used seconds after it appeared, without nova-manage.
        'scheduler': {'workers': 1, 'discover_hosts_in_cells_interval': 2},
        'oslo_concurrency': {'lock_path': state.data / 'nova' / 'lock'},
        **_PROXIED,
        'keystone_authtoken': _authtoken(state, 'nova'),
    }


def write_compute(state, host, local=False):
    """Write what one compute host has for itself; ``local``: see `libvirt.sections`."""
    own, path = state.data / host, state.conf / 'nova' / f'{host}.conf'
    # As a package does; nova-compute itself makes that folder only with its first guest.
    (own / 'instances').mkdir(parents=True, exist_ok=True)
    content = {'DEFAULT': {'host': host, 'state_path': own},
               'oslo_concurrency': {'lock_path': own / 'lock'}}
    if state.virt == 'libvirt':
        address, helper = hosts.network(state).address(host), _helper(state, 'nova', host)
        content = _merged(libvirt.sections(address, helper, local), content)
    if state.network == 'ovs':
        content = _merged(openvswitch.nova_sections(), content)
    write(path, content)


def _helper(state, service, host):
    """The command that starts a privileged helper of a service on a host: there is no sudo."""
    folder = state.conf / service
    return (f'{state.venv}/bin/privsep-helper --config-file {folder}/{service}.conf '
            f'--config-file {folder}/{host}.conf')


def _merged(*contents):
    """Sections of several files, as those of one; of options given twice the last counts."""
    merged = {}
    for content in contents:
        for section, options in content.items():
            merged.setdefault(section, {}).update(options)
    return merged


def _database(state, name):
    """A database section; a restarted MariaDB is found again within seconds."""
    return {'connection': state.urls['database_url'].format(name=name),
            'max_pool_size': 20, 'max_retries': -1, 'retry_interval': 1}


def _account(state, user):
    """How a service authenticates with Keystone."""
    return {
        'auth_type': 'password', 'auth_url': state.urls['auth_url'], 'region_name': REGION,
        'username': user, 'password': PASSWORD, 'project_name': 'service',
        'user_domain_name': 'Default', 'project_domain_name': 'Default',
    }


def _authtoken(state, user):
    """How a service checks the tokens of its callers."""
    return {**_account(state, user), 'www_authenticate_uri': state.urls['auth_url'],
            'memcached_servers': state.urls['memcached'], 'service_token_roles_required': True}


def _keys(state):
    """The keys of Keystone's tokens and stored credentials, as keystone-manage would make them."""
    for repository in ('fernet', 'credential'):
        folder = state.data / repository
        folder.chmod(0o700)
        for number in ('0', '1'):
            key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            (folder / number).write_text(key, encoding='ascii')
            (folder / number).chmod(0o600)
