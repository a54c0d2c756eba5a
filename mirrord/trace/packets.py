"""IP packets around bytes whose own headers nobody has seen (RFC 791, 8200, 9293, 768)."""

import socket
import struct
from typing import Final

from mirrord.feed.traffic import Address

FIN, SYN, PSH, ACK = 1, 2, 8, 16
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_TCP: Final = struct.Struct("!HHIIBBHHH")
_UDP: Final = struct.Struct("!HHHH")
_WINDOW: Final = 65535
_HOPS: Final = 64
_DONT_FRAGMENT: Final = 0x4000
_VERSION_6: Final = 6 << 28


def tcp(source: Address, target: Address, sequence: int, acknowledged: int, flags: int, data: bytes) -> bytes:
    """Return a segment in a packet."""
    numbers = sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF
    head = _TCP.pack(source[1], target[1], *numbers, _TCP.size // 4 << 4, flags, _WINDOW, 0, 0)
    return _packet(source, target, socket.IPPROTO_TCP, head, 16, data)


def udp(source: Address, target: Address, data: bytes) -> bytes:
    """Return a datagram in a packet."""
    head = _UDP.pack(source[1], target[1], _UDP.size + len(data), 0)
    return _packet(source, target, socket.IPPROTO_UDP, head, 6, data)


def _packet(source: Address, target: Address, protocol: int, head: bytes, at: int, data: bytes) -> bytes:
    """Return both headers and the data; ``at`` is where the checksum goes."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    ends = socket.inet_pton(family, source[0]) + socket.inet_pton(family, target[0])
    size = len(head) + len(data)
    # of 0 there are two, and UDP has a meaning of its own for the other
    found = checksum(ends + struct.pack("!II", protocol, size) + head + data) or 0xFFFF
    head = head[:at] + found.to_bytes(2, "big") + head[at + 2 :]
    return _ip(family, ends, protocol, size) + head + data


def _ip(family: int, ends: bytes, protocol: int, size: int) -> bytes:
    if family == socket.AF_INET6:
        return _IPV6.pack(_VERSION_6, size, protocol, _HOPS, ends[:16], ends[16:])
    total = _IPV4.size + size
    parts = (0x45, 0, total, 0, _DONT_FRAGMENT, _HOPS, protocol)
    found = checksum(_IPV4.pack(*parts, 0, ends[:4], ends[4:]))
    return _IPV4.pack(*parts, found, ends[:4], ends[4:])


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    # the sum of 16-bit words with the carry around is the number modulo 2¹⁶-1
    number = int.from_bytes(data, "big") << 8 * (len(data) % 2)
    return (0xFFFF - (number % 0xFFFF or 0xFFFF * (number > 0))) & 0xFFFF
