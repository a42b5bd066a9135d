"""The journal."""

from vmha_nova.policies import base

RULES = [
    base.rule('events', 'list', base.READ, 'List the lines of the journal.', 'GET /v1/events'),
]
