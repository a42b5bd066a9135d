"""Reports that a host is down."""

from vmha_nova.policies import base

RULES = [
    base.rule('failures', 'list', base.READ, 'List the reports.', 'GET /v1/failures'),
    base.rule('failures', 'show', base.READ, 'Show a report.', 'GET /v1/failures/{failure_id}'),
    base.rule('failures', 'create', base.REPORT, 'Report a host as down.', 'POST /v1/failures'),
    base.rule('failures', 'force', base.ADMIN,
              'Report a host as down, with no check of the evidence.',
              'POST /v1/failures'),
    base.rule('failures', 'source', base.ADMIN,
              'Report a host as down in the name of a source that is acted upon with no check of '
              'the evidence ([detection] trust).', 'POST /v1/failures'),
]
