import asyncio
import ctypes
import os
import socket
from collections.abc import Callable

from mirrord.tracer.kept import Kept


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """Return a listener that takes no connection more, and what fills it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    filler = socket.create_connection(listener.getsockname())
    return listener, [filler]


def test_a_pending_socket_is_found_until_it_is_not_pending() -> None:
    async def story() -> None:
        kept = Kept(asyncio.get_running_loop())
        listener, fillers = full_listener()
        sock = socket.socket()
        sock.setblocking(False)
        inode = os.fstat(sock.fileno()).st_ino
        kept.keep(sock.fileno())
        sock.connect_ex(listener.getsockname())
        await until(lambda: bool(kept._sockets))
        for _ in range(10):
            kept._tick()
        found = kept.find(inode)
        assert found is not None
        assert os.fstat(found.fileno()).st_ino == inode
        found.close()
        sock.close()
        for one in (listener, *fillers):
            one.close()
        _disconnect(kept._sockets[inode])
        await until(lambda: inode not in kept._sockets)
        assert kept.find(inode) is None
        await until(lambda: kept._watch is None)

    asyncio.run(story())


def _disconnect(sock: socket.socket) -> None:
    """Undo a connect (AF_UNSPEC, connect(2))."""
    assert ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16) == 0


def test_what_is_connected_is_let_go_soon() -> None:
    async def story() -> None:
        kept = Kept(asyncio.get_running_loop())
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
            kept.keep(sock.fileno())
            sock.connect(server.getsockname())
            other, _ = server.accept()
            with other:
                other.setblocking(False)
                sock.close()
                assert await asyncio.get_running_loop().sock_recv(other, 1) == b"", "its end is seen"

    asyncio.run(story())


def test_other_sockets_are_not_kept() -> None:
    async def story() -> None:
        kept = Kept(asyncio.get_running_loop())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_UNIX) as other:
            for sock in (one, other):
                kept.keep(sock.fileno())
        await asyncio.sleep(0)
        assert kept._sockets == {}
        assert kept._watch is None

    asyncio.run(story())
