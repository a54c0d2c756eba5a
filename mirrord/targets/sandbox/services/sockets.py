"""Sockets of the services."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

from mirrord.targets.sandbox.network import QUEUE

Protocols = Callable[[], asyncio.BaseProtocol]

_SO_ATTACH_FILTER: Final = 26
_DROP_EVERYTHING: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""One classic BPF instruction, ``ret 0``: keep no byte of the packet (socket(7), SO_ATTACH_FILTER)."""


def bound(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a non-blocking socket bound there, for that address family only; raise OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def listening(address: str, port: int) -> socket.socket:
    """Return a listener there, whose queue takes 10,000 connections at once; raise OSError."""
    made = bound(address, port, socket.SOCK_STREAM)
    made.listen(QUEUE)
    return made


def silent(address: str, port: int) -> Iterable[socket.socket]:
    """Return sockets that make the kernel drop every segment and datagram for that port without an answer.

    With nobody there the kernel would refuse. A socket's filter is asked for the first segment of a connection too, and what it
    rejects is dropped (``tcp_filter`` in ``tcp_v4_rcv``, net/ipv4/tcp_ipv4.c).
    """
    for made in (listening(address, port), bound(address, port, socket.SOCK_DGRAM)):
        _attach_filter(made)
        yield made


def _attach_filter(made: socket.socket) -> None:
    import ctypes

    instruction = ctypes.create_string_buffer(_DROP_EVERYTHING, len(_DROP_EVERYTHING))
    program = struct.pack("@HP", 1, ctypes.addressof(instruction))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


async def serve(protocols: Protocols, listeners: Iterable[socket.socket]) -> None:
    """Serve connections to the listeners for as long as the event loop runs."""
    loop = asyncio.get_running_loop()
    for listener in listeners:
        await loop.create_server(protocols, sock=listener, backlog=QUEUE)
