"""Sockets that the target's side of a stream connects: TCP and unix."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mirrord_agent.credentials import become
from mirrord_agent.files import Files
from mirrord_agent.target import Target
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.messages import Address, Opened, OpenTcp, OpenUnix
from mirrord_agent.wire.pump import Pump

_WAITING_CONNECTS: Final = 32
_PATIENCE: Final = struct.pack("=qq", 1, 0)
"""SO_SNDTIMEO: how long a thread waits in one ``connect`` before it looks whether anybody still wants it."""


def open_tcp(request: OpenTcp, channel: Channel) -> Opened | Awaitable[Opened]:
    """Connect to an address; either raises OSError with the errno of the kernel."""
    family, name = socket_name(request.host, request.port)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        # the program's side decides what is sent when
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if request.local_port:
            _bind(sock, request.local_port)
        if _connect(sock, name):
            opened: Opened | Awaitable[Opened] = _opened(sock, request, channel)
        else:
            opened = _open_later(sock, request, channel)
        stack.pop_all()
    return opened


async def _open_later(sock: socket.socket, request: OpenTcp, channel: Channel) -> Opened:
    with contextlib.ExitStack() as stack:
        stack.enter_context(sock)
        await _connected(channel.loop, sock)
        opened = _opened(sock, request, channel)
        stack.pop_all()
    return opened


def _opened(sock: socket.socket, request: OpenTcp, channel: Channel) -> Opened:
    _pump(channel, sock, request.stream)
    return Opened(local=address(sock.getsockname()), remote=address(sock.getpeername()))


def _bind(sock: socket.socket, port: int) -> None:
    """Take the port that the program has chosen; where it is taken here, any: the program cannot know this
    machine's ports.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError):
        sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", port))


def _connect(sock: socket.socket, name: tuple[str | int, ...]) -> bool:
    """Begin to connect; return whether it is done, which a peer on this node is by the time that the call
    returns: its answer comes while SYN is sent, and a second call tells (connect(2)). Raise OSError.
    """
    number = sock.connect_ex(name)
    if number == errno.EINPROGRESS:
        number = sock.connect_ex(name)
    if number == errno.EALREADY:
        return False
    _check(number)
    return True


async def _connected(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Wait for the end of a connect; raise OSError."""
    connected: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock.fileno(), _done, connected)
    try:
        await connected
    finally:
        loop.remove_writer(sock.fileno())
    _check(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _pump(channel: Channel, sock: socket.socket, stream: int) -> None:
    """Begin to copy; raise ConnectionAbortedError if the stream was reset meanwhile."""
    try:
        Pump(channel.loop, sock, channel.stream(stream))
    except KeyError:
        raise ConnectionAbortedError(errno.ECONNABORTED, "the stream was reset") from None


def socket_name(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str | int, ...]]:
    """Return the family and the name of an address for Python's sockets; OSError (EINVAL) if it is none.

    Never a name: looking one up would hold the event loop.
    """
    text, _, scope = host.partition("%")
    try:
        if ":" not in text:
            socket.inet_pton(socket.AF_INET, host)
            return socket.AF_INET, (host, port)
        socket.inet_pton(socket.AF_INET6, text)
        index = (int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)) if scope else 0
    except (OSError, ValueError):
        raise OSError(errno.EINVAL, f"no address: {host!r}") from None
    return socket.AF_INET6, (text, port, 0, index)


def address(name: tuple[str, int] | tuple[str, int, int, int] | str | bytes) -> Address:
    """Return a name of Python's sockets as a message; a unix path has port 0."""
    if isinstance(name, tuple):
        return Address(host=name[0], port=name[1])
    return Address(host=name if isinstance(name, str) else name.decode("latin-1"), port=0)


class UnixSockets:
    """Connects to unix sockets in the target's file system, with its credentials."""

    def __init__(self, target: Target, files: Files) -> None:
        self._files: Final = files
        # a listener whose queue is full makes connect wait: that must not hold file calls
        self._waiting: Final = ThreadPoolExecutor(
            _WAITING_CONNECTS, "unix", initializer=become, initargs=(target.credentials,)
        )

    async def open(self, request: OpenUnix, channel: Channel) -> Opened:
        """Connect to a path, or to an abstract name; raise OSError with the errno of the kernel."""
        kind = socket.SOCK_SEQPACKET if request.kind == "seqpacket" else socket.SOCK_STREAM
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            sock.setblocking(False)
            if not await self._files.run(self._connect, sock, request.path):
                await self._wait(sock, request.path)
            sock.setblocking(False)
            _pump(channel, sock, request.stream)
            stack.pop_all()
        return Opened(local=Address(host="", port=0), remote=None)

    async def _wait(self, sock: socket.socket, path: bytes) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        loop = asyncio.get_running_loop()
        while not await asyncio.shield(loop.run_in_executor(self._waiting, self._connect, sock, path)):
            continue

    def _connect(self, sock: socket.socket, path: bytes) -> bool:
        """Connect; return False where the listener has no room."""
        if path.startswith(b"\0"):
            return _connect_unix(sock, path)
        found = self._files.open(path, os.O_PATH)
        try:
            # the path is looked up in the target's root, so the socket is named by what was found there
            return _connect_unix(sock, f"/proc/self/fd/{found}")
        finally:
            os.close(found)


def _connect_unix(sock: socket.socket, name: str | bytes) -> bool:
    try:
        sock.connect(name)
    except BlockingIOError:
        return False
    return True
