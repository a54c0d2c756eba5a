"""Services that give back what they get, and one that does not even drop a hint."""

import asyncio
import ctypes
import socket
import struct
from typing import Final

from mirrord.targets.sandbox.contract import Host
from mirrord.targets.sandbox.network import BACKLOG
from mirrord.targets.sandbox.services.address import addresses, bound

_MAX_DATAGRAM: Final = 65536
_SO_ATTACH_FILTER: Final = 26
_BPF_RETURN: Final = 0x06


class EchoStream(asyncio.Protocol):
    """Sends a stream back; the end too."""

    __slots__ = ("_transport",)
    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()


def serve_datagrams(host: Host, port: int) -> list[socket.socket]:
    """Send every datagram for a port of ``host`` back to where it came from; raises OSError."""
    loop = asyncio.get_running_loop()
    sockets = [bound(socket.SOCK_DGRAM, address, port) for address in addresses(host)]
    for item in sockets:
        loop.add_reader(item.fileno(), _echo_datagrams, item)
    return sockets


def _echo_datagrams(item: socket.socket) -> None:
    # A few at a time: other services have a turn between.
    for _ in range(64):
        try:
            data, peer = item.recvfrom(_MAX_DATAGRAM)
            item.sendto(data, peer)
        except BlockingIOError:
            return
        except OSError:
            # An earlier answer could not be delivered, or this one cannot: datagrams get lost.
            continue


def swallow(host: Host, port: int) -> list[socket.socket]:
    """Have the kernel drop, without an answer, all that is sent to a port of ``host``; raises OSError.

    A socket that is bound keeps it from answering that the port is closed; a filter on that takes no packet
    (socket(7)), so that a connection is never even begun.
    """
    program = ctypes.create_string_buffer(struct.pack("=HBBI", _BPF_RETURN, 0, 0, 0), 8)
    option = struct.pack("HP", 1, ctypes.addressof(program))
    sockets = []
    for address in addresses(host):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            item = bound(kind, address, port)
            item.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
            if kind == socket.SOCK_STREAM:
                item.listen(BACKLOG)
            sockets.append(item)
    return sockets
