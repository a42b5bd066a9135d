"""Exploration of many seeds: in parts, by several processes, and it can be gone on with later.

A part is a range of seeds. What came of it is a file in the folder of the campaign, ``A-B.json``;
one that is not there is still to be tried. A seed that fails stops nothing: it is made small, and
is a scenario in the same folder. Each part is tried by a process of its own, with the code as it
is at that time, whose commit is noted. The summary of a campaign counts as a part as well, when it
lies in the folder of another one: that one goes on with other seeds.
"""

import collections
import concurrent.futures
import json
import multiprocessing
import pathlib
import subprocess
import time

from tests.scenarios import explore
from tests.scenarios import simulator

PART = 500                              # seeds
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(folder, first, last, jobs=1, say=print):
    """Try what is still to be tried of some seeds; returns how many of all of them fail.

    :param say: called with a line of progress
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [(at, min(at + PART - 1, last)) for at in range(first, last + 1, PART)]
    todo = [part for part in parts if not _path(folder, *part).exists()]
    say(f'{len(parts) - len(todo)} of {len(parts)} parts are there')
    began = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(
            jobs, multiprocessing.get_context('spawn'), max_tasks_per_child=1) as pool:
        futures = [pool.submit(try_part, folder, *part) for part in todo]
        for count, future in enumerate(concurrent.futures.as_completed(futures), 1):
            found = future.result()
            left = (time.monotonic() - began) / count * (len(todo) - count)
            say(f'{found["first"]}-{found["last"]}: {found["steps"]} steps, {found["kills"]} '
                f'kills of the engine, {len(found["failed"])} failed; {found["cpu_s"]:.0f} s of '
                f'CPU time; {len(todo) - count} parts to go, about {left / 60:.0f} min')
    return len(summary(folder, first, last)['failed'])


def try_part(folder, first, last):
    """Try a range of seeds, and write what came of it; returns that."""
    found = dict(first=first, last=last, commits={_commit(): last - first + 1}, steps=0,
                 kills=0, happened={}, failed=[])
    began, happened = time.process_time(), collections.Counter()
    for case in explore.explore_all(range(first, last + 1)):
        found['steps'] += case.steps
        found['kills'] += case.killed
        happened.update(text.split()[0] for _, text in case.happened[:case.injected]
                        if text != 'wait')
        if case.problem:
            found['failed'].append(dict(seed=case.seed, problem=case.problem.splitlines()[0]))
            explore.write(explore.shrink(case), folder / f'seed-{case.seed}')
    found.update(happened=dict(sorted(happened.items())),
                 cpu_s=round(time.process_time() - began, 1))
    path = _path(folder, first, last)
    path.with_suffix('.new').write_text(json.dumps(found, indent=1) + '\n')
    path.with_suffix('.new').rename(path)       # whole, or not there
    return found


def summary(folder, first=1, last=float('inf')):
    """All parts of a campaign together, as the document has them."""
    parts = [json.loads(path.read_text()) for path in folder.glob('*-*.json')]
    parts = sorted((p for p in parts if first <= p['first'] and p['last'] <= last),
                   key=lambda p: p['first'])
    happened, commits = collections.Counter(), collections.Counter()
    for part in parts:
        happened.update(part['happened'])
        commits.update(part['commits'])
    return dict(
        first=min((p['first'] for p in parts), default=0),
        last=max((p['last'] for p in parts), default=0),
        scenarios=len(simulator.all_names()), seeds=sum(commits.values()), commits=dict(commits),
        **{key: sum(part[key] for part in parts) for key in ('steps', 'kills')},
        cpu_s=round(sum(part['cpu_s'] for part in parts)), happened=dict(sorted(happened.items())),
        failed=[one for part in parts for one in part['failed']])


def _path(folder, first, last):
    return folder / f'{first}-{last}.json'


def _commit():
    """The commit of the code; a + behind it where the code is another one."""
    def git(*arguments):
        return subprocess.run(['git', '-C', str(ROOT), *arguments], check=False,
                              capture_output=True, text=True).stdout.strip()
    changed = git('status', '--porcelain', '--untracked-files=no', 'vmha_nova', 'tests')
    return (git('rev-parse', '--short=10', 'HEAD') or 'no checkout') + '+' * bool(changed)
