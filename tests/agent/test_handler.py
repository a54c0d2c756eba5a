import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mirrord_agent.files import Files
from mirrord_agent.handler import RequestHandler
from mirrord_agent.wire.channel import RequestFailed, StreamReset
from mirrord_agent.wire.messages import (
    Access,
    Attributes,
    Done,
    Environment,
    FileOpened,
    GetEnvironment,
    GetHostname,
    GetStatistics,
    Hostname,
    Link,
    ListDirectory,
    Listing,
    Opened,
    OpenFile,
    OpenTcp,
    OpenUdp,
    OpenUnix,
    ReadLink,
    Stat,
    Statistics,
)

from .running import Pair, joined, on_loop, until
from .test_files import target_at


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[Pair]:
    """Join two channels whose agent has a directory as its target's root."""
    target = replace(target_at(root), environment=((b"NAME", b"\xff value"),))
    async with joined(RequestHandler(target, Files(target))) as pair:
        yield pair
    os.close(target.root)


@on_loop
async def test_the_target_is_described(tmp_path: Path) -> None:
    async with served(tmp_path) as pair:
        environment = await pair.client.request(GetEnvironment(), Environment)
        assert environment.variables == ((b"NAME", b"\xff value"),)
        hostname = await pair.client.request(GetHostname(), Hostname)
        assert hostname.name == socket.gethostname().encode()


@on_loop
async def test_files_are_described(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/file")
    async with served(tmp_path) as pair:
        channel = pair.client
        assert (await channel.request(Stat(path=b"/link"), Attributes)).size == 5
        link = await channel.request(Stat(path=b"/link", follow=False), Attributes)
        assert stat.S_ISLNK(link.mode)
        assert (await channel.request(ReadLink(path=b"/link"), Link)).target == b"/file"
        await channel.request(Access(path=b"/link", mode=os.R_OK), Done)
        listing = await channel.request(ListDirectory(path=b"/"), Listing)
        assert [entry.name for entry in listing.entries] == [b"file", b"link"]
        with pytest.raises(RequestFailed) as caught:
            await channel.request(Stat(path=b"/none"), Attributes)
        assert caught.value.errno == errno.ENOENT


@on_loop
async def test_a_file_is_opened_and_read_in_one_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    async with served(tmp_path) as pair:
        stream = pair.client.open_stream()
        opened = await pair.client.request(OpenFile(stream=stream.id, path=b"/file"), FileOpened)
        assert (opened.attributes.size, opened.unchanged) == (7, False)
        assert await stream.reader().read_all(at_most=7) == b"content"
        statistics = await pair.client.request(GetStatistics(), Statistics)
        assert statistics.requests == {"open_file": 1, "get_statistics": 1}
        await until(lambda: not (pair.client.open_streams or pair.agent.open_streams))


@on_loop
async def test_a_known_version_is_not_sent_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    async with served(tmp_path) as pair:
        version = (await pair.client.request(Stat(path=b"/file"), Attributes)).version()
        for content, unchanged in ((b"", True), (b"changed", False)):
            stream = pair.client.open_stream()
            request = OpenFile(stream=stream.id, path=b"/file", have=version)
            opened = await pair.client.request(request, FileOpened)
            assert opened.unchanged is unchanged
            assert await stream.reader().read_all(at_most=100) == content
            file.write_bytes(b"changed")


@on_loop
async def test_a_directory_has_no_content(tmp_path: Path) -> None:
    async with served(tmp_path) as pair:
        stream = pair.client.open_stream()
        opened = await pair.client.request(OpenFile(stream=stream.id, path=b"/"), FileOpened)
        assert stat.S_ISDIR(opened.attributes.mode)
        assert await stream.reader().read_all(at_most=0) == b""


@on_loop
async def test_a_file_that_cannot_be_opened_ends_its_stream(tmp_path: Path) -> None:
    async with served(tmp_path) as pair:
        stream = pair.client.open_stream()
        reader = stream.reader()
        with pytest.raises(RequestFailed) as caught:
            await pair.client.request(OpenFile(stream=stream.id, path=b"/none"), FileOpened)
        assert caught.value.errno == errno.ENOENT
        with pytest.raises(StreamReset):
            await reader.read()


@on_loop
async def test_sockets_are_opened_and_counted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "sock"))
        unix.listen()
        async with served(tmp_path) as pair:
            channel = pair.client
            tcp, udp, path = (channel.open_stream().id for _ in range(3))
            port = listener.getsockname()[1]
            await channel.request(OpenTcp(stream=tcp, host="127.0.0.1", port=port), Opened)
            await channel.request(OpenUdp(stream=udp, family=4), Opened)
            await channel.request(OpenUnix(stream=path, path=b"/sock"), Opened)
            statistics = await channel.request(GetStatistics(), Statistics)
            assert (statistics.streams_opened, statistics.streams_open) == (3, 3)
            assert statistics.requests["open_tcp"] == 1
            assert (statistics.in_flight, statistics.most_in_flight) == (1, 1)
            assert statistics.resident_bytes > 1_000_000
