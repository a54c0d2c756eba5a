"""Sockets as links: what is told, what is kept, how they end."""

import asyncio
import socket
import struct

import pytest
import uvloop
from mirrord_agent.steal.socket_link import SocketLink

from ..running import on_loop, until
from .told import Told


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
    # not an end after which one may go on writing
    assert told.ends in (["Connection reset by peer"], ["Broken pipe"])
    assert link.closed


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


@pytest.mark.parametrize("writes", [False, True])
def test_the_agents_loop_does_not_hide_a_reset_behind_bytes(writes: bool) -> None:
    """It tells of an error once, when there are bytes to read first."""

    async def check() -> None:
        told = Told()
        link, theirs = _link(told)
        link.write(b"unread by them")
        theirs.sendall(b"early answer")
        # the unread bytes make it a reset
        theirs.close()
        if writes:
            link.write(b"more")
        await until(lambda: told.ends)
        assert bytes(told.data) == b"early answer"
        assert link.closed

    uvloop.run(check())
