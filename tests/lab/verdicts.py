"""What a monitor has said in its log: verdicts, reports, and doubt in itself."""

import dataclasses
import datetime
import re

_WHEN = r'^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) .*?'
_VERDICT = re.compile(_WHEN + r'verdict of ([\w.-]+): ([\w-]+): (.*)$', re.MULTILINE)
_REPORT = re.compile(_WHEN + r'reported ([\w.-]+) down: ([\w-]+) \(try (\d+)\)', re.MULTILINE)
_DOUBT = re.compile(_WHEN + r'(cut off: .*|no longer cut off.*)$', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Said:
    """One line of the log. ``at``: seconds since 1970."""

    at: float
    host: str
    verdict: str
    reason: str


def verdicts(text, since=0.0):
    """Each change of a host's verdict after ``since``, in order: list of Said."""
    return _later(since, [Said(_seconds(when), *rest) for when, *rest in _VERDICT.findall(text)])


def reports(text, since=0.0):
    """Each first report of a host after ``since``: list of Said; repeats are left out."""
    return _later(since, [Said(_seconds(when), host, verdict, '')
                          for when, host, verdict, number in _REPORT.findall(text)
                          if number == '1'])


def doubts(text, since=0.0):
    """Each time it took itself for cut off ('cut-off'), and each end of that ('')."""
    return _later(since, [
        Said(_seconds(when), '', '' if words.startswith('no') else 'cut-off', words)
        for when, words in _DOUBT.findall(text)])


def _later(since, said):
    return [one for one in said if one.at >= since]


def _seconds(when):
    return datetime.datetime.fromisoformat(when).timestamp()
