"""A small real OpenStack on this machine: bring it up, break it, take it down."""

import argparse
import importlib
import json
import signal
import sys

from keystoneauth1 import exceptions

from tests.lab.common import LabError
from tests.lab.common import Progress
from tests.lab import failures
from tests.lab import lab as labs
from tests.lab.network import NETWORKS
from tests.lab import openstack
from tests.lab import services
from tests.lab.state import CALLERS

#: Variables of the openstack client that would lead it elsewhere.
_OTHER_SCOPES = ('OS_CLOUD', 'OS_TOKEN', 'OS_PROJECT_ID', 'OS_DOMAIN_NAME')


def main(arguments=None):
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    # A SIGTERM ends an `up` like Ctrl-C does: it cleans up first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return options.command(options) or 0
    except LabError as error:
        print(f'error: {error}', file=sys.stderr)
    except exceptions.ClientException as error:
        print(f'error: the cloud answers: {error}', file=sys.stderr)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
    return 1


def up(options):
    """Bring a lab up."""
    progress = Progress()
    settings = {name: getattr(options, name) for name in services.SETTINGS}
    lab = labs.Lab.up(options.dir, options.hosts, options.servers, options.stopped, options.on,
                      options.bind, settings, progress, options.storage, options.virt,
                      options.network)
    progress(f'up: {len(lab.hosts)} hosts, in {lab.dir}')
    print(f'Keystone: {lab.urls["auth_url"]}   logs: {lab.log}')


def status(options):
    """Show services, hosts and servers."""
    report = _report(labs.Lab.load(options.dir))
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)


def kill_host(options):
    """SIGKILL a host's nova-compute and all it started, or, if it is a box, all that is in it."""
    labs.Lab.load(options.dir).kill_host(options.host, options.silent)


def start_host(options):
    """Start a host's nova-compute and wait for its heartbeat."""
    labs.Lab.load(options.dir).start_host(options.host)


def stop_host(options):
    """SIGTERM a host's nova-compute."""
    labs.Lab.load(options.dir).stop_host(options.host)


def cut_host(options):
    """Pull the cables of a host that is a box, or of "watch"; or the one to a network."""
    labs.Lab.load(options.dir).cut(options.host, *filter(None, [options.network]))


def join_host(options):
    """Put the cables back."""
    labs.Lab.load(options.dir).join(options.host, *filter(None, [options.network]))


def freeze_host(options):
    """Stop all processes of a host that is a box where they stand."""
    labs.Lab.load(options.dir).freeze(options.host)


def thaw_host(options):
    """Let a frozen host go on."""
    labs.Lab.load(options.dir).thaw(options.host)


def guests(options):
    """Show which guests have a QEMU on which host, whatever Nova says, and what they counted."""
    lab = labs.Lab.load(options.dir)
    for host in lab.hosts:
        for server_id, pid in lab.guests(host).items():
            counted = lab.counts(server_id, host)
            print(host, server_id, pid, counted[-1].count if counted else '-')


def bring_back(options):
    """Start a host if it does not run, lift forced_down, and enable it."""
    labs.Lab.load(options.dir).bring_back(options.host)


def boot(options):
    """Boot servers on a host."""
    metadata = dict(pair.partition('=')[::2] for pair in options.meta)
    for server in labs.Lab.load(options.dir).boot(
            options.on, options.servers, options.stopped, options.disk, options.port,
            name=options.name, metadata=metadata):
        print(server['id'], server['name'], server['status'])


def env(options):
    """Print shell lines that let the openstack client find the lab."""
    credentials = labs.Lab.load(options.dir).credentials
    # What the shell had of another account says whose project or scope it is.
    others = {f'OS_{name.upper()}' for one in credentials.values() for name in one}
    wanted = openstack.variables(credentials[options.account])
    print(f'unset {" ".join(sorted({*others, *_OTHER_SCOPES} - wanted.keys()))}')
    for name, value in wanted.items():
        print(f'export {name}={value}')


def api(options):
    """Start the REST API of vmha_nova beside the lab, on what is configured there; or stop it."""
    from tests.lab import vmha                      # which needs more than the lab itself does
    service = vmha.Vmha(labs.Lab.load(options.dir))
    if options.stop:
        service.stop_api()
        return
    if not service.conf_file.exists():
        service.configure()
    service.sync()
    service.start_api()
    print(f'{service.api_url}   log: {service.api_log}')


def table(options):
    """Print the table that the documents have, of what tests or a bench have written."""
    if options.json:
        print(failures.gathered(options.file), end='')
    else:
        print(failures.text(options.file), end='')


def bench(options):
    """Measure something: recovery, clients, detection, faults, fence, lists, scale."""
    return importlib.import_module(f'tests.lab.bench_{options.name}').main(options.rest)


def down(options):
    """Stop everything."""
    progress = Progress()
    found = labs.tear_down(options.dir, options.wipe, progress)
    progress('down' if found else 'there was no lab')


def _report(lab):
    """What ``status`` shows, as plain data."""
    pids = lab.pids()
    report = {
        'dir': str(lab.dir), 'log': str(lab.log), 'ready': lab.state.ready, 'urls': lab.urls,
        'services': {name: {'pid': recorded.pid, 'alive': name in pids}
                     for name, recorded in lab.state.processes.items()},
        'boxes': {host: box.alive() for host, box in lab.boxes.items()},
        'hosts': {}, 'error': None}
    try:
        if lab.ceph is not None:
            report['storage'] = _storage(lab.ceph)
        cloud = lab.cloud()
        servers = cloud.count()
        for service in cloud.services('nova-compute'):
            host = service['host']
            report['hosts'][host] = {
                'state': service['state'], 'status': service['status'],
                'forced_down': service['forced_down'], 'servers': servers.pop(host, {})}
        report['elsewhere'] = servers
    except (LabError, exceptions.ClientException) as error:
        report['error'] = f'Nova does not answer: {error}'
    return report


def _storage(ceph):
    """The health of Ceph as plain data."""
    found = ceph.command('status')
    groups = found['pgmap'].get('pgs_by_state', [])
    return {'health': found['health']['status'], 'checks': sorted(found['health']['checks']),
            'osds_up': found['osdmap']['num_up_osds'], 'osds': found['osdmap']['num_osds'],
            'groups': {group['state_name']: group['count'] for group in groups}}


def _print_report(report):
    print(f'{report["dir"]}: {"up" if report["ready"] else "not completely up"}')
    for name, service in report['services'].items():
        print(f'  {name:<16} {service["pid"]:>8}  {"runs" if service["alive"] else "DEAD"}')
    for host, seen in sorted(report['hosts'].items()):
        forced = ', forced down' if seen['forced_down'] else ''
        servers = ', '.join(f'{n} {kind}' for kind, n in sorted(seen['servers'].items()))
        power = '' if report['boxes'].get(host, True) else ', switched off'
        print(f'  {host:<16} {seen["state"]}, {seen["status"]}{forced}{power}; '
              f'servers: {servers or "none"}')
    for host, counted in report.get('elsewhere', {}).items():
        print(f'  servers of {host or "no host"}: {counted}')
    if 'storage' in report:
        ceph = report['storage']
        groups = ', '.join(f'{n} {state}' for state, n in ceph['groups'].items())
        print(f'  Ceph             {" ".join([ceph["health"], *ceph["checks"]])}; '
              f'{ceph["osds_up"]} of {ceph["osds"]} OSDs up; placement groups: {groups}')
    if report['error']:
        print(f'  {report["error"]}')


def _parser():
    parser = argparse.ArgumentParser(prog='python -m tests.lab', description=__doc__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def command(function):
        name = function.__name__.replace('_', '-')
        added = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        added.add_argument('--dir', help='folder of the lab (default: $VMHA_LAB_DIR, '
                                         'or ~/.cache/vmha-lab/default)')
        added.set_defaults(command=function)
        return added

    add = command(up).add_argument
    add('--hosts', type=int, default=4, help='number of compute hosts (default %(default)s)')
    _add_servers(add, 0)
    add('--storage', choices=('none', 'ceph'), default='none',
        help='ceph: a Ceph on the hosts, which are namespaces then (default %(default)s)')
    add('--virt', choices=('fake', 'libvirt'), default='fake',
        help='libvirt: real guests, emulated, with disks in that Ceph (default %(default)s)')
    add('--network', choices=('none', 'ovs'), default='none',
        help='ovs: an Open vSwitch on each host, for servers with a port (default %(default)s)')
    add('--bind', default='127.0.0.1', help='address to listen on (default %(default)s)')
    for name, value in services.SETTINGS.items():
        add(f'--{name.replace("_", "-")}', type=int, default=value, metavar='N',
            help='default %(default)s')
    command(status).add_argument('--json', action='store_true', help='as JSON')
    for function in (start_host, stop_host, bring_back, freeze_host, thaw_host):
        command(function).add_argument('host')
    for function in (cut_host, join_host):
        add = command(function).add_argument
        add('host')
        add('--network', choices=NETWORKS, help='the cable to this network only')
    add = command(kill_host).add_argument
    add('host')
    add('--silent', action='store_true', help='pull the network cable, too: nothing there '
                                              'refuses connections')
    command(guests)
    add = command(boot).add_argument
    _add_servers(add, 1)
    add('--name', default='vm', help='how their names begin (default %(default)s)')
    add('--disk', choices=('rbd', 'volume', 'local'), help='where root disks are, with libvirt')
    add('--port', action='store_true', help='with a port each, with --network ovs')
    add('--meta', action='append', default=[], metavar='KEY=VALUE', help='metadata; repeatable')
    command(env).add_argument('--account', default='admin', choices=('admin', 'vmha', *CALLERS),
                              help='whose (default %(default)s)')
    command(api).add_argument('--stop', action='store_true', help='stop it')
    add = command(table).add_argument
    add('file', help='that of $VMHA_FAILURES, a report of `bench detection` or `scale`, or a '
                     'folder of cases as `bench faults` and $VMHA_FAULTS fill them')
    add('--json', action='store_true', help='print what is in such a folder as one file')
    add = command(bench).add_argument
    add('name', nargs='?', default='recovery', help='what (default %(default)s)',
        choices=('clients', 'detection', 'faults', 'fence', 'lists', 'recovery', 'scale'))
    add('rest', nargs=argparse.REMAINDER, metavar='...', help='its own options')
    command(down).add_argument('--wipe', action='store_true', help='remove the folder, too')
    return parser


def _add_servers(add, default):
    add('--servers', type=int, default=default, help='servers to boot (default %(default)s)')
    add('--stopped', type=int, default=0, help='of these, SHUTOFF ones (default %(default)s)')
    add('--on', default='compute1', metavar='HOST', help='where (default %(default)s)')
