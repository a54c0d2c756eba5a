"""What everything but incoming traffic goes through: the first pod's agent, until another takes its place.

Where the link to it is gone and another is being looked for, who asks waits for that one.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mirrord_agent.wire.channel import Channel, ChannelClosed
from mirrord_agent.wire.messages import Message, Request

_E = TypeVar("_E", bound=Message)
_R = TypeVar("_R", bound=Message)


class Lead:
    """That of one session; on its loop."""

    def __init__(self, channel: Channel) -> None:
        self.channel: Channel = channel
        self._hopeful: bool = False
        self._change: asyncio.Future[None] | None = None
        """Done when there is another channel, or no hope for one."""
        self._on_moved: Final[list[Callable[[], None]]] = []
        self._on_event: Final[list[tuple[type[Message], Callable[[Any], None]]]] = []

    # For those who ask.

    @property
    def awaited(self) -> bool:
        """Whether the link is gone, and another is expected."""
        return self._hopeful and self.channel.reason is not None

    def outlives(self, channel: Channel) -> bool:
        """Tell whether another takes a channel's place, or is expected to: what failed there may be asked
        again.
        """
        return self.awaited or self.channel is not channel

    async def ready(self) -> Channel:
        """Return the channel to ask through, which is closed where there is no hope for another."""
        while self.awaited:
            if self._change is None:
                self._change = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._change)
        return self.channel

    async def request(self, request: Request, expect: type[_R]) -> _R:
        """Ask, once more if the pod goes meanwhile: for what may be asked twice. Raise as Channel does."""
        while True:
            channel = await self.ready()
            try:
                return await channel.request(request, expect)
            except ChannelClosed:
                if not self.outlives(channel):
                    raise

    def on_event(self, kind: type[_E], handler: Callable[[_E], None]) -> None:
        """Say what is called for each event of a kind, of whichever agent it is."""
        self._on_event.append((kind, handler))
        self._hear(self.channel, kind, handler)

    def on_moved(self, handler: Callable[[], None]) -> None:
        """Say what is called when another agent has taken over: what the one before said holds no more."""
        self._on_moved.append(handler)

    # For those who look for another.

    def expect(self) -> None:
        """Have who asks wait from now on where the link is gone."""
        self._hopeful = True

    def give_up(self) -> None:
        """Have who asks wait no more: it fails until there is another."""
        self._hopeful = False
        self._changed()

    def move(self, channel: Channel) -> None:
        """Go on with another agent."""
        self.channel = channel
        self._hopeful = True
        for kind, handler in self._on_event:
            self._hear(channel, kind, handler)
        for moved in self._on_moved:
            moved()
        self._changed()

    def _changed(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.set_result(None)

    def _hear(self, channel: Channel, kind: type[_E], handler: Callable[[_E], None]) -> None:
        def heard(event: _E) -> None:
            if self.channel is channel:
                handler(event)

        channel.on_event(kind, heard)
