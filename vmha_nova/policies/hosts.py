"""Hosts and their marks."""

from vmha_nova.policies import base

RULES = [
    base.rule('hosts', 'list', base.READ, 'List the hosts.', 'GET /v1/hosts'),
    base.rule('hosts', 'show', base.READ, 'Show a host.', 'GET /v1/hosts/{host}'),
    base.rule('hosts', 'update', base.ADMIN, 'Mark a host: spare, pool, maintenance, backend.',
              'PATCH /v1/hosts/{host}'),
]
