import asyncio
import errno
import os
import select
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from mirrord_agent.wire.datagram import pack_header, split
from mirrord_agent.wire.messages import Address, DatagramError, Opened, OpenUdp

from mirrord.link import datagrams as module
from mirrord.link.addresses import Peer, from_name, to_name
from mirrord.link.associations import Association
from mirrord.link.connections import Cookie
from mirrord.link.datagrams import Datagrams
from mirrord.link.inodes import udp_inodes

from .agent import FakeAgent, until

REMOTE = Peer("10.1.2.3", 8125)
OTHER = Peer("10.1.2.4", 8125)
DNS = Peer("10.0.0.10", 53)
COOKIE = Cookie(1)


@dataclass
class Scene:
    """The datagram sockets of the program, and the agent."""

    agent: FakeAgent
    datagrams: Datagrams
    program: socket.socket
    learned: list[bytes] = field(default_factory=list)

    @property
    def association(self) -> Association:
        found = self.datagrams.get(COOKIE)
        assert found is not None
        return found

    def relay(self, peer: Peer = REMOTE, *, connected: bool = False) -> Peer:
        association = self.datagrams.associate(self.program, COOKIE, tid=0, fd=self.program.fileno())
        if connected:
            association.connected = peer
        return self.datagrams.relay(association, peer)

    def send(self, data: bytes, peer: Peer = REMOTE) -> None:
        self.program.sendto(data, to_name(self.relay(peer), self.program.family))

    async def opening(self, number: int = 0) -> tuple[int, OpenUdp]:
        id, request = await self.agent.request(number)
        assert isinstance(request, OpenUdp)
        return id, request

    async def sent(self, count: int = 1) -> list[tuple[str, int, bytes]]:
        """Return what the agent has to send: host, port and payload."""
        await until(lambda: sum(map(len, self.agent.data.values())) >= count)
        frames = [frame for frames in self.agent.data.values() for frame in frames]
        return [(host, port, bytes(data)) for host, port, data in map(split, frames)]

    async def received(self) -> tuple[bytes, Peer]:
        """Return what the program receives, and from whom on this machine."""
        await until(lambda: select.select([self.program], [], [], 0)[0])
        data, name = self.program.recvfrom(70_000)
        return data, from_name(name)


Story = Callable[[Scene], Awaitable[None]]


@pytest.fixture(params=["ipv4", "ipv6 for both", "ipv6 only"])
def program(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(
        socket.AF_INET if request.param == "ipv4" else socket.AF_INET6, socket.SOCK_DGRAM
    ) as sock:
        if request.param == "ipv6 only":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        yield sock


def play(
    story: Story,
    program: socket.socket,
    *,
    learn: bool = False,
    substitutes: Mapping[Peer, Peer] | None = None,
) -> None:
    async def main() -> None:
        agent = FakeAgent()
        learned: list[bytes] = []
        datagrams = Datagrams(
            asyncio.get_running_loop(),
            agent.lead,
            lambda wanted: program.dup() if wanted.fd == program.fileno() else None,
            learn=learned.append if learn else None,
            resolver=None,
            substitutes=substitutes,
        )
        await story(Scene(agent, datagrams, program, learned))
        agent.lose()
        await until(lambda: not datagrams)

    asyncio.run(main())


def test_a_relay_stands_for_each_peer(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        one, again, other = scene.relay(), scene.relay(), scene.relay(OTHER)
        assert one == again != other
        assert one.is_loopback
        assert scene.association.by_relay == {one: REMOTE, other: OTHER}
        assert scene.association.connected is None
        assert program.getsockname()[1] != 0
        await scene.sent(0)
        assert scene.agent.requests == [], "nothing is opened before the first datagram"
        scene.send(b"x")
        await scene.sent()

    play(story, program)


def test_datagrams_go_to_their_peers_from_one_socket(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"one")
        scene.send(b"two", OTHER)
        assert sorted(await scene.sent(2)) == [
            (REMOTE.host, REMOTE.port, b"one"),
            (OTHER.host, OTHER.port, b"two"),
        ]
        assert [(r.family, r.peer) for r in scene.agent.asked(OpenUdp)] == [(4, None)]

    play(story, program)


def test_an_empty_datagram_is_one(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"")
        assert await scene.sent() == [(REMOTE.host, REMOTE.port, b"")]

    play(story, program)


def test_an_answer_comes_from_the_relay(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"question")
        id, request = await scene.opening()
        scene.agent.reply(id, Opened(local=Address(host="0.0.0.0", port=777)))
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert await scene.received() == (b"answer", scene.relay())
        await until(lambda: scene.association.ports == {socket.AF_INET: 777})

    play(story, program)


def test_another_peer_takes_the_place_of_one(program: socket.socket) -> None:
    """The program asks the name server that it remembers, and seems to be answered by it."""

    async def story(scene: Scene) -> None:
        scene.send(b"question", OTHER)
        assert await scene.sent() == [(DNS.host, DNS.port, b"question")]
        _, request = await scene.opening()
        assert request.family == 4
        scene.agent.datagram(request.stream, pack_header(DNS.host, DNS.port) + b"answer")
        assert await scene.received() == (b"answer", scene.relay(OTHER))

    play(story, program, substitutes={OTHER: DNS})


def test_a_substitute_may_be_of_the_other_family(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"question", OTHER)
        assert await scene.sent() == [("fd00::53", 53, b"question")]
        _, request = await scene.opening()
        assert request.family == 6

    play(story, program, substitutes={OTHER: Peer("fd00::53", 53)})


def test_who_was_not_written_to_may_answer(program: socket.socket) -> None:
    """A TFTP server answers from a port of its own."""

    async def story(scene: Scene) -> None:
        scene.send(b"question")
        _, request = await scene.opening()
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, 999) + b"answer")
        data, sender = await scene.received()
        assert data == b"answer"
        assert scene.association.by_relay[sender] == Peer(REMOTE.host, 999)
        program.sendto(b"more", to_name(sender, program.family))
        assert (await scene.sent(2))[1] == (REMOTE.host, 999, b"more")

    play(story, program)


def test_strangers_cannot_take_every_descriptor(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_RELAYS", 3)

    async def story(scene: Scene) -> None:
        scene.send(b"question")
        _, request = await scene.opening()
        for port in range(1000, 1010):
            scene.agent.datagram(request.stream, pack_header(OTHER.host, port) + b"x")
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert [(await scene.received())[0] for _ in range(3)] == [b"x", b"x", b"answer"]
        assert len(scene.association.relays) == 3

    play(story, program)


def test_a_connected_socket_hears_its_peer_alone(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        program.connect(to_name(scene.relay(connected=True), program.family))
        program.send(b"question")
        _, request = await scene.opening()
        scene.agent.datagram(request.stream, pack_header(OTHER.host, 1) + b"from a stranger")
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert (await scene.received())[0] == b"answer"
        assert len(scene.association.relays) == 1

    play(story, program)


def test_a_refusal_in_the_pod_is_shown_to_a_connected_socket(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        program.connect(to_name(scene.relay(connected=True), program.family))
        program.send(b"question")
        _, request = await scene.opening()
        peer = Address(host=REMOTE.host, port=REMOTE.port)
        scene.agent.emit(DatagramError(stream=request.stream, errno=errno.ECONNREFUSED, peer=peer))
        await until(lambda: select.select([program], [], [], 0)[0])
        with pytest.raises(ConnectionRefusedError):
            program.recv(1)
        program.send(b"again")
        assert (await scene.sent(2))[1][2] == b"again"
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert (await scene.received())[0] == b"answer"

    play(story, program)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH])
def test_an_error_about_someone_else_is_not_shown(program: socket.socket, number: int) -> None:
    async def story(scene: Scene) -> None:
        program.connect(to_name(scene.relay(connected=True), program.family))
        program.send(b"question")
        _, request = await scene.opening()
        peer = Address(host=OTHER.host if number == errno.ECONNREFUSED else REMOTE.host, port=OTHER.port)
        scene.agent.emit(DatagramError(stream=request.stream, errno=number, peer=peer))
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert (await scene.received())[0] == b"answer"

    play(story, program)

    play(story, program)


def test_a_stranger_on_this_machine_cannot_use_a_relay(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        relay = scene.relay()
        with socket.socket(relay.family, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"forged", (relay.host, relay.port))
        scene.send(b"real")
        assert await scene.sent() == [(REMOTE.host, REMOTE.port, b"real")]

    play(story, program)


def test_a_connected_socket_needs_no_address(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        relay = scene.relay(connected=True)
        assert scene.association.connected == REMOTE
        program.connect(to_name(relay, program.family))
        program.send(b"question")
        _, request = await scene.opening()
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert await scene.received() == (b"answer", relay)

    play(story, program)


def test_peers_of_both_families_have_a_socket_each() -> None:
    remote6 = Peer("2001:db8::1", 8125)

    async def story(scene: Scene) -> None:
        scene.send(b"four")
        scene.send(b"six", remote6)
        assert sorted(await scene.sent(2)) == [
            (REMOTE.host, REMOTE.port, b"four"),
            (remote6.host, remote6.port, b"six"),
        ]
        assert sorted(request.family for request in scene.agent.asked(OpenUdp)) == [4, 6]

    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as program:
        program.setblocking(False)
        play(story, program)


def test_a_bound_socket_is_answered_where_it_is_bound(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        program.bind(("127.0.0.1" if program.family == socket.AF_INET else "::1", 0))
        name = program.getsockname()
        scene.send(b"question")
        _, request = await scene.opening()
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        assert (await scene.received())[0] == b"answer"
        assert program.getsockname() == name

    play(story, program)


def test_answers_of_name_servers_are_learned_from(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"question", DNS)
        _, request = await scene.opening()
        scene.agent.datagram(request.stream, pack_header(DNS.host, DNS.port) + b"answer")
        scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"no answer of a server")
        assert (await scene.received())[0] == b"answer"
        assert scene.learned == [b"answer"]

    play(story, program, learn=True)


def test_a_socket_that_the_pod_refuses_is_forgotten(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"question")
        id, _ = await scene.opening()
        scene.agent.fail(id, errno.EMFILE)
        await until(lambda: not scene.datagrams)
        assert scene.datagrams.get(COOKIE) is None
        assert scene.agent.channel.open_streams == 0

    play(story, program)


def test_a_lost_link_forgets_every_socket(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"question")
        await scene.opening()
        relays = list(scene.association.relays.values())
        scene.agent.lose()
        await until(lambda: not scene.datagrams)
        assert [relay.fileno() for relay in relays] == [-1]

    play(story, program)


def test_a_socket_without_a_link_is_forgotten_at_its_first_datagram(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.agent.lose()
        scene.send(b"question")
        await until(lambda: not scene.datagrams)

    play(story, program)


def test_a_closed_socket_is_collected(program: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.001)

    async def story(scene: Scene) -> None:
        scene.send(b"question")
        _, request = await scene.opening()
        relays = list(scene.association.relays.values())
        program.close()
        await until(lambda: not scene.datagrams)
        assert [relay.fileno() for relay in relays] == [-1]
        assert scene.agent.resets == [request.stream]

    play(story, program)


def test_an_open_socket_is_not_collected(program: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.0)
    looks: list[int] = []

    def counted() -> set[int]:
        looks.append(1)
        return udp_inodes()

    monkeypatch.setattr(module, "udp_inodes", counted)

    async def story(scene: Scene) -> None:
        scene.relay()
        await until(lambda: len(looks) > 5)
        assert scene.datagrams
        scene.send(b"x")
        await scene.opening()

    play(story, program)


def test_a_socket_is_not_collected_that_was_made_while_the_kernel_was_asked(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(scene: Scene) -> None:
        def asked() -> set[int]:
            scene.relay()
            return set()

        monkeypatch.setattr(module, "udp_inodes", asked)
        scene.datagrams._collect()
        assert scene.datagrams

    play(story, program)


def test_a_closed_socket_is_not_shown(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.relay()
        assert len(list(scene.datagrams.look())) == 1
        program.close()
        assert list(scene.datagrams.look()) == []

    play(story, program)


def test_a_closed_socket_is_collected_though_the_kernel_could_not_be_asked_once(
    program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(scene: Scene) -> None:
        def refused() -> set[int]:
            monkeypatch.setattr(module, "udp_inodes", udp_inodes)
            raise OSError(errno.EMFILE, "no descriptor is left")

        scene.relay()
        program.close()
        monkeypatch.setattr(module, "_TICK", 0.001)
        monkeypatch.setattr(module, "udp_inodes", refused)
        with pytest.raises(OSError):
            scene.datagrams._collect()
        await until(lambda: not scene.datagrams)

    play(story, program)


def test_an_answer_to_a_closed_socket_does_no_harm(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        scene.send(b"question")
        id, request = await scene.opening()
        scene.agent.reply(id, Opened(local=Address(host="0.0.0.0", port=777)))
        program.close()
        for _ in range(3):
            scene.agent.datagram(request.stream, pack_header(REMOTE.host, REMOTE.port) + b"answer")
        await until(lambda: not scene.datagrams)
        assert scene.agent.channel.reason is None

    play(story, program)


def test_a_flood_passes_in_order(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        for number in range(30):
            scene.send(b"%d" % number)
        assert [data for _, _, data in await scene.sent(30)] == [b"%d" % number for number in range(30)]

    play(story, program)


def test_descriptors_are_not_leaked(program: socket.socket) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def story(scene: Scene) -> None:
        for number in range(20):
            scene.send(b"x", Peer("10.1.2.3", 1000 + number))
        await scene.sent(20)

    play(story, program)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_socket_goes_on_in_the_pod_that_takes_the_place_of_a_lost_one(program: socket.socket) -> None:
    async def story(scene: Scene) -> None:
        other, lead = FakeAgent(), scene.agent.lead
        lead.expect()
        scene.send(b"before")
        await scene.sent()
        scene.agent.lose()
        scene.send(b"meanwhile")
        await asyncio.sleep(0)
        assert scene.datagrams
        lead.move(other.channel)
        scene.send(b"after")
        (opened,) = await until(lambda: other.asked(OpenUdp))
        await until(lambda: len(other.data.get(opened.stream, ())) == 2)
        sent = [bytes(data) for _, _, data in map(split, other.data[opened.stream])]
        assert sent == [b"meanwhile", b"after"]
        lead.give_up()
        other.lose()

    play(story, program)
