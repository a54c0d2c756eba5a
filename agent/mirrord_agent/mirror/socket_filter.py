"""The filter of the capture, in classic BPF: the packets of some TCP ports, and no other reaches us.

What goes to a port is taken whole; of what comes from it only the headers, whose acknowledgements tell what
the target has received. On the loopback interface every packet passes twice, and the outgoing one is left
out. Packets start at the network header (packet(7), SOCK_DGRAM). Sources: ``include/uapi/linux/filter.h``,
``Documentation/networking/filter.rst``.
"""

import struct
from collections.abc import Iterable
from typing import Final

from mirrord_agent.steal.level import MARK, MARK_MASK

MOST_PORTS: Final = 256
"""Ports that fit into the 4,096 instructions that a filter may have."""

_INSTRUCTION: Final = struct.Struct("=HBBI")
_ANCILLARY: Final = 0xFFFFF000
"""SKF_AD_OFF: from here on not the packet is read but what the kernel knows of it."""
_PACKET_TYPE: Final = _ANCILLARY + 4
_MARK: Final = _ANCILLARY + 20
_HARDWARE: Final = _ANCILLARY + 28
_OUTGOING: Final = 4
_LOOPBACK: Final = 772
"""ARPHRD_LOOPBACK."""
_TCP: Final = 6
_FRAGMENT: Final = 0x1FFF
_WHOLE: Final = 0x40000
_HEADERS: Final = 120
"""The longest IPv4 and TCP headers; an IPv6 header is shorter."""

_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_LOAD_HALF_AT_X: Final = 0x48
_LOAD_HEADER_LENGTH: Final = 0xB1
_AND: Final = 0x54
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_BITS: Final = 0x45
_RETURN: Final = 0x06

_Code = list[tuple[int, int, int, int]]
NOTHING: Final = _INSTRUCTION.pack(_RETURN, 0, 0, 0)
"""The filter that takes no packet."""


def compile_filter(ports: Iterable[int], *, loopback_only: bool = False) -> bytes:
    """Return the filter that takes the packets of these ports; raise ValueError for more than MOST_PORTS.

    Connections that an agent has passed on were seen when they came. Not so with ``loopback_only``: what an
    agent accepts there is seen at its own port.
    """
    wanted = sorted(set(ports))
    if len(wanted) > MOST_PORTS:
        raise ValueError(f"{len(wanted)} ports, at most {MOST_PORTS} can be mirrored")
    ipv4 = _ipv4(wanted)
    code = [
        *(_only_loopback() if loopback_only else _not_passed_on()),
        *_not_twice(),
        (_LOAD_BYTE, 0, 0, 0),
        (_AND, 0, 0, 0xF0),
        (_IF_EQUAL, 0, 1, 0x40),
        (_JUMP, 0, 0, 2 + len(_REFUSE)),
        (_IF_EQUAL, 0, len(_REFUSE), 0x60),
        (_JUMP, 0, 0, len(ipv4) + len(_REFUSE)),
        *_REFUSE,
        *ipv4,
        *_ipv6(wanted),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


_REFUSE: Final[_Code] = [(_RETURN, 0, 0, 0)]


def _only_loopback() -> _Code:
    return [(_LOAD_WORD, 0, 0, _HARDWARE), (_IF_EQUAL, 1, 0, _LOOPBACK), *_REFUSE]


def _not_passed_on() -> _Code:
    return [(_LOAD_WORD, 0, 0, _MARK), (_AND, 0, 0, MARK_MASK), (_IF_EQUAL, 0, 1, MARK), *_REFUSE]


def _not_twice() -> _Code:
    return [
        (_LOAD_WORD, 0, 0, _PACKET_TYPE),
        (_IF_EQUAL, 0, 3, _OUTGOING),
        (_LOAD_WORD, 0, 0, _HARDWARE),
        (_IF_EQUAL, 0, 1, _LOOPBACK),
        *_REFUSE,
    ]


def _ipv4(ports: list[int]) -> _Code:
    return [
        (_LOAD_BYTE, 0, 0, 9),
        (_IF_EQUAL, 1, 0, _TCP),
        *_REFUSE,
        (_LOAD_HALF, 0, 0, 6),
        (_IF_BITS, 0, 1, _FRAGMENT),
        *_REFUSE,
        (_LOAD_HEADER_LENGTH, 0, 0, 0),
        (_LOAD_HALF_AT_X, 0, 0, 2),
        *_any_of(ports, _WHOLE),
        (_LOAD_HALF_AT_X, 0, 0, 0),
        *_any_of(ports, _HEADERS),
        *_REFUSE,
    ]


def _ipv6(ports: list[int]) -> _Code:
    return [
        (_LOAD_BYTE, 0, 0, 6),
        (_IF_EQUAL, 1, 0, _TCP),
        *_REFUSE,
        (_LOAD_HALF, 0, 0, 42),
        *_any_of(ports, _WHOLE),
        (_LOAD_HALF, 0, 0, 40),
        *_any_of(ports, _HEADERS),
        *_REFUSE,
    ]


def _any_of(ports: list[int], taken: int) -> _Code:
    """Take the packet if the number just loaded is one of these; each port returns by itself, since a jump
    reaches 255 instructions only.
    """
    return [step for port in ports for step in ((_IF_EQUAL, 0, 1, port), (_RETURN, 0, 0, taken))]
