"""vmha-manage: the database, the marks of hosts, and what the service does and did.

Works on the database (``load`` and ``plan`` also ask Nova), whether an engine runs or not: what
it writes is taken up by the engine within a second.
"""

import argparse
import dataclasses
import datetime
import getpass
import json
import sys

from oslo_config import cfg
from oslo_log import log
import prettytable

from vmha_nova.conf import opts
from vmha_nova.db import purge
from vmha_nova import decide
from vmha_nova import disks
from vmha_nova import exception
from vmha_nova import marks
from vmha_nova import model
from vmha_nova import service
from vmha_nova import states
from vmha_nova import version

WISHES = {
    'approve': 'Let a recovery that is held go on, or one whose host beats again.',
    'abort': 'Send nothing more; what Nova has taken up is followed to its end.',
    'retry': 'Try again what has failed, of a recovery that is over.',
    'release': 'Your word that the host of a recovery that is over can write no more, ever: it is '
               'gone for good, and its address may serve another one. Lifts its fence.'}


def _show(args, columns, rows):
    """Print rows (dicts) as a table or JSON."""
    if args.json:
        print(json.dumps(rows, default=str, indent=2))
        return
    table = prettytable.PrettyTable([c.replace('_', ' ') for c in columns])
    table.align = 'l'
    for row in rows:
        table.add_row([_cell(row[c]) for c in columns])
    print(table)


def _cell(value):
    if value is None:
        return ''
    if isinstance(value, float):
        return f'{value:.2f}'
    if hasattr(value, 'strftime'):
        return value.strftime('%Y-%m-%d %H:%M:%S')
    return ', '.join(value) if isinstance(value, (list, tuple)) else str(value)


def _dicts(records):
    return [dataclasses.asdict(r) for r in records]


def db_sync(args, conf, store):
    """Make or upgrade the tables."""
    store.upgrade()
    print(f'database is at version {store.version()}')


def db_version(args, conf, store):
    """Print the version of the tables."""
    print(store.version() or 'no tables yet: run "vmha-manage db sync"')


def db_purge(args, conf, store):
    """Delete recoveries that are over and whose hosts are let go, old reports and journal lines.

    A recovery whose host is out stays, and so does one with a fence that is up.
    """
    before = service.clock() - datetime.timedelta(days=args.older_than)
    found = purge.purge(store, before, args.dry_run)
    print(f'{"would delete" if args.dry_run else "deleted"}, of before {before:%Y-%m-%d %H:%M} '
          'UTC:', file=sys.stderr)
    _show(args, purge.NAMES, [found])


def _days(text):
    days = int(text) if text.isdecimal() else 0
    if not 1 <= days <= 36500:
        raise argparse.ArgumentTypeError(f'{text!r} is no number of days from 1')
    return days


def host_list(args, conf, store):
    """List the marks of hosts."""
    _show(args, ('host', 'spare', 'pool', 'maintenance', 'maintenance_until', 'backend', 'parked'),
          _dicts(store.marks().values()))


def host_set(args, conf, store):
    """Mark a host: spare or not, its pool, maintenance, where it keeps disks."""
    values = {k: getattr(args, k) for k in ('spare', 'pool', 'maintenance', 'backend')
              if getattr(args, k) is not None}
    if not values:
        raise exception.ConfigurationError('nothing to set: see vmha-manage host set --help')
    if problem := disks.backend_problem(args.backend or ''):
        raise exception.ConfigurationError(f'--backend: {problem}')
    if not args.offline:
        _known_host(conf, args.host)
    store.set_mark(args.host, **values)
    print(f'{args.host}: ' + ', '.join(f'{k}={v}' for k, v in values.items()))


def _known_host(conf, host):
    try:
        hosts = sorted(s.host for s in service.make_nova(conf).services())
    except exception.VmhaError as e:
        raise exception.UnknownHost(f'Nova cannot be asked whether there is a {host!r}: {e}; '
                                    'use --offline to mark it all the same') from e
    if host not in hosts:
        raise exception.UnknownHost(f'Nova has no compute node {host!r}; it has: '
                                    + (', '.join(hosts[:20]) or 'none')
                                    + (', …' if len(hosts) > 20 else ''))


def failure_list(args, conf, store):
    """List reports that a host is down, and what was made of them."""
    _show(args, ('id', 'received_at', 'host', 'source', 'state', 'repeats', 'reason', 'detail'),
          _dicts(store.failures(limit=args.limit)))


def failure_report(args, conf, store):
    """Report a host as down."""
    if args.force:
        args.reason = f'{args.reason} (forced by {getpass.getuser()})'
    report, new = store.report_failure(args.host, 'operator', args.reason, forced=args.force)
    print(f'report {report.id} of {report.host}: '
          + ('written, the engine takes it up' if new else f'already there ({report.state})'))


def recovery_list(args, conf, store):
    """List recoveries."""
    rows = _dicts(store.recoveries(limit=args.limit))
    for row in rows:
        counts = {}
        for move in store.moves(row['id']):
            counts[move.state] = counts.get(move.state, 0) + 1
        row['moves'] = ', '.join(f'{n} {s}' for s, n in sorted(counts.items()))
    _show(args, ('id', 'host', 'state', 'moves', 'reason', 'created_at', 'ended_at'), rows)


def recovery_show(args, conf, store):
    """Show a recovery: its moves and the acts recorded."""
    recovery = store.recovery(args.id)
    moves, steps = store.moves(args.id), store.steps(args.id)
    if args.json:
        print(json.dumps(dict(dataclasses.asdict(recovery), moves=_dicts(moves),
                              steps=_dicts(steps)), default=str, indent=2))
        return
    print(f'{recovery.id} of {recovery.host}: {recovery.state}, {recovery.reason}\n'
          f'({states.RECOVERY[recovery.state]})')
    _show(args, ('name', 'instance_id', 'priority', 'was', 'target', 'state', 'attempts',
                 'reason'), _dicts(moves))
    _show(args, ('at', 'kind', 'subject', 'state', 'detail'), _dicts(steps))


def _wish(word):
    def command(args, conf, store):
        store.wish(args.id, word)
        print(f'recovery {args.id}: the engine is asked to {word}')
    command.__doc__ = WISHES[word]
    return command


def pause(args, conf, store):
    """Stop new recoveries from starting; those under way go on."""
    store.pause(True, args.reason, getpass.getuser())
    print('recoveries are paused; "vmha-manage recovery resume" lets them start again')


def resume(args, conf, store):
    """Let recoveries start again."""
    store.pause(False, '', getpass.getuser())
    print('recoveries may start')


def event_list(args, conf, store):
    """Print the journal."""
    _show(args, ('last_at', 'level', 'kind', 'host', 'repeats', 'text'),
          _dicts(store.events(limit=args.limit)))


def _cluster(conf, store):
    collector = service.make_collector(conf, service.make_nova(conf))
    collector.refresh()
    cluster = collector.snapshot
    for problem in cluster.problems:
        print(f'vmha-manage: {problem}', file=sys.stderr)
    if cluster.nodes_at is None or cluster.instances_at is None:
        raise exception.Unreachable('the cloud could not be read')
    loads = store.loads()               # what the engine has heard; Nova cannot be asked
    cluster = dataclasses.replace(cluster, nodes={
        host: dataclasses.replace(node, cpu_share=loads[host][0], cpu_share_at=loads[host][1])
        if host in loads else node for host, node in cluster.nodes.items()})
    cluster = marks.with_marks(cluster, store.marks(), service.clock())
    return service.storage_on_record(conf, store, cluster).with_backends(cluster)


def load_list(args, conf, store):
    """Show how loaded each compute node is, by Nova, Placement and what was measured last."""
    cluster = _cluster(conf, store)
    rows = []
    for node in sorted(cluster.nodes.values(), key=lambda n: n.host):
        row = dict(host=node.host, spare=node.spare, up=node.up, enabled=node.enabled,
                   zone=node.zone, instances=len(cluster.on(node.host)),
                   measured_cpu=node.cpu_share, measured_at=node.cpu_share_at)
        for name, key in (('vcpu', 'VCPU'), ('memory', 'MEMORY_MB')):
            row[name] = f'{node.used.get(key, 0)}/{node.capacity.get(key, "?")}'
        rows.append(row)
    _show(args, ('host', 'spare', 'up', 'enabled', 'zone', 'instances', 'vcpu', 'memory',
                 'measured_cpu', 'measured_at'), rows)


def plan_show(args, conf, store):
    """Show what would be done if this host died now."""
    cluster = _cluster(conf, store)
    if args.host not in cluster.nodes:
        raise exception.UnknownHost(f'Nova has no compute node {args.host!r}')
    cluster = service.storage_on_record(conf, store, cluster).backed(cluster, args.host)
    plan = decide.decide(cluster, [model.Failed(args.host)], service.make_policy(conf),
                         service.clock())
    _show(args, ('name', 'instance', 'priority', 'target', 'reason'), [
        dict(name=p.instance.name, instance=p.instance.id, priority=p.priority,
             target=p.target or ('left alone' if p.left else 'NONE'), reason=p.reason)
        for p in plan.placements])


def _parser():
    parser = argparse.ArgumentParser(prog='vmha-manage', description=__doc__.splitlines()[0])
    parser.add_argument('--version', action='version',
                        version=version.version())
    parser.add_argument('--config-file', action='append', metavar='FILE',
                        help='default: /etc/vmha/vmha.conf and what oslo.config looks for')
    parser.add_argument('--config-dir', action='append', metavar='DIR')
    parser.add_argument('--debug', action='store_true', help='print where an error came from')
    nouns = parser.add_subparsers(dest='noun', required=True, metavar='NOUN')
    verbs = {}

    def command(noun, verb, function, *arguments):
        if noun not in verbs:
            verbs[noun] = nouns.add_parser(noun, help=NOUNS[noun]).add_subparsers(
                dest='verb', required=True, metavar='VERB')
        sub = verbs[noun].add_parser(verb, help=function.__doc__.splitlines()[0].rstrip('.'),
                                     description=function.__doc__)
        sub.add_argument('--json', action='store_true', help='print JSON')
        for names, options in arguments:
            sub.add_argument(*names, **options)
        sub.set_defaults(function=function)

    host = (('host',), dict(help='as "openstack compute service list" names it'))
    ident = (('id',), dict(help='of the recovery'))
    limit = (('--limit',), dict(type=int, default=100, help='at most so many (%(default)s)'))
    yes_no = argparse.BooleanOptionalAction
    command('db', 'sync', db_sync)
    command('db', 'version', db_version)
    command('db', 'purge', db_purge,
            (('--older-than',), dict(type=_days, required=True, metavar='DAYS',
                                     help='only what was over so many days ago')),
            (('--dry-run',), dict(action='store_true', help='count, and delete nothing')))
    command('host', 'list', host_list)
    command('host', 'set', host_set, host,
            (('--spare',), dict(action=yes_no, help='keep it free for recoveries')),
            (('--pool',), dict(help='spares serve the hosts of their own pool')),
            (('--maintenance',), dict(action=yes_no, help='leave it alone')),
            (('--backend',), dict(metavar='rbd:POOL|local', help='where its nova-compute keeps '
                                  "disks ([libvirt] images_type); '' for what is seen of it")),
            (('--offline',), dict(action='store_true', help='do not ask Nova for the name')))
    command('failure', 'list', failure_list, limit)
    command('failure', 'report', failure_report, host,
            (('--reason',), dict(default='reported by an operator')),
            (('--force',), dict(action='store_true',
                                help='do not check the evidence: you know that it is dead')))
    command('recovery', 'list', recovery_list, limit)
    command('recovery', 'show', recovery_show, ident)
    command('recovery', 'pause', pause, (('--reason',), dict(default='', help='for others')))
    command('recovery', 'resume', resume)
    for word in WISHES:
        command('recovery', word, _wish(word), ident)
    command('event', 'list', event_list, limit)
    command('load', 'list', load_list)
    command('plan', 'show', plan_show, (('--host',), dict(required=True, help='that dies')))
    return parser


NOUNS = {'db': 'the database', 'host': 'marks of hosts', 'failure': 'reports of dead hosts',
         'recovery': 'what is done about them', 'event': 'the journal',
         'load': 'load of the compute nodes', 'plan': 'what would be done'}


def main(argv=None):
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    options = [f'--config-file={f}' for f in args.config_file or ()]
    options += [f'--config-dir={d}' for d in args.config_dir or ()]
    try:
        conf = opts.load(options, '')
        conf.set_override('use_stderr', False)
        log.setup(conf, 'vmha')
        args.function(args, conf, service.make_store(conf))
    except (exception.VmhaError, cfg.Error) as e:
        if args.debug:
            raise
        print(f'vmha-manage: {e}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
