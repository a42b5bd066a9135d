#!/usr/bin/env python3
"""Make the policy file that gives vmha-engine's own role what it needs of a service, and no more.

    oslopolicy-policy-generator --namespace nova | tools/least_policy.py nova > policy.d/vmha.yaml

What comes in are the policies in force, your own changes among them, as the generator of the
service's own installation prints them; what comes out changes nothing for anybody who has not
the role. It must not be in force yet: take the file away before it is made anew.

Nova, Cinder and Glance show what belongs to other projects only to whom they take for an
administrator (``context_is_admin``), whatever else the policies say. So the role is made one, and
every policy that would let it in for that reason is bound to what made one an administrator
before. In Neutron an administrator may do everything, whatever the policies say; there the role is
made an advanced service, which is shown everything as well.
"""

import argparse
import json
import re
import sys

ROLE = 'vmha'
ADMIN = 'context_is_admin'
#: To whom else a service shows everything: {service: policy}.
SHOWN_ALL = {'neutron': 'context_is_advsvc'}

_LINE = re.compile(r'\s*("(?:[^"\\]|\\.)+"): ("(?:[^"\\]|\\.)*")\s*')

# begin: what it needs
#: Of each service: {policy: what for}.
NEEDED = {
    'nova': {
        'os_compute_api:os-services:list': 'heartbeats; who is up, enabled, forced down',
        'os_compute_api:os-services:update': 'force down, disable, enable',
        'os_compute_api:os-hypervisors:list-detail': "which node is which provider of Placement's",
        'os_compute_api:os-hypervisors:show': 'whether a node that is listed no more is deleted',
        'os_compute_api:os-aggregates:index': 'aggregates',
        'os_compute_api:os-server-groups:index': 'server groups',
        'os_compute_api:os-server-groups:index:all_projects': 'those of all projects',
        'os_compute_api:servers:index': 'whether it may see what is deleted',
        'os_compute_api:servers:detail': 'instances',
        'os_compute_api:servers:detail:get_all_tenants': 'those of all projects',
        'os_compute_api:servers:allow_all_filters': 'the instances of one host',
        'os_compute_api:servers:show': 'one instance',
        'os_compute_api:servers:show:flavor-extra-specs': 'what an instance asks of its host',
        'os_compute_api:os-extended-server-attributes': 'on which host an instance is',
        'os_compute_api:os-migrations:index': 'evacuations under way',
        'os_compute_api:os-migrations:index:all_projects': 'those of all projects',
        'os_compute_api:os-migrations:index:host': 'from which host, and to which',
        'os_compute_api:os-evacuate': 'evacuate',
        'os_compute_api:os-admin-actions:reset_state': 'taking an instance out of ERROR',
        'os_compute_api:servers:start': 'putting a power state back',
        'os_compute_api:servers:stop': 'putting a power state back',
    },
    'placement': {
        'placement:allocation_candidates:list': 'how much room there is, and where',
    },
    # Nova works on the volumes of what it evacuates with the token of who has asked for it.
    'cinder': {
        'volume:get': 'which volume it is',
        'volume:attachment_create': 'attaching it on the new host',
        'volume:attachment_update': 'the same',
        'volume:attachment_complete': 'the same',
        'volume:attachment_delete': 'detaching it from the old one',
    },
    # And it looks at the ports of what it evacuates, before it asks for a host.
    'neutron': {
        'get_port': 'which kind of port it is',
    },
    # The same for the kernel and the ramdisk of an image that has some of its own.
    'glance': {
        'get_image': 'which image it is',
        'download_image': 'what is in it',
    },
}
# end: what it needs


def policy(service, lines, role=ROLE):
    """The lines of the policy file.

    :param lines: of the policies in force, ``"name": "check"``
    :raises KeyError: the service has not all of them under these names; names the others
    :raises ValueError: they are for the role already
    """
    needed, made = NEEDED[service], []
    checks = dict(map(json.loads, pair.groups()) for pair in map(_LINE.fullmatch, lines) if pair)
    shown_all = SHOWN_ALL.get(service, ADMIN)
    if missing := {*needed, *([shown_all] if service in SHOWN_ALL else ())} - checks.keys():
        raise KeyError(', '.join(sorted(missing)))
    before = checks.get(shown_all, 'role:admin')
    by_that = re.compile(rf'rule:{shown_all}\b' + r'|is_admin:True' * (shown_all == ADMIN))
    if any(re.search(rf'role:{re.escape(role)}\b', checks[name]) for name in needed):
        raise ValueError(f'the policies in force are for the role {role} already')
    for name, check in checks.items():
        bound = by_that.sub(f'({before})' if ' ' in before else before, check)
        if name == shown_all:
            bound = f'({check}) or role:{role}'
        elif name in needed and check:
            bound = f'({bound}) or role:{role}'
        if bound != check:
            made.append(f'{json.dumps(name)}: {json.dumps(bound)}')
    return made


def main():
    """Read the policies in force from stdin, print the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('service', choices=NEEDED)
    parser.add_argument('--role', default=ROLE, help='default %(default)s')
    options = parser.parse_args()
    try:
        made = policy(options.service, sys.stdin, options.role)
    except KeyError as e:
        sys.exit(f'{options.service} has no policy {e.args[0]}: is this all of them?')
    except ValueError as e:
        sys.exit(str(e))
    print('\n'.join(made))


if __name__ == '__main__':
    main()
