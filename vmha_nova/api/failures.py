"""/v1/failures: reports that a host is down."""

import logging

from vmha_nova.api import check
from vmha_nova.api.errors import Refused
from vmha_nova.api import hosts
from vmha_nova.api import wire
from vmha_nova import views

LOG = logging.getLogger(__name__)
OPERATOR = 'operator'                   # the source where none is named
LARGEST_EVIDENCE = 16384                # characters of JSON: a list shows a thousand of them


def index(call):
    """GET /v1/failures."""
    return wire.page(call, 'failures', call.service.pages.failures)


def show(call):
    """GET /v1/failures/{failure_id}."""
    return wire.Answer(dict(failure=call.service.pages.failure(call.path['failure_id'])))


def create(call):
    """POST /v1/failures. The engine takes it up within a second, whenever it runs."""
    service, report = call.service, call.body['failure']
    host, reason, force = report['host'], report.get('reason', ''), report.get('force', False)
    source, evidence = report.get('source', OPERATOR), report.get('evidence', {})
    if service.worth(source) == 'act':
        call.allow('vmha:failures:source', f'what {source} reports is acted on unchecked')
    if force:
        call.allow('vmha:failures:force')
        reason = f'{reason} (forced by {call.who})'.lstrip()
    if len(check.text(evidence)) > LARGEST_EVIDENCE:
        raise Refused(400, f'evidence: more than {LARGEST_EVIDENCE} characters')
    if service.store.snapshot_info() is not None:
        hosts.known(service, host)
    user = call.user
    evidence = dict(evidence, reporter=dict(
        user_id=user.user_id, user=user.user_name, project_id=user.project_id))
    made, new = service.store.report_failure(
        host, source, reason,
        check.time(report['detected_at']) if 'detected_at' in report else None, evidence, force)
    if new:
        LOG.info('%s reports %s as down%s: %s', call.who, host, ', by force' if force else '',
                 reason)
    return wire.Answer(dict(failure=views.failure(made)), 202 if new else 200)
