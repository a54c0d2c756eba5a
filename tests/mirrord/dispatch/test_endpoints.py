import socket
import struct

import pytest

from mirrord.dispatch.endpoints import Endpoints
from mirrord.link.addresses import Peer, parse
from mirrord.syscall import CONTINUE, SUCCESS, Return, Verdict

from ...support.ports import free_port
from .fakes import SocketCall, Stage, Theatre
from .test_binding import bind, taken
from .test_incoming import CLIENT, CLIENT6, V6, serving


def told(stage: Stage, sock: socket.socket, *, local: bool) -> Peer | None:
    """Return what the program is told of a socket, None where that is the kernel's to say."""
    call = SocketCall(sock)
    call.called(3, call.room(128), call.place(struct.pack("=i", 128)))
    plane = Endpoints(stage.world)
    return answer(call, plane.getsockname(call) if local else plane.getpeername(call))


def answer(call: SocketCall, verdict: Verdict) -> Peer | None:
    if verdict is CONTINUE:
        return None
    assert isinstance(verdict, Return)
    call.carry_out(verdict.writes)
    (length,) = struct.unpack("=i", call.read(call.args[2], 4))
    return parse(call.read(call.args[1], length))


def test_a_connection_that_came_from_the_pod(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.arrive()
        # as by a call that is not trapped
        accepted, name = program.sock.accept()
        with accepted:
            assert told(program.stage, accepted, local=False) == CLIENT
            assert told(program.stage, accepted, local=True) == Peer("10.9.9.9", 8080)
            assert name[0].startswith("127.")
        assert told(program.stage, program.sock, local=True) is None
        assert told(program.stage, program.sock, local=False) is None


@pytest.mark.parametrize(("host", "known"), [("::", True), ("127.0.0.1", False)])
def test_a_peer_of_ipv6(theatre: Theatre, host: str, known: bool) -> None:
    with serving(theatre, V6 if ":" in host else socket.AF_INET, host) as program:
        program.arrive(CLIENT6)
        accepted, _ = program.sock.accept()
        with accepted:
            assert told(program.stage, accepted, local=False) == (CLIENT6 if known else None)


def test_a_local_connection_is_the_kernels(theatre: Theatre) -> None:
    with serving(theatre) as program:
        program.arrive()
        program.sock.accept()[0].close()
        with socket.create_connection(program.sock.getsockname()) as client:
            accepted, _ = program.sock.accept()
            with accepted:
                assert told(program.stage, accepted, local=False) is None
                assert told(program.stage, client, local=False) is None


def test_a_replaced_port_is_reported_as_it_was_asked_for(stage: Stage) -> None:
    with taken() as port, socket.socket() as sock, socket.socket() as other:
        assert bind(stage, sock, Peer("0.0.0.0", port)) is SUCCESS
        assert told(stage, sock, local=True) == Peer("0.0.0.0", port)
        assert told(stage, sock, local=False) is None
        assert bind(stage, other, Peer("0.0.0.0", free_port())) is SUCCESS
        assert told(stage, other, local=True) is None


def test_other_sockets_are_the_kernels(stage: Stage) -> None:
    with socket.socket() as sock, socket.socket(socket.AF_UNIX) as unix:
        for one in (sock, unix):
            assert told(stage, one, local=True) is None
            assert told(stage, one, local=False) is None
