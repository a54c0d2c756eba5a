"""What every session does that has a target, whether it starts its program or attaches to it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mirrord.config.model import Settings
from mirrord.errors import MirrordError
from mirrord.link import client
from mirrord.link.client import Link
from mirrord.link.lead import Lead
from mirrord.session.banner import answered, arrived
from mirrord.session.replicas import Replicas, end
from mirrord.session.say import Sayings
from mirrord.session.succession import Succession
from mirrord.targets import prepare
from mirrord.targets.base import Target
from mirrord.targets.noting import Note, unnoted

Session = Callable[[Target], Coroutine[Any, Any, None]]


def serve(settings: Settings, sayings: Sayings, session: Session, *, note: Note = unnoted) -> None:
    """Run a session in its target, and close that whatever happens; raise TargetError.

    ``note`` is told of what has to be deleted where that does not happen, as this process is killed.
    """
    for warning in settings.warnings:
        sayings.warn(f"warning: {warning}")
    target = prepare(settings, sayings, note)
    with asyncio.Runner() as runner:
        try:
            runner.run(session(target))
        except MirrordError:
            sayings.failed()
            raise
        finally:
            runner.run(target.close())


async def linked(target: Target, sayings: Sayings) -> tuple[Link, Replicas]:
    """Return a link to the agent, and what brings in the other pods; raise TargetError or LinkError."""
    key = client.new_session_key()
    endpoint = await target.start_agent(client.public_bytes(key))
    sayings.go_on("connecting to the agent", "to reach it")
    link = await client.connect(endpoint, key, sayings)
    return link, Replicas(target, key, sayings, Lead(link.channel))


def succeed(target: Target, replicas: Replicas, sayings: Sayings, lost: Callable[[str], None]) -> None:
    """Have another pod take the first one's place from now on; ``lost`` is told why where none can."""
    replicas.begin(Succession(target, replicas, sayings, lost=lost).serve())


async def nothing() -> None:
    """Have nothing to hand over."""


async def finish(
    link: Link,
    replicas: Replicas,
    settings: Settings,
    sayings: Sayings,
    *,
    flush: Callable[[], Awaitable[None]] = nothing,
    patience: float,
    whose: str,
) -> None:
    """Close the link once the agent has what was written last, which is known by an answer.

    ``flush`` hands it over; after ``patience`` seconds it is given up, and ``whose`` it was is told.
    """
    replicas.stop()
    try:
        async with asyncio.timeout(patience):
            await flush()
            others = await replicas.close()
            first = await end(link)
    except TimeoutError:
        sayings.warn(f"warning: what the {whose} wrote last was not taken within {patience:.0f} s")
        link.channel.close("the session is over")
    else:
        agents = [one for one in (first, *others) if one is not None]
        if line := arrived(agents, settings.feature.network.incoming.mode):
            sayings.info(line)
        for asked in agents[:1]:
            sayings.detail(answered(asked))
