"""Pure: how far a recovery is, in a line; and what it waits for, in words.

``recovery`` is the API's JSON: moves is {state: how many}.
"""

from vmha_nova.osc import text

OVER = ('moved', 'left', 'gone', 'failed')      # states in which a move stays
BAR = 20                                # columns
SIGNS = {True: ('█', '▒', '░'), False: ('#', '=', '-')}     # over, under way, still to come
UNDER_WAY = ('sending', 'unsure', 'accepted', 'settling')
# A wish of these is still to be taken up by the engine: what is shown is what was before.
PENDING = ('retry', 'approve', 'abort')


def ended(recovery):
    """Whether nothing more will happen without anybody asking for it."""
    return recovery['ended_at'] is not None and recovery['wish'] not in PENDING


def elapsed(recovery, now):
    """Seconds since the host was reported, up to the end."""
    end = now if recovery['ended_at'] is None else text.time(recovery['ended_at'])
    return (end - text.time(recovery['reported_at'])).total_seconds()


def counts(recovery):
    """'12/20 moved, 3 under way, 1 failed'; '' before the instances are known."""
    moves = recovery['moves']
    total = sum(moves.values())
    if not total:
        return ''
    parts = [f'{moves.get("moved", 0)}/{total} moved']
    if going := sum(moves.get(s, 0) for s in UNDER_WAY):
        parts.append(f'{going} under way')
    parts += [f'{moves[s]} {s}' for s in ('failed', 'left', 'gone', 'unplaced') if moves.get(s)]
    return ', '.join(parts)


def state(recovery):
    """The state; with what was asked for and is still to be taken up."""
    found = recovery['state']
    if recovery['wish'] in PENDING:
        found += f' (to {recovery["wish"]})'
    return found


def sentence(recovery, now, reason=True):
    """A line of the log: what is so now, and why where that is wanted."""
    parts = [state(recovery), counts(recovery), text.clean(recovery['reason']) if reason else '']
    return (f'+{text.duration(elapsed(recovery, now))} {recovery["host"]}: '
            + ', '.join(filter(None, parts)))


def bar(moves, fancy, width=BAR):
    """The moves as a bar: over, under way, still to come."""
    total = sum(moves.values())
    signs = SIGNS[fancy]
    if not total:
        return signs[2] * width
    over = sum(moves.get(s, 0) for s in OVER)
    going = sum(moves.get(s, 0) for s in UNDER_WAY)
    full = width * over // total        # full only when all are over
    some = width * (over + going) // total - full
    if going and not some and full < width:
        some = 1
    return signs[0] * full + signs[1] * some + signs[2] * (width - full - some)


def line(recovery, now, width, fancy):
    """The line that is redrawn on a terminal, at most ``width`` columns."""
    parts = [text.duration(elapsed(recovery, now)), state(recovery), counts(recovery)]
    if recovery['state'] in ('held', 'confirmed'):
        parts.append(text.clean(recovery['reason']))
    moves = bar(recovery['moves'], fancy, BAR if width >= 80 else BAR // 2)
    return text.cut(f'{recovery["host"]} [{moves}] {", ".join(filter(None, parts))}', width,
                    '…' if fancy else '..')


def held(recovery, paused=False):
    """Sentences: what a held recovery waits for, and what lets it go on."""
    ident, reason = recovery['id'], text.clean(recovery['reason']).rstrip('.')
    found = [f'{recovery["host"]} is held: {reason}.']
    if 'openstack vmha' in reason:      # it says so itself
        return found
    if paused:
        found.append('Recoveries are paused: "openstack vmha resume" lets it go on.')
    elif 'recovery approve' in reason:
        found.append(f'"openstack vmha recovery approve {ident}" lets it go on.')
    elif 'place to go' in reason:
        found.append('It goes on by itself when a host has room: "openstack vmha plan show --host '
                     f'{recovery["host"]}" names what is missing, "openstack vmha host set HOST '
                     f'--spare" gives it a host, "openstack vmha recovery abort {ident}" ends it.')
    else:
        found.append('It goes on by itself when that changes; "openstack vmha recovery abort '
                     f'{ident}" ends it.')
    return found


def verdict(recovery, wanted=('recovered',)):
    """(exit status, sentence) of a recovery that has ended; 0 for the states that are wanted."""
    good = recovery['state'] in wanted
    sentence = f'{recovery["host"]} is {recovery["state"]}: {text.clean(recovery["reason"])}'
    if not good and recovery['state'] in ('partial', 'aborted'):
        sentence += (f'; "openstack vmha recovery show {recovery["id"]} --timeline" explains '
                     f'every instance, "openstack vmha recovery retry {recovery["id"]}" tries '
                     'again')
    return (0 if good else 1), sentence
