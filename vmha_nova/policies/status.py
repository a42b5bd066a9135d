"""The state of this service."""

from vmha_nova.policies import base

RULES = [
    base.rule('status', 'show', base.READ,
              'Show who leads, how fresh the view of the cloud is, and whether there is a pause.',
              'GET /v1/status'),
]
