import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mirrord_agent.wire.messages import Address, Arrived, Done, Subscribe

from mirrord.dispatch.incoming import Incoming
from mirrord.link.addresses import Peer, from_name, pack, parse
from mirrord.syscall import CONTINUE, SUCCESS, Elsewhere, Fail, Fault, GiveFd, Verdict, Wait

from ...support.ports import free_port
from .fakes import PAGE, SocketCall, Stage, Theatre
from .test_binding import taken

CLIENT = Peer("10.1.2.3", 40_000)
CLIENT6 = Peer("fd00::3", 40_000)
V6 = socket.AF_INET6


class Program:
    """A program that serves one port."""

    def __init__(self, stage: Stage, sock: socket.socket) -> None:
        self.stage = stage
        self.sock = sock
        self.plane = Incoming(stage.world)
        self._streams = iter(range(2, 1000, 2))

    def bind(self, peer: Peer) -> Verdict:
        call = SocketCall(self.sock)
        sockaddr = pack(peer, self.sock.family)
        return self.plane._binding.bind(call.called(3, call.place(sockaddr), len(sockaddr)))

    def listen(self, backlog: int = 5) -> Verdict:
        verdict = self.plane.listen(SocketCall(self.sock, 3, backlog))
        return self.stage.run(verdict) if isinstance(verdict, Wait) else verdict

    def arrive(self, peer: Peer = CLIENT) -> int:
        """Have a client of the pod connect, and wait until it has come here."""
        stream = next(self._streams)
        self.stage.agent.emit(
            Arrived(
                stream=stream,
                port=self.sock.getsockname()[1],
                remote=Address(host=peer.host, port=peer.port),
                local=Address(host="10.9.9.9", port=8080),
            )
        )
        assert self.stage.world.incoming is not None
        before = len(self.stage.world.incoming._pumps)
        self.stage.until(lambda: len(self.stage.world.incoming._pumps) > before)  # type: ignore[union-attr]
        return stream

    def accepting(self, *, flags: int | None = None, room: int = 128) -> tuple[SocketCall, Verdict]:
        """Make the call; return it and its verdict."""
        call = SocketCall(self.sock)
        call.called(3, call.room(128), call.place(struct.pack("=i", room)), flags or 0)
        handler = self.plane.accept if flags is None else self.plane.accept4
        return call, handler(call)

    def accept(self) -> Peer | None:
        """Accept at once; return the peer that the program is told."""
        call, verdict = self.accepting()
        return told(call, verdict)


def begun(program: Program, verdict: Verdict) -> "asyncio.Task[Verdict]":
    """Return the task of a call that waits, which has begun to."""
    assert isinstance(verdict, Wait)
    assert verdict.interruptible
    begin = verdict.answer

    async def wait() -> Verdict:
        return await begin()

    task = program.stage.loop.create_task(wait())

    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    program.stage.loop.run_until_complete(turns())
    return task


def told(call: SocketCall, verdict: Verdict) -> Peer | None:
    """Return the peer that the program is told of a connection, which is closed."""
    assert isinstance(verdict, GiveFd)
    os.close(verdict.fd)
    call.carry_out(verdict.writes)
    (length,) = struct.unpack("=i", call.read(call.args[2], 4))
    return parse(call.read(call.args[1], length))


@contextmanager
def serving(theatre: Theatre, family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[Program]:
    stage = theatre.stage(agent=True)
    stage.agent.answer = lambda request: Done()
    with socket.socket(family) as sock:
        program = Program(stage, sock)
        assert program.bind(Peer(host, free_port())) is SUCCESS
        assert program.listen() is SUCCESS
        yield program


def test_listening_subscribes(theatre: Theatre) -> None:
    with serving(theatre) as program:
        port = program.sock.getsockname()[1]
        assert program.stage.agent.asked(Subscribe) == [Subscribe(port=port)]
        assert program.stage.said == [f"port {port} of pod-1 is mirrored to this program"]
        assert os.fstat(program.sock.fileno()).st_ino in program.stage.world.own_listeners
        # a second time is harmless
        assert program.listen() is SUCCESS
        assert len(program.stage.agent.asked(Subscribe)) == 1


@pytest.mark.parametrize("backlog", [0, 5, -1, 2**31 - 1])
def test_any_length_of_queue(theatre: Theatre, backlog: int) -> None:
    with serving(theatre) as program:
        assert program.listen(backlog) is SUCCESS


def test_a_replaced_port_is_said(theatre: Theatre) -> None:
    stage = theatre.stage(agent=True)
    stage.agent.answer = lambda request: Done()
    with taken() as port, socket.socket() as sock:
        program = Program(stage, sock)
        assert program.bind(Peer("127.0.0.1", port)) is SUCCESS
        assert program.listen() is SUCCESS
        assert stage.said == [
            f"port {port} cannot be had on this machine (address already in use): "
            f"the program listens on port {sock.getsockname()[1]} here",
            f"port {port} of pod-1 is mirrored to this program",
        ]
        assert stage.agent.asked(Subscribe) == [Subscribe(port=port)]


def test_ports_are_mapped(theatre: Theatre) -> None:
    port = free_port()
    stage = theatre.stage({"network": {"incoming": {"port_mapping": [[port, 99]]}}}, agent=True)
    stage.agent.answer = lambda request: Done()
    with socket.socket() as sock:
        program = Program(stage, sock)
        program.bind(Peer("127.0.0.1", port))
        assert program.listen() is SUCCESS
        assert stage.agent.asked(Subscribe) == [Subscribe(port=99)]


def test_listening_without_a_port_of_its_own_is_local(stage: Stage) -> None:
    with socket.socket() as sock:
        assert Program(stage, sock).listen() is CONTINUE
        assert stage.world.own_listeners == {os.fstat(sock.fileno()).st_ino}
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert Program(stage, sock).listen() is CONTINUE


def test_an_error_of_listen_is_the_kernels(theatre: Theatre) -> None:
    stage = theatre.stage(agent=True)
    with socket.socket() as sock, socket.create_server(("127.0.0.1", 0)) as server:
        program = Program(stage, sock)
        program.bind(Peer("127.0.0.1", free_port()))
        sock.connect(server.getsockname())
        with pytest.raises(OSError) as caught:
            program.listen()
        assert caught.value.errno == errno.EINVAL


def test_a_port_taken_between_bind_and_listen_is_said(stage: Stage) -> None:
    with socket.socket() as sock, socket.socket() as other:
        for one in (sock, other):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        program = Program(stage, sock)
        port = free_port()
        assert program.bind(Peer("127.0.0.1", port)) is SUCCESS
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(OSError) as caught:
            program.listen()
        assert caught.value.errno == errno.EADDRINUSE
        assert stage.said == [f"another program has begun to listen on port {port} since this one bound it"]


def test_a_program_with_a_network_of_its_own_is_left_alone(theatre: Theatre) -> None:
    stage = theatre.stage(agent=True)
    with socket.socket() as sock:
        program = Program(stage, sock)
        program.bind(Peer("127.0.0.1", free_port()))
        call = SocketCall(sock, 3, 5)
        call.foreign = True
        with pytest.raises(Elsewhere):
            program.plane.listen(call)


def test_the_remote_client_is_told(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.arrive()
        assert program.accept() == CLIENT


@pytest.mark.parametrize(("client", "mapped"), [(CLIENT, True), (CLIENT6, False)])
def test_on_a_listener_of_both_networks(theatre: Theatre, client: Peer, mapped: bool) -> None:
    with serving(theatre, V6, "::") as program:
        program.arrive(client)
        _, verdict = program.accepting()
        assert isinstance(verdict, GiveFd)
        assert verdict.writes[0][1] == pack(client, V6)
        assert (b"\xff\xff" in verdict.writes[0][1]) is mapped
        os.close(verdict.fd)


def test_a_listener_of_ipv4_cannot_be_told_of_ipv6(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.arrive(CLIENT6)
        peer = program.accept()
        assert peer is not None
        assert peer.host.startswith("127.")


def test_a_local_client_is_told_as_it_is(theatre: Theatre) -> None:
    with serving(theatre) as program, socket.create_connection(program.sock.getsockname()) as client:
        assert program.accept() == from_name(client.getsockname())


def test_the_address_is_cut_to_its_room(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.arrive()
        _, verdict = program.accepting(room=6)
        assert isinstance(verdict, GiveFd)
        os.close(verdict.fd)
        assert [data for _, data in verdict.writes] == [
            pack(CLIENT, socket.AF_INET)[:6],
            struct.pack("=i", 16),
        ]


@pytest.mark.parametrize("flags", [0, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC])
def test_flags(theatre: Theatre, flags: int) -> None:
    with serving(theatre) as program:
        program.arrive()
        _, verdict = program.accepting(flags=flags)
        assert isinstance(verdict, GiveFd)
        assert os.get_blocking(verdict.fd) is not bool(flags & socket.SOCK_NONBLOCK)
        assert verdict.cloexec is bool(flags & socket.SOCK_CLOEXEC)
        assert os.get_blocking(program.sock.fileno())
        os.close(verdict.fd)


def test_flags_that_do_not_exist_are_the_kernels_to_refuse(theatre: Theatre) -> None:
    with serving(theatre) as program:
        assert program.accepting(flags=1)[1] is CONTINUE


def test_a_non_blocking_listener_does_not_wait(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.sock.setblocking(False)
        assert program.accepting()[1] == Fail(errno.EAGAIN)
        program.arrive()
        assert program.accept() == CLIENT
        assert not os.get_blocking(program.sock.fileno())


def test_a_blocking_one_waits(theatre: Theatre) -> None:
    with serving(theatre) as program:
        call, verdict = program.accepting()
        assert program.stage.world.held_listeners.holds(program.sock.getsockname()[1])
        waiting = begun(program, verdict)
        program.arrive()
        program.stage.until(waiting.done)
        assert told(call, waiting.result()) == CLIENT
        assert not program.stage.world.held_listeners.holds(program.sock.getsockname()[1])


def test_those_who_wait_take_turns(theatre: Theatre) -> None:
    with serving(theatre) as program:
        waiting = []
        for _ in range(3):
            call, verdict = program.accepting()
            waiting.append((call, begun(program, verdict)))
        for number in range(3):
            program.arrive(Peer("10.1.2.3", number + 1))
            program.stage.until(waiting[number][1].done)
            assert [task.done() for _, task in waiting] == [True] * (number + 1) + [False] * (2 - number)
            assert told(waiting[number][0], waiting[number][1].result()) == Peer("10.1.2.3", number + 1)


def test_a_time_out(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", 0, 10_000))
        assert program.stage.run(program.accepting()[1]) == Fail(errno.EAGAIN)


def test_what_comes_together_with_a_signal_is_not_left_to_the_kernel(theatre: Theatre) -> None:
    with serving(theatre) as program:
        call, verdict = program.accepting()
        waiting = begun(program, verdict)

        async def at_once() -> None:
            with socket.create_connection(program.sock.getsockname()):
                waiting.cancel()

        program.stage.loop.run_until_complete(at_once())
        program.stage.until(waiting.done)
        peer = told(call, waiting.result())
        assert peer is not None
        assert peer.is_loopback


def test_a_signal_alone_ends_the_wait(theatre: Theatre) -> None:
    with serving(theatre) as program:
        _, verdict = program.accepting()
        waiting = begun(program, verdict)
        waiting.cancel()
        program.stage.until(waiting.done)
        assert waiting.cancelled()


def test_a_connection_that_cannot_be_given_is_offered_again(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.arrive()
        for _ in range(5):
            _, verdict = program.accepting()
            assert isinstance(verdict, GiveFd)
            verdict.refused(verdict.fd)
            program.stage.until(lambda: _readable(program.sock))
        assert program.accept() == CLIENT


def _readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


@pytest.mark.parametrize("bad", [0, 1, PAGE - 1])
def test_a_bad_length_is_efault(theatre: Theatre, bad: int) -> None:
    with serving(theatre) as program:
        program.arrive()
        call = SocketCall(program.sock)
        with pytest.raises(Fault):
            program.plane.accept(call.called(3, call.room(16), bad))


def test_other_listeners_are_the_kernels(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = SocketCall(server)
        call.called(3, call.room(16), call.place(struct.pack("=i", 16)))
        assert Incoming(stage.world).accept(call) is CONTINUE
