"""The agent's life: wait for its client, serve it, wait for it again where the connection breaks, end."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mirrord_agent.files import Files
from mirrord_agent.handler import RequestHandler, hostname
from mirrord_agent.interfaces import own_addresses
from mirrord_agent.presence import Presence
from mirrord_agent.target import Target
from mirrord_agent.wire.carrier import Carrier
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.errors import ChannelClosed, HandshakeError, WireError
from mirrord_agent.wire.handshake import AgentHandshake, refusal
from mirrord_agent.wire.pump import draining
from mirrord_agent.wire.websocket import WebSocket

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FIRST_CLIENT: Final = 30.0
"""Seconds in which the client must have proved itself, at first and after its connection broke, unless told
otherwise.
"""
_HANDSHAKE: Final = 10.0
_LINGER: Final = 60.0
"""Seconds for which peers may take what has been written for them, as ``net.ipv4.tcp_fin_timeout`` has it."""
_LINGER_TICK: Final = 0.02
_UNPROVED: Final = 16
"""Connections of a listener that may be in their handshake at once; more wait in the kernel's queue."""
_NO_ROOM: Final = 1.0
"""Seconds until the next try where there is no descriptor for a connection."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Our own key, and the public key of the only client that is served."""

    own: "Ed25519PrivateKey"
    client: bytes


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens, and whether it speaks TLS, by a certificate that nobody is meant to check."""

    socket: socket.socket
    tls: bool = False


class Agent:
    """Serves one client; :meth:`run` returns when it is gone or nothing is left to do."""

    def __init__(self, target: Target, keys: Keys, listeners: Sequence[Listener], *, patience: float) -> None:
        self._target: Final = target
        self._keys: Final = keys
        self._listeners: Final = listeners
        self._patience: Final = patience
        self._loop: Final = asyncio.get_running_loop()
        self._files: Final = Files(target)
        self._end: Final[asyncio.Future[str]] = self._loop.create_future()
        self._accepting: Final[list[asyncio.Task[None]]] = []
        self._carrier: Carrier | None = None
        self._channel: Channel | None = None
        self._presence: Final = Presence(
            self._loop, patience=patience, gone=self._finish, away=self._away, back=self._back
        )
        self._handler: RequestHandler | None = None
        self._handshakes: Final[set[asyncio.Task[None]]] = set()

    async def run(self, *, ready: str, until_stdin_closes: bool) -> str:
        """Serve; print ``ready`` once connections are taken. Return why it ended; raise AgentError."""
        await self._files.check()
        for listener in self._listeners:
            self._accepting.append(self._loop.create_task(self._accept(listener)))
        # what is there by now stays, so the collector need not go through it again
        gc.freeze()
        with self._watched(until_stdin_closes=until_stdin_closes):
            print(ready, flush=True)
            self._presence.expect(f"no client within {self._patience:.0f} s")
            reason = await self._end
        self._presence.stop()
        for accepting in self._accepting:
            accepting.cancel()
        if self._channel is not None:
            self._channel.close(f"the agent ended: {reason}")
            await self._channel.wait_closed()
        await self._drained()
        return reason

    async def _accept(self, listener: Listener) -> None:
        tls = None
        if listener.tls:
            from mirrord_agent.certificate import server_context

            tls = server_context()
        listener.socket.setblocking(False)
        room = asyncio.Semaphore(_UNPROVED)
        with listener.socket:
            while True:
                await room.acquire()
                try:
                    sock, _ = await self._loop.sock_accept(listener.socket)
                except OSError as error:
                    print(f"mirrord-agent: no client can be taken: {error}", file=sys.stderr)
                    room.release()
                    await asyncio.sleep(_NO_ROOM)
                    continue
                task = self._loop.create_task(self._connection(sock, tls))
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)
                task.add_done_callback(lambda _: room.release())

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

    def _finish(self, reason: str) -> None:
        if not self._end.done():
            self._end.set_result(reason)

    async def _connection(self, sock: socket.socket, tls: "ssl.SSLContext | None") -> None:
        websocket = WebSocket(self._loop, client=False)
        try:
            async with asyncio.timeout(_HANDSHAKE):
                await self._loop.connect_accepted_socket(lambda: websocket, sock, ssl=tls)
                await self._shake_hands(websocket)
        except HandshakeError as error:
            print(f"mirrord-agent: a client was refused: {error}", file=sys.stderr)
            websocket.send(refusal(error))
            websocket.close("refused")
        except (OSError, ChannelClosed) as error:
            why = str(error) or f"it took longer than {_HANDSHAKE:.0f} s"
            print(f"mirrord-agent: a client went away in the handshake: {why}", file=sys.stderr)
            websocket.abort("the handshake did not come to its end")

    async def _shake_hands(self, websocket: WebSocket) -> None:
        handshake = AgentHandshake(key=self._keys.own, client_key=self._keys.client)
        await websocket.opened()
        websocket.send(handshake.answer(await websocket.receive()))
        resumed = handshake.check(await websocket.receive())
        if resumed is not None:
            self._resume(websocket, handshake, resumed)
            return
        if self._channel is not None:
            raise HandshakeError("the agent has a client already")
        websocket.prove()
        websocket.send(
            handshake.welcome(
                addresses=own_addresses(), hostname=hostname(), pid=self._target.pid, grace=self._patience
            )
        )
        self._serve(websocket)

    def _resume(self, websocket: WebSocket, handshake: AgentHandshake, received: int) -> None:
        carrier = self._carrier
        if carrier is None:
            raise HandshakeError("there is no session to resume")
        try:
            carrier.check(received)
        except WireError as error:
            raise HandshakeError(str(error)) from error
        websocket.prove()
        websocket.send(handshake.resumed(carrier.received))
        carrier.resume(websocket, received=received)
        if carrier.connected:
            self._presence.there(carrier)
            print("mirrord-agent: the client is back", file=sys.stderr)

    def _dropped(self, reason: str) -> None:
        print(f"mirrord-agent: the client's connection ended: {reason}", file=sys.stderr)
        self._presence.broken(f"the client is gone: {reason}")

    def _away(self) -> None:
        if self._handler is not None:
            self._handler.client_away()

    def _back(self) -> None:
        if self._handler is not None:
            self._handler.client_back()

    def _serve(self, websocket: WebSocket) -> None:
        self._handler = RequestHandler(self._target, self._files)
        self._carrier = Carrier(websocket, on_dropped=self._dropped)
        self._presence.there(self._carrier)
        channel = Channel(self._carrier, client=False, handler=self._handler)
        self._channel = channel
        channel.closed.add_done_callback(
            lambda closed: self._finish(f"the client is gone: {closed.result()}")
        )
        self._handler.start(channel)
        channel.start()

    async def _drained(self) -> None:
        """Let slow peers take what the client's programs wrote before they ended, as a kernel does for a
        process that is gone; and the target's clients have what was begun for them.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                if self._handler is not None:
                    await self._handler.drained()
                while draining:
                    await asyncio.sleep(_LINGER_TICK)


async def serve(
    target: Target,
    keys: Keys,
    listeners: Sequence[Listener],
    *,
    ready: str,
    patience: float,
    until_stdin_closes: bool,
) -> str:
    """Run an agent to its end and return why it ended; raise AgentError."""
    agent = Agent(target, keys, listeners, patience=patience)
    return await agent.run(ready=ready, until_stdin_closes=until_stdin_closes)
