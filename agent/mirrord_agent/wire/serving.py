"""Serving the other side's requests: at once where nothing has to be waited for, else in a task for each, so
that none holds another.
"""

import asyncio
import errno
import sys
import traceback
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, Protocol

from mirrord_agent.wire import messages
from mirrord_agent.wire.errors import ChannelClosed, RequestFailed, WireError
from mirrord_agent.wire.frames import Frame, Kind
from mirrord_agent.wire.messages import Failed, Reply, Request, StreamRequest

if TYPE_CHECKING:
    from mirrord_agent.wire.channel import Channel

MOST_REQUESTS: Final = 32_768
"""Requests of one side that may be without a reply; more is a fault of the peer."""


class Handler(Protocol):
    """Answers the other side's requests."""

    def __call__(self, request: Request, channel: "Channel") -> Reply | Awaitable[Reply]:
        """Return the reply, or what gives it later, which is cancelled when nobody waits for it any more.

        Either may raise RequestFailed or OSError for an errno.
        """


class Serving:
    """The requests that have no reply yet."""

    __slots__ = ("_channel", "_handler", "_tasks")

    def __init__(self, channel: "Channel", handler: Handler | None) -> None:
        self._channel: Final = channel
        self._handler: Final = handler
        self._tasks: Final[dict[int, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, frame: Frame) -> None:
        """Begin to serve a REQUEST frame; raise WireError or MessageError on one that breaks a rule."""
        request = messages.decode_request(frame.payload)
        if self._handler is None:
            raise WireError(f"a request ({request.type}) to the side that answers none")
        if frame.id in self._tasks or frame.id == 0:
            raise WireError(f"request {frame.id} made twice")
        if len(self._tasks) >= MOST_REQUESTS:
            raise WireError(f"more than {MOST_REQUESTS} requests at once")
        if isinstance(request, StreamRequest):
            self._channel.accept(request.stream, datagrams=isinstance(request, messages.OpenUdp))
        answer = self._begin(request, self._handler)
        if isinstance(answer, messages.Message):
            self._answer(frame.id, request, answer)
        else:
            self._tasks[frame.id] = self._channel.loop.create_task(self._serve(frame.id, request, answer))

    def _begin(self, request: Request, handler: Handler) -> Reply | Awaitable[Reply]:
        if self._channel.busy:
            return self._drained(request, handler)
        try:
            return handler(request, self._channel)
        except Exception as error:
            return _failed(error)

    async def _drained(self, request: Request, handler: Handler) -> Reply:
        await self._channel.drained()
        answer = handler(request, self._channel)
        return answer if isinstance(answer, messages.Message) else await answer

    def cancel(self, id: int) -> None:
        """Cancel the work on a request, if it goes on."""
        if (task := self._tasks.get(id)) is not None:
            # after its first step, in which it takes hold of what it has to give back
            self._channel.loop.call_soon(task.cancel)

    def stop(self) -> None:
        """Cancel everything."""
        for id in self._tasks:
            self.cancel(id)

    async def _serve(self, id: int, request: Request, answer: Awaitable[Reply]) -> None:
        try:
            reply: Reply | None = await answer
        except (asyncio.CancelledError, ChannelClosed):
            # nobody waits for it any more
            reply = None
        except Exception as error:
            reply = _failed(error)
        del self._tasks[id]
        self._answer(id, request, reply)

    def _answer(self, id: int, request: Request, reply: Reply | None) -> None:
        if reply is None or isinstance(reply, Failed):
            self._give_up_stream(request)
        if reply is not None:
            # in the same step as the handler's return: what it has begun to send on a stream comes after
            self._channel.send(Kind.REPLY, id, messages.encode(reply))

    def _give_up_stream(self, request: Request) -> None:
        if isinstance(request, StreamRequest):
            self._channel.give_up(request.stream)


def _failed(error: Exception) -> Failed:
    if isinstance(error, RequestFailed):
        return Failed(errno=error.errno, reason=error.reason)
    if isinstance(error, OSError):
        return Failed(errno=error.errno or errno.EIO)
    traceback.print_exception(error, file=sys.stderr)
    return Failed(errno=errno.EIO)
