"""What the death of a host would mean."""

from vmha_nova.policies import base

RULES = [
    base.rule('capacity', 'list', base.READ, 'List what the death of each host would mean.',
              'GET /v1/capacity'),
    base.rule('capacity', 'show', base.READ,
              'Show what the death of a host would mean, with the instances that have no place.',
              'GET /v1/capacity/{host}'),
]
