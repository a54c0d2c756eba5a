import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from mirrord_agent.files import Files
from mirrord_agent.sockets import UnixSockets, address, open_tcp, socket_name
from mirrord_agent.wire.channel import Channel, RequestFailed
from mirrord_agent.wire.messages import Address, Opened, OpenTcp, OpenUnix, Reply, Request

from .running import Pair, Recorder, joined, on_loop, until
from .test_files import target_at


@asynccontextmanager
async def answering(answer: object) -> AsyncIterator[Pair]:
    """Join two channels whose agent answers by a function."""

    async def handle(request: Request, channel: Channel) -> Reply:
        assert callable(answer)
        begun: Reply | Awaitable[Reply] = answer(request, channel)
        return await begun if isinstance(begun, Awaitable) else begun

    async with joined(handle) as pair:
        yield pair


async def connected(pair: Pair, host: str, port: int, *, local_port: int = 0) -> tuple[Recorder, Opened]:
    """Open a TCP connection."""
    ours = Recorder(pair.client.open_stream())
    request = OpenTcp(stream=ours.stream.id, host=host, port=port, local_port=local_port)
    return ours, await pair.client.request(request, Opened)


HOSTS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.mark.parametrize(("family", "host"), HOSTS)
def test_a_connection_is_made(family: socket.AddressFamily, host: str) -> None:
    @on_loop
    async def check() -> None:
        with socket.create_server((host, 0), family=family) as listener:
            port = listener.getsockname()[1]
            async with answering(open_tcp) as pair:
                ours, opened = await connected(pair, host, port)
                theirs, peer = listener.accept()
                with theirs:
                    assert opened.remote == Address(host=host, port=port)
                    assert opened.local == Address(host=host, port=peer[1])
                    ours.stream.write(b"question")
                    assert await asyncio.to_thread(theirs.recv, 100) == b"question"
                    theirs.sendall(b"answer")
                await until(lambda: ours.fins)
                assert ours.data == b"answer"

    check()


@on_loop
async def test_a_refusal_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with answering(open_tcp) as pair:
        with pytest.raises(RequestFailed) as caught:
            await connected(pair, "127.0.0.1", port)
        assert caught.value.errno == errno.ECONNREFUSED
        for host, number in (("a.name", errno.EINVAL), ("1.2.3", errno.EINVAL), ("::1%none", errno.EINVAL)):
            with pytest.raises(RequestFailed) as caught:
                await connected(pair, host, port)
            assert caught.value.errno == number
        assert pair.agent.open_streams == 0


@on_loop
async def test_a_port_is_taken_where_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        port = listener.getsockname()[1]
        async with answering(open_tcp) as pair:
            _, opened = await connected(pair, "127.0.0.1", port, local_port=free)
            assert opened.local.port == free
            _, opened = await connected(pair, "127.0.0.1", port, local_port=port)
            assert opened.local.port not in (0, port)


@on_loop
async def test_a_connect_that_nobody_waits_for_is_given_up() -> None:
    with socket.socket() as listener:
        # a full queue: the kernel drops every further SYN
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        name = listener.getsockname()
        with socket.create_connection(name):
            async with answering(open_tcp) as pair:
                before = len(os.listdir("/proc/self/fd"))
                connecting = asyncio.create_task(connected(pair, *name))
                await until(lambda: pair.agent.requests_served and len(os.listdir("/proc/self/fd")) > before)
                connecting.cancel()
                await until(lambda: pair.agent.requests_served == 0)
                assert len(os.listdir("/proc/self/fd")) == before
                assert pair.agent.open_streams == 0


@on_loop
async def test_a_stream_that_was_reset_meanwhile_leaves_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with answering(open_tcp) as pair:
            ours = Recorder(pair.client.open_stream())
            name = listener.getsockname()
            request = OpenTcp(stream=ours.stream.id, host=name[0], port=name[1])
            connecting = asyncio.create_task(pair.client.request(request, Opened))
            await asyncio.sleep(0)
            ours.stream.reset()
            with pytest.raises(RequestFailed) as caught:
                await connecting
            assert caught.value.errno == errno.ECONNABORTED


def test_names_are_parsed() -> None:
    assert socket_name("10.0.0.1", 80) == (socket.AF_INET, ("10.0.0.1", 80))
    assert socket_name("fd00::1", 80) == (socket.AF_INET6, ("fd00::1", 80, 0, 0))
    assert socket_name("fe80::1%lo", 80) == (socket.AF_INET6, ("fe80::1", 80, 0, socket.if_nametoindex("lo")))
    assert socket_name("fe80::1%7", 80) == (socket.AF_INET6, ("fe80::1", 80, 0, 7))
    assert address(("10.0.0.1", 80)) == Address(host="10.0.0.1", port=80)
    assert address("/path") == address(b"/path") == Address(host="/path", port=0)


@asynccontextmanager
async def unix(root: Path) -> AsyncIterator[Pair]:
    """Join two channels whose agent connects to unix sockets below a root."""
    target = target_at(root)
    sockets = UnixSockets(target, Files(target))
    async with answering(sockets.open) as pair:
        yield pair
    os.close(target.root)


async def unix_connected(pair: Pair, path: bytes, kind: str = "stream") -> Recorder:
    """Connect to a unix socket."""
    ours = Recorder(pair.client.open_stream())
    request = OpenUnix.model_validate({"stream": ours.stream.id, "path": path, "kind": kind})
    await pair.client.request(request, Opened)
    return ours


@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
def test_a_unix_socket_is_found_in_the_root(tmp_path: Path, kind: str) -> None:
    @on_loop
    async def check() -> None:
        (tmp_path / "link").symlink_to("/echo.sock")
        number = socket.SOCK_STREAM if kind == "stream" else socket.SOCK_SEQPACKET
        with socket.socket(socket.AF_UNIX, number) as listener:
            listener.bind(str(tmp_path / "echo.sock"))
            listener.listen()
            async with unix(tmp_path) as pair:
                for path in (b"/echo.sock", b"/link"):
                    ours = await unix_connected(pair, path, kind)
                    theirs, _ = listener.accept()
                    with theirs:
                        ours.stream.write(b"question")
                        assert await asyncio.to_thread(theirs.recv, 100) == b"question"
                        theirs.sendall(b"answer")
                    await until(partial(getattr, ours, "fins"))
                    assert ours.data == b"answer"

    check()


@on_loop
async def test_an_abstract_name_is_of_the_network() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"")
        listener.listen()
        async with unix(Path("/")) as pair:
            await unix_connected(pair, listener.getsockname())


@on_loop
async def test_unix_errnos_are_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        async with unix(tmp_path) as pair:
            for path, kind, number in (
                (b"/none", "stream", errno.ENOENT),
                (b"/file", "stream", errno.ECONNREFUSED),
                (b"/deaf", "stream", errno.ECONNREFUSED),
                (b"/deaf", "seqpacket", errno.EPROTOTYPE),
            ):
                with pytest.raises(RequestFailed) as caught:
                    await unix_connected(pair, path, kind)
                assert caught.value.errno == number


@on_loop
async def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        async with unix(tmp_path) as pair:
            await unix_connected(pair, b"/full")
            waiting = asyncio.create_task(unix_connected(pair, b"/full"))
            # file calls go on meanwhile
            for _ in range(20):
                with pytest.raises(RequestFailed):
                    await unix_connected(pair, b"/none")
            assert not waiting.done()
            listener.accept()[0].close()
            await waiting


@on_loop
async def test_a_peer_on_this_machine_is_connected_at_once() -> None:
    async with joined() as pair:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host, port = listener.getsockname()
            ours, _ = await pair.streams()
            opened = open_tcp(OpenTcp(stream=ours.id, host=host, port=port), pair.agent)
            assert isinstance(opened, Opened)
            ours.reset()
