import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from mirrord_agent.wire.messages import GetHostname, Hostname, Stat
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import AgentGone, LinkError
from mirrord.link import resuming
from mirrord.link.client import Link, connect
from mirrord.link.endpoint import AgentEndpoint

from ...agent.running import KEY, on_loop, running_agent


@dataclass
class Flaky:
    """The endpoint of a real agent, whose connections break, and which refuses some."""

    real: AgentEndpoint
    refusals: list[Exception] = field(default_factory=list)
    """What the next attempts end with."""
    websockets: list[WebSocket] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """What the next attempts wait for."""

    @property
    def public_key(self) -> bytes:
        return self.real.public_key

    async def open(self) -> WebSocket:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.gate is not None:
            await self.gate.wait()
        self.websockets.append(await self.real.open())
        return self.websockets[-1]

    def cut(self) -> None:
        """Break the connection, without a goodbye."""
        websocket = self.websockets[-1]
        assert websocket._transport is not None
        websocket._transport.abort()


@dataclass
class Told:
    """What the user was told."""

    lines: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def info(self, text: str) -> None:
        self.lines.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


@contextmanager
def flaky(tmp_path: Path, *options: str) -> Iterator[Flaky]:
    with running_agent(tmp_path / "agent.sock", os.getpid(), *options) as agent:
        yield Flaky(agent.endpoint)


async def closed(link: Link) -> None:
    link.channel.close("the test has ended")
    await link.channel.wait_closed()


def test_requests_are_answered_across_connections(tmp_path: Path) -> None:
    @on_loop
    async def check() -> None:
        told = Told()
        link = await connect(endpoint, KEY, told)
        for number in range(5):
            endpoint.refusals = [LinkError("the API server restarts"), OSError(110, "timed out")]
            pending = [link.channel.request(GetHostname(), Hostname) for _ in range(number + 1)]
            endpoint.cut()
            assert len(await asyncio.gather(*pending)) == number + 1
        assert len(endpoint.websockets) == 6
        assert told.lines == []
        assert all("the link to the agent is back after" in line for line in told.details)
        await closed(link)

    with flaky(tmp_path) as endpoint:
        check()


def test_the_user_is_told_of_a_long_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "_QUIET", 0.0)

    @on_loop
    async def check() -> None:
        told = Told()
        link = await connect(endpoint, KEY, told)
        endpoint.refusals = [LinkError("not yet")]
        endpoint.cut()
        await link.channel.request(GetHostname(), Hostname)
        broken, back = told.lines
        assert broken.startswith("the link to the agent broke, and is being brought back: ")
        assert back.startswith("the link to the agent is back after ")
        await closed(link)

    with flaky(tmp_path) as endpoint:
        check()


def test_an_agent_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    @on_loop
    async def check() -> None:
        link = await connect(endpoint, KEY)
        endpoint.refusals = [LinkError("not yet"), AgentGone("its pod is gone")]
        endpoint.cut()
        assert await link.channel.closed == "the other side closed the connection"

    with flaky(tmp_path) as endpoint:
        check()


def test_in_the_end_it_is_given_up(tmp_path: Path) -> None:
    @on_loop
    async def check() -> None:
        link = await connect(endpoint, KEY)
        endpoint.refusals = [LinkError("no route")] * 1_000
        endpoint.cut()
        assert await link.channel.closed == (
            "the other side closed the connection, and it could not be reached for 0.3 s: no route"
        )

    with flaky(tmp_path, "--patience", "0.3") as endpoint:
        check()


OTHER: Final = "could not be resumed: the agent refused: the two sides do not agree on what has arrived"


def test_a_session_that_cannot_be_resumed_ends(tmp_path: Path) -> None:
    @on_loop
    async def check() -> None:
        link = await connect(endpoint, KEY)
        await link.channel.request(Stat(path=b"/"))
        link.channel._socket.received += 1  # type: ignore[attr-defined]
        endpoint.cut()
        assert OTHER in await link.channel.closed

    with flaky(tmp_path) as endpoint:
        check()


def test_a_session_that_ends_meanwhile_says_goodbye(tmp_path: Path) -> None:
    with running_agent(tmp_path / "agent.sock", os.getpid()) as agent:
        endpoint = Flaky(agent.endpoint)

        @on_loop
        async def check() -> None:
            link = await connect(endpoint, KEY)
            endpoint.gate = asyncio.Event()
            endpoint.cut()
            while link.channel._socket.connected:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # the attempt begins
            link.channel.close("the session is over")
            assert await link.channel.closed == "the session is over"
            endpoint.gate.set()
            while len(endpoint.websockets) < 2:
                await asyncio.sleep(0)
            await endpoint.websockets[1].wait_closed()

        check()
        assert "the client is gone: the session is over" in agent.ended()[1]
