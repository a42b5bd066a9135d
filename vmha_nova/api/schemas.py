"""JSON schemas of what comes in: paths, queries and bodies.

They are JSON Schema 2020-12, as OpenAPI 3.1 wants it: what is checked here is what is promised
there. A pattern is anchored at both ends. A list has maxItems, and never uniqueItems, which
compares each member with each other.
"""

from vmha_nova import states

# Text on one line: no control characters.
_LINE = r'^[^\u0000-\u001f\u007f-\u009f]*$'
LARGEST_ID = 2 ** 31 - 1
HOSTS_IN_A_PLAN = 50
ACTIONS = ('approve', 'abort', 'retry', 'release')
PROTECTION = ('power+storage', 'power', 'storage', 'word', 'none')
LEVELS = ('info', 'warning', 'error')


def line(longest, shortest=0, **more):
    """Text on one line of so many characters."""
    limits = dict(minLength=shortest) if shortest else {}
    return dict(type='string', **limits, maxLength=longest, pattern=_LINE, **more)


def closed(properties, required=None):
    """An object with these properties and no others; all of them unless some are named."""
    return dict(type='object', properties=properties, additionalProperties=False,
                required=list(properties if required is None else required))


FLAG = dict(type='boolean')
TIME = dict(type='string', format='date-time')
HOST = line(255, 1, description='As "openstack compute service list" names it.')
NAME = line(255)
ID = line(64, 1)
NUMBER = dict(type='integer', minimum=1, maximum=LARGEST_ID)

PATHS = dict(host=HOST, failure_id=NUMBER, recovery_id=ID)


# -- bodies --------------------------------------------------------------------------------------
HOST_UPDATE = closed(dict(host=dict(closed(dict(
    spare=dict(FLAG, description='Kept free for recoveries.'),
    pool=line(255, description='A spare serves the hosts of its own pool.'),
    maintenance=dict(FLAG, description='Left alone, whatever is reported of it.'),
    maintenance_until=dict(type=['string', 'null'], format='date-time', description=(
        'When maintenance ends by itself, in the future; null: by hand. For a host in '
        'maintenance, or with "maintenance": true.')),
    backend=line(255, description=(
        "Where its nova-compute keeps disks: 'rbd:' and the name of a pool, 'local', or nothing "
        'for what is seen of it.'))), required=()), minProperties=1)))

FAILURE_CREATE = closed(dict(failure=closed(dict(
    host=HOST,
    reason=line(4000, description='For people to read.'),
    source=line(255, 1, default='operator',
                description='Who says so; [detection] trust says what that is worth. One that is '
                            'acted upon unchecked is not for everybody: vmha:failures:source.'),
    detected_at=dict(TIME, description='Without it, now; with it, a report that comes twice is '
                                       'one report.'),
    evidence=dict(type='object', maxProperties=64, description=(
        'What was seen. "reporter" is added: the account the token is of.')),
    force=dict(FLAG, default=False, description='Do not check the evidence: you know that it is '
                                                'dead.')), required=['host'])))

ACTION = closed(dict(action=dict(type='string', enum=list(ACTIONS))))

PLAN_CREATE = closed(dict(plan=closed(dict(hosts=dict(
    type='array', items=HOST, minItems=1, maxItems=HOSTS_IN_A_PLAN)))))

PAUSE_UPDATE = closed(dict(pause=closed(dict(
    paused=FLAG, reason=line(1000, description='For people to read.')), required=['paused'])))


# -- queries -------------------------------------------------------------------------------------
def listing(max_limit, marker, sort_keys, direction='asc', **filters):
    """The query of a list; the first sort key is the default."""
    return closed(dict(
        limit=dict(type='integer', minimum=1, maximum=max_limit, default=max_limit,
                   description='Entries on a page.'),
        marker=dict(marker, description='The id of the entry that the page begins behind.'),
        sort_key=dict(type='string', enum=list(sort_keys), default=sort_keys[0]),
        sort_dir=dict(type='string', enum=['asc', 'desc'], default=direction),
        **filters), required=())


def _one_of(words):
    return dict(type='string', enum=list(words))


def hosts(max_limit):
    """GET /v1/hosts."""
    return listing(max_limit, HOST, ('host', 'zone', 'up', 'enabled', 'instances', 'load'),
                   zone=NAME, pool=NAME, spare=FLAG, maintenance=FLAG, up=FLAG, enabled=FLAG,
                   protection=_one_of(PROTECTION), fits=FLAG)


def load(max_limit):
    """GET /v1/load."""
    return listing(max_limit, HOST, ('host', 'zone', 'load', 'instances'), zone=NAME,
                   spare=FLAG, up=FLAG, enabled=FLAG)


def failures(max_limit):
    """GET /v1/failures."""
    return listing(max_limit, NUMBER, ('id', 'received_at', 'host', 'source', 'state'), 'desc',
                   host=HOST, source=NAME, state=_one_of(states.FAILURE))


def recoveries(max_limit):
    """GET /v1/recoveries."""
    return listing(max_limit, ID, ('created_at', 'updated_at', 'host', 'state'), 'desc',
                   host=HOST, state=_one_of(states.RECOVERY),
                   open=dict(FLAG, description='Not over yet.'))


def moves(max_limit):
    """GET /v1/recoveries/{recovery_id}/moves."""
    return listing(max_limit, NUMBER, ('position', 'name', 'state', 'priority', 'target'),
                   state=_one_of(states.MOVE), target=NAME)


def capacity(max_limit):
    """GET /v1/capacity."""
    return listing(
        max_limit, HOST, ('host', 'instances', 'unplaced', 'unprotectable', 'storage_fill'),
        fits=FLAG, protection=_one_of(PROTECTION))


def events(max_limit):
    """GET /v1/events."""
    return listing(max_limit, NUMBER, ('id',), 'desc', level=_one_of(LEVELS), kind=NAME,
                   host=NAME, recovery_id=ID)


NO_QUERY = closed({})
