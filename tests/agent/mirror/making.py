"""Packets and segments of the tests."""

import socket
import struct
from typing import Final

from mirrord_agent.mirror.packets import ACK, End, Segment

CLIENT: Final = End(socket.inet_aton("10.1.2.3"), 40_000)
SERVER: Final = End(socket.inet_aton("10.9.9.9"), 8080)
CLIENT6: Final = End(socket.inet_pton(socket.AF_INET6, "fd00::3"), 40_000)
SERVER6: Final = End(socket.inet_pton(socket.AF_INET6, "fd00::9"), 8080)


def segment(
    sequence: int,
    payload: bytes = b"",
    flags: int = ACK,
    *,
    acknowledged: int = 0,
    source: End = CLIENT,
    destination: End = SERVER,
) -> Segment:
    """Return a segment, of the client's if nothing else is said."""
    return Segment(source, destination, sequence % 2**32, acknowledged % 2**32, flags, memoryview(payload))


def packet(
    made: Segment, *, options: bytes = b"", ip_options: bytes = b"", fragment: int = 0, protocol: int = 6
) -> bytes:
    """Return the packet that carries a segment, with its checksums left out."""
    tcp = struct.pack(
        "!HHIIBBHHH",
        made.source.port,
        made.destination.port,
        made.sequence,
        made.acknowledged,
        (20 + len(options)) // 4 << 4,
        made.flags,
        0xFFFF,
        0,
        0,
    )
    body = tcp + options + bytes(made.payload)
    hosts = made.source.host + made.destination.host
    if len(made.source.host) == 16:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + hosts + body
    words = 5 + len(ip_options) // 4
    size = words * 4 + len(body)
    head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, size, 1, fragment, 64, protocol, 0)
    return head + hosts + ip_options + body
