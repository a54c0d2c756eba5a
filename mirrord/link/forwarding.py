"""Ports of this machine that lead into the target, and ports of the target that lead here: port-forward."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirrord_agent.wire.channel import Stream
from mirrord_agent.wire.messages import Arrived
from mirrord_agent.wire.pump import Pump

from mirrord.link.addresses import Peer
from mirrord.link.lead import Lead
from mirrord.link.lookup import Lookup, open_tcp
from mirrord.link.places import Place

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close sends RST (socket(7))."""
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Outward:
    """A port of this machine and where it leads, seen from the target; a name is looked up there."""

    local: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Inward:
    """A port of the target and the one of this machine that it leads to."""

    remote: int
    local: int


class OutwardForward:
    """One port that is listened to here."""

    def __init__(self, lead: Lead, rule: Outward, warn: Callable[[str], None]) -> None:
        self._lead: Final = lead
        self._rule: Final = rule
        self._warn: Final = warn
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._listener: Final = socket.create_server((_LOOPBACK, rule.local))
        self._listener.setblocking(False)

    @property
    def port(self) -> int:
        """The port, also where the kernel has chosen it."""
        return int(self._listener.getsockname()[1])

    async def serve(self) -> None:
        """Take connections until it is cancelled."""
        loop = asyncio.get_running_loop()
        with self._listener:
            while True:
                accepted, _ = await loop.sock_accept(self._listener)
                task = loop.create_task(self._connect(accepted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        rule = self._rule
        try:
            channel = await self._lead.ready()
            host = await Lookup(channel).address(rule.host)
            stream, _ = await open_tcp(channel, Peer(host, rule.port))
        except (OSError, TimeoutError) as error:
            self._warn(f"{rule.host}:{rule.port} cannot be reached from the target: {_why(error)}")
            _refuse(accepted)
            return
        except asyncio.CancelledError:
            accepted.close()
            raise
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Pump(asyncio.get_running_loop(), accepted, stream)


class InwardForwards:
    """Takes what arrives at ports of the target to ports of this machine."""

    def __init__(self, rules: list[Inward], *, mirror: bool, warn: Callable[[str], None]) -> None:
        """``mirror`` tells that what is answered goes nowhere."""
        self._local: Final = {rule.remote: rule.local for rule in rules}
        self._mirror: Final = mirror
        self._warn: Final = warn
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def take(self, place: Place, event: Arrived) -> None:
        """Connect to the local port, and copy."""
        stream = place.channel.stream(event.stream)
        if self._mirror:
            stream.mute()
        task = asyncio.get_running_loop().create_task(self._connect(stream, self._local[event.port]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, stream: Stream, port: int) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            await loop.sock_connect(sock, (_LOOPBACK, port))
        except OSError as error:
            self._warn(f"port {port} of this machine cannot be reached: {_why(error)}")
            sock.close()
            stream.reset(error.errno or errno.ECONNREFUSED)
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Pump(loop, sock, stream)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return "it took too long"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _refuse(accepted: socket.socket) -> None:
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    accepted.close()
