"""The switch that stops new recoveries."""

from vmha_nova.policies import base

RULES = [
    base.rule('pause', 'update', base.ADMIN,
              'Stop new recoveries from starting, or let them start again.',
              'PUT /v1/pause'),
]
