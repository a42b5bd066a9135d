"""/v1/load: how loaded each compute node is, by Nova, Placement and what was measured last."""

from vmha_nova.api import wire
from vmha_nova import views

_AMOUNTS = (('vcpus', 'VCPU'), ('memory_mb', 'MEMORY_MB'), ('disk_gb', 'DISK_GB'))


def _view(row):
    used, capacity = row.record.get('used') or {}, row.record.get('capacity') or {}
    shown = dict(host=row.host, zone=row.zone, spare=bool(row.spare), up=row.up,
                 enabled=row.enabled, instances=row.instances)
    for name, resource in _AMOUNTS:
        shown[f'{name}_used'] = used.get(resource, 0)
        shown[name] = capacity.get(resource)
    shown.update(cpu_share=row.cpu_share, cpu_share_at=views.time(row.cpu_share_at),
                 load=row.load)
    return shown


def index(call):
    """GET /v1/load."""
    return wire.page(call, 'load', call.service.pages.load,
                     lambda rows: list(map(_view, rows)), 'host')
