import asyncio
import errno
import os
from pathlib import Path

import pytest
from mirrord_agent import content
from mirrord_agent.content import ContentSender
from mirrord_agent.files import Files
from mirrord_agent.wire.channel import Reader, StreamReset
from mirrord_agent.wire.stream import WINDOW

from .running import Pair, Recorder, joined, on_loop, settled, until
from .test_files import target_at


async def sending(pair: Pair, path: Path, size: int) -> tuple[Reader, "asyncio.Task[None]"]:
    """Begin to send a file."""
    ours, theirs = await pair.streams()
    fd = os.open(path, os.O_RDONLY)
    sender = ContentSender(Files(target_at(Path("/"))), fd, theirs, size=size)
    return ours.reader(), asyncio.create_task(sender.send())


@on_loop
async def test_the_content_arrives(tmp_path: Path) -> None:
    data = os.urandom(5 * WINDOW + 3)
    file = tmp_path / "file"
    file.write_bytes(data)
    async with joined() as pair:
        reader, task = await sending(pair, file, len(data))
        assert await reader.read_all(at_most=len(data)) == data
        await task
        await until(lambda: pair.agent.open_streams == 0)


@on_loop
async def test_nothing_beyond_the_size_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"known, grown")
    async with joined() as pair:
        reader, _ = await sending(pair, file, 5)
        assert await reader.read_all(at_most=100) == b"known"


@on_loop
async def test_a_file_that_shrank_ends_early(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"short")
    async with joined() as pair:
        reader, _ = await sending(pair, file, 5000)
        assert await reader.read_all(at_most=100) == b"short"


@on_loop
async def test_a_file_without_a_size_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with joined() as pair:
        reader, _ = await sending(pair, Path("/proc/self/status"), 0)
        assert b"VmRSS" in await reader.read_all(at_most=100_000)
        monkeypatch.setattr(content, "_UNSIZED", 10)
        reader, _ = await sending(pair, Path("/proc/self/status"), 0)
        with pytest.raises(StreamReset) as caught:
            await reader.read_all(at_most=100_000)
        assert caught.value.errno == errno.EFBIG


@on_loop
async def test_an_error_while_reading_is_told(tmp_path: Path) -> None:
    async with joined() as pair:
        reader, _ = await sending(pair, tmp_path, 5)
        with pytest.raises(StreamReset) as caught:
            await reader.read()
        assert caught.value.errno == errno.EISDIR


@on_loop
async def test_a_reader_that_stops_stops_the_reading(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(4 * WINDOW))
    async with joined() as pair:
        ours, theirs = await pair.streams()
        recorder = Recorder(ours, consume=False)
        fd = os.open(file, os.O_RDONLY)
        sender = ContentSender(Files(target_at(Path("/"))), fd, theirs, size=4 * WINDOW)
        task = asyncio.create_task(sender.send())
        await until(lambda: recorder.size == WINDOW)
        await settled(pair)
        assert (recorder.size, task.done()) == (WINDOW, False)
        ours.reset()
        await task
        with pytest.raises(OSError):
            os.fstat(fd)
