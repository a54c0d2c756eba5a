import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from functools import partial

import pytest
import uvloop
from mirrord_agent.datagrams import open_udp
from mirrord_agent.wire.channel import Channel, RequestFailed
from mirrord_agent.wire.datagram import pack_header, split
from mirrord_agent.wire.messages import Address, DatagramError, Opened, OpenUdp, Reply, Request

from .running import PATIENCE, Pair, Recorder, joined, on_loop, until

HOSTS = [(socket.AF_INET, "127.0.0.1", 4), (socket.AF_INET6, "::1", 6)]


async def answering(request: Request, channel: Channel) -> Reply:
    """Answer as the agent does."""
    assert isinstance(request, OpenUdp)
    return open_udp(request, channel)


async def opened(pair: Pair, family: int, peer: Address | None = None) -> tuple[Recorder, Opened]:
    """Open a UDP socket."""
    ours = Recorder(pair.client.open_datagram_stream())
    request = OpenUdp.model_validate({"stream": ours.stream.id, "family": family, "peer": peer})
    return ours, await pair.client.request(request, Opened)


def unused(family: socket.AddressFamily, host: str) -> int:
    """Return a port that nobody listens on."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(("family", "host", "number"), HOSTS)
@pytest.mark.parametrize("is_connected", [False, True])
def test_datagrams_pass_both_ways(
    family: socket.AddressFamily, host: str, number: int, is_connected: bool
) -> None:
    @on_loop
    async def check() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as server:
            server.bind((host, 0))
            server.settimeout(10)
            port = server.getsockname()[1]
            async with joined(answering) as pair:
                peer = Address(host=host, port=port) if is_connected else None
                ours, reply = await opened(pair, number, peer)
                assert (reply.remote, reply.local.port > 0) == (peer, True)
                for size in (0, 1, 1400, 60_000):
                    ours.stream.write(pack_header(host, port) + bytes(size))
                    received: list[tuple[bytes, tuple[str, int]]] = []
                    server.setblocking(False)
                    await until(partial(_try, server, received))
                    assert (len(received[0][0]), received[0][1][1]) == (size, reply.local.port)
                    server.sendto(b"x" * size, received[0][1])
                    await until(lambda: ours.pieces)
                    sender, source, payload = split(ours.pieces.pop())
                    assert (sender, source, bytes(payload)) == (host, port, b"x" * size)

    check()


def _told(events: list[DatagramError], number: int) -> bool:
    return len(events) >= number


def _try(server: socket.socket, received: list[tuple[bytes, tuple[str, int]]]) -> bool:
    try:
        received.append(server.recvfrom(65_535))
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize(("family", "host", "number"), HOSTS)
@pytest.mark.parametrize("is_connected", [False, True])
def test_a_port_that_nobody_listens_on_is_told(
    family: socket.AddressFamily, host: str, number: int, is_connected: bool
) -> None:
    @on_loop
    async def check() -> None:
        port = unused(family, host)
        peer = Address(host=host, port=port)
        async with joined(answering) as pair:
            events: list[DatagramError] = []
            pair.client.on_event(DatagramError, events.append)
            ours, _ = await opened(pair, number, peer if is_connected else None)
            ours.stream.write(pack_header(host, port) + b"x")
            await until(lambda: events)
            assert events == [DatagramError(stream=ours.stream.id, errno=errno.ECONNREFUSED, peer=peer)]

    check()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_datagrams_come_after_an_error(run: Callable[[Coroutine[None, None, None]], None]) -> None:
    """On the agent's own loop, too, which watches a socket no more after it."""

    async def check() -> None:
        port = unused(socket.AF_INET, "127.0.0.1")
        async with asyncio.timeout(PATIENCE), joined(answering) as pair:
            events: list[DatagramError] = []
            pair.client.on_event(DatagramError, events.append)
            ours, reply = await opened(pair, 4)
            for number in (1, 2):
                ours.stream.write(pack_header("127.0.0.1", port) + b"x")
                await until(partial(_told, events, number))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                    server.sendto(b"late", ("127.0.0.1", reply.local.port))
                    await until(lambda: ours.pieces)
                    assert bytes(split(ours.pieces.pop())[2]) == b"late"

    run(check())


@on_loop
async def test_what_cannot_be_sent_is_told() -> None:
    async with joined(answering) as pair:
        events: list[DatagramError] = []
        pair.client.on_event(DatagramError, events.append)
        ours, _ = await opened(pair, 4)
        ours.stream.write(pack_header("127.0.0.1", 9) + bytes(65_508))
        ours.stream.write(pack_header("255.255.255.255", 9) + b"x")
        await until(lambda: len(events) == 2)
        assert [event.errno for event in events] == [errno.EMSGSIZE, errno.EACCES]


@on_loop
async def test_a_peer_of_another_family_is_refused() -> None:
    async with joined(answering) as pair:
        with pytest.raises(RequestFailed) as caught:
            await opened(pair, 4, Address(host="::1", port=9))
        assert caught.value.errno == errno.EAFNOSUPPORT


@on_loop
async def test_half_a_header_closes_the_link() -> None:
    async with joined(answering) as pair:
        ours, _ = await opened(pair, 4)
        ours.stream.write(b"\x04\x7f")
        assert "a datagram without a whole header" in await pair.client.closed


@on_loop
async def test_the_socket_ends_with_its_stream() -> None:
    async with joined(answering) as pair:
        ours, reply = await opened(pair, 4)
        ours.stream.reset()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            await until(lambda: pair.agent.open_streams == 0)
            again.bind(("0.0.0.0", reply.local.port))
