"""Start, wait for and stop single services of a lab."""

from tests.lab.common import LabError
from tests.lab.common import tail
from tests.lab.common import wait_until
from tests.lab import process
from tests.lab import services


def start(state, name):
    """Start a service and record its process; does not wait for it.

    :raises LabError: it runs already
    """
    service = services.describe(state, name)
    with state.change():
        old = state.processes.get(name)
        if old is not None and process.members(old, state.mark):
            raise LabError(f'{name} runs already, with pid {old.pid}')
        env = services.environment(state, service.env)
        command = service.command if service.box is None else service.box.command(service.command)
        state.processes[name] = process.spawn(command, env, log_file(state, name))


def wait_ready(state, name, timeout=180):
    """Wait until a service serves; one without a port of its own counts as soon as it runs.

    :raises LabError: it ended, or was not ready in time; shows the end of its log
    """
    service = services.describe(state, name)

    def ready():
        if not process.alive(state.processes[name]):
            raise LabError(f'{name} has ended')
        return service.ready is None or service.ready()

    try:
        wait_until(f'{name} ready', ready, timeout)
    except LabError as error:
        raise LabError(f'{error}\n{tail(log_file(state, name))}') from error


def kill(state, name):
    """SIGKILL a service and everything it started: the power cord."""
    process.kill(_recorded(state, name), state.mark)


def stop(state, name):
    """SIGTERM a service; what is left after its time gets a SIGKILL."""
    service = services.describe(state, name)
    process.stop(_recorded(state, name), state.mark, service.stop_seconds,
                 boxed=service.box is not None)


def alive(state, name):
    """Whether a service runs."""
    recorded = state.processes.get(name)
    return recorded is not None and process.alive(recorded)


def log_file(state, name):
    """Path of a service's log."""
    return state.log / f'{name}.log'


def _recorded(state, name):
    if name not in state.processes:
        raise LabError(f'{name} was never started here; there are {", ".join(state.processes)}')
    return state.processes[name]
