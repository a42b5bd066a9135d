"""/v1/recoveries: what is done about failed hosts, and the instances' part in it."""

import logging

from vmha_nova.api.errors import Refused
from vmha_nova.api import wire
from vmha_nova import states
from vmha_nova import views

LOG = logging.getLogger(__name__)


def index(call):
    """GET /v1/recoveries."""
    return wire.page(call, 'recoveries', call.service.pages.recoveries)


def show(call):
    """GET /v1/recoveries/{recovery_id}."""
    service = call.service
    one = service.pages.recovery(call.path['recovery_id'])
    return wire.Answer(dict(recovery=dict(
        one, failure_id=service.pages.report_of(one['id']),
        steps=[views.step(s) for s in service.store.steps(one['id'])],
        pace=[views.event(e) for e in service.store.events(one['id'], kind='pace')])))


def act(call):
    """POST /v1/recoveries/{recovery_id}/actions: a wish that the engine takes up."""
    service, word = call.service, call.body['action']
    one = service.pages.recovery(call.path['recovery_id'])
    if problem := _refusal(one, word):
        raise Refused(409, f'recovery {one["id"]} of {one["host"]} {problem}')
    service.store.wish(one['id'], word)
    LOG.info('%s wishes for recovery %s of %s: %s', call.who, one['id'], one['host'], word)
    return wire.Answer(dict(recovery=service.pages.recovery(one['id'])), 202)


def _refusal(one, word):
    """Why a wish makes no sense for a recovery in its state; ''."""
    state = one['state']
    over = state in states.RECOVERY_OVER
    if word in ('approve', 'abort') and over:
        return f'is over ({state}): there is nothing to {word}'
    if word in ('retry', 'release') and not over:
        return f'is not over ({state}): there is nothing to {word} yet'
    if word in ('retry', 'release') and one['released_at'] is not None:
        return 'has let its host go: report the host again'
    if word == 'retry' and state not in states.RECOVERY_NEXT:
        return f'is {state}: there is nothing to try again'
    return ''


def moves(call):
    """GET /v1/recoveries/{recovery_id}/moves."""
    one = call.service.pages.recovery(call.path['recovery_id'])
    return wire.page(call, 'moves', call.service.pages.moves, recovery_id=one['id'])
