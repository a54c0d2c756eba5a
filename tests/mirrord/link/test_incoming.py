import asyncio
import errno
import os
import socket

import pytest
from mirrord_agent.wire.channel import WINDOW
from mirrord_agent.wire.messages import (
    Done,
    Subscribe,
    Unsubscribe,
)

from mirrord.link import incoming as module
from mirrord.link.addresses import Peer
from mirrord.link.incoming import Names
from mirrord.link.listeners import Listener

from .agent import until
from .scene import CLIENT, LOCAL, MIRRORED, Scene, listening, play


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
