"""Where hosts are connected to: what the operator wrote, and what names stand for."""

import ipaddress
import socket

from vmha_nova import exception
from vmha_nova.monitor import channels as c


class Addresses:
    """What [monitor] names. ``group`` is the group of options.

    :raises ConfigurationError: a witness is written wrongly
    """

    def __init__(self, group, lookup=socket.getaddrinfo):
        self._lookup = lookup
        self._ports = {c.MANAGEMENT: tuple(group.management_ports),
                       c.STORAGE: tuple(group.storage_ports)}
        self._named = {c.MANAGEMENT: _split(group.management_addresses),
                       c.STORAGE: _split(group.storage_addresses)}
        self._echo = (0,) if group.icmp else ()
        self._witnesses = [parse_witness(text) for text in group.witnesses]
        self._known = {}                        # name -> addresses, as last resolved

    @property
    def hosts(self):
        """The hosts that the options name."""
        return set().union(*self._named.values())

    @property
    def has_witnesses(self):
        """Whether there are any, resolved or not."""
        return bool(self._witnesses)

    def resolve(self):
        """Look all names up, which can take long; returns what is wrong, in words.

        A name that was known and is not any more keeps its addresses.
        """
        problems = []
        named = [(f'[monitor] {network}_addresses: {text!r} of {host}', text)
                 for network, hosts in self._named.items()
                 for host, texts in hosts.items() for text in texts]
        named += [(f'[monitor] witnesses: {name!r}', name) for name, _port in self._witnesses]
        for where, name in named:
            try:
                found = self._lookup(name, None, type=socket.SOCK_STREAM)
                self._known[name] = tuple(dict.fromkeys(a[4][0] for a in found))
            except (OSError, UnicodeError) as e:
                problems.append(f'{where} does not resolve: {e}')
        for network, hosts in self._named.items():
            if hosts and not self._ports[network] and not self._echo:
                problems.append(f'[monitor] {network}_addresses are given, but no '
                                f'{network}_ports')
        return problems

    def targets(self, host, address, osds=()):
        """Network -> Targets of a host. ``address``: what Nova tells; ``osds``: its OSDs'."""
        found = {c.MANAGEMENT: self._of(c.MANAGEMENT, host, address),
                 c.STORAGE: self._of(c.STORAGE, host, '') + tuple(osds)}
        return {network: some for network, some in found.items() if some}

    def witnesses(self):
        """The Targets of the witnesses."""
        return tuple(c.Target(ip, port) for name, port in self._witnesses
                     for ip in self._known.get(name, ()))

    def _of(self, network, host, address):
        names = self._named[network].get(host, ())
        ips = [ip for name in names for ip in self._known.get(name, ())]
        if not names and _is_ip(address):
            ips = [address]
        return tuple(c.Target(ip, port) for ip in ips
                     for port in (*self._ports[network], *self._echo))


def parse_witness(text):
    """'address:port' -> (name, port).

    :raises ConfigurationError: it is not
    """
    name, colon, port = text.strip().rpartition(':')
    bare = name.removeprefix('[').removesuffix(']')
    if not colon or not bare or not port.isdecimal() or not 0 < int(port) < 65536 or (
            ':' in bare and bare == name):
        raise exception.ConfigurationError(
            f'[monitor] witnesses: {text!r} is not address:port (IPv6 in brackets)')
    return bare, int(port)


def _split(option):
    return {host: tuple(t.strip() for t in texts.split('+') if t.strip())
            for host, texts in option.items()}


def _is_ip(text):
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    # 127.0.0.1 is what a host with a wrong /etc/hosts tells of itself: that would be us.
    return not (ip.is_loopback or ip.is_unspecified)
