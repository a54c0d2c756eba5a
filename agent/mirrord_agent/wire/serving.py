"""Serving the other side's requests: a task for each, so that none holds another."""

import asyncio
import errno
import sys
import traceback
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

    async def __call__(self, request: Request, channel: "Channel") -> Reply:
        """Return the reply; raise RequestFailed or OSError for an errno. Cancelled when nobody waits."""


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
        task = self._channel.loop.create_task(self._serve(frame.id, request, self._handler))
        self._tasks[frame.id] = task
        task.add_done_callback(lambda _: self._never_begun(frame.id, task, request))

    def cancel(self, id: int) -> None:
        """Cancel the work on a request, if it goes on."""
        if (task := self._tasks.get(id)) is not None:
            task.cancel()

    def stop(self) -> None:
        """Cancel everything."""
        for task in self._tasks.values():
            task.cancel()

    async def _serve(self, id: int, request: Request, handler: Handler) -> None:
        reply = await self._reply(request, handler)
        del self._tasks[id]
        if reply is None or isinstance(reply, Failed):
            self._give_up_stream(request)
        if reply is not None:
            # in the same step as the handler's return: what it has begun to send on a stream comes after
            self._channel.send(Kind.REPLY, id, messages.encode(reply))

    async def _reply(self, request: Request, handler: Handler) -> Reply | None:
        """Return the reply, None where nobody waits for it any more."""
        try:
            await self._channel.drained()
            return await handler(request, self._channel)
        except RequestFailed as failure:
            return Failed(errno=failure.errno, reason=failure.reason)
        except OSError as error:
            return Failed(errno=error.errno or errno.EIO)
        except (asyncio.CancelledError, ChannelClosed):
            return None
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return Failed(errno=errno.EIO)

    def _never_begun(self, id: int, task: asyncio.Task[None], request: Request) -> None:
        """Clean up after a task that was cancelled before its first step."""
        if self._tasks.get(id) is task:
            del self._tasks[id]
            self._give_up_stream(request)

    def _give_up_stream(self, request: Request) -> None:
        if isinstance(request, StreamRequest):
            self._channel.give_up(request.stream)
