"""``.. vmha-events::``: every type of notification that is sent, and what it carries."""

import pathlib

import vmha_rst

from vmha_nova import notifier
from vmha_nova import states

SAMPLES = pathlib.Path(__file__).resolve().parents[1] / '_samples'
FAILURE, RECOVERY, MOVE = (
    f':ref:`{name} <vmha-api-{name.lower()}>`' for name in ('Failure', 'Recovery', 'Move'))


def events():
    """Type -> (payload, when it is sent)."""
    found = {'vmha.host.reported': (FAILURE, states.FAILURE['new'])}
    for state, meaning in states.FAILURE.items():
        if state != 'new':
            found[f'vmha.host.{state}'] = FAILURE, meaning
    found['vmha.host.updated'] = 'marks', 'The marks of a host were changed.'
    found['vmha.host.verdict'] = 'verdict', 'vmha-monitor thinks otherwise of a host than before.'
    found['vmha.host.released'] = RECOVERY, (
        'A host that had failed is in service again, was let go, or has failed anew.')
    found.update((f'vmha.recovery.{state}', (RECOVERY, meaning))
                 for state, meaning in states.RECOVERY.items())
    found.update((f'vmha.move.{state}', (MOVE, meaning))
                 for state, meaning in states.MOVE.items())
    found['vmha.cloud.storm'] = 'storm', (
        'Too many hosts have failed: recoveries are held until an operator approves.')
    found['vmha.cloud.calm'] = 'storm', 'No recovery is held for a storm any more.'
    found['vmha.cloud.no_spare'] = 'pool', 'No spare of a pool is free any more.'
    found['vmha.cloud.spare_again'] = 'pool', 'There is a free spare again.'
    if unknown := {path.stem for path in SAMPLES.glob('vmha.*.json')} - found.keys():
        raise ValueError(f'samples of types that are not known: {", ".join(sorted(unknown))}')
    return found


def table():
    """The table."""
    return vmha_rst.table(('Event type', 'Priority', 'Payload', 'When'), (26, 10, 14, 50), (
        (vmha_rst.literal(name), notifier.PRIORITY.get(name, 'info'), payload,
         vmha_rst.plain(meaning)) for name, (payload, meaning) in events().items()))


def setup(app):
    """Called by Sphinx."""
    app.add_directive('vmha-events', vmha_rst.directive(table))
    return {'parallel_read_safe': True}
