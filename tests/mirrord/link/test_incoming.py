import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from mirrord_agent.wire.channel import WINDOW
from mirrord_agent.wire.messages import (
    Address,
    Arrived,
    Done,
    Failed,
    NotFlushed,
    PacketsLost,
    Reply,
    Request,
    Subscribe,
    Unsubscribe,
)

from mirrord.link import incoming as module
from mirrord.link.addresses import Peer, from_name
from mirrord.link.incoming import Incoming, Names
from mirrord.link.listeners import Listener
from mirrord.link.places import Mode, Terms, Voice

from .agent import FakeAgent, until

CLIENT, LOCAL = Peer("10.1.2.3", 40_000), Peer("10.9.9.9", 80)
MIRRORED = "port 80 of pod-1 is mirrored to this program"


@dataclass
class Scene:
    """The agent, the subscriptions, and what the user was told."""

    agent: FakeAgent
    incoming: Incoming
    informed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def arrive(self, stream: int, *, port: int = 80, local: Peer = LOCAL) -> None:
        """Have a client connect to a port of the target."""
        self.agent.emit(
            Arrived(
                stream=stream,
                port=port,
                remote=Address(host=CLIENT.host, port=CLIENT.port),
                local=Address(host=local.host, port=local.port),
            )
        )

    def data(self, stream: int, data: bytes) -> None:
        """Have it send bytes."""
        self.agent.datagram(stream, data)

    async def accept(self, server: socket.socket) -> tuple[socket.socket, Peer]:
        """Accept what comes to a listener of the program; return it and its peer on this machine."""
        loop = asyncio.get_running_loop()
        server.setblocking(False)
        accepted, name = await asyncio.wait_for(loop.sock_accept(server), 10)
        return accepted, from_name(name)

    async def receive(self, sock: socket.socket) -> bytes:
        """Return everything that comes until the end."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        got = b""
        while data := await asyncio.wait_for(loop.sock_recv(sock, 65_536), 10):
            got += data
        return got


def agrees(request: Request) -> Reply:
    return Done()


def play(
    scenario: Callable[[Scene], Coroutine[object, object, None]],
    *,
    mode: Mode = "mirror",
    terms: Terms | None = None,
    answer: Callable[[Request], Reply | None] = agrees,
) -> None:
    async def run() -> None:
        agent = FakeAgent()
        agent.answer = answer
        scene = Scene(agent, None)  # type: ignore[arg-type]
        voice = Voice("pod-1", scene.informed.append, scene.warned.append, probes={80: "the probe"})
        loop = asyncio.get_running_loop()
        scene.incoming = Incoming(loop, agent.channel, mode=mode, voice=voice, terms=terms)
        async with asyncio.timeout(30):
            await scenario(scene)
        agent.lose()

    asyncio.run(run())


@contextmanager
def listening(count: int = 1) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def test_a_port_is_subscribed_once() -> None:
    async def scenario(scene: Scene) -> None:
        with listening(2) as servers:
            first, second = map(Listener.of, servers)
            await scene.incoming.subscribe(80, first)
            await scene.incoming.subscribe(80, second)
            await scene.incoming.subscribe(80, second)
            assert scene.agent.asked(Subscribe) == [Subscribe(port=80, mode="mirror")]
            assert scene.informed == [MIRRORED]
            assert scene.incoming.listener(first.inode) == first
            assert scene.incoming.listener(second.inode) == second

    play(scenario)


def test_other_pods_are_brought_in_by_the_first_port() -> None:
    async def scenario(scene: Scene) -> None:
        other = FakeAgent()
        other.answer = agrees

        async def bring_in() -> None:
            if not other.requests:
                await scene.incoming.places.join("pod-2", other.channel)

        scene.incoming.places.others = bring_in
        with listening(2) as (server, second):
            await scene.incoming.subscribe(80, Listener.of(server))
            assert other.asked(Subscribe) == [Subscribe(port=80, mode="mirror")]
            assert scene.informed == [MIRRORED, MIRRORED.replace("pod-1", "pod-2")]
            await scene.incoming.subscribe(81, Listener.of(second))
            assert [one.port for agent in (scene.agent, other) for one in agent.asked(Subscribe)] == [
                *(80, 81),
                *(80, 81),
            ]

            Scene(other, scene.incoming).arrive(2)
            accepted, peer = await scene.accept(server)
            with accepted:
                assert scene.incoming.names(peer) == Names(CLIENT, LOCAL)
                other.content(2, b"of the other")
                assert await scene.receive(accepted) == b"of the other"

        # its closing is noticed, and tells both agents
        await until(lambda: len(scene.agent.asked(Unsubscribe)) == len(other.asked(Unsubscribe)) == 2)
        other.lose()

    play(scenario)


def test_a_pod_that_comes_later_is_asked_for_every_port() -> None:
    async def scenario(scene: Scene) -> None:
        other = FakeAgent()
        other.answer = lambda request: Failed(errno=errno.EPERM)
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            await scene.incoming.places.join("pod-2", other.channel)
            assert other.asked(Subscribe) == [Subscribe(port=80, mode="mirror")]
            (warning,) = scene.warned
            assert warning.startswith("warning: port 80 of pod-2 is not mirrored: ")
            # the first one's connections go on arriving
            assert scene.incoming.listener(Listener.of(server).inode) is not None
        await until(lambda: scene.agent.asked(Unsubscribe))
        assert other.asked(Unsubscribe) == []
        other.lose()

    play(scenario)


def test_who_asks_at_once_waits_for_the_same_answer() -> None:
    async def scenario(scene: Scene) -> None:
        with listening(2) as servers:
            asked = [
                asyncio.ensure_future(scene.incoming.subscribe(80, Listener.of(server))) for server in servers
            ]
            id, _ = await scene.agent.request()
            assert not any(one.done() for one in asked)
            scene.agent.reply(id, Done())
            await asyncio.gather(*asked)
            assert len(scene.agent.asked(Subscribe)) == 1

    play(scenario, answer=lambda request: None)


@pytest.mark.parametrize(
    ("mode", "port", "terms", "warned"),
    [
        ("steal", 80, Terms(), True),
        ("steal", 81, Terms(), False),
        ("mirror", 80, Terms(), False),
        # what does not match is the target's to answer
        ("steal", 80, Terms(filtered="requests"), False),
        ("steal", 80, Terms(filtered="requests", filter_ports=frozenset({81})), True),
    ],
)
def test_a_probe_that_is_stolen_is_warned_of(mode: Mode, port: int, terms: Terms, warned: bool) -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(port, Listener.of(server))
            expected = ["warning: the probe will ask this program, as port 80 is stolen"] * warned
            assert [line.partition(";")[0] for line in scene.warned] == expected

    play(scenario, mode=mode, terms=terms)


@pytest.mark.parametrize(
    ("number", "why"), [(errno.EPERM, "CAP_NET_RAW"), (errno.ENOSPC, "too many"), (errno.EIO, "Input/output")]
)
def test_a_port_that_cannot_be_had_is_said_and_left_local(number: int, why: str) -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            listener = Listener.of(server)
            await scene.incoming.subscribe(80, listener)
            assert scene.incoming.listener(listener.inode) is None
            assert len(scene.warned) == 1
            assert scene.warned[0].startswith("warning: port 80 of pod-1 is not mirrored: ")
            assert why in scene.warned[0]

    play(scenario, answer=lambda request: Failed(errno=number))


def test_a_connection_reaches_the_listener_under_its_names() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            assert not scene.incoming
            scene.arrive(2)
            scene.data(2, b"hello ")
            scene.agent.content(2, b"world")
            accepted, peer = await scene.accept(server)
            with accepted:
                assert scene.incoming
                assert scene.incoming.names(peer) == Names(CLIENT, LOCAL)
                assert await scene.receive(accepted) == b"hello world"
            # who asks late is told as well
            await asyncio.sleep(0)
            assert scene.incoming.names(peer) == Names(CLIENT, LOCAL)
            assert scene.incoming.names(Peer("127.0.0.1", 1)) is None

    play(scenario)


def test_what_is_answered_to_a_copy_is_dropped() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            scene.arrive(2)
            accepted, _ = await scene.accept(server)
            loop = asyncio.get_running_loop()
            with accepted:
                accepted.setblocking(False)
                # more than any buffer on the way takes, so it is read
                await loop.sock_sendall(accepted, bytes(8 * WINDOW))
                scene.data(2, b"still there")
                assert await loop.sock_recv(accepted, 99) == b"still there"
            assert 2 not in scene.agent.data

    play(scenario)


def test_what_is_answered_to_a_stolen_connection_is_sent() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            assert scene.agent.asked(Subscribe) == [Subscribe(port=80, mode="steal")]
            scene.arrive(2)
            accepted, _ = await scene.accept(server)
            with accepted:
                accepted.sendall(b"answer")
                await until(lambda: scene.agent.data.get(2) == [b"answer"])

    play(scenario, mode="steal")


def test_the_terms_are_told_and_what_is_stolen_is_named() -> None:
    terms = Terms(filter="{}", filtered="some requests", filter_ports=frozenset({80}), flush=True, body_ms=7)

    async def scenario(scene: Scene) -> None:
        with listening(2) as servers:
            for port, server in zip((80, 81), servers, strict=True):
                await scene.incoming.subscribe(port, Listener.of(server))
        assert scene.agent.asked(Subscribe) == [
            Subscribe(port=port, mode="steal", filter="{}", flush=True, body_ms=7) for port in (80, 81)
        ]
        assert scene.informed == [
            "port 80 of pod-1 is stolen by this program: some requests",
            "port 81 of pod-1 is stolen by this program",
        ]
        scene.agent.emit(NotFlushed(port=80, errno=errno.EPERM))
        await until(lambda: scene.warned)
        assert scene.warned == [
            "warning: connections that port 80 had before stay with pod-1: they cannot be ended there "
            "(operation not permitted)"
        ]

    play(scenario, mode="steal", terms=terms)


def test_a_refusal_gives_its_reason() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
        assert scene.warned == ["warning: port 80 of pod-1 is not stolen: all levels are taken"]

    def refuses(request: Request) -> Reply:
        return Failed(errno=errno.EOPNOTSUPP, reason="all levels are taken")

    play(scenario, mode="steal", answer=refuses)


def test_a_reset_is_a_reset() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            scene.arrive(2)
            accepted, _ = await scene.accept(server)
            with accepted:
                scene.agent.reset(2, errno.ECONNRESET)
                with pytest.raises(ConnectionResetError):
                    await scene.receive(accepted)
            assert not scene.warned

    play(scenario)


@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENODATA, "missed a part"), (errno.ENOBUFS, "more slowly")]
)
def test_a_copy_that_was_cut_is_said(number: int, why: str) -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            scene.arrive(2)
            accepted, _ = await scene.accept(server)
            with accepted:
                scene.agent.reset(2, number)
                await until(lambda: scene.warned)
            assert why in scene.warned[0]

    play(scenario)


def test_lost_packets_are_said() -> None:
    async def scenario(scene: Scene) -> None:
        scene.agent.emit(PacketsLost(count=3))
        await until(lambda: scene.warned)
        assert "could not keep up" in scene.warned[0]

    play(scenario)


def test_a_connection_that_nobody_wants_is_reset() -> None:
    async def scenario(scene: Scene) -> None:
        scene.arrive(2, port=81)
        await until(lambda: scene.agent.resets == [2])

    play(scenario)


def test_a_listener_that_was_closed_is_unsubscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSED_TICK", 0.01)

    async def scenario(scene: Scene) -> None:
        with listening(2) as (server, other):
            listener = Listener.of(server)
            await scene.incoming.subscribe(80, listener)
            await scene.incoming.subscribe(80, Listener.of(other))
            scene.arrive(2)
            accepted, _ = await scene.accept(server)
            other.close()
            server.close()
            await until(lambda: scene.agent.asked(Unsubscribe))
            assert scene.agent.asked(Unsubscribe) == [Unsubscribe(port=80)]
            assert scene.incoming.listener(listener.inode) is None
            with accepted:
                scene.agent.content(2, b"goes on")
                assert await scene.receive(accepted) == b"goes on"
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            assert len(scene.agent.asked(Subscribe)) == 2

    play(scenario)


def test_a_closed_listener_is_passed_over_at_once() -> None:
    async def scenario(scene: Scene) -> None:
        with listening(2) as (closed, server):
            await scene.incoming.subscribe(80, Listener.of(closed))
            await scene.incoming.subscribe(80, Listener.of(server))
            closed.close()
            scene.arrive(2)
            accepted, peer = await scene.accept(server)
            with accepted:
                assert scene.incoming.names(peer) == Names(CLIENT, LOCAL)
            server.close()
            scene.arrive(4)
            await until(lambda: 4 in scene.agent.resets)
            await until(lambda: scene.agent.asked(Unsubscribe))

    play(scenario)


def test_the_listener_of_the_connections_family_is_preferred() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,), socket.create_server(("::1", 0), family=socket.AF_INET6) as server6:
            await scene.incoming.subscribe(80, Listener.of(server))
            await scene.incoming.subscribe(80, Listener.of(server6))
            scene.arrive(2, local=Peer("fd00::9", 80))
            (await scene.accept(server6))[0].close()
            scene.arrive(4)
            (await scene.accept(server))[0].close()

    play(scenario)


def test_nothing_comes_to_a_listener_while_it_is_held_back() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            listener = Listener.of(server)
            await scene.incoming.subscribe(80, listener)
            order: list[str] = []
            asyncio.get_running_loop().call_later(module._QUIET / 2, order.append, "still quiet")
            scene.incoming.hold_back(listener)
            scene.arrive(2)
            (await scene.accept(server))[0].close()
            order.append("accepted")
            assert order == ["still quiet", "accepted"]

    play(scenario)


def test_names_of_the_past_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAST", 3)

    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            peers = []
            for stream in range(2, 16, 2):
                scene.arrive(stream)
                accepted, peer = await scene.accept(server)
                peers.append(peer)
                scene.agent.content(stream)
                accepted.close()
                await until(lambda: len(scene.incoming._pumps) == 0)
            assert [scene.incoming.names(peer) is not None for peer in peers] == [False] * 4 + [True] * 3

    play(scenario)


def test_nothing_is_left_open() -> None:
    async def scenario(scene: Scene) -> None:
        with listening() as (server,):
            await scene.incoming.subscribe(80, Listener.of(server))
            before = len(os.listdir("/proc/self/fd"))
            for stream in range(2, 42, 2):
                scene.arrive(stream)
                scene.agent.content(stream, b"x")
                accepted, _ = await scene.accept(server)
                with accepted:
                    assert await scene.receive(accepted) == b"x"
            await until(lambda: len(os.listdir("/proc/self/fd")) == before)
            assert scene.agent.channel.open_streams == 0

    play(scenario)
