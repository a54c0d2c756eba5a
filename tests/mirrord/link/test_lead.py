"""The agent that everything goes through, and who takes its place."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from mirrord_agent.wire.channel import ChannelClosed
from mirrord_agent.wire.messages import Changed, GetHostname, Hostname, Reply, Request

from .agent import FakeAgent, until


def run(story: Callable[[FakeAgent, FakeAgent], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await story(FakeAgent(), FakeAgent())

    asyncio.run(main())


def named(name: bytes) -> Callable[[Request], Reply | None]:
    return lambda request: Hostname(name=name)


def test_without_hope_for_another_a_lost_link_fails_at_once() -> None:
    async def story(one: FakeAgent, other: FakeAgent) -> None:
        lead = one.lead
        asking = asyncio.ensure_future(lead.request(GetHostname(), Hostname))
        await one.request()
        one.lose()
        with pytest.raises(ChannelClosed):
            await asking
        assert (await lead.ready()).reason is not None

    run(story)


def test_what_is_asked_while_another_is_expected_is_asked_of_that_one() -> None:
    async def story(one: FakeAgent, other: FakeAgent) -> None:
        lead = one.lead
        lead.expect()
        other.answer = named(b"other")
        before = asyncio.ensure_future(lead.request(GetHostname(), Hostname))
        await one.request()
        one.lose()
        assert lead.awaited
        after = asyncio.ensure_future(lead.request(GetHostname(), Hostname))
        lead.move(other.channel)
        assert [(await each).name for each in (before, after)] == [b"other"] * 2
        assert not lead.awaited

    run(story)


def test_who_waits_is_let_go_when_hope_ends_and_the_next_one_is_asked_again() -> None:
    async def story(one: FakeAgent, other: FakeAgent) -> None:
        lead = one.lead
        lead.expect()
        one.lose()
        asking = asyncio.ensure_future(lead.request(GetHostname(), Hostname))
        await asyncio.sleep(0)
        lead.give_up()
        with pytest.raises(ChannelClosed):
            await asking
        with pytest.raises(ChannelClosed):
            await lead.request(GetHostname(), Hostname)
        other.answer = named(b"other")
        lead.move(other.channel)
        assert (await lead.request(GetHostname(), Hostname)).name == b"other"

    run(story)


def test_only_the_events_of_the_one_that_leads_are_heard() -> None:
    async def story(one: FakeAgent, other: FakeAgent) -> None:
        lead, heard, moved = one.lead, list[int](), list[bool]()
        lead.on_event(Changed, lambda event: heard.append(event.watch))
        lead.on_moved(lambda: moved.append(lead.channel is other.channel))
        one.emit(Changed(watch=1))
        await until(lambda: heard)
        lead.move(other.channel)
        one.emit(Changed(watch=2))
        other.emit(Changed(watch=3))
        await until(lambda: len(heard) == 2)
        assert (heard, moved) == ([1, 3], [True])

    run(story)
