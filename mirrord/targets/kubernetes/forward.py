"""The connection to an agent through the API server: ``pods/portforward`` on a websocket.

The protocol is ``v4.channel.k8s.io``: each message begins with a channel's number. Of one forwarded port,
channel 0 is the data and channel 1 what went wrong; the first message of each repeats the port
(``k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go``). It has no half close, and needs none: what
travels inside is a websocket again.
"""

import asyncio
import urllib.parse
from typing import Final

from kubernetes.aio.client import Configuration
from mirrord_agent.wire.errors import ChannelClosed
from mirrord_agent.wire.websocket import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from mirrord.errors import LinkError, MirrordError, TargetError
from mirrord.targets.kubernetes.access import Access

_PROTOCOL: Final = Subprotocol("v4.channel.k8s.io")
_FORBIDDEN: Final = 403
_DATA: Final = 0
_PIECE: Final = 128 * 1024
"""Bytes of one message at most."""


async def forwarded(access: Access, namespace: str, pod: str, port: int) -> WebSocket:
    """Connect to a port on the loopback of a pod's network; raise LinkError or TargetError."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
    try:
        outer = await _let_in(access, f"{path}?ports={port}")
    except InvalidStatus as error:
        raise _refused(error, namespace) from error
    except (OSError, WebSocketException, TimeoutError) as error:
        raise LinkError(f"the agent cannot be reached through the API server: {error}") from error
    websocket = WebSocket(asyncio.get_running_loop(), client=True)
    ForwardedConnection(outer, websocket).begin()
    try:
        await websocket.opened()
    except ChannelClosed as error:
        raise LinkError(error.reason) from error
    except BaseException:
        websocket.abort("it was not opened")
        raise
    return websocket


def _refused(error: InvalidStatus, namespace: str) -> MirrordError:
    response = error.response
    if response.status_code == _FORBIDDEN:
        return TargetError(
            f"you are not allowed to create pods/portforward in the namespace {namespace}",
            remedy="ask for the verbs `get` and `create` on `pods/portforward` "
            "(docs/rbac.yaml has the rules)",
        )
    text = (response.body or b"").decode(errors="replace")[:300]
    return LinkError(f"the API server refused to forward to the agent: {response.status_code} {text}")


async def _let_in(access: Access, path: str) -> ClientConnection:
    """Connect, once more where other credentials are to be had; raise what :func:`_connect` does."""
    try:
        return await _connect(access, path)
    except InvalidStatus as error:
        if not access.is_renewed_after(error.response.status_code):
            raise
    return await _connect(access, path)


async def _connect(access: Access, path: str) -> ClientConnection:
    settings: Configuration = access.configuration
    url = urllib.parse.urlsplit(f"{settings.host}{path}")
    secure = url.scheme == "https"
    return await connect(
        url._replace(scheme="wss" if secure else "ws").geturl(),
        ssl=access.client.rest_client.ssl_context if secure else None,
        server_hostname=settings.tls_server_name if secure else None,
        additional_headers=await access.headers(path),
        subprotocols=[_PROTOCOL],
        compression=None,
        max_size=None,
        # the link has its own
        ping_interval=None,
        proxy=settings.proxy or True,
    )


class ForwardedConnection(asyncio.Transport):
    """A transport for the link's protocol whose bytes travel in a websocket's messages."""

    def __init__(self, websocket: ClientConnection, protocol: asyncio.BufferedProtocol) -> None:
        super().__init__()
        self._websocket: Final = websocket
        self._protocol: Final = protocol
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final = bytearray()
        """What is to be sent."""
        self._more: Final = asyncio.Event()
        self._may_read: Final = asyncio.Event()
        self._may_read.set()
        self._high, self._low = 64 * 1024, 16 * 1024
        self._paused = False
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Hand ourselves to the protocol, and start."""
        self._protocol.connection_made(self)
        self._tasks = [self._loop.create_task(self._read()), self._loop.create_task(self._write())]

    # What the protocol calls.

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the protocol is told to pause and to go on."""
        self._high = high if high is not None else self._high
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return len(self._waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, soon."""
        if self._closing:
            return
        self._waiting.extend(data)
        self._more.set()
        if len(self._waiting) > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def pause_reading(self) -> None:
        """Stop giving what arrives."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Go on giving what arrives."""
        self._may_read.set()

    def is_closing(self) -> bool:
        """Tell whether it is closed, or about to be."""
        return self._closing

    def close(self) -> None:
        """Close, once what waits has been sent."""
        self._closing = True
        self._may_read.set()
        self._more.set()

    def abort(self) -> None:
        """Close at once."""
        self._waiting.clear()
        self.close()

    # The work.

    async def _read(self) -> None:
        problem: Exception | None = None
        greeted: set[int] = set()
        try:
            async for received in self._websocket:
                if not isinstance(received, bytes) or not received:
                    continue
                channel = received[0]
                if channel not in greeted:
                    greeted.add(channel)
                elif channel == _DATA:
                    await self._may_read.wait()
                    self._give(memoryview(received)[1:])
                else:
                    said = received[1:].decode(errors="replace").strip()
                    problem = ConnectionError(f"the node could not reach the agent: {said}")
                    break
        except ConnectionClosed as closed:
            problem = ConnectionError(f"the API server closed the connection: {closed}")
        self._ended(problem)

    def _give(self, data: memoryview) -> None:
        while data and not self._closing:
            buffer = memoryview(self._protocol.get_buffer(len(data)))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self._protocol.buffer_updated(size)
            data = data[size:]

    async def _write(self) -> None:
        try:
            while not (self._closing and not self._waiting):
                await self._more.wait()
                self._more.clear()
                while self._waiting:
                    piece = bytes(memoryview(self._waiting)[:_PIECE])
                    del self._waiting[: len(piece)]
                    await self._websocket.send(b"\0" + piece)
                    self._resume()
        except ConnectionClosed:
            # the reading side says why
            return
        await self._websocket.close()

    def _resume(self) -> None:
        if self._paused and len(self._waiting) <= self._low:
            self._paused = False
            self._protocol.resume_writing()

    def _ended(self, problem: Exception | None) -> None:
        ours, self._closing = self._closing, True
        self._more.set()
        if not ours and problem is None:
            self._protocol.eof_received()
        self._protocol.connection_lost(None if ours else problem)
