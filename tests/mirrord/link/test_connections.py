import asyncio
import errno
import os
import select
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from mirrord_agent.wire.messages import Address, Opened, OpenTcp

from mirrord.dispatch.sockets import cookie
from mirrord.link import connections as module
from mirrord.link.addresses import Peer, from_name
from mirrord.link.connections import LINK_LOST, Connection, Connections, State
from mirrord.link.inodes import tcp_inodes
from mirrord.link.located import Located
from mirrord.link.loopback import TCP_SYN_SENT, Loopback, begin, is_ipv6_only, tcp_state

from .agent import FakeAgent, until

REMOTE = Peer("10.1.2.3", 80)
OPENED = Opened(local=Address(host="10.9.9.9", port=4567), remote=Address(host="10.1.2.3", port=80))
ESTABLISHED = 1


def error(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def writable(sock: socket.socket) -> bool:
    return bool(select.select([], [sock], [], 0)[1])


@dataclass
class Scene:
    """One program socket, the connections, and the agent."""

    agent: FakeAgent
    connections: Connections
    program: socket.socket
    found: list[socket.socket] = field(default_factory=list)

    def connect(self) -> Connection:
        """Do what the dispatcher does for a connect."""
        bound = self.program.getsockname()[1]
        token = self.connections.loopback.token(ipv6_only=is_ipv6_only(self.program))
        assert begin(self.program, token) == errno.EINPROGRESS
        connection = Connection(
            cookie=cookie(self.program),
            inode=os.fstat(self.program.fileno()).st_ino,
            family=self.program.family,
            remote=REMOTE,
            token=token,
            program=from_name(self.program.getsockname()),
            tid=0,
            fd=self.program.fileno(),
            bound_port=bound,
        )
        self.connections.note(connection)
        self.connections.start_soon(connection)
        return connection

    def known(self) -> Connection | None:
        return self.connections.get(cookie(self.program))

    async def opening(self, number: int = 0) -> tuple[int, OpenTcp]:
        id, request = await self.agent.request(number)
        assert isinstance(request, OpenTcp)
        return id, request

    async def establish(self) -> tuple[Connection, int]:
        """Return a connection that is made, and the id of its stream."""
        connection = self.connect()
        id, request = await self.opening()
        self.agent.reply(id, OPENED)
        await self.connections.settled(connection)
        return connection, request.stream


Story = Callable[[Scene], Awaitable[None]]


@pytest.fixture(params=["ipv4", "ipv6 for both", "ipv6 only"])
def program(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET if request.param == "ipv4" else socket.AF_INET6) as sock:
        if request.param == "ipv6 only":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        yield sock


def play(story: Story, program: socket.socket, *, substitutes: Mapping[Peer, Peer] | None = None) -> None:
    loopback = Loopback()

    async def main() -> None:
        agent = FakeAgent()
        found: list[socket.socket] = []

        def find(wanted: Located) -> socket.socket | None:
            if program.fileno() < 0:
                return None
            found.append(program.dup())
            return found[-1]

        loop = asyncio.get_running_loop()
        connections = Connections(loop, agent.lead, loopback, find, substitutes=substitutes)
        await story(Scene(agent, connections, program, found))
        agent.lose()

    try:
        asyncio.run(main())
    finally:
        loopback.close()


def test_a_connect_is_pending_until_the_agent_has_answered(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        assert scene.known() is connection, "at once, for the gate's thread"
        _, request = await scene.opening()
        assert (request.host, request.port, request.local_port) == (REMOTE.host, REMOTE.port, 0)
        assert connection.state is State.PENDING
        assert tcp_state(program) == TCP_SYN_SENT
        assert not writable(program)

    play(story, program)


def test_a_connect_that_succeeds(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection, stream = await scene.establish()
        assert connection.state is State.ESTABLISHED
        assert connection.local == Peer("10.9.9.9", 4567)
        assert tcp_state(program) == ESTABLISHED
        assert error(program) == 0
        program.send(b"question")
        await until(lambda: scene.agent.data.get(stream) == [b"question"])
        scene.agent.datagram(stream, b"answer")
        await until(lambda: select.select([program], [], [], 0)[0])
        assert program.recv(100) == b"answer"
        assert scene.found == [], "nothing of the program was looked for"

    play(story, program)


def test_a_connection_that_is_closed_is_forgotten(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection, stream = await scene.establish()
        assert scene.connections
        program.close()
        scene.agent.content(stream)
        await until(lambda: not scene.connections)
        assert scene.connections.get(connection.cookie) is None
        assert scene.agent.channel.open_streams == 0

    play(story, program)


def test_a_reset_from_the_pod_reaches_the_program(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        _, stream = await scene.establish()
        scene.agent.reset(stream)
        await until(lambda: select.select([program], [], [], 0)[0])
        with pytest.raises(ConnectionResetError):
            program.recv(1)

    play(story, program)


def test_the_answer_may_come_before_anybody_waits_for_it(program: socket.socket) -> None:
    """The gate's thread begins a connect, and may be kept from handing the call to the loop until later."""

    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, _ = await scene.opening()
        scene.agent.fail(id, errno.ECONNREFUSED)
        await until(lambda: scene.known() is None)
        await asyncio.wait_for(scene.connections.settled(connection), 5)

    play(story, program)


def test_a_refused_connect_is_the_sockets_own_error(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, _ = await scene.opening()
        scene.agent.fail(id, errno.ECONNREFUSED)
        await scene.connections.settled(connection)
        assert writable(program)
        assert [error(program), error(program)] == [errno.ECONNREFUSED, 0]
        assert scene.known() is None
        assert [sock.fileno() for sock in scene.found] == [-1], "no duplicate is kept"
        assert scene.agent.channel.open_streams == 0

    play(story, program)


def test_what_there_is_no_descriptor_for_is_refused(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: Peer) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(module, "counterpart", none_left)

    async def story(scene: Scene) -> None:
        connection = scene.connect()
        await scene.connections.settled(connection)
        assert writable(program)
        assert connection.error == errno.EMFILE
        assert scene.agent.channel.open_streams == 0

    play(story, program)


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRINUSE])
def test_another_error_is_told_once(program: socket.socket, number: int) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, _ = await scene.opening()
        scene.agent.fail(id, number)
        await scene.connections.settled(connection)
        assert (connection.state, connection.error) == (State.FAILED, number)
        assert writable(program)
        assert scene.connections.take_error(connection, program) == number
        assert error(program) == 0, "nor does the socket itself tell another"
        assert scene.known() is None
        assert not scene.connections

    play(story, program)


def test_the_socket_of_a_blocking_connect_can_be_connected_again(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, _ = await scene.opening()
        scene.agent.fail(id, errno.EHOSTUNREACH)
        await scene.connections.settled(connection)
        assert scene.connections.reset_failed(connection) == errno.EHOSTUNREACH
        assert scene.known() is None
        assert error(program) == 0
        again = scene.connect()
        id, _ = await scene.opening(1)
        scene.agent.reply(id, OPENED)
        await scene.connections.settled(again)
        assert tcp_state(program) == ESTABLISHED

    play(story, program)


def test_a_lost_link_fails_pending_and_later_connects(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        await scene.opening()
        scene.agent.lose()
        await scene.connections.settled(connection)
        assert scene.connections.reset_failed(connection) == LINK_LOST
        again = scene.connect()
        await scene.connections.settled(again)
        assert scene.connections.take_error(again, program) == LINK_LOST

    play(story, program)


def test_a_lost_link_resets_established_connections(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        await scene.establish()
        scene.agent.lose()
        await until(lambda: not scene.connections)
        with pytest.raises(ConnectionResetError):
            program.recv(1)

    play(story, program)


def test_a_closed_program_cancels_the_request(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABANDONED_TICK", 0.001)

    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, _ = await scene.opening()
        waiting = asyncio.create_task(scene.connections.settled(connection))
        program.close()
        await until(lambda: scene.agent.cancelled == [id])
        await waiting
        assert not scene.connections
        assert scene.agent.channel.open_streams == 0

    play(story, program)


def test_an_open_program_is_not_taken_for_a_closed_one(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABANDONED_TICK", 0.0)
    looks: list[bool] = []

    def counted(*, in_syn_sent: bool) -> set[int]:
        looks.append(in_syn_sent)
        return tcp_inodes(in_syn_sent=in_syn_sent)

    monkeypatch.setattr(module, "tcp_inodes", counted)

    async def story(scene: Scene) -> None:
        scene.connect()
        await scene.opening()
        await until(lambda: len(looks) > 5)
        assert scene.agent.cancelled == []

    play(story, program)


def test_a_program_closed_just_before_the_answer_resets_the_pods_connection(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, request = await scene.opening()
        program.close()
        scene.agent.reply(id, OPENED)
        await scene.connections.settled(connection)
        assert scene.agent.resets == [request.stream]
        assert not scene.connections

    play(story, program)


def test_a_program_closed_just_before_a_failure_is_forgotten(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        id, _ = await scene.opening()
        program.close()
        scene.agent.fail(id, errno.ETIMEDOUT)
        await scene.connections.settled(connection)
        assert not scene.connections

    play(story, program)


def test_a_settled_connection_is_not_waited_for(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection, _ = await scene.establish()
        await scene.connections.settled(connection)

    play(story, program)


def test_another_peer_takes_the_place_of_one(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection = scene.connect()
        _, request = await scene.opening()
        assert (request.host, request.port) == ("10.0.0.10", 53)
        assert connection.remote == REMOTE, "the program is told of the one that it has asked for"

    play(story, program, substitutes={REMOTE: Peer("10.0.0.10", 53)})


def test_a_bound_port_is_passed_on(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        program.bind(("127.0.0.1" if program.family == socket.AF_INET else "::1", 0))
        scene.connect()
        _, request = await scene.opening()
        assert request.local_port == program.getsockname()[1]

    play(story, program)


def test_what_was_written_last_is_flushed(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        _, stream = await scene.establish()
        program.send(b"last words")
        program.close()
        await scene.connections.flushed()
        assert scene.agent.data[stream] == [b"last words"]

    play(story, program)


def test_this_kernel_can_hold(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        assert scene.connections.can_hold

    play(story, program)


def test_a_plain_connect(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connecting = asyncio.create_task(scene.connections.connect_plainly(program, cookie(program), REMOTE))
        id, request = await scene.opening()
        assert tcp_state(program) not in (ESTABLISHED, TCP_SYN_SENT)
        scene.agent.reply(id, OPENED)
        await connecting
        known = scene.known()
        assert known is not None
        assert (known.state, known.remote, known.local) == (State.ESTABLISHED, REMOTE, Peer("10.9.9.9", 4567))
        program.send(b"question")
        await until(lambda: scene.agent.data.get(request.stream) == [b"question"])

    play(story, program)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH])
def test_a_plain_connect_that_fails(program: socket.socket, number: int) -> None:
    async def story(scene: Scene) -> None:
        connecting = asyncio.create_task(scene.connections.connect_plainly(program, cookie(program), REMOTE))
        id, _ = await scene.opening()
        scene.agent.fail(id, number)
        with pytest.raises(OSError) as caught:
            await connecting
        assert caught.value.errno == number
        assert scene.known() is None
        assert scene.agent.channel.open_streams == 0

    play(story, program)


def test_a_plain_connect_without_a_link(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.agent.lose()
        with pytest.raises(OSError) as caught:
            await scene.connections.connect_plainly(program, cookie(program), REMOTE)
        assert caught.value.errno == LINK_LOST

    play(story, program)


def test_a_plain_connect_of_a_connected_socket(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        connection, _ = await scene.establish()
        again = (connection.token.host, connection.token.port)
        if program.family == socket.AF_INET6 and ":" not in again[0]:
            again = (f"::ffff:{again[0]}", again[1])
        assert program.connect_ex(again) == 0, "as for any connect that was under way"
        connecting = asyncio.create_task(scene.connections.connect_plainly(program, cookie(program), REMOTE))
        id, request = await scene.opening(1)
        scene.agent.reply(id, OPENED)
        with pytest.raises(OSError) as caught:
            await connecting
        assert caught.value.errno == errno.EISCONN
        assert scene.agent.resets == [request.stream]

    play(story, program)


def test_a_pending_connect_is_made_by_the_pod_that_takes_over(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        other, lead = FakeAgent(), scene.agent.lead
        lead.expect()
        connection = scene.connect()
        await scene.opening()
        scene.agent.lose()
        lead.move(other.channel)
        id, request = await other.request()
        assert isinstance(request, OpenTcp)
        other.reply(id, OPENED)
        await scene.connections.settled(connection)
        assert connection.state is State.ESTABLISHED
        program.send(b"question")
        await until(lambda: other.data.get(request.stream) == [b"question"])
        lead.give_up()
        other.lose()

    play(story, program)
