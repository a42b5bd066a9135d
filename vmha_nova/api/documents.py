"""What needs no token: the versions, the OpenAPI document, the metrics."""

from vmha_nova.api import check
from vmha_nova.api import wire


def _version(call):
    return dict(id='v1', status='CURRENT', version=check.MAX_VERSION,
                min_version=check.MIN_VERSION, max_version=check.MAX_VERSION,
                links=[dict(rel='self', href=f'{call.root}/v1'),
                       dict(rel='describedby', href=f'{call.root}/v1/openapi.json')])


def versions(call):
    """GET /."""
    return wire.Answer(dict(versions=[_version(call)]))


def version(call):
    """GET /v1."""
    return wire.Answer(dict(version=_version(call)))


def metrics(call):
    """GET /metrics."""
    body, content_type = call.service.metrics.exposition()
    return wire.Answer(body, content_type=content_type)
