"""Every state, with one line that says what it means, and what may follow it.

A state not listed as a key of a ``*_NEXT`` table is final.
"""

import types

from vmha_nova import exception

# -- a report that a host is down ---------------------------------------------------------------
FAILURE = types.MappingProxyType({
    'new': 'Reported; the engine has not looked at it yet.',
    'checking': 'The engine waits for the evidence to settle.',
    'accepted': 'Taken: a recovery was opened for it.',
    'duplicate': 'A recovery of this host exists already; nothing more is done.',
    'dismissed': 'Not acted upon; the reason says why.',
})
FAILURE_NEXT = types.MappingProxyType({
    'new': ('checking', 'accepted', 'duplicate', 'dismissed'),
    'checking': ('accepted', 'duplicate', 'dismissed'),
})

# -- what is done about one failed host ---------------------------------------------------------
RECOVERY = types.MappingProxyType({
    'confirmed': 'The host is taken for dead; what can be moved where is being worked out.',
    'fenced': "Evidence is recorded that the host cannot write any more, or the operator's word.",
    'down_in_nova': 'Nova takes the host for down and schedules nothing there.',
    'moving': 'Instances are being evacuated.',
    'held': 'Waits for what its reason says; goes on by itself when that changes.',
    'dismissed': 'The host was alive after all, before anything was moved.',
    'recovered': 'Every instance is moved, gone, or left alone by policy.',
    'partial': 'Over, but some instances failed for good; each says why.',
    'aborted': 'Ended by an operator; what Nova had taken up goes on in Nova.',
})
RECOVERY_NEXT = types.MappingProxyType({
    'confirmed': ('fenced', 'held', 'aborted', 'dismissed', 'recovered', 'partial'),
    'fenced': ('down_in_nova', 'held', 'aborted'),
    'down_in_nova': ('moving', 'held', 'aborted', 'recovered', 'partial'),
    'moving': ('recovered', 'partial', 'held', 'aborted'),
    'held': ('confirmed', 'fenced', 'down_in_nova', 'moving', 'dismissed', 'recovered', 'partial',
             'aborted'),
    'partial': ('moving', 'confirmed'),         # an operator asks for another try
    'aborted': ('confirmed',),                  # the same
})

# -- one instance's part in a recovery ----------------------------------------------------------
MOVE = types.MappingProxyType({
    'waiting': 'Has a target and waits for its turn.',
    'unplaced': 'No node can take it now, the reason says why; decided again as that changes.',
    'sending': 'The evacuate call is recorded and may be on its way to Nova.',
    'unsure': 'Nobody knows whether Nova took the call; nothing is sent until that is known.',
    'accepted': 'Nova has taken the call and rebuilds the instance on the target.',
    'settling': 'It has moved; its power state is being put back.',
    'moved': 'Runs (or is stopped, as before) on the target.',
    'left': 'Left alone by policy; the reason says which.',
    'gone': 'Deleted, or moved by somebody else.',
    'failed': 'Not moved, for good; the reason says why.',
})
MOVE_NEXT = types.MappingProxyType({
    'waiting': ('sending', 'unsure', 'unplaced', 'settling', 'moved', 'gone', 'left', 'failed'),
    'unplaced': ('waiting', 'settling', 'moved', 'gone', 'left', 'failed'),
    'sending': ('accepted', 'unsure', 'waiting', 'unplaced', 'gone', 'failed', 'left'),
    'unsure': ('accepted', 'settling', 'moved', 'waiting', 'unplaced', 'gone', 'failed'),
    'accepted': ('settling', 'moved', 'waiting', 'unplaced', 'gone', 'failed'),
    'settling': ('moved', 'gone', 'failed'),
    'failed': ('unsure', 'unplaced'),           # an operator asks for another try
    'left': ('unplaced',),                      # the same
})
MOVE_FINAL = frozenset({'moved', 'left', 'gone', 'failed'})
IN_FLIGHT = frozenset({'sending', 'unsure', 'accepted', 'settling'})
RECOVERY_OVER = frozenset({'dismissed', 'recovered', 'partial', 'aborted'})

# -- one irreversible or lasting act, recorded before and after ---------------------------------
STEP = types.MappingProxyType({
    'intended': 'Recorded, about to be done; after a crash nobody knows whether it was.',
    'done': 'Done by this service.',
    'not_ours': 'Found done by somebody else; will not be undone.',
    'failed': 'Tried, and did not work; the detail says why.',
    'undone': 'Taken back.',
})


def check(table, old, new):
    """Raise InvalidTransition unless ``new`` may follow ``old`` (or is the same)."""
    if new != old and new not in table.get(old, ()):
        raise exception.InvalidTransition(f'{old} -> {new}')


def no_such_host(host):
    """What to say of a name that is none of a compute node."""
    return (f'Nova has no compute node {host!r}; names must be those of "openstack compute '
            'service list", the domain included')


def paused(pause):
    """Why nothing begins while an operator has paused recoveries (model.Pause)."""
    return (f'recoveries are paused by {pause.user or "an operator"}'
            f'{": " + pause.reason if pause.reason else ""} (go on with "openstack vmha resume")')
