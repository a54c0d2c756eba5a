import asyncio
import errno
import gc
import os
import select
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import uvloop
from mirrord_agent.wire.frames import Data, Kind
from mirrord_agent.wire.pump import Pump, draining
from mirrord_agent.wire.stream import MOST_WINDOW, WINDOW

from ..running import PATIENCE, Pair, Recorder, joined, on_loop, until


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


def unix_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a unix stream."""
    return socket.socketpair()


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a unix socket that keeps packets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


MAKERS = [tcp_pair, unix_pair]
NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Relay:
    """A program's socket, pumped over a link to the socket of a server."""

    pair: Pair
    program: socket.socket
    server: socket.socket
    pumps: list[Pump] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    async def read(self, sock: socket.socket, size: int = 65_536) -> bytes:
        """Read what comes next."""
        return await self.pair.client.loop.sock_recv(sock, size)

    async def write(self, sock: socket.socket, data: bytes) -> None:
        """Write all."""
        await self.pair.client.loop.sock_sendall(sock, data)

    async def read_all(self, sock: socket.socket) -> bytes:
        """Read up to the end."""
        pieces = []
        while piece := await self.read(sock):
            pieces.append(piece)
        return b"".join(pieces)

    async def ended(self) -> None:
        """Wait until both pumps have closed their sockets, and check that they have left nothing."""
        await until(lambda: len(self.closed) == 2)
        assert sorted(self.closed) == ["agent", "client"]
        assert all(pump.closed for pump in self.pumps)
        await until(lambda: not (self.pair.client.open_streams or self.pair.agent.open_streams))


@asynccontextmanager
async def relayed(maker: object = tcp_pair) -> AsyncIterator[Relay]:
    """Join a program's socket and a server's by two pumps."""
    assert callable(maker)
    (program, ours), (theirs, server) = maker(), maker()
    program.setblocking(False)
    server.setblocking(False)
    async with joined() as pair:
        with program, server:
            relay = Relay(pair, program, server)
            client, agent = await pair.streams()
            loop = asyncio.get_running_loop()
            for sock, stream, name in ((ours, client, "client"), (theirs, agent, "agent")):
                on_closed = partial(relay.closed.append, name)
                relay.pumps.append(Pump(loop, sock, stream, on_closed=on_closed))
            yield relay
            for pump in relay.pumps:
                pump.abort()


@pytest.mark.parametrize("maker", MAKERS)
def test_bytes_pass_both_ways(maker: object) -> None:
    @on_loop
    async def check() -> None:
        async with relayed(maker) as relay:
            up, down = os.urandom(5_000_001), os.urandom(3_000_001)

            async def send(sock: socket.socket, data: bytes) -> None:
                await relay.write(sock, data)
                sock.shutdown(socket.SHUT_WR)

            _, _, at_server, at_program = await asyncio.gather(
                send(relay.program, up),
                send(relay.server, down),
                relay.read_all(relay.server),
                relay.read_all(relay.program),
            )
            assert (at_server, at_program) == (up, down)
            await relay.ended()

    check()


@pytest.mark.parametrize("maker", MAKERS)
def test_half_close_works(maker: object) -> None:
    @on_loop
    async def check() -> None:
        async with relayed(maker) as relay:
            await relay.write(relay.program, b"question")
            relay.program.shutdown(socket.SHUT_WR)
            assert await relay.read_all(relay.server) == b"question"
            assert relay.closed == []
            await relay.write(relay.server, b"answer")
            relay.server.close()
            assert await relay.read_all(relay.program) == b"answer"
            await relay.ended()

    check()


@pytest.mark.parametrize("side", ["program", "server"])
def test_a_reset_is_passed_on(side: str) -> None:
    @on_loop
    async def check() -> None:
        async with relayed() as relay:
            resetting, other = relay.program, relay.server
            if side == "server":
                resetting, other = other, resetting
            await relay.write(relay.program, b"x")
            await relay.read(relay.server)
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            resetting.close()
            with pytest.raises(ConnectionResetError):
                await relay.read(other)
            await relay.ended()

    check()


@on_loop
async def test_an_early_answer_arrives_before_the_reset() -> None:
    """A server answers without reading everything, and closes: what it said is still read, as natively."""
    async with relayed() as relay:
        await relay.write(relay.program, b"x" * 100_000)
        await relay.read(relay.server, 1)
        await relay.write(relay.server, b"413 too large")
        relay.server.close()
        assert await relay.read(relay.program) == b"413 too large"
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await _write_until_it_fails(relay)
        await relay.ended()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_reset_behind_bytes_is_passed_on(run: Callable[[Coroutine[None, None, None]], None]) -> None:
    """By the agent's own loop, too, which tells of an error once while there are bytes to read first."""

    async def check() -> None:
        async with asyncio.timeout(PATIENCE), relayed() as relay:
            await relay.write(relay.program, b"question")
            await until(lambda: select.select([relay.server], [], [], 0)[0])
            await relay.write(relay.server, b"early answer")
            # the unread question makes it a reset
            relay.server.close()
            assert await relay.read(relay.program) == b"early answer"
            with pytest.raises(ConnectionResetError):
                await relay.read(relay.program)

    run(check())


async def _write_until_it_fails(relay: Relay) -> None:
    while True:
        await relay.write(relay.program, b"more")


@pytest.mark.parametrize("maker", MAKERS)
def test_a_reader_that_stops_stops_the_writer(maker: object) -> None:
    @on_loop
    async def check() -> None:
        async with relayed(maker) as relay:
            data = os.urandom(64 * 1024 * 1024)
            writing = asyncio.create_task(relay.write(relay.program, data))
            before = -1
            while before != (before := _progress(relay)):
                await asyncio.sleep(0.05)
            assert not writing.done()
            assert sum(len(pump._unsent or b"") for pump in relay.pumps) <= MOST_WINDOW
            received = bytearray()
            while len(received) < len(data):
                received += await relay.read(relay.server, 1 << 20)
            await writing
            assert received == data

    check()


def _progress(relay: Relay) -> int:
    return sum(pump._stream._credit - pump._stream._window for pump in relay.pumps)


@on_loop
async def test_what_was_written_last_is_delivered_after_the_link() -> None:
    """Both sides have written their last, the link ends, and the server still reads slowly."""
    async with relayed() as relay:
        relay.server.shutdown(socket.SHUT_WR)
        assert await relay.read(relay.program) == b""
        relay.pumps[1]._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        relay.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        sent = relay.program.send(os.urandom(WINDOW))
        relay.program.close()
        await until(lambda: relay.pumps[0].closed)
        await until(lambda: relay.pumps[1]._fin)
        relay.pair.client.close("gone")
        await relay.pair.agent.closed
        assert draining == {relay.pumps[1]}
        assert len(await relay.read_all(relay.server)) == sent
        assert draining == set()
        assert len(relay.closed) == 2


@on_loop
async def test_the_end_of_the_link_resets_both() -> None:
    async with relayed() as relay:
        relay.pair.agent.close("the pod is gone")
        for sock in (relay.program, relay.server):
            with pytest.raises(ConnectionResetError):
                await relay.read(sock)
        assert sorted(relay.closed) == ["agent", "client"]


@on_loop
async def test_packets_stay_packets() -> None:
    async with relayed(packet_pair) as relay:
        sizes = [1, 10, 5_000, 100_000, 2, 180_000, 180_000, 3]
        packets = [os.urandom(size) for size in sizes]

        async def send() -> None:
            for packet in packets:
                await relay.write(relay.program, packet)

        sending = asyncio.create_task(send())
        assert [await relay.read(relay.server, 1 << 20) for _ in packets] == packets
        await sending
        await relay.write(relay.server, b"answer")
        assert await relay.read(relay.program) == b"answer"
        relay.program.close()
        assert await relay.read(relay.server) == b""
        relay.server.close()
        await relay.ended()


@on_loop
async def test_a_packet_beyond_the_window_resets() -> None:
    async with relayed(packet_pair) as relay:
        relay.program.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * WINDOW)
        try:
            relay.program.send(bytes(WINDOW + 1))
        except OSError as error:
            # the kernel's own limit (net.core.wmem_max) is lower
            assert error.errno == errno.EMSGSIZE  # noqa: PT017
            return
        await relay.ended()


@on_loop
async def test_a_dead_stream_closes_the_socket() -> None:
    async with joined() as pair:
        pair.client.close("gone")
        ours, theirs = socket.socketpair()
        closed: list[bool] = []
        with theirs:
            pump = Pump(
                asyncio.get_running_loop(),
                ours,
                pair.client.open_stream(),
                on_closed=lambda: closed.append(True),
            )
            await until(lambda: closed)
            assert pump.closed


class Owner:
    """What a pump tells of its end."""

    def __call__(self) -> None:
        """Take the news."""


@on_loop
async def test_a_closed_pump_is_freed_without_the_collector() -> None:
    async with joined() as pair:
        ours, theirs = socket.socketpair()
        client, agent = await pair.streams()
        Recorder(agent).stream.fin()
        owner = Owner()
        Pump(asyncio.get_running_loop(), ours, client, on_closed=owner)
        freed = weakref.ref(owner)
        del owner, client
        gc.collect()
        gc.disable()
        try:
            theirs.close()
            await until(lambda: freed() is None)
        finally:
            gc.enable()


@on_loop
async def test_an_answer_and_its_end_leave_together() -> None:
    async with relayed() as relay:
        agent, frames = relay.pair.agent, 0
        send = agent.send

        def counting(kind: Kind, id: int, payload: Data = b"") -> None:
            nonlocal frames
            frames += 1
            send(kind, id, payload)

        agent.send = counting  # type: ignore[method-assign] # to see what leaves when
        steps: list[int] = []

        def step() -> None:
            steps.append(frames)
            if frames < 2:
                agent.loop.call_soon(step)

        relay.server.sendall(b"answer")
        relay.server.shutdown(socket.SHUT_WR)
        agent.loop.call_soon(step)
        assert await relay.read_all(relay.program) == b"answer"
        assert 1 not in steps, "its end came in a later step of the loop"
