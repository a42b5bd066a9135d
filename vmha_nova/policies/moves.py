"""The instances' part in a recovery."""

from vmha_nova.policies import base

RULES = [
    base.rule('moves', 'list', base.READ, 'List the moves of a recovery.',
              'GET /v1/recoveries/{recovery_id}/moves'),
]
