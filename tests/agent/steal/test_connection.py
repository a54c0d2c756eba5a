"""One filtered connection: time limits, back pressure, and its end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from mirrord_agent.http.detect import PREFACE
from mirrord_agent.http.output import Decider
from mirrord_agent.steal import connection as module
from mirrord_agent.steal.connection import Connection, Patience
from mirrord_agent.steal.level import nftables_levels, take_level
from mirrord_agent.steal.listener import Endpoint, Stolen
from mirrord_agent.wire.stream import Stream

from ..namespace import in_namespace
from ..running import Recorder, joined, on_loop, until
from .http_world import TAKE
from .scene import PORT

_TAKEN = b"GET / HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\n\r\n"
_OTHER = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Scene:
    """A connection, its client, and who may answer it."""

    client: socket.socket
    original: socket.socket
    connection: Connection
    locals: list[Recorder] = field(default_factory=list)
    closed: int = 0

    async def accepted(self) -> socket.socket:
        """Return the connection that the original gets."""
        sock, _ = await asyncio.get_running_loop().sock_accept(self.original)
        return sock

    async def receive(self, count: int = 65_536) -> bytes:
        """Return what the client gets."""
        return await asyncio.get_running_loop().sock_recv(self.client, count)


async def _from(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 65_536)


@contextlib.asynccontextmanager
async def _scene(*, patience: Patience | None = None) -> AsyncIterator[Scene]:
    level = take_level(nftables_levels(), lambda _: None)
    async with joined() as pair:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.connect(listener.getsockname())
            theirs, peer = listener.accept()
            theirs.setblocking(False)
            client.setblocking(False)
            original = socket.create_server(("127.0.0.1", PORT))
            original.setblocking(False)

            async def open_local(_: Stolen) -> Stream:
                ours, agents = await pair.streams()
                scene.locals.append(Recorder(ours, consume=False))
                return agents

            def on_closed(_: Connection) -> None:
                scene.closed += 1

            connection = Connection(
                Stolen(theirs, Endpoint(*peer), Endpoint("127.0.0.1", PORT)),
                Decider(TAKE),
                open_local=open_local,
                mark=level.mark,
                patience=patience or Patience(),
                on_closed=on_closed,
            )
            scene = Scene(client, original, connection)
            try:
                yield scene
            finally:
                connection.abort()
                original.close()
                level.close()
    assert scene.closed == 1


@in_namespace
@on_loop
async def test_a_client_that_ends_ends_everything_once() -> None:
    async with _scene() as scene:
        scene.client.sendall(_OTHER)
        theirs = await scene.accepted()
        assert await _from(theirs) == _OTHER
        scene.client.shutdown(socket.SHUT_WR)
        assert await _from(theirs) == b""
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        theirs.close()
        assert (await scene.receive()).endswith(b"ok")
        assert await scene.receive() == b""
        await until(lambda: scene.closed)


@in_namespace
@on_loop
async def test_a_client_that_only_connects_and_ends_reaches_the_original() -> None:
    async with _scene() as scene:
        scene.client.shutdown(socket.SHUT_WR)
        theirs = await scene.accepted()
        assert await _from(theirs) == b""
        theirs.close()
        assert await scene.receive() == b""
        await until(lambda: scene.closed)


@in_namespace
@on_loop
async def test_a_client_that_resets_resets_its_server() -> None:
    async with _scene() as scene:
        scene.client.sendall(_TAKEN)
        await until(lambda: scene.locals and scene.locals[0].data == _TAKEN)
        scene.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        scene.client.close()
        await until(lambda: scene.locals[0].resets)
        await until(lambda: scene.closed)


@in_namespace
@on_loop
async def test_a_client_that_does_not_read_stops_the_local_side() -> None:
    async with _scene() as scene:
        scene.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        scene.client.sendall(_TAKEN)
        await until(lambda: scene.locals and scene.locals[0].data == _TAKEN)
        stream = scene.locals[0].stream
        stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        sent = idle = 0
        while idle < 1000:
            piece = min(stream.credit, 65_536)
            if piece:
                stream.write(bytes(piece))
            sent, idle = sent + piece, 0 if piece else idle + 1
            await asyncio.sleep(0)
        # the kernel's buffer, what is kept, and what is under way
        assert sent < 20_000_000
        assert scene.connection._client.pending < 1 << 20


@in_namespace
@on_loop
async def test_a_local_side_that_does_not_read_stops_the_client() -> None:
    async with _scene() as scene:
        scene.client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\nContent-Length: 1000000000\r\n\r\n"
        )
        sent = idle = 0
        while idle < 1000:
            try:
                piece = scene.client.send(bytes(65_536))
            except BlockingIOError:
                piece = 0
            sent, idle = sent + piece, 0 if piece else idle + 1
            await asyncio.sleep(0)
        assert sent < 20_000_000
        [link] = scene.connection._servers.values()
        assert link.pending < 1 << 20


@in_namespace
@on_loop
async def test_a_client_that_asks_for_pongs_and_does_not_read_them_is_not_read() -> None:
    async with _scene() as scene:
        scene.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        scene.client.sendall(PREFACE + b"\0\0\0\4\0\0\0\0\0")
        pings = b"\0\0\x08\6\0\0\0\0\x0012345678" * 1000
        sent = idle = 0
        while idle < 1000 and sent < 50_000_000:
            try:
                # frames are cut where the kernel likes, and go on there
                at = sent % len(pings)
                piece = scene.client.send((pings + pings)[at : at + len(pings)])
            except BlockingIOError:
                piece = 0
            sent, idle = sent + piece, 0 if piece else idle + 1
            await asyncio.sleep(0)
        assert sent < 50_000_000
        assert scene.connection._client.pending < 1 << 20


@in_namespace
@on_loop
async def test_time_limits() -> None:
    for begin in (b"GE", _TAKEN[:-2], b""):
        async with _scene(patience=Patience(detection=0.05)) as scene:
            scene.client.sendall(begin)
            theirs = await scene.accepted()
            if begin:
                assert await _from(theirs) == begin
            theirs.close()


@in_namespace
def test_after_the_last_answer_a_client_has_a_while_to_end() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LINGER", 0.05)
        _linger()


@on_loop
async def _linger() -> None:
    async with _scene() as scene:
        scene.client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\nContent-Length: 9\r\n\r\n")
        await until(lambda: scene.locals and scene.locals[0].size)
        scene.locals[0].stream.reset()
        assert b"502" in await scene.receive()
        scene.client.sendall(b"more")
        assert await scene.receive() == b""
        # it does not end: it is ended
        await until(lambda: scene.closed)


@in_namespace
@on_loop
async def test_who_sends_on_and_on_after_the_last_answer_is_reset() -> None:
    async with _scene() as scene:
        # a head of HTTP/2 that is none
        scene.client.sendall(PREFACE + b"\xff" * 100)
        loop = asyncio.get_running_loop()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await loop.sock_sendall(scene.client, bytes(1 << 26))
        await until(lambda: scene.closed)
