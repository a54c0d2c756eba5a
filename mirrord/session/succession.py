"""Another pod of the target takes the place of the first one when that goes.

From then on it is the one for files, names and new connections; the environment and the host name stay what
they were. A pod that is being deleted is left as soon as another is ready, before it ends.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from mirrord.session.replicas import Joined, Replicas
from mirrord.session.say import Sayings
from mirrord.targets.base import Target

_PATIENCE: Final = 10.0
"""Seconds for which what is asked of a pod that has gone waits for another."""
_REST: Final = "files, names and new connections are those of pod"


class Succession:
    """That of one session."""

    def __init__(
        self,
        target: Target,
        replicas: Replicas,
        sayings: Sayings,
        *,
        lost: Callable[[str], None],
    ) -> None:
        """``lost`` is told why the agent is gone where no other takes its place."""
        self._target: Final = target
        self._lead: Final = replicas.lead
        self._replicas: Final = replicas
        self._sayings: Final = sayings
        self._lost: Final = lost

    async def serve(self) -> None:
        """Have one pod after the other take over, for ever."""
        self._lead.expect()
        try:
            while True:
                await _first_of(self._target.leaving(), self._closed())
                other = await self._next()
                self._sayings.warn(f"warning: {self._what()}: {_REST} {other.name} from now on")
                self._target.leads(other.name)
                self._lead.move(other.channel)
        finally:
            # nobody looks for another any more
            self._lead.give_up()

    async def _next(self) -> Joined:
        """Return the pod that is to take over, which may have to come first."""
        alone = asyncio.Event()
        telling = asyncio.ensure_future(self._tell_of_loss(alone))
        try:
            other = await self._replicas.another()
            if other is None:
                self._tell_of_leaving()
                alone.set()
                other = await self._replicas.later()
            return other
        finally:
            telling.cancel()

    async def _tell_of_loss(self, alone: asyncio.Event) -> None:
        """Once the link is gone, let those who ask fail: at once where there is no other pod, else where one
        takes too long.
        """
        reason = await self._closed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await alone.wait()
        self._lead.give_up()
        self._lost(reason)

    def _tell_of_leaving(self) -> None:
        if self._lead.channel.reason is None:
            self._sayings.warn(
                f"warning: {self._what()}, and what the program has of it goes with it: "
                "its files, names and outgoing connections"
            )

    async def _closed(self) -> str:
        return await asyncio.shield(self._lead.channel.closed)

    def _what(self) -> str:
        reason = self._lead.channel.reason
        pod = self._target.pod
        return f"pod {pod} is being deleted" if reason is None else f"pod {pod} is gone ({reason})"


async def _first_of(*waiting: Any) -> None:
    """Wait until one of these is done."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
