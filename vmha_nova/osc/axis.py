"""Pure: a time axis of so many columns, which leaves out long times in which nothing happened.

Times are seconds from any origin. A recovery that was held for a day and then done in a minute is
drawn with that minute as wide as if nobody had waited.
"""

from vmha_nova.osc import text

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
         172800, 604800, 2592000, 31536000)
LONG = 60.0                             # seconds of nothing that may be left out,
SHARE = 0.3                             # where they are so much of all that is drawn
ROOM = 8                                # columns for a label


def _merged(spans):
    """Spans (start, end) joined where they overlap, in order."""
    joined = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return joined


def _breaks(busy):
    """The places in ``busy`` (merged spans) after which the time up to the next is left out."""
    gaps = sorted(((after[0] - before[1], place)
                   for place, (before, after) in enumerate(zip(busy, busy[1:], strict=False))),
                  reverse=True)
    drawn, found = busy[-1][1] - busy[0][0], set()
    for gap, place in gaps:
        if gap <= max(LONG, SHARE * drawn):
            break
        found.add(place)
        drawn -= gap
    return found


class Axis:
    """The axis. ``spans``: (start, end) of all that is to be seen on it, at least one."""

    def __init__(self, spans, width):
        busy = _merged(spans)
        breaks = _breaks(busy)
        self.width = width
        self.parts = [busy[0][:]]       # [start, end] of what is drawn, with a break in between
        for place, span in enumerate(busy[1:]):
            if place in breaks:
                self.parts.append(span[:])
            else:
                self.parts[-1][1] = span[1]
        drawn = sum(end - start for start, end in self.parts)
        if len(self.parts) > 1:         # so that a moment before a break has a column
            margin = max(0.05 * drawn, 0.5)
            for part in self.parts:
                part[0] -= margin
                part[1] += margin
            drawn += 2 * margin * len(self.parts)
        self.scale = (width - len(self.parts) + 1) / max(drawn, 1.0)
        self.offsets, used = [], 0.0    # column at which each part begins
        for start, end in self.parts:
            self.offsets.append(used)
            used += (end - start) * self.scale + 1

    def column(self, seconds):
        """The column of a time; what is beyond the axis is at its end."""
        found = 0.0
        for (start, end), offset in zip(self.parts, self.offsets, strict=True):
            if seconds < start:
                break
            found = offset + (min(seconds, end) - start) * self.scale
        return min(int(found), self.width - 1)

    def breaks(self):
        """The columns of the breaks."""
        return [int(offset) - 1 for offset in self.offsets[1:]]

    def ticks(self):
        """The (column, label) of round times; labels do not touch each other."""
        step = next((s for s in STEPS if s * self.scale >= ROOM), STEPS[-1])
        found = []
        free = 0
        for number, (start, end) in enumerate(self.parts):
            first = -(-max(start, 0.0) // step) * step
            times = [first + n * step for n in range(int((end - first) // step) + 1)]
            if not times and number:    # a part without a round time: its beginning
                times = [round((start + end) / 2)]
            for seconds in times:
                column, text_ = self.column(seconds), label(seconds)
                if column >= free and column + text.width(text_) <= self.width:
                    found.append((column, text_))
                    free = column + text.width(text_) + 1
        return found


def label(seconds):
    """A time on the axis: 0, 15s, 1m30s, 2h, 1d2h; without what is nought."""
    rest, parts = round(seconds), []
    for unit, size in text.UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f'{number}{unit}')
    return ''.join(parts) or '0'
