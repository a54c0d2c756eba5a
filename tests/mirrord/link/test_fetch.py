"""Filling placeholders; what openers see of it is in test_files.py."""

import asyncio
import errno
import os
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from mirrord_agent.wire.messages import Attributes, FileOpened, OpenFile

from mirrord.link.fetch import Fetches, Wanted
from mirrord.link.placeholders import Placeholders

from .agent import FakeAgent, attributes, until

WANTED: Final = Wanted(b"/srv/file")
Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """Fetches, the agent that they ask, and what the user is told."""

    def __init__(self, root: Path, space: int | None) -> None:
        self.agent: Final = FakeAgent()
        self.placeholders: Final = Placeholders(str(root), space=space)
        self.said: Final[list[str]] = []
        self.fetches: Final = Fetches(
            self.agent.lead, self.placeholders, inform=self.said.append, warn=self.said.append
        )

    async def give(self, number: int, *pieces: bytes, of: Attributes, offset: int = 0) -> None:
        """Answer one of the opens."""
        id, request = await self.agent.request(number)
        assert isinstance(request, OpenFile)
        self.agent.reply(id, FileOpened(attributes=of, offset=offset))
        self.agent.content(request.stream, *pieces)

    async def fetch(self, *pieces: bytes, of: Attributes, number: int = 0, offset: int = 0) -> bytes:
        """Fetch a file; return its placeholder."""
        fetch = asyncio.ensure_future(self.fetches.get(WANTED))
        await self.give(number, *pieces, of=of, offset=offset)
        _, placeholder = await fetch
        assert placeholder is not None
        return placeholder


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Run a story with fetches."""

    def run(story: Story, *, space: int | None = None) -> None:
        async def main() -> None:
            await story(Scene(tmp_path / "fs", space))

        asyncio.run(main())

    return run


def test_zeros_are_holes_also_at_the_end(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        zeros = bytes(2**16)
        placeholder = await scene.fetch(zeros, b"middle", zeros, zeros, of=attributes(size=3 * 2**16 + 6))
        content = Path(os.fsdecode(placeholder)).read_bytes()
        assert content == zeros + b"middle" + zeros * 2
        assert os.stat(placeholder).st_blocks * 512 < 2**16

    play(story)


def test_what_has_grown_goes_on_under_the_same_descriptor(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        placeholder = await scene.fetch(b"first", of=attributes(size=5))
        with open(placeholder, "rb") as log:
            assert log.read() == b"first"
            grown = attributes(size=11, mtime_ns=9)
            assert await scene.fetch(b"second", of=grown, number=1, offset=5) == placeholder
            assert log.read() == b"second"
        request = scene.agent.asked(OpenFile)[1]
        assert request.have == attributes(size=5).version()
        assert request.digest is not None

    play(story)


def test_the_end_of_what_was_never_here_is_no_file(play: Callable[..., None]) -> None:
    """An agent that sends what nobody can append to is not believed."""

    async def story(scene: Scene) -> None:
        with pytest.raises(OSError) as caught:
            await scene.fetch(b"second", of=attributes(size=11), offset=5)
        assert caught.value.errno == errno.EIO

    play(story)


def test_a_directory_has_no_content(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        folder = attributes(mode=0o40755)
        fetch = asyncio.ensure_future(scene.fetches.get(WANTED))
        await scene.give(0, of=folder)
        assert await fetch == (folder, None)

    play(story)


def test_a_file_that_nobody_may_write_is_filled(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        placeholder = await scene.fetch(b"x", of=attributes(mode=0o100400, size=1))
        assert os.stat(placeholder).st_mode & 0o777 == 0o400

    play(story)


def test_what_does_not_fit_is_said_to_who_opens_it_only(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        for number, ahead in enumerate((True, False)):
            fetch = asyncio.ensure_future(scene.fetches.get(WANTED, ahead=ahead))
            await scene.give(number, of=attributes(size=100))
            with pytest.raises(OSError) as caught:
                await fetch
            assert caught.value.errno == errno.ENOSPC
            assert len(scene.said) == number
        assert "MIRRORD_FS_SPACE" in scene.said[0]
        assert "/srv/file" in scene.said[0]

    play(story, space=50)


def test_a_disk_that_is_full_is_said(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def story(scene: Scene) -> None:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OSError) as caught:
            await scene.fetch(b"hello", of=attributes(size=5))
        assert caught.value.errno == errno.ENOSPC
        assert "no room here for /srv/file" in scene.said[0]

    play(story)


def test_no_descriptor_is_left_open(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(3):
            await scene.fetch(b"hello", of=attributes(size=5, mtime_ns=number), number=number)
        assert len(os.listdir("/proc/self/fd")) == before < resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    play(story)


def test_a_file_is_fetched_from_the_pod_that_takes_over(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        other, lead = FakeAgent(), scene.agent.lead
        lead.expect()
        fetch = asyncio.ensure_future(scene.fetches.get(WANTED))
        id, request = await scene.agent.request()
        assert isinstance(request, OpenFile)
        scene.agent.reply(id, FileOpened(attributes=attributes(size=10)))
        scene.agent.datagram(request.stream, b"of the")
        await until(lambda: scene.placeholders.in_use)
        scene.agent.lose()
        lead.move(other.channel)
        id, request = await other.request()
        assert isinstance(request, OpenFile)
        other.reply(id, FileOpened(attributes=attributes(size=8, ino=9)))
        other.content(request.stream, b"other's\n")
        _, placeholder = await fetch
        assert placeholder is not None
        assert Path(os.fsdecode(placeholder)).read_bytes() == b"other's\n"

    play(story)
