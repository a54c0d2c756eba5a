"""An agent of the tests: it speaks the frames of the wire to a real channel, without any socket."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar, cast

from mirrord_agent.wire import messages
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.frames import Kind, decode, decode_number, encode, encode_number
from mirrord_agent.wire.messages import Attributes, Message, Reply, Request
from mirrord_agent.wire.websocket import WebSocket

from mirrord.link.lead import Lead

T = TypeVar("T")
PATIENCE: Final = 10.0


async def until(condition: Callable[[], T]) -> T:
    """Return the first true value of ``condition``, asked again at each turn of the event loop."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):
            await asyncio.sleep(0)
    return value


class Wire:
    """Stands for the websocket of the channel."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None]) -> None:
        self.loop: Final = loop
        self.busy = False
        self.reason: str | None = None
        self.on_lost: Callable[[str], None] = lambda reason: None
        self.on_resumed: Callable[[], None] = lambda: None
        self.receive: Callable[[bytes], None] = lambda frame: None
        self.send: Final = take

    def start(self, receive: Callable[[bytes], None]) -> None:
        self.receive = receive

    def close(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            self.on_lost(reason)


class FakeAgent:
    """Takes requests; ``answer`` replies to one at once, or gives None and the test replies later."""

    def __init__(self) -> None:
        self._wire: Final = Wire(asyncio.get_running_loop(), self._take)
        self.channel: Final = Channel(cast("WebSocket", self._wire), client=True)
        self.channel.start()
        self.lead: Final = Lead(self.channel)
        self.requests: Final[list[tuple[int, Request]]] = []
        self.cancelled: Final[list[int]] = []
        self.data: Final[dict[int, list[bytes]]] = {}
        self.resets: Final[list[int]] = []
        self.lists = False
        """Whether the test answers listings that are asked for because of one name; else none is watched."""
        self.answer: Callable[[Request], Reply | None] = lambda request: None

    def asked(self, kind: type[T]) -> list[T]:
        """Return the requests of one kind so far."""
        return [request for _, request in self.requests if isinstance(request, kind)]

    async def request(self, number: int = 0) -> tuple[int, Request]:
        """Wait for a request, the first one or a later one; return its id and itself."""
        await until(lambda: len(self.requests) > number)
        return self.requests[number]

    def reply(self, id: int, message: Reply) -> None:
        """Reply to a request."""
        self._send(encode(Kind.REPLY, id, messages.encode(cast("Message", message))))

    def fail(self, id: int, number: int) -> None:
        """Reply with an errno."""
        self.reply(id, messages.Failed(errno=number))

    def content(self, stream: int, *pieces: bytes) -> None:
        """Send the whole content of a stream."""
        for piece in pieces:
            self._send(encode(Kind.DATA, stream, piece))
        self._send(encode(Kind.FIN, stream))

    def datagram(self, stream: int, data: bytes) -> None:
        """Send one datagram."""
        self._send(encode(Kind.DATA, stream, data))

    def emit(self, event: messages.Event) -> None:
        """Send an event."""
        self._send(encode(Kind.EVENT, 0, messages.encode(event)))

    def reset(self, stream: int, number: int = 0) -> None:
        """Reset a stream."""
        self._send(encode_number(Kind.RESET, stream, number))

    def lose(self) -> None:
        """Lose the link."""
        self._wire.close("lost in a test")

    def _send(self, frame: bytes) -> None:
        self.channel.loop.call_soon(self._wire.receive, frame)

    def _take(self, message: bytes) -> None:
        frame = decode(message)
        if frame.kind is Kind.REQUEST:
            request = messages.decode_request(frame.payload)
            if self.answer(request) is None and _is_about_a_name(request) and not self.lists:
                self.reply(frame.id, _unwatched())
                return
            self.requests.append((frame.id, request))
            if (answer := self.answer(request)) is not None:
                self.reply(frame.id, answer)
        elif frame.kind is Kind.CANCEL:
            self.cancelled.append(frame.id)
        elif frame.kind is Kind.DATA:
            self.data.setdefault(frame.id, []).append(bytes(frame.payload))
        elif frame.kind is Kind.RESET:
            decode_number(frame)
            self.resets.append(frame.id)


def _is_about_a_name(request: Request) -> bool:
    return isinstance(request, messages.ListDirectory) and request.only_watched


def _unwatched() -> messages.Listing:
    return messages.Listing(attributes=attributes(ino=1, mode=0o40755), entries=())


def attributes(
    *, ino: int = 7, mode: int = 0o100644, size: int = 5, mtime_ns: int = 2_000_000_001, nlink: int = 1
) -> Attributes:
    """Return attributes of a remote file."""
    return Attributes(
        dev=99,
        ino=ino,
        mode=mode,
        nlink=nlink,
        uid=1,
        gid=2,
        rdev=0,
        size=size,
        blksize=4096,
        blocks=8,
        atime_ns=1_000_000_001,
        mtime_ns=mtime_ns,
        ctime_ns=3_000_000_001,
    )
