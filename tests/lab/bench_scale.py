"""What a cloud of many hosts costs: to read, to write down, to decide on, to listen to.

usage: python -m tests.lab bench scale [--hosts N] [--instances-per-host N] [--notifications N]
                                       [--url URL] [--report FILE]

For a hundredth and a tenth of the hosts, and for all of them: a simulated Nova serves a made-up
cloud, in a process of its own; the parts of vmha-engine read it, write it down in a database
(SQLite in a temporary folder), decide, and listen, in another; and what the API does with the
database is measured in a third. See scale_cloud and scale_run. The exit status is 1 where the
largest of them misses a limit.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

from tests.lab.common import LabError
from tests.lab.common import Progress

LEAST = 20                              # hosts, of which one is a spare
SECONDS = 1800                          # for one of the processes
MIB = 1024                              # of memory, of the process with collector and store
# What the largest cloud is held against: name -> (limit, how it is found in the figures).
LIMITS = {
    'decide_one_s': (0.05, lambda f: f['decide_one']['median_s']),
    'decide_one_without_spares_s': (0.05, lambda f: f['decide_one_without_spares']['median_s']),
    'every_host_s': (10.0, lambda f: f['every_host']['s']),
    'peak_mb': (MIB, lambda f: f['memory']['peak_mb']),
}
# The growth from a tenth of the hosts to all of them, which is ten, is shown of these.
GROWTH = {
    'full_refresh': lambda f: f['full_refresh']['cpu_s'],
    'write_all': lambda f: f['write_all']['cpu_s'],
    'every_host': lambda f: f['every_host']['cpu_s'],
    'decide_one': lambda f: f['decide_one']['median_s'],
    'delta_refresh': lambda f: f['delta_refresh']['s'],
    'delta_calls': lambda f: f['delta_refresh']['calls'],
    'first_page': lambda f: f['reader']['first_page']['median_s'],
    'plan': lambda f: f['reader']['plan']['median_s'],
}


def main(arguments=None):
    """Measure, print, and write the JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tests.lab bench scale', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hosts', type=int, default=10000, metavar='N',
                        help='default %(default)s')
    parser.add_argument('--instances-per-host', type=int, default=20, metavar='N',
                        help='default %(default)s')
    parser.add_argument('--notifications', type=int, default=10000, metavar='N',
                        help='default %(default)s')
    parser.add_argument('--url', help='of an empty database, for all of the hosts')
    parser.add_argument('--report', type=pathlib.Path, metavar='FILE', help='JSON')
    options = parser.parse_args(arguments)
    try:
        result = measure(options, Progress())
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(table(result))
    if options.report:
        options.report.write_text(json.dumps(result, indent=2) + '\n', encoding='ascii')
    return 1 if result['missed'] else 0


def measure(options, progress):
    """All figures, as the JSON has them."""
    clouds = {}
    for hosts in sorted({max(options.hosts // part, LEAST) for part in (100, 10, 1)}):
        with progress.phase(f'{hosts} hosts'), tempfile.TemporaryDirectory(
                prefix='vmha-bench-') as folder:
            url = options.url if hosts == options.hosts and options.url else (
                f'sqlite:///{folder}/vmha.sqlite')
            clouds[str(hosts)] = one(hosts, options.instances_per_host, url,
                                     options.notifications)
    largest, tenth = clouds[str(options.hosts)], clouds.get(str(options.hosts // 10))
    limits = {name: dict(limit=limit, found=value(largest))
              for name, (limit, value) in LIMITS.items()}
    return dict(
        what='seconds, unless a key says something else; cpu_s: of them, what the measured '
             'process has worked',
        machine=dict(cores=os.cpu_count(), kernel=platform.release(),
                     python=platform.python_version()),
        database=(options.url or 'sqlite').partition(':')[0], clouds=clouds,
        growth_to_ten_times={name: round(value(largest) / value(tenth), 2)
                             for name, value in GROWTH.items()} if tenth else {},
        limits=limits, missed=missed(limits))


def missed(limits):
    """The names of the limits that were not held."""
    return [name for name, values in limits.items() if values['found'] > values['limit']]


def one(hosts, each, database, notifications):
    """The figures of one cloud."""
    with _cloud(hosts, each) as url:
        return dict(_run('engine', url, database, notifications),
                    reader=_run('reader', url, database, notifications))


@contextlib.contextmanager
def _cloud(hosts, each):
    """Within, the address of a simulated Nova."""
    with subprocess.Popen(
            [sys.executable, '-m', 'tests.lab.scale_cloud', str(hosts), str(each)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise LabError('the simulated Nova did not start')
            yield url
        finally:
            process.kill()


def _run(what, *arguments):
    """What a process of scale_run has measured."""
    command = [sys.executable, '-m', 'tests.lab.scale_run', what, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise LabError(f'{what}: {error}') from error
    if done.returncode:
        raise LabError(f'{what}: exit status {done.returncode}\n{done.stderr[-2000:]}')
    return json.loads(done.stdout)


def head(result):
    """What stands above the figures."""
    return ('', *(f'{int(hosts):,} hosts' for hosts in result['clouds']))


def figures(result):
    """What was measured, in words, and the figures of each cloud: texts."""
    return [(name, *map(shown, result['clouds'].values())) for name, shown in SHOWN.items()]


def table(result):
    """The figures for a person."""
    rows = [head(result), *figures(result)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ['  '.join([row[0].ljust(widths[0]), *(
        cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows]
    lines += [f'{name}: {values["found"]:g}, at most {values["limit"]:g}: '
              f'{"MISSED" if name in result["missed"] else "held"}'
              for name, values in result['limits'].items()]
    return '\n'.join(lines)


def _seconds(value):
    return f'{value:.2f} s' if value >= 1 else f'{1000 * value:.1f} ms'


def _look(name):
    return lambda f: f'{_seconds(f[name]["s"])}, {f[name]["calls"]} calls'


def _median(*path):
    def shown(found):
        for key in path:
            found = found[key]
        return f'{_seconds(found["median_s"])}, at most {_seconds(found["max_s"])}'
    return shown


SHOWN = {
    'instances': lambda f: f'{f["instances"]:,}',
    'everything read': _look('full_refresh'),
    'what changed read': _look('delta_refresh'),
    'the services read': _look('services_refresh'),
    'the nodes read': _look('nodes_refresh'),
    'everything written': lambda f: (
        f'{_seconds(f["write_all"]["s"])}, {f["write_all"]["rows_per_s"]} rows/s'),
    'what changed written': lambda f: _seconds(f['write_delta']['s']),
    'a report meanwhile': _median('write_all', 'report_meanwhile'),
    'a report': _median('report'),
    "the storage's disks looked at": lambda f: _seconds(f['storage_look']['s']),
    'a plan for one host': _median('decide_one'),
    'the same without spares': _median('decide_one_without_spares'),
    "does every host's death fit?": lambda f: _seconds(f['every_host']['s']),
    'the same, written down': lambda f: _seconds(f['every_host_written']['s']),
    'a cycle of the loop': _median('cycle'),
    'notifications': lambda f: f'{f["listener"]["per_s"]}/s, '
                               f'{f["listener"]["grown_mb"]:+.1f} MiB',
    'memory at most': lambda f: f'{f["memory"]["peak_mb"]:.0f} MiB',
    'API: the first page of hosts': _median('reader', 'first_page'),
    'API: a plan': _median('reader', 'plan'),
    'API: metrics': _median('reader', 'tallies'),
}


if __name__ == '__main__':
    sys.exit(main())
