import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from mirrord.link import loopback as module
from mirrord.link.addresses import Peer, from_name, to_name
from mirrord.link.loopback import (
    TCP_SYN_SENT,
    Loopback,
    abort,
    begin,
    complete,
    counterpart,
    is_ipv6_only,
    self_test,
    tcp_state,
)

ESTABLISHED = 1
CLOSE = 7


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    made = Loopback()
    yield made
    made.close()


@pytest.fixture(params=["ipv4", "ipv6 for both", "ipv6 only"])
def program(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET if request.param == "ipv4" else socket.AF_INET6) as sock:
        if request.param == "ipv6 only":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        yield sock


def hold(loopback: Loopback, program: socket.socket) -> Peer:
    token = loopback.token(ipv6_only=is_ipv6_only(program))
    assert begin(program, token) == errno.EINPROGRESS
    return token


def completed(token: Peer, program: Peer) -> socket.socket | None:
    ours = counterpart(token)
    return ours if complete(ours, program) else None


def refuse(loopback: Loopback, sock: socket.socket) -> None:
    """Refuse it, and wait for the kernel's RST, which comes a moment later on a busy machine."""
    loopback.refuse(sock)
    with select.epoll() as epoll:
        epoll.register(sock, 0)
        assert epoll.poll(5)


def events(sock: socket.socket) -> int:
    with select.epoll() as epoll:
        epoll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)
        return epoll.poll(0)[0][1] if epoll.poll(0) else 0


def error(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def test_this_kernel_passes_the_self_test(loopback: Loopback) -> None:
    assert self_test(loopback)


def test_a_held_connect_is_pending_and_silent(loopback: Loopback, program: socket.socket) -> None:
    token = hold(loopback, program)
    assert tcp_state(program) == TCP_SYN_SENT
    assert events(program) == 0
    assert error(program) == 0
    assert program.connect_ex(to_name(token, program.family)) == errno.EALREADY


def test_a_held_connect_is_completed(loopback: Loopback, program: socket.socket) -> None:
    token = hold(loopback, program)
    ours = completed(token, from_name(program.getsockname()))
    assert ours is not None
    with ours:
        assert tcp_state(program) == ESTABLISHED
        assert events(program) == select.EPOLLOUT
        assert error(program) == 0
        assert from_name(program.getpeername()) == token
        assert program.send(b"question") == 8
        assert select.select([ours], [], [], 5)[0]
        assert ours.recv(100) == b"question"
        ours.send(b"answer")
        ours.shutdown(socket.SHUT_WR)
        program.settimeout(5)
        assert program.makefile("rb").read() == b"answer"


def test_a_held_connect_is_refused(loopback: Loopback, program: socket.socket) -> None:
    hold(loopback, program)
    refuse(loopback, program)
    assert events(program) & (select.EPOLLERR | select.EPOLLHUP) == select.EPOLLERR | select.EPOLLHUP
    assert error(program) == errno.ECONNREFUSED
    assert error(program) == 0
    assert tcp_state(program) == CLOSE


def test_it_is_refused_from_another_port_where_its_own_is_taken(
    loopback: Loopback, program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    with socket.socket(program.family) as other:

        def disconnect(sock: socket.socket) -> None:
            host, port = sock.getsockname()[:2]
            given_up(sock)
            # a connection of somebody else may have the port as well, which hinders a bind, and no connect
            with contextlib.suppress(OSError):
                other.bind((host, port))
                taken.append(port)

        given_up = module.disconnect
        monkeypatch.setattr(module, "disconnect", disconnect)
        while not taken:
            hold(loopback, program)
            refuse(loopback, program)
            assert error(program) == errno.ECONNREFUSED
        assert program.getsockname()[1] not in taken


def test_an_epoll_that_was_waiting_sees_a_completion_once(loopback: Loopback, program: socket.socket) -> None:
    with select.epoll() as epoll:
        token = hold(loopback, program)
        epoll.register(program, select.EPOLLOUT | select.EPOLLET)
        assert epoll.poll(0) == []
        ours = completed(token, from_name(program.getsockname()))
        assert ours is not None
        with ours:
            assert epoll.poll(5) == [(program.fileno(), select.EPOLLOUT)]
            assert epoll.poll(0) == []


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_refused_socket_goes_on_as_a_natively_refused_one(loopback: Loopback, family: int) -> None:
    """What SO_ERROR, a send and further connects say, in this order."""

    def story(sock: socket.socket, to: tuple[str, int]) -> list[int]:
        told = [error(sock), error(sock), events(sock)]
        for attempt in (lambda: sock.send(b"x"), lambda: sock.recv(1), lambda: sock.connect(to)):
            try:
                attempt()
                told.append(0)
            except OSError as failure:
                told.append(failure.errno or 0)
        return [*told, sock.connect_ex(to)]

    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as dead, socket.socket(family) as native, socket.socket(family) as held:
        dead.bind((host, 0))
        to = (host, dead.getsockname()[1])
        for sock in (native, held):
            sock.setblocking(False)
        assert native.connect_ex(to) == errno.EINPROGRESS
        hold(loopback, held)
        loopback.refuse(held)
        assert story(held, to) == story(native, to)


def test_an_abort_leaves_a_socket_as_new(loopback: Loopback, program: socket.socket) -> None:
    hold(loopback, program)
    abort(program)
    assert tcp_state(program) == CLOSE
    assert error(program) == 0
    hold(loopback, program)


class WithoutFastOpen(socket.socket):
    """A socket where ``net.ipv4.tcp_fastopen`` is 0."""

    def sendto(self, *args: object) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("kind", [socket.socket, WithoutFastOpen])
@pytest.mark.parametrize("blocking", [True, False])
def test_begin_leaves_the_blocking_mode_alone(
    loopback: Loopback, kind: type[socket.socket], blocking: bool
) -> None:
    with kind() as program:
        os.set_blocking(program.fileno(), blocking)
        assert begin(program, loopback.token(ipv6_only=False)) == errno.EINPROGRESS
        assert os.get_blocking(program.fileno()) is blocking
        assert tcp_state(program) == TCP_SYN_SENT


def test_begin_tells_other_errors(loopback: Loopback) -> None:
    with socket.socket() as program, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        program.connect(listener.getsockname())
        assert begin(program, loopback.token(ipv6_only=False)) == errno.EISCONN


def test_nobody_else_can_connect_to_the_holders(loopback: Loopback) -> None:
    """A stranger's connect to a holder stays pending just the same: nothing is ever accepted."""
    for ipv6_only in (False, True):
        token = loopback.token(ipv6_only=ipv6_only)
        with socket.socket(token.family) as stranger:
            stranger.setblocking(False)
            assert stranger.connect_ex((token.host, token.port)) == errno.EINPROGRESS
            assert tcp_state(stranger) == TCP_SYN_SENT
            assert events(stranger) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_another_user_cannot_share_a_holders_port(loopback: Loopback) -> None:
    """SO_REUSEPORT shares a port among sockets of one user only (socket(7))."""
    token = loopback.token(ipv6_only=False)
    pid = os.fork()
    if pid == 0:
        number = 0
        try:
            os.setresuid(65534, 65534, 65534)
            with socket.socket() as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                stranger.bind((token.host, token.port))
        except OSError as failure:
            number = failure.errno or 255
        os._exit(number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EADDRINUSE


def test_every_token_is_another_loopback_address(loopback: Loopback) -> None:
    tokens = [loopback.token(ipv6_only=False) for _ in range(1000)]
    assert len({token.host for token in tokens}) == 1000
    assert all(64 <= int(token.host.split(".")[1]) < 128 for token in tokens)
    assert all(token.host.startswith("127.") for token in tokens)
    assert {token.host for token in (loopback.token(ipv6_only=True) for _ in range(8))} == {"::1"}


def test_many_connects_from_one_port_are_completed_each(loopback: Loopback) -> None:
    programs = [socket.socket() for _ in range(50)]
    for program in programs:
        program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    programs[0].bind(("127.0.0.1", 0))
    for program in programs[1:]:
        program.bind(programs[0].getsockname())
    tokens = [hold(loopback, program) for program in programs]
    ends = [completed(token, from_name(p.getsockname())) for token, p in zip(tokens, programs, strict=True)]
    assert all(ends)
    assert [tcp_state(program) for program in programs] == [ESTABLISHED] * 50
    for sock in (*programs, *ends):
        assert sock is not None
        sock.close()


def test_a_closed_program_is_not_completed(loopback: Loopback, program: socket.socket) -> None:
    token = hold(loopback, program)
    address = from_name(program.getsockname())
    program.close()
    assert completed(token, address) is None


def test_ipv6_only_is_told_from_the_option_or_the_bound_address() -> None:
    with socket.socket() as sock:
        assert not is_ipv6_only(sock)
    with socket.socket(socket.AF_INET6) as sock:
        assert not is_ipv6_only(sock)
        sock.bind(("::1", 0))
        assert is_ipv6_only(sock)
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::ffff:127.0.0.1", 0))
        assert not is_ipv6_only(sock)
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        assert is_ipv6_only(sock)


def test_without_ipv6_a_token_for_it_is_eaddrnotavail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IPV6_LISTENERS", 0)
    loopback = Loopback()
    with pytest.raises(OSError) as caught:
        loopback.token(ipv6_only=True)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert self_test(loopback)
    loopback.close()


def test_a_kernel_that_does_otherwise_fails_the_self_test(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "complete", lambda token, program: None)
    assert not self_test(loopback)
    monkeypatch.setattr(module, "begin", lambda sock, to: errno.ENETUNREACH)
    assert not self_test(loopback)


def test_where_no_listener_can_be_kept_to_lo_connects_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(family: int, host: str) -> socket.socket:
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr(module, "_holder", refused)
    with contextlib.closing(Loopback()) as loopback:
        assert not loopback
        assert not self_test(loopback)
