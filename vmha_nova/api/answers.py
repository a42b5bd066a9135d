"""JSON schemas of what goes out, by name; the tests hold every answer against them.

What they say of failures, recoveries, moves, steps and events is what vmha_nova.views makes.
"""

from vmha_nova.api import schemas
from vmha_nova import states

FLAG = dict(type='boolean')
TEXT = dict(type='string')
COUNT = dict(type='integer', minimum=0)
NUMBER = dict(type='number')
TIME = dict(type='string', format='date-time')
TEXTS = dict(type='array', items=TEXT)
FREE = dict(type='object')
COUNTS = dict(type='object', additionalProperties=COUNT)
closed = schemas.closed


def ref(name):
    """A schema of SCHEMAS, by name."""
    return {'$ref': f'#/components/schemas/{name}'}


def _or_null(schema):
    return dict(schema, type=[schema['type'], 'null'])


def _said(schema, text):
    return dict(schema, description=text)


def _one_of(words):
    return dict(type='string', enum=list(words))


def _state(table):
    return dict(state=_said(_one_of(table), ' '.join(f'{k}: {v}' for k, v in table.items())),
                meaning=_said(TEXT, 'The state in words.'))


_LINK = closed(dict(rel=_one_of(['next', 'self', 'describedby']), href=TEXT))

SCHEMAS = dict(
    Error=closed(dict(errors=dict(type='array', minItems=1, items=closed(
        dict(request_id=TEXT, code=TEXT, status=dict(type='integer'), title=TEXT, detail=TEXT,
             links=dict(type='array'), min_version=TEXT, max_version=TEXT),
        required=['request_id', 'code', 'status', 'title', 'detail', 'links'])))),
    Version=closed(dict(
        id=TEXT, status=_one_of(['CURRENT']), version=TEXT, min_version=TEXT, max_version=TEXT,
        links=dict(type='array', items=_LINK))),
    Host=closed(dict(
        host=TEXT, zone=TEXT, up=_said(FLAG, "Nova's opinion of its nova-compute."),
        enabled=_said(FLAG, 'Nova may schedule there.'), disabled_reason=TEXT, forced_down=FLAG,
        address=TEXT, instances=COUNT,
        load=_said(NUMBER, 'By which targets are compared: the mean of what is allocated and of '
                           'the CPU, 1 being all.'),
        cpu_share=_said(_or_null(NUMBER), 'Measured; null: not known.'),
        backend=_said(TEXT, 'Where it keeps disks; nothing: not known.'),
        spare=FLAG, pool=TEXT, parked=_said(FLAG, 'This service has turned scheduling off.'),
        maintenance=FLAG, maintenance_until=_or_null(TIME),
        protection=_said(dict(type=['string', 'null'], enum=[*schemas.PROTECTION, None]), (
            'What keeps it from writing once it is dead: it is switched off (power), its storage '
            "fence, the one and where it fails the other, the operator's word, nothing; null: not "
            'worked out yet.')),
        protection_reason=TEXT,
        unprotected_instances=_said(_or_null(COUNT), (
            'Instances that its death would leave without a place; null: not worked out yet.')),
        fits=_said(_or_null(FLAG), 'Its death could be absorbed; null: that is not known.'),
        recovery_id=_said(_or_null(TEXT), 'The newest recovery that still keeps it out.'),
        recovery_state=dict(type=['string', 'null'], enum=[*states.RECOVERY, None]))),
    Load=closed(dict(
        host=TEXT, zone=TEXT, spare=FLAG, up=FLAG, enabled=FLAG, instances=COUNT,
        vcpus_used=COUNT, vcpus=_or_null(COUNT), memory_mb_used=COUNT,
        memory_mb=_or_null(COUNT), disk_gb_used=COUNT,
        disk_gb=_said(_or_null(COUNT), 'As the others: with the allocation ratio; null: not '
                                       'known.'),
        cpu_share=_or_null(NUMBER), cpu_share_at=_or_null(TIME), load=NUMBER)),
    Failure=closed(dict(
        id=COUNT, host=TEXT, source=TEXT, reason=TEXT, detected_at=_or_null(TIME),
        received_at=TIME, evidence=FREE, forced=FLAG, **_state(states.FAILURE), detail=TEXT,
        repeats=COUNT, recovery_id=_or_null(TEXT))),
    Move=closed(dict(
        id=COUNT, recovery_id=TEXT, instance_id=TEXT, name=TEXT, project_id=TEXT,
        priority=COUNT, position=COUNT, **_state(states.MOVE), reason=TEXT, target=TEXT,
        was=_said(TEXT, 'The vm_state before anything was done.'), attempts=COUNT, faults=COUNT,
        tried=TEXTS, **{name: _or_null(TIME) for name in (
            'intent_at', 'accepted_at', 'landed_at', 'ended_at', 'not_before')})),
    Step=closed(dict(
        id=COUNT, recovery_id=_or_null(TEXT), kind=TEXT, subject=TEXT, **_state(states.STEP),
        detail=TEXT, evidence=FREE, at=TIME, ended_at=_or_null(TIME))),
    Event=closed(dict(
        id=COUNT, at=TIME, last_at=TIME, level=TEXT, kind=TEXT, host=TEXT,
        recovery_id=_or_null(TEXT), text=TEXT, repeats=COUNT)),
    Pause=closed(dict(paused=FLAG, reason=TEXT, user=TEXT, at=_or_null(TIME))),
    Unfit=closed(dict(
        instance_id=TEXT, name=TEXT,
        left=_said(FLAG, 'Left alone by policy, not for lack of room.'), reason=TEXT)),
    Plan=closed(dict(
        hosts=TEXTS, snapshot_at=TIME, made_at=TIME, spares=TEXTS, problems=TEXTS,
        holds=dict(type='object', additionalProperties=TEXT),
        placements=dict(type='array', items=closed(dict(
            host=TEXT, instance_id=TEXT, name=TEXT, project_id=TEXT, priority=COUNT,
            target=_or_null(TEXT), left=FLAG, reason=TEXT))))),
    Status=closed(dict(
        version=TEXT, paused=ref('Pause'),
        engine=dict(anyOf=[closed(dict(holder=TEXT, term=COUNT, renewed_at=_or_null(TIME),
                                       alive=FLAG)), dict(type='null')]),
        snapshot=dict(anyOf=[closed(dict(
            instances_at=_or_null(TIME), nodes_at=_or_null(TIME), written_at=TIME,
            problems=TEXTS, unknown_hosts=TEXTS)), dict(type='null')]),
        fence=_said(TEXT, "The fence's driver."))),
)

_RECOVERY = dict(
    id=TEXT, host=TEXT, **_state(states.RECOVERY),
    stage=_said(_one_of(states.RECOVERY), 'The state whose work is next: of a held recovery, '
                                          'the one it goes back to.'),
    reason=TEXT, wish=TEXT, approved=FLAG, reported_at=TIME, created_at=TIME, updated_at=TIME,
    ended_at=_or_null(TIME), released_at=_or_null(TIME),
    moves=_said(COUNTS, 'How many moves are in which state.'))
_CAPACITY = dict(
    host=TEXT, checked_at=TIME, instances=COUNT,
    placeable=_said(COUNT, 'Have a place to go.'),
    unplaced=_said(COUNT, 'Would wait for room, or for something to be known.'),
    unprotectable=_said(COUNT, 'Would be left alone.'),
    fits=_said(_or_null(FLAG), 'Nothing would wait, and the storage would not fill up; null: that '
                               'is not known of the storage.'),
    storage_fill=_said(_or_null(dict(NUMBER, minimum=0)),
                       'Share of the storage in use once its disks are gone.'),
    protection=_one_of(schemas.PROTECTION), protection_reason=TEXT, spares=TEXTS)
SCHEMAS.update(
    Recovery=closed(_RECOVERY),
    RecoveryDetail=closed(dict(_RECOVERY, failure_id=_or_null(COUNT),
                               steps=dict(type='array', items=ref('Step')),
                               pace=_said(dict(type='array', items=ref('Event')), (
                                   'How many evacuations at a time, when and why; the last 200 '
                                   'changes.')))),
    Capacity=closed(_CAPACITY),
    CapacityDetail=closed(dict(_CAPACITY,
                               problems=dict(type='array', items=ref('Unfit')))))


def one(name, schema):
    """The answer {name: …}."""
    return closed({name: ref(schema)})


def page(name, schema):
    """The answer of a list."""
    links = f'{name}_links'
    return closed({name: dict(type='array', items=ref(schema)),
                   links: dict(type='array', minItems=1, maxItems=1, items=_LINK)},
                  required=[name])


VERSIONS = closed(dict(versions=dict(type='array', items=ref('Version'))))
VERSION = one('version', 'Version')
