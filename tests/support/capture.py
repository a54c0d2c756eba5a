"""Reads a capture file (pcap-savefile(5)) without any code of ours, and checks all that it says of itself."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Address = tuple[str, int]
FIN, SYN, ACK = 1, 2, 16


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; ``sequence`` and ``flags`` are TCP's."""

    protocol: int
    source: Address
    target: Address
    data: bytes
    sequence: int = 0
    flags: int = 0


@dataclass(slots=True)
class Stream:
    """One TCP connection, by who has made it."""

    client: Address
    server: Address
    data: dict[Address, bytes] = field(default_factory=dict)
    ended: set[Address] = field(default_factory=set)


def words_sum(data: bytes) -> int:
    """Return the one's complement sum of 16-bit words (RFC 1071): 0xFFFF of what carries its checksum."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def parse(packet: bytes) -> Packet:
    """Return one IP packet; fail on a size or a checksum that is wrong."""
    if packet[0] >> 4 == 4:
        size, protocol, ends = int.from_bytes(packet[2:4], "big"), packet[9], packet[12:20]
        assert words_sum(packet[:20]) == 0xFFFF
        body, half, family = packet[20:], 4, socket.AF_INET
    else:
        size, protocol, ends = 40 + int.from_bytes(packet[4:6], "big"), packet[6], packet[8:40]
        body, half, family = packet[40:], 16, socket.AF_INET6
    assert size == len(packet)
    assert words_sum(ends + struct.pack("!II", len(body), protocol) + body) == 0xFFFF
    source_port, target_port = struct.unpack_from("!HH", body)
    source = socket.inet_ntop(family, ends[:half]), source_port
    target = socket.inet_ntop(family, ends[half:]), target_port
    if protocol == socket.IPPROTO_UDP:
        assert int.from_bytes(body[4:6], "big") == len(body)
        return Packet(protocol, source, target, body[8:])
    (sequence,) = struct.unpack_from("!I", body, 4)
    return Packet(protocol, source, target, body[body[12] >> 4 << 2 :], sequence, body[13])


def packets(path: Path) -> Iterator[tuple[float, Packet]]:
    """Return the packets of a file with their times."""
    content = path.read_bytes()
    assert struct.unpack_from("=IHH", content) == (0xA1B23C4D, 2, 4)
    assert content[20:24] == struct.pack("=I", 101)
    at = 24
    while at < len(content):
        seconds, rest, size, length = struct.unpack_from("=IIII", content, at)
        assert size == length
        yield seconds + rest / 1e9, parse(content[at + 16 : at + 16 + size])
        at += 16 + size


def streams(path: Path) -> list[Stream]:
    """Return the TCP connections of a file; fail where one has a hole, or anything after its end."""
    found: list[Stream] = []
    open_: dict[tuple[Address, Address], Stream] = {}
    for _, packet in packets(path):
        if packet.protocol != socket.IPPROTO_TCP:
            continue
        ends = packet.source, packet.target
        if packet.flags & SYN and not packet.flags & ACK:
            stream = Stream(*ends, {packet.source: b"", packet.target: b""})
            found.append(stream)
            open_[ends] = open_[ends[::-1]] = stream
            continue
        stream = open_[ends]
        if packet.data or packet.flags & FIN:
            assert packet.source not in stream.ended
            assert packet.sequence == 1 + len(stream.data[packet.source])
            stream.data[packet.source] += packet.data
        if packet.flags & FIN:
            stream.ended.add(packet.source)
    return found
