"""What every part of the lab uses: its error, progress lines, bounded waits, file locks."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time

#: Lines of a log that an error message shows.
TAIL = 15


class LabError(Exception):
    """Something went wrong that a person should read; the text says what and where to look."""


class Progress:
    """Prints lines with the seconds since its creation, and remembers how long phases took.

    :ivar phases: ``{name: seconds}`` of the finished phases, in order
    """

    def __init__(self, stream=None):
        self.stream = stream if stream is not None else sys.stderr
        self.start = time.monotonic()
        self.phases = {}

    def __call__(self, text):
        elapsed = time.monotonic() - self.start
        print(f'[{elapsed:6.1f} s] {text}', file=self.stream, flush=True)

    @contextlib.contextmanager
    def phase(self, name):
        """Announce ``name``, and say how long the body took when it is through."""
        self(f'{name} ...')
        begin = time.monotonic()
        yield
        took = time.monotonic() - begin
        self.phases[name] = round(took, 1)
        self(f'{name}: {took:.1f} s')


def cache_dir():
    """The folder that all labs of this user share; created when missing."""
    base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    folder = pathlib.Path(base) / 'vmha-lab'
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wait_until(what, predicate, timeout, interval=0.2):
    """Call ``predicate`` until it answers something true, and return that.

    :raises LabError: it did not within ``timeout`` seconds; says ``what`` was waited for
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise LabError(f'{what}: not within {timeout:g} s')
        time.sleep(interval)


def tail(log, lines=TAIL):
    """The last ``lines`` lines of the file ``log``, indented, below a line that names it."""
    log = pathlib.Path(log)
    if not log.exists():
        return f'(no log at {log})'
    with log.open('rb') as stream:
        stream.seek(max(0, log.stat().st_size - 400 * lines))
        last = stream.read().decode(errors='replace').splitlines()[-lines:]
    return '\n'.join([f'--- the end of {log}:', *(f'    {line}' for line in last)])


def run(command, log, timeout, env=None, stdin=''):
    """Run a command to its end, its output appended to the file ``log``.

    :raises LabError: it failed or took longer than ``timeout`` seconds; shows the log's end
    """
    command = [str(word) for word in command]
    with open(log, 'a', encoding='utf-8') as output:
        print('+', *command, file=output, flush=True)
        try:
            subprocess.run(command, input=stdin.encode(), stdout=output, stderr=output,
                           env=env, timeout=timeout, check=True)
        except FileNotFoundError as error:
            raise LabError(f'{command[0]}: not found') from error
        except subprocess.TimeoutExpired as error:
            reason = f'not finished after {timeout:g} s'
            raise LabError(f'{" ".join(command)}: {reason}\n{tail(log)}') from error
        except subprocess.CalledProcessError as error:
            reason = f'exit status {error.returncode}'
            raise LabError(f'{" ".join(command)}: {reason}\n{tail(log)}') from error


@contextlib.contextmanager
def built(target):
    """Within, a fresh path to build ``target`` at; at the end it gets the name ``target``.

    So what has the name is whole. The caller holds a lock: what earlier builds left is removed.
    Each path is another one, because commands of a build that was killed may still be writing.
    """
    for left in target.parent.glob(f'{target.name}.partial.*'):
        shutil.rmtree(left, ignore_errors=True)
    partial = target.with_name(f'{target.name}.partial.{os.getpid()}')
    try:
        yield partial
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def locked(path, timeout=None, waiting=None):
    """Hold an exclusive lock on the file ``path``; a killed holder leaves none behind.

    :param timeout: seconds to wait for another holder; None for as long as it takes
    :param waiting: called once if somebody else holds it
    :raises LabError: another process held it for ``timeout`` seconds
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a', encoding='utf-8') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            if timeout is None:
                fcntl.flock(stream, fcntl.LOCK_EX)
            else:
                wait_until(f'lock {path}', lambda: _try_lock(stream), timeout)
        yield


def _try_lock(stream):
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
