"""The pods of a target, each with an agent and a link of its own, and the ports that are subscribed at all.

A pod may come and go at any time: it is asked for every port when it comes, and nothing is left of it when
its link is gone.
"""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from mirrord_agent.wire.channel import Channel, ChannelClosed, RequestFailed
from mirrord_agent.wire.messages import Arrived, Done, NotFlushed, PacketsLost, Subscribe, Unsubscribe

Mode = Literal["mirror", "steal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Which connections are taken, and how; times are in milliseconds."""

    filter: str = ""
    """As :class:`Subscribe` has it."""
    filtered: str = ""
    """What the filter takes, for people."""
    filter_ports: frozenset[int] = frozenset()
    """The ports that it is for, empty for all."""
    flush: bool = False
    detection_ms: int = 2_000
    body_ms: int = 1_000
    body_bytes: int = 65_535

    def request(self, port: int, mode: Mode) -> Subscribe:
        """Return what the agent is asked."""
        return Subscribe(
            port=port,
            mode=mode,
            filter=self.filter,
            flush=self.flush and mode == "steal",
            detection_ms=self.detection_ms,
            body_ms=self.body_ms,
            body_bytes=self.body_bytes,
        )

    def filtered_at(self, port: int) -> str:
        """Return what the filter takes of a port, for people; empty where it takes everything."""
        return self.filtered if not self.filter_ports or port in self.filter_ports else ""


@dataclass(frozen=True, slots=True)
class Voice:
    """How the user is told."""

    target: str
    """What the target is called."""
    inform: Callable[[str], None]
    warn: Callable[[str], None]
    probes: Mapping[int, str] = field(default_factory=dict)
    """Which ports the target's health is seen by, and what asks them."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One pod."""

    name: str
    channel: Channel


Take = Callable[[Place, Arrived], None]
"""What is done with a connection that arrives."""


class Places:
    """Those of one session; on the loop."""

    def __init__(
        self, channel: Channel, take: Take, *, mode: Mode, voice: Voice, terms: Terms | None = None
    ) -> None:
        """``channel`` leads to the first one, which is called as the target is."""
        self.others: Callable[[], Awaitable[None]] = _nobody
        """Brings in the target's other pods, by :meth:`join`, before a port counts as subscribed."""
        self._take: Final = take
        self._mode: Final = mode
        self._voice: Final = voice
        self._terms: Final = terms or Terms()
        self._places: Final[list[Place]] = []
        self._ports: Final[dict[int, set[Place]]] = {}
        """By a subscribed port, those whose agents were asked and have not refused."""
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._add(Place(voice.target, channel))

    async def join(self, name: str, channel: Channel) -> None:
        """Have the connections of another pod arrive too, for as long as its link lasts; return once they
        do.
        """
        place = Place(name, channel)
        self._add(place)
        await asyncio.gather(*(self._ask_at(place, port, asked) for port, asked in self._ports.items()))

    def _gone(self, place: Place) -> None:
        self._places.remove(place)
        for asked in self._ports.values():
            asked.discard(place)

    def _add(self, place: Place) -> None:
        self._places.append(place)
        place.channel.closed.add_done_callback(lambda _: self._gone(place))
        place.channel.on_event(Arrived, partial(self._take, place))
        place.channel.on_event(PacketsLost, self._packets_lost)
        place.channel.on_event(NotFlushed, partial(self._not_flushed, place))

    def subscribe(self, port: int) -> asyncio.Task[bool]:
        """Ask for the connections to a port, all agents; the result is whether one has agreed."""
        asked: set[Place] = set()
        self._ports[port] = asked
        # who joins from now on is asked by that
        asking = [self._ask_at(place, port, asked) for place in self._places]
        return asyncio.get_running_loop().create_task(self._asked(asking, asked))

    async def _asked(self, asking: list[Coroutine[Any, Any, None]], asked: set[Place]) -> bool:
        await asyncio.gather(*asking, self.others())
        return bool(asked)

    async def _ask_at(self, place: Place, port: int, asked: set[Place]) -> None:
        asked.add(place)
        try:
            await place.channel.request(self._terms.request(port, self._mode), Done)
        except RequestFailed as failure:
            why = failure.reason or _REASONS.get(failure.errno) or os.strerror(failure.errno)
            self._voice.warn(f"warning: port {port} of {place.name} is not {_DONE[self._mode]}: {why}")
            asked.discard(place)
            return
        except ChannelClosed:
            # the user is told of that by itself
            asked.discard(place)
            return
        filtered = self._terms.filtered_at(port)
        self._voice.inform(
            f"port {port} of {place.name} is {_DONE[self._mode]} {_HOW[self._mode]} this program"
            f"{filtered and ': '}{filtered}"
        )
        if self._mode == "steal" and not filtered and (probes := self._voice.probes.get(port)):
            self._voice.warn(_answers_for_health(port, probes))

    def forget(self, port: int) -> None:
        """Ask nobody for a port any more that nobody has agreed to."""
        self._ports.pop(port, None)

    def unsubscribe(self, port: int) -> None:
        """Have the connections to a port come no more."""
        for place in self._ports.pop(port, ()):
            task = asyncio.get_running_loop().create_task(_unsubscribe(place.channel, port))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _packets_lost(self, event: PacketsLost) -> None:
        self._voice.warn(
            "warning: the agent could not keep up with the traffic of mirrored ports: "
            "some connections are missing or were cut"
        )

    def _not_flushed(self, place: Place, event: NotFlushed) -> None:
        self._voice.warn(
            f"warning: connections that port {event.port} had before stay with {place.name}: "
            f"they cannot be ended there ({os.strerror(event.errno).lower()})"
        )


def _answers_for_health(port: int, probes: str) -> str:
    return (
        f"warning: {probes} will ask this program, as port {port} is stolen; "
        "where it does not answer, Kubernetes restarts the container or sends the pod no more requests: "
        "an `http_filter` leaves probes to the target"
    )


async def _nobody() -> None:
    """Bring in nobody: the target is one pod."""


async def _unsubscribe(channel: Channel, port: int) -> None:
    try:
        await channel.request(Unsubscribe(port=port), Done)
    except (RequestFailed, ChannelClosed):
        # then nothing comes from there any more
        return


_DONE: Final[dict[Mode, str]] = {"mirror": "mirrored", "steal": "stolen"}
_HOW: Final[dict[Mode, str]] = {"mirror": "to", "steal": "by"}
_REASONS: Final = {
    errno.EPERM: "the agent may not capture in the target's network, which takes CAP_NET_RAW",
    errno.EACCES: "the agent may not capture in the target's network, which takes CAP_NET_RAW",
    errno.EOPNOTSUPP: "the agent does not support it",
    errno.ENOSPC: "too many ports are mirrored already",
}
