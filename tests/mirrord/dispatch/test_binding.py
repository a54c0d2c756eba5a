import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mirrord.dispatch import binding as module
from mirrord.dispatch.binding import Binding
from mirrord.dispatch.sockets import cookie
from mirrord.link import listeners
from mirrord.link.addresses import Peer, pack
from mirrord.syscall import CONTINUE, SUCCESS, Elsewhere, Fail, Verdict

from ...support.ports import free_port
from .fakes import SocketCall, Stage, Theatre

V4, V6 = socket.AF_INET, socket.AF_INET6


def bind(stage: Stage, sock: socket.socket, peer: Peer, *, family: int | None = None) -> Verdict:
    call = SocketCall(sock)
    sockaddr = pack(peer, sock.family if family is None else family)
    return Binding(stage.world).bind(call.called(3, call.place(sockaddr), len(sockaddr)))


@contextmanager
def taken() -> Iterator[int]:
    """Return a port that another program has, in both networks."""
    with socket.create_server(("::", 0), family=V6, dualstack_ipv6=True) as other:
        yield other.getsockname()[1]


def reported(stage: Stage, sock: socket.socket) -> Peer | None:
    return stage.world.bound.requested(cookie(sock))


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "127.8.8.8"])
def test_a_free_port_is_bound_as_it_is(stage: Stage, host: str) -> None:
    with socket.socket() as sock:
        port = free_port()
        assert bind(stage, sock, Peer(host, port)) is SUCCESS
        assert sock.getsockname() == (host, port)
        assert reported(stage, sock) is None
        assert not stage.world.bound


@pytest.mark.parametrize(("family", "host"), [(V4, "0.0.0.0"), (V4, "127.0.0.1"), (V6, "::"), (V6, "::1")])
def test_a_port_of_another_program_is_replaced(stage: Stage, family: int, host: str) -> None:
    with taken() as port, socket.socket(family) as sock:
        assert bind(stage, sock, Peer(host, port)) is SUCCESS
        assert sock.getsockname()[0] == host
        assert sock.getsockname()[1] not in (0, port)
        assert reported(stage, sock) == Peer(host, port)


def test_a_privileged_port_is_replaced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def unprivileged(sock: socket.socket, sockaddr: bytes) -> int:
        port = int.from_bytes(sockaddr[2:4], "big")
        return errno.EACCES if 0 < port < 1024 else listeners.bind(sock, sockaddr)

    monkeypatch.setattr(module, "bind", unprivileged)
    with socket.socket() as sock:
        assert bind(stage, sock, Peer("0.0.0.0", 80)) is SUCCESS
        assert reported(stage, sock) == Peer("0.0.0.0", 80)
        assert sock.getsockname()[1] >= 1024


@pytest.mark.parametrize(("host", "here"), [("0.0.0.0", "0.0.0.0"), ("10.9.9.9", "127.0.0.1")])
@pytest.mark.parametrize("privileged", [True, False])
def test_root_does_not_take_a_port_for_who_may_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, host: str, here: str, privileged: bool
) -> None:
    port = free_port()
    monkeypatch.setattr(module, "_is_privileged", port.__eq__)
    with socket.socket() as sock:
        call = SocketCall(sock)
        call.privileged = privileged
        sockaddr = pack(Peer(host, port), V4)
        assert Binding(stage.world).bind(call.called(3, call.place(sockaddr), len(sockaddr))) is SUCCESS
        assert sock.getsockname()[0] == here
        assert (sock.getsockname()[1] == port) is privileged
        assert reported(stage, sock) == (None if privileged and host == here else Peer(host, port))


@pytest.mark.parametrize("occupied", [False, True])
def test_the_pods_address_is_the_loopback_here(stage: Stage, occupied: bool) -> None:
    with taken() as port, socket.socket() as sock:
        wanted = port if occupied else free_port()
        assert bind(stage, sock, Peer("10.9.9.9", wanted)) is SUCCESS
        assert sock.getsockname()[0] == "127.0.0.1"
        assert (sock.getsockname()[1] == wanted) is not occupied
        assert reported(stage, sock) == Peer("10.9.9.9", wanted)


def test_an_address_of_nobody_is_not_to_be_had(stage: Stage) -> None:
    with socket.socket() as sock:
        assert bind(stage, sock, Peer("192.0.2.7", free_port())) == Fail(errno.EADDRNOTAVAIL)


def test_a_second_bind_is_the_kernels_error(stage: Stage) -> None:
    with socket.socket() as sock:
        assert bind(stage, sock, Peer("127.0.0.1", free_port())) is SUCCESS
        assert bind(stage, sock, Peer("127.0.0.1", free_port())) == Fail(errno.EINVAL)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_port_of_the_session_is_in_use(stage: Stage, replaced: bool) -> None:
    with taken() as port, socket.socket() as first, socket.socket() as second:
        wanted = Peer("127.0.0.1", port if replaced else free_port())
        assert bind(stage, first, wanted) is SUCCESS
        first.listen()
        stage.program.append(first)
        assert bind(stage, second, wanted) == Fail(errno.EADDRINUSE)
        first.close()
        assert bind(stage, second, wanted) is SUCCESS


def test_workers_share_a_port_that_was_replaced(stage: Stage) -> None:
    with taken() as port, socket.socket() as first, socket.socket() as second, socket.socket() as other:
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        wanted = Peer("127.0.0.1", port)
        assert bind(stage, first, wanted) is SUCCESS
        stage.program.append(first)
        assert bind(stage, second, wanted) is SUCCESS
        assert first.getsockname() == second.getsockname()
        assert reported(stage, second) == wanted
        assert bind(stage, other, wanted) == Fail(errno.EADDRINUSE)


def test_a_listener_that_only_we_keep_is_waited_for(stage: Stage) -> None:
    """As is left by a worker that was killed in accept."""
    listener = socket.create_server(("127.0.0.1", 0))
    wanted = Peer(*listener.getsockname())
    stage.world.held_listeners.add(listener, wanted.port)
    with socket.socket() as sock:
        verdict = bind(stage, sock, wanted)
        stage.loop.call_later(0.02, listener.close)
        assert stage.run(verdict) is SUCCESS
        assert sock.getsockname() == (wanted.host, wanted.port)


def test_it_is_not_waited_for_for_ever(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RELEASE", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
        wanted = Peer(*listener.getsockname())
        stage.world.held_listeners.add(listener, wanted.port)
        assert stage.run(bind(stage, sock, wanted)) == Fail(errno.EADDRINUSE)


def test_the_port_here_may_be_chosen(theatre: Theatre) -> None:
    port, asked = free_port(), free_port()
    stage = theatre.stage({"network": {"incoming": {"listen_ports": [[asked, port]]}}})
    with socket.socket() as sock, socket.socket() as other:
        assert bind(stage, sock, Peer("127.0.0.1", asked)) is SUCCESS
        assert sock.getsockname() == ("127.0.0.1", port)
        assert reported(stage, sock) == Peer("127.0.0.1", asked)
        # what the user has chosen is not replaced
        assert bind(stage, other, Peer("127.0.0.1", asked)) == Fail(errno.EADDRINUSE)


LOCAL: list[dict[str, Any]] = [
    {"mode": "off"},
    {"ignore_localhost": True},
    {"ports": [1]},
]


@pytest.mark.parametrize("incoming", LOCAL)
def test_what_is_not_for_the_target_is_left_to_the_kernel(theatre: Theatre, incoming: dict[str, Any]) -> None:
    stage = theatre.stage({"network": {"incoming": incoming}})
    with taken() as port, socket.socket() as sock:
        assert bind(stage, sock, Peer("127.0.0.1", port)) is CONTINUE


def test_other_sockets_and_addresses_are_left_to_the_kernel(stage: Stage) -> None:
    with socket.socket() as sock, socket.socket(V4, socket.SOCK_DGRAM) as datagrams:
        assert bind(stage, sock, Peer("127.0.0.1", 0)) is CONTINUE
        assert bind(stage, sock, Peer("::1", 80), family=V6) is CONTINUE
        assert bind(stage, datagrams, Peer("127.0.0.1", 80)) is CONTINUE
        assert stage.world.own_datagram_sockets == {os.fstat(datagrams.fileno()).st_ino}
        call = SocketCall(sock)
        unix = struct.pack("=H", socket.AF_UNIX) + b"/run/x\0"
        assert Binding(stage.world).bind(call.called(3, call.place(unix), len(unix))) is CONTINUE


def test_a_program_with_a_network_of_its_own_is_left_alone(stage: Stage) -> None:
    with socket.socket() as sock:
        call = SocketCall(sock)
        call.foreign = True
        sockaddr = pack(Peer("127.0.0.1", free_port()), V4)
        with pytest.raises(Elsewhere):
            Binding(stage.world).bind(call.called(3, call.place(sockaddr), len(sockaddr)))
