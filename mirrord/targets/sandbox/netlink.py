"""Network interfaces, addresses and routes of the current network namespace, by rtnetlink(7)."""

import errno
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Final

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 16, 20, 24, 28
_REQUEST, _ACK, _EXCL, _CREATE = 1, 4, 0x200, 0x400
_NLMSG_ERROR: Final = 2

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER: Final = 1
_IFF_UP: Final = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD: Final = 2
_RTA_OIF, _RTA_GATEWAY = 4, 5
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT: Final = 0x80
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST = 254, 3, 0, 1


@dataclass(frozen=True)
class End:
    """One interface of a pair."""

    name: str
    address: bytes
    """Its address on the link, of 6 bytes."""


def _attribute(kind: int, *data: bytes) -> bytes:
    payload = b"".join(data)
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def _link(index: int = 0, *, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _end(end: End) -> bytes:
    name = _attribute(_IFLA_IFNAME, end.name.encode() + b"\0")
    return _link() + name + _attribute(_IFLA_ADDRESS, end.address)


def _family(address: IPv4Address | IPv6Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class Route:
    """A conversation with the kernel about one network namespace; every method raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._sequence = 0

    def __enter__(self) -> "Route":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        head = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._sequence, 0)
        self._socket.send(head + body)
        reply = self._socket.recv(65536)
        if struct.unpack_from("=H", reply, 4) != (_NLMSG_ERROR,):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        (result,) = struct.unpack_from("=i", reply, 16)
        if result:
            raise OSError(-result, os.strerror(-result))

    def add_veth(self, end: End, *, peer: End, peer_namespace: int) -> None:
        """Make a pair of interfaces, the second in the network namespace of a descriptor."""
        other = _end(peer) + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", peer_namespace))
        data = _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, other))
        info = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"veth"), data)
        self._request(_RTM_NEWLINK, _CREATE | _EXCL, _end(end) + info)

    def set_up(self, name: str) -> None:
        """Bring an interface up."""
        self._request(_RTM_NEWLINK, 0, _link(socket.if_nametoindex(name), flags=_IFF_UP))

    def add_address(self, name: str, address: IPv4Address | IPv6Address, *, prefix: int) -> None:
        """Give an interface an address, which is usable at once: nobody else can have it."""
        index = socket.if_nametoindex(name)
        flags = _IFA_F_NODAD if address.version == 6 else 0
        body = struct.pack("=BBBBI", _family(address), prefix, flags, _SCOPE_UNIVERSE, index)
        local = _attribute(_IFA_LOCAL, address.packed) + _attribute(_IFA_ADDRESS, address.packed)
        self._request(_RTM_NEWADDR, _CREATE | _EXCL, body + local)

    def add_neighbour(self, name: str, address: IPv4Address | IPv6Address, link_address: bytes) -> None:
        """Say for good where an address of the same link is: nobody is asked."""
        index = socket.if_nametoindex(name)
        body = struct.pack("=BxxxiHBB", _family(address), index, _NUD_PERMANENT, 0, 0)
        at = _attribute(_NDA_DST, address.packed) + _attribute(_NDA_LLADDR, link_address)
        self._request(_RTM_NEWNEIGH, _CREATE | _EXCL, body + at)

    def add_default_route(self, name: str, gateway: IPv4Address | IPv6Address) -> None:
        """Send what goes elsewhere through ``gateway``."""
        head = (_family(gateway), 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
        index = struct.pack("=I", socket.if_nametoindex(name))
        attributes = _attribute(_RTA_GATEWAY, gateway.packed) + _attribute(_RTA_OIF, index)
        self._request(_RTM_NEWROUTE, _CREATE | _EXCL, struct.pack("=8BI", *head) + attributes)
