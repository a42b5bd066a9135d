"""/v1/events: the journal."""

from vmha_nova.api import wire


def index(call):
    """GET /v1/events."""
    return wire.page(call, 'events', call.service.pages.events)
