"""What `openstack` loads of this project for every command of anybody's: as little as may be."""

import os

API_NAME = 'vmha'
API_VERSION_OPTION = 'os_vmha_api_version'
API_VERSIONS = ('1', '1.0')
DEFAULT_API_VERSION = '1.0'


def make_client(instance):
    """Return the client of this API; ``instance`` is osc_lib's ClientManager."""
    from vmha_nova.osc import client    # only here: other commands do without

    return client.Client(
        instance.session, region_name=instance.region_name, interface=instance.interface,
        endpoint_override=instance.get_configuration().get('vmha_endpoint_override'),
        api_version=instance._api_version[API_NAME])


def build_option_parser(parser):
    """Add the global option."""
    parser.add_argument(
        '--os-vmha-api-version', metavar='<vmha-api-version>',
        default=os.environ.get('OS_VMHA_API_VERSION', ''),
        help=f'VMHA API version, default={DEFAULT_API_VERSION} (Env: OS_VMHA_API_VERSION)')
    return parser
