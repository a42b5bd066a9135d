"""vmha-status: is this installation fit for what it is for?

``preflight`` connects to everything and says what would make a recovery fail or lose data. It
changes nothing. ``upgrade check`` says whether the database fits this version.
"""

import argparse
import collections
import concurrent.futures
import configparser
import contextlib
import dataclasses
import json
import logging
import os
import socket
import sys
import textwrap
import threading
import time
import urllib.parse

from keystoneauth1 import loading
import oslo_messaging

from vmha_nova.cmd import power
from vmha_nova.conf import opts
from vmha_nova import disks
from vmha_nova import exception
from vmha_nova.fencing import fences
from vmha_nova import marks
from vmha_nova import messaging
from vmha_nova import model
from vmha_nova.monitor import fitness
from vmha_nova.monitor import service as monitor
from vmha_nova import preflight
from vmha_nova import service
from vmha_nova import version

EXITS = ('Exit status: 0 all is well, 1 there are warnings, 2 there are errors, 255 the check '
         'itself failed. Notes do not count.')
CAPS = 'give the Ceph user the caps that the configuration reference names at [ceph] user'
WIDTH = 99
PATIENCE = 30.0                         # seconds for the database to answer
READY = 2.0                             # seconds for all placement groups to answer
AGAIN = 3.0                             # seconds until a lock that seems stale is looked at again
SQLITE = 'sqlite:///'


class Gathering:
    """Reads the facts; what cannot be read becomes a finding.

    ``say`` is called with what is read next.
    """

    def __init__(self, conf, say=lambda text: None):
        self._conf = conf
        self._say = say
        self._problems = []
        self._found = {}
        self._control = collections.defaultdict(set)    # service -> names or IPs of machines

    @contextlib.contextmanager
    def _reading(self, what, why, todo='see to it, or correct its section in vmha.conf'):
        self._say(f'{what} …')
        try:
            yield
        except Exception as e:
            text = ' '.join(str(e).split()).removeprefix(what.rpartition(': ')[2] + ': ')
            if not isinstance(e, exception.VmhaError):
                text = f'{type(e).__name__}: {text}'
            self._problems.append(preflight.Finding(
                preflight.ERROR, f'{what}: {text}', why, todo))

    def facts(self, nova_confs=(), ceph_confs=()):
        """Ask everything once; returns preflight.Facts. The arguments are paths."""
        conf, self._found = self._conf, dict(
            fence=tuple(self._conf.fence.driver), ranged=self._conf.ceph.fence_range,
            pools=service.make_pools(self._conf.ceph),
            user='client.' + self._conf.ceph.user.removeprefix('client.'))
        with self._reading('configuration', 'vmha-engine does not start with it', 'correct it'):
            self._found['policy'] = service.make_policy(conf)
            if not fences.has(conf, fences.POWER):
                service.make_fence(conf)
        store = self._database()
        with self._reading('message bus', 'no report that a host is down can come in'):
            for url in (conf.notifications.transport_url, conf.notifications.nova_transport_url):
                messaging.transport(conf, url)  # which also registers what probe() needs
                hosts = oslo_messaging.TransportURL.parse(conf, url or None).hosts
                self._control['the message bus'].update(host.hostname for host in hosts)
            messaging.probe(conf)
        cluster = self._cloud(store)
        if fences.has(conf, fences.POWER):
            self._say('power …')
            self._problems += power.findings(conf, cluster)
        if fences.has(conf, fences.STORAGE):
            self._storage(cluster)
        if fitness.in_use(conf):
            with self._reading('vmha-monitor', 'it does not start', 'correct it'):
                monitor.check_options(conf)
            self._say('what vmha-monitor looks at …')
            self._problems += fitness.findings(conf, cluster)
        self._found['nova_confs'] = self._files(nova_confs)
        self._found['ceph_confs'] = self._files(ceph_confs)
        self._places(cluster)
        return preflight.Facts(problems=tuple(self._problems), **self._found)

    # -- database and cloud -----------------------------------------------------------------------
    def _database(self):
        with self._reading('database', 'what is not recorded is not done'):
            store, there, wanted = _opened(self._conf)
            if there != wanted:
                raise exception.ConfigurationError(
                    f'it is at version {there or "none"}, this program wants {wanted}: '
                    'vmha-manage db sync')
            return store
        return None

    def _cloud(self, store):
        """The model.Cluster, with what is on record where the store can be read; or None."""
        cluster = nova = None
        with self._reading('Nova and Placement', 'without them nothing can be moved'):
            nova = service.make_nova(self._conf)
            nova.services()             # or the lists would fail one by one, each after its time
            collector = service.make_collector(self._conf, nova)
            collector.refresh()
            cluster = collector.snapshot if collector.snapshot.nodes_at else None
            if problems := collector.snapshot.problems:
                raise exception.Unreachable(problems[0] + (
                    f' (and {len(problems) - 1} more lists)' if len(problems) > 1 else ''))
        if cluster is None:
            return None
        with_volumes = next((i.id for i in cluster.instances.values() if i.volumes), None)
        if with_volumes:
            with self._reading('Cinder', 'where volumes are cannot be found out'):
                nova.attachments(with_volumes)
        if store is not None:
            with self._reading('what is on record', 'nothing can be planned'):
                cluster = self._on_record(store, cluster)
        self._found['cluster'] = cluster
        return cluster

    def _on_record(self, store, cluster):
        cluster = marks.with_marks(cluster, store.marks(), service.clock())
        known = service.storage_on_record(self._conf, store, cluster)
        cluster = known.with_backends(cluster)
        for host in cluster.by_host:
            cluster = known.backed(cluster, host)
        self._found.update(
            recorded={host for host, _, _ in store.clients().values()},
            seen=disks.backends(cluster.instances.values(), store.disks()))
        return cluster

    def _places(self, cluster):
        """Where control services are; which of the compute nodes this machine is."""
        conf = self._conf
        if cluster is None:
            return
        with self._reading('control services', 'hosts that carry one are not named'):
            self._control['Keystone'].add(_host_in(conf.service_credentials.auth_url))
            self._control['the database'].add(_host_in(conf.database.connection))
            for binary, host in self._nova_services():
                self._control[binary].add(host)
        # With no storage to ask, addresses are those that Nova shows.
        owner, problems = disks.addresses(
            cluster.nodes, self._found.get('storage') or model.StorageMap('', 0, None),
            service.named_addresses(conf.ceph))
        self._found.update(
            owner=owner, claims=problems,
            here={host for ip, host in owner.items() if _is_here(ip)},
            services={service: places | {ip for place in places if place
                                         for ip in _addresses(place)}
                      for service, places in self._control.items()})

    def _nova_services(self):
        """(binary, host) of the services of Nova that are no compute nodes."""
        name, group = 'service_credentials', self._conf.service_credentials
        session = loading.load_session_from_conf_options(
            self._conf, name, auth=loading.load_auth_from_conf_options(self._conf, name))
        answer = session.get(
            '/os-services', timeout=group.request_timeout, microversion='2.53', endpoint_filter={
                'service_type': 'compute', 'interface': group.interface,
                'region_name': group.region_name})
        return [(s['binary'], s['host']) for s in answer.json()['services']
                if s['binary'] != 'nova-compute']

    # -- Ceph -------------------------------------------------------------------------------------
    def _storage(self, cluster):
        """What Ceph tells, each by itself."""
        why = 'a dead host cannot be fenced, and nobody knows whether guests could run'
        with self._reading('Ceph', why, 'see conf_file, user and keyring in [ceph]'):
            ceph = service.make_ceph(self._conf)
            with contextlib.closing(ceph):
                self._found['storage'] = ceph.map()
                self._commands(ceph)
                self._images(ceph, cluster)

    def _commands(self, ceph):
        for name, prefix in (('dump', 'osd dump'), ('crush', 'osd crush dump'),
                             ('monitors', 'mon dump')):
            with self._reading(f'Ceph: {prefix}', 'this cannot be checked'):
                self._found[name] = ceph.ask(prefix)
        with self._reading('Ceph: config dump', 'what is set for clients cannot be checked'):
            config = collections.defaultdict(dict)
            for one in ceph.ask('config dump'):
                config[one['section']][one['name']] = one['value']
            self._found['config'] = config
        with self._reading('Ceph: osd df', 'free space cannot be checked'):
            self._found['usage'] = {n['id']: (n['kb'], n['kb_used'])
                                    for n in ceph.ask('osd df')['nodes']}

    def _images(self, ceph, cluster):
        """Who uses the disks, and may they do what they need?"""
        found, known = self._found, self._found['storage']
        pools = found['pools']
        there = [p for p in pools.all if p in known.pools]
        away = there                    # not asked: whether they answer is not known
        with self._reading('Ceph: placement groups', 'recoveries are held',
                           f'ceph health detail; {CAPS}'):
            away = ceph.unanswered(known.epoch, there, READY)
            if away:
                raise exception.Unreachable('; '.join(
                    f'pool {pool}: {len(groups)} do not answer'
                    for pool, groups in sorted(away.items())))
        answering = set(there) - set(away)
        images = {image for instance in (cluster.instances.values() if cluster else ())
                  for places in disks.images(instance, pools).values() for image in places
                  if image.partition('/')[0] in answering}
        with self._reading('Ceph: clients', 'clients of hosts cannot be recorded, so that they '
                           'cannot be fenced', CAPS):
            caps = ceph.monitor_caps()
            found['own_caps'] = caps.get(found['user'])
            users, connected = _users(ceph, images)
            names = {connected[c] for some in users.values() for c in some if c in connected}
            found['caps'] = {name: caps[name] for name in names if name in caps}
            stale = _stale(users, connected)
            if stale:
                # While a client changes from a monitor that died to another, none lists it.
                time.sleep(AGAIN)
                found['stale_locks'] = _stale(*_users(ceph, stale))

    # -- files ------------------------------------------------------------------------------------
    def _files(self, paths):
        found = {}
        for path in paths:
            with self._reading(path, 'it cannot be checked', 'name a file that can be read'):
                found[path] = _sections(path)
        return found


def _opened(conf):
    """(Store, version of its schema, version that is wanted); one that is not there is not made.

    :raises VmhaError: it cannot be read, or does not answer in time.
    """
    path = conf.database.connection.removeprefix(SQLITE).partition('?')[0]
    if conf.database.connection.startswith(SQLITE) and not os.path.exists(path):
        # To connect would make the file, and it would be ours instead of the engine's.
        raise exception.ConfigurationError(f'there is no {path}: vmha-manage db sync')
    answer = concurrent.futures.Future()

    def read():
        try:
            store = service.make_store(conf)
            answer.set_result((store, store.version(), store.newest_version()))
        except Exception as e:
            answer.set_exception(e)
    # Drivers wait for ever for a database that takes the connection and says nothing.
    threading.Thread(target=read, daemon=True).start()
    try:
        return answer.result(PATIENCE)
    except concurrent.futures.TimeoutError as e:
        raise exception.Unreachable(f'no answer within {PATIENCE:g} s') from e


def _users(ceph, images):
    """({image: its clients}, {client that is connected: its user}) of those that there are."""
    before = ceph.clients()
    users = {image: some for image, some in ceph.users_of(sorted(images)).items() if some}
    # A client may have come or gone meanwhile: then it is on one of the lists.
    return users, {**before, **ceph.clients()}


def _stale(users, connected):
    return {image for image, some in users.items() if not some & connected.keys()}


def _sections(path):
    """A file as oslo.config and Ceph write them: section -> option -> value."""
    parser = configparser.ConfigParser(
        strict=False, interpolation=None, allow_no_value=True, default_section='',
        delimiters='=', comment_prefixes=('#', ';'))
    parser.optionxform = lambda name: '_'.join(name.lower().replace('_', ' ').split())
    try:
        with open(path, encoding='utf-8') as stream:
            # Indented lines are options in Ceph's files.
            parser.read_string('\n'.join(line.strip() for line in stream))
    except (OSError, UnicodeError, configparser.Error) as e:
        raise exception.ConfigurationError(str(e).splitlines()[0]) from e
    # Ceph takes comments behind values as well.
    return {name: {option: (value or '').partition(';')[0].partition('#')[0].strip()
                   for option, value in parser[name].items()} for name in parser.sections()}


def _host_in(url):
    return urllib.parse.urlsplit(url or '').hostname


def _addresses(name):
    """The IPs of a name, as far as it has some."""
    try:
        return {info[4][0] for info in socket.getaddrinfo(name, None)}
    except OSError:
        return set()


def _is_here(ip):
    """Whether an IP is one of this machine's: then it would call it from there. Sends nothing."""
    family = socket.AF_INET6 if ':' in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((ip, 9))
            return probe.getsockname()[0] == ip
    except OSError:
        return False


def run_preflight(args, conf):
    """Connect to everything; say what would make a recovery fail or lose data.

    Nothing is changed anywhere.
    """
    say = (lambda text: print(f'vmha-status: {text}', file=sys.stderr)) if (
        sys.stderr.isatty() and args.format == 'text') else (lambda text: None)
    found = preflight.findings(Gathering(conf, say).facts(args.nova_conf, args.ceph_conf))
    if args.format == 'json':
        print(json.dumps([dataclasses.asdict(f) for f in found], indent=2))
    else:
        for finding in found:
            print(_paragraph(finding))
        print(_summary(found))
    levels = {f.level for f in found}
    return 2 if preflight.ERROR in levels else 1 if preflight.WARNING in levels else 0


def _summary(found):
    counts = collections.Counter(f.level for f in found)
    return ', '.join(f'{counts[level]} {level}{"s" * (counts[level] != 1)}'
                     for level in preflight.LEVELS if counts[level]) or (
        'nothing found that stands in the way')


def _paragraph(finding):
    lines = [f'{finding.level.upper()}: {finding.what}']
    for head, text in (('why', finding.why), ('do', finding.todo)):
        lines += textwrap.wrap(text, WIDTH, initial_indent=f'    {head + ":":5}',
                               subsequent_indent=' ' * 9, break_on_hyphens=False)
    return '\n'.join(lines)


def run_upgrade_check(args, conf):
    """Say whether the database fits this version."""
    _, there, wanted = _opened(conf)
    good = there == wanted
    text = f'database: {there or "no tables"}, this version wants {wanted}'
    print(json.dumps({'good': good, 'text': text}) if args.format == 'json' else text)
    return 0 if good else 2


class _Parser(argparse.ArgumentParser):
    """Its own exit status for a wrong command line would mean errors that were found."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(255, f'{self.prog}: {message}\n')


def _parser():
    parser = _Parser(prog='vmha-status', description=__doc__.splitlines()[0], epilog=EXITS)
    parser.add_argument('--version', action='version', version=version.version())
    parser.add_argument('--config-file', action='append', metavar='FILE',
                        help='default: /etc/vmha/vmha.conf and what oslo.config looks for')
    parser.add_argument('--config-dir', action='append', metavar='DIR')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def command(of, name, function):
        sub = of.add_parser(name, help=function.__doc__.splitlines()[0],
                            description=function.__doc__, epilog=EXITS)
        sub.add_argument('--format', choices=('text', 'json'), default='text')
        sub.set_defaults(function=function)
        return sub

    sub = command(commands, 'preflight', run_preflight)
    sub.add_argument('--nova-conf', action='append', default=[], metavar='FILE',
                     help='also check this nova.conf of a compute node; repeatable')
    sub.add_argument('--ceph-conf', action='append', default=[], metavar='FILE',
                     help='also check this ceph.conf of a compute node; repeatable')
    upgrade = commands.add_parser('upgrade', help='before and after an upgrade')
    command(upgrade.add_subparsers(required=True, metavar='CHECK'), 'check', run_upgrade_check)
    return parser


def main(argv=None):
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    options = [f'--config-file={f}' for f in args.config_file or ()]
    options += [f'--config-dir={d}' for d in args.config_dir or ()]
    # What libraries log is not for the terminal, and the log file of vmha.conf is the engine's.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        conf = opts.load(options, '')
        conf.set_override('max_retries', 0, group='database')   # the answer is wanted now
        return args.function(args, conf)
    except exception.VmhaError as e:
        text = str(e)
    except KeyboardInterrupt:
        text = 'stopped'
    except Exception as e:              # of a configuration, above all
        text = f'{type(e).__name__}: {e}'
    print(f'vmha-status: {text}', file=sys.stderr)
    return 255


if __name__ == '__main__':
    sys.exit(main())
