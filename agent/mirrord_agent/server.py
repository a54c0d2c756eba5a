"""The agent's life: wait for its client, serve it, end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mirrord_agent.files import Files
from mirrord_agent.handler import RequestHandler, hostname
from mirrord_agent.interfaces import own_addresses
from mirrord_agent.target import Target
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.errors import ChannelClosed, HandshakeError
from mirrord_agent.wire.handshake import AgentHandshake, refusal
from mirrord_agent.wire.pump import draining
from mirrord_agent.wire.websocket import WebSocket

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FIRST_CLIENT: Final = 30.0
"""Seconds in which the client must have proved itself, unless told otherwise."""
_HANDSHAKE: Final = 10.0
_LINGER: Final = 60.0
"""Seconds for which peers may take what has been written for them, as ``net.ipv4.tcp_fin_timeout`` has it."""
_LINGER_TICK: Final = 0.02
_UNPROVED: Final = 16
"""Connections that may be in their handshake at once."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Our own key, and the public key of the only client that is served."""

    own: "Ed25519PrivateKey"
    client: bytes


class Agent:
    """Serves one client; :meth:`run` returns when it is gone or nothing is left to do."""

    def __init__(self, target: Target, keys: Keys, listener: socket.socket) -> None:
        self._target: Final = target
        self._keys: Final = keys
        self._listener: Final = listener
        self._loop: Final = asyncio.get_running_loop()
        self._files: Final = Files(target)
        self._end: Final[asyncio.Future[str]] = self._loop.create_future()
        self._server: asyncio.Server | None = None
        self._channel: Channel | None = None
        self._handshakes: Final[set[asyncio.Task[None]]] = set()

    async def run(self, *, ready: str, patience: float, until_stdin_closes: bool) -> str:
        """Serve; print ``ready`` once connections are taken. Return why it ended; raise AgentError."""
        await self._files.check()
        unix = self._listener.family is socket.AF_UNIX
        create = self._loop.create_unix_server if unix else self._loop.create_server
        self._server = await create(self._connection, sock=self._listener)
        with self._watched(until_stdin_closes=until_stdin_closes):
            print(ready, flush=True)
            timer = self._loop.call_later(patience, self._nobody_came, patience)
            reason = await self._end
            timer.cancel()
        self._server.close()
        if self._channel is not None:
            self._channel.close(f"the agent ended: {reason}")
            await self._channel.wait_closed()
        await _drained()
        return reason

    @contextlib.contextmanager
    def _watched(self, *, until_stdin_closes: bool) -> Iterator[None]:
        loop = self._loop
        loop.add_reader(self._target.pidfd, self._finish, "the target has ended")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._finish, f"signal {number.name}")
        if until_stdin_closes:
            loop.add_reader(sys.stdin.fileno(), self._stdin)
        try:
            yield
        finally:
            loop.remove_reader(self._target.pidfd)
            if until_stdin_closes:
                loop.remove_reader(sys.stdin.fileno())

    def _stdin(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self._finish("its creator has ended")

    def _nobody_came(self, patience: float) -> None:
        if self._channel is None:
            self._finish(f"no client within {patience:.0f} s")

    def _finish(self, reason: str) -> None:
        if not self._end.done():
            self._end.set_result(reason)

    def _connection(self) -> WebSocket:
        websocket = WebSocket(self._loop, client=False)
        task = self._loop.create_task(self._welcome(websocket))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return websocket

    async def _welcome(self, websocket: WebSocket) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE):
                await self._shake_hands(websocket)
        except HandshakeError as error:
            print(f"mirrord-agent: a client was refused: {error}", file=sys.stderr)
            websocket.send(refusal(error))
            websocket.close("refused")
        except (TimeoutError, ChannelClosed) as error:
            print(f"mirrord-agent: a client went away in the handshake: {error}", file=sys.stderr)
            websocket.abort("the handshake took too long")

    async def _shake_hands(self, websocket: WebSocket) -> None:
        if len(self._handshakes) > _UNPROVED:
            raise HandshakeError("too many connections at once")
        handshake = AgentHandshake(key=self._keys.own, client_key=self._keys.client)
        await websocket.opened()
        websocket.send(handshake.answer(await websocket.receive()))
        handshake.check(await websocket.receive())
        if self._channel is not None:
            raise HandshakeError("the agent has a client already")
        websocket.prove()
        websocket.send(
            handshake.welcome(addresses=own_addresses(), hostname=hostname(), pid=self._target.pid)
        )
        self._serve(websocket)

    def _serve(self, websocket: WebSocket) -> None:
        if self._server is not None:
            self._server.close()
        handler = RequestHandler(self._target, self._files)
        channel = Channel(websocket, client=False, handler=handler)
        self._channel = channel
        channel.closed.add_done_callback(
            lambda closed: self._finish(f"the client is gone: {closed.result()}")
        )
        handler.start(channel)
        channel.start()


async def _drained() -> None:
    """Let slow peers take what the client's programs wrote before they ended, as a kernel does for a process
    that is gone.
    """
    deadline = asyncio.get_running_loop().time() + _LINGER
    while draining and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_LINGER_TICK)


async def serve(
    target: Target,
    keys: Keys,
    listener: socket.socket,
    *,
    ready: str,
    patience: float,
    until_stdin_closes: bool,
) -> str:
    """Run an agent to its end and return why it ended; raise AgentError."""
    agent = Agent(target, keys, listener)
    return await agent.run(ready=ready, patience=patience, until_stdin_closes=until_stdin_closes)
