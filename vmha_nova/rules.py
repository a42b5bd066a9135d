"""What may be moved, and what may take it: predicates that return their reason, '' when it holds.

A reason about a node is a verb phrase that follows the host's name ('is down in Nova'), so that
it can be counted: see ``summary``.
"""

import datetime
import re
import typing

from vmha_nova import model

PRIORITY, PRIORITY_KEY, PROTECT_KEY = 50, 'vmha:priority', 'vmha:protect'
AGGREGATE_SPEC, TENANT_KEY = 'aggregate_instance_extra_specs:', 'filter_tenant_id'
TRAIT_SPEC = 'trait:'
ANY_OTHER = '(any other)'                 # a project that no aggregate names

_OFF = frozenset({'false', 'no', '0', 'off'})
_MOVABLE = frozenset({'active', 'stopped'})
_NOT_CARRIED = frozenset({
    'building', 'paused', 'rescued', 'resized', 'shelved', 'shelved_offloaded', 'suspended'})
_DELETING = frozenset({'deleting', 'soft-deleting'})
_DELETED = frozenset({'deleted', 'soft-delete'})
# What ends with the host and leaves an instance that Nova can evacuate. Listed, because a task
# that is not known here may be one that moves or deletes the instance.
_INTERRUPTED = frozenset({
    '', 'block_device_mapping', 'image_backup', 'image_pending_upload', 'image_snapshot',
    'image_snapshot_pending', 'image_uploading', 'networking', 'pausing', 'powering-off',
    'powering-on', 'reboot_pending', 'reboot_pending_hard', 'reboot_started',
    'reboot_started_hard', 'rebooting', 'rebooting_hard', 'rescuing', 'restoring', 'resuming',
    'scheduling', 'shelving', 'shelving_image_pending_upload', 'shelving_image_uploading',
    'shelving_offloading', 'spawning', 'suspending', 'unpausing', 'unrescuing', 'unshelving',
    'updating_password'})
_GROUP_POLICIES = frozenset({'anti-affinity', 'soft-anti-affinity', 'soft-affinity'})

_NAMES, _KINDS = 3, 8       # shown in a summary: hosts of one kind of refusal, kinds of refusal
_PLURAL = {'has': 'have', 'is': 'are', 'lacks': 'lack', 'offers': 'offer', 'serves': 'serve'}


class Wants(typing.NamedTuple):
    """What a target must be like, beside having room. Equal for instances that want the same."""

    zone: str
    pool: str                               # the spares of this pool, and no others
    backend: str                            # '': any
    project: str                            # '': it makes no difference; or ANY_OTHER
    traits: frozenset[str]
    forbidden: frozenset[str]
    aggregates: tuple[tuple[str, str], ...]  # aggregate_instance_extra_specs


# -- about an instance ---------------------------------------------------------------------------
def priority(instance: model.Instance) -> tuple[int, str]:
    """The instance's ``vmha:priority``, 0 to 100, and what is wrong with it ('' if nothing is)."""
    text = instance.metadata.get(PRIORITY_KEY)
    if text is None:
        return PRIORITY, ''
    if re.fullmatch(r'[0-9]{1,2}|100', text.strip()):
        return int(text), ''
    return PRIORITY, f'{PRIORITY_KEY} {text!r} is not a number from 0 to 100, {PRIORITY} was used'


def leave_reason(instance: model.Instance, cluster: model.Cluster, policy: model.Policy) -> str:
    """Why the instance is left alone, for good as far as this service goes; '': it is to be moved.

    Members of a strict affinity group are left, not unplaced: Nova counts the dead host as the
    group's, so no node that appears or frees room would ever change the answer, and a recovery
    must not wait for it. Of an instance that is not known nothing can be said: ''.
    """
    if not instance.known:
        return ''
    return (_protection(instance, policy)
            or task_reason(instance.task_state)
            or _vm_state(instance.vm_state, policy)
            or _affinity(instance, cluster)
            or (instance.backing.local if instance.backing else ''))


def _protection(instance, policy):
    if instance.metadata.get(PROTECT_KEY, '').strip().lower() in _OFF:
        return f'its owner asked for no protection ({PROTECT_KEY})'
    if instance.project_id in policy.untouched_projects:
        return f'policy leaves project {instance.project_id} alone'
    return ''


def task_reason(state: str) -> str:
    """Why a server with this task_state is not to be touched."""
    if state in _DELETING:
        return f'it is being deleted (task_state {state})'
    if state == 'migrating' or state.startswith('resize_'):
        return f'it was being moved (task_state {state})'
    if state.startswith('rebuild'):
        return f'somebody evacuates or rebuilds it (task_state {state})'
    if state not in _INTERRUPTED:
        return f'its task_state {state} is not known here'
    return ''


def _vm_state(state, policy):
    if state in _DELETED:
        return f'it is deleted (vm_state {state})'
    if state in _NOT_CARRIED:
        return f'Nova cannot carry {state} through an evacuation'
    if state == 'error':
        return '' if policy.evacuate_error else 'it was in ERROR before'
    if state not in _MOVABLE:
        return f"its vm_state {state or '(none)'} is not known here"
    return ''


def _affinity(instance, cluster):
    group = cluster.groups.get(cluster.group_of.get(instance.id, ''))
    if group is not None and group.policy == 'affinity':
        return 'Nova cannot evacuate a member of a strict-affinity group'
    return ''


def unknown_reason(instance: model.Instance, host: str, cluster: model.Cluster,
                   policy: model.Policy) -> str:
    """What must be known before any target can be judged, and is not; it waits until it is.

    ``host`` is the failed host.
    """
    node = cluster.nodes.get(host)
    group_id = cluster.group_of.get(instance.id)
    group = cluster.groups.get(group_id) if group_id else None
    if not instance.known:
        return 'its cell was down when Nova listed it, only its id is known'
    if not any(amount > 0 for amount in instance.needs.values()):
        return 'what it needs is not known'
    if not (node and node.zone or instance.zone):
        return 'its zone is not known'
    if instance.backing is not None and instance.backing.unsure:
        return instance.backing.unsure
    if policy.need_same_backend and instance.backing is None and not (node and node.backend):
        return f'the image backend of {host} is not known, and a target must have the same'
    if group_id and group is None:
        return f'its server group {group_id} is not known'
    if group is not None and group.policy not in _GROUP_POLICIES:
        return f'the policy {group.policy} of its server group is not known here'
    return ''


def wants(instance: model.Instance, node: model.ComputeNode | None,
          policy: model.Policy) -> Wants:
    """What a target of the instance must be like; ``node`` is its failed host, None if unknown."""
    traits = {key.removeprefix(TRAIT_SPEC): value for key, value in instance.extra_specs.items()
              if key.startswith(TRAIT_SPEC)}
    backend = ''
    if policy.need_same_backend:
        backend = instance.backing.backend if instance.backing else node.backend if node else ''
    return Wants(
        zone=node.zone if node and node.zone else instance.zone,
        pool=node.pool if node else '',
        backend=backend,
        project=instance.project_id,
        traits=frozenset(t for t, value in traits.items() if value == 'required'),
        forbidden=frozenset(t for t, value in traits.items() if value == 'forbidden'),
        aggregates=tuple(sorted(
            (key.removeprefix(AGGREGATE_SPEC), value)
            for key, value in instance.extra_specs.items() if key.startswith(AGGREGATE_SPEC))))


# -- about a node --------------------------------------------------------------------------------
def measured(node: model.ComputeNode, policy: model.Policy,
             now: datetime.datetime) -> float | None:
    """The measured CPU share while the measurement counts, else None."""
    if node.cpu_share is None or node.cpu_share_at is None:
        return None
    # A stamp ahead of our clock is as far off as one behind it.
    age = abs((now - node.cpu_share_at).total_seconds())
    return node.cpu_share if age <= policy.cpu_share_ttl else None


def target_problem(node: model.ComputeNode, policy: model.Policy,
                   now: datetime.datetime) -> str:
    """Why nothing may be sent to the node, whatever it is; '': it may be a target."""
    if node.forced_down:
        return 'is forced down'
    if not node.up:
        return 'is down in Nova'
    if node.maintenance:
        return 'is in maintenance'
    if not node.enabled and not (node.spare and node.parked):
        return f"is disabled ({node.disabled_reason or 'no reason given'})"
    if not node.capacity:
        return 'has a capacity that is not known'
    if not node.has_room:
        return "has no room by Placement's last answer"
    share = measured(node, policy, now)
    if share is not None and share > policy.max_cpu_share:
        return f'is pressed (CPU above {100 * policy.max_cpu_share:.0f} %)'
    return ''


def match_problem(node: model.ComputeNode, wanted: Wants) -> str:
    """Why the node is not what ``wanted`` describes."""
    if node.spare and node.pool != wanted.pool:
        return f"serves as spare of pool {node.pool or '(none)'}"
    if node.zone != wanted.zone:
        return 'is in another zone'
    if wanted.backend and node.backend != wanted.backend:
        return f'has another image backend ({node.backend})' if node.backend else (
            'has an image backend that is not known')
    if missing := wanted.traits - node.traits:
        return f'lacks trait {min(missing)}'
    if present := wanted.forbidden & node.traits:
        return f'has forbidden trait {min(present)}'
    return _aggregate_problem(node, wanted) if wanted.aggregates or wanted.project else ''


def _aggregate_problem(node, wanted):
    for key, value in wanted.aggregates:
        # Plain equality and Nova's <or>; its other operators match nothing here, so an instance
        # that uses them waits, visibly, instead of being sent where Nova refuses it.
        words = value.split()
        accepted = set(words[1::2]) if words[:1] == ['<or>'] else {value}
        if not accepted & _metadata(node, key):
            return f'is in no aggregate with {key} = {value}'
    if wanted.project and (owners := _owners(node.aggregates)) and wanted.project not in owners:
        return 'is reserved for other projects'
    return ''


def _metadata(node, key):
    return {value for a in node.aggregates if key in a.metadata
            for value in _values(a.metadata[key])}


def _values(text):
    """What Nova's filters read in the value of a metadata key: commas separate."""
    return {value.strip() for value in text.split(',')}


def _owners(aggregates):
    """The projects that these aggregates are reserved for; none: it is open to all."""
    return {value for a in aggregates for key, text in a.metadata.items()
            if key.startswith(TENANT_KEY) for value in _values(text)}


def named_projects(nodes: typing.Iterable[model.ComputeNode]) -> set[str]:
    """The projects that some node is reserved for."""
    # Nodes share their aggregates; thousands of nodes have a few of them.
    return _owners({id(a): a for node in nodes for a in node.aggregates}.values())


def room_problem(node: model.ComputeNode, needs: model.Resources,
                 extra: model.Resources = model.NOTHING) -> str:
    """Why ``needs``, all above 0, does not fit beside what is used there and ``extra``."""
    for name, amount in needs.items():
        capacity = node.capacity.get(name, 0)
        if not capacity:
            return f'offers no {name}'
        if node.used.get(name, 0) + extra.get(name, 0) + amount > capacity:
            return f'lacks {name}'
    return ''


def group_problem(group: model.ServerGroup | None, members_there: int) -> str:
    """Why a member of ``group`` may not go where ``members_there`` others are or will be."""
    if group is not None and group.policy == 'anti-affinity' and (
            members_there >= group.max_per_host):
        return 'has a member of its anti-affinity group'
    return ''


# -- in words ------------------------------------------------------------------------------------
def summary(refusals: typing.Mapping[str, typing.Sequence[str]]) -> str:
    """Reasons and the hosts each holds for, in one line: '2 hosts lack VCPU (c2, c4), …'."""
    kinds = sorted(refusals.items(), key=lambda item: (-len(item[1]), item[0]))
    parts = [_counted(*kind) for kind in kinds[:_KINDS]]
    if rest := sum(len(hosts) for _, hosts in kinds[_KINDS:]):
        parts.append(f'and {rest} more for other reasons')
    return ', '.join(parts)


def _counted(reason, hosts):
    names = ', '.join(sorted(hosts)[:_NAMES]) + (', …' if len(hosts) > _NAMES else '')
    if len(hosts) > 1:
        verb, _, rest = reason.partition(' ')
        reason = f'{_PLURAL.get(verb, verb)} {rest}'
    return f"{len(hosts)} {'hosts' if len(hosts) > 1 else 'host'} {reason} ({names})"
