"""Pieces of the target's traffic, as they go over a session's socket.

Each tells all of its connection, so that none is needed to understand another.
"""

import socket
import struct
from dataclasses import dataclass
from typing import Final, Self

from mirrord_agent.wire.frames import Data

_HEAD: Final = struct.Struct("=QQIB16sH16sH")
_SENT, _FIN, _UDP, _IPV6, _INCOMING = 1, 2, 4, 8, 16
Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that passed one way, or the end of that way."""

    time: int
    """Nanoseconds of the monotonic clock."""
    flow: int
    """The number of the connection."""
    offset: int
    """How many bytes have passed that way before."""
    local: Address
    """In the target."""
    remote: Address
    udp: bool
    incoming: bool
    """The remote side has made the connection."""
    sent: bool
    """By the local side."""
    fin: bool = False
    data: Data = b""

    def pack(self) -> bytes:
        """Return it as bytes."""
        ipv6 = ":" in self.remote[0]
        flags = (
            self.sent * _SENT | self.fin * _FIN | self.udp * _UDP | ipv6 * _IPV6 | self.incoming * _INCOMING
        )
        local, remote = (_packed(host, ipv6=ipv6) for host, _ in (self.local, self.remote))
        ports = self.local[1], self.remote[1]
        head = _HEAD.pack(self.time, self.offset, self.flow, flags, local, ports[0], remote, ports[1])
        return head + self.data

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Return what :meth:`pack` made bytes of."""
        time, offset, flow, flags, local, local_port, remote, remote_port = _HEAD.unpack_from(payload)
        family = socket.AF_INET6 if flags & _IPV6 else socket.AF_INET
        size = 16 if flags & _IPV6 else 4
        return cls(
            time=time,
            flow=flow,
            offset=offset,
            local=(socket.inet_ntop(family, local[:size]), local_port),
            remote=(socket.inet_ntop(family, remote[:size]), remote_port),
            udp=bool(flags & _UDP),
            incoming=bool(flags & _INCOMING),
            sent=bool(flags & _SENT),
            fin=bool(flags & _FIN),
            data=payload[_HEAD.size :],
        )


def _packed(host: str, *, ipv6: bool) -> bytes:
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_pton(socket.AF_INET6, f"::ffff:{host}") if ipv6 else socket.inet_aton(host)
