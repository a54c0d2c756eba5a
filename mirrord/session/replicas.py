"""The links to the agents beside the target's further pods: for incoming connections, until one of them takes
the first pod's place.
"""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mirrord_agent.wire.channel import Channel, ChannelClosed
from mirrord_agent.wire.messages import GetStatistics, Statistics

from mirrord.errors import MirrordError
from mirrord.link import client
from mirrord.link.client import Link
from mirrord.link.lead import Lead
from mirrord.link.places import Places
from mirrord.session.say import Sayings
from mirrord.targets.base import Replica, Target

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Joined(NamedTuple):
    """A pod that is linked."""

    name: str
    channel: Channel


class Replicas:
    """Those of one session; each link ends with its pod, or with the session."""

    def __init__(self, target: Target, key: "Ed25519PrivateKey", sayings: Sayings, lead: Lead) -> None:
        self.lead: Final = lead
        """What leads to the first pod, or to the one in its place."""
        self._target: Final = target
        self._key: Final = key
        self._sayings: Final = sayings
        self._links: dict[str, Link] = {}
        self._places: Places | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._came: Final = asyncio.Event()
        self._led: Final[set[Channel]] = set()
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def serve(self, places: Places) -> None:
        """Have their connections reach the program from when it listens, of pods that come later, too."""
        self._places = places
        places.others = self._gathered

    async def _gathered(self) -> None:
        if self._gathering is None:
            self._gathering = self.begin(self._gather())
        await asyncio.shield(self._gathering)

    async def _gather(self) -> None:
        await asyncio.gather(*(self._join(replica) for replica in await self._target.replicas()))
        self.begin(self._follow())

    async def another(self) -> Joined | None:
        """Return a pod to take the first one's place, None where there is none now."""
        if self._gathering is not None:
            await asyncio.shield(self._gathering)
        elif (replica := await self._target.successor()) is not None:
            await self._join(replica)
        return self._heir()

    async def later(self) -> Joined:
        """Return the next pod that is linked; from now on those that come are."""
        while (found := self._heir()) is None:
            self._came.clear()
            await self._gathered()
            await self._came.wait()
        return found

    def _heir(self) -> Joined | None:
        """Return the pod that was linked last, of those that are, and that have not led yet: such a one is
        going, too.
        """
        for name, link in reversed(self._links.items()):
            if link.channel not in self._led:
                self._led.add(link.channel)
                return Joined(name, link.channel)
        return None

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside, until the end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        """Have no other pods come in any more."""
        for task in list(self._tasks):
            task.cancel()

    async def close(self) -> list[Statistics]:
        """End the links; return what their agents did."""
        self.stop()
        links, self._links = self._links, {}
        done = await asyncio.gather(*map(end, links.values()))
        return [statistics for statistics in done if statistics is not None]

    async def _follow(self) -> None:
        async for replica in self._target.later_replicas():
            self._sayings.info(f"pod {replica.name} has come: its traffic arrives, too")
            self.begin(self._join(replica))

    async def _join(self, replica: Replica) -> None:
        name = replica.name
        try:
            link = await client.connect(replica.endpoint, self._key, self._sayings)
        except MirrordError as error:
            self._sayings.warn(f"warning: the traffic of pod {name} does not arrive here: {error}")
            return
        self._links[name] = link
        link.channel.closed.add_done_callback(lambda reason: self._lost(name, link, reason.result()))
        if self._places is not None:
            await self._places.join(name, link.channel)
        self._came.set()

    def _lost(self, name: str, link: Link, reason: str) -> None:
        if self._links.get(name) is link:
            del self._links[name]
            self._sayings.info(f"pod {name} is gone, and its traffic with it: {reason}")


async def end(link: Link) -> Statistics | None:
    """End a link; return what its agent did, None if it had ended."""
    try:
        statistics = await link.channel.request(GetStatistics(), Statistics)
    except ChannelClosed:
        return None
    link.channel.close("the session is over")
    return statistics
