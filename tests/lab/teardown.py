"""Stop all that a lab started, and prove that it is gone."""

import os
import shutil
import signal

from tests.lab.common import LabError
from tests.lab.common import wait_until
from tests.lab import hosts
from tests.lab import ports
from tests.lab import process
from tests.lab import runtime
from tests.lab import services
from tests.lab import state

_TERM_SECONDS = 6


def stop_all(lab_state, progress):
    """Stop every recorded process, and whatever else carries the lab's mark.

    The mark is a random word in the environment, so nothing else can have it; it finds what was
    not yet recorded when an ``up`` was killed.

    Compute hosts in boxes are switched off, guests and all, before anything else.

    :raises LabError: something still runs, or still listens on a port of the lab
    """
    running = [name for name in lab_state.processes if runtime.alive(lab_state, name)]
    if running:
        progress(f'stopping {len(running)} services')
    if lab_state.prefix:
        for host in lab_state.hosts:
            hosts.box(lab_state, host).kill()
    _stop_together(lab_state, [name for name in lab_state.processes
                               if name not in services.INFRASTRUCTURE])
    _stop_together(lab_state, services.INFRASTRUCTURE)
    if lab_state.prefix:
        hosts.cluster(lab_state).stop()
    for pid in process.kill_strays(lab_state.mark):
        progress(f'stopped process {pid}, which was not recorded')
    wait_until('the end of all processes', lambda: not process.strays(lab_state.mark), 10)
    if lab_state.prefix:
        hosts.network(lab_state).down()     # and with it, whatever could answer there
    else:
        _check_ports(lab_state)
    (lab_state.data / 'mariadb' / 'mariadb.sock').unlink(missing_ok=True)
    lab_state.forget()


def _check_ports(lab_state):
    open_ports = [port for port in lab_state.ports.values()
                  if ports.answers(lab_state.bind, port)]
    if open_ports:
        raise LabError(f'all processes are gone, but something answers on {open_ports}')


def wipe(folder):
    """Remove the lab's folder.

    :raises LabError: it is not a lab's
    """
    if not folder.exists():
        return
    if not (folder / state.SIGN).exists():
        raise LabError(f'{folder} is not a lab\'s folder: left as it is')
    shutil.rmtree(folder)


def _stop_together(lab_state, names):
    """SIGTERM to all of them at once; what is left after a while gets a SIGKILL."""
    recorded = [lab_state.processes[name] for name in names if name in lab_state.processes]
    for one in recorded:
        if process.alive(one):
            os.kill(one.pid, signal.SIGTERM)
    try:
        wait_until('the end of the services', lambda: not any(map(process.alive, recorded)),
                   _TERM_SECONDS, 0.1)
    except LabError:
        pass
    for one in recorded:
        process.kill(one, lab_state.mark)
