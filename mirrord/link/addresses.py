"""Socket addresses: as the kernel lays them out, and as people write them."""

import socket
import struct
from dataclasses import dataclass
from typing import Final

_IN: Final = struct.Struct("=H2s4s8x")
_IN6: Final = struct.Struct("=H2sI16sI")
_FAMILY: Final = struct.Struct("=H")
_PORT: Final = struct.Struct("!H")
_MAPPED: Final = bytes(10) + b"\xff\xff"
SIZE_IN: Final = _IN.size
SIZE_IN6: Final = _IN6.size
DNS_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Peer:
    """An IP address and a port. A v4-mapped IPv6 address is the IPv4 address that it stands for."""

    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """Return the family of the network that the address is in."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def is_loopback(self) -> bool:
        """Tell whether the address is one of the loopback interface."""
        return self.host.startswith("127.") or self.host == "::1"

    @property
    def is_unspecified(self) -> bool:
        """Tell whether the address is the wildcard, which as a destination means the loopback."""
        return self.host in ("0.0.0.0", "::")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def family(sockaddr: bytes) -> int:
    """Return the address family, AF_UNSPEC of an address too short to have one."""
    return int(_FAMILY.unpack_from(sockaddr)[0]) if len(sockaddr) >= _FAMILY.size else socket.AF_UNSPEC


def parse(sockaddr: bytes) -> Peer | None:
    """Return the peer that a ``sockaddr_in`` or ``sockaddr_in6`` names, else None (ip(7), ipv6(7))."""
    kind = family(sockaddr)
    if kind == socket.AF_INET and len(sockaddr) >= SIZE_IN:
        port, host = sockaddr[2:4], sockaddr[4:8]
        return Peer(socket.inet_ntop(socket.AF_INET, host), _PORT.unpack(port)[0])
    if kind == socket.AF_INET6 and len(sockaddr) >= SIZE_IN6 - 4:
        port, host = sockaddr[2:4], sockaddr[8:24]
        if host.startswith(_MAPPED):
            return Peer(socket.inet_ntop(socket.AF_INET, host[12:]), _PORT.unpack(port)[0])
        return Peer(socket.inet_ntop(socket.AF_INET6, host), _PORT.unpack(port)[0])
    return None


def can_pack(peer: Peer, socket_family: int) -> bool:
    """Tell whether a socket of that family can have such a peer: an IPv4 one has no IPv6 peer."""
    return socket_family == socket.AF_INET6 or peer.family == socket.AF_INET


def pack(peer: Peer, socket_family: int) -> bytes:
    """Return the peer as the kernel would report it on a socket of that family."""
    port = _PORT.pack(peer.port)
    if socket_family == socket.AF_INET:
        return _IN.pack(socket.AF_INET, port, socket.inet_pton(socket.AF_INET, peer.host))
    if peer.family == socket.AF_INET:
        host = _MAPPED + socket.inet_pton(socket.AF_INET, peer.host)
    else:
        host = socket.inet_pton(socket.AF_INET6, peer.host)
    return _IN6.pack(socket.AF_INET6, port, 0, host, 0)


def from_name(name: tuple[str, int] | tuple[str, int, int, int]) -> Peer:
    """Return the peer that Python's ``getsockname()`` or ``recvfrom()`` names."""
    host = name[0].partition("%")[0]
    return Peer(host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host, name[1])


def to_name(peer: Peer, socket_family: int) -> tuple[str, int]:
    """Return what Python's ``connect()`` and ``sendto()`` want for a socket of that family."""
    if socket_family == socket.AF_INET6 and peer.family == socket.AF_INET:
        return f"::ffff:{peer.host}", peer.port
    return peer.host, peer.port
