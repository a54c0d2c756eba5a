"""The ports that a client has subscribed to, and by which means their connections reach it."""

import asyncio
from collections import Counter
from typing import Final

from mirrord_agent.http.output import Decider, Limits, Side
from mirrord_agent.http.request import Request
from mirrord_agent.mirror.mirror import Mirror
from mirrord_agent.steal.mesh import is_meshed
from mirrord_agent.stealing import Stealing, read_filter
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.messages import Done, Subscribe, Unsubscribe


class Incoming:
    """One client's subscriptions."""

    def __init__(self, *, reserved: int | None = None) -> None:
        """``reserved`` is the descriptor for what the kernel must release last."""
        self._reserved: Final = reserved
        self._modes: Final[dict[int, str]] = {}
        self._requests: Final[Counter[str]] = Counter()
        """What a filter has said of mirrored requests."""
        self._opening: Final = asyncio.Lock()
        self._mirror: Mirror | None = None
        self._stealing: Stealing | None = None

    @property
    def counts(self) -> dict[str, int]:
        """What became of connections so far."""
        counts = Counter(self._requests)
        for part in (self._mirror, self._stealing):
            if part is not None:
                counts.update(part.counts)
        return dict(counts)

    async def subscribe(self, request: Subscribe, channel: Channel) -> Done:
        """Begin to pass connections on; a port that is subscribed stays so. Raises OSError, RequestFailed."""
        if request.port in self._modes:
            return Done()
        if request.mode == "steal":
            if self._stealing is None:
                self._stealing = Stealing(channel, reserved=self._reserved)
            await self._stealing.add(request)
        else:
            mirror = await self._open_mirror(channel)
            mirror.add(request.port, self._decider(request))
        self._modes[request.port] = request.mode
        return Done()

    async def _open_mirror(self, channel: Channel) -> Mirror:
        async with self._opening:
            if self._mirror is None:
                meshed = await asyncio.to_thread(is_meshed)
                self._mirror = Mirror(channel, loopback_only=meshed)
            return self._mirror

    def _decider(self, request: Subscribe) -> Decider | None:
        """Return who tells the requests that are mirrored; None where all are."""
        filter = read_filter(request.filter)
        if filter is None or not filter.applies_to(request.port):
            return None
        return Decider(filter, limits=Limits(body=request.body_bytes), on_decided=self._decided)

    def _decided(self, _: Request, side: Side) -> None:
        self._requests["requests" if side is Side.LOCAL else "requests not copied"] += 1

    async def unsubscribe(self, request: Unsubscribe, channel: Channel) -> Done:
        """Pass no further connections on."""
        mode = self._modes.pop(request.port, None)
        if mode == "mirror" and self._mirror is not None:
            self._mirror.remove(request.port)
        elif mode == "steal" and self._stealing is not None:
            self._stealing.remove(request.port)
        return Done()

    def pause(self) -> None:
        """Leave to the target what comes while the client is away."""
        if self._stealing is not None:
            self._stealing.pause()

    def go_on(self) -> None:
        """Go on: the client is back."""
        if self._stealing is not None:
            self._stealing.go_on()

    async def drained(self) -> None:
        """Wait until what was begun for clients of the target is done; nothing new begins."""
        if self._stealing is not None:
            await self._stealing.drained()
