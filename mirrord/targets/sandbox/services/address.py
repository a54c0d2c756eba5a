"""Sockets of the sandbox's services."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

from mirrord.targets.sandbox.contract import Host
from mirrord.targets.sandbox.network import BACKLOG, has_ipv6

IpAddress = IPv4Address | IPv6Address


def bound(kind: socket.SocketKind, address: IpAddress, port: int) -> socket.socket:
    """Return a non-blocking socket bound to an address of this network namespace; raises OSError."""
    made = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, kind)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address.version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((str(address), port))
    return made


def addresses(host: Host) -> Iterator[IpAddress]:
    """Return the addresses at which a service can be reached here."""
    yield host.v4
    if has_ipv6:
        yield host.v6


async def serve_tcp(
    host: Host, port: int, protocol: Callable[[], asyncio.BaseProtocol]
) -> list[asyncio.Server]:
    """Serve connections to a port at all addresses of ``host``; raises OSError."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_server(protocol, sock=bound(socket.SOCK_STREAM, address, port), backlog=BACKLOG)
        for address in addresses(host)
    ]
