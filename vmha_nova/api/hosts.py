"""/v1/hosts: the compute nodes, how each is protected, and the operator's marks."""

import logging

from vmha_nova.api import check
from vmha_nova.api.errors import Refused
from vmha_nova.api import wire
from vmha_nova import disks
from vmha_nova import exception
from vmha_nova import views

LOG = logging.getLogger(__name__)


def view(one, recovery=(None, None)):
    """One host; ``recovery``: id and state of the one that keeps it out."""
    record = one.record
    return dict(
        host=one.host, zone=one.zone, up=one.up, enabled=one.enabled,
        disabled_reason=record.get('disabled_reason') or '',
        forced_down=bool(record.get('forced_down')), address=record.get('address') or '',
        instances=one.instances, load=one.load, cpu_share=one.cpu_share,
        backend=one.marked_backend or one.backend, spare=bool(one.spare), pool=one.pool or '',
        parked=bool(one.parked), maintenance=bool(one.maintenance),
        maintenance_until=views.time(one.maintenance_until), protection=one.protection,
        protection_reason=one.protection_reason or '',
        unprotected_instances=None if one.counted is None else one.counted - one.placeable,
        fits=one.fits, recovery_id=recovery[0], recovery_state=recovery[1])


def _shown(service, rows):
    out = service.pages.out_of_service([row.host for row in rows])
    return [view(row, out.get(row.host, (None, None))) for row in rows]


def index(call):
    """GET /v1/hosts."""
    pages = call.service.pages
    return wire.page(call, 'hosts', pages.hosts, lambda rows: _shown(call.service, rows), 'host')


def show(call):
    """GET /v1/hosts/{host}."""
    return wire.Answer(dict(host=_known(call.service, call.path['host'])))


def known(service, host):
    """Raise UnknownHost, saying what to check, unless there is such a compute node."""
    try:
        return service.pages.host(host)
    except exception.NotFound:
        raise exception.UnknownHost(
            f'Nova has no compute node {host!r}; names must be those of "openstack compute '
            'service list", the domain included') from None


def _known(service, host):
    return _shown(service, [known(service, host)])[0]


def update(call):
    """PATCH /v1/hosts/{host}."""
    service, host, values = call.service, call.path['host'], dict(call.body['host'])
    if service.store.snapshot_info() is None:
        raise Refused(409, 'No engine has written down the compute nodes yet: is vmha-engine '
                           'running, and can it read Nova?')
    row = known(service, host)
    if problem := disks.backend_problem(values.get('backend', '')):
        raise Refused(400, f'backend: {problem}')
    if values.get('maintenance_until') is not None:
        values['maintenance_until'] = _end(values, row, service.clock())
    if values.get('maintenance') is False:
        values['maintenance_until'] = None
    service.store.set_mark(host, **values)
    LOG.info('%s marks %s: %s', call.who, host,
             ', '.join(f'{k}={v}' for k, v in values.items()))
    return wire.Answer(dict(host=_known(service, host)))


def _end(values, row, now):
    if not values.get('maintenance', row.maintenance):
        raise Refused(400, f'maintenance_until: {row.host} is not in maintenance; give '
                           '"maintenance": true with it')
    until = check.time(values['maintenance_until'])
    if until <= now:
        raise Refused(400, f'maintenance_until: {values["maintenance_until"]} is over')
    return until
