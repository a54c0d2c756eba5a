"""Streams: bytes both ways on a channel, each way with its own credit, so that a stalled one holds no other.

The sender of a direction may have WINDOW bytes under way that the receiver has not :meth:`Stream.consumed`.
The receiver grants more, up to MOST_WINDOW, where it keeps up and only the way is long. A datagram stream
has no credit: what finds the link busy is lost, as on any network.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from mirrord_agent.wire.errors import WireError
from mirrord_agent.wire.frames import MAX_PAYLOAD, Data, Kind, StreamId
from mirrord_agent.wire.reader import Reader

if TYPE_CHECKING:
    from mirrord_agent.wire.channel import Channel

WINDOW: Final = 256 * 1024
"""Bytes of one direction that may be under way at first, and the most that one write may have."""
MOST_WINDOW: Final = 4 * 1024 * 1024
"""Bytes of one direction that may ever be under way."""
_RETURN: Final = WINDOW // 4
"""Credit is given back in pieces of at least this size."""
_DATAGRAMS: Final = 64
"""Datagrams kept for a stream that nobody has bound yet, or that has not been asked for yet."""


def _nothing() -> None:
    """Do nothing: what an unbound or closed stream calls."""


def _ignore(data: Data) -> None:
    """Ignore data: what a closed stream calls."""


class Tap(Protocol):
    """Is shown what passes through a stream, also what a muted one drops."""

    def data(self, data: Data, *, sent: bool) -> None:
        """Take bytes, which may change after this call; ``sent`` tells on whose side they were written."""

    def fin(self, *, sent: bool) -> None:
        """Take note that no more come that way."""


class Stream:
    """One stream; only used on the event loop of its channel.

    Before :meth:`bind` what arrives is kept (at most WINDOW bytes). Before the request that opens the stream
    has been sent, what is written is kept too.
    """

    __slots__ = (
        "_announced",
        "_channel",
        "_credit",
        "_fin_received",
        "_fin_sent",
        "_kept",
        "_limit",
        "_muted",
        "_on_data",
        "_on_fin",
        "_on_reset",
        "_on_writable",
        "_unreturned",
        "_unsent",
        "_window",
        "bytes_received",
        "bytes_sent",
        "closed",
        "datagrams",
        "errno",
        "id",
        "immediate",
        "tap",
    )

    def __init__(self, channel: "Channel", id: StreamId, *, announced: bool, datagrams: bool = False) -> None:
        self.id: Final = id
        self.datagrams: bool = datagrams
        self.immediate: bool = False
        """Give credit back at once: packets need room for a whole one."""
        self.closed: bool = False
        """No frame of this stream is sent or heeded any more."""
        self.errno: int = 0
        """The errno that the other side's reset carried."""
        self.bytes_sent: int = 0
        self.bytes_received: int = 0
        self.tap: Tap | None = None
        self._channel: Final = channel
        self._announced: bool = announced
        self._credit: int = WINDOW
        # what the other side may have under way, and what of it it has not used
        self._limit: int = WINDOW
        self._window: int = WINDOW
        self._unreturned: int = 0
        self._fin_sent: bool = False
        self._muted: bool = False
        self._fin_received: bool = False
        self._kept: deque[Data] | None = None
        self._unsent: deque[Data] | None = None
        self._on_data: Callable[[Data], None] | None = None
        self._on_fin: Callable[[], None] = _nothing
        self._on_reset: Callable[[], None] = _nothing
        self._on_writable: Callable[[], None] = _nothing

    def bind(
        self,
        *,
        on_data: Callable[[Data], None],
        on_fin: Callable[[], None],
        on_reset: Callable[[], None],
        on_writable: Callable[[], None],
    ) -> None:
        """Say what is called when something happens; what was kept is given at once.

        ``on_data`` may keep the data, it does not change; once it is dealt with, say so by :meth:`consumed`.
        ``on_writable`` is called when there may be credit again. ``on_reset`` is also called when the channel
        closes. After ``on_reset`` nothing is called.
        """
        self._on_data, self._on_fin, self._on_reset, self._on_writable = (
            on_data,
            on_fin,
            on_reset,
            on_writable,
        )
        kept, self._kept = self._kept, None
        for data in kept or ():
            if self._on_data is not on_data:
                return
            if self.tap is not None:
                self.tap.data(data, sent=False)
            on_data(data)
        if self._fin_received and self._on_fin is on_fin:
            if self.tap is not None:
                self.tap.fin(sent=False)
            on_fin()
        elif self.closed and self._on_reset is on_reset:
            self._channel.loop.call_soon(on_reset)

    @property
    def credit(self) -> int:
        """Bytes that may be written now; ``on_writable`` is called later if it is 0."""
        if self._muted:
            return WINDOW
        if self._channel.busy:
            self._channel.blocked[self] = None
            return 0
        return 0 if self._fin_sent or self.closed else min(self._credit, WINDOW)

    @property
    def scratch(self) -> memoryview:
        """A buffer of WINDOW bytes to receive into just before :meth:`write`; all streams share it."""
        return self._channel.scratch

    def write(self, data: Data) -> None:
        """Send bytes, at most ``credit``, else ValueError; a datagram is dropped where it finds no room.

        ``data`` may be reused as soon as this returns.
        """
        if self.tap is not None:
            self.tap.data(data, sent=True)
        if self.closed or self._fin_sent:
            return
        if self.datagrams:
            if len(data) > MAX_PAYLOAD or self._channel.busy:
                return
        elif len(data) > self._credit:
            raise ValueError(f"{len(data)} bytes written, there is credit for {self._credit}")
        if not data:
            return
        self._credit -= len(data)
        self.bytes_sent += len(data)
        if self._announced:
            self._channel.send(Kind.DATA, self.id, data)
            return
        if self._unsent is None:
            self._unsent = deque(maxlen=_DATAGRAMS if self.datagrams else None)
        self._unsent.append(bytes(data))

    def fin(self) -> None:
        """Write no more; the other direction goes on."""
        if self.tap is not None:
            self.tap.fin(sent=True)
        if self.closed or self._fin_sent:
            return
        self._fin_sent = True
        if self._announced:
            self._channel.send(Kind.FIN, self.id)
            self._close_if_done()

    def mute(self) -> None:
        """Write no more, but have credit for ever: what is still written is dropped, as is a later FIN."""
        self.fin()
        self._muted = True

    def reset(self, errno: int = 0) -> None:
        """End both directions at once; nothing is called any more."""
        if self.closed:
            return
        if self._announced:
            self._channel.send_number(Kind.RESET, self.id, errno)
        self._forget()

    def consumed(self, count: int) -> None:
        """Give credit back for ``count`` bytes that came by ``on_data``."""
        if self.datagrams or self._fin_received or self.closed:
            return
        self._unreturned += count
        if self._unreturned >= _RETURN or self.immediate:
            self._unreturned += self._growth()
            self._window += self._unreturned
            self._channel.send_number(Kind.CREDIT, self.id, self._unreturned)
            self._unreturned = 0

    def _growth(self) -> int:
        """Return how much more the other side may have under way.

        It has used nearly all that it may while nothing waits here: only the round trip holds it up.
        """
        waiting = self._limit - self._window - self._unreturned
        if waiting or self._window >= self._limit // 4 or self._limit >= MOST_WINDOW:
            return 0
        growth = self._channel.take_window(self._limit)
        self._limit += growth
        return growth

    # What the channel calls.

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the stream is used on."""
        return self._channel.loop

    @property
    def lost(self) -> str | None:
        """Why the channel closed, None while it has not."""
        return self._channel.reason

    @property
    def grown(self) -> int:
        """Bytes that the other side may have under way beyond WINDOW."""
        return self._limit - WINDOW

    def announce(self) -> None:
        """Send what was written before the other side had been told of this stream."""
        if self._announced:
            return
        self._announced = True
        unsent, self._unsent = self._unsent, None
        for data in unsent or ():
            self._channel.send(Kind.DATA, self.id, data)
        if self._fin_sent:
            self._channel.send(Kind.FIN, self.id)

    def receive_data(self, data: memoryview) -> None:
        """Take a DATA frame; raise WireError on one that there was no credit for."""
        if self._fin_received:
            raise WireError(f"data on stream {self.id} after its FIN")
        self.bytes_received += len(data)
        if not self.datagrams:
            self._window -= len(data)
            if self._window < 0:
                raise WireError(f"{-self._window} bytes more on stream {self.id} than it had credit for")
        if self._on_data is not None:
            if self.tap is not None:
                self.tap.data(data, sent=False)
            self._on_data(data)
            return
        if self._kept is None:
            self._kept = deque(maxlen=_DATAGRAMS if self.datagrams else None)
        self._kept.append(data)

    def receive_fin(self) -> None:
        """Take a FIN frame; raise WireError on a second one."""
        if self._fin_received:
            raise WireError(f"a second FIN on stream {self.id}")
        self._fin_received = True
        if self._on_data is not None:
            if self.tap is not None:
                self.tap.fin(sent=False)
            self._on_fin()
        self._close_if_done()

    def receive_credit(self, count: int) -> None:
        """Take a CREDIT frame; raise WireError on more than was used."""
        self._credit += count
        if self._credit > MOST_WINDOW:
            raise WireError(
                f"credit of {self._credit} on stream {self.id}, at most {MOST_WINDOW} is possible"
            )
        self.writable()

    def receive_reset(self, errno: int) -> None:
        """Take a RESET frame, or the end of the channel."""
        if not self.closed:
            self.errno = errno
            on_reset = self._on_reset
            self._forget()
            on_reset()

    def writable(self) -> None:
        """Tell the owner that there may be credit."""
        if not self.closed and not self._fin_sent:
            self._on_writable()

    def _close_if_done(self) -> None:
        if self._fin_sent and self._fin_received and not self.closed:
            self._forget()

    def _forget(self) -> None:
        self.closed = True
        self._channel.forget(self)
        if not self._fin_received:
            self._kept = None
        self._unsent = None
        if self._on_data is not None:
            # the callbacks refer to the owner, which refers to this: let both go at once
            self._on_data = _ignore
            self._on_fin = self._on_reset = self._on_writable = _nothing

    def reader(self) -> Reader:
        """Return an awaitable reader, for one who only reads; our direction ends when the other does."""
        return Reader(self)
