"""Pure: plans and moves as rows and as sentences."""

import dataclasses


def planned(placement, now):
    """A placement as columns of a move."""
    values = dict(priority=placement.priority, target=placement.target, reason=placement.reason)
    if placement.target:
        return dict(values, state='waiting')
    if placement.left:
        return dict(values, state='left', ended_at=now)
    return dict(values, state='unplaced')


def as_found(cluster, rows):
    """The cluster with instances as they were found, which an attempt may have put into ERROR."""
    broken = {}
    for move in rows:
        instance = cluster.instances.get(move.instance_id)
        if instance is not None and instance.vm_state == 'error' != move.was:
            broken[instance.id] = dataclasses.replace(instance, vm_state=move.was)
    if not broken:
        return cluster
    return dataclasses.replace(cluster, instances={**cluster.instances, **broken})


def tally(rows, none='no instances'):
    """'18 moved, 2 failed': the states of moves, counted; ``none`` where there are no moves."""
    counts = {}
    for move in rows:
        counts[move.state] = counts.get(move.state, 0) + 1
    return ', '.join(f'{n} {state}' for state, n in sorted(counts.items())) or none


def outcome(rows):
    """The final state of a recovery and its sentence."""
    failed = [m for m in rows if m.state == 'failed']
    if not failed:
        return 'recovered', tally(rows)
    first = failed[0]
    return 'partial', f'{tally(rows)}; {first.name or first.instance_id}: {first.reason}'


def describe(plan):
    """A plan in one sentence."""
    targets, none, left = {}, 0, 0
    for placement in plan.placements:
        if placement.target:
            targets[placement.target] = targets.get(placement.target, 0) + 1
        elif placement.left:
            left += 1
        else:
            none += 1
    parts = [f'{n} to {host}' for host, n in sorted(targets.items())]
    parts += [f'{none} without a place'] * bool(none) + [f'{left} left alone'] * bool(left)
    return ', '.join(parts) or 'nothing to move'
