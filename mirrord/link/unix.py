"""The program's streams to unix sockets of the target."""

import asyncio
import os
import socket
import struct
from typing import Final

from mirrord_agent.wire.channel import ChannelClosed, RequestFailed
from mirrord_agent.wire.messages import Opened, OpenUnix
from mirrord_agent.wire.pump import Pump

from mirrord.link.connections import LINK_LOST, Cookie
from mirrord.link.lead import Lead

_CREDENTIALS: Final = struct.Struct("3i")
"""``struct ucred``: process, user, group (unix(7))."""


class UnixConnections:
    """Remote unix sockets: the program's is connected to a relay of ours once the pod's is connected."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lead: Lead) -> None:
        self._loop: Final = loop
        self._lead: Final = lead
        self._paths: Final[dict[Cookie, bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._paths)

    def path(self, cookie: Cookie) -> bytes | None:
        """Return the remote path that a socket is connected to."""
        return self._paths.get(cookie)

    async def connect(self, program_socket: socket.socket, cookie: Cookie, path: bytes) -> None:
        """Connect the program's socket to ``path`` in the target; raise OSError with the target's errno."""
        kind = program_socket.type
        channel = await self._lead.ready()
        stream = channel.open_stream()
        try:
            await channel.request(
                OpenUnix(
                    stream=stream.id,
                    path=path,
                    kind="seqpacket" if kind == socket.SOCK_SEQPACKET else "stream",
                ),
                Opened,
            )
            ours = _join(program_socket, kind)
        except RequestFailed as failure:
            stream.reset()
            raise OSError(failure.errno, os.strerror(failure.errno)) from failure
        except ChannelClosed as closed:
            raise OSError(LINK_LOST, os.strerror(LINK_LOST)) from closed
        except BaseException:
            stream.reset()
            raise
        self._paths[cookie] = path
        Pump(self._loop, ours, stream, on_closed=lambda: self._paths.pop(cookie, None))


def _join(program_socket: socket.socket, kind: int) -> socket.socket:
    """Connect the program's unix socket to a new one of ours, over a listener that lives for this one
    connect.
    """
    with socket.socket(socket.AF_UNIX, kind) as listener:
        # autobind gives an abstract name (unix(7)), which everybody may see, and connect to
        listener.bind(b"")
        listener.listen()
        program_socket.connect(listener.getsockname())
        while _connected_by(ours := listener.accept()[0]) != os.getpid():
            ours.close()
    ours.setblocking(False)
    return ours


def _connected_by(sock: socket.socket) -> int:
    """Return the process that has called connect (SO_PEERCRED, unix(7))."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process: int = _CREDENTIALS.unpack(raw)[0]
    return process
