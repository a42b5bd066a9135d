"""/v1/hosts: the compute nodes, how each is protected, and the operator's marks."""

import logging

from vmha_nova.api import check
from vmha_nova.api.errors import Refused
from vmha_nova.api import wire
from vmha_nova import disks
from vmha_nova import exception
from vmha_nova import states

LOG = logging.getLogger(__name__)


def index(call):
    """GET /v1/hosts."""
    return wire.page(call, 'hosts', call.service.pages.hosts)


def show(call):
    """GET /v1/hosts/{host}."""
    return wire.Answer(dict(host=known(call.service, call.path['host'])))


def known(service, host):
    """The host, as it is shown.

    :raises UnknownHost: Nova has no such compute node; says what to check.
    """
    try:
        return service.pages.host(host)
    except exception.NotFound:
        raise exception.UnknownHost(states.no_such_host(host)) from None


def update(call):
    """PATCH /v1/hosts/{host}."""
    service, host, values = call.service, call.path['host'], dict(call.body['host'])
    if service.store.snapshot_info() is None:
        raise Refused(409, 'No engine has written down the compute nodes yet: is vmha-engine '
                           'running, and can it read Nova?')
    there = known(service, host)
    if problem := disks.backend_problem(values.get('backend', '')):
        raise Refused(400, f'backend: {problem}')
    if values.get('maintenance_until') is not None:
        values['maintenance_until'] = _end(values, there, service.clock())
    service.store.set_mark(host, **values)
    LOG.info('%s marks %s: %s', call.who, host,
             ', '.join(f'{k}={v}' for k, v in values.items()))
    return wire.Answer(dict(host=known(service, host)))


def _end(values, there, now):
    if not values.get('maintenance', there['maintenance']):
        raise Refused(400, f'maintenance_until: {there["host"]} is not in maintenance; give '
                           '"maintenance": true with it')
    until = check.time(values['maintenance_until'])
    if until <= now:
        raise Refused(400, f'maintenance_until: {values["maintenance_until"]} is over')
    return until
