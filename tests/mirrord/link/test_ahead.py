"""What is fetched before it is asked for: the next small files of a directory that is gone through."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from mirrord_agent.wire.messages import (
    Changed,
    Entry,
    Failed,
    FileOpened,
    ListDirectory,
    Listing,
    OpenFile,
    Reply,
    Request,
)

from mirrord.link.files import RemoteFiles
from mirrord.link.placeholders import Placeholders

from .agent import FakeAgent, attributes, until

FOLDER: Final = b"/srv"
WATCH: Final = 1
QUIET: Final = 30
"""Turns of the loop without a stream, after which nothing is under way."""
DIRECTORY: Final = attributes(ino=1, mode=0o40755)


class There:
    """A directory of the target; its files hold their own names."""

    def __init__(self, agent: FakeAgent, files: RemoteFiles, names: list[bytes]) -> None:
        self.agent: Final = agent
        self.files: Final = files
        self.entries: Final = {name: self._entry(name, number) for number, name in enumerate(names, 10)}
        self.answers = True
        """Whether files are sent."""
        self._sent: Final[set[int]] = set()
        agent.lists = True
        agent.answer = self._answer

    def change(self, name: bytes, *, steady: bool = True, **changes: object) -> None:
        """Make an entry another kind of file."""
        entry = self.entries[name]
        changed = entry.attributes.model_copy(update=changes)
        self.entries[name] = entry.model_copy(update={"attributes": changed, "steady": steady})

    async def show(self) -> None:
        """Have the program list the directory, as who goes through it does."""
        os.close(await self.files.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY))

    async def open(self, *names: bytes, flags: int = os.O_RDONLY) -> None:
        """Have the program open files, and check what it gets."""
        for name in names:
            with open(await self.files.open(FOLDER + b"/" + name, flags), "rb") as stream:
                assert stream.read() == name

    async def settle(self) -> list[bytes]:
        """Let everything that is under way end; return the names that were asked for, in order."""
        turns = 0
        while turns < QUIET:
            await asyncio.sleep(0)
            turns = 0 if self.agent.channel.open_streams else turns + 1
        return self.asked()

    def asked(self) -> list[bytes]:
        """Return the names of the files that were asked for, in order."""
        return [os.path.basename(request.path) for request in self.agent.asked(OpenFile)]

    @staticmethod
    def _entry(name: bytes, number: int) -> Entry:
        return Entry(name=name, attributes=attributes(ino=number, size=len(name)), xattrs=False, steady=True)

    def _answer(self, request: Request) -> Reply | None:
        if isinstance(request, ListDirectory):
            if request.path != FOLDER:
                return Listing(attributes=DIRECTORY, entries=())
            return Listing(attributes=DIRECTORY, entries=tuple(self.entries.values()), watch=WATCH)
        if not isinstance(request, OpenFile) or not self.answers:
            return None
        name = os.path.basename(request.path)
        if request.stream not in self._sent:
            self._sent.add(request.stream)
            self.agent.channel.loop.call_soon(lambda: self.agent.content(request.stream, name))
        return FileOpened(attributes=self.entries[name].attributes)


Story = Callable[[There], Awaitable[None]]
NAMES: Final = [b"f%03d" % number for number in range(100)]


@pytest.fixture
def said() -> list[str]:
    """What the user was told."""
    return []


@pytest.fixture
def play(tmp_path: Path, said: list[str]) -> Callable[..., None]:
    """Run a story with a directory."""

    def run(story: Story, *, space: int | None = None, names: list[bytes] = NAMES) -> None:
        async def main() -> None:
            agent = FakeAgent()
            placeholders = Placeholders(str(tmp_path / "fs"), space=space)
            files = RemoteFiles(agent.lead, placeholders, inform=said.append, warn=said.append)
            await story(There(agent, files, names))

        asyncio.run(main())

    return run


def test_one_file_brings_no_other(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(NAMES[0], NAMES[0])
        assert await there.settle() == [NAMES[0]]

    play(story)


def test_files_of_a_directory_that_was_not_listed_bring_no_others(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.open(*NAMES[:5])
        assert await there.settle() == NAMES[:5]

    play(story)


def test_the_second_one_brings_the_next_ones_and_each_more(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(*NAMES[:2])
        assert await there.settle() == NAMES[:18]
        await there.open(NAMES[2])
        assert await there.settle() == NAMES[:26]

    play(story)


def test_every_file_is_asked_for_once(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(*NAMES)
        assert sorted(await there.settle()) == NAMES

    play(story)


def test_who_goes_backwards_gets_the_ones_before(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(NAMES[50], NAMES[49])
        assert await there.settle() == [NAMES[50], *reversed(NAMES[33:50])]

    play(story)


def test_who_begins_in_the_middle_gets_the_rest_at_last(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(NAMES[98], NAMES[99])
        assert await there.settle() == [NAMES[98], NAMES[99], *NAMES[:16]]

    play(story)


def test_what_is_not_small_regular_and_known_is_left_alone(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        there.change(NAMES[2], size=65_537)
        there.change(NAMES[3], mode=0o120777)
        there.change(NAMES[4], steady=False)
        await there.show()
        await there.open(*NAMES[:2])
        assert await there.settle() == [*NAMES[:2], *NAMES[5:21]]

    play(story)


def test_flags_are_the_programs(play: Callable[..., None]) -> None:
    """So that its own open finds the file on its way."""

    async def story(there: There) -> None:
        await there.show()
        await there.open(*NAMES[:2], flags=os.O_NOFOLLOW)
        await there.settle()
        assert {request.flags for request in there.agent.asked(OpenFile)} == {os.O_NOFOLLOW}

    play(story)


def test_nothing_that_is_here_has_to_go_for_it(play: Callable[..., None], said: list[str]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(*NAMES[:2])
        assert await there.settle() == NAMES[:4]
        assert said == []

    play(story, space=16)


def test_a_directory_that_changes_is_not_gone_through_any_more(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(NAMES[0])
        there.agent.emit(Changed(watch=WATCH, name=b"new", names=True))
        await there.open(*NAMES[1:3])
        assert await there.settle() == NAMES[:3]

    play(story)


def test_a_program_that_wants_one_that_is_on_its_way_waits_for_it(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        await there.show()
        await there.open(NAMES[0])
        there.answers = False
        second = asyncio.ensure_future(there.open(NAMES[1]))
        await until(lambda: len(there.agent.asked(OpenFile)) == 2)
        _give(there, 1)
        await second
        await until(lambda: len(there.agent.asked(OpenFile)) == 18)
        third = asyncio.ensure_future(there.open(NAMES[2]))
        for number in range(2, 18):
            _give(there, number)
        await third
        assert there.asked().count(NAMES[2]) == 1

    play(story)


def _give(there: There, number: int) -> None:
    id, request = [pair for pair in there.agent.requests if isinstance(pair[1], OpenFile)][number]
    assert isinstance(request, OpenFile)
    name = os.path.basename(request.path)
    there.agent.reply(id, FileOpened(attributes=there.entries[name].attributes))
    there.agent.content(request.stream, name)


def test_a_failure_is_for_who_opens_it(play: Callable[..., None], said: list[str]) -> None:
    async def story(there: There) -> None:
        usual = there.agent.answer

        def answer(request: Request) -> Reply | None:
            wanted = isinstance(request, OpenFile) and request.path.endswith(NAMES[2])
            return Failed(errno=13) if wanted else usual(request)

        there.agent.answer = answer
        await there.show()
        await there.open(*NAMES[:2])
        assert NAMES[2] in await there.settle()
        with pytest.raises(PermissionError):
            await there.open(NAMES[2])
        await there.open(*NAMES[3:])
        assert said == []

    play(story)


def test_watchers_are_told_of_what_is_opened_only(play: Callable[..., None]) -> None:
    async def story(there: There) -> None:
        told: list[tuple[bytes, bool]] = []
        there.files.watch(lambda path, size, cached: told.append((os.path.basename(path), cached)))
        await there.show()
        await there.open(*NAMES[:2])
        await there.settle()
        await there.open(NAMES[2])
        assert told == [(NAMES[0], False), (NAMES[1], False), (NAMES[2], True)]

    play(story)
