"""See it work: a small real OpenStack, a host that dies, and its servers running elsewhere.

Brings a lab up, starts vmha_nova beside it, kills a compute host, reports it as down, and shows
what happens. In the end it asks Nova, not vmha_nova, what became of every server.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from keystoneauth1 import exceptions

from tests.lab.common import cache_dir
from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab import lab as labs
from tests.lab import show
from tests.lab import state
from tests.lab import vmha
from tests.lab import watch
from vmha_nova import exception

VICTIM = 'compute1'
STEPS = 7
_KEY = 'vmha:priority'
_HIGH, _LOW = 90, 10
_GRACE = 20             # seconds that Nova has to show what the service says is done
_UNSAFE = '''
!!  UNSAFE: this engine runs with [fence] unsafe_without_fence = true.
!!  It takes a report and missing heartbeats for death, and makes sure of nothing.
!!  Here that harms nobody: Nova's fake virt driver runs no guests and writes no
!!  disks. With real guests, two of them could write to one disk: never do this.
'''


class Quickstart:
    """One run. ``options``: what `_parser` understands; output goes to ``stream``."""

    UNSAFE, FENCE, STAY = _UNSAFE, '', ''
    DEATH = 'its nova-compute gets a SIGKILL'
    staying = ()                        # ids of servers that must be left alone

    def __init__(self, options, stream=None):
        self.options = options
        self.stream = stream or sys.stdout
        self.progress = Progress(self.stream)
        # The shell script that came before knows when all this began.
        began = float(os.environ.get('VMHA_QUICKSTART_BEGAN') or time.time())
        prepared = max(0.0, time.time() - began)
        self.progress.start -= prepared
        self.phases = self.progress.phases
        self.phases['project environment'] = round(prepared, 1)
        self.folder = pathlib.Path(options.dir or cache_dir() / 'quickstart').absolute()
        self.spares = [f'compute{options.hosts - n}' for n in reversed(range(options.spares))]
        self.lab = self.service = None
        self.timeline = []
        self._step = 0

    def run(self):
        """Do everything; answers whether Nova confirms that every server was recovered."""
        good = interrupted = False
        try:
            self.up()
            self.prepare()
            self.look_ahead()
            begun, witness = self.kill()
            rows, problem = self.follow(begun, witness)
            good = self.conclude(rows, problem, witness, begun)
            return good
        except (KeyboardInterrupt, SystemExit):
            interrupted = True
            raise
        except Exception:
            if self.lab is not None:
                self.say(f'That failed. The logs are in {self.lab.log}.')
            raise
        finally:
            with _uninterrupted():
                self.end(wipe=good or interrupted, keep=self.options.keep and not interrupted)

    # -- the steps ------------------------------------------------------------------------------
    def up(self):
        """A cloud with servers, some of which matter more."""
        options = self.options
        self.head(f'A small OpenStack cloud on this machine: Keystone, Placement, Glance, '
                  f'Neutron and Nova with {options.hosts} compute nodes. All of it is real, but '
                  f'the hypervisor: that is Nova\'s fake one. {options.servers} servers boot on '
                  f'{VICTIM}, {options.stopped} of them are stopped again.')
        with self.progress.phase('the cloud'):
            self.lab = labs.Lab.up(self.folder, options.hosts, options.servers, options.stopped,
                                   VICTIM, progress=self.progress)
        self.service = vmha.Vmha(self.lab)
        cloud = self.lab.cloud()
        servers = sorted(cloud.servers(VICTIM), key=lambda server: watch.natural(server['name']))
        count = len(servers) // 8
        if count:
            self.prioritise(cloud, servers[:count], _HIGH)
            self.prioritise(cloud, servers[-count:], _LOW)
            self.say(f'Owners can say what comes first, as metadata of a server: {_KEY}={_HIGH} '
                     f'for {show.few(s["name"] for s in servers[:count])}, {_KEY}={_LOW} for '
                     f'{show.few(s["name"] for s in servers[-count:])}; the others have 50.')

    def prioritise(self, cloud, servers, priority):
        """Give servers a priority."""
        for server in servers:
            cloud.call('POST', f'/servers/{server["id"]}/metadata',
                       {'metadata': {_KEY: str(priority)}})

    def prepare(self):
        """vmha_nova: its tables, its spares, its engine."""
        self.head(f'vmha_nova gets a database ({self.options.database}). Marked as spare: '
                  f'{", ".join(self.spares) or "no node"}. Nova schedules nothing on spare nodes '
                  'until a recovery needs them.')
        with self.progress.phase('database and spares'):
            self.service.configure(database=self.options.database)
            self.service.sync()
            for host in self.spares:
                self.service.set_spare(host)
        self.head('vmha-engine starts: it follows the load of every node, and listens for '
                  f'reports that a host is down.{self.FENCE}')
        if self.UNSAFE:
            print(self.UNSAFE, file=self.stream, flush=True)
        with self.progress.phase(vmha.ENGINE):
            self.service.start_engine()

    def look_ahead(self):
        """The load, and what would be done."""
        self.head('The load of the nodes ("vmha-manage load list"):')
        loads = self.service.manage('load', 'list')
        show.table(('node', 'role', 'Nova', 'scheduling', 'servers', 'vCPUs', 'memory (MiB)'), [
            (row['host'], 'spare' if row['spare'] else 'ordinary', 'up' if row['up'] else 'down',
             'on' if row['enabled'] else 'off', row['instances'], row['vcpu'], row['memory'])
            for row in loads], self.stream)
        self.head(f'What would be done if {VICTIM} died now ("vmha-manage plan show --host '
                  f'{VICTIM}"), the most important first:')
        groups = collections.defaultdict(list)
        for row in self.service.manage('plan', 'show', '--host', VICTIM):
            groups[-row['priority'], row['target'], row['reason']].append(row['name'])
        show.table(('priority', 'to', 'servers', ''), [
            (-key[0], key[1], f'{len(names)}: {show.few(names)}', key[2])
            for key, names in sorted(groups.items())], self.stream)

    def kill(self):
        """The host dies, and is reported; answers when the publication began, and a Witness."""
        self.head(f'{VICTIM} dies: {self.DEATH}, as if its power was cut. Nova does not notice '
                  'for half a minute. A monitoring system does: it publishes a host-down '
                  'notification. Times count from here.')
        # Nova as it was, before anything happens to it.
        witness = watch.Witness(self.lab.cloud(), VICTIM, lambda: since(begun), self.staying)
        self.lab.kill_host(VICTIM)
        begun = _now()
        self.service.publish_host_down(
            VICTIM, 'the quickstart has cut its power', 'quickstart')
        return begun, witness

    def follow(self, begun, witness):
        """Show what happens until it is over; answers the Rows, and why it is not over or ''."""
        rows = watch.Rows(self.service.store(), VICTIM, begun)
        live = self.stream.isatty() and not self.options.plain
        over_at = None
        with self.progress.phase('recovery'), witness, (
                show.Live if live else show.Plain)(begun, self.stream) as screen:
            while True:
                changes = rows.look()
                self.note(changes, begun)
                screen.changes(changes)
                screen.draw(rows)
                settled = self.look_at_guests()
                passed = since(begun)
                witness.claimed = len(rows.moves) if rows.over else rows.count('moved')
                if rows.over:
                    over_at = over_at or passed
                    if (settled and witness.all_home or passed > over_at + _GRACE
                            or rows.recovery is None):
                        return rows, ''
                if passed > self.options.timeout:
                    return rows, f'not over after {passed:.0f} s: {show.where(rows)}'
                if not self.service.engine_alive():
                    return rows, f'{vmha.ENGINE} has ended: see {self.service.log_file}'
                time.sleep(0.25)

    def look_at_guests(self):
        """Look if there is more to wait for than what Nova shows: whether all is settled."""
        return True

    def conclude(self, rows, problem, witness, begun):
        """Nova's word on every server, and the report; answers whether all is well."""
        self.head(f'Nova is asked what became of the servers; what vmha_nova says of its own work '
                  f'does not count here. Each must have left {VICTIM} for the host that was named '
                  f'for it, in the power state it had, by one evacuation and not two.{self.STAY}')
        found = witness.findings(rows.named)
        show.table(('server', 'was', 'now', 'named', 'on', 'evacuated', 'after (s)', 'verdict'), [
            (f.name, f.was, f.status, f.named, f.host, f'{f.records} x', f.seconds,
             '; '.join(f.problems) or ('good: left alone' if f.stays else 'good'))
            for f in found], self.stream)
        report = self.report(rows, problem, found, begun)
        good = not problem and report['recovered'] == self.options.servers and self.confirm(report)
        print(file=self.stream)
        show.table(('', ''), _summary(report), self.stream)
        if self.options.report:
            pathlib.Path(self.options.report).write_text(json.dumps(report, indent=2) + '\n',
                                                         encoding='utf-8')
            self.say(f'The report is in {self.options.report}.')
        if not good:
            print(f'\nFAILED: {problem or "see the table above"}; logs: {self.lab.log}',
                  file=self.stream, flush=True)
        return good

    def confirm(self, report):
        """Whether what is in the report besides what Nova says is good."""
        return True

    def report(self, rows, problem, found, begun):
        """What ``--report`` writes."""
        accepted = [since(begun, m.accepted_at) for m in rows.moves if m.accepted_at]
        home = [f.seconds for f in found if not f.stays]
        bad = sum(bool(f.problems) for f in found)
        left = sum(f.stays and not f.problems for f in found)
        return {
            'servers': len(found), 'recovered': len(found) - bad - left, 'failed': bad,
            'left': left,
            'twice': sum(f.records > 1 for f in found),
            'times': 'seconds from the moment at which the publication of the host-down '
                     'notification began',
            'first_evacuate_accepted_s': min(accepted, default=None),
            'all_active_s': None if None in home or not home else max(home),
            'failed_host': VICTIM, 'spare_hosts': self.spares,
            'recovery': rows.recovery and {
                'id': rows.recovery.id, 'state': rows.recovery.state,
                'reason': rows.recovery.reason},
            'problem': problem,
            'database': self.options.database, 'hosts': self.options.hosts,
            'begun_at': begun.isoformat(), 'phases': self.phases,
            'moves': [{'name': f.name, 'id': f.id, 'was': f.was, 'target': f.named,
                       'host': f.host, 'state': f.status, 'evacuations': f.records,
                       'seconds': f.seconds, 'problems': list(f.problems)} for f in found],
            'timeline': self.timeline,
        }

    def end(self, wipe, keep):
        """Leave it running, or stop everything; ``wipe``: with the logs."""
        if self.lab is None:
            # Lab.up has stopped what it had started; a lab that is there is somebody else's.
            if wipe and not state.exists(self.folder):
                labs.tear_down(self.folder, wipe, self.progress)
            return
        if keep:
            show.how_to_use(self.service, VICTIM, self.stream)
            return
        self.say('Stopping everything' + (', and removing it.' if wipe else '.'))
        begin = time.monotonic()
        try:
            self.service.stop_engine()
        except LabError as error:
            if self.service.log_file.exists():
                self.say(f'warning: {error}')
        self.lab.down(wipe, self.progress)
        self.progress(f'down: {time.monotonic() - begin:.1f} s')

    # -- talking --------------------------------------------------------------------------------
    def head(self, text):
        """Announce a step in a sentence or two."""
        self._step += 1
        print(file=self.stream)
        self.progress(f'Step {self._step} of {STEPS}')
        self.say(text)

    def say(self, text):
        """Print a paragraph."""
        show.sentences(text, self.stream)

    def note(self, changes, begun):
        """Keep changes for the report."""
        for change in changes:
            self.timeline.append({
                't': since(begun, change.at), 'what': f'{change.kind} {change.state}',
                'host' if change.kind != 'move' else 'instance': change.subject,
                'detail': change.text})


def _summary(report):
    """The last table, as rows of two."""
    def after(key):
        value = report[key]
        return 'never' if value is None else f'{value:.1f} s after the report'

    recovery = report['recovery']
    return [('servers', report['servers']), ('recovered', report['recovered']),
            ('failed', report['failed']), ('evacuated twice', report['twice']),
            ('first evacuation accepted', after('first_evacuate_accepted_s')),
            ('all as before, says Nova', after('all_active_s')),
            ('vmha_nova itself says', recovery and f'{recovery["state"]}, {recovery["reason"]}')]


@contextlib.contextmanager
def _uninterrupted():
    """Ctrl-C and SIGTERM wait until the body is through; it is bounded."""
    before = {number: signal.signal(number, signal.SIG_IGN)
              for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def since(begun, at=None):
    return round(((at or _now()) - begun).total_seconds(), 2)


def _parser():
    parser = argparse.ArgumentParser(prog='tools/quickstart.sh', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--hosts', type=int, default=4, metavar='N', help='compute nodes (%(default)s)')
    add('--spares', type=int, default=1, metavar='N', help='of these, spare ones (%(default)s)')
    add('--servers', type=int, default=20, metavar='N', help=f'on {VICTIM} (%(default)s)')
    add('--stopped', type=int, default=2, metavar='N', help='of these, stopped (%(default)s)')
    add('--storage', choices=('none', 'ceph'), default='none',
        help='ceph: real guests, with their disks on it (%(default)s)')
    add('--database', choices=('sqlite', 'mariadb'), default='sqlite',
        help="vmha_nova's own (%(default)s)")
    add('--report', metavar='FILE', help='write what happened as JSON')
    add('--keep', action='store_true', help='leave everything running in the end')
    add('--plain', action='store_true', help='print lines, also on a terminal')
    add('--dir', help='folder of the lab (~/.cache/vmha-lab/quickstart)')
    add('--timeout', type=int, default=300, metavar='S',
        help='seconds that the recovery may take (%(default)s)')
    return parser


def _options(arguments):
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.hosts < 2:
        parser.error('--hosts: at least 2, or nothing is left when one dies')
    if not 0 <= options.spares < options.hosts:
        parser.error(f'--spares: from 0 to {options.hosts - 1}: {VICTIM} is none')
    if options.servers < 1 or not 0 <= options.stopped <= options.servers:
        parser.error('--servers: at least 1; --stopped: no more than that')
    if options.storage == 'ceph':
        if (options.servers, options.stopped) != (20, 2):
            parser.error('--servers, --stopped: with --storage ceph there are four guests')
        if options.hosts < 4:
            parser.error('--hosts: at least 4 with --storage ceph, which keeps three copies')
        options.servers, options.stopped = 3, 0         # that are to move
    if options.report:
        try:
            open(options.report, 'a', encoding='utf-8').close()
        except OSError as error:
            parser.error(f'--report: {error}')
    return options


def main(arguments=None):
    """Entry point; returns the exit status: 0 only if Nova confirms every single server."""
    options = _options(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    try:
        kind = Quickstart
        if options.storage == 'ceph':
            from tests.lab import powercord         # which builds upon this module
            kind = powercord.PowerCord
        return 0 if kind(options).run() else 1
    except (LabError, exception.VmhaError) as error:
        print(f'error: {error}', file=sys.stderr)
    except (OSError, subprocess.SubprocessError) as error:
        print(f'error: {type(error).__name__}: {error}', file=sys.stderr)
    except exceptions.ClientException as error:
        print(f'error: the cloud answers: {error}', file=sys.stderr)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 1


if __name__ == '__main__':
    sys.exit(main())
