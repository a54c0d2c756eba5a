import errno

import pytest
from mirrord_agent.wire.messages import (
    Failed,
    NotFlushed,
    PacketsLost,
    Reply,
    Request,
    Subscribe,
    Unsubscribe,
)

from mirrord.link.incoming import Names
from mirrord.link.listeners import Listener
from mirrord.link.places import Mode, Terms

from .agent import FakeAgent, until
from .scene import CLIENT, LOCAL, MIRRORED, Scene, agrees, listening, play


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


def test_lost_packets_are_said() -> None:
    async def scenario(scene: Scene) -> None:
        scene.agent.emit(PacketsLost(count=3))
        await until(lambda: scene.warned)
        assert "could not keep up" in scene.warned[0]

    play(scenario)
