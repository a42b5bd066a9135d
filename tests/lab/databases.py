"""The databases of all services, migrated once and copied into each lab.

The migrations take over a minute. What they leave behind is MariaDB's data folder, kept beside the
virtual environment and named after its pins and after MariaDB's version: the template.
"""

import concurrent.futures
import hashlib
import pathlib
import shutil
import subprocess

from tests.lab.common import built
from tests.lab.common import cache_dir
from tests.lab.common import locked
from tests.lab.common import run
from tests.lab.common import wait_until
from tests.lab.conf import keystone
from tests.lab.conf import write
from tests.lab import environment
from tests.lab.packages import program
from tests.lab import process
from tests.lab import services
from tests.lab.state import PASSWORD

DATABASES = ('keystone', 'placement', 'glance', 'neutron', 'nova', 'nova_api', 'nova_cell0',
             'cinder')

_SYNC_SECONDS = 600


def ensure_template(state, progress):
    """Build the template if it is not there, and return its path.

    :raises LabError: a migration failed; shows the end of its log
    """
    target = cache_dir() / f'databases-{_fingerprint()}'
    if target.exists():
        return target
    with locked(target.with_name(target.name + '.lock'),
                waiting=lambda: progress('another process migrates the databases: waiting')):
        if target.exists():
            return target
        with progress.phase('database migrations'), built(target) as partial:
            _build(state, partial)
            shutil.rmtree(partial / 'conf')
    return target


def restore(template, state):
    """Copy the template into the lab."""
    subprocess.run(['cp', '-a', '--reflink=auto', '--sparse=always', template / 'mariadb',
                    state.data / 'mariadb'], check=True, timeout=120)


def _fingerprint():
    """Changes with all that the template is made by."""
    version = subprocess.run([program('mariadbd'), '--version'], capture_output=True, check=True,
                             timeout=60).stdout
    recipe = pathlib.Path(__file__).read_bytes()
    return hashlib.sha256(environment.fingerprint().encode() + version + recipe).hexdigest()[:12]


def _build(state, folder):
    """Make a data folder below ``folder``, and migrate everything with a MariaDB of its own.

    It uses the lab's address and port, which nothing listens on yet.
    """
    (folder / 'conf').mkdir(parents=True)
    cnf, data = folder / 'conf' / 'mariadb.cnf', folder / 'mariadb'
    services.write_mariadb_conf(cnf, data, state.bind, state.ports['mariadb'])
    log = state.log / 'migrations-mariadb.log'
    env = services.environment(state)
    run([program('mariadb-install-db'), f'--defaults-file={cnf}', '--skip-test-db',
         '--auth-root-authentication-method=normal'], log, 120, env)
    server = process.spawn([program('mariadbd'), f'--defaults-file={cnf}'], env, log)
    try:
        wait_until('MariaDB for the migrations',
                   lambda: services.describe(state, 'mariadb').ready(), 60)
        run([program('mariadb'), '--no-defaults', '-uroot', '-S', data / services.MARIADB_SOCKET],
            log, 60, env, _accounts())
        with concurrent.futures.ThreadPoolExecutor() as pool:
            jobs = [pool.submit(job, state, folder / 'conf') for job in
                    (_nova, _neutron, _cinder, _keystone, _placement, _glance)]
            try:
                for job in concurrent.futures.as_completed(jobs):
                    job.result()
            except BaseException:
                # One failed, or somebody is tired of waiting: the pool must not wait for the rest.
                process.kill_strays(state.mark)
                raise
    finally:
        process.stop(server, state.mark, 60)


def _accounts():
    """SQL for the databases and who may use them; vmha has one of its own, empty."""
    lines = []
    for user, databases in (('lab', DATABASES), ('vmha', ('vmha',))):
        lines.append(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}';")
        for name in databases:
            lines.append(f'CREATE DATABASE {name};')
            lines.append(f"GRANT ALL ON {name}.* TO '{user}'@'%';")
    return '\n'.join(lines)


def _url(state, name):
    return {'connection': state.urls['database_url'].format(name=name)}


def _command(state, name, *words, env=None):
    """Run one of the services' management programs, logged in a file of its own."""
    run([state.venv / 'bin' / name, *words], state.log / f'migrations-{name}.log', _SYNC_SECONDS,
        services.environment(state, env))


def _keystone(state, conf):
    write(conf / 'keystone.conf', {**keystone(state), 'cache': {'enabled': False}})
    config = ('--config-file', conf / 'keystone.conf')
    _command(state, 'keystone-manage', *config, 'db_sync')
    # Without URLs it makes the administrator and the roles, but no endpoints: those differ.
    _command(state, 'keystone-manage', *config, 'bootstrap', '--bootstrap-password', PASSWORD)


def _placement(state, conf):
    write(conf / 'placement.conf', {'placement_database': _url(state, 'placement')})
    _command(state, 'placement-manage', '--config-file', conf / 'placement.conf', 'db', 'sync')


def _glance(state, conf):
    write(conf / 'glance.conf', {'database': _url(state, 'glance')})
    _command(state, 'glance-manage', '--config-file', conf / 'glance.conf', 'db_sync')


def _cinder(state, conf):
    write(conf / 'cinder.conf', {'database': _url(state, 'cinder')})
    _command(state, 'cinder-manage', '--config-file', conf / 'cinder.conf', 'db', 'sync')


def _neutron(state, conf):
    write(conf / 'neutron.conf', {'DEFAULT': {'core_plugin': 'ml2'},
                                  'database': _url(state, 'neutron')})
    _command(state, 'neutron-db-manage', '--config-file', conf / 'neutron.conf', 'upgrade', 'head')


def _nova(state, conf):
    write(conf / 'nova.conf', {'database': _url(state, 'nova'),
                               'api_database': _url(state, 'nova_api'),
                               'DEFAULT': {'transport_url': state.urls['transport_url']}})
    manage = ('nova-manage', '--config-file', conf / 'nova.conf')
    _command(state, *manage, 'api_db', 'sync')
    # The cells' URLs are patterns that each lab's nova.conf fills in.
    server = '{scheme}://{username}:{password}@{hostname}:{port}/'
    _command(state, *manage, 'cell_v2', 'map_cell0',
             '--database_connection', server + 'nova_cell0')
    _command(state, *manage, 'cell_v2', 'create_cell', '--name', 'cell1',
             '--database_connection', server + '{path}', '--transport-url', server)
    _command(state, *manage, 'db', 'sync')
