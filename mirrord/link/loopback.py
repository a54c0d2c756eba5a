"""Hold a TCP connect pending, then complete it or refuse it, on this machine's loopback (design 2.6).

Facts about Linux TCP that this rests on, each seen on 6.18 and tested by :func:`self_test`:

* A SYN to a listener whose accept queue is full is dropped. The connecting socket stays in SYN_SENT, and
  epoll says nothing of it. So a listener with backlog 0 and one connection that nobody accepts holds every
  later connect, and nobody can reach us through it.
* Two sockets that connect *to each other* both become established: a simultaneous open (RFC 9293, 3.5). So a
  second socket, bound to the address that the program's socket connects to, completes the connect at a moment
  of our choosing. On ``lo`` this is synchronous.
* A connect to a port that is bound but does not listen is answered by RST at once: the events, ``SO_ERROR``
  and what later calls return are those of a refused connection, because it is one.

Every connect gets a token address of its own, 127.x.y.z, so that sockets bound to one local port never
collide. IPv6 has ``::1`` only: there several listeners share the work.
"""

import ctypes
import errno
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mirrord.link.addresses import Peer, from_name, to_name

_SO_BINDTODEVICE: Final = 25
_IP_LOCAL_PORT_RANGE: Final = 51
_MSG_FASTOPEN: Final = 0x20000000
_TCP_ESTABLISHED: Final = 1
TCP_SYN_SENT: Final = 2
_IPV6_LISTENERS: Final = 4
_UNSPECIFIED: Final = struct.pack("=H14x", socket.AF_UNSPEC)
_TOKENS: Final = 2**22
"""Token addresses: 127.64.0.0/10."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Loopback:
    """The listeners that hold connects, and the port that refuses them."""

    def __init__(self) -> None:
        # where they cannot be had, connects are made plainly; without IPv6 no program has a socket for it
        self._holders: Final = _holders(socket.AF_INET, "0.0.0.0", 1)
        self._holders6: Final = _holders(socket.AF_INET6, "::1", _IPV6_LISTENERS)
        self._next6: Final = itertools.cycle([Peer("::1", _port(holder)) for holder in self._holders6])
        self._port: Final = _port(self._holders[0]) if self._holders else 0
        self._next_token: Final = itertools.count(os.getpid())
        self._dead: Final = _dead_port(socket.AF_INET, "127.0.0.1")
        self._dead6: Final = _dead_port(socket.AF_INET6, "::1") if self._holders6 else None

    def __bool__(self) -> bool:
        return bool(self._holders)

    def token(self, *, ipv6_only: bool) -> Peer:
        """Return an address to hold a connect at; raise OSError where there is no IPv6 loopback."""
        if ipv6_only:
            if not self._holders6:
                raise OSError(errno.EADDRNOTAVAIL, "no IPv6 loopback")
            return next(self._next6)
        return Peer(_token_address(next(self._next_token)), self._port)

    def refuse(self, program_socket: socket.socket) -> None:
        """Make a held connect end as a refused one."""
        port = _port(program_socket)
        dead = self._dead6 if self._dead6 and is_ipv6_only(program_socket) else self._dead
        # its ECONNRESET stays until the next connect clears it: a program that polls just now sees an error
        # either way
        disconnect(program_socket)
        with _only_port(program_socket, port):
            number = begin(program_socket, from_name(dead.getsockname()))
        if number == errno.EADDRNOTAVAIL:
            # another process has the port by now; not refused, the program's connect would go on locally
            begin(program_socket, from_name(dead.getsockname()))

    def close(self) -> None:
        """Close the listeners: connects that are still held are refused by the kernel at their next SYN."""
        for holder in (*self._holders, *self._holders6):
            holder.close()
        self._dead.close()
        if self._dead6:
            self._dead6.close()


@contextmanager
def _only_port(sock: socket.socket, port: int) -> Iterator[None]:
    """Have the next connect take this local port, which a refused socket goes on to report (Linux 6.3; else
    any port).
    """
    try:
        before = sock.getsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, 4)
        sock.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("=HH", port, port))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        sock.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, before)


def _token_address(number: int) -> str:
    number %= _TOKENS
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _port(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def _reusable(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def _holder(family: int, host: str) -> socket.socket:
    """Return a listener that drops every SYN; its queue is filled by one connection that is closed at the
    other end.
    """
    holder = _reusable(family)
    holder.bind((host, 0))
    # unprivileged since Linux 5.7 for a socket that is not bound to a device yet
    holder.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")
    holder.listen(0)
    with socket.socket(family, socket.SOCK_STREAM) as filler:
        filler.connect(("127.0.0.1" if family == socket.AF_INET else "::1", _port(holder)))
    return holder


def _holders(family: int, host: str, count: int) -> list[socket.socket]:
    try:
        return [_holder(family, host) for _ in range(count)]
    except OSError:
        return []


def _dead_port(family: int, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.bind((host, 0))
    return sock


def is_ipv6_only(sock: socket.socket) -> bool:
    """Tell whether the socket can reach IPv6 addresses only: by its option, or because it is bound to one."""
    if sock.family != socket.AF_INET6:
        return False
    if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return True
    host = sock.getsockname()[0]
    return host != "::" and not host.startswith("::ffff:")


def begin(sock: socket.socket, to: Peer) -> int:
    """Start a connect without waiting for it, also on a blocking socket; return its errno, 0 when connected.

    O_NONBLOCK belongs to the open file description, which the program shares. ``sendto(MSG_FASTOPEN |
    MSG_DONTWAIT)`` starts a connect without it (tcp_sendmsg_fastopen); only where ``net.ipv4.tcp_fastopen``
    forbids that, the flag is set for some microseconds.
    """
    name = to_name(to, sock.family)
    try:
        sock.sendto(b"", _MSG_FASTOPEN | socket.MSG_DONTWAIT, name)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            return error.errno or errno.EIO
    else:
        return 0
    blocking = os.get_blocking(sock.fileno())
    os.set_blocking(sock.fileno(), False)
    try:
        return sock.connect_ex(name)
    finally:
        os.set_blocking(sock.fileno(), blocking)


def counterpart(token: Peer) -> socket.socket:
    """Return our end of a held connect to ``token``, not connected yet; raise OSError."""
    sock = _reusable(token.family)
    try:
        sock.bind((token.host, token.port))
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        sock.close()
        raise
    return sock


def complete(ours: socket.socket, program: Peer) -> bool:
    """Complete the held connect of ``program`` by our end of it; return False, with that closed, when the
    program's is gone.
    """
    ours.connect_ex((program.host, program.port))
    if tcp_state(ours) == _TCP_ESTABLISHED:
        return True
    ours.close()
    return False


def abort(sock: socket.socket) -> None:
    """Undo a held connect and take the error that this leaves on the socket."""
    disconnect(sock)
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def disconnect(sock: socket.socket) -> None:
    """Undo a connect (connect(2), AF_UNSPEC)."""
    _libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))


def tcp_state(sock: socket.socket) -> int:
    """Return the state of include/net/tcp_states.h."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def self_test(loopback: Loopback) -> bool:
    """Hold one connect, complete it, and refuse another: tell whether this kernel does as the facts above
    say.
    """
    if not loopback:
        return False
    token = loopback.token(ipv6_only=False)
    with socket.socket() as program:
        if begin(program, token) != errno.EINPROGRESS or tcp_state(program) != TCP_SYN_SENT:
            return False
        with counterpart(token) as ours:
            completed = complete(ours, from_name(program.getsockname()))
            if not completed or tcp_state(program) != _TCP_ESTABLISHED:
                return False
    with socket.socket() as program:
        begin(program, loopback.token(ipv6_only=False))
        loopback.refuse(program)
        return program.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
