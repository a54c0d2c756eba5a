"""Receive the packets of some TCP ports as they pass through this network namespace (packet(7)).

Reading a socket takes packets of any size, up to what offloads make of them, with one call each; at 48 KiB a
packet that is twice as fast as a ring of frames, which would have to be as long as the longest.
"""

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

from mirrord_agent.mirror.packets import Segment, parse
from mirrord_agent.mirror.socket_filter import NOTHING, compile_filter

_ETH_P_ALL: Final = 3
"""Outgoing packets are shown to sockets of this protocol only."""
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_SOCKADDR_LL: Final = struct.Struct("=HHiHBB8s")
_STATISTICS: Final = struct.Struct("=II")
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 16 * 1024 * 1024
_LONGEST: Final = 1024 * 1024
"""The longest packet that offloads make of a stream (GRO_MAX_SIZE) is half of this."""
_AT_ONCE: Final = 256
"""Packets taken before other work of the event loop has its turn."""
_TICK: Final = 1.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _bind_everywhere(sock: socket.socket) -> None:
    """Receive from every interface, those included that come later; Python can only name a single one.

    Such a socket has no error when an interface goes down, as one that is bound to it would
    (``packet_notifier`` in ``net/packet/af_packet.c``), after which libuv would watch it no more.
    """
    name = _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
    if _libc.bind(sock.fileno(), name, len(name)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Capture:
    """An open capture; close it in the end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[Segment], None],
        *,
        lost: Callable[[int], None],
        tick: Callable[[], None],
        loopback_only: bool = False,
    ) -> None:
        """``lost`` is told how many packets there was no room for; ``tick`` is called each second;
        ``loopback_only`` takes no packets of other devices.

        Raises OSError: EPERM without CAP_NET_RAW in the network namespace.
        """
        self._loop: Final = loop
        self._take: Final = take
        self._lost: Final = lost
        self._on_tick: Final = tick
        self._loopback_only: Final = loopback_only
        self._buffer: Final = memoryview(bytearray(_LONGEST))
        self._socket: Final = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        try:
            # before the socket is bound, so that nothing else is ever received
            self._attach(NOTHING)
            self._enlarge()
            _bind_everywhere(self._socket)
        except BaseException:
            self._socket.close()
            raise
        loop.add_reader(self._socket.fileno(), self._readable)
        self._timer = loop.call_later(_TICK, self._tick)

    def take_ports(self, ports: Iterable[int]) -> None:
        """Take the packets of these ports from now on; raise ValueError for too many."""
        self._attach(compile_filter(ports, loopback_only=self._loopback_only))

    def close(self) -> None:
        """Take nothing any more."""
        if self._socket.fileno() >= 0:
            self._timer.cancel()
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _attach(self, code: bytes) -> None:
        held = ctypes.create_string_buffer(code, len(code))
        program = _Program(len(code) // 8, ctypes.addressof(held))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))

    def _enlarge(self) -> None:
        try:
            # beyond net.core.rmem_max; needs CAP_NET_ADMIN
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                size = self._socket.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            segment = parse(self._buffer[:size])
            if segment is not None:
                self._take(segment)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_TICK, self._tick)
        # reading the numbers sets them back to 0
        _, dropped = _STATISTICS.unpack(
            self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        )
        if dropped:
            self._lost(dropped)
        self._on_tick()
