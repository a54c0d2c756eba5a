"""An awaitable reader for a stream."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from mirrord_agent.wire.errors import ChannelClosed, StreamReset
from mirrord_agent.wire.frames import Data

if TYPE_CHECKING:
    from mirrord_agent.wire.stream import Stream


def _nothing() -> None:
    """Do nothing: a reader writes nothing."""


class Reader:
    """Reads a stream piece by piece."""

    __slots__ = ("_ended", "_pieces", "_reset", "_stream", "_waiter")

    def __init__(self, stream: "Stream") -> None:
        self._stream: Final = stream
        self._pieces: Final[deque[Data]] = deque()
        self._ended: bool = False
        self._reset: bool = False
        self._waiter: asyncio.Future[None] | None = None
        stream.bind(on_data=self._data, on_fin=self._fin, on_reset=self._lost, on_writable=_nothing)

    async def read(self) -> Data:
        """Return the next piece, empty at the end; raise StreamReset, or ChannelClosed."""
        while not self._pieces:
            if self._ended:
                return b""
            if self._reset:
                self._raise()
            self._waiter = self._stream.loop.create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self._stream.consumed(len(piece))
        return piece

    async def read_all(self, *, at_most: int) -> bytes:
        """Return everything; raise ValueError beyond ``at_most`` bytes, StreamReset, or ChannelClosed."""
        pieces: list[Data] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > at_most:
                self._stream.reset()
                raise ValueError(f"more than {at_most} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def _raise(self) -> None:
        reason = self._stream.lost
        if reason is not None:
            raise ChannelClosed(reason)
        raise StreamReset(self._stream.errno)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _data(self, data: Data) -> None:
        self._pieces.append(data)
        self._wake()

    def _fin(self) -> None:
        self._ended = True
        self._stream.fin()
        self._wake()

    def _lost(self) -> None:
        self._reset = True
        self._wake()
