"""/v1/capacity: what the death of each host would mean, by the engine's last check."""

from vmha_nova.api import wire
from vmha_nova import views


def _view(row):
    return dict(row._asdict(), checked_at=views.time(row.checked_at), spares=list(row.spares))


def index(call):
    """GET /v1/capacity."""
    return wire.page(call, 'capacity', call.service.pages.capacity,
                     lambda rows: list(map(_view, rows)), 'host')


def show(call):
    """GET /v1/capacity/{host}."""
    row, problems = call.service.pages.unfit(call.path['host'])
    return wire.Answer(dict(capacity=dict(_view(row), problems=[
        {k: p[k] for k in ('instance_id', 'name', 'left', 'reason')} for p in problems])))
