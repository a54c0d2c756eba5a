"""Sockets that are being connected, kept where they could not be got again.

A refused connect is refused on the program's socket. Where that cannot be looked for by pidfd_getfd(2), our
duplicate of it is kept while it is pending, and closed once it is not: it would hide that the program closes
its own. So that is seen up to two ticks late, and not at all before the connect has ended.
"""

import asyncio
import os
import socket
from typing import Final

_TICK: Final = 0.02
_SYN_SENT: Final = 2
"""The first byte of ``struct tcp_info`` while a connect is pending (include/net/tcp_states.h)."""
_MOST_IDLE: Final = 2


class Kept:
    """The pending sockets, by inode."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._sockets: Final[dict[int, socket.socket]] = {}
        self._idle: Final[dict[int, int]] = {}
        """At how many ticks a socket was not pending."""
        self._watch: asyncio.TimerHandle | None = None

    def keep(self, fd: int) -> None:
        """Keep a duplicate of a TCP socket that is about to be connected; from any thread."""
        sock = socket.socket(fileno=os.dup(fd))
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            self._loop.call_soon_threadsafe(self._add, sock)
        else:
            sock.close()

    def find(self, inode: int) -> socket.socket | None:
        """Return a duplicate of a kept socket."""
        kept = self._sockets.get(inode)
        return None if kept is None else kept.dup()

    def _add(self, sock: socket.socket) -> None:
        inode = os.fstat(sock.fileno()).st_ino
        if inode in self._sockets:
            sock.close()
        else:
            self._sockets[inode] = sock
        self._idle[inode] = 0
        if self._watch is None:
            self._watch = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        for inode, sock in list(self._sockets.items()):
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _SYN_SENT:
                self._idle[inode] = 0
                continue
            self._idle[inode] += 1
            if self._idle[inode] >= _MOST_IDLE:
                self._sockets.pop(inode).close()
                del self._idle[inode]
        self._watch = self._loop.call_later(_TICK, self._tick) if self._sockets else None
