"""Stop all that a lab started, and prove that it is gone."""

import os
import shutil
import signal

from tests.lab import ports, process, runtime, state
from tests.lab.common import LabError, wait_until

_TERM_SECONDS = 8


def stop_all(lab_state, progress):
    """Stop every recorded process, and whatever else carries the lab's mark.

    The mark is a random word in the environment, so nothing else can have it; it finds what was
    not yet recorded when an ``up`` was killed.

    :raises LabError: something still runs, or still listens on a port of the lab
    """
    running = [name for name in lab_state.processes if runtime.alive(lab_state, name)]
    if running:
        progress(f'stopping {len(running)} services')
    for name in running:
        process.send(lab_state.processes[name], lab_state.mark, signal.SIGTERM)
    _await_end(lab_state, _TERM_SECONDS)
    for recorded in lab_state.processes.values():
        process.kill(recorded, lab_state.mark)
    for pid in process.strays(lab_state.mark):
        progress(f'stopping process {pid}, which was not recorded')
        _kill(pid)
    wait_until('the end of all processes', lambda: not process.strays(lab_state.mark), 10)
    open_ports = [port for port in lab_state.ports.values()
                  if ports.answers(lab_state.bind, port)]
    if open_ports:
        raise LabError(f'all processes are gone, but something answers on {open_ports}')
    (lab_state.data / 'mariadb' / 'mariadb.sock').unlink(missing_ok=True)
    lab_state.forget()


def wipe(folder):
    """Remove the lab's folder.

    :raises LabError: it is not a lab's
    """
    if not folder.exists():
        return
    if not (folder / state.SIGN).exists():
        raise LabError(f'{folder} is not a lab\'s folder: left as it is')
    shutil.rmtree(folder)


def _await_end(lab_state, timeout):
    try:
        wait_until('the end of the services', lambda: not any(
            runtime.alive(lab_state, name) for name in lab_state.processes), timeout, 0.1)
    except LabError:
        pass  # the rest gets a SIGKILL


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
