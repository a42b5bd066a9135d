"""/v1/load: how loaded each compute node is, by Nova, Placement and what was measured last."""

from vmha_nova.api import wire


def index(call):
    """GET /v1/load."""
    return wire.page(call, 'load', call.service.pages.load)
