"""/v1/events: the journal."""

from vmha_nova.api import wire
from vmha_nova import views


def index(call):
    """GET /v1/events."""
    return wire.page(call, 'events', call.service.pages.events,
                     lambda rows: list(map(views.event, rows)), 'id')
