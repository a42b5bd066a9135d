"""Accounts of a lab's database and message bus, by what their administrators use."""

import concurrent.futures
import subprocess

from keystoneauth1.identity import v3

from tests.lab.common import LabError
from tests.lab.common import wait_until
from tests.lab.packages import program
from tests.lab import services

_SECONDS = 60
_TOGETHER = 12                          # calls at a time, more than a process has threads
_RABBITMQCTL = '/usr/lib/rabbitmq/bin/rabbitmqctl'


def sql(state, text):
    """Give MariaDB commands as its root; answers what it prints, a row each line.

    :raises LabError: it refuses them; says why
    """
    return _run([program('mariadb'), '--no-defaults', '-N', '-B', '-uroot', '-S',
                 state.data / 'mariadb' / services.MARIADB_SOCKET], state, {}, text)


def rabbitmqctl(state, *words):
    """Run rabbitmqctl on the lab's RabbitMQ; answers what it prints.

    :raises LabError: it failed; says what it printed
    """
    return _run([_RABBITMQCTL, '--quiet', *words], state,
                services.describe(state, 'rabbitmq').env)


def _run(command, state, env, text=None):
    command = [str(word) for word in command]
    try:
        return subprocess.run(
            command, env=services.environment(state, env), input=text or '', text=True,
            capture_output=True, timeout=_SECONDS, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise LabError(f'{" ".join(command)}: exit status {error.returncode}\n'
                       f'{error.stderr}{error.stdout}') from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f'{" ".join(command)}: not finished after {_SECONDS} s') from error


def keystone(session, state, name, password, role):
    """Make an account in the project of the services, with one role; both are made if need be.

    :param session: keystoneauth1 session of the administrator
    """
    url = state.urls['auth_url']

    def one(kind, **content):
        found = session.get(f'{url}/{kind}s?name={content["name"]}', timeout=60).json()[f'{kind}s']
        made = found[0] if found else session.post(
            f'{url}/{kind}s', json={kind: content}, timeout=60).json()[kind]
        return made['id']
    project, granted = one('project', name='service'), one('role', name=role)
    user = one('user', name=name, domain_id='default')
    session.patch(f'{url}/users/{user}', json={'user': {'password': password}}, timeout=60)
    session.put(f'{url}/projects/{project}/users/{user}/roles/{granted}', timeout=60)


def policy_file(state, service):
    """Where a service of the lab finds policies for the role of vmha_nova; at once."""
    path = state.conf / service / 'policy.d' / 'vmha.yaml'
    path.parent.mkdir(exist_ok=True)
    return path


def wait_in_force(lab, name, password):
    """Wait until every process of Nova and Placement has read the policies for an account.

    Each reads them when it is asked next; while one of its threads does, the others go by the old.
    """
    session = lab.session('vmha')
    session.auth = v3.Password(**{**lab.credentials['vmha'], 'username': name,
                                  'password': password})
    calls = [(lab.urls['compute_url'] + '/os-services', 'compute 2.69'),
             (lab.urls['placement_url'] + '/allocation_candidates?resources=MEMORY_MB:1',
              'placement 1.36')] * _TOGETHER

    def status(call):
        return session.get(call[0], raise_exc=False, timeout=60, headers={
            'OpenStack-API-Version': call[1]}).status_code
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        for _ in range(2):
            wait_until('the policies are in force',
                       lambda: set(pool.map(status, calls)) == {200}, _SECONDS)


def policies(state, service):
    """The policies of a service of the lab, as its generator prints them: lines."""
    return _run([state.venv / 'bin' / 'oslopolicy-policy-generator', '--namespace', service],
                state, {}).splitlines()
