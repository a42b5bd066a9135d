"""The load of the hosts."""

from vmha_nova.policies import base

RULES = [
    base.rule('load', 'list', base.READ, 'List the load of the hosts.', 'GET /v1/load'),
]
