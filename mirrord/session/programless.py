"""A session without a program: for commands that only want the link to an agent."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from mirrord.config.load import resolve
from mirrord.config.model import Settings
from mirrord.config.options import ExecOptions
from mirrord.errors import LinkError
from mirrord.link.client import Link
from mirrord.link.places import Mode, Places, Take, Voice
from mirrord.session import with_target
from mirrord.session.replicas import Replicas
from mirrord.session.say import Sayings
from mirrord.session.worlds import terms
from mirrord.targets.base import Target

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Linked:
    """What a command works with."""

    settings: Settings
    target: Target
    link: Link
    sayings: Sayings
    replicas: Replicas

    def places(self, take: Take, mode: Mode) -> Places:
        """Return the target's pods, all of which are brought in when a port is subscribed."""
        voice = Voice(self.target.label, self.sayings.info, self.sayings.warn, self.target.probes)
        places = Places(self.link.channel, take, mode=mode, voice=voice, terms=terms(self.settings))
        self.replicas.serve(places)
        return places


def run(options: ExecOptions, work: Callable[[Linked], Awaitable[None]]) -> int:
    """Do work with a link, to its end or until a signal; return 0. Raises MirrordError."""
    settings = resolve(options, os.environ)
    sayings = Sayings(quiet=settings.quiet, verbose=settings.verbosity > 0)

    async def session(target: Target) -> None:
        await _until_signal(_linked(settings, target, sayings, work))

    with_target.serve(settings, sayings, session)
    return 0


async def _until_signal(session: Awaitable[None]) -> None:
    task = asyncio.ensure_future(session)
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        # the user has ended it
        return
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)


async def _linked(
    settings: Settings, target: Target, sayings: Sayings, work: Callable[[Linked], Awaitable[None]]
) -> None:
    link, replicas = await with_target.linked(target, sayings)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with_target.succeed(target, replicas, sayings, lost.set_result)
    sayings.ready()
    sayings.info(f"target {target.label}")
    try:
        await _while_linked(lost, work(Linked(settings, target, link, sayings, replicas)))
    finally:
        await replicas.close()
        link.channel.close("the session is over")


async def _while_linked(lost: "asyncio.Future[str]", work: Awaitable[None]) -> None:
    """Work until no pod of the target is left to be reached; raise LinkError then."""
    working = asyncio.ensure_future(work)
    ends: set[asyncio.Future[Any]] = {working, lost}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise LinkError(f"the agent is gone: {lost.result()}")
        working.result()
    finally:
        working.cancel()
