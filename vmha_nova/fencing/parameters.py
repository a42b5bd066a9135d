"""The file with which hosts are powered off: for each an agent and its parameters.

An INI file. A section is a host, as Nova names it, and its options are the parameters of its
agent, by the agent's own names; what all hosts have in common stands in [DEFAULT]. ``agent`` is
the name of a fence agent, or ``ironic``. The file holds passwords: it is refused where others
could read it, and nothing of its text gets into a message.
"""

import configparser
import dataclasses
import os
import stat
import typing

from vmha_nova import exception

AGENT = 'agent'
# Ours to say, or they would have the agent write passwords down.
OURS = frozenset(('action', 'option', 'debug', 'debug_file', 'verbose', 'verbose_level', 'quiet',
                  'version', 'help'))


@dataclasses.dataclass(frozen=True)
class Peer:
    """With which agent a host is powered off, and the agent's parameters."""

    host: str
    agent: str
    values: typing.Mapping[str, str] = dataclasses.field(repr=False)


class Parameters:
    """What the file at ``path`` says; it is read again whenever it has changed."""

    def __init__(self, path):
        self.path = path
        self._stamp = None
        self._peers = {}

    def all(self):
        """All hosts of the file: host -> Peer.

        :raises ConfigurationError: the file cannot be used, in one line.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as e:
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path} cannot be read: {e.strerror}') from None
        with open(descriptor, encoding='utf-8') as stream:
            found = os.fstat(descriptor)
            self._check_mode(found)
            stamp = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
            if stamp != self._stamp:
                self._peers = self._parse(stream)
                self._stamp = stamp
            return self._peers

    def of(self, host):
        """The Peer of a host.

        :raises ConfigurationError: it has none, in one line.
        """
        found = self.all().get(host)
        if found is None:
            raise exception.ConfigurationError(f'{host} has no section in {self.path}')
        return found

    def _check_mode(self, found):
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode):
            raise exception.ConfigurationError(f'[fence] power_file: {self.path} is no file')
        if mode & 0o077:
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path} has mode {mode:04o}, so that others can get at '
                'the passwords in it: chmod 600')
        if os.geteuid() not in (0, found.st_uid):
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path} belongs to the user {found.st_uid}, not to '
                f'{os.geteuid()}, as whom this runs')

    def _parse(self, stream):
        parser = configparser.ConfigParser(interpolation=None, delimiters='=',
                                           comment_prefixes=('#', ';'))
        try:
            parser.read_file(stream)
        except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as e:
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path}, line {e.lineno}: '
                f'[{e.section}] {getattr(e, "option", "")} is there already') from None
        except configparser.MissingSectionHeaderError as e:
            raise self._no_sense(e.lineno) from None
        except configparser.ParsingError as e:
            raise self._no_sense(e.errors[0][0]) from None
        except UnicodeError:
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path} is no UTF-8 text') from None
        return {host: self._peer(host, dict(parser[host])) for host in parser.sections()}

    def _no_sense(self, line):
        return exception.ConfigurationError(
            f'[fence] power_file: {self.path}, line {line}: neither [host], nor name = value, nor '
            '# comment')

    def _peer(self, host, values):
        agent = values.pop(AGENT, '')
        if not agent:
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path}: [{host}] has no {AGENT}, such as '
                'fence_ipmilan, fence_redfish, ironic')
        if ours := sorted(OURS & values.keys()):
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path}: [{host}] {ours[0]} must not be set')
        if bad := [name for name, value in values.items() if '\n' in value]:
            raise exception.ConfigurationError(
                f'[fence] power_file: {self.path}: [{host}] {bad[0]} has more than one line')
        return Peer(host, agent, values)
