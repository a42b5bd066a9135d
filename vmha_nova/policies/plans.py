"""What would be done."""

from vmha_nova.policies import base

RULES = [
    base.rule('plans', 'create', base.READ, 'Ask what would be done if hosts died now.',
              'POST /v1/plans'),
]
