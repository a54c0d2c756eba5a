"""A session's incoming connections, with an agent that is played."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from mirrord_agent.wire.messages import (
    Address,
    Arrived,
    Done,
    Reply,
    Request,
)

from mirrord.link.addresses import Peer, from_name
from mirrord.link.incoming import Incoming
from mirrord.link.places import Mode, Terms, Voice

from .agent import FakeAgent

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
