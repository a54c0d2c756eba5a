"""The port that stolen connections are led to, and where each was meant to go."""

import contextlib
import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

_SO_ORIGINAL_DST: Final = 80
"""Also IP6T_SO_ORIGINAL_DST (``linux/netfilter_ipv4.h``, ``linux/netfilter_ipv6/ip6_tables.h``)."""
_NAME_4: Final = struct.Struct("!2xH4s")
_NAME_6: Final = struct.Struct("!2xH4x16s4x")
"""sockaddr_in and sockaddr_in6: the family, then port and address in network order."""
_BACKLOG: Final = 4096
_ATTEMPTS: Final = 16
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Stolen:
    """A connection that was led here: who made it, and to where."""

    socket: socket.socket
    peer: Endpoint
    destination: Endpoint


class Listener:
    """Listens on one port of every address, IPv4 and, where the namespace has it, IPv6."""

    def __init__(self) -> None:
        self.sockets: Final = _listen()
        self.port: Final[int] = self.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more; what was accepted goes on."""
        for listener in self.sockets:
            listener.close()


def accept(listener: socket.socket, *, port: int) -> Stolen | None:
    """Accept a connection; raise BlockingIOError where there is none.

    Return None, and refuse it, if it was not led here from ``port``: the listener can be connected to
    directly, too, from other machines.
    """
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(listener.accept()[0])
        try:
            peer, destination = sock.getpeername(), original_destination(sock)
        except OSError:
            # it was reset while it waited, or nothing tracks it
            destination = None
        if destination is None or destination.port != port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            return None
        sock.setblocking(False)
        # each side decides what is sent when
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stack.pop_all()
        return Stolen(sock, Endpoint(peer[0], peer[1]), destination)


def original_destination(sock: socket.socket) -> Endpoint:
    """Return where an accepted connection was meant to go; raise OSError where nothing tracks it."""
    if sock.family == socket.AF_INET6:
        port, raw = _NAME_6.unpack(sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _NAME_6.size))
    else:
        port, raw = _NAME_4.unpack(sock.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16)[: _NAME_4.size])
    return Endpoint(socket.inet_ntop(sock.family, raw), port)


def connect_original(destination: Endpoint, *, mark: int) -> socket.socket:
    """Return a socket that connects to where the connection was meant to go, marked so that it gets there.

    It may be connecting still. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in destination.host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex((destination.host, destination.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        stack.pop_all()
        return sock


def _listen() -> tuple[socket.socket, ...]:
    """Return a listener for each family, on the same port."""
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(_bound(socket.AF_INET, 0))
            listeners = [first]
            try:
                listeners.append(stack.enter_context(_bound(socket.AF_INET6, first.getsockname()[1])))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
            for listener in listeners:
                listener.listen(_BACKLOG)
            stack.pop_all()
            return tuple(listeners)
    raise OSError(errno.EADDRINUSE, "no port is free for both IPv4 and IPv6")


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
        stack.pop_all()
        return sock
