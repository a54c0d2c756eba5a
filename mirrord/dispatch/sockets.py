"""The program's own sockets, looked at through a duplicate."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Awaitable
from typing import Final

from mirrord.link.addresses import Peer, family, parse
from mirrord.link.connections import Cookie
from mirrord.syscall import Call, Fault

_SO_COOKIE: Final = 57
_COOKIE: Final = struct.Struct("=Q")
_LENGTH: Final = struct.Struct("=i")
_TIMEVAL: Final = struct.Struct("=qq")
_LONGEST: Final = 128
"""``sizeof(struct sockaddr_storage)``: the kernel refuses a longer address with EINVAL."""


def descriptor(argument: int) -> int:
    """Return an int argument of which the kernel ignores the register's upper half."""
    number = argument & 0xFFFFFFFF
    return number - 2**32 if number >= 2**31 else number


def program_socket(call: Call, argument: int) -> socket.socket:
    """Return a duplicate of the program's socket; raise OSError EBADF or ENOTSOCK, which are the program's
    own.
    """
    duplicate = call.duplicate(descriptor(argument))
    try:
        sock = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise
    # Python has taken its own default time-out for it, and with None leaves the description's O_NONBLOCK
    # alone
    return sock


def cookie(sock: socket.socket) -> Cookie:
    """Return what identifies the socket for as long as it exists, whoever holds it (SO_COOKIE, Linux 4.6)."""
    return Cookie(_COOKIE.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE.size))[0])


def is_tcp(sock: socket.socket) -> bool:
    """Tell whether it is a TCP socket, of IPv4 or IPv6."""
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_STREAM
        and sock.proto in (0, socket.IPPROTO_TCP)
    )


def is_blocking(sock: socket.socket) -> bool:
    """Tell whether calls on the program's open file description may wait."""
    return os.get_blocking(sock.fileno())


def send_timeout(sock: socket.socket) -> float | None:
    """Return SO_SNDTIMEO in seconds, None when there is none."""
    return _timeout(sock, socket.SO_SNDTIMEO)


def receive_timeout(sock: socket.socket) -> float | None:
    """Return SO_RCVTIMEO in seconds, None when there is none."""
    return _timeout(sock, socket.SO_RCVTIMEO)


def _timeout(sock: socket.socket, option: int) -> float | None:
    seconds, microseconds = _TIMEVAL.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _TIMEVAL.size))
    return (seconds + microseconds / 1e6) or None


def read_sockaddr(call: Call, address: int, length: int) -> bytes:
    """Return a ``sockaddr`` of the program's; raise Fault, or OSError EINVAL for an impossible length."""
    size = descriptor(length)
    if not 0 <= size <= _LONGEST:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return call.read(address, size) if size else b""


def read_peer(call: Call, address: int, length: int) -> Peer | None:
    """Return the IP peer that the program names, None for any other family."""
    sockaddr = read_sockaddr(call, address, length)
    return parse(sockaddr) if family(sockaddr) in (socket.AF_INET, socket.AF_INET6) else None


def address_writes(
    call: Call, sockaddr: bytes, *, at: int, length_at: int
) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    """Return the writes that report an address as ``move_addr_to_user`` does: cut to the room given, with its
    whole length.
    """
    (room,) = _LENGTH.unpack(call.read(length_at, _LENGTH.size))
    if room < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if at == 0 and room:
        raise Fault
    return (at, sockaddr[:room]), (length_at, _LENGTH.pack(len(sockaddr)))


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def readable(sock: socket.socket) -> Awaitable[None]:
    """Return what is done once the socket has something to read."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _resolve, future)
    future.add_done_callback(lambda _: loop.remove_reader(sock))
    return future
