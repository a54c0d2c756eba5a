"""The carrier: messages in order, each exactly once, over websockets that may break and be replaced.

Each side numbers what it sends by counting, keeps it until the other side has said how many messages have
arrived (an ACK, every RECEIPT bytes), and sends the rest again on the next websocket. Both say in that one's
handshake how many they have. A goodbye ends the carrier; a websocket that ends without one is *dropped*, and
whoever owns the carrier brings another or gives up.
"""

import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from mirrord_agent.wire.errors import WireError
from mirrord_agent.wire.frames import ACK
from mirrord_agent.wire.websocket import Message, WebSocket

RECEIPT: Final = 256 * 1024
"""Bytes after which the other side is told that they have arrived."""
MOST_KEPT: Final = 16 * 1024 * 1024
"""Bytes that may wait for their ACK before everybody is told to pause."""
MOST: Final = 64 * 1024 * 1024
"""The same, with what does not pause; then the carrier ends."""
_OVERHEAD: Final = 64
"""Bytes that a message counts beyond its own: many small ones take room, too."""
_ACK: Final = struct.Struct("!BQ")


class Carrier:
    """One side of a link; used on its event loop only. It stands for the websocket of a channel."""

    def __init__(self, websocket: WebSocket, *, on_dropped: Callable[[str], None]) -> None:
        """Take an open websocket, whose peer has proved itself; ``on_dropped`` is told why it broke."""
        self.loop: Final = websocket.loop
        self.reason: str | None = None
        """Why the link ended, None while it has not, even if it is dropped now."""
        self.on_lost: Callable[[str], None] | None = None
        self.on_resumed: Callable[[], None] | None = None
        self.received: int = 0
        """Messages of the other side so far."""
        self.bytes_sent: int = 0
        self._bytes_received: int = 0
        """Through earlier websockets."""
        self._on_dropped: Final = on_dropped
        self._on_message: Callable[[Message], None] | None = None
        self._kept: Final[deque[Message]] = deque()
        """What the other side is not known to have."""
        self._kept_bytes: int = 0
        self._acknowledged: int = 0
        """Messages that the other side is known to have."""
        self._unreceipted: int = 0
        self._websocket: WebSocket = websocket
        self._connected: bool = True
        self._hook()

    @property
    def connected(self) -> bool:
        """There is a websocket that has not ended."""
        return self._connected

    @property
    def busy(self) -> bool:
        """More waits than should: for the network, for the other side's ACK, or for another websocket."""
        return not self._connected or self._websocket.busy or self._kept_bytes > MOST_KEPT

    @property
    def round_trip(self) -> float | None:
        """Seconds that the last answered :meth:`measure` took."""
        return self._websocket.round_trip

    @property
    def bytes_received(self) -> int:
        """Bytes that have arrived, repeated ones too."""
        return self._bytes_received + self._websocket.bytes_received

    def measure(self) -> None:
        """Ask for a sign of life, by whose coming :attr:`round_trip` is known."""
        self._websocket.measure()

    def start(self, on_message: Callable[[Message], None]) -> None:
        """Give every message to ``on_message`` from now on."""
        self._on_message = on_message
        self._begin()

    def send(self, message: Message) -> None:
        """Send one message, which must not change; none once the link has ended."""
        if self.reason is not None:
            return
        self._kept.append(message)
        self._kept_bytes += len(message) + _OVERHEAD
        self.bytes_sent += len(message)
        if self._connected:
            self._websocket.send(message)
        if self._kept_bytes > MOST:
            self.close("the other side does not take what is sent to it")

    def resume(self, websocket: WebSocket, *, received: int) -> None:
        """Go on with another websocket, whose peer has ``received`` messages; raise WireError if it cannot.

        That peer must have been told :attr:`received` in the same step.
        """
        self.check(received)
        self._websocket.on_lost = self._websocket.on_resumed = None
        self._websocket.abort("another connection has taken its place")
        self._bytes_received += self._websocket.bytes_received
        self._forget(received)
        self._websocket = websocket
        self._connected = True
        self._unreceipted = 0
        self._hook()
        for message in self._kept:
            websocket.send(message)
        self._begin()
        self._go_on()

    def check(self, received: int) -> None:
        """Raise WireError unless the other side can have received so many messages."""
        if self.reason is not None:
            raise WireError(f"the session has ended: {self.reason}")
        if not self._acknowledged <= received <= self._acknowledged + len(self._kept):
            raise WireError("the two sides do not agree on what has arrived")

    def close(self, reason: str) -> None:
        """Say goodbye and end the link; ``reason`` is what our side is told."""
        if self._connected:
            self._websocket.close(reason)
        self._end(reason)

    async def wait_closed(self) -> None:
        """Wait until what was sent has left and the connection is closed."""
        await self._websocket.wait_closed()

    # What the websocket calls.

    def _hook(self) -> None:
        self._websocket.on_lost = self._lost
        self._websocket.on_resumed = self._go_on

    def _begin(self) -> None:
        if self._websocket.reason is not None:
            # it has ended before anybody listened
            self._lost(self._websocket.reason)
        elif self._on_message is not None:
            self._websocket.start(self._take)

    def _take(self, message: Message) -> None:
        if message[:1] == ACK:
            self._take_ack(message)
            return
        self.received += 1
        self._unreceipted += len(message) + _OVERHEAD
        if self._unreceipted >= RECEIPT:
            self._unreceipted = 0
            self._websocket.send(_ACK.pack(ACK[0], self.received))
        if self._on_message is not None:
            self._on_message(message)

    def _take_ack(self, message: Message) -> None:
        try:
            self._acknowledge(message)
        except WireError as error:
            self.close(f"the other side broke the protocol: {error}")

    def _acknowledge(self, message: Message) -> None:
        if len(message) != _ACK.size:
            raise WireError(f"an ACK of {len(message)} bytes")
        waited = self.busy
        received = _ACK.unpack(message)[1]
        self.check(received)
        self._forget(received)
        if waited:
            self._go_on()

    def _forget(self, received: int) -> None:
        """Keep no longer what has arrived."""
        for _ in range(received - self._acknowledged):
            self._kept_bytes -= len(self._kept.popleft()) + _OVERHEAD
        self._acknowledged = received

    def _go_on(self) -> None:
        if not self.busy and self.on_resumed is not None:
            self.on_resumed()

    def _lost(self, reason: str) -> None:
        self._connected = False
        if self._websocket.dropped and self.reason is None:
            self._on_dropped(reason)
        else:
            self._end(reason)

    def _end(self, reason: str) -> None:
        if self.reason is not None:
            return
        self.reason = reason
        self._kept.clear()
        self._kept_bytes = 0
        if self.on_lost is not None:
            self.on_lost(reason)
