"""Bringing directories: once for all that ask, page by page, not where nothing would be told of changes."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from mirrord_agent.wire.messages import (
    Attributes,
    Changed,
    Done,
    Entry,
    Failed,
    ListDirectory,
    Listing,
    Reply,
    Request,
    Unwatch,
)

from mirrord.link.listings import Listings
from mirrord.link.placeholders import Placeholders

from .agent import FakeAgent, attributes, until

Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """Listings, the directories that the agent has, and what the user is told."""

    def __init__(self, root: Path) -> None:
        self.agent: Final = FakeAgent()
        self.agent.lists = True
        self.agent.answer = self._answer
        self.said: Final[list[str]] = []
        self.there: Final[dict[bytes, Listing]] = {}
        self.listings: Final = Listings(self.agent.lead, Placeholders(str(root)), detail=self.said.append)

    def asked(self) -> list[bytes]:
        """Return the paths that were listed, in order."""
        return [request.path for request in self.agent.asked(ListDirectory)]

    def _answer(self, request: Request) -> Reply | None:
        if isinstance(request, ListDirectory):
            if request.after is not None:
                return listing(entry(request.after + b"+"), more=len(request.after) < 30)
            return self.there.get(request.path, Failed(errno=errno.ENOENT))
        return Done() if isinstance(request, Unwatch) else None


def entry(name: bytes, ino: int = 7) -> Entry:
    return Entry(name=name, attributes=attributes(ino=ino), steady=True)


def folder(real: bytes | None = None) -> Attributes:
    return attributes(ino=1, mode=0o40755).model_copy(update={"real": real})


def listing(
    *entries: Entry,
    watch: int | None = None,
    more: bool = False,
    real: bytes | None = None,
    exhausted: bool = False,
) -> Listing:
    return Listing(attributes=folder(real), entries=entries, watch=watch, more=more, exhausted=exhausted)


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    """Run a story with listings."""

    def run(story: Story) -> None:
        async def main() -> None:
            await story(Scene(tmp_path / "fs"))

        asyncio.run(main())

    return run


def test_a_directory_is_listed_once_for_all_that_ask(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(entry(b"a"), watch=1)
        await asyncio.gather(*(scene.listings.learn(b"/srv/%d" % number) for number in range(20)))
        await scene.listings.learn(b"/srv/./a")
        assert scene.asked() == [b"/srv"]
        assert scene.listings.cache.find(b"/srv/a", follow=True) is not None

    play(story)


def test_one_that_is_not_watched_is_not_listed_again(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing()
        for _ in range(3):
            await scene.listings.learn(b"/srv/a")
        assert scene.asked() == [b"/srv"]
        scene.agent.emit(Changed(watch=5, name=b"x"))
        await until(lambda: not scene.listings._unlistable)
        await scene.listings.learn(b"/srv/a")
        assert scene.asked() == [b"/srv"] * 2

    play(story)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_one_that_may_not_be_read_is_given_up(play: Callable[[Story], None], number: int) -> None:
    async def story(scene: Scene) -> None:
        scene.agent.answer = lambda request: Failed(errno=number)
        for _ in range(3):
            await scene.listings.learn(b"/srv/a")
        assert len(scene.agent.requests) == 1

    play(story)


def test_one_that_is_not_there_is_known_by_the_one_above(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/"] = listing(watch=1)
        with pytest.raises(FileNotFoundError):
            await scene.listings.learn(b"/none/a")
        assert scene.asked() == [b"/none", b"/"]
        with pytest.raises(FileNotFoundError):
            scene.listings.cache.find(b"/none/b", follow=True)

    play(story)


def test_the_way_by_a_link_is_learnt_too(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/link"] = listing(watch=1, real=b"/srv")
        scene.there[b"/"] = listing(watch=2)
        await scene.listings.learn(b"/link/a")
        assert scene.asked() == [b"/link", b"/"]
        assert scene.listings.cache.directories.keys() == {b"/srv", b"/"}

    play(story)


def test_a_huge_directory_is_not_brought_for_one_name(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(entry(b"a"), watch=1, more=True)
        await scene.listings.learn(b"/srv/a")
        assert len(scene.asked()) == 8
        assert not scene.listings.cache.directories[b"/srv"].complete

    play(story)


def test_a_skeleton_is_complete_and_made_once(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(entry(b"a", 2), watch=1, more=True)
        placeholder, real = await scene.listings.skeleton(b"/srv")
        assert real == b"/srv"
        assert sorted(map(len, os.listdir(placeholder))) == list(range(1, 32))
        asked = len(scene.asked())
        assert await scene.listings.skeleton(b"/srv") == (placeholder, real)
        assert len(scene.asked()) == asked

    play(story)


def test_what_is_gone_goes_from_the_skeleton(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(entry(b"a", 2), entry(b"b", 3), watch=1)
        placeholder, _ = await scene.listings.skeleton(b"/srv")
        assert sorted(os.listdir(placeholder)) == [b"a", b"b"]
        scene.there[b"/srv"] = listing(entry(b"b", 3), entry(b"c", 4), watch=1)
        scene.agent.emit(Changed(watch=1, name=b"a", names=True))
        await until(lambda: not scene.listings.cache.directories[b"/srv"].in_step)
        assert (await scene.listings.skeleton(b"/srv"))[0] == placeholder
        assert sorted(os.listdir(placeholder)) == [b"b", b"c"]

    play(story)


def test_that_there_are_no_watches_left_is_said(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(exhausted=True)
        await scene.listings.learn(b"/srv/a")
        assert len(scene.said) == 1
        assert "fs.inotify.max_user_watches" in scene.said[0]

    play(story)


def test_what_nothing_depends_on_is_not_watched_any_more(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(watch=1)
        await scene.listings.learn(b"/srv/a")
        scene.listings.cache.drop(b"/srv")
        scene.there[b"/srv"] = listing(watch=2)
        await scene.listings.learn(b"/srv/a")
        await until(lambda: scene.agent.asked(Unwatch))
        assert scene.agent.asked(Unwatch) == [Unwatch(watches=(1,))]

    play(story)


def test_listing_for_those_who_ask_next_disturbs_nobody(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        scene.there[b"/srv"] = listing(watch=1)
        scene.listings.learn_later(b"/srv/a")
        scene.listings.learn_later(b"/none/a")
        await until(lambda: b"/srv" in scene.listings.cache.directories and not scene.listings._background)

    play(story)


def test_nothing_is_known_of_a_pod_whose_place_another_has_taken(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        other, listings = FakeAgent(), scene.listings
        other.lists, other.answer = True, scene.agent.answer
        scene.there[b"/a"] = listing(entry(b"old"), watch=7)
        await listings.learn(b"/a/x")
        assert list(listings.cache.directories[b"/a"].names) == [b"old"]

        changed: list[set[bytes]] = []
        listings.on_changed = changed.append
        scene.there[b"/a"] = listing(entry(b"new"), watch=7)
        scene.agent.lead.move(other.channel)
        assert changed == [{b"/a"}]
        assert not listings.cache.directories
        await listings.learn(b"/a/x")
        assert list(listings.cache.directories[b"/a"].names) == [b"new"]
        # numbers of watches are each agent's own
        assert not scene.agent.asked(Unwatch)
        assert not other.asked(Unwatch)

    play(story)


def test_a_listing_of_the_pod_before_is_asked_for_again(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        other, listings, lead = FakeAgent(), scene.listings, scene.agent.lead
        other.lists, other.answer = True, scene.agent.answer
        lead.expect()
        scene.there[b"/a"] = listing(entry(b"new"), watch=7)
        scene.agent.answer = lambda request: None
        learning = asyncio.ensure_future(listings.learn(b"/a/x"))
        id, _ = await scene.agent.request()
        lead.move(other.channel)
        scene.agent.reply(id, listing(entry(b"old"), watch=7))
        await learning
        assert list(listings.cache.directories[b"/a"].names) == [b"new"]
        assert len(other.asked(ListDirectory)) == 1

    play(story)
