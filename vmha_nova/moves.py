"""Pure: what the answers of Nova mean for one move. Each function returns columns to change.

An evacuation is recognised by its record in Nova's migration list: those that existed before our
call are in ``move.known``, so a new one is ours. No clock of Nova's is compared with ours.
"""

import datetime

from vmha_nova import exception
from vmha_nova import model

NOT_TAKEN = 401                         # refused before Nova looked at what is asked for
DONE = frozenset({'done', 'completed'})
BROKEN = frozenset({'failed', 'error', 'cancelled'})
WAS_STOPPED = 'stopped'
SOON = 5.0                              # seconds before a refused call is considered again
# Seconds before a call that was never sent is repeated; each time twice as long.
RETRY, RETRY_MAX = 2.0, 60.0
_UNSENT = 'not sent, will be tried again: {}'


def _later(now, seconds):
    return now + datetime.timedelta(seconds=seconds)


def _end(state, reason, now, **values):
    return dict(state=state, reason=reason, ended_at=now, **values)


def as_before(move: model.Move, instance: model.Instance) -> bool:
    """Whether the guest is stopped if it was, and runs if it did."""
    return instance.vm_state == (WAS_STOPPED if move.was == WAS_STOPPED else 'active')


def on_its_way(move: model.Move) -> bool:
    """Whether it has a target that counts."""
    return bool(move.target) and move.state not in ('unplaced', 'left', 'gone', 'failed')


def uncounted(move: model.Move, cluster: model.Cluster) -> bool:
    """Whether Placement's used amounts do not contain this move yet (on the safe side)."""
    if not on_its_way(move):
        return False
    node = cluster.nodes.get(move.target)
    return node is not None and (
        node.usage_at is None or move.accepted_at is None or move.accepted_at > node.usage_at)


def bound(host: str, cluster: model.Cluster, rows) -> dict[str, str]:
    """Where instances go that the cluster still shows on their failed host: id -> target."""
    return {m.instance_id: m.target for m in rows if on_its_way(m)
            and (instance := cluster.instances.get(m.instance_id)) is not None
            and instance.host == host}


def records_of(move: model.Move, records) -> list[model.Migration]:
    """The evacuation records of this move's instance that came after our last call."""
    return [r for r in records if r.instance_id == move.instance_id and r.id not in move.known]


def first_call(rows) -> bool:
    """Whether the first calls are on their way, and none was answered yet."""
    return any(m.state == 'sending' for m in rows) and not any(
        m.attempts or m.faults for m in rows)


def running(move: model.Move, records) -> bool:
    """Whether Nova evacuates this instance right now, by whosever call."""
    return any(r.instance_id == move.instance_id and r.status not in DONE | BROKEN
               for r in records)


def line(recovery: model.Recovery, of_host) -> list[model.Recovery]:
    """The recovery, and those of its host that it took over from: it was not let in in between.

    One that is opened lets go the one before it in the same moment.
    """
    found = [recovery]
    while earlier := [r for r in of_host if r.released_at == found[-1].created_at
                      and r.id not in {one.id for one in found}]:
        found.append(earlier[0])
    return found


def unended(rows, records) -> dict[str, list[model.Migration]]:
    """Evacuations that Nova took from us, and of which none of these moves has seen the end.

    A target may die when the guest runs there, and before it has written itself down as its host.
    Nova shows such a guest on its source for ever, and makes the record 'completed' when that one
    starts again: it looks like one that never left.

    :returns: instance id -> its records; none where Nova took a call and lists nothing of it
    """
    found, asked = {}, {}
    for move in rows:
        if move.intent_at:
            asked.setdefault(move.instance_id, []).append(move)
    for ident, some in asked.items():
        new = {r.id: r for m in some for r in records_of(m, records)}
        landed = {r.id for m in some if m.landed_at for r in records_of(m, records)}
        left = [r for r in new.values() if r.status not in BROKEN and r.id not in landed]
        if left or not new and any(m.accepted_at and not m.landed_at for m in some):
            found[ident] = left
    return found


def ended(move: model.Move, records) -> bool:
    """Whether Nova has ended the evacuation that came after our last call, one way or another."""
    new = records_of(move, records)
    return bool(new) and all(r.status in DONE | BROKEN for r in new)


def done(move: model.Move, records) -> bool:
    """Whether Nova has ended that evacuation, and says that the instance has arrived."""
    new = records_of(move, records)
    return bool(new) and all(r.status in DONE for r in new)


def intend(move: model.Move, records, now: datetime.datetime) -> dict:
    """What is recorded before the evacuate call is sent."""
    known = sorted(r.id for r in records if r.instance_id == move.instance_id)
    return dict(state='sending', reason=f'asking Nova to evacuate to {move.target}', known=known,
                intent_at=now, accepted_at=None, landed_at=None, not_before=None)


def join(move: model.Move, records, policy: model.Policy, now: datetime.datetime) -> dict:
    """What is recorded where Nova evacuates the instance already.

    By a call of ours that was given up, or by somebody else's: it is followed, there is never a
    second one.
    """
    known = sorted(r.id for r in records if r.instance_id == move.instance_id
                   and r.status in DONE | BROKEN)
    return dict(state='unsure', reason='Nova evacuates it already', known=known, intent_at=now,
                accepted_at=None, landed_at=None, not_before=_later(now, policy.quiet))


def doubt(move: model.Move, records, recovery: model.Recovery, now: datetime.datetime) -> dict:
    """What is recorded where an earlier recovery's evacuation never ended: none is sent.

    :param records: as unended() has them for this instance
    """
    where = ' or '.join(sorted({r.target for r in records})) or 'the target of that'
    return _end('failed', f'it may run on {where}: an evacuation of an earlier recovery was taken '
                          'by Nova, and never ended. See that it runs nowhere, then "openstack '
                          f'vmha recovery release {recovery.id}", and report {recovery.host} '
                          'again if it is dead', now)


def sent(move: model.Move, error: Exception | None, policy: model.Policy,
         now: datetime.datetime) -> dict:
    """What the answer to the evacuate call means. ``error`` None: Nova took it."""
    if error is None:
        return dict(state='accepted', accepted_at=now, attempts=move.attempts + 1,
                    reason=f'Nova rebuilds it on {move.target}')
    if isinstance(error, exception.Unreachable) or getattr(error, 'code', 0) == NOT_TAKEN:
        return _not_sent(move, error, policy, now)
    # Ours, before anything was sent: no fault of this move.
    if isinstance(error, (exception.StoreUnavailable, exception.TermLost)):
        return dict(state='waiting', not_before=_later(now, RETRY), reason=_UNSENT.format(error))
    if isinstance(error, exception.NotFound):
        return _end('gone', 'deleted: Nova does not know it any more', now)
    if isinstance(error, exception.Rejected):
        return _refused(move, error, policy, now)
    # Anything else, a bug of ours included: nobody knows what Nova has seen.
    return dict(state='unsure', faults=move.faults + 1, not_before=_later(now, policy.quiet),
                reason=f'outcome unknown ({error}); nothing is sent for {policy.quiet:.0f} s')


def _not_sent(move, error, policy, now):
    """Nova's lists can be read, or nothing were sent: it may be this instance alone."""
    faults = move.faults + 1
    if faults >= policy.max_faults:
        return _end('failed', f'{faults} calls that came to nothing, the last one was not sent: '
                              f'{error}', now, faults=faults)
    pause = min(RETRY_MAX, RETRY * 2 ** move.faults)
    return dict(state='waiting', faults=faults, not_before=_later(now, pause),
                reason=_UNSENT.format(error))


def _refused(move, error, policy, now):
    tried = list(move.tried)
    if error.code == 400:
        tried.append(move.target)       # refused as it stands: not again with this target
    elif error.code != 409:
        return _end('failed', f'refused by Nova: {error}', now, attempts=move.attempts + 1)
    return _try_again(move, f'refused by Nova: {error}', tried, policy, now,
                      attempts=move.attempts + 1, not_before=_later(now, SOON))


def _try_again(move, why, tried, policy, now, attempts, not_before):
    if attempts >= policy.max_attempts:
        return _end('failed', f'{why} (attempt {attempts} of {policy.max_attempts})', now,
                    attempts=attempts, tried=tried)
    return dict(state='unplaced', reason=f'{why}; another node is looked for', tried=tried,
                attempts=attempts, not_before=not_before)


def follow(move: model.Move, source: str, instance: model.Instance | None, records,
           seen_at: datetime.datetime, policy: model.Policy, now: datetime.datetime) -> dict:
    """What Nova's lists say of a move under way (unsure, accepted, settling).

    :param instance: the server, None where Nova has proven it deleted.
    :param records: the evacuation records of the source.
    :param seen_at: when the older of the two lists was asked for.
    """
    if instance is None:
        return _end('gone', 'deleted while it was being moved', now)
    if move.state == 'settling':
        return _settled(move, instance, policy, now)
    new = records_of(move, records)
    if not new:
        return _no_trace(move, source, instance, seen_at, policy, now)
    last = max(new, key=lambda r: (r.created_at, r.id))
    if last.status in DONE:
        return _landed(move, source, instance, last, policy, now)
    if last.status in BROKEN and not instance.task_state:
        return {} if _too_early(move, last, seen_at) else _broken(
            move, source, instance, last, policy, now)
    return _still(move, last, policy, now)


def _too_early(move, last, seen_at):
    """Whether a broken record may be somebody else's, of right before a call of ours."""
    if move.accepted_at:
        return seen_at < move.accepted_at
    return bool(last.target != move.target and move.not_before and seen_at < move.not_before)


def _still(move, last, policy, now):
    since = move.accepted_at or move.intent_at
    if (now - since).total_seconds() > policy.move_timeout:
        return _end('failed', f'Nova has not finished the evacuation to {last.target} after '
                              f'{policy.move_timeout:.0f} s (its record {last.id} is '
                              f'"{last.status}"): look at nova-compute there, then retry', now)
    if move.state == 'unsure':
        return dict(state='accepted', accepted_at=now, not_before=None,
                    attempts=move.attempts + 1,
                    reason=f'Nova had taken the call and rebuilds it on {last.target}')
    return {}


def _no_trace(move, source, instance, seen_at, policy, now):
    elsewhere = instance.host and instance.host != source and not instance.task_state
    if elsewhere and instance.host == move.target:
        return arrived(move, instance, now)     # the list of records is the older one
    # Only lists asked for after the quiet period can prove that nothing was taken.
    quiet = move.not_before or _later(move.accepted_at, policy.quiet)
    if elsewhere:
        return {} if seen_at < quiet else _end(
            'gone', f'somebody else has moved it to {instance.host}', now)
    if move.accepted_at:                # also tried again since: there was a record, or will be
        since = (now - move.accepted_at).total_seconds()
        if since > policy.move_timeout:
            return _end('failed', 'Nova took the call and shows no record of it', now)
        return {}
    if not instance.known:              # its cell is down: nor are its records listed
        since = (now - move.intent_at).total_seconds()
        return {} if since <= policy.move_timeout else _end(
            'failed', 'its cell is down, and whether Nova took the call is not known', now)
    if seen_at < quiet:
        return {}
    if instance.task_state:
        # Nova's API may have died between writing that down and passing the call on. Or the call
        # waits there for somebody who is away: so there is no second one, however long this takes.
        if (now - move.intent_at).total_seconds() > policy.move_timeout:
            return _end('failed', 'the answer was lost, and Nova has it in task state '
                        f'{instance.task_state} without a record of an evacuation: see that '
                        'nothing is at it, then "openstack server set --state active '
                        f'{move.instance_id}", then retry', now)
        return dict(not_before=_later(now, policy.quiet),
                    reason=f'outcome unknown; Nova has it in task state {instance.task_state}')
    if move.faults >= policy.max_faults:
        return _end('failed', f'{move.faults} calls without an answer: {move.reason}', now)
    return dict(state='waiting', not_before=None,
                reason='Nova shows no trace of the call; it is sent again')


def _landed(move, source, instance, last, policy, now):
    """Nova says done; believe it when the instance's own record says so too."""
    if instance.host == source or not instance.host or instance.task_state:
        return _still(move, last, policy, now)
    return arrived(move, instance, now)


def arrived(move: model.Move, instance: model.Instance, now: datetime.datetime) -> dict:
    """What is left to do for an instance that our call has brought elsewhere."""
    if instance.vm_state == 'error':
        return _end('failed', f'it is on {instance.host}, in ERROR: {instance.fault}', now,
                    target=instance.host)
    landed = dict(landed_at=now, target=instance.host)
    if as_before(move, instance):
        return _end('moved', f'{instance.vm_state} on {instance.host}', now, **landed)
    return dict(state='settling', not_before=None, **landed,
                reason=f'it is {instance.vm_state} and was {move.was}')


def _settled(move, instance, policy, now):
    if as_before(move, instance) and not instance.task_state:
        return _end('moved', f'{instance.vm_state} on {instance.host}', now)
    if move.faults >= policy.max_faults or (
            (now - move.landed_at).total_seconds() > policy.move_timeout):
        return _end('failed', f'it is on {move.target}, but {instance.vm_state} where it was '
                              f'{move.was}: {move.reason}', now)
    return {}


def _broken(move, source, instance, last, policy, now):
    if instance.host and instance.host != source:
        return _end('failed', f'Nova ended the evacuation as "{last.status}" with the instance '
                              f'on {instance.host}, {instance.vm_state}', now)
    target = last.target or move.target
    # A call of unknown outcome was never counted; that it was taken is known now.
    attempts = move.attempts + (move.state == 'unsure')
    why = instance.fault or f'Nova ended the evacuation as "{last.status}"'
    return _try_again(move, f'{target}: {why}', [*move.tried, target], policy, now,
                      attempts=attempts, not_before=None)


def retry(move: model.Move, now: datetime.datetime) -> dict:
    """Another try of a move that failed, or was left because its recovery was aborted."""
    again = dict(attempts=0, faults=0, tried=[], ended_at=None,
                 reason="tried again at an operator's wish")
    if move.state == 'failed' and move.intent_at:
        # Nova may still be at it, or have ended it since: first that is looked at.
        return dict(again, state='unsure', intent_at=now, not_before=now,
                    accepted_at=now if move.accepted_at else None, landed_at=None)
    return dict(again, state='unplaced', not_before=None)


def power_act(move: model.Move, instance: model.Instance) -> str:
    """The call that puts the power state back: 'stop', 'start', or '' while none is due."""
    if instance.task_state or as_before(move, instance):
        return ''
    if move.was == WAS_STOPPED and instance.vm_state == 'active':
        return 'stop'
    return 'start' if move.was != WAS_STOPPED and instance.vm_state == 'stopped' else ''


def settled_call(move: model.Move, error: Exception | None, now: datetime.datetime) -> dict:
    """What the answer to that call means; it may be repeated without harm."""
    if error is None:
        return dict(not_before=_later(now, SOON))
    return dict(faults=move.faults + 1, not_before=_later(now, SOON),
                reason=f'power state not put back yet: {error}')
