import asyncio
from dataclasses import dataclass, field

import pytest
from mirrord_agent import presence as module
from mirrord_agent.presence import Presence

from .running import on_loop, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.001)
    monkeypatch.setattr(module, "_BROKEN", 0.001)


@dataclass
class Silent:
    """A link through which something comes when a test says so."""

    bytes_received: int = 0


@dataclass
class Talking:
    """A link through which something has come whenever anybody looks."""

    looks: int = 0

    @property
    def bytes_received(self) -> int:
        self.looks += 1
        return self.looks


@dataclass
class Told:
    """What was told of a client, in order."""

    news: list[str] = field(default_factory=list)

    def presence(self, *, patience: float = 60) -> Presence:
        return Presence(
            asyncio.get_running_loop(),
            patience=patience,
            gone=self.news.append,
            away=lambda: self.news.append("away"),
            back=lambda: self.news.append("back"),
        )


@on_loop
async def test_who_does_not_come_is_gone() -> None:
    told = Told()
    presence = told.presence(patience=0.001)
    presence.expect("nobody came")
    await until(lambda: told.news == ["nobody came"])
    presence.stop()


@on_loop
async def test_a_broken_link_is_a_client_that_is_away() -> None:
    told, link = Told(), Talking()
    presence = told.presence()
    presence.there(link)
    presence.broken("it broke")
    await until(lambda: told.news == ["away"])
    presence.there(link)
    assert told.news == ["away", "back"]
    presence.stop()


@on_loop
async def test_one_that_comes_back_in_time_was_never_away() -> None:
    told, link = Told(), Talking()
    presence = told.presence()
    presence.broken("it broke")
    presence.there(link)
    await until(lambda: link.looks > 2 * module._QUIET)
    assert told.news == []
    presence.stop()


@on_loop
async def test_silence_is_absence_until_something_comes() -> None:
    told, link = Told(), Silent()
    presence = told.presence()
    presence.there(link)
    await until(lambda: told.news == ["away"])
    link.bytes_received += 1
    await until(lambda: told.news == ["away", "back"])
    await until(lambda: told.news == ["away", "back", "away"])
    presence.broken("it broke")
    presence.there(link)
    assert told.news == ["away", "back", "away", "back"]
    presence.stop()


@on_loop
async def test_nothing_is_told_after_the_end() -> None:
    ended, later = Told(), Told()
    for told in (ended, later):
        presence = told.presence(patience=0.001)
        presence.there(Silent())
        presence.broken("it broke")
        if told is ended:
            presence.stop()
    await until(lambda: len(later.news) == 2)
    assert ended.news == []
    presence.stop()
