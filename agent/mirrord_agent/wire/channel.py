"""The channel: requests, streams and events over one link; both sides use this class.

The supervisor allocates odd stream ids, the agent even ones. Nothing here waits per frame: a frame that
arrives is one call of its stream, a frame that is sent joins what leaves at the end of this turn of the event
loop.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeVar, overload

from mirrord_agent.wire import messages
from mirrord_agent.wire.errors import ChannelClosed, HandshakeError, RequestFailed, StreamReset, WireError
from mirrord_agent.wire.frames import (
    Data,
    Frame,
    FrameError,
    Kind,
    RequestId,
    StreamId,
    decode,
    decode_number,
    encode,
    encode_number,
)
from mirrord_agent.wire.messages import (
    Event,
    Failed,
    Message,
    MessageError,
    Reply,
    Request,
)
from mirrord_agent.wire.pending import Pending
from mirrord_agent.wire.reader import Reader
from mirrord_agent.wire.serving import Handler, Serving
from mirrord_agent.wire.stream import WINDOW, Stream
from mirrord_agent.wire.websocket import Message as Bytes

__all__ = [
    "WINDOW",
    "Asked",
    "Channel",
    "ChannelClosed",
    "Data",
    "Handler",
    "HandshakeError",
    "Reader",
    "RequestFailed",
    "Stream",
    "StreamReset",
    "WireError",
]
_SPARE_WINDOW: Final = 32 * 1024 * 1024
"""Bytes that all streams together may have under way beyond the first window of each."""
_LAST_ID: Final = 2**32 - 1
_R = TypeVar("_R", bound=Message)
_E = TypeVar("_E", bound=Message)


class Traffic(NamedTuple):
    """Bytes each way, and seconds for a round trip, None before one was measured."""

    sent: int
    received: int
    round_trip: float | None


class Asked(NamedTuple):
    """A request that has been sent."""

    request: Request
    id: RequestId
    future: "asyncio.Future[Reply]"


class Socket(Protocol):
    """What a channel sends its frames through: a :class:`Carrier`, or a bare :class:`WebSocket`."""

    on_lost: Callable[[str], None] | None
    on_resumed: Callable[[], None] | None
    reason: str | None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it is used on."""

    @property
    def busy(self) -> bool:
        """More waits to be sent than should; ``on_resumed`` is called when it does no longer."""

    @property
    def bytes_sent(self) -> int:
        """Of messages."""

    @property
    def bytes_received(self) -> int:
        """Of everything."""

    @property
    def round_trip(self) -> float | None:
        """Seconds that the last answered :meth:`measure` took."""

    def start(self, on_message: Callable[[Bytes], None]) -> None:
        """Give every message to ``on_message`` from now on."""

    def send(self, message: Bytes) -> None:
        """Send one message."""

    def measure(self) -> None:
        """Ask for a round trip."""

    def close(self, reason: str) -> None:
        """Say goodbye and end."""

    async def wait_closed(self) -> None:
        """Wait until what was sent has left and the connection is closed."""


class Channel:
    """One established link; used on its event loop only.

    ``closed`` is done, with the reason as its result, when the link is gone.
    """

    def __init__(self, socket: Socket, *, client: bool, handler: Handler | None = None) -> None:
        self.loop: Final = socket.loop
        self.closed: Final[asyncio.Future[str]] = socket.loop.create_future()
        self.blocked: Final[dict[Stream, None]] = {}
        """Streams that were told to wait because the link is busy, in the order to go on."""
        self.streams_opened: int = 0
        self.scratch: Final = memoryview(bytearray(WINDOW))
        """Where sockets are received into, just before it is sent."""
        self._spare_window: int = _SPARE_WINDOW
        self._socket: Final = socket
        self._client: Final = client
        self._streams: Final[dict[int, Stream]] = {}
        self._next_stream: int = 1 if client else 2
        self._highest: int = 0
        """Of the other side's streams, the highest id so far."""
        self._on_event: Final[dict[type[Message], Callable[[Any], None]]] = {}
        self._pending: Final = Pending(socket.loop)
        self._serving: Final = Serving(self, handler)
        self._resumed: asyncio.Future[None] | None = None
        socket.on_lost = self._lost
        socket.on_resumed = self._go_on

    def start(self) -> None:
        """Begin to take frames."""
        if self._socket.reason is not None:
            self._lost(self._socket.reason)
        else:
            self._socket.start(self._receive)

    @property
    def busy(self) -> bool:
        """More waits to be sent than should: streams have no credit until it has left."""
        return self._socket.busy

    @property
    def reason(self) -> str | None:
        """Why the channel closed, None while it has not."""
        return self._socket.reason

    @property
    def traffic(self) -> Traffic:
        """What went over the link so far, and how long the way is; asks for a new measurement."""
        socket = self._socket
        socket.measure()
        return Traffic(socket.bytes_sent, socket.bytes_received, socket.round_trip)

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""
        return len(self._streams)

    @property
    def requests_served(self) -> int:
        """Requests of the other side that have no reply yet."""
        return len(self._serving)

    # Requests.

    @overload
    async def request(self, request: Request) -> Reply: ...

    @overload
    async def request(self, request: Request, expect: type[_R]) -> _R: ...

    async def request(self, request: Request, expect: type[Message] = Message) -> Message:
        """Send a request and return its reply, which is an ``expect``.

        Cancelling this cancels the work on the other side. Raise RequestFailed with the target's errno, or
        ChannelClosed.
        """
        return await self.reply(self.ask(request), expect)

    def ask(self, request: Request) -> "Asked":
        """Send a request, whose :meth:`reply` is waited for after; raise ChannelClosed."""
        if self.reason is not None:
            raise ChannelClosed(self.reason)
        id, future = self._pending.begin()
        self.send(Kind.REQUEST, id, messages.encode(request))
        if isinstance(request, messages.StreamRequest):
            self._announce(request.stream)
        return Asked(request, id, future)

    async def reply(self, asked: "Asked", expect: type[_R]) -> _R:
        """Return the reply to what was asked; as :meth:`request`."""
        try:
            reply = await asked.future
        except asyncio.CancelledError:
            if self._pending.drop(asked.id):
                self.send(Kind.CANCEL, asked.id)
            raise
        if isinstance(reply, Failed):
            raise RequestFailed(reply.errno, reply.reason)
        if not isinstance(reply, expect):
            self.close(f"the reply to {asked.request.type} was {reply.type}")
            raise ChannelClosed(self.reason or "")
        return reply

    def _announce(self, id: int) -> None:
        stream = self._streams.get(id)
        if stream is not None:
            stream.announce()

    # Events.

    def on_event(self, kind: type[_E], handler: Callable[[_E], None]) -> None:
        """Say what is called for each event of a kind; events that nobody waits for are ignored."""
        self._on_event[kind] = handler

    def emit(self, event: Event) -> None:
        """Send an event; if it opens a stream, what was written there before follows."""
        self.send(Kind.EVENT, 0, messages.encode(event))
        if isinstance(event, messages.StreamEvent):
            self._announce(event.stream)

    # Streams.

    def open_stream(self) -> Stream:
        """Allocate a stream, to be opened by a request or an event that names it. On a closed channel it is
        reset.
        """
        return self._open(datagrams=False)

    def open_datagram_stream(self) -> Stream:
        """Allocate a stream for OpenUdp: each write is a datagram."""
        return self._open(datagrams=True)

    def _open(self, *, datagrams: bool) -> Stream:
        id = StreamId(self._next_stream)
        self._next_stream += 2
        if self._next_stream > _LAST_ID:
            self.close("out of stream ids")
        stream = Stream(self, id, announced=False, datagrams=datagrams)
        self._add(stream)
        return stream

    def stream(self, id: int) -> Stream:
        """Return the stream that the request or event at hand has opened; KeyError if it was reset since."""
        return self._streams[id]

    def accept(self, id: int, *, datagrams: bool) -> None:
        """Take the other side's new stream; raise WireError; for Serving and events."""
        if id % 2 == self._client:
            raise WireError(f"stream {id} opened by the side that it does not belong to")
        if id in self._streams:
            raise WireError(f"stream {id} opened twice")
        self._highest = max(self._highest, id)
        self._add(Stream(self, StreamId(id), announced=True, datagrams=datagrams))

    def give_up(self, id: int) -> None:
        """Reset a stream whose request failed, if it is still there; for Serving."""
        if (stream := self._streams.get(id)) is not None:
            stream.reset()

    def _add(self, stream: Stream) -> None:
        if self.reason is not None:
            stream.closed = True
            return
        self._streams[stream.id] = stream
        self.streams_opened += 1

    def forget(self, stream: Stream) -> None:
        """Drop a stream that is closed; for Stream."""
        if self._streams.pop(stream.id, None) is not None:
            self._spare_window += stream.grown
        self.blocked.pop(stream, None)

    def take_window(self, wanted: int) -> int:
        """Return ``wanted`` if streams may have so much more under way, else 0; for Stream."""
        if wanted > self._spare_window:
            return 0
        self._spare_window -= wanted
        return wanted

    # Sending.

    def send(self, kind: Kind, id: int, payload: Data = b"") -> None:
        """Send a frame."""
        self._socket.send(encode(kind, id, payload))

    def send_number(self, kind: Kind, id: int, value: int) -> None:
        """Send a CREDIT or RESET frame."""
        self._socket.send(encode_number(kind, id, value))

    async def drained(self) -> None:
        """Wait while the link is busy; raise ChannelClosed."""
        while self.busy and self.reason is None:
            if self._resumed is None:
                self._resumed = self.loop.create_future()
            await asyncio.shield(self._resumed)
        if self.reason is not None:
            raise ChannelClosed(self.reason)

    def _go_on(self) -> None:
        if self._resumed is not None:
            self._resumed.set_result(None)
            self._resumed = None
        blocked = list(self.blocked)
        self.blocked.clear()
        for stream in blocked:
            stream.writable()

    def close(self, reason: str) -> None:
        """Close the link; everything that waits fails with ``reason``."""
        self._socket.close(reason)

    async def wait_closed(self) -> None:
        """Wait until what was sent has left and the connection is closed."""
        await self._socket.wait_closed()

    def _lost(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self._pending.fail(reason)
        self._serving.stop()
        for stream in list(self._streams.values()):
            stream.receive_reset(0)
        if self._resumed is not None:
            self._resumed.set_result(None)
            self._resumed = None

    # Receiving.

    def _receive(self, message: Data) -> None:
        if self.reason is not None:
            return
        try:
            self._take(decode(message))
        except (FrameError, MessageError, WireError) as error:
            self.close(f"the other side broke the protocol: {error}")

    def _take(self, frame: Frame) -> None:
        kind = frame.kind
        if kind is Kind.DATA or kind >= Kind.FIN:
            stream = self._streams.get(frame.id)
            if stream is None:
                self._check_was_open(frame)
            elif kind is Kind.DATA:
                stream.receive_data(frame.payload)
            elif kind is Kind.CREDIT:
                stream.receive_credit(decode_number(frame))
            elif kind is Kind.FIN:
                stream.receive_fin()
            else:
                stream.receive_reset(_errno(decode_number(frame)))
        elif kind is Kind.REPLY:
            self._pending.take(frame)
        elif kind is Kind.REQUEST:
            self._serving.take(frame)
        elif kind is Kind.CANCEL:
            self._serving.cancel(frame.id)
        else:
            self._take_event(messages.decode_event(frame.payload))

    def _take_event(self, event: Event) -> None:
        if isinstance(event, messages.StreamEvent):
            self.accept(event.stream, datagrams=False)
        if (handler := self._on_event.get(type(event))) is not None:
            handler(event)
        elif isinstance(event, messages.StreamEvent):
            self.give_up(event.stream)

    def _check_was_open(self, frame: Frame) -> None:
        """Ignore what was under way to a stream closed here; raise WireError if there never was one."""
        ours = frame.id % 2 == self._client
        if frame.id == 0 or frame.id >= self._next_stream if ours else frame.id > self._highest:
            raise WireError(f"a {frame.kind.name} frame for stream {frame.id}, which was never opened")


def _errno(number: int) -> int:
    if number > 4095:
        raise WireError(f"a reset with errno {number}")
    return number
