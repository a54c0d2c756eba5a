"""Connections: which are the kernel's, and what a failed one says."""

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from mirrord.dispatch.outgoing import Outgoing, is_here
from mirrord.dispatch.sockets import cookie
from mirrord.link.addresses import Peer, pack
from mirrord.syscall import CONTINUE, Elsewhere, Fail, Return, Verdict

from .fakes import REMOTE, REMOTE6, FakeCall, SocketCall, Stage, Theatre

V4, V6 = socket.AF_INET, socket.AF_INET6
UDP = socket.SOCK_DGRAM


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """The program's, which does not wait."""
    with socket.socket() as made:
        made.setblocking(False)
        yield made


def connect(stage: Stage, sock: socket.socket, peer: Peer, *, foreign: bool = False) -> Verdict:
    call = SocketCall(sock)
    call.foreign = foreign
    sockaddr = pack(peer, peer.family)
    return Outgoing(stage.world).connect(call.called(3, call.place(sockaddr), len(sockaddr)))


def test_a_socket_that_cannot_reach_it_is_the_kernels(stage: Stage) -> None:
    with socket.socket() as four, socket.socket(V6) as six, socket.socket(socket.AF_UNIX) as unix:
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        assert connect(stage, four, REMOTE6) is CONTINUE
        assert connect(stage, six, REMOTE) is CONTINUE
        assert connect(stage, unix, REMOTE) is CONTINUE


def test_without_the_plane_connections_are_local(theatre: Theatre, sock: socket.socket) -> None:
    stage = theatre.stage({"network": {"outgoing": False, "dns": False}})
    assert connect(stage, sock, REMOTE) is CONTINUE


def test_another_network_namespace_is_left_alone(stage: Stage, sock: socket.socket) -> None:
    with pytest.raises(Elsewhere):
        connect(stage, sock, REMOTE, foreign=True)


def test_what_the_program_listens_on_itself_is_local(stage: Stage, sock: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stage.world.own_listeners.add(os.fstat(server.fileno()).st_ino)
        assert connect(stage, sock, Peer("127.0.0.1", server.getsockname()[1])) is CONTINUE


def test_a_datagram_socket_needs_an_address_of_the_pod(theatre: Theatre) -> None:
    stage = theatre.stage(addresses={})
    with socket.socket(V4, UDP) as sock:
        assert connect(stage, sock, REMOTE) == Fail(errno.ENETUNREACH)


def test_a_datagram_socket_is_pointed_at_a_relay(theatre: Theatre) -> None:
    stage = theatre.stage(agent=True)
    with socket.socket(V4, UDP) as sock:
        assert connect(stage, sock, REMOTE) == Return(0)
        assert sock.getpeername()[0].startswith("127.")
        association = stage.world.datagrams.get(cookie(sock))
        assert association is not None
        assert association.connected == REMOTE


def test_without_any_connection_no_error_is_looked_for(stage: Stage) -> None:
    call = FakeCall()
    room = call.room(8)
    call.called(3, socket.SOL_SOCKET, socket.SO_ERROR, room, call.place(struct.pack("=i", 4)))
    assert Outgoing(stage.world).getsockopt(call) is CONTINUE


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("0.0.0.0", True), ("::1", True), ("192.0.2.1", False)]
)
def test_addresses_of_this_machine(host: str, here: bool) -> None:
    assert is_here(Peer(host, 80)) is here
