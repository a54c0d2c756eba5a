"""A websocket as an asyncio protocol: the rules are the ``websockets`` package's, reading and writing ours.

``websockets``' own asyncio connection awaits once or more per message; here a message is one call
(``binary.py``), and what is written in one turn of the event loop leaves in one system call.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from mirrord_agent.wire.binary import Cutter, Message, pack
from mirrord_agent.wire.errors import ChannelClosed
from mirrord_agent.wire.frames import MAX_FRAME

__all__ = ["Message", "WebSocket"]
PING_INTERVAL: Final = 2.0
"""Seconds between two pings; the link is given up after SILENCE without a sign of life."""
SILENCE: Final = 30.0
BUSY: Final = 1024 * 1024
"""Bytes that may wait to be written before everybody is told to pause; resumed at a quarter."""
MOST: Final = 64 * 1024 * 1024
"""Bytes that may wait to be written, what does not pause included; then the link is given up."""
FIRST_MESSAGES: Final = 4096
"""Bytes of the longest message before the peer has proved itself."""
UNPROVED: Final = 64 * 1024
"""Bytes that are read of a peer in all before that: the upgrade, two messages, and what nobody answers."""
_CLOSED: Final = "the other side closed the connection"
_FLUSH: Final = 128 * 1024
_READ: Final = 256 * 1024
_RECORD: Final = 16 * 1024
"""Bytes of the longest TLS record (RFC 8446, 5.1): what fits one is encrypted, sent and read as one."""
_URI: Final = "ws://mirrord-agent/"
_CLOCK: Final = struct.Struct("!d")
"""The time in a ping that measures, which its pong repeats (RFC 6455, 5.5.3)."""


class WebSocket(asyncio.BufferedProtocol):
    """One websocket connection, on either side; used on its event loop only.

    Until ``on_message`` is set messages are for :meth:`receive`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        client: bool,
        uri: str = _URI,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``uri`` and ``headers`` are what a client asks for, where something on the way reads them."""
        self.loop: Final = loop
        self.busy: bool = False
        """More waits to be written than should."""
        self.reason: str | None = None
        """Why the connection ended, None while it has not."""
        self.dropped: bool = False
        """It ended without a goodbye of either side, as where the way between them breaks."""
        self.on_message: Callable[[Message], None] | None = None
        self.on_lost: Callable[[str], None] | None = None
        self.on_resumed: Callable[[], None] | None = None
        self.refusal: int | None = None
        """The HTTP status with which a client was not let in."""
        self.round_trip: float | None = None
        """Seconds that the last answered :meth:`measure` took."""
        self.bytes_sent: int = 0
        self.bytes_received: int = 0
        """Of messages, and of everything that arrives."""
        self._protocol: Final[ClientProtocol | ServerProtocol] = (
            ClientProtocol(parse_uri(uri), max_size=FIRST_MESSAGES)
            if client
            else ServerProtocol(max_size=FIRST_MESSAGES)
        )
        self._client: Final = client
        self._most: int = FIRST_MESSAGES
        """Bytes of the longest message that is taken."""
        self._proved: bool = False
        self._headers: Final = headers or {}
        self._transport: asyncio.Transport | None = None
        self._buffer: memoryview = memoryview(bytearray(_READ))
        self._cutter: Final = Cutter(masked=not client)
        self._fragments: list[Message] = []
        self._messages: Final[deque[Message]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._written: list[bytes] = []
        self._unflushed: int = 0
        self._flush_due: bool = False
        self._heard: float = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ended: Final = loop.create_future()

    # What the owner calls.

    async def opened(self) -> None:
        """Wait for the end of the opening handshake; raise ChannelClosed if the connection ends instead."""
        while self._protocol.state is State.CONNECTING:
            await self._wait()

    async def receive(self) -> Message:
        """Return the next message, as long as ``on_message`` is not set; raise ChannelClosed at the end."""
        while not self._messages:
            await self._wait()
        message = self._messages.popleft()
        if not self._messages and self._transport is not None:
            self._transport.resume_reading()
        return message

    def prove(self) -> None:
        """Let messages be as long as a frame may be: the peer has proved itself."""
        self._proved = True
        self._most = self._protocol.max_message_size = MAX_FRAME

    def start(self, on_message: Callable[[Message], None]) -> None:
        """Give every message to ``on_message`` from now on, those that wait first."""
        self.on_message = on_message
        while self._messages:
            on_message(self._messages.popleft())
        if self._transport is not None and self.reason is None:
            self._transport.resume_reading()

    def send(self, message: Message) -> None:
        """Send one message by the end of this turn of the event loop; none once the connection has ended."""
        if self.reason is not None or self._protocol.state is not State.OPEN:
            return
        self._written.append(pack(message, masked=self._client))
        self.bytes_sent += len(message)
        self._unflushed += len(message)
        if self._unflushed >= _FLUSH:
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def close(self, reason: str, *, code: int = 1000) -> None:
        """Say goodbye and end the connection; ``reason`` is what our side is told."""
        if self.reason is not None:
            return
        if self._protocol.state is State.OPEN:
            # a close frame carries at most 123 bytes of text (RFC 6455, 5.5)
            self._protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
        self._flush()
        self._end(reason)

    def abort(self, reason: str) -> None:
        """End the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    async def wait_closed(self) -> None:
        """Wait until the transport is closed and what was written has left."""
        await asyncio.shield(self._ended)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a client asks for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)
        if self.reason is not None:
            # it was given up before there was a transport to close
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=BUSY, low=BUSY // 4)
        self._heard = self.loop.time()
        self._timer = self.loop.call_later(PING_INTERVAL, self._ping)
        if isinstance(self._protocol, ClientProtocol):
            request = self._protocol.connect()
            request.headers.update(self._headers)
            self._protocol.send_request(request)
            self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self._heard = self.loop.time()
        self.bytes_received += nbytes
        if not self._proved and self.bytes_received > UNPROVED:
            self._fail("the other side sent too much before it had proved itself")
            return
        # what is sent in answer leaves at the end of this, together
        self._flush_due = True
        if self._protocol.state is State.OPEN:
            self._take(self._buffer[:nbytes])
        else:
            # a peer waits for the end of the upgrade before it sends anything else (RFC 6455, 4.1)
            self._judge(self._buffer[:nbytes])
        if self.reason is not None:
            return
        self._flush()
        if self._protocol.close_expected() or self._protocol.state is State.CLOSED:
            self._peer_closed()

    def eof_received(self) -> bool:
        """Take the end of the peer's bytes: it died or has closed."""
        self._drop(_CLOSED)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the transport."""
        broke = exc is not None and not isinstance(exc, ConnectionResetError | BrokenPipeError)
        self._drop(f"the connection broke: {exc}" if broke else _CLOSED)
        self._transport = None
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Tell everybody to pause."""
        self.busy = True

    def resume_writing(self) -> None:
        """Let everybody go on."""
        self.busy = False
        if self.on_resumed is not None:
            self.on_resumed()

    # The rest.

    def _take(self, data: memoryview) -> None:
        for piece, is_message in self._cutter.cut(data, self._fragments, at_most=self._most):
            if self.reason is not None or self._protocol.state is not State.OPEN:
                # nothing counts that comes behind a goodbye or a fault
                return
            if is_message:
                self._message(piece)
            else:
                self._judge(piece)
            # let go of it before the next one is made: room for one long message is used again and again
            del piece

    def _judge(self, data: Message) -> None:
        """Have the package say what that is, and what follows from it."""
        self._protocol.receive_data(cast(bytes, data))
        for event in self._protocol.events_received():
            if self.reason is not None:
                return
            if isinstance(event, Frame):
                self._frame(event)
            else:
                self._upgrade(event)

    async def _wait(self) -> None:
        if self.reason is not None:
            raise ChannelClosed(self.reason)
        self._waiter = self.loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _upgrade(self, event: Request | Response) -> None:
        if isinstance(self._protocol, ServerProtocol) and isinstance(event, Request):
            self._protocol.send_response(self._protocol.accept(event))
            self._flush()
        if self._protocol.handshake_exc is not None:
            if isinstance(event, Response):
                self.refusal = event.status_code
            self._fail(f"the websocket was refused: {self._protocol.handshake_exc}")
        self._wake()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
            if frame.fin and not self._fragments:
                self._message(frame.data)
                return
            self._fragments.append(frame.data)
            if frame.fin:
                message, self._fragments = b"".join(self._fragments), []
                self._message(message)
        elif frame.opcode is Opcode.PONG and len(frame.data) == _CLOCK.size:
            self.round_trip = self.loop.time() - _CLOCK.unpack(frame.data)[0]
        elif frame.opcode is Opcode.TEXT:
            self.close("the other side sent a text message", code=1003)

    def _message(self, message: Message) -> None:
        if self.on_message is not None:
            self.on_message(message)
            return
        self._messages.append(message)
        if self._transport is not None:
            # nobody floods us before the handshake is done: what was read is at most one buffer
            self._transport.pause_reading()
        self._wake()

    def _flush(self) -> None:
        self._flush_due = False
        self._unflushed = 0
        written, self._written = self._written, []
        writes = [*written, *self._protocol.data_to_send()]
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if writes and not writes[-1]:
            # the empty piece means "end of stream"; the transport is closed by who asked for that
            writes.pop()
        if not writes:
            return
        if sum(map(len, writes)) <= _RECORD:
            transport.write(b"".join(writes))
        else:
            transport.writelines(writes)
        if transport.get_write_buffer_size() > MOST:
            self._fail("the other side does not read what is sent to it")

    def measure(self) -> None:
        """Ask for a sign of life, by whose coming :attr:`round_trip` is known."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(_CLOCK.pack(self.loop.time()))
            self._flush()

    def _ping(self) -> None:
        silence = self.loop.time() - self._heard
        if silence >= SILENCE:
            self._drop(f"no sign of life from the other side for {silence:.0f} s")
            if self._transport is not None:
                self._transport.abort()
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()
        self._timer = self.loop.call_later(PING_INTERVAL, self._ping)

    def _peer_closed(self) -> None:
        self._flush()
        self._end(self._explain(_CLOSED))

    def _explain(self, otherwise: str) -> str:
        """Return the most telling reason that is known."""
        protocol = self._protocol
        if isinstance(protocol.parser_exc, ProtocolError | InvalidHandshake):
            return f"the other side broke the websocket protocol: {protocol.parser_exc}"
        if protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            return str(protocol.parser_exc)
        if protocol.close_rcvd is not None and protocol.close_rcvd.reason:
            return protocol.close_rcvd.reason
        return otherwise

    def _drop(self, reason: str) -> None:
        protocol = self._protocol
        if self.reason is None:
            self.dropped = protocol.close_rcvd is None and protocol.parser_exc is None
        self._end(self._explain(reason))

    def _fail(self, reason: str) -> None:
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        if self.reason is not None:
            return
        self.reason = reason
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
        self._wake()
        if self.on_lost is not None:
            self.on_lost(reason)
