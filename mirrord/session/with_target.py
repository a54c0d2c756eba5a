"""What every session does that has a target, whether it starts its program or attaches to it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mirrord_agent.wire.channel import ChannelClosed
from mirrord_agent.wire.messages import GetStatistics, Statistics

from mirrord.config.model import Settings
from mirrord.errors import MirrordError
from mirrord.link import client
from mirrord.link.client import Link
from mirrord.session.banner import answered, arrived
from mirrord.session.replicas import Replicas
from mirrord.session.say import Sayings
from mirrord.targets import prepare
from mirrord.targets.base import Target

Session = Callable[[Target], Coroutine[Any, Any, None]]


def serve(settings: Settings, sayings: Sayings, session: Session) -> None:
    """Run a session in its target, and close that whatever happens; raise TargetError."""
    for warning in settings.warnings:
        sayings.warn(f"warning: {warning}")
    target = prepare(settings, sayings)
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
    return link, Replicas(target, key, sayings)


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
    try:
        async with asyncio.timeout(patience):
            await flush()
            others = await replicas.close()
            statistics = await link.channel.request(GetStatistics(), Statistics)
    except ChannelClosed:
        # the user has been told when it went
        return
    except TimeoutError:
        sayings.warn(f"warning: what the {whose} wrote last was not taken within {patience:.0f} s")
    else:
        if line := arrived(statistics, settings.feature.network.incoming.mode, others):
            sayings.info(line)
        sayings.detail(answered(statistics))
    link.channel.close("the session is over")
