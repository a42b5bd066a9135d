"""A bare client that evacuates a host: what a script, or a hand, does. It has no second thoughts.

It proves nothing, records nothing, tries nothing twice. So it is what a recovery is measured
against: nothing that does more can be expected to be faster.
"""

import concurrent.futures
import dataclasses
import time

from keystoneauth1 import exceptions

LOOK = 0.5                              # seconds between looks at Nova's records
ENDED = ('done', 'completed', 'failed', 'error', 'cancelled')
CALLERS = 32                            # calls at the same time, at most


@dataclasses.dataclass
class Flown:
    """How it went.

    :ivar first_accept: when Nova had taken the first evacuation, in seconds of the epoch
    :ivar ended: when the last one was over, or when it was given up
    :ivar finished: whether all were over then
    :ivar refused: calls that Nova did not take, {server id: why}
    """

    first_accept: float = 0.0
    ended: float = 0.0
    finished: bool = False
    refused: dict = dataclasses.field(default_factory=dict)


def evacuate(cloud, source, targets, server_ids, window, give_up):
    """force_down, disable, enable the targets, and evacuate, so many at a time.

    :param cloud: Cloud
    :param targets: hosts that take turns; enabled if they are not
    :param window: evacuations in flight; None: all calls at once, and the scheduler chooses
    :param give_up: seconds
    """
    deadline = time.monotonic() + give_up
    services = {s['host']: s for s in cloud.services('nova-compute')}
    _set(cloud, services[source], forced_down=True)
    _set(cloud, services[source], status='disabled')
    for host in targets:
        if services[host]['status'] != 'enabled':
            _set(cloud, services[host], status='enabled')
    flown = Flown()
    with concurrent.futures.ThreadPoolExecutor(min(CALLERS, window or CALLERS)) as callers:
        _fly(cloud, source, targets, server_ids, window or len(server_ids), window is None,
             callers, flown, deadline)
        callers.shutdown(cancel_futures=True)
    flown.ended = time.time()
    return flown


def _set(cloud, service, **fields):
    cloud.call('PUT', f'/os-services/{service["id"]}', fields)


def _fly(cloud, source, targets, server_ids, window, anywhere, callers, flown, deadline):
    waiting, flying, calls = list(server_ids), {}, {}
    sent = dict.fromkeys(targets, 0)

    def call(server_id, target):
        try:
            cloud.evacuate(server_id, target)
        except exceptions.ClientException as error:
            return str(error)
        flown.first_accept = flown.first_accept or time.time()
        return ''

    while waiting or flying:
        while waiting and len(flying) < window:
            server_id = waiting.pop(0)
            target = min(targets, key=lambda t: (
                sum(t == other for other in flying.values()), sent[t]))
            sent[target] += 1
            flying[server_id] = target
            calls[server_id] = callers.submit(call, server_id, None if anywhere else target)
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK)
        over = {m['instance_uuid'] for m in cloud.migrations(
            source, migration_type='evacuation') if m['status'] in ENDED}
        for server_id, asked in list(calls.items()):
            if asked.done() and asked.result():
                flown.refused[server_id] = asked.result()
                over.add(server_id)
            if server_id in over:
                flying.pop(server_id, None)
                del calls[server_id]
    flown.finished = True
