"""Fence agents of the distribution: fence_ipmilan, fence_redfish and all the others.

They speak one language: parameters as lines ``name=value`` on standard input, so that none of
them is on a command line that others can see, and ``action``: ``off``, or ``status``, whose exit
status is 0 where the machine is on and 2 where it is off.
"""

import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse

from vmha_nova import exception

PATH = '/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin'
LONGEST = 300                           # characters of an agent's words in a message
ENVIRONMENT = {'LC_ALL': 'C.UTF-8', 'PYTHONWARNINGS': 'ignore'}
ON, OFF = 0, 2                          # exit status of "status"
DRAIN = 1.0                             # seconds for the pipes of what was killed
# Parameters whose values may be shown. Of all others nothing is, whatever they are called.
SHOWN = frozenset((
    'ip', 'ipaddr', 'ipport', 'plug', 'port', 'username', 'login', 'lanplus', 'ssl', 'ssl_secure',
    'ssl_insecure', 'notls', 'cipher', 'privlvl', 'method', 'systems_uri', 'redfish_uri', 'auth',
    'inet4_only', 'inet6_only', 'delay', 'login_timeout', 'power_timeout', 'power_wait',
    'shell_timeout', 'retry_on', 'disable_timeout', 'hexadecimal_kg', 'ipmitool_timeout'))
ADDRESSES = ('ip', 'ipaddr')
_STAMP = re.compile(r'^\W*(\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:[\d.,]+\w*\W*|'
                    r'^(ERROR|WARNING|INFO|CRITICAL)\W+', re.I)
_OBJECT = re.compile(r'<[^<>]* object at 0x[0-9a-f]+>:? ?')     # another one each time
_ADVICE = re.compile(r'^(please use|use) .*-h.*(usage|help)|^usage:|^\W*$', re.I)
_OFF = re.compile(r'^\W*Status:\s*OFF\s*$', re.I | re.M)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was said about a machine's power, with nothing secret in it."""

    off: bool
    text: str


class Agents:
    """Runs agents; each call takes ``timeout`` seconds at most, and leaves no process behind."""

    live = True                         # each answer is asked of the machine

    def __init__(self, timeout, path=None):
        self._timeout = timeout
        self._path = path or PATH

    def problem(self, peer):
        """Why a host cannot be powered off with these parameters; ''."""
        return '' if self._program(peer.agent) else f'{peer.agent} is not installed'

    def unresolved(self, peer):
        """Why the name of its BMC is no address; ''. Asks the resolver."""
        for name in filter(None, map(peer.values.get, ADDRESSES)):
            try:
                socket.getaddrinfo(name, None)
            except (OSError, UnicodeError) as e:
                return f'{name} does not resolve: {getattr(e, "strerror", None) or e}'
        return ''

    def off(self, peer):
        """Tell the machine to be off; returns what the agent says.

        :raises FenceFailed: it did not say that this has worked.
        """
        code, text, _ = self._call(peer, 'off')
        if code:
            raise exception.FenceFailed(f'{peer.agent}: off: {text or f"exit status {code}"}')
        return text

    def status(self, peer):
        """Whether the machine is off: an Answer.

        :raises FenceFailed: the agent cannot tell.
        """
        code, text, output = self._call(peer, 'status')
        # 2 is also how an interpreter ends that cannot read its program: words must say it, too.
        off = code == OFF and _OFF.search(output) is not None
        if not off and code != ON:
            raise exception.FenceFailed(f'{peer.agent}: status: {text or f"exit status {code}"}')
        return Answer(off, text)

    def _program(self, agent):
        if not re.fullmatch(r'fence_[A-Za-z0-9_]+', agent):
            return None
        return shutil.which(agent, path=self._path)

    def _call(self, peer, action):
        """(exit status, its words for a message, its output) of one call."""
        program = self._program(peer.agent)
        if program is None:
            raise exception.FenceFailed(f'{peer.agent} is not installed')
        given = ''.join(f'{name}={value}\n' for name, value in {
            **peer.values, 'action': action}.items())
        try:
            # In a group of its own, which ends with it. Without a shell, and by a name that
            # _program has checked.
            process = subprocess.Popen(     # nosec B603
                [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd='/', env={**ENVIRONMENT, 'PATH': self._path}, start_new_session=True,
                encoding='utf-8', errors='replace')
        except OSError as e:
            raise exception.FenceFailed(f'{peer.agent}: {e.strerror}') from None
        try:
            output, errors = process.communicate(given, self._timeout)
        except subprocess.TimeoutExpired:
            raise exception.FenceFailed(
                f'{peer.agent}: {action}: no answer within {self._timeout:g} s') from None
        except OSError as e:            # it reads nothing
            raise exception.FenceFailed(f'{peer.agent}: {action}: {e.strerror}') from None
        finally:
            _end(process)
        return process.returncode, words(f'{errors}\n{output}', peer.values), output


def _end(process):
    """Kill what is left of a process and its group, and take in its end."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        process.communicate(timeout=DRAIN)
    except (subprocess.TimeoutExpired, ValueError, OSError):
        pass                            # somebody has run away with the pipes
    for pipe in (process.stdin, process.stdout, process.stderr):
        try:
            pipe.close()
        except OSError:
            pass
    process.poll()


def words(text, values):
    """An agent's output as one line: the same trouble is the same line, with nothing secret."""
    for name, value in sorted(values.items(), key=lambda one: -len(one[1])):
        if name not in SHOWN and value:
            for form in {value, urllib.parse.quote(value, safe='')}:
                text = text.replace(form, '***')
    text = _OBJECT.sub('', text)
    lines = [' '.join(_STAMP.sub('', _STAMP.sub('', line)).split()) for line in text.splitlines()]
    return '; '.join(dict.fromkeys(
        line for line in lines if not _ADVICE.search(line)))[:LONGEST]

