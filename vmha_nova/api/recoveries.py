"""/v1/recoveries: what is done about failed hosts, and the instances' part in it."""

import logging

from vmha_nova.api.errors import Refused
from vmha_nova.api import wire
from vmha_nova import states
from vmha_nova import views

LOG = logging.getLogger(__name__)


def _shown(service, rows):
    counts = service.pages.counts([row.id for row in rows])
    return [views.recovery(row, counts.get(row.id, {})) for row in rows]


def index(call):
    """GET /v1/recoveries."""
    return wire.page(call, 'recoveries', call.service.pages.recoveries,
                     lambda rows: _shown(call.service, rows), 'id')


def show(call):
    """GET /v1/recoveries/{recovery_id}."""
    service = call.service
    one = service.pages.recovery(call.path['recovery_id'])
    return wire.Answer(dict(recovery=dict(
        _shown(service, [one])[0], failure_id=service.pages.report_of(one.id),
        steps=[views.step(s) for s in service.store.steps(one.id)])))


def act(call):
    """POST /v1/recoveries/{recovery_id}/actions: a wish that the engine takes up."""
    service, word = call.service, call.body['action']
    one = service.pages.recovery(call.path['recovery_id'])
    if problem := _refusal(one, word):
        raise Refused(409, f'recovery {one.id} of {one.host} {problem}')
    service.store.wish(one.id, word)
    LOG.info('%s wishes for recovery %s of %s: %s', call.who, one.id, one.host, word)
    one = service.pages.recovery(one.id)
    return wire.Answer(dict(recovery=_shown(service, [one])[0]), 202)


def _refusal(one, word):
    """Why a wish makes no sense for a recovery in its state; ''."""
    over = one.state in states.RECOVERY_OVER
    if word in ('approve', 'abort') and over:
        return f'is over ({one.state}): there is nothing to {word}'
    if word in ('retry', 'release') and not over:
        return f'is not over ({one.state}): there is nothing to {word} yet'
    if word in ('retry', 'release') and one.released_at is not None:
        return 'has let its host go: report the host again'
    if word == 'retry' and one.state not in states.RECOVERY_NEXT:
        return f'is {one.state}: there is nothing to try again'
    return ''


def moves(call):
    """GET /v1/recoveries/{recovery_id}/moves."""
    recovery_id = call.service.pages.recovery(call.path['recovery_id']).id
    return wire.page(call, 'moves', call.service.pages.moves,
                     lambda rows: list(map(views.move, rows)), 'id', recovery_id=recovery_id)
