"""The program ``openstack`` as one of a lab's accounts: with its variables, and nothing else."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading

from tests.lab.cloud import MICROVERSION
from tests.lab.common import LabError
from tests.lab import services
from tests.lab.state import REGION

#: The one with the commands of this project: that of the environment that runs the tests.
PROGRAM = pathlib.Path(sys.executable).with_name('openstack')

_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit status, and what it printed."""

    words: tuple
    status: int
    stdout: str
    stderr: str

    def json(self):
        """What it printed, decoded.

        :raises LabError: it was no JSON
        """
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise LabError(f'{self}\nThat is no JSON') from error

    def __str__(self):
        return (f'openstack {" ".join(self.words)}: exit status {self.status}\n'
                f'{self.stderr}{self.stdout}')


def variables(credentials):
    """The environment variables of an account: ``{name: value}``.

    :param credentials: arguments of v3.Password
    """
    return {**{f'OS_{name.upper()}': value for name, value in credentials.items()},
            'OS_IDENTITY_API_VERSION': '3', 'OS_COMPUTE_API_VERSION': MICROVERSION,
            'OS_REGION_NAME': REGION}


def run(lab, account, *words, timeout=_SECONDS, **changes):
    """Run a command to its end, and return how it Ran, whatever its exit status.

    :param account: name of one of the lab's ``credentials``
    :param changes: environment variables that are other than the account's; None for none
    :raises LabError: there is no such program here, or it took longer than ``timeout`` seconds
    """
    shown = f'openstack {" ".join(words)}'
    try:
        done = subprocess.run([PROGRAM, *words], env=_environment(lab, account, changes),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise LabError(f'{PROGRAM}: not found; python-openstackclient is in '
                       'test-requirements.txt') from error
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b'').decode(errors='replace')
        raise LabError(f'{shown}: not finished after {timeout} s\n{said}') from error
    return Ran(words, done.returncode, done.stdout, done.stderr)


def run_on_terminal(lab, account, *words, timeout=_SECONDS, **changes):
    """The same with a terminal for what goes to stderr; what goes to stdout is dropped.

    :raises LabError: it took longer than ``timeout`` seconds
    """
    ours, its = os.openpty()
    process = subprocess.Popen([PROGRAM, *words], env=_environment(lab, account, changes),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=its)
    os.close(its)
    clock = threading.Timer(timeout, process.kill)
    clock.start()
    said = b''
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:
        pass                            # how Linux says that the other end is closed
    os.close(ours)
    ran = Ran(words, process.wait(), '', said.decode(errors='replace'))
    if not clock.is_alive():
        raise LabError(f'not finished after {timeout} s: {ran}')
    clock.cancel()
    return ran


def _environment(lab, account, changes):
    env = services.environment(lab.state, {**variables(lab.credentials[account]), **changes})
    return {name: value for name, value in env.items() if value is not None}


def answer(lab, account, *words, json=True, **options):
    """Run a command that must succeed; answers what it prints, decoded if ``json``.

    :param options: as those of `run`
    :raises LabError: it failed; says what it printed
    """
    ran = run(lab, account, *words, *['-f', 'json'] * bool(json), **options)
    if ran.status:
        raise LabError(str(ran))
    return ran.json() if json else ran.stdout
