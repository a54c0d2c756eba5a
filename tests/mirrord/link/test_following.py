"""What a program wanted to watch is fetched again when it changes, if it was fetched before."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from mirrord_agent.wire.messages import (
    Attributes,
    Changed,
    Entry,
    FileOpened,
    ListDirectory,
    Listing,
    OpenFile,
    Reply,
    Request,
    Stat,
)

from mirrord.link import following
from mirrord.link.files import RemoteFiles
from mirrord.link.placeholders import Placeholders

from .agent import FakeAgent, attributes, until

LOG = b"/srv/log"
OTHER = b"/srv/other"
FOLDER = attributes(ino=2, mode=0o40755)
Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """A directory with a log that grows, and another file."""

    def __init__(self, root: Path) -> None:
        self.agent = FakeAgent()
        self.agent.lists = True
        self.agent.answer = self._answer
        self.files = RemoteFiles(self.agent.lead, Placeholders(str(root)))
        self.content = {LOG: b"one\n", OTHER: b"other"}

    def of(self, path: bytes) -> Attributes:
        """Return the attributes that a file has now."""
        size = len(self.content[path])
        return attributes(ino=10 + len(path), size=size, mtime_ns=size)

    def grow(self, path: bytes, more: bytes) -> None:
        """Append to a file."""
        self.content[path] += more
        self.agent.emit(Changed(watch=1, name=os.path.basename(path)))

    def fetched(self) -> list[bytes]:
        """Return what was asked for, in order."""
        return [request.path for request in self.agent.asked(OpenFile)]

    def _answer(self, request: Request) -> Reply | None:
        if isinstance(request, ListDirectory):
            if request.path != b"/srv":
                return Listing(attributes=attributes(ino=1, mode=0o40755), entries=())
            entries = (
                Entry(name=os.path.basename(path), attributes=self.of(path), steady=True)
                for path in sorted(self.content)
            )
            return Listing(attributes=FOLDER, entries=tuple(entries), watch=1)
        return FOLDER if isinstance(request, Stat) else None

    async def send(self, number: int) -> None:
        """Answer an open with what the requester does not have."""
        await until(lambda: len(self.agent.asked(OpenFile)) > number)
        opens = [(id, one) for id, one in self.agent.requests if isinstance(one, OpenFile)]
        id, request = opens[number]
        have = request.have.size if request.have is not None else 0
        self.agent.reply(id, FileOpened(attributes=self.of(request.path), offset=have))
        self.agent.content(request.stream, self.content[request.path][have:])


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Run a story with a directory."""
    monkeypatch.setattr(following, "_PAUSE", 0.0)

    def run(story: Story) -> None:
        async def main() -> None:
            await story(Scene(tmp_path / "fs"))

        asyncio.run(main())

    return run


async def opened(scene: Scene, path: bytes, number: int) -> int:
    fd = asyncio.ensure_future(scene.files.open(path, os.O_RDONLY))
    await scene.send(number)
    return await fd


@pytest.mark.parametrize("watched", [LOG, b"/srv"])
def test_a_log_grows_under_the_descriptor(play: Callable[[Story], None], watched: bytes) -> None:
    async def story(scene: Scene) -> None:
        with open(await opened(scene, LOG, 0), "rb") as log:
            assert log.read() == b"one\n"
            await scene.files.follow(watched, follow=True)
            for number, line in enumerate((b"two\n", b"three\n"), 1):
                scene.grow(LOG, line)
                await scene.send(number)
                await until(lambda: os.fstat(log.fileno()).st_size == len(scene.content[LOG]))
                assert log.read() == line

    play(story)


def test_who_finds_another_file_under_the_name_has_the_rest_of_the_old_one(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log is rotated behind its last line: ``tail -F`` reads the old one once more, then opens the new."""

    async def story(scene: Scene) -> None:
        with open(await opened(scene, LOG, 0), "rb") as log:
            await scene.files.follow(LOG, follow=True)
            await scene.files.stat(LOG, follow=True)
            assert not scene.files._following._tasks
            scene.grow(LOG, b"two\n")
            await until(lambda: scene.files._following._tasks)
            looked = asyncio.ensure_future(scene.files.stat(LOG, follow=True))
            await until(lambda: len(scene.agent.asked(OpenFile)) > 1)
            assert not looked.done()
            await scene.send(1)
            await looked
            assert log.read() == b"one\ntwo\n"

    monkeypatch.setattr(following, "_PAUSE", 3600.0)
    play(story)


def test_what_was_never_fetched_is_not_now(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        os.close(await opened(scene, LOG, 0))
        await scene.files.follow(LOG, follow=True)
        scene.grow(OTHER, b"more")
        scene.grow(LOG, b"two\n")
        await scene.send(1)
        await until(lambda: scene.agent.channel.open_streams == 0)
        assert scene.fetched() == [LOG, LOG]

    play(story)


def test_without_a_watch_of_the_program_nothing_is_fetched_again(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        os.close(await opened(scene, LOG, 0))
        await scene.files.stat(LOG, follow=True)
        scene.grow(LOG, b"two\n")
        await until(lambda: scene.files._cache.directories[b"/srv"].names[b"log"] is None)
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.fetched() == [LOG]

    play(story)


def test_a_directory_that_is_gone_ends_it(play: Callable[[Story], None]) -> None:
    async def story(scene: Scene) -> None:
        os.close(await opened(scene, LOG, 0))
        await scene.files.follow(LOG, follow=True)
        await until(lambda: not scene.files._following._tasks)
        scene.agent.lose()
        scene.files._following.begin(b"/srv")
        await until(lambda: not scene.files._following._tasks)
        assert scene.fetched() == [LOG]

    play(story)
