import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mirrord_agent.wire.messages import (
    Access,
    Attributes,
    Done,
    Entry,
    FileOpened,
    Link,
    ListDirectory,
    Listing,
    OpenFile,
    ReadLink,
    Reply,
    Request,
    Stat,
)

from mirrord.link.files import RemoteFiles
from mirrord.link.placeholders import Placeholders

from .agent import FakeAgent, attributes, until

Story = Callable[[FakeAgent, RemoteFiles], Awaitable[None]]
FILE = b"/srv/file"


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    """Run a story with an agent and the files that are fetched from it."""

    def run(story: Story) -> None:
        async def main() -> None:
            agent = FakeAgent()
            await story(agent, RemoteFiles(agent.lead, Placeholders(str(tmp_path / "fs"))))

        asyncio.run(main())

    return run


def opening(agent: FakeAgent, number: int = 0) -> OpenFile:
    request = agent.requests[number][1]
    assert isinstance(request, OpenFile)
    return request


async def give(agent: FakeAgent, number: int, content: bytes, of: Attributes) -> None:
    """Answer an open with a content in pieces of two bytes."""
    id, request = await agent.request(number)
    assert isinstance(request, OpenFile)
    agent.reply(id, FileOpened(attributes=of))
    agent.content(request.stream, *(content[at : at + 2] for at in range(0, len(content), 2)))


def content(fd: int) -> bytes:
    with open(fd, "rb") as stream:
        return stream.read()


def test_a_file_is_fetched(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await give(agent, 0, b"hello", attributes(mode=0o100640))
        fd = await opened
        status = os.fstat(fd)
        assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o640, 5)
        assert status.st_mtime_ns == attributes().mtime_ns
        assert not os.get_inheritable(fd)
        assert content(fd) == b"hello"
        assert opening(agent) == OpenFile(stream=1, path=FILE)

    play(story)


def test_an_empty_file_is_fetched(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        read = asyncio.create_task(files.read(FILE))
        await give(agent, 0, b"", attributes(size=0))
        assert await read == b""

    play(story)


def test_a_file_that_shrank_meanwhile_ends_where_it_ends_now(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        read = asyncio.create_task(files.read(FILE))
        await give(agent, 0, b"abc", attributes(size=1_000_000))
        assert await read == b"abc"

    play(story)


def test_many_openers_share_one_fetch(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = [asyncio.create_task(files.open(FILE, os.O_RDONLY)) for _ in range(20)]
        await give(agent, 0, b"hello", attributes())
        fds = [await one for one in opened]
        assert len(set(fds)) == 20
        assert [content(fd) for fd in fds] == [b"hello"] * 20, "each has a place of its own"
        assert len(agent.requests) == 1

    play(story)


def test_an_opener_that_gives_up_does_not_stop_the_others(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        first = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        second = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await agent.request()
        first.cancel()
        await give(agent, 0, b"hello", attributes())
        assert content(await second) == b"hello"
        assert first.cancelled()
        assert agent.cancelled == []

    play(story)


def test_a_fetch_that_nobody_waits_for_is_cancelled(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = [asyncio.create_task(files.open(FILE, os.O_RDONLY)) for _ in range(2)]
        await agent.request()
        for one in opened:
            one.cancel()
        await asyncio.wait(opened)
        for _ in range(10):
            await asyncio.sleep(0)
        assert agent.cancelled == [1]

    play(story)


def test_an_unchanged_file_is_not_fetched_again(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        first = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await give(agent, 0, b"hello", attributes())
        identity = os.fstat(fd := await first).st_ino
        os.close(fd)
        second = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        id, _ = await agent.request(1)
        assert opening(agent, 1).have == attributes().version()
        agent.reply(id, FileOpened(attributes=attributes(), unchanged=True))
        fd = await second
        assert os.fstat(fd).st_ino == identity
        assert content(fd) == b"hello"

    play(story)


def test_a_changed_file_is_fetched_again_and_the_old_one_stays(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        first = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await give(agent, 0, b"first", attributes())
        old = await first
        second = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await give(agent, 1, b"second", attributes(mtime_ns=5))
        assert content(await second) == b"second"
        assert content(old) == b"first"

    play(story)


def test_a_fetched_file_is_still_there_once_its_directory_is_looked_at(
    play: Callable[[Story], None],
) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        first = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await give(agent, 0, b"hello", attributes())
        assert content(await first) == b"hello"
        agent.answer = lambda request: attributes(ino=1, mode=0o40755) if isinstance(request, Stat) else None
        await files.stat(b"/srv", follow=True)
        assert await again(agent, files, FILE, 2, b"hello") == b"hello"

    play(story)


async def again(agent: FakeAgent, files: RemoteFiles, path: bytes, number: int, right: bytes) -> bytes:
    """Read a file as an agent has it that says "unchanged" to who has the right version."""
    read = asyncio.create_task(files.read(path))
    id, request = await agent.request(number)
    assert isinstance(request, OpenFile)
    unchanged = request.have is not None
    agent.reply(id, FileOpened(attributes=attributes(), unchanged=unchanged))
    agent.content(request.stream, *(() if unchanged else (right,)))
    return await read


def test_a_renamed_file_and_its_successor_are_not_mixed_up(play: Callable[[Story], None]) -> None:
    """Rotation of a log: the file gets another name, and a new one its old name."""

    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        async def fetched(path: bytes, number: int, what: bytes, of: Attributes) -> bytes:
            read = asyncio.create_task(files.read(path))
            await give(agent, number, what, of)
            return await read

        new = attributes(ino=8)
        assert await fetched(b"/log", 0, b"older", attributes()) == b"older"
        assert await fetched(b"/log", 1, b"newer", new) == b"newer"
        assert await fetched(b"/log.1", 2, b"older", attributes()) == b"older"
        read = asyncio.create_task(files.read(b"/log"))
        id, request = await agent.request(3)
        assert isinstance(request, OpenFile)
        agent.reply(id, FileOpened(attributes=new, unchanged=request.have == new.version()))
        agent.content(request.stream, *([] if request.have == new.version() else [b"newer"]))
        assert await read == b"newer"

    play(story)


def test_a_link_is_opened_as_itself_only_when_it_is_asked_for(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = [asyncio.create_task(files.open(FILE, flags)) for flags in (os.O_RDONLY, os.O_NOFOLLOW)]
        await agent.request(1)
        assert [opening(agent, number).flags for number in (0, 1)] == [0, os.O_NOFOLLOW]
        for id, _ in agent.requests:
            agent.fail(id, errno.ELOOP)
        results = await asyncio.gather(*opened, return_exceptions=True)
        assert [getattr(result, "errno", None) for result in results] == [errno.ELOOP] * 2

    play(story)


def test_no_flag_of_the_program_changes_the_placeholder(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = asyncio.create_task(files.open(FILE, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW))
        await give(agent, 0, b"hello", attributes())
        assert content(await opened) == b"hello"

    play(story)


def test_a_file_is_no_directory(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = asyncio.create_task(files.open(FILE, os.O_RDONLY | os.O_DIRECTORY))
        agent.fail((await agent.request())[0], errno.ENOTDIR)
        with pytest.raises(NotADirectoryError):
            await opened

    play(story)


def test_a_directory_is_a_skeleton_in_pages(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = asyncio.create_task(files.open(b"/srv", os.O_RDONLY | os.O_DIRECTORY))
        folder = attributes(ino=1, mode=0o40755)
        id, _ = await agent.request(0)
        file = Entry(name=b"a", attributes=attributes(ino=2))
        agent.reply(id, Listing(attributes=folder, entries=(file,), more=True))
        id, _ = await agent.request(1)
        link = Entry(name=b"\xff", attributes=attributes(ino=3, mode=0o120777))
        agent.reply(id, Listing(attributes=folder, entries=(link,)))
        fd = await opened
        assert sorted(os.listdir(fd)) == sorted(["a", os.fsdecode(b"\xff")])
        assert [request.after for request in agent.asked(ListDirectory)] == [None, b"a"]
        assert files.placeholders.remote_path(os.readlink(b"/proc/self/fd/%d" % fd)) == b"/srv"
        os.close(fd)

    play(story)


def test_a_directory_that_is_not_there_has_the_others_beside_it_looked_up(
    play: Callable[[Story], None],
) -> None:
    """As ``git fsck`` opens each of the 256 that may be in ``.git/objects``."""

    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        agent.lists = True
        opened = asyncio.create_task(files.open(b"/srv/a", os.O_RDONLY | os.O_DIRECTORY))
        agent.fail((await agent.request(0))[0], errno.ENOENT)
        with pytest.raises(FileNotFoundError):
            await opened
        id, request = await agent.request(1)
        assert request == ListDirectory(path=b"/srv", only_watched=True)
        folder = attributes(ino=1, mode=0o40755)
        agent.reply(id, Listing(attributes=folder, entries=(), watch=1, above=(2,)))
        await until(lambda: b"/srv" in files._cache.directories)
        with pytest.raises(FileNotFoundError):
            files.require(b"/srv/b", follow=True)
        assert len(agent.requests) == 2

    play(story)


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.EACCES, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO]
)
def test_every_errno_of_the_target_is_the_programs(play: Callable[[Story], None], number: int) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        asked: list[Awaitable[Any]] = [
            files.open(FILE, os.O_RDONLY),
            files.stat(FILE, follow=True),
            files.read_link(FILE),
            files.access(FILE, os.R_OK, follow=True, effective=False),
        ]
        tasks = [asyncio.ensure_future(one) for one in asked]
        await agent.request(3)
        for id, _ in agent.requests:
            agent.fail(id, number)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, OSError) and result.errno for result in results] == [number] * 4

    play(story)


def test_an_error_in_the_middle_of_a_file_is_that_error_and_no_version_is_kept(
    play: Callable[[Story], None],
) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        for number, code in enumerate((errno.EISDIR, 0)):
            opened = asyncio.create_task(files.open(FILE, os.O_RDONLY))
            id, request = await agent.request(number)
            assert isinstance(request, OpenFile)
            assert request.have is None
            agent.reply(id, FileOpened(attributes=attributes()))
            agent.datagram(request.stream, b"he")
            agent.reset(request.stream, code)
            with pytest.raises(OSError) as caught:
                await opened
            assert caught.value.errno == (code or errno.EIO)

    play(story)


def test_a_lost_link_is_eio_for_everybody(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        waiting: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(files.stat(FILE, follow=False)),
            asyncio.ensure_future(files.open(FILE, os.O_RDONLY)),
        ]
        await agent.request(1)
        agent.lose()
        waiting += [
            asyncio.ensure_future(files.read_link(FILE)),
            asyncio.ensure_future(files.read(b"/other")),
        ]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(result, OSError) and result.errno for result in results] == [errno.EIO] * 4

    play(story)


def test_a_link_lost_in_the_middle_of_a_file_is_eio(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        opened = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        id, request = await agent.request()
        assert isinstance(request, OpenFile)
        agent.reply(id, FileOpened(attributes=attributes(size=1000)))
        agent.datagram(request.stream, b"he")
        fetched = files.placeholders.root + FILE
        await until(lambda: os.path.exists(fetched) and os.path.getsize(fetched) == 2)
        agent.lose()
        with pytest.raises(OSError) as caught:
            await opened
        assert caught.value.errno == errno.EIO

    play(story)


def test_a_stat_has_the_identity_of_the_open_file(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        agent.answer = lambda request: attributes() if isinstance(request, Stat) else None
        remote, identity = await files.stat(FILE, follow=True)
        assert remote == attributes()
        opened = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        await give(agent, 1, b"hello", attributes())
        fd = await opened
        assert (os.fstat(fd).st_dev, os.fstat(fd).st_ino) == identity
        assert (await files.stat(FILE, follow=True))[1] == identity
        os.close(fd)

    play(story)


def test_links_and_rights_are_asked_for(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        agent.answer = lambda request: _link_or_right(request)
        assert await files.read_link(b"/l") == b"../x"
        await files.access(b"/f", 6, follow=False, effective=True)
        assert agent.asked(Access) == [Access(path=b"/f", mode=6, follow=False, effective=True)]

    play(story)


def _link_or_right(request: Request) -> Reply | None:
    if isinstance(request, ReadLink):
        return Link(target=b"../x")
    return Done() if isinstance(request, Access) else None


def test_no_stream_is_left_open(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        for number in range(3):
            opened = asyncio.create_task(files.open(FILE, os.O_RDONLY))
            await give(agent, number, b"hello", attributes(mtime_ns=number))
            os.close(await opened)
        failed = asyncio.create_task(files.open(FILE, os.O_RDONLY))
        agent.fail((await agent.request(3))[0], errno.ENOENT)
        with pytest.raises(FileNotFoundError):
            await failed
        assert agent.channel.open_streams == 0

    play(story)


def test_a_path_that_is_too_long_for_the_wire_is_an_errno(play: Callable[[Story], None]) -> None:
    async def story(agent: FakeAgent, files: RemoteFiles) -> None:
        with pytest.raises(OSError) as caught:
            await files.stat(b"/" + b"x" * 5000, follow=True)
        assert caught.value.errno == errno.ENAMETOOLONG

    play(story)
