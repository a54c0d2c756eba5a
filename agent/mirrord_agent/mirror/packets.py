"""TCP segments out of captured packets, which start at their network header (RFC 791, 8200, 9293).

Checksums are not looked at: a packet that never left this machine has none yet.
"""

import socket
import struct
from typing import Final, NamedTuple

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10
_IPV4: Final = 4
_IPV6: Final = 6
_TCP: Final = 6
_IPV6_HEADER: Final = 40
_TCP_HEADER: Final = struct.Struct("!HHIIBB")
_SHORTEST_TCP: Final = 20
_HALF: Final = struct.Struct("!H")


class End(NamedTuple):
    """One end of a connection; the host is 4 or 16 bytes."""

    host: bytes
    port: int

    @property
    def text(self) -> str:
        """The address as people write it."""
        family = socket.AF_INET if len(self.host) == 4 else socket.AF_INET6
        return socket.inet_ntop(family, self.host)


class Segment(NamedTuple):
    """One TCP segment; of the sender's and receiver's numbers, ``acknowledged`` counts with ACK only."""

    source: End
    destination: End
    sequence: int
    acknowledged: int
    flags: int
    payload: memoryview


def parse(packet: memoryview) -> Segment | None:
    """Return the segment in a packet, None for what is no TCP segment or cut within its headers.

    Payload that was cut off is left out.
    """
    if len(packet) < _SHORTEST_TCP:
        return None
    version = packet[0] >> 4
    if version == _IPV4 and packet[9] == _TCP:
        start = (packet[0] & 0xF) * 4
        # larger than the field can tell is a length of 0 (BIG TCP)
        end = _HALF.unpack_from(packet, 2)[0] or len(packet)
        hosts = packet[12:16], packet[16:20]
    elif version == _IPV6 and len(packet) >= _IPV6_HEADER and packet[6] == _TCP:
        start = _IPV6_HEADER
        end = _IPV6_HEADER + _HALF.unpack_from(packet, 4)[0]
        if end == _IPV6_HEADER:
            end = len(packet)
        hosts = packet[8:24], packet[24:40]
    else:
        return None
    return _segment(packet, start, min(end, len(packet)), hosts)


def _segment(
    packet: memoryview, start: int, end: int, hosts: tuple[memoryview, memoryview]
) -> Segment | None:
    if end - start < _SHORTEST_TCP:
        return None
    source, destination, sequence, acknowledged, offset, flags = _TCP_HEADER.unpack_from(packet, start)
    payload = start + (offset >> 4) * 4
    if payload < start + _SHORTEST_TCP:
        return None
    return Segment(
        End(bytes(hosts[0]), source),
        End(bytes(hosts[1]), destination),
        sequence,
        acknowledged,
        flags,
        packet[min(payload, end) : end],
    )
