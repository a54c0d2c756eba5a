"""Another pod takes the place of the first one, and the user is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

import pytest
from mirrord_agent.wire.messages import GetHostname, Hostname

from mirrord.link import client
from mirrord.link.client import Link
from mirrord.link.endpoint import AgentEndpoint
from mirrord.session.replicas import Replicas
from mirrord.session.say import Sayings
from mirrord.session.succession import Succession
from mirrord.targets.base import Replica, Target

from ..link.agent import FakeAgent, until


def replica(name: str) -> Replica:
    return Replica(name, AgentEndpoint(name, b""))


class Scene:
    """A target of the pod ``web-1`` and of what the test adds, each with an agent."""

    def __init__(self) -> None:
        self.agents: Final[dict[str, FakeAgent]] = {"web-1": FakeAgent()}
        self.warned: Final[list[str]] = []
        self.lost: Final[list[str]] = []
        self.pod = "web-1"
        self.beside: list[str] = []
        """The pods for which an agent can be started."""
        self.coming: Final[asyncio.Queue[Replica]] = asyncio.Queue()
        self.going = asyncio.Event()
        self.gone: Final[set[str]] = set()
        """Those that are going before they lead."""
        target, sayings = cast(Target, self), cast(Sayings, self)
        self.links: Final = Replicas(target, cast(Any, None), sayings, self.agents["web-1"].lead)
        self.lead: Final = self.links.lead
        self.links.begin(Succession(target, self.links, sayings, lost=self.lost.append).serve())

    async def connect(self, endpoint: AgentEndpoint, key: object, tell: object) -> Link:
        return Link(self.agents.setdefault(endpoint.path, FakeAgent()).channel, cast(Any, None))

    # What is asked of a target.

    async def leaving(self) -> None:
        await self.going.wait()

    async def successor(self) -> Replica | None:
        return replica(self.beside.pop()) if self.beside else None

    async def replicas(self) -> list[Replica]:
        return [replica(name) for name in self.beside]

    async def later_replicas(self) -> AsyncIterator[Replica]:
        while True:
            yield await self.coming.get()

    def leads(self, pod: str) -> None:
        self.pod = pod
        if pod not in self.gone:
            self.going.clear()

    # What is said.

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def info(self, text: str) -> None:
        """Hear nothing of it."""

    def leads_to(self, pod: str) -> bool:
        """Tell whether a pod leads."""
        return pod in self.agents and self.lead.channel is self.agents[pod].channel


Story = Callable[[Scene], Awaitable[None]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Run a story."""

    async def main(story: Story) -> None:
        scene = Scene()
        monkeypatch.setattr(client, "connect", scene.connect)
        async with asyncio.timeout(20):
            # until what is served has begun to be
            await asyncio.sleep(0)
            await story(scene)
        scene.links.stop()
        await asyncio.sleep(0)

    return lambda story: asyncio.run(main(story))


def test_a_pod_that_is_being_deleted_is_left_before_it_ends(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.beside = ["web-2"]
        scene.going.set()
        await until(lambda: scene.leads_to("web-2"))
        assert scene.pod == "web-2"
        assert scene.agents["web-1"].channel.reason is None
        assert scene.warned == [
            "warning: pod web-1 is being deleted: files, names and new connections are those of pod web-2 "
            "from now on"
        ]
        # and so on
        scene.beside = ["web-3"]
        scene.agents["web-2"].lose()
        await until(lambda: scene.leads_to("web-3"))
        assert scene.warned[1].startswith("warning: pod web-2 is gone (lost in a test): files, ")
        assert scene.lost == []

    play(story)


def test_what_is_asked_meanwhile_waits(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.beside = ["web-2"]
        scene.agents["web-2"] = other = FakeAgent()
        other.answer = lambda request: Hostname(name=b"web-2")
        scene.agents["web-1"].lose()
        assert (await scene.lead.request(GetHostname(), Hostname)).name == b"web-2"

    play(story)


def test_without_another_it_is_told_and_one_that_comes_later_takes_over(
    play: Callable[[Story], None],
) -> None:
    async def story(scene: Scene) -> None:
        scene.going.set()
        await until(lambda: scene.warned)
        assert "being deleted, and what the program has of it goes with it" in scene.warned[0]
        assert not scene.lead.awaited
        scene.agents["web-1"].lose()
        await until(lambda: scene.lost)
        assert scene.lost == ["lost in a test"]
        assert not scene.lead.awaited
        scene.coming.put_nowait(replica("web-2"))
        await until(lambda: scene.leads_to("web-2"))
        assert len(scene.warned) == 2

    play(story)


def test_a_pod_that_has_been_left_is_not_returned_to(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.beside = ["web-2"]
        scene.gone.add("web-2")
        scene.going.set()
        await until(lambda: len(scene.warned) == 2)
        assert scene.pod == "web-2"
        assert scene.warned[1].startswith("warning: pod web-2 is being deleted, and what the program has")
        scene.coming.put_nowait(replica("web-3"))
        await until(lambda: scene.leads_to("web-3"))

    play(story)
