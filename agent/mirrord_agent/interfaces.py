"""The addresses of the network namespace, asked of the kernel (rtnetlink(7))."""

import socket
import struct
from collections.abc import Iterator
from typing import Final

_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST_DUMP: Final = 0x301
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_SCOPE_LINK: Final = 253
_NOT_PREFERRED: Final = 0x61
"""IFA_F_SECONDARY (temporary, for IPv6), IFA_F_DEPRECATED and IFA_F_TENTATIVE."""
_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_READ: Final = 65_536


def own_addresses() -> tuple[str, ...]:
    """Return the addresses that others can reach us by, preferred ones first, IPv4 before IPv6."""
    found = sorted(_addresses())
    return tuple(dict.fromkeys(text for *_, text in found))


def _addresses() -> Iterator[tuple[int, int, int, str]]:
    """Give (family, whether not preferred, interface, text) of each address."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(
            _HEADER.pack(_HEADER.size + _ADDRESS.size, _RTM_GETADDR, _REQUEST_DUMP, 1, 0)
            + _ADDRESS.pack(0, 0, 0, 0, 0)
        )
        while True:
            data = netlink.recv(_READ)
            for kind, body in _messages(data):
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                if kind == _RTM_NEWADDR:
                    yield from _address(body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def _address(body: bytes) -> Iterator[tuple[int, int, int, str]]:
    family, _, flags, scope, index = _ADDRESS.unpack_from(body)
    if scope >= _SCOPE_LINK or family not in (socket.AF_INET, socket.AF_INET6):
        return
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    # on a point-to-point link IFA_ADDRESS is the peer's
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if raw:
        yield family, int(bool(flags & _NOT_PREFERRED)), index, socket.inet_ntop(family, raw)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
