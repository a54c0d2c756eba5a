"""Datagrams on a stream: family (one byte, 4 or 6), address (4 or 16 bytes), port (big-endian), payload.

The address is the destination on the way to the target, the source on the way back.
"""

import socket
import struct
from enum import IntEnum
from functools import lru_cache
from typing import Final

_PORT: Final = struct.Struct("!H")


class Family(IntEnum):
    """The IP version of an address."""

    IPV4 = 4
    IPV6 = 6


_LAYOUT: Final = {
    int(Family.IPV4): (socket.AF_INET, 4),
    int(Family.IPV6): (socket.AF_INET6, 16),
}


@lru_cache(maxsize=1024)
def pack_header(host: str, port: int) -> bytes:
    """Return the header for an address; a scope (``%eth0``) is left out. OSError if it is no address."""
    host = host.partition("%")[0]
    family = Family.IPV6 if ":" in host else Family.IPV4
    return bytes([family]) + socket.inet_pton(_LAYOUT[family][0], host) + _PORT.pack(port)


def split(frame: bytes | bytearray | memoryview) -> tuple[str, int, memoryview]:
    """Return host, port and payload; ValueError if the header is malformed."""
    family, length = _LAYOUT.get(frame[0] if frame else 0, (socket.AF_UNSPEC, 0))
    start = 1 + length + _PORT.size
    if not length or len(frame) < start:
        raise ValueError("a datagram without a whole header")
    host = socket.inet_ntop(family, bytes(frame[1 : 1 + length]))
    (port,) = _PORT.unpack_from(frame, 1 + length)
    return host, port, memoryview(frame)[start:]
