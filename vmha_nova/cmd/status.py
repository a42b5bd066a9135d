"""vmha-status: is this installation fit for what it is for?

``preflight`` connects to everything and says what would make a recovery fail or lose data.
``upgrade check`` says whether the database fits this version.

Exit status: 0 all is well, 1 there are warnings, 2 there are errors, 255 the check itself failed.
"""

import argparse
import configparser
import contextlib
import dataclasses
import json
import socket
import sys
import textwrap

from oslo_config import cfg
from oslo_log import log

from vmha_nova.conf import opts
from vmha_nova import disks
from vmha_nova import engine
from vmha_nova import exception
from vmha_nova import messaging
from vmha_nova import preflight
from vmha_nova import service
from vmha_nova import version

WIDTH = 99
LOCKS = 500                             # images looked at for stale locks, at most


class Gathering:
    """Reads the facts; what cannot be read becomes a finding."""

    def __init__(self, conf, say=lambda text: None):
        self._conf = conf
        self._say = say
        self._problems = []

    @contextlib.contextmanager
    def _reading(self, what, why, todo='see to it, or correct its section in vmha.conf'):
        self._say(f'{what} …')
        try:
            yield
        except (exception.VmhaError, KeyError, TypeError, ValueError) as e:
            text = e if isinstance(e, exception.VmhaError) else f'{type(e).__name__}: {e}'
            self._problems.append(preflight.Finding(
                preflight.ERROR, f'{what}: {text}', why, todo))

    def facts(self, nova_conf=()):
        """Ask everything once; returns preflight.Facts."""
        conf, store, cluster, nova = self._conf, None, None, None
        found = dict(policy=service.make_policy(conf), fence=conf.fence.driver,
                     ranged=conf.ceph.fence_range, pools=service.make_pools(conf.ceph))
        with self._reading('database', 'what is not recorded is not done'):
            store = service.make_store(conf)
            if not store.version():
                raise exception.ConfigurationError('it has no tables: vmha-manage db sync')
        with self._reading('message bus', 'no report that a host is down can come in'):
            messaging.probe(conf)
        with self._reading('Nova and Placement', 'without them nothing can be moved'):
            nova = service.make_nova(conf)
            collector = service.make_collector(conf, nova)
            collector.refresh()
            cluster = collector.snapshot
            for problem in cluster.problems:
                raise exception.Unreachable(problem)
        if cluster is not None and any(i.volumes for i in cluster.instances.values()):
            with self._reading('Cinder', 'where volumes are cannot be found out'):
                nova.attachments(next(i.id for i in cluster.instances.values() if i.volumes))
        if cluster is not None and cluster.nodes_at and store is not None:
            with self._reading('what is on record', 'nothing can be planned'):
                found.update(self._on_record(store, cluster))
        if conf.fence.driver == 'storage':
            self._storage(found)
        found['conf_files'] = {path: options for path in nova_conf for options in [
            self._options(path)] if options is not None}
        return preflight.Facts(problems=tuple(self._problems), **found)

    def _on_record(self, store, cluster):
        cluster = engine.with_marks(cluster, store.marks())
        known = service.storage_on_record(self._conf, store, cluster)
        cluster = known.with_backends(cluster)
        for host in cluster.by_host:
            cluster = known.backed(cluster, host)
        return dict(cluster=cluster, recorded={h for h, _, _ in store.clients().values()})

    def _storage(self, found):
        """What Ceph tells, each by itself."""
        why = 'a dead host cannot be fenced, and nobody knows whether guests could run'
        ceph = None
        with self._reading('Ceph', why, 'see conf_file, user and keyring in [ceph]'):
            ceph = service.make_ceph(self._conf)
        if ceph is None:
            return
        with contextlib.closing(ceph):
            with self._reading('Ceph monitors', why):
                found['storage'] = ceph.map()
            if 'storage' not in found:
                return                  # the others would wait as long, to say the same
            for name, prefix in (('dump', 'osd dump'), ('crush', 'osd crush dump'),
                                 ('config', 'config dump'), ('monitors', 'mon dump'),
                                 ('managers', 'mgr dump')):
                with self._reading(f'Ceph: {prefix}', 'this cannot be checked'):
                    found[name] = ceph.ask(prefix)
            with self._reading('Ceph: osd df', 'free space cannot be checked'):
                found['nodes'] = ceph.ask('osd df')['nodes']
            with self._reading('Ceph: is a host allowed to be fenced?', why,
                               'give the Ceph user the caps of the install guide'):
                ceph.add([preflight.NOBODY], [], 1.0)
            pools = [p for p in found['pools'].kept if p in found['storage'].pools]
            with self._reading('Ceph: placement groups', 'recoveries are held'):
                for pool, text in ceph.inactive(pools, found['storage']).items():
                    raise exception.Unreachable(f'pool {pool}: {text}')
            with self._reading('Ceph: clients', 'clients of hosts cannot be recorded'):
                found['caps'] = ceph.monitor_caps()
                found['stale_locks'] = self._stale_locks(ceph, found)
        found['local_addresses'] = _own_addresses()

    @staticmethod
    def _stale_locks(ceph, found):
        """Images whose users are all connected no more; running guests only are looked at."""
        cluster = found.get('cluster')
        if cluster is None:
            return ()
        images = [image for instance in cluster.instances.values()
                  for places in disks.images(instance, found['pools']).values()
                  for image in places][:LOCKS]
        connected = set(ceph.clients())
        return [image for image, users in ceph.users_of(images).items()
                if users and not users & connected]

    def _options(self, path):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        with self._reading(path, 'it cannot be checked', 'name a file that can be read'):
            try:
                with open(path, encoding='utf-8') as stream:
                    parser.read_file(stream)
            except (OSError, configparser.Error) as e:
                raise exception.ConfigurationError(str(e).splitlines()[0]) from e
            return dict(parser.defaults())
        return None


def _own_addresses():
    """The IPs of this machine, as far as its name tells."""
    try:
        return {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


def run_preflight(args, conf):
    """Connect to everything; say what would make a recovery fail or lose data."""
    say = (lambda text: print(f'vmha-status: {text}', file=sys.stderr)) if (
        sys.stderr.isatty() and args.format == 'text') else (lambda text: None)
    found = preflight.findings(Gathering(conf, say).facts(args.nova_conf))
    if args.format == 'json':
        print(json.dumps([dataclasses.asdict(f) for f in found], indent=2))
    else:
        for finding in found:
            print(_paragraph(finding))
        print(f'{len(found)} findings' if found else 'nothing found that stands in the way')
    return 2 if any(f.level == preflight.ERROR for f in found) else 1 if found else 0


def _paragraph(finding):
    lines = [f'{finding.level.upper()}: {finding.what}']
    for head, text in (('why', finding.why), ('do', finding.todo)):
        lines += textwrap.wrap(text, WIDTH, initial_indent=f'    {head + ":":5}',
                               subsequent_indent=' ' * 9, break_on_hyphens=False)
    return '\n'.join(lines)


def run_upgrade_check(args, conf):
    """Say whether the database fits this version."""
    store = service.make_store(conf)
    there, wanted = store.version(), store.newest_version()
    good = there == wanted
    text = f'database: {there or "no tables"}, this version wants {wanted}'
    print(json.dumps({'good': good, 'text': text}) if args.format == 'json' else text)
    return 0 if good else 2


def _parser():
    parser = argparse.ArgumentParser(prog='vmha-status', description=__doc__.splitlines()[0])
    parser.add_argument('--version', action='version', version=version.version())
    parser.add_argument('--config-file', action='append', metavar='FILE',
                        help='default: /etc/vmha/vmha.conf and what oslo.config looks for')
    parser.add_argument('--config-dir', action='append', metavar='DIR')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def command(of, name, function):
        sub = of.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.add_argument('--format', choices=('text', 'json'), default='text')
        sub.set_defaults(function=function)
        return sub

    sub = command(commands, 'preflight', run_preflight)
    sub.add_argument('--nova-conf', action='append', default=[], metavar='FILE',
                     help="also check this nova.conf of a compute node; repeatable")
    upgrade = commands.add_parser('upgrade', help='before and after an upgrade')
    command(upgrade.add_subparsers(required=True, metavar='CHECK'), 'check', run_upgrade_check)
    return parser


def main(argv=None):
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    options = [f'--config-file={f}' for f in args.config_file or ()]
    options += [f'--config-dir={d}' for d in args.config_dir or ()]
    try:
        conf = opts.load(options, '')
        conf.set_override('use_stderr', False)
        log.setup(conf, 'vmha')
        return args.function(args, conf)
    except (exception.VmhaError, cfg.Error) as e:
        print(f'vmha-status: {e}', file=sys.stderr)
        return 255


if __name__ == '__main__':
    sys.exit(main())
