"""A running API: the real application on a database with rows, and tokens of every persona."""

import atexit
import datetime
import functools
import logging
import shutil
import tempfile
import unittest
import uuid

from keystoneauth1 import fixture as keystone
from keystonemiddleware import fixture
import sqlalchemy as sa
from werkzeug import test

from vmha_nova.api import app
from vmha_nova.conf import opts
from vmha_nova.db import models
from vmha_nova.db import store
from vmha_nova import exception
from vmha_nova import model
from vmha_nova import planner

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
LONG = datetime.timedelta(days=3650)

# persona -> roles, and whether the token is of the whole system
PERSONAS = dict(
    admin=(['admin', 'member', 'reader'], False), reader=(['vmha_reader'], False),
    system_reader=(['reader'], True), system_admin=(['admin', 'member', 'reader'], True),
    service=(['service'], False), member=(['member', 'reader'], False))


class Planner:
    """Plans that are made up: every host has one instance with a place and one without."""

    def __init__(self):
        self.error = None
        self.known = frozenset()

    def plan(self, hosts):
        """See vmha_nova.planner."""
        if self.error is not None:
            raise self.error
        for host in hosts:
            if host not in self.known:
                raise exception.UnknownHost(f'Nova has no compute node {host!r}')
        instance = model.Instance(id='i-1', name='<b>web</b>', project_id='p-1')
        return planner.Forecast(
            hosts=tuple(hosts), snapshot_at=NOW, made_at=NOW, spares=('spare1',),
            placements=tuple((h, p) for h in hosts for p in (
                model.Placement(instance, target='spare1'),
                model.Placement(instance, reason='no room', left=False))),
            problems=('Placement did not answer',), holds={hosts[0]: 'there is a pause'})


def config(url, **api):
    """A configuration for the API."""
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
        file.write(f'[database]\nconnection = {url}\n[keystone_authtoken]\n'
                   'www_authenticate_uri = http://keystone.invalid/v3\n')
        file.flush()
        conf = opts.load([f'--config-file={file.name}'], '')
    for name, value in api.items():
        conf.set_override(name, value, 'api')
    return conf


@functools.cache
def empty():
    """The path of a SQLite file with all tables and no rows, made once."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = f'{folder.name}/empty.sqlite'
    store.Store(lambda: NOW, connection=f'sqlite:///{path}').upgrade()
    return path


def tokens():
    """A token for each persona, called as it is, and one that has expired; until cleanUp()."""
    made = fixture.AuthTokenFixture()
    made.setUp()
    for name, (roles, system) in PERSONAS.items():
        made.add_token(_token(name, roles, system, LONG), name)
    made.add_token(_token('admin', ['admin'], False, -LONG), 'expired')
    return made


class ApiCase(unittest.TestCase):
    """``get``, ``post``, … talk to the application as a persona; admin unless another is named.

    The clock of the application is ``self.now``.
    """

    settings = {}                       # of [api]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.url = self.database()
        self.now = NOW
        self.store = store.Store(lambda: self.now, connection=self.url)
        self.planner = Planner()
        # It warns of every application that is made, and names every token it refuses.
        logging.getLogger('keystonemiddleware').setLevel(logging.CRITICAL + 1)
        self.tokens = tokens()
        self.addCleanup(self.tokens.cleanUp)
        self.conf = config(self.url, **self.settings)
        self.start()

    def start(self):
        """Make the application of ``self.conf``."""
        self.wsgi = app.create(self.conf, self.store, self.planner, 'storage',
                               metrics=self.metrics(), clock=lambda: self.now)
        self.client = test.Client(self.wsgi)

    def database(self):
        """The URL of a database with all tables and no rows."""
        shutil.copy(empty(), f'{self.folder}/vmha.sqlite')
        return f'sqlite:///{self.folder}/vmha.sqlite'

    def metrics(self):
        """What is handed in as metrics."""
        return None

    # -- talking --------------------------------------------------------------------------------
    def call(self, method, path, body=None, persona='admin', status=None, headers=None, **query):
        """Send a request and return the answer; fails unless it has that status."""
        headers = dict(headers or {})
        if persona is not None:
            headers['X-Auth-Token'] = persona
        options = dict(json=body) if body is not None else {}
        answer = self.client.open(path, method=method, headers=headers,
                                  query_string=query or None, **options)
        if status is not None:
            self.assertEqual(status, answer.status_code, answer.text)
        return answer

    def get(self, path, persona='admin', status=200, **query):
        """The JSON of a GET."""
        return self.call('GET', path, None, persona, status, **query).json

    def post(self, path, body, persona='admin', status=200):
        """The JSON of a POST."""
        return self.call('POST', path, body, persona, status).json

    def patch(self, path, body, persona='admin', status=200):
        """The JSON of a PATCH."""
        return self.call('PATCH', path, body, persona, status).json

    def put(self, path, body, persona='admin', status=200):
        """The JSON of a PUT."""
        return self.call('PUT', path, body, persona, status).json

    def detail(self, answer):
        """The text of an error."""
        return answer['errors'][0]['detail']

    def pages(self, path, name, persona='admin', **query):
        """Every entry of a list, following its links, and how many pages they were on."""
        found, pages = [], 0
        answer = self.get(path, persona, **query)
        while True:
            found += answer[name]
            pages += 1
            links = answer.get(f'{name}_links')
            if not links:
                return found, pages
            answer = self.get(links[0]['href'], persona)

    # -- rows -----------------------------------------------------------------------------------
    def add(self, *rows):
        """Write rows of db.models as they are."""
        engine = sa.create_engine(self.url)
        with sa.orm.Session(engine, expire_on_commit=False) as session:
            session.add_all(rows)
            session.commit()
        engine.dispose()

    def drop_tables(self):
        """Leave nothing in the database."""
        engine = sa.create_engine(self.url)
        models.Base.metadata.drop_all(engine)
        engine.dispose()

    def fill(self):
        """A cloud of three hosts, one of them dead and recovered, and all there is beside."""
        self.planner.known = {'compute1', 'compute2', 'spare1'}
        self.add(
            models.Snapshot(id=1, instances_at=NOW, nodes_at=NOW, written_at=NOW,
                            problems=['cell2 is down'], unknown_hosts=['compute9']),
            models.Leader(id=1, term=3, holder='controller:42', renewed_at=NOW),
            node('compute1', instances=2, load_share=0.5, up=False, forced_down=True,
                 enabled=False, disabled_reason='vmha: failed'),
            node('compute2', zone='az2', instances=1, load_share=0.25),
            node('spare1', enabled=False, disabled_reason='vmha: spare node'),
            models.HostMark(host='spare1', spare=True, pool='gold', parked=True,
                            backend='rbd:vms', updated_at=NOW),
            models.HostMark(host='compute2', maintenance=True,
                            maintenance_until=NOW + LONG, updated_at=NOW),
            models.NodeLoad(host='compute2', cpu_share=0.125, cpu_share_at=NOW),
            capacity('compute1', instances=2, placeable=1, unprotectable=1, fits=True,
                     storage_fill=0.5),
            capacity('compute2', instances=1, unplaced=1, spares=['spare1'], protection='none',
                     protection_reason='no storage fence', problems=[dict(
                         instance_id='i-1', name='<script>web</script>', left=False,
                         reason='spare1 has no room')]))
        self.recovery = recovery('compute1', state='partial', ended_at=NOW)
        self.add(
            self.recovery,
            models.HostFailure(host='compute1', source='pinger', reason='no answer',
                               detected_at=NOW, received_at=NOW, evidence={'pings': 3},
                               forced=False, state='accepted', detail='its heartbeat is gone',
                               repeats=2, recovery_id=self.recovery.id),
            models.Step(recovery_id=self.recovery.id, kind='fence', subject='compute1',
                        state='done', detail='', evidence={'entries': ['10.0.0.1/32']}, at=NOW,
                        ended_at=NOW),
            models.Event(at=NOW, last_at=NOW, level='warning', kind='recovery', host='compute1',
                         recovery_id=self.recovery.id, text='1 of 2 instances failed', repeats=0),
            models.Event(at=NOW, last_at=NOW, level='info', kind='pace', host='compute1',
                         recovery_id=self.recovery.id, text='6 at a time', repeats=0))
        self.add(move(self.recovery.id, 1, 'moved', target='compute2', accepted_at=NOW),
                 move(self.recovery.id, 2, 'failed', reason='it did not start', tried=['spare1']))
        return self.recovery.id


def _token(name, roles, system, valid):
    now = datetime.datetime.now(datetime.timezone.utc)
    made = keystone.V3Token(expires=now + valid, user_id=f'id-of-{name}', user_name=name,
                            user_domain_id='default', user_domain_name='Default')
    if system:
        made.set_system_scope()
    else:
        made.set_project_scope(id='project-1', name='demo', domain_id='default',
                               domain_name='Default')
    for role in roles:
        made.add_role(name=role)
    return made


def node(host, zone='az1', up=True, enabled=True, instances=0, load_share=0.0, **record):
    """A row of a compute node."""
    record = dict(
        dict(host=host, zone=zone, up=up, enabled=enabled, address='10.0.0.1',
             used={'VCPU': 4, 'MEMORY_MB': 2048, 'DISK_GB': 20},
             capacity={'VCPU': 16, 'MEMORY_MB': 65536}), **record)
    return models.Node(host=host, zone=zone, up=up, enabled=enabled, backend='rbd:vms',
                       instances=instances, load_share=load_share, record=record)


def capacity(host, **values):
    """A row of what a host's death would mean."""
    values = dict(dict(checked_at=NOW, instances=0, placeable=0, unplaced=0, unprotectable=0,
                       fits=False, protection='storage', protection_reason='', spares=[],
                       problems=[]), **values)
    return models.Capacity(host=host, **values)


def recovery(host, **values):
    """A row of a recovery."""
    values = dict(dict(id=str(uuid.uuid4()), state='moving', resume='', reason='', wish='',
                       approved=False, reported_at=NOW, created_at=NOW, updated_at=NOW), **values)
    return models.Recovery(host=host, **values)


def move(recovery_id, number, state, **values):
    """A row of a move."""
    values = dict(dict(name=f'vm-{number}', project_id='p-1', priority=50, position=number,
                       reason='', target='', was='active', attempts=1, faults=0, tried=[],
                       known=[]), **values)
    return models.Move(recovery_id=recovery_id, instance_id=str(uuid.uuid4()), state=state,
                       **values)
