"""What the directives have in common: reStructuredText, and how it becomes a part of a page."""

import re

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils


def plain(text):
    """A text in which nothing is markup."""
    return re.sub(r'([\\*`|_])', r'\\\1', text)


def literal(value):
    """A value as it is written."""
    return f'``{value}``'


def words(values):
    """Values, joined."""
    return ', '.join(map(literal, values))


def title(text, mark):
    """A heading, as lines."""
    return [text, mark * len(text), '']


def table(titles, widths, rows):
    """A table, as lines; ``widths`` are per cent."""
    yield from ('.. list-table::', '   :header-rows: 1',
                f'   :widths: {" ".join(map(str, widths))}', '')
    for row in (titles, *rows):
        for number, cell in enumerate(row):
            yield f'   {"  " if number else "* "}- {cell}'
    yield ''


def directive(lines):
    """A directive in whose place the lines are put that the function ``lines`` gives."""
    class Generated(docutils.SphinxDirective):
        def run(self):
            self.env.note_reread()      # they come from many files, and are made in no time
            container = nodes.Element()
            self.state.nested_parse(
                statemachine.StringList(list(lines()), source=lines.__module__),
                self.content_offset, container, match_titles=True)
            return container.children
    return Generated
