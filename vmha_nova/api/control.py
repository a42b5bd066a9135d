"""/v1/status and /v1/pause: this service itself."""

import datetime
import logging

from vmha_nova.api import wire
from vmha_nova import version
from vmha_nova import views

LOG = logging.getLogger(__name__)
ALIVE = datetime.timedelta(seconds=30)      # an engine that leads says so every few seconds


def _pause(one):
    return dict(paused=one.paused, reason=one.reason, user=one.user, at=views.time(one.at))


def status(call):
    """GET /v1/status."""
    service = call.service
    store, now = service.store, service.clock()
    leader, info = store.leader(), store.snapshot_info()
    return wire.Answer(dict(status=dict(
        version=version.version(), paused=_pause(store.paused()), fence=service.fence,
        engine=leader and dict(
            holder=leader.holder, term=leader.term, renewed_at=views.time(leader.renewed_at),
            alive=leader.renewed_at is not None and now - leader.renewed_at < ALIVE),
        snapshot=info and dict(
            instances_at=views.time(info.instances_at), nodes_at=views.time(info.nodes_at),
            written_at=views.time(info.written_at), problems=list(info.problems),
            unknown_hosts=list(info.unknown_hosts)))))


def pause(call):
    """PUT /v1/pause."""
    wanted = call.body['pause']
    made = call.service.store.pause(wanted['paused'], wanted.get('reason', ''), call.who)
    LOG.info('%s %s new recoveries: %s', call.who, 'stops' if wanted['paused'] else 'allows',
             wanted.get('reason') or 'no reason given')
    return wire.Answer(dict(pause=_pause(made)))
