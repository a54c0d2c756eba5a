"""The capture on this machine's loopback, of ports that only the tests use."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import uvloop
from mirrord_agent.mirror import capture as module
from mirrord_agent.mirror.capture import Capture
from mirrord_agent.mirror.packets import Segment
from mirrord_agent.steal.level import MARK

from ..namespace import in_namespace
from ..running import on_loop, tool, until
from ..test_linux import needs_root

pytestmark = needs_root


class Watch:
    """What a capture has seen."""

    def __init__(self, *ports: int, loopback_only: bool = False) -> None:
        self.segments: list[Segment] = []
        self.lost = 0
        self.ticks = 0
        self.capture = Capture(
            asyncio.get_running_loop(),
            self._take,
            lost=self._add_lost,
            tick=self._add_tick,
            loopback_only=loopback_only,
        )
        self.capture.take_ports(ports)

    def _take(self, segment: Segment) -> None:
        self.segments.append(segment._replace(payload=memoryview(bytes(segment.payload))))

    def _add_lost(self, count: int) -> None:
        self.lost += count

    def _add_tick(self) -> None:
        self.ticks += 1

    def sent_to(self, port: int) -> bytes:
        """Return the payload that went to a port, in the order in which it passed."""
        return b"".join(bytes(found.payload) for found in self.segments if found.destination.port == port)


@contextmanager
def watch(*ports: int, loopback_only: bool = False) -> Iterator[Watch]:
    watching = Watch(*ports, loopback_only=loopback_only)
    try:
        yield watching
    finally:
        watching.capture.close()


def send(host: str, data: bytes, *, port: int = 0, mark: int = 0) -> int:
    """Send bytes over a new connection and get half of them back; return the server's port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        number: int = server.getsockname()[1]
        _exchange(server, data, mark)
    return number


def _exchange(server: socket.socket, data: bytes, mark: int) -> None:
    with socket.socket(server.family) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while accepted.recv(65_536):
                pass
            accepted.sendall(data[: len(data) // 2])
        while client.recv(65_536):
            pass


def free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_loop
async def test_each_packet_is_seen_once_and_whole(host: str) -> None:
    data = bytes(range(256)) * 900
    port = free_port(host)
    with watch(port) as seen:
        send(host, data[:100_000], port=port)
        await until(lambda: len(seen.sent_to(port)) >= 100_000)
        assert seen.sent_to(port) == data[:100_000]
        assert max(len(found.payload) for found in seen.segments) > 16_000
        answers = [found for found in seen.segments if found.source.port == port]
        assert answers
        assert max(len(found.payload) for found in answers) < 120


@on_loop
async def test_other_ports_are_not() -> None:
    port = free_port("127.0.0.1")
    with watch(port) as seen:
        send("127.0.0.1", b"other")
        send("127.0.0.1", b"ours", port=port)
        await until(lambda: seen.sent_to(port) == b"ours")
        assert {port} == {
            found.destination.port if found.destination.port == port else found.source.port
            for found in seen.segments
        }
        seen.capture.take_ports(())
        seen.segments.clear()
        send("127.0.0.1", b"more", port=port)
        await asyncio.sleep(0)
        assert not seen.segments


@on_loop
async def test_packets_there_is_no_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUFFER", 4096)
    monkeypatch.setattr(module, "_TICK", 0.01)
    port = free_port("127.0.0.1")
    with watch(port) as seen:
        # nothing is read meanwhile: this does not go back to the event loop
        for _ in range(20):
            send("127.0.0.1", bytes(60_000), port=port)
        await until(lambda: seen.lost and seen.ticks)
        assert len(seen.sent_to(port)) < 20 * 60_000


@pytest.mark.parametrize("loopback_only", [False, True])
@on_loop
async def test_what_an_agent_has_passed_on_was_seen_before_but_in_a_mesh(
    loopback_only: bool,
) -> None:
    port = free_port("127.0.0.1")
    with watch(port, loopback_only=loopback_only) as seen:
        for data, mark in ((b"passed on", MARK | 1), (b"other mark", 1), (b"", 0), (b"last", 0)):
            await asyncio.to_thread(send, "127.0.0.1", data, port=port, mark=mark)
        await until(lambda: seen.sent_to(port).endswith(b"last"))
    assert seen.sent_to(port) == b"passed on" * loopback_only + b"other marklast"


@on_loop
async def test_a_closed_capture_has_no_socket() -> None:
    with watch(1) as seen:
        seen.capture.close()
        seen.capture.close()


@in_namespace
def test_a_device_that_goes_down_and_comes_up_is_watched_as_before() -> None:
    """By the agent's own loop, too, which watches a socket no more that has had an error."""
    for run in (asyncio.run, uvloop.run):
        run(_outlive_a_device())


def _ends_with(seen: Watch, port: int, data: bytes) -> bool:
    return seen.sent_to(port).endswith(data)


async def _outlive_a_device() -> None:
    port = free_port("127.0.0.1")
    with watch(port) as seen:
        for data in (b"before", b"after"):
            send("127.0.0.1", data, port=port)
            await until(partial(_ends_with, seen, port, data))
            for state in ("down", "up"):
                subprocess.run([tool("ip"), "link", "set", "lo", state], check=True)
        assert seen.sent_to(port) == b"beforeafter"
