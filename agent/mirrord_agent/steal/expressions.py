"""What a rule of nf_tables is made of: expressions that load a register, look at it, and act.

The numbers are from ``linux/netfilter/nf_tables.h``; ``nft --debug=netlink`` prints the same lists. All work
on register 1; what is loaded from a packet is in network order, what the kernel knows itself in its own.
"""

import struct
from enum import IntEnum
from typing import Final

from mirrord_agent.steal.netfilter import attribute, nested, number, text

_REGISTER: Final = 1
"""NFT_REG_1: 16 bytes."""
_VERDICT_REGISTER: Final = 0
_RETURN: Final = -5
"""NFT_RETURN: to the chain's end."""
_LIST_ELEMENT: Final = 1
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE = 1, 2, 1
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_RANGE_SPECIFIED: Final = 2
"""NF_NAT_RANGE_PROTO_SPECIFIED: the port is changed, too."""


class Meta(IntEnum):
    """What ``meta`` can load (enum nft_meta_keys)."""

    MARK = 3
    NFPROTO = 15
    L4PROTO = 16


class Compare(IntEnum):
    """How ``compare`` compares (enum nft_cmp_ops)."""

    EQUAL = 0
    NOT_EQUAL = 1


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(_LIST_ELEMENT, text(1, name), nested(2, *attributes))


def meta(key: Meta) -> bytes:
    """Load what the kernel knows of a packet."""
    return _expression("meta", number(1, _REGISTER), number(2, key))


def network(offset: int, length: int) -> bytes:
    """Load bytes of the network header."""
    return _payload(_NETWORK_HEADER, offset, length)


def transport(offset: int, length: int) -> bytes:
    """Load bytes of the transport header."""
    return _payload(_TRANSPORT_HEADER, offset, length)


def _payload(header: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload", number(1, _REGISTER), number(2, header), number(3, offset), number(4, length)
    )


def destination_type() -> bytes:
    """Load the type of the destination address: RTN_LOCAL (2) for one of this namespace."""
    by_destination, type_of_address = 1 << 1, 3
    return _expression("fib", number(1, _REGISTER), number(2, type_of_address), number(3, by_destination))


def connection_state() -> bytes:
    """Load the state of the connection. As long as a rule asks, the kernel tracks connections."""
    return _expression("ct", number(1, _REGISTER), number(2, 0))


def mask(value: bytes) -> bytes:
    """Keep some bits of the register."""
    return _expression(
        "bitwise",
        number(1, _REGISTER),
        number(2, _REGISTER),
        number(3, len(value)),
        nested(4, attribute(_DATA_VALUE, value)),
        nested(5, attribute(_DATA_VALUE, bytes(len(value)))),
    )


def compare(how: Compare, value: bytes) -> bytes:
    """Go on with the rule only if the register is so."""
    return _expression("cmp", number(1, _REGISTER), number(2, how), nested(3, attribute(_DATA_VALUE, value)))


def leave() -> bytes:
    """Leave the chain."""
    verdict = nested(_DATA_VERDICT, number(_VERDICT_CODE, _RETURN))
    return _expression("immediate", number(1, _VERDICT_REGISTER), nested(2, verdict))


def redirect(port: int) -> bytes:
    """Lead the connection to a port of this namespace."""
    value = attribute(_DATA_VALUE, struct.pack("!H", port))
    return _expression("immediate", number(1, _REGISTER), nested(2, value)) + _expression(
        "redir", number(1, _REGISTER), number(3, _RANGE_SPECIFIED)
    )
