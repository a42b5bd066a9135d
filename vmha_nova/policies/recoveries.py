"""What is done about failed hosts."""

from vmha_nova.policies import base

RULES = [
    base.rule('recoveries', 'list', base.READ, 'List the recoveries.', 'GET /v1/recoveries'),
    base.rule('recoveries', 'show', base.READ, 'Show a recovery with the acts recorded.',
              'GET /v1/recoveries/{recovery_id}'),
    base.rule('recoveries', 'act', base.ADMIN,
              'Approve, abort or retry a recovery, or release its host.',
              'POST /v1/recoveries/{recovery_id}/actions'),
]
