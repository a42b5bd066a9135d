"""Start processes that outlive the command that started them, and stop exactly those.

Each one leads a session of its own, and carries the lab's mark in its environment. It is known by
its pid together with its start time, so that a pid that was given to something else is never hit.
"""

import dataclasses
import os
import pathlib
import signal

from tests.lab.common import LabError
from tests.lab.common import wait_until

#: Name of the environment variable that holds the lab's mark.
MARK = 'VMHA_LAB_MARK'


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that was started: its pid, which names its session too, and its start time.

    :ivar start_time: clock ticks between the machine's boot and the start; see proc(5)
    """

    pid: int
    start_time: int


def spawn(command, env, log):
    """Start ``command`` in a session of its own, without input, and return its Process.

    :param env: the whole environment
    :param log: file that output and errors are appended to
    :raises LabError: the program does not exist
    """
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    redirect = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), log_flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    words = [str(word) for word in command]
    try:
        # Unlike subprocess, this leaves no object that wants to be waited for.
        pid = os.posix_spawn(words[0], words, env, file_actions=redirect, setsid=True)
    except FileNotFoundError as error:
        raise LabError(f'{words[0]}: not found') from error
    return Process(pid, _stat(pid)['start_time'])


def alive(process):
    """Whether this very process still runs; one that only waits to be reaped does not."""
    stat = _stat(process.pid)
    if stat is None or stat['start_time'] != process.start_time:
        return False
    if stat['state'] != 'Z':
        return True
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        pass  # another process started it and will reap it
    return False


def members(process, mark):
    """Pids that still run in the session of ``process``.

    When the leader is gone only those count that carry ``mark``: the number might be in use again.
    """
    led = alive(process)
    return [pid for pid, stat in _all()
            if stat['session'] == process.pid and stat['state'] != 'Z'
            and (led or marked(pid, mark))]


def cpu_seconds(pid):
    """Processor time that a process has used."""
    return _stat(pid)['ticks'] / os.sysconf('SC_CLK_TCK')


def peak_rss(pid):
    """Bytes of memory that a process had resident at its most."""
    text = pathlib.Path(f'/proc/{pid}/status').read_text(encoding='utf-8', errors='replace')
    return 1024 * int(text.partition('VmHWM:')[2].split(maxsplit=1)[0])


def strays(mark):
    """Pids of all processes that carry ``mark``, whatever session they are in."""
    return [pid for pid, stat in _all() if stat['state'] != 'Z' and marked(pid, mark)]


def kill_strays(mark):
    """SIGKILL all processes that carry ``mark``; returns their pids."""
    pids = strays(mark)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return pids


def marked(pid, mark):
    """Whether the process has the lab's mark in its environment."""
    try:
        environment = pathlib.Path(f'/proc/{pid}/environ').read_bytes()
    except OSError:
        return False
    return f'{MARK}={mark}'.encode() in environment.split(b'\0')


def send(process, mark, number):
    """Send a signal to everything in the session of ``process``."""
    for pid in members(process, mark):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def kill(process, mark, timeout=10):
    """SIGKILL the session, and return when nothing of it runs any more.

    :raises LabError: something survived ``timeout`` seconds
    """
    send(process, mark, signal.SIGKILL)
    wait_until(f'the end of process {process.pid}',
               lambda: not alive(process) and not members(process, mark), timeout, 0.02)


def stop(process, mark, timeout, boxed=False):
    """SIGTERM the leader and, after ``timeout`` seconds or when it is gone, kill what is left.

    :param boxed: the leader only waits for the process that is meant, its child in a box
    :returns: whether the leader ended by itself in time
    """
    if alive(process):
        _terminate(process, boxed)
    try:
        wait_until(f'the end of process {process.pid}', lambda: not alive(process), timeout, 0.05)
        in_time = True
    except LabError:
        in_time = False
    kill(process, mark)
    return in_time


def _terminate(process, boxed):
    """SIGTERM the leader, or the child that it waits for."""
    pids = [process.pid]
    if boxed:
        children = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children')
        pids = map(int, children.read_text(encoding='ascii').split())
    for pid in pids:
        os.kill(pid, signal.SIGTERM)


def _all():
    """``(pid, stat)`` of every process of the machine."""
    for name in os.listdir('/proc'):
        if name.isdigit():
            stat = _stat(int(name))
            if stat is not None:
                yield int(name), stat


def _stat(pid):
    """What is of interest of a process, or None if there is none."""
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    # The second field is the program's name in parentheses, and may hold spaces and parentheses.
    fields = text.rpartition(')')[2].split()
    return {'state': fields[0], 'session': int(fields[3]), 'start_time': int(fields[19]),
            'ticks': int(fields[11]) + int(fields[12])}
