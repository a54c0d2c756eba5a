"""The program's listeners, and the sockets of relays that connect to them.

Facts this rests on: a socket that is bound to another address of 127.0.0.0/8 reaches every listener of the
loopback, and the wildcard's; the listener's side reports that address as its peer. So each relay has one of
its own (RFC 6890: the whole block stays on this machine), by which it is known when the program accepts it.
IPv6 has ``::1`` only: there the port tells relays apart. A listener that is bound to an address of the
machine's network is reached from that same address.
"""

import ctypes
import itertools
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final, Self

from mirrord.link.addresses import Peer, from_name, to_name

_TOKENS: Final = 2**22
"""Token addresses: 127.128.0.0/10, apart from those of outgoing connections."""
_PORT: Final = struct.Struct("!H")
_next_token: Final = itertools.count(os.getpid())
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket of the program, and how a relay reaches it."""

    inode: int
    at: Peer
    """An address at which it takes connections."""
    families: frozenset[socket.AddressFamily]
    """Of the networks that it serves."""

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Describe a socket of the program."""
        name = from_name(sock.getsockname())
        dual = (
            sock.family == socket.AF_INET6
            and name.host == "::"
            and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        )
        host = name.host
        if name.is_unspecified:
            host = "::1" if name.host == "::" and not dual else "127.0.0.1"
        families = {name.family, socket.AF_INET} if dual else {name.family}
        return cls(os.fstat(sock.fileno()).st_ino, Peer(host, name.port), frozenset(families))


def relay_socket(listener: Listener) -> socket.socket:
    """Return a non-blocking socket that is about to connect to a listener, bound to an address of its own."""
    at = listener.at
    sock = socket.socket(at.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.bind((_token() if at.host.startswith("127.") else at.host, 0))
    except OSError:
        sock.close()
        raise
    return sock


def relay_target(listener: Listener) -> tuple[str, int]:
    """Return the name that a relay's socket connects to."""
    return to_name(listener.at, listener.at.family)


def _token() -> str:
    number = next(_next_token) % _TOKENS
    return f"127.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def bind(sock: socket.socket, sockaddr: bytes) -> int:
    """Bind the program's socket to an address as the program laid it out; return the errno (bind(2))."""
    return ctypes.get_errno() if _libc.bind(sock.fileno(), sockaddr, len(sockaddr)) else 0


def with_port(sockaddr: bytes, port: int) -> bytes:
    """Return an address of IPv4 or IPv6 with another port."""
    return sockaddr[:2] + _PORT.pack(port) + sockaddr[4:]
