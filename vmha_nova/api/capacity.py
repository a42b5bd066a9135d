"""/v1/capacity: what the death of each host would mean, by the engine's last check."""

from vmha_nova.api import wire


def index(call):
    """GET /v1/capacity."""
    return wire.page(call, 'capacity', call.service.pages.capacity)


def show(call):
    """GET /v1/capacity/{host}."""
    one, problems = call.service.pages.unfit(call.path['host'])
    return wire.Answer(dict(capacity=dict(one, problems=[
        {k: p[k] for k in ('instance_id', 'name', 'left', 'reason')} for p in problems])))
