"""Tables that come from the code, so that the manual cannot say anything else than it does.

``.. vmha-states:: MOVE`` is a table of ``vmha_nova.states``: FAILURE, RECOVERY, MOVE or STEP.
``.. vmha-left-alone::`` is what ``vmha_nova.rules`` answers for each of Nova's states.
"""

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils

from vmha_nova import model
from vmha_nova import rules
from vmha_nova import states

# nova/compute/vm_states.py and task_states.py, as of Nova 34.
VM_STATES = (
    'active', 'stopped', 'error', 'paused', 'suspended', 'rescued', 'resized', 'building',
    'shelved', 'shelved_offloaded', 'soft-delete', 'deleted')
TASK_STATES = (
    'scheduling', 'block_device_mapping', 'networking', 'spawning', 'image_snapshot',
    'image_snapshot_pending', 'image_pending_upload', 'image_uploading', 'image_backup',
    'updating_password', 'resize_prep', 'resize_migrating', 'resize_migrated', 'resize_finish',
    'resize_reverting', 'resize_confirming', 'rebooting', 'reboot_pending', 'reboot_started',
    'rebooting_hard', 'reboot_pending_hard', 'reboot_started_hard', 'pausing', 'unpausing',
    'suspending', 'resuming', 'powering-off', 'powering-on', 'rescuing', 'unrescuing',
    'rebuilding', 'rebuild_block_device_mapping', 'rebuild_spawning', 'migrating', 'deleting',
    'soft-deleting', 'restoring', 'shelving', 'shelving_image_pending_upload',
    'shelving_image_uploading', 'shelving_offloading', 'unshelving')
MOVED = 'Evacuated.'


class _Table(docutils.SphinxDirective):
    """A directive that makes a table: ``titles``, ``widths`` (percent), and ``lines()``."""

    titles = ()
    widths = ()

    def lines(self):
        """The rows of the table, each a sequence of cells in reStructuredText."""
        raise NotImplementedError

    def run(self):
        text = ['.. list-table::', '   :header-rows: 1',
                '   :widths: ' + ' '.join(map(str, self.widths)), '']
        for line in (self.titles, *self.lines()):
            for number, cell in enumerate(line):
                text.append(f'   {"  " if number else "* "}- {cell}')
        container = nodes.Element()
        self.state.nested_parse(
            statemachine.StringList(text, source='vmha_tables'), self.content_offset, container)
        return container.children


class States(_Table):
    """The states of a thing, what they mean, and which may follow, where that is fixed."""

    required_arguments = 1
    titles = ('State', 'What it means', 'What may follow')
    widths = (15, 50, 35)

    def lines(self):
        self.env.note_dependency(states.__file__)
        for state, meaning in self.meanings.items():
            line = [f'``{state}``', meaning]
            if self.follows is not None:
                after = ', '.join(f'``{s}``' for s in self.follows.get(state, ()))
                line.append(after or 'nothing: final')
            yield line

    def run(self):
        name = self.arguments[0]
        self.meanings = getattr(states, name)
        self.follows = getattr(states, f'{name}_NEXT', None)
        if self.follows is None:
            self.titles, self.widths = self.titles[:2], (20, 80)
        return super().run()


class LeftAlone(_Table):
    """What becomes of an instance, by its vm_state and its task_state."""

    titles = ('Nova says', 'What happens, and the reason that is shown')
    widths = (45, 55)

    def lines(self):
        self.env.note_dependency(rules.__file__)
        for key, values in (('vm_state', VM_STATES), ('task_state', TASK_STATES)):
            answers = {}
            for value in values:
                answers.setdefault(self._answer(key, value), []).append(f'``{value}``')
            for answer, found in answers.items():
                yield f'{key} {", ".join(found)}', answer
        yield 'any other task_state', self._answer('task_state', 'unheard_of')
        yield 'any other vm_state', self._answer('vm_state', 'unheard_of')

    @staticmethod
    def _answer(key, value):
        instance = model.Instance('i', **{'vm_state': 'active', key: value})
        reason = rules.leave_reason(instance, model.Cluster(), model.Policy())
        for before in ('state', 'carry'):
            reason = reason.replace(f'{before} {value}', f'{before} …')
        return f'Left alone: *{reason}*' if reason else MOVED


def setup(app):
    """Called by Sphinx."""
    app.add_directive('vmha-states', States)
    app.add_directive('vmha-left-alone', LeftAlone)
    return {'parallel_read_safe': True}
