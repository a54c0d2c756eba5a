import asyncio
import errno
import select
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
from mirrord_agent.wire.messages import Address, Opened, OpenUnix

from mirrord.dispatch.sockets import cookie
from mirrord.link.connections import LINK_LOST
from mirrord.link.unix import UnixConnections, _join

from .agent import FakeAgent, until

Story = Callable[[FakeAgent, UnixConnections], Awaitable[None]]


def play(story: Story) -> None:
    async def main() -> None:
        agent = FakeAgent()
        await story(agent, UnixConnections(asyncio.get_running_loop(), agent.lead))

    asyncio.run(main())


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("path", [b"/run/remote.sock", b"\0abstract"])
def test_a_connection(kind: int, path: bytes) -> None:
    async def story(agent: FakeAgent, connections: UnixConnections) -> None:
        with socket.socket(socket.AF_UNIX, kind) as program:
            assert not connections
            connecting = asyncio.create_task(connections.connect(program, cookie(program), path))
            id, request = await agent.request()
            assert isinstance(request, OpenUnix)
            assert (request.path, request.kind) == (
                path,
                "stream" if kind == socket.SOCK_STREAM else "seqpacket",
            )
            agent.reply(id, Opened(local=Address(host="", port=0)))
            await connecting
            assert connections.path(cookie(program)) == path
            known = cookie(program)
            program.send(b"one")
            program.send(b"two")
            await until(lambda: b"".join(agent.data.get(request.stream, [])) == b"onetwo")
            if kind == socket.SOCK_SEQPACKET:
                assert agent.data[request.stream] == [b"one", b"two"]
            agent.datagram(request.stream, b"answer")
            await until(lambda: select.select([program], [], [], 0)[0])
            assert program.recv(100) == b"answer"
        agent.content(request.stream)
        await until(lambda: not connections)
        assert connections.path(known) is None

    play(story)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ECONNREFUSED, errno.EACCES, errno.EPROTOTYPE])
def test_a_connection_that_fails(number: int) -> None:
    async def story(agent: FakeAgent, connections: UnixConnections) -> None:
        with socket.socket(socket.AF_UNIX) as program:
            connecting = asyncio.create_task(connections.connect(program, cookie(program), b"/run/x"))
            id, _ = await agent.request()
            agent.fail(id, number)
            with pytest.raises(OSError) as caught:
                await connecting
            assert caught.value.errno == number
            assert not connections
            assert agent.channel.open_streams == 0

    play(story)


@pytest.mark.parametrize("pending", [True, False])
def test_a_connection_without_a_link(pending: bool) -> None:
    async def story(agent: FakeAgent, connections: UnixConnections) -> None:
        with socket.socket(socket.AF_UNIX) as program:
            if not pending:
                agent.lose()
            connecting = asyncio.create_task(connections.connect(program, cookie(program), b"/run/x"))
            if pending:
                await agent.request()
                agent.lose()
            with pytest.raises(OSError) as caught:
                await connecting
            assert caught.value.errno == LINK_LOST

    play(story)


class _Preceded(socket.socket):
    """A socket before whose connect another process connects to the same name, which everybody may see."""

    def connect(self, name: object) -> None:
        assert isinstance(name, bytes)
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        subprocess.run([sys.executable, "-c", script], check=True)
        super().connect(name)


def test_nobody_else_takes_the_programs_place() -> None:
    with _Preceded(socket.AF_UNIX) as program, _join(program, socket.SOCK_STREAM) as ours:
        program.send(b"mine")
        assert ours.recv(10, socket.MSG_DONTWAIT) == b"mine"
