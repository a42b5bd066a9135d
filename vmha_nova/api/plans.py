"""/v1/plans: what would be done if hosts died now."""

from vmha_nova.api import wire
from vmha_nova import views


def _placement(host, one):
    return dict(host=host, instance_id=one.instance.id, name=one.instance.name,
                project_id=one.instance.project_id, priority=one.priority,
                target=one.target or None, left=one.left, reason=one.reason)


def create(call):
    """POST /v1/plans. Nothing is kept of it."""
    made = call.service.planner.plan(call.body['plan']['hosts'])
    return wire.Answer(dict(plan=dict(
        hosts=list(made.hosts), snapshot_at=views.time(made.snapshot_at),
        made_at=views.time(made.made_at), spares=list(made.spares),
        problems=list(made.problems), holds=dict(made.holds),
        placements=[_placement(host, one) for host, one in made.placements])))
