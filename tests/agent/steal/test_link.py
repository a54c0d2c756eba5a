"""Sockets and streams as links: what is told, what is kept, how they end."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field

import pytest
from mirrord_agent.steal.link import Link, SocketLink, StreamLink
from mirrord_agent.wire.stream import WINDOW

from ..running import Recorder, joined, on_loop, until, write_all


@dataclass
class Told:
    """What a link has told."""

    data: bytearray = field(default_factory=bytearray)
    ends: list[str] = field(default_factory=list)
    drained: int = 0

    def link_data(self, link: Link, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def link_eof(self, link: Link) -> None:
        """Keep it."""
        self.ends.append("eof")

    def link_lost(self, link: Link, reason: str) -> None:
        """Keep it."""
        self.ends.append(reason)

    def link_drained(self, link: Link) -> None:
        """Count it."""
        self.drained += 1


def _connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection; ours does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    return ours, theirs


def _link(told: Told) -> tuple[SocketLink, socket.socket]:
    ours, theirs = _connected()
    theirs.settimeout(10)
    return SocketLink(asyncio.get_running_loop(), ours, told, connecting=False), theirs


async def _read_all(sock: socket.socket) -> bytes:
    sock.setblocking(False)
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(sock, 65_536):
        data += piece
    sock.close()
    return data


@on_loop
async def test_a_socket_tells_bytes_then_the_end() -> None:
    told = Told()
    link, theirs = _link(told)
    theirs.sendall(b"hello")
    theirs.shutdown(socket.SHUT_WR)
    await until(lambda: told.ends)
    assert (bytes(told.data), told.ends) == (b"hello", ["eof"])
    link.write(b"still")
    link.fin()
    assert await _read_all(theirs) == b"still"
    link.close()
    assert link.closed


@on_loop
async def test_what_a_socket_does_not_take_is_kept_and_sent_before_the_end() -> None:
    for end in ("fin", "close"):
        told = Told()
        link, theirs = _link(told)
        data = b"x" * 20_000_000
        link.write(data)
        assert 0 < link.pending < len(data)
        getattr(link, end)()
        link.write(b"too late")
        # not in the assertion: it would print both
        complete = await _read_all(theirs) == data
        assert complete
        await until(lambda told=told: told.drained)  # type: ignore[misc]
        assert link.pending == 0
        link.close()
        assert link.closed


@on_loop
async def test_a_stopped_socket_reads_nothing() -> None:
    told = Told()
    link, theirs = _link(told)
    link.read(False)
    theirs.sendall(b"hello")
    theirs.close()
    await asyncio.sleep(0.01)
    assert (bytes(told.data), len(told.ends)) == (b"", 0)
    link.read(True)
    await until(lambda: told.ends)
    assert (bytes(told.data), told.ends) == (b"hello", ["eof"])
    link.close()


@on_loop
async def test_resets_are_seen_both_ways() -> None:
    told = Told()
    link, theirs = _link(told)
    link.reset()
    assert link.closed
    with theirs, pytest.raises(ConnectionResetError):
        theirs.recv(1)
    link, theirs = _link(told)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    await until(lambda: told.ends)
    assert told.ends == ["Connection reset by peer"]
    assert link.closed


@on_loop
async def test_what_came_before_a_reset_is_read_although_nothing_can_be_written() -> None:
    told = Told()
    link, theirs = _link(told)
    link.read(False)
    link.write(b"unread by them")
    theirs.sendall(b"early answer")
    # the unread bytes make it a reset
    theirs.close()
    await asyncio.sleep(0.01)
    link.write(b"more")
    link.write(b"more")
    link.read(True)
    await until(lambda: told.ends)
    assert bytes(told.data) == b"early answer"
    link.close()


@on_loop
async def test_a_socket_that_is_connecting_keeps_what_is_written_or_says_why_it_could_not() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.connect_ex(listener.getsockname())
        told = Told()
        link = SocketLink(loop, sock, told, connecting=True)
        link.write(b"early")
        link.fin()
        assert link.pending == 5
        theirs, _ = listener.accept()
        assert await _read_all(theirs) == b"early"
        link.close()
        name = listener.getsockname()
    sock = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.connect_ex(name)
    told = Told()
    link = SocketLink(loop, sock, told, connecting=True)
    await until(lambda: told.ends)
    assert told.ends == ["Connection refused"]
    assert link.closed


@on_loop
async def test_a_stream_takes_what_it_has_credit_for() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder = Recorder(theirs, consume=False)
        told = Told()
        link = StreamLink(ours, told)
        data = bytes(range(256)) * 4096
        link.write(data)
        link.fin()
        assert link.pending == len(data) - WINDOW
        await until(lambda: recorder.size == WINDOW)
        theirs.consumed(WINDOW)
        # from here on as it comes
        while recorder.size < len(data):
            before = recorder.size
            await until(lambda before=before: recorder.size > before)  # type: ignore[misc]
            theirs.consumed(recorder.size - before)
        await until(lambda: recorder.fins)
        assert recorder.data == data
        assert told.drained > 0
        assert link.pending == 0


@on_loop
async def test_a_stopped_stream_gives_no_credit_back() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder = Recorder(theirs)
        told = Told()
        link = StreamLink(ours, told)
        link.read(False)
        writing = asyncio.ensure_future(write_all(theirs, b"x" * (3 * WINDOW), recorder))
        await until(lambda: len(told.data) == WINDOW)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(told.data) == WINDOW
        link.read(True)
        await writing
        theirs.fin()
        await until(lambda: told.ends)
        assert (len(told.data), told.ends) == (3 * WINDOW, ["eof"])


@on_loop
async def test_streams_end_as_they_are_told() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder, told = Recorder(theirs), Told()
        link = StreamLink(ours, told)
        link.write(b"last")
        link.close()
        assert link.closed
        await until(lambda: recorder.resets)
        assert (recorder.data, recorder.fins, told.ends) == (b"last", 1, [])
        theirs, ours = await pair.streams()
        recorder, told = Recorder(theirs), Told()
        link = StreamLink(ours, told)
        link.reset()
        await until(lambda: recorder.resets)
        assert (recorder.fins, link.closed) == (0, True)


@on_loop
async def test_a_stream_says_why_it_was_lost() -> None:
    for number, reason in ((0, "the local program closed the connection"), (111, "Connection refused")):
        async with joined() as pair:
            theirs, ours = await pair.streams()
            Recorder(theirs)
            told = Told()
            link = StreamLink(ours, told)
            theirs.reset(number)
            await until(lambda told=told: told.ends)  # type: ignore[misc]
            assert told.ends == [reason]
            assert link.closed
