"""A conversation with nf_tables: one netlink socket, and transactions that are done whole or not at all.

The layout of everything here is from the kernel's ``linux/netlink.h``, ``linux/netfilter/nfnetlink.h`` and
``linux/netfilter/nf_tables.h``. A message is a netlink header, the family and attributes; a transaction is
messages between a BEGIN and an END, sent at once. Numbers in attributes are big endian.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10
"""NFNL_SUBSYS_NFTABLES: the upper byte of each message's type, and what BEGIN and END name."""
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NLMSG_ERROR: Final = 2
_NESTED: Final = 0x8000
_INET: Final = 1
"""NFPROTO_INET: IPv4 and IPv6 in one table."""
_HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length with this header, type, flags, sequence, port (0: the kernel)."""
_GENERIC: Final = struct.Struct("=BBH")
"""nfgenmsg: family, version (0), and in BEGIN and END the subsystem in network order."""
_ERROR: Final = struct.Struct("=i")
_READ: Final = 65_536


class Do(IntEnum):
    """What a message asks for (enum nf_tables_msg_types)."""

    NEW_TABLE = 0
    DELETE_TABLE = 2
    NEW_CHAIN = 3
    NEW_RULE = 6
    DELETE_RULE = 8


class Flag(IntEnum):
    """Flags of a request (netlink(7))."""

    REQUEST = 0x1
    ACK = 0x4
    EXCLUSIVE = 0x200
    CREATE = 0x400
    APPEND = 0x800


@dataclass(frozen=True, slots=True)
class Message:
    """One change of a transaction."""

    kind: Do
    flags: int
    attributes: bytes


def attribute(kind: int, data: bytes) -> bytes:
    """Return a netlink attribute: its length without padding, its type, and data padded to 4 bytes."""
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Return an attribute that holds 32 bits, signed or not, in network order."""
    return attribute(kind, (value & 0xFFFF_FFFF).to_bytes(4, "big"))


class Netfilter:
    """The socket; a table that was made with the owner flag ends with it."""

    def __init__(self) -> None:
        self._socket: Final = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        self._sequence: int = 0

    def close(self) -> None:
        """Close the socket; the kernel removes the tables that it owns before this returns."""
        self._socket.close()

    def commit(self, messages: Sequence[Message]) -> None:
        """Do all of it, or nothing; raise OSError with the errno of the first message that was refused."""
        begin, end = self._batch(_BATCH_BEGIN), self._batch(_BATCH_END)
        self._socket.send(begin + b"".join(map(self._encode, messages)) + end)
        # the answers are queued before `send` returns: none is waited for
        failed = [code for code in self._answers() if code]
        if failed:
            raise OSError(failed[0], os.strerror(failed[0]))

    def _batch(self, kind: int) -> bytes:
        body = _GENERIC.pack(0, 0, socket.htons(_SUBSYSTEM))
        return self._frame(kind, Flag.REQUEST, body)

    def _encode(self, message: Message) -> bytes:
        flags = Flag.REQUEST | Flag.ACK | message.flags
        return self._frame(
            _SUBSYSTEM << 8 | message.kind, flags, _GENERIC.pack(_INET, 0, 0) + message.attributes
        )

    def _frame(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body

    def _answers(self) -> Iterator[int]:
        """Give the errno of each answer, 0 where the change was done."""
        while True:
            try:
                data = self._socket.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind == _NLMSG_ERROR:
                    yield -_ERROR.unpack_from(data, at + _HEADER.size)[0]
                at += length + 3 & ~3
