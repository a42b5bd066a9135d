"""Makes up clouds, and what happens to them.

Nothing that nobody could survive: where the only fence is an operator's word, hosts that are
reported are off; nobody clears what is on the blocklist. What can be survived only at some
moments, such as to say that a host is gone for good, is left out by explore.py where it cannot.
"""

FENCES = ('storage',) * 5 + ('power',) * 2 + ('power, storage',) * 3 + ('none',)
NAMES = ('ann', 'bob', 'cid', 'dan', 'eve', 'fay', 'gus', 'hal')
GUESTS = ({}, {}, {}, {'stopped': True}, {'stopped': True}, {'priority': 90}, {'vcpus': 3},
          {'group': 'apart'}, {'group': 'apart'}, {'vm_state': 'paused'}, {'protect': 'no'})

# Events that are not drawn, and why.
LEFT_OUT = {
    'unblock': 'nobody could survive it',
    'destroy': 'an operator does so where it is asked for',
    'kill-gate': 'the engine is killed at gates of the case',
    'pause-gate': 'it is paused at gates of the case, too'}


def topology(rng):
    """A small cloud: up to four hosts, up to six guests."""
    computes = [f'c{n}' for n in range(1, rng.choice((2, 2, 3)) + 1)]
    spares = [f's{n}' for n in range(1, rng.choice((0, 1, 1, 1, 2)) + 1)]
    hosts = {name: {'vcpus': rng.choice((3, 6, 100, 100))} for name in computes}
    hosts.update({name: {'spare': True, 'vcpus': rng.choice((2, 4, 100))} for name in spares})
    names = iter(NAMES)
    guests = {computes[0]: [_guest(rng, next(names)) for _ in range(rng.randint(1, 3))]}
    for host in computes[1:]:
        guests[host] = [_guest(rng, next(names)) for _ in range(rng.choice((0, 0, 1)))]
    found = {
        'hosts': hosts, 'guests': guests, 'groups': {'apart': rng.choice((
            'anti-affinity', 'soft-anti-affinity', 'soft-affinity'))},
        'fence': rng.choice(FENCES),
        'nova': {'rebuild': rng.choice((1.0, 3.0, 7.0)), 'beat': rng.choice((1.0, 2.0))},
        'policy': {'window': rng.choice((1, 2, 6)), 'move_timeout': 40.0, 'quiet': 6.0,
                   'return_after': 3.0, 'spares_only': rng.random() < 0.15,
                   'spare_after': rng.choice(('reserve', 'reserve', 'reserve', 'ordinary')),
                   'return_becomes': 'as_before'},
        'limits': {'hosts': rng.choice((1, 2, 2, 3)), 'percent': 0.0}}
    if found['fence'] in ('storage', 'power, storage') and rng.random() < 0.15:
        found['ranged'] = False
    if found['fence'] != 'none' and rng.random() < 0.1:
        found['monitor'] = {}
        found['policy']['trust'] = {'vmha-monitor': 'act'} if rng.random() < 0.5 else {}
    return found


def _guest(rng, name):
    values = rng.choice(GUESTS)
    return {name: dict(values)} if values else name


class _Cloud:
    """What a maker of events has to know."""

    def __init__(self, rng, made):
        self.rng = rng
        self.hosts = list(made['hosts'])
        self.guests = [g if isinstance(g, str) else next(iter(g))
                       for some in made['guests'].values() for g in some]
        self.storage = 'storage' in made['fence']
        self.power = 'power' in made['fence']
        self.fenced = self.storage or self.power
        self.monitor = 'monitor' in made
        self.new = 0

    def host(self):
        return self.rng.choice(self.hosts)

    def guest(self):
        return self.rng.choice(self.guests)


def happenings(rng, made):
    """[(seconds, text)]: some host fails and is reported, and other things happen."""
    cloud = _Cloud(rng, made)
    at = 2.0 + rng.randint(0, 2)
    found = []
    for _ in range(rng.randint(1, 4)):
        text = _event(cloud)
        found.append((at, text))
        at += rng.choice((0, 1, 1, 2))
    story = rng.choice(STORIES)
    for text in (story(cloud) if story else _failure(cloud, 'c1')):
        found.append((at, text))
        at += rng.choice((0, 0, 1, 3))
    for _ in range(rng.randint(2, 7)):
        at += rng.choice((0, 1, 2, 3, 5))
        some = _failure(cloud, cloud.host()) if rng.random() < 0.2 else [_event(cloud)]
        found += [(at, text) for text in some]
    return found


def _failure(cloud, host):
    """A host fails, in some way, and somebody reports it, in some way."""
    rng = cloud.rng
    fails = rng.choice(('die {}', 'die {}', 'crash {}', 'cut {}', 'cut {} management',
                        'stop-compute {}') if cloud.fenced else ('die {}', 'die {}', 'crash {}'))
    source = rng.choice(('one', 'two'))
    reports = rng.choice((
        f'report {host} source={source}', f'message {host} source={source}',
        f'message {host} source={source} times=2', f'report {host} source=op force=yes',
        f'{rng.choice(("report", "message"))} {host} source={source} late={rng.choice((1, 30))}'))
    return [fails.format(host), reports]


def _event(cloud):
    """Something else that happens."""
    kinds = [k for k, needs in EVENTS if needs is None or getattr(cloud, needs)]
    return cloud.rng.choice(kinds)(cloud)


# -- what belongs together, and would not come together by chance --------------------------------
def _storm(cloud):
    """Several hosts fail at once."""
    hosts = [h for h in cloud.hosts if h.startswith('c')]
    return [text for host in hosts for text in _failure(cloud, host)]


def _maintenance(cloud):
    """A host in maintenance is switched off."""
    return ['mark c1 maintenance=yes', 'die c1', 'report c1 source=one']


def _paused(cloud):
    """A host fails while recoveries are paused."""
    return ['pause', *_failure(cloud, 'c1'), 'wait', 'wait', 'resume']


def _refused(cloud):
    """The targets have no room at first, and the answers get lost."""
    others = [f'full {host}' for host in cloud.hosts[1:] if cloud.rng.random() < 0.6]
    return [*others, 'next evacuate lose-late times=2', *_failure(cloud, 'c1')]


def _reconnected(cloud):
    """The cable of a host is back while its guests are moved; nova-compute is restarted later."""
    fails = 'cut c1' if cloud.fenced else 'die c1'
    pause = ['wait'] * cloud.rng.randint(3, 9)
    return [f'rebuild {cloud.rng.choice((1, 4, 8))}', fails, 'message c1 source=one', *pause,
            'heal c1', *pause, 'start-compute c1']


def _target_dies(cloud):
    """Whoever may be a target dies while guests are on their way."""
    pause = ['wait'] * cloud.rng.randint(4, 10)
    return [*_failure(cloud, 'c1'), *pause, *_failure(cloud, cloud.hosts[-1])]


def _evacuated_by_others(cloud):
    """Somebody else evacuates guests of a dead host, too."""
    pause = ['wait'] * cloud.rng.randint(0, 9)
    return ['die c1', 'force-down c1', 'nova-tells c1', *pause,
            f'evacuate {cloud.guests[0]} {cloud.hosts[-1]}']


STORIES = (None, None, None, None, _storm, _maintenance, _paused, _refused, _reconnected,
           _target_dies, _evacuated_by_others)


def _create(cloud):
    cloud.new += 1
    cloud.guests.append(f'new{cloud.new}')
    return f'create {cloud.host()} new{cloud.new}'


def _next(cloud):
    rng = cloud.rng
    act = rng.choice(('evacuate', 'evacuate', 'evacuate', 'force_down', 'disable', 'enable',
                      'stop'))
    if act == 'evacuate':
        return (f'next evacuate {rng.choice(("refuse", "lose", "lose-late", "unreachable"))} '
                f'code={rng.choice((400, 401, 403, 409))} times={rng.choice((1, 1, 2))}')
    return f'next {act} {rng.choice(("refuse", "lose", "unreachable"))}'


def _mark(cloud):
    rng = cloud.rng
    return f'mark {cloud.host()} ' + rng.choice((
        'maintenance=yes', 'maintenance=no', f'maintenance=yes seconds={rng.choice((3, 20))}',
        'spare=yes', 'spare=no', 'pool=b', 'backend=rbd:other'))


def _change(cloud):
    return f'change {cloud.guest()} ' + cloud.rng.choice((
        'task_state=powering-on', 'vm_state=paused', 'vm_state=error fault=bad'))


def _monitor(cloud):
    return 'monitor ' + cloud.rng.choice((
        'cut', 'storage-cut', 'healed', 'nova-away', 'nova-back', 'ceph-away', 'ceph-back'))


EVENTS = (
    (lambda c: f'delete {c.guest()}', None),
    (lambda c: f'delete {c.guest()} quietly=yes', None),
    (lambda c: f'stop {c.guest()}', None),
    (lambda c: f'start {c.guest()}', None),
    (_create, None),
    (lambda c: f'migrate {c.guest()} {c.host()} seconds={c.rng.choice((2, 10))}', 'fenced'),
    (lambda c: f'evacuate {c.guest()} {c.host()}', None),
    (lambda c: f'end {c.guest()}', None),
    (_change, None),
    (lambda c: f'hide {c.guest()}', None),
    (lambda c: f'show {c.guest()}', None),
    (lambda c: f'full {c.host()}', None),
    (lambda c: f'roomy {c.host()}', None),
    (_next, None), (_next, None),
    (lambda c: f'nova-away {c.rng.choice(("all", "servers", "services", "evacuations"))}', None),
    (lambda c: 'nova-back', None),
    (lambda c: f'cell-down {c.host()}', None),
    (lambda c: 'cell-up', None),
    (lambda c: f'rebuild {c.rng.choice((1, 4, 15))}', None),
    (lambda c: f'lag {c.rng.choice((0, 2, 5))}', None),
    (lambda c: f'disable {c.host()} mine', None),
    (lambda c: f'enable {c.host()}', None),
    (lambda c: f'force-down {c.host()}', None),
    (lambda c: f'force-up {c.host()}', None),
    (lambda c: f'nova-tells {c.host()}', 'fenced'),
    (lambda c: f'nova-tells {c.host()} forced=no', None),
    (lambda c: f'nova-tells-load {c.host()} {c.rng.choice((5, 95))}', None),
    (lambda c: 'garbage', None),
    (lambda c: 'ceph-away', 'storage'),
    (lambda c: 'ceph-back', 'storage'),
    (lambda c: "pool vms 'pgs inactive'", 'storage'),
    (lambda c: 'pool vms', 'storage'),
    (lambda c: f'osd-late {c.host()}', 'storage'),
    (lambda c: 'osd-late', 'storage'),
    (lambda c: f'osd-down {c.host()}', 'storage'),
    (lambda c: f'osd-up {c.host()}', 'storage'),
    (lambda c: f'cut {c.host()} storage', 'storage'),
    (lambda c: f'block {c.host()}', 'storage'),
    (lambda c: f'bmc {c.host()} {c.rng.choice(("dead", "stuck", "slow", "well"))}', 'power'),
    (lambda c: f'wish {c.rng.choice(("approve", "abort", "retry"))} {c.host()}', None),
    (lambda c: f'wish {c.rng.choice(("approve", "abort", "retry"))} {c.host()}', None),
    (lambda c: 'pause', None),
    (lambda c: 'resume', None),
    (_mark, None), (_mark, None),
    (lambda c: f'wish release {c.host()}', None),
    (lambda c: 'kill', None),
    (lambda c: 'stop-engine', None),
    (lambda c: 'start-engine', None),
    # Not back: what is over would be in the future, and its host out for as long.
    (lambda c: f'clock {c.rng.choice((60, 3600))}', None),
    (lambda c: f'switch-on {c.host()}', None),
    (lambda c: f'switch-on {c.host()} hangs=yes', None),
    (lambda c: f'heal {c.host()}', None),
    (lambda c: f'start-compute {c.host()}', None),
    (_monitor, 'monitor'), (_monitor, 'monitor'),
)
