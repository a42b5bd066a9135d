"""Pure: what the API shows and notifications carry, from the dataclasses of model.

Times are ISO 8601 in UTC, such as 2026-03-01T12:00:00.000000+00:00; what is not known is null.
"""

import typing

from vmha_nova import model
from vmha_nova import states


def time(value):
    """A time as text, None where there is none."""
    return None if value is None else value.isoformat(timespec='microseconds')


def failure(report: model.HostFailure) -> dict[str, typing.Any]:
    """A report that a host is down."""
    return dict(
        id=report.id, host=report.host, source=report.source, reason=report.reason,
        detected_at=time(report.detected_at), received_at=time(report.received_at),
        evidence=dict(report.evidence), forced=report.forced, state=report.state,
        meaning=states.FAILURE[report.state], detail=report.detail, repeats=report.repeats,
        recovery_id=report.recovery_id)


def recovery(one: model.Recovery, moves: typing.Mapping[str, int] = model.NOTHING,
             ) -> dict[str, typing.Any]:
    """A recovery; ``moves``: state -> how many of its moves are in it."""
    return dict(
        id=one.id, host=one.host, state=one.state, meaning=states.RECOVERY[one.state],
        stage=one.stage, reason=one.reason, wish=one.wish, approved=one.approved,
        reported_at=time(one.reported_at), created_at=time(one.created_at),
        updated_at=time(one.updated_at), ended_at=time(one.ended_at),
        released_at=time(one.released_at), moves=dict(moves))


def move(one: model.Move) -> dict[str, typing.Any]:
    """One instance's part in a recovery."""
    return dict(
        id=one.id, recovery_id=one.recovery_id, instance_id=one.instance_id, name=one.name,
        project_id=one.project_id, priority=one.priority, position=one.position,
        state=one.state, meaning=states.MOVE[one.state], reason=one.reason, target=one.target,
        was=one.was, attempts=one.attempts, faults=one.faults, tried=list(one.tried),
        intent_at=time(one.intent_at), accepted_at=time(one.accepted_at),
        landed_at=time(one.landed_at), ended_at=time(one.ended_at),
        not_before=time(one.not_before))


def step(one: model.Step) -> dict[str, typing.Any]:
    """A lasting act."""
    return dict(
        id=one.id, recovery_id=one.recovery_id, kind=one.kind, subject=one.subject,
        state=one.state, meaning=states.STEP[one.state], detail=one.detail,
        evidence=dict(one.evidence), at=time(one.at), ended_at=time(one.ended_at))


def event(one: model.Event) -> dict[str, typing.Any]:
    """A line of the journal."""
    return dict(
        id=one.id, at=time(one.at), last_at=time(one.last_at), level=one.level, kind=one.kind,
        host=one.host, recovery_id=one.recovery_id, text=one.text, repeats=one.repeats)


def mark(one: model.HostMark) -> dict[str, typing.Any]:
    """What is noted about a host."""
    return dict(
        host=one.host, spare=one.spare, pool=one.pool, maintenance=one.maintenance,
        maintenance_until=time(one.maintenance_until), parked=one.parked, backend=one.backend)
