"""Who may do what. The rules are code; a policy.yaml overrides them one by one."""

import itertools

from oslo_config import cfg
from oslo_policy import policy

from vmha_nova.policies import base
from vmha_nova.policies import capacity
from vmha_nova.policies import events
from vmha_nova.policies import failures
from vmha_nova.policies import hosts
from vmha_nova.policies import load
from vmha_nova.policies import moves
from vmha_nova.policies import pause
from vmha_nova.policies import plans
from vmha_nova.policies import recoveries
from vmha_nova.policies import status

MODULES = (base, hosts, load, failures, recoveries, moves, plans, capacity, events, status, pause)


def list_rules():
    """Every rule, for oslo.policy's generators."""
    return list(itertools.chain.from_iterable(m.RULES for m in MODULES))


def enforcer(conf=None):
    """An enforcer that knows every rule.

    :param conf: without one, the configuration that the service finds by itself is read, as
                 oslo.policy's programs want it.
    """
    if conf is None:
        conf = cfg.ConfigOpts()
        conf([], project='vmha')
    made = policy.Enforcer(conf)
    made.register_defaults(list_rules())
    return made
