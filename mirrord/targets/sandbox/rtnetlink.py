"""The few rtnetlink requests that the sandbox needs (rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr,veth}.h).

The `ip` command may be absent from a user's machine, and a process for each of its dozen uses would cost more than the rest of the start.
"""

import os
import socket
import struct
from types import TracebackType
from typing import Final, Self

_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_CREATE_EXCL: Final = 0x600
_RTM_NEWLINK: Final = 16
_RTM_NEWADDR: Final = 20
_RTM_NEWROUTE: Final = 24

_IFF_UP: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_LINKINFO: Final = 18
_IFLA_NET_NS_FD: Final = 28
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_F_NODAD: Final = 2
_RTA_DST: Final = 1
_RTA_GATEWAY: Final = 5
_RT_TABLE_MAIN: Final = 254
_RTPROT_STATIC: Final = 4
_RTN_UNICAST: Final = 1

_HEADER: Final = struct.Struct("=IHHII")
_IFINFO: Final = struct.Struct("=BxHiII")
_IFADDR: Final = struct.Struct("=BBBBI")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_REPLY_SIZE: Final = 16384


class Netlink:
    """A socket to the network namespace that this process is in when it is made; every request raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def add_veth(self, name: str, *, peer: str, peer_namespace: int) -> None:
        """Make a pair of devices: one here, its peer in the network namespace of that descriptor."""
        there = _attribute(_IFLA_IFNAME, _text(peer)) + _attribute(
            _IFLA_NET_NS_FD, struct.pack("=I", peer_namespace)
        )
        data = _attribute(_VETH_INFO_PEER, _ifinfo() + there)
        info = _attribute(_IFLA_INFO_KIND, _text("veth")) + _attribute(_IFLA_INFO_DATA, data)
        body = _ifinfo() + _attribute(_IFLA_IFNAME, _text(name)) + _attribute(_IFLA_LINKINFO, info)
        self._request(_RTM_NEWLINK, body, create=True)

    def set_up(self, name: str) -> None:
        """Switch the device on."""
        body = _ifinfo(change=_IFF_UP) + _attribute(_IFLA_IFNAME, _text(name))
        self._request(_RTM_NEWLINK, body, create=False)

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give the device an address that works at once: duplicate address detection is off."""
        family, packed = _packed(address)
        flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
        body = _IFADDR.pack(family, prefix, flags, 0, index)
        self._request(
            _RTM_NEWADDR,
            body + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed),
            create=True,
        )

    def add_route(self, network: str, *, gateway: str) -> None:
        """Send what goes to ``network``, such as ``10.96.0.0/12``, by ``gateway``."""
        address, _, prefix = network.partition("/")
        family, packed = _packed(address)
        body = _ROUTE.pack(family, int(prefix), 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
        body += _attribute(_RTA_DST, packed) + _attribute(_RTA_GATEWAY, _packed(gateway)[1])
        self._request(_RTM_NEWROUTE, body, create=True)

    def _request(self, kind: int, body: bytes, *, create: bool) -> None:
        self._sequence += 1
        flags = _NLM_F_REQUEST | _NLM_F_ACK | (_NLM_F_CREATE_EXCL if create else 0)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        reply = self._socket.recv(_REPLY_SIZE)
        _, kind, _, sequence, _ = _HEADER.unpack_from(reply)
        if kind != _NLMSG_ERROR or sequence != self._sequence:
            raise OSError(f"the kernel answered a request with message {kind}, expected an acknowledgement")
        number = -struct.unpack_from("=i", reply, _HEADER.size)[0]
        if number:
            raise OSError(number, os.strerror(number), "rtnetlink")


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _ifinfo(*, change: int = 0) -> bytes:
    """Return a ``struct ifinfomsg`` that sets the flags of ``change``; the device is named by an attribute."""
    return _IFINFO.pack(socket.AF_UNSPEC, 0, 0, change, change)


def _packed(address: str) -> tuple[socket.AddressFamily, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)
