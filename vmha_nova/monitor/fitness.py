"""What keeps vmha-monitor from seeing the hosts, for vmha-status preflight."""

import random
import time

from oslo_config import cfg

from vmha_nova import exception
from vmha_nova.monitor import addresses
from vmha_nova.monitor import channels as c
from vmha_nova.monitor import probe
from vmha_nova import preflight

SECONDS = 10.0              # for one connect to each address
NAMED = 5                   # hosts that one line names
USED = (cfg.Locations.user, cfg.Locations.command_line, cfg.Locations.environment,
        cfg.Locations.set_override)


def in_use(conf):
    """Whether anything is configured in [monitor]."""
    return any(conf.get_location(name, 'monitor').location in USED for name in conf.monitor)


def findings(conf, cluster, seconds=SECONDS):
    """Yield preflight.Findings. ``cluster``: model.Cluster, None where Nova does not answer.

    Connects once to every address it finds, as the monitor would.
    """
    try:
        places = addresses.Addresses(conf.monitor)
    except exception.ConfigurationError as e:
        yield preflight.Finding(preflight.ERROR, str(e), 'vmha-monitor does not start with it',
                                'correct it')
        return
    for problem in places.resolve():
        yield preflight.Finding(
            preflight.ERROR, problem, 'vmha-monitor does not look there',
            'correct it, or the resolver')
    if conf.monitor.icmp and (why := probe.can_echo()):
        yield preflight.Finding(
            preflight.ERROR, f'[monitor] icmp: no echo can be sent: {why}',
            'the channel tells nothing', "widen net.ipv4.ping_group_range to the service's group")
    if not places.has_witnesses:
        yield preflight.Finding(
            preflight.WARNING, '[monitor] witnesses names nobody',
            'only Nova and Ceph show that it is not the monitor that is cut off',
            'name the gateways of its networks, as address:port')
    if cluster is None:
        return
    if unknown := sorted(places.hosts - cluster.nodes.keys()):
        yield preflight.Finding(
            preflight.WARNING, f'[monitor] names addresses of {_some(unknown)}, which '
            f'{"is" if len(unknown) == 1 else "are"} no compute node of Nova',
            'these addresses are of no use', "use Nova's names of hosts")
    yield from _reached(conf, places, cluster, seconds)


def _reached(conf, places, cluster, seconds):
    wanted = {host: places.targets(host, node.address) for host, node in cluster.nodes.items()}
    if bare := sorted(h for h, found in wanted.items() if not found.get(c.MANAGEMENT)):
        yield preflight.Finding(
            preflight.WARNING, f'no address on the management network is known of {_some(bare)}',
            'without one a host is never more than probably dead, and that after long',
            'name it in [monitor] management_addresses')
    found = _connect(conf, wanted, seconds)
    for network in (c.MANAGEMENT, c.STORAGE):
        silent = {}
        for host, words in found.items():
            if network in words and c.ANSWERS not in words[network].values():
                silent[host] = ', '.join(f'{t} {w}' for t, w in words[network].items())
        if silent:
            host = min(silent)
            yield preflight.Finding(
                preflight.WARNING, f'{_some(sorted(silent))} did not answer on the {network} '
                f'network ({host}: {silent[host]})',
                'an address that never answers says nothing when the host dies',
                f'name a port that listens in [monitor] {network}_ports')
    if places.witnesses():
        words = _connect(conf, {'': {'witness': places.witnesses()}}, seconds).get('', {})
        if not {c.ANSWERS, c.REFUSED} & set(words.get('witness', {}).values()):
            yield preflight.Finding(
                preflight.ERROR, 'none of [monitor] witnesses answers',
                'the monitor takes itself for cut off, and reports nothing', 'correct them')


def _connect(conf, wanted, seconds):
    """Host -> network -> Target -> word, of one round each."""
    prober = probe.Prober(c.Settings(interval=0.1), time.monotonic, random.Random(),
                          conf.monitor.max_sockets)
    found, end = {}, time.monotonic() + seconds
    try:
        left = {host for host, targets in wanted.items() if targets}
        for host in left:
            prober.watch(host, wanted[host])
        while left and time.monotonic() < end:
            for one in prober.poll(0.1):
                found.setdefault(one.host, one.found)
                left.discard(one.host)
                prober.watch(one.host, {})
    finally:
        prober.close()
    return found


def _some(names):
    more = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {more} more' if more > 0 else '')
