"""The table of routes: every address and method, who may use it, what it takes and gives."""

import typing

from vmha_nova.api import answers
from vmha_nova.api import capacity
from vmha_nova.api import control
from vmha_nova.api import documents
from vmha_nova.api import events
from vmha_nova.api import failures
from vmha_nova.api import hosts
from vmha_nova.api import load
from vmha_nova.api import plans
from vmha_nova.api import recoveries
from vmha_nova.api import schemas

one, page = answers.one, answers.page


class Route(typing.NamedTuple):
    """One operation. ``path`` names its variable parts, which schemas.PATHS describes."""

    method: str
    path: str
    handler: typing.Callable            # (wire.Call) -> wire.Answer
    policy: str                         # '': no token is needed
    summary: str
    answers: dict                       # status -> JSON schema; None: text
    query: dict = schemas.NO_QUERY
    body: dict | None = None
    # Statuses that are possible beside those every route of its kind has.
    refusals: tuple = ()

    @property
    def name(self):
        """A name of its own: get_v1_hosts."""
        words = self.path.replace('{', '').replace('}', '').replace('.', '_').split('/')
        return '_'.join([self.method.lower(), *filter(None, words)])


def table(max_limit, document, metrics=False):
    """The routes.

    :param document: handler of the OpenAPI document
    :param metrics: whether there are any to show
    """
    found = [
        Route('GET', '/', documents.versions, '', 'The versions of the API.',
              {200: answers.VERSIONS}),
        Route('GET', '/v1', documents.version, '', 'The version 1 of the API.',
              {200: answers.VERSION}),
        Route('GET', '/v1/openapi.json', document, '', 'This document.', {200: answers.FREE}),
        Route('GET', '/v1/hosts', hosts.index, 'vmha:hosts:list',
              'The compute nodes, and how each is protected.', {200: page('hosts', 'Host')},
              schemas.hosts(max_limit)),
        Route('GET', '/v1/hosts/{host}', hosts.show, 'vmha:hosts:show', 'A compute node.',
              {200: one('host', 'Host')}, refusals=(404,)),
        Route('PATCH', '/v1/hosts/{host}', hosts.update, 'vmha:hosts:update',
              'Mark a compute node.', {200: one('host', 'Host')}, body=schemas.HOST_UPDATE,
              refusals=(404, 409)),
        Route('GET', '/v1/load', load.index, 'vmha:load:list',
              'How loaded each compute node is.', {200: page('load', 'Load')},
              schemas.load(max_limit)),
        Route('POST', '/v1/failures', failures.create, 'vmha:failures:create',
              'Report a host as down. 200: the same report is there already.',
              {202: one('failure', 'Failure'), 200: one('failure', 'Failure')},
              body=schemas.FAILURE_CREATE, refusals=(404,)),
        Route('GET', '/v1/failures', failures.index, 'vmha:failures:list',
              'Reports that a host is down, the newest first.',
              {200: page('failures', 'Failure')}, schemas.failures(max_limit)),
        Route('GET', '/v1/failures/{failure_id}', failures.show, 'vmha:failures:show',
              'A report that a host is down.', {200: one('failure', 'Failure')},
              refusals=(404,)),
        Route('GET', '/v1/recoveries', recoveries.index, 'vmha:recoveries:list',
              'What is done about failed hosts, the newest first.',
              {200: page('recoveries', 'Recovery')}, schemas.recoveries(max_limit)),
        Route('GET', '/v1/recoveries/{recovery_id}', recoveries.show, 'vmha:recoveries:show',
              'A recovery, with the acts recorded.', {200: one('recovery', 'RecoveryDetail')},
              refusals=(404,)),
        Route('POST', '/v1/recoveries/{recovery_id}/actions', recoveries.act,
              'vmha:recoveries:act', 'Approve, abort or retry a recovery, or release its host.',
              {202: one('recovery', 'Recovery')}, body=schemas.ACTION, refusals=(404, 409)),
        Route('GET', '/v1/recoveries/{recovery_id}/moves', recoveries.moves, 'vmha:moves:list',
              "The instances' part in a recovery, in the order in which they are sent.",
              {200: page('moves', 'Move')}, schemas.moves(max_limit), refusals=(404,)),
        Route('POST', '/v1/plans', plans.create, 'vmha:plans:create',
              'What would be done if these hosts died now.', {200: one('plan', 'Plan')},
              body=schemas.PLAN_CREATE, refusals=(404, 409)),
        Route('GET', '/v1/capacity', capacity.index, 'vmha:capacity:list',
              'What the death of each host would mean.',
              {200: page('capacity', 'Capacity')}, schemas.capacity(max_limit)),
        Route('GET', '/v1/capacity/{host}', capacity.show, 'vmha:capacity:show',
              'The same of one host, with the instances that have no place.',
              {200: one('capacity', 'CapacityDetail')}, refusals=(404,)),
        Route('GET', '/v1/events', events.index, 'vmha:events:list',
              'The journal, the newest line first.', {200: page('events', 'Event')},
              schemas.events(max_limit)),
        Route('GET', '/v1/status', control.status, 'vmha:status:show',
              'Who leads, how fresh the view of the cloud is, whether there is a pause.',
              {200: one('status', 'Status')}),
        Route('PUT', '/v1/pause', control.pause, 'vmha:pause:update',
              'Stop new recoveries from starting, or let them start again.',
              {200: one('pause', 'Pause')}, body=schemas.PAUSE_UPDATE),
    ]
    if metrics:
        found.append(Route('GET', '/metrics', documents.metrics, '',
                           'Measurements, in the form of Prometheus.', {200: None}))
    return found
