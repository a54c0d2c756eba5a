"""Stealing end to end: real clients, an application, a local one behind a link."""

import asyncio
import contextlib
import http.client
import itertools
import random
import socket
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from mirrord_agent.errors import AgentError
from mirrord_agent.http.filter import BodyFilter, HttpFilter
from mirrord_agent.http.output import Side
from mirrord_agent.steal.connection import Patience
from mirrord_agent.steal.level import take_whole
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from ..namespace import in_namespace
from ..running import on_loop, until
from .http_world import LOCAL_PORT, TAKE, Application, HttpAgent, Node, ask_as, ask_at_once, http_world
from .scene import PORT, left

_TAKE = ("-H", "X-Take: yes")


@in_namespace
@on_loop
async def test_requests_go_where_the_filter_says_and_everywhere_else_without() -> None:
    async with http_world() as world:
        assert await world.curl("/before", *_TAKE) == "original GET /before"
        world.steal()
        assert await world.curl("/1", *_TAKE) == "local GET /1"
        assert await world.curl("/2") == "original GET /2"
        assert await world.curl("/3", "-X", "POST", "-d", "x" * 10, *_TAKE) == "local got 10"
        assert await world.curl("/4", "-I", *_TAKE, "-o", "/dev/null", "-w", "%{http_code}") == "200"
        assert world.decided == [
            ("/1", Side.LOCAL),
            ("/2", Side.ORIGINAL),
            ("/3", Side.LOCAL),
            ("/4", Side.LOCAL),
        ]
        world.stealer.stop(PORT)
        assert await world.curl("/after", *_TAKE) == "original GET /after"
        world.steal(None)
        assert await world.curl("/all") == "local GET /all"
        assert all(peer.host == "127.0.0.1" for peer in world.peers)
    assert left() == []


@in_namespace
@on_loop
async def test_all_of_a_port_is_one_sessions_except_in_its_pauses() -> None:
    async with http_world() as world:
        world.steal(None)
        with pytest.raises(AgentError, match="another session steals all"):
            take_whole(PORT)
        world.stealer.pause()
        with take_whole(PORT), pytest.raises(AgentError, match="another session steals all"):
            world.stealer.go_on()
        assert await world.curl("/") == "original GET /"
        world.stealer.go_on()
        assert await world.curl("/") == "local GET /"
        world.stealer.stop(PORT)
        take_whole(PORT).close()


@in_namespace
@on_loop
async def test_a_pause_gives_the_port_back_until_it_is_over() -> None:
    async with http_world() as world:
        world.steal(None)
        assert await world.curl("/1") == "local GET /1"
        world.stealer.pause()
        assert await world.curl("/2") == "original GET /2"
        world.stealer.pause()
        world.stealer.go_on()
        assert await world.curl("/3") == "local GET /3"
        world.stealer.go_on()
        world.stealer.pause()
        world.stealer.stop(PORT)
        world.stealer.go_on()
        assert await world.curl("/4") == "original GET /4"
    assert left() == []


@in_namespace
@on_loop
async def test_ipv6() -> None:
    async with http_world() as world:
        world.steal()
        assert await world.curl("/1", *_TAKE, host="[::1]") == "local GET /1"
        assert await world.curl("/2", host="[::1]") == "original GET /2"
        assert [peer.host for peer in world.peers] == ["::1"]


async def _say_name(connection: ServerConnection) -> None:
    """Answer each message with the port that it came to."""
    async for message in connection:
        await connection.send(f"{connection.local_address[1]}: {message!r}")


@in_namespace
@on_loop
async def test_websockets() -> None:
    async with http_world(apps=False) as world:
        world.steal()
        async with serve(_say_name, "127.0.0.1", PORT), serve(_say_name, "127.0.0.1", LOCAL_PORT):
            for headers, port in (({"X-Take": "yes"}, LOCAL_PORT), ({}, PORT)):
                uri = f"ws://127.0.0.1:{PORT}/"
                async with connect(uri, additional_headers=headers, proxy=None) as client:
                    for message in ("hello", "x" * 200_000):
                        await client.send(message)
                        assert await client.recv() == f"{port}: {message!r}"
        assert [side for _, side in world.decided] == [Side.LOCAL, Side.ORIGINAL]


@in_namespace
@on_loop
async def test_one_kept_connection_goes_to_both() -> None:
    async with http_world() as world:
        world.steal()
        both = ("-H", "X-Take: yes", "-o", "-", f"http://127.0.0.1:{PORT}/b", "--next", "-sS")
        said = await world.curl("/c", *both)
        assert said == "local GET /blocal GET /c" or said == "local GET /boriginal GET /c"
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        for number in range(10):
            take = "X-Take: yes\r\n" if number % 3 else ""
            writer.write(f"GET /{number} HTTP/1.1\r\nHost: a\r\n{take}\r\n".encode())
        for number in range(10):
            name = "local" if number % 3 else "original"
            body = f"{name} GET /{number}".encode()
            head = await reader.readuntil(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head
            assert await reader.readexactly(len(body)) == body
        writer.close()


@in_namespace
@on_loop
async def test_large_bodies_go_both_ways_on_both_sides() -> None:
    async with http_world() as world:
        world.steal()
        with tempfile.NamedTemporaryFile() as file:
            size = 20_000_000
            file.truncate(size)
            upload = ("-X", "POST", "-T", file.name, "-H", "Expect: 100-continue")
            for options, name in ((_TAKE, "local"), ((), "original")):
                count = ("-o", "/dev/null", "-w", "%{size_download}")
                assert await world.curl(f"/large/{size}", *options, *count) == str(size)
                assert await world.curl("/", *options, *upload) == f"{name} got {size}"


@in_namespace
@on_loop
async def test_a_slow_reader_stops_the_writer() -> None:
    async with http_world() as world:
        world.steal()
        for take in (b"X-Take: yes\r\n", b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT, limit=1024)
            writer.write(b"GET /events HTTP/1.1\r\nHost: a\r\n" + take + b"\r\n")
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
            name = b"local" if take else b"original"
            for _ in range(5):
                assert await reader.readuntil(b"\n\n") == b"data: " + name + b"\n\n"
            writer.transport.abort()


@in_namespace
@on_loop
async def test_upgrades_on_both_sides() -> None:
    async with http_world() as world:
        world.steal()
        for take, name in ((b"X-Take: yes\r\n", b"local"), (b"", b"original")):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            upgrade = b"Connection: Upgrade\r\nUpgrade: lines\r\n"
            writer.write(b"GET /socket HTTP/1.1\r\nHost: a\r\n" + upgrade + take + b"\r\n")
            assert b"101" in await reader.readuntil(b"\r\n\r\n")
            for line in (b"one\n", b"GET / HTTP/1.1\r\n"):
                writer.write(line)
                assert await reader.readline() == name + b":" + line
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()


@in_namespace
@on_loop
async def test_a_body_filter() -> None:
    async with http_world() as world:
        world.steal(HttpFilter(body_filter=BodyFilter(body="json", query="$.user", matches="^me$")))
        for user, name in (("me", "local"), ("you", "original")):
            body = f'{{"user": "{user}"}}'
            for expect in ((), ("-H", "Expect: 100-continue")):
                said = await world.curl("/", "-d", body, *expect)
                assert said == f"{name} got {len(body)}"


@in_namespace
@on_loop
async def test_what_is_not_http_reaches_the_original_whoever_speaks_first() -> None:
    async with http_world(apps=False) as world:
        world.steal(patience=Patience(detection=0.05))
        listener = socket.create_server(("127.0.0.1", PORT))
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        for first in (b"\x16\x03\x01", b"", b"PRI", b"GET /never"):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(first)
            theirs, _ = await loop.sock_accept(listener)
            await loop.sock_sendall(theirs, b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.write(b"\0more")
            writer.write_eof()
            got = b""
            while piece := await loop.sock_recv(theirs, 100):
                got += piece
            assert got == first + b"\0more"
            await loop.sock_sendall(theirs, b"bye")
            theirs.close()
            assert await reader.read() == b"bye"
            writer.close()
        assert world.streams == []


@in_namespace
@on_loop
async def test_a_client_that_connects_early_is_decided_when_it_speaks() -> None:
    async with http_world() as world:
        world.steal(patience=Patience(detection=0.05))
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        await asyncio.sleep(0.2)
        writer.write(b"GET /late HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"local GET /late")
        writer.close()


@in_namespace
@on_loop
async def test_the_local_program_going_is_a_bad_gateway_then_the_originals() -> None:
    async with http_world() as world:
        world.steal()
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\nContent-Length: 5\r\n\r\nab")
        await until(lambda: world.streams)
        world.streams[0].reset()
        said = await reader.read()
        assert said.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert said.endswith(b"\r\n\r\nmirrord: the local program closed the connection\n")
        writer.close()
        world.refuse = True
        assert await world.curl("/", *_TAKE, "-w", " %{http_code}") == "mirrord: Connection refused\n 502"
        world.stealer.stop(PORT)
        assert await world.curl("/", *_TAKE) == "original GET /"


@in_namespace
@on_loop
async def test_without_a_filter_a_refusal_is_a_reset() -> None:
    async with http_world() as world:
        world.steal(None)
        world.refuse = True
        said = await world.curl("/")
        # with luck it comes before curl has looked whether it is connected
        assert said.endswith(("[56]", "[52]", "[7]"))


@in_namespace
@on_loop
async def test_a_filter_for_other_ports_takes_a_connection_whole() -> None:
    async with http_world() as world:
        world.steal(HttpFilter(header_filter="^x-take: yes$", ports=(PORT + 1,)))
        assert await world.curl("/") == "local GET /"
        assert world.decided == []


@in_namespace
@on_loop
async def test_what_was_begun_goes_on_after_a_stop_and_is_waited_for() -> None:
    async with http_world() as world:
        world.steal()
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(
            b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: lines\r\nX-Take: yes\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        draining = asyncio.ensure_future(world.stealer.drained())
        assert await world.curl("/", *_TAKE) == "original GET /"
        writer.write(b"still\n")
        assert await reader.readline() == b"local:still\n"
        assert not draining.done()
        writer.close()
        await draining


@in_namespace
@on_loop
async def test_without_an_application_clients_are_told() -> None:
    async with http_world(apps=False) as world:
        world.steal()
        Application("local", LOCAL_PORT)
        assert await world.curl("/", *_TAKE) == "local GET /"
        assert "[56]" in await world.curl("/")


@in_namespace
@on_loop
async def test_http2_goes_where_the_filter_says() -> None:
    original, local = Node("original", PORT), Node("local", LOCAL_PORT)
    async with http_world(apps=False) as world:
        world.steal()
        h2 = ("--http2-prior-knowledge",)
        assert await world.curl("/a", *h2, *_TAKE) == "local GET /a 0"
        assert await world.curl("/b", *h2) == "original GET /b 0"
        assert await world.curl("/c", *h2, *_TAKE, "-d", "x" * 1000) == "local POST /c 1000"
        for options in (_TAKE, ()):
            size = ("-o", "/dev/null", "-w", "%{size_download}")
            assert await world.curl("/large/3000000", *h2, *options, *size) == "3000000"
        names = ["local", "original", "original"]
        expected = [f"{names[number % 3]} POST /{number} {number * 1000} 0" for number in range(30)]
        assert await ask_at_once(30) == expected
        hanging = asyncio.ensure_future(world.curl("/hang", *h2, *_TAKE, "-w", "%{http_code}"))
        await until(lambda: ("/hang", Side.LOCAL) in world.decided)
        local.end()
        assert (await hanging).endswith("502")
        assert await world.curl("/d", *h2) == "original GET /d 0"
    original.end()


@in_namespace
@on_loop
async def test_one_port_is_stolen_once() -> None:
    async with http_world() as world:
        world.steal()
        with pytest.raises(OSError, match=f"port {PORT} is stolen already"):
            world.steal()


@in_namespace
@on_loop
async def test_slow_lorises_end_at_the_original_and_hold_little() -> None:
    async with http_world() as world:
        world.steal(TAKE, patience=Patience(detection=0.1))
        writers = []
        for _ in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            writers.append(writer)
        assert await world.curl("/", *_TAKE) == "local GET /"
        assert world.decided == [("/", Side.LOCAL)]
        for writer in writers:
            writer.transport.abort()


def _each_gets_their_own(alive: Iterable[str]) -> None:
    for name in ("anna", "berta", "clara", "nobody"):
        assert ask_as(name) == f"{name if name in alive else 'original'} GET /"


@in_namespace
def test_several_users_share_a_port_and_end_in_any_order() -> None:
    Application("original", PORT)
    ports = {"anna": 9001, "berta": 9002, "clara": 9003}
    for order in itertools.permutations(ports):
        agents = {name: HttpAgent(name, port) for name, port in ports.items()}
        _each_gets_their_own(agents)
        for name in order:
            agents.pop(name).kill()
            _each_gets_their_own(agents)
    assert left() == []


@in_namespace
def test_a_kill_at_any_moment_of_traffic_loses_only_what_was_in_flight() -> None:
    Application("original", PORT)
    stop = threading.Event()
    said: list[str] = []

    def traffic() -> None:
        while not stop.is_set():
            try:
                said.append(ask_as("anna" if len(said) % 2 else "nobody"))
            except TimeoutError:
                said.append("never answered")
            except (OSError, http.client.HTTPException):
                said.append("refused or reset")

    clients = [threading.Thread(target=traffic) for _ in range(4)]
    for client in clients:
        client.start()
    for number in range(5):
        agent = HttpAgent("anna", 9001 + number, wait=False)
        time.sleep(random.uniform(0.0, 0.3))
        agent.kill()
        assert left() == []
        assert ask_as("anna") == "original GET /"
    stop.set()
    for client in clients:
        client.join()
    # each client was told at once
    assert set(said) <= {"original GET /", "anna GET /", "refused or reset"}
    assert said.count("original GET /") > 0


@in_namespace
@on_loop
async def test_a_body_of_any_size_takes_little_memory() -> None:
    async with http_world(apps=False) as world:
        world.steal()
        stuck = [socket.create_server(("127.0.0.1", port)) for port in (PORT, LOCAL_PORT)]
        before = _resident()
        for take in (b"", b"X-Take: yes\r\n"):
            _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + take + b"Content-Length: 1073741824\r\n\r\n")
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 1 << 30:
                    writer.write(b"x" * 65_536)
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                    sent += 65_536
            # the kernel has most of it: the buffers of four sockets
            assert sent < 1 << 27
            writer.transport.abort()
        assert _resident() - before < 30 << 20
        for listener in stuck:
            listener.close()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
