"""The personas. What is shown here is the infrastructure's, so a project's reader is not enough.

``scope_types`` lets tokens of a project and of the whole system in, and keeps those of a domain
out.
"""

from oslo_policy import policy

PREFIX = 'vmha'

ADMIN = 'rule:admin'
READ = 'rule:admin or rule:reader or rule:service'
REPORT = 'rule:admin or rule:service'

RULES = [
    policy.RuleDefault('admin', 'role:admin', 'May do everything here.'),
    policy.RuleDefault(
        'reader', 'role:vmha_reader or (role:reader and system_scope:all)',
        'May see everything. Every member of a project is a reader there, so the role reader '
        'counts on the whole system only; the role vmha_reader counts in any project.'),
    policy.RuleDefault(
        'service', 'role:service',
        'Other services: they may see everything and report that a host is down.'),
]


def rule(noun, verb, check, description, *operations):
    """A rule; ``operations``: 'GET /v1/hosts', … that it is asked for."""
    return policy.DocumentedRuleDefault(
        name=f'{PREFIX}:{noun}:{verb}', check_str=check, description=description,
        operations=[dict(zip(('method', 'path'), one.split(), strict=True))
                    for one in operations],
        scope_types=['system', 'project'])
