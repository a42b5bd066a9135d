#!/usr/bin/env python3
"""Make a picture of what a terminal showed, for the README.

Run the command in tmux, and let tmux say what is on the screen in the end:

    tmux new-session -d -s record -x 112 -y 50 'tools/quickstart.sh; sleep 600'
    tmux set-option -g history-limit 5000
    tmux capture-pane -t record -e -p -S - >screen
    tools/terminal_svg.py --command tools/quickstart.sh --keep 40-86 --keep 99-111 screen \\
        doc/source/quickstart.svg

Lines that are left out are shown as a line with three dots.
"""

import argparse
import io
import pathlib
import re
import sys

from rich import console
from rich import terminal_theme
from rich import text

# Rich would have the reader's browser fetch a font, and some programs drop leading spaces.
FORMAT = re.sub(r'@font-face \{\{.*?\}\}\s*', '', console.CONSOLE_SVG_FORMAT,
                flags=re.DOTALL).replace('<svg ', '<svg xml:space="preserve" ', 1)


def pieces(lines, ranges):
    """The lines of the ranges, first and last counted from 1; three dots for what is between."""
    found, end = [], 0
    for first, last in ranges:
        if first > end + 1:
            found.append('  \u22ee')
        found.extend(lines[first - 1:last])
        end = last
    return found + ['  \u22ee'] * (end < len(lines))


def a_range(word):
    """'40-86' as numbers."""
    first, _, last = word.partition('-')
    return int(first), int(last or first)


def main(argv=None):
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--command', required=True, help='that was run')
    parser.add_argument('--keep', type=a_range, action='append', metavar='FIRST-LAST')
    parser.add_argument('screen', type=pathlib.Path)
    parser.add_argument('svg', type=pathlib.Path)
    args = parser.parse_args(argv)
    lines = args.screen.read_text(encoding='utf-8').rstrip('\n').split('\n')
    shown = pieces(lines, args.keep) if args.keep else lines
    plain = [text.Text.from_ansi(line) for line in [f'$ {args.command}', *shown]]
    recorder = console.Console(record=True, file=io.StringIO(), force_terminal=True,
                               width=max(line.cell_len for line in plain) + 1)
    for line in plain:
        recorder.print(line, no_wrap=True, highlight=False)
    svg = recorder.export_svg(title=args.command, theme=terminal_theme.MONOKAI,
                              code_format=FORMAT, unique_id='terminal')
    args.svg.write_text(svg, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
