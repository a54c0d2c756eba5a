"""Resetting the connections that a port has already, so that their clients come again and are stolen.

The kernel lists TCP sockets, and ends one that is named (sock_diag(7), ``linux/inet_diag.h``).
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mirrord_agent.steal.level import MARK, MARK_MASK

_NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY, _DESTROY = 20, 21
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER: Final = struct.Struct("=IHHII")
_IDENTITY: Final = struct.Struct("=2s2s16s16sI8s")
"""inet_diag_sockid: source and destination port, then addresses, in network order; interface, cookie."""
_QUESTION: Final = struct.Struct("=BBBxI")
"""inet_diag_req_v2 before its identity: family, protocol, extensions, a bit for each state."""
_ANSWER: Final = 4 + _IDENTITY.size + 20
"""inet_diag_msg: family, state and more in 4 bytes, the identity, 5 numbers."""
_MARK: Final = 15
"""INET_DIAG_MARK; only told to those who may set it."""
_STATES: Final = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 8
"""TCP_ESTABLISHED, SYN_SENT, SYN_RECV and CLOSE_WAIT."""
_READ: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class _Tcp:
    family: int
    source: tuple[str, bytes]
    destination: tuple[str, bytes]
    raw: bytes
    mark: int


class _Diag:
    def __init__(self) -> None:
        self._socket: Final = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        )

    def close(self) -> None:
        self._socket.close()

    def sockets(self, family: int, *, source: int = 0, destination: int = 0) -> Iterator[_Tcp]:
        nobody = bytes(16)
        identity = _IDENTITY.pack(
            source.to_bytes(2, "big"), destination.to_bytes(2, "big"), nobody, nobody, 0, bytes(8)
        )
        self._send(_BY_FAMILY, _DUMP, family, identity)
        while True:
            data = self._socket.recv(_READ)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                body = data[at + _HEADER.size : at + length]
                if kind == _NLMSG_DONE:
                    return
                _raise_for(kind, body)
                yield _tcp(body)
                at += length + 3 & ~3

    def destroy(self, tcp: _Tcp) -> None:
        self._send(_DESTROY, _ACK, tcp.family, tcp.raw)
        data = self._socket.recv(_READ)
        _raise_for(_HEADER.unpack_from(data)[1], data[_HEADER.size :])

    def _send(self, kind: int, flags: int, family: int, identity: bytes) -> None:
        body = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, _STATES) + identity
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body)


def _raise_for(kind: int, body: bytes) -> None:
    if kind == _NLMSG_ERROR and (code := -struct.unpack_from("=i", body)[0]):
        raise OSError(code, os.strerror(code))


def _tcp(body: bytes) -> _Tcp:
    raw = body[4 : 4 + _IDENTITY.size]
    source_port, destination_port, source, destination, _, _ = _IDENTITY.unpack(raw)
    mark, at = 0, _ANSWER
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if kind == _MARK:
            (mark,) = struct.unpack_from("=I", body, at + 4)
        at += max(length, 4) + 3 & ~3
    family = body[0]
    ends = (_text(family, source), source_port), (_text(family, destination), destination_port)
    return _Tcp(family, *ends, raw, mark)


def _text(family: int, raw: bytes) -> str:
    """Return an address as text, the same for IPv4 and for IPv4 within IPv6."""
    if family == socket.AF_INET:
        return socket.inet_ntop(family, raw[:4])
    return socket.inet_ntop(family, raw).removeprefix("::ffff:")


def reset_established(port: int) -> int:
    """Reset the connections to a port of this network namespace; return how many.

    Those that an agent passed on to the application stay. Raises OSError: EPERM without CAP_NET_ADMIN,
    EOPNOTSUPP where the kernel cannot (CONFIG_INET_DIAG_DESTROY).
    """
    diag = _Diag()
    try:
        families = (socket.AF_INET, socket.AF_INET6)
        passed_on = {
            tcp.source
            for family in families
            for tcp in diag.sockets(family, destination=port)
            if tcp.mark & MARK_MASK == MARK
        }
        found = [tcp for family in families for tcp in diag.sockets(family, source=port)]
        return sum(_destroyed(diag, tcp) for tcp in found if tcp.destination not in passed_on)
    finally:
        diag.close()


def _destroyed(diag: _Diag, tcp: _Tcp) -> bool:
    try:
        diag.destroy(tcp)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        # it has ended meanwhile
        return False
    return True
