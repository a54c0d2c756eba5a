"""Our own requests that have no reply yet."""

import asyncio
from typing import Final

from mirrord_agent.wire import messages
from mirrord_agent.wire.errors import ChannelClosed, WireError
from mirrord_agent.wire.frames import Frame, RequestId
from mirrord_agent.wire.messages import Reply

_LAST_ID: Final = 2**32 - 1


class Pending:
    """Futures by the id of their request."""

    __slots__ = ("_futures", "_loop", "_next", "_wrapped")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._futures: Final[dict[int, asyncio.Future[Reply]]] = {}
        self._next: int = 1
        self._wrapped: bool = False

    def begin(self) -> tuple[RequestId, "asyncio.Future[Reply]"]:
        """Return a fresh id, and the future of its reply."""
        id = self._fresh()
        while id in self._futures:
            id = self._fresh()
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._futures[id] = future
        return id, future

    def _fresh(self) -> RequestId:
        id = RequestId(self._next)
        self._wrapped = self._wrapped or id == _LAST_ID
        self._next = id % _LAST_ID + 1
        return id

    def drop(self, id: RequestId) -> bool:
        """Wait no more; return whether the reply had not come yet."""
        return self._futures.pop(id, None) is not None

    def take(self, frame: Frame) -> None:
        """Take a REPLY frame; raise WireError or MessageError. A reply to what was cancelled is ignored."""
        future = self._futures.get(frame.id)
        if future is None:
            if frame.id == 0 or (frame.id >= self._next and not self._wrapped):
                raise WireError(f"a reply to request {frame.id}, which was never made")
            return
        reply = messages.decode_reply(frame.payload)
        del self._futures[frame.id]
        if not future.done():
            future.set_result(reply)

    def fail(self, reason: str) -> None:
        """End everything with ChannelClosed."""
        for future in self._futures.values():
            if not future.done():
                future.set_exception(ChannelClosed(reason))
        self._futures.clear()
