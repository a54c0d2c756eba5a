"""The kernel's own tables, by sock_diag and as text."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirrord.link import inodes
from mirrord.link.inodes import listening, tcp_inodes, udp_inodes
from mirrord.link.loopback import Loopback, begin


@pytest.fixture(params=["sock_diag", "text"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "text":

        def refused(*_: object) -> Iterator[inodes.Row]:
            raise OSError(errno.ENOENT, "no sock_diag")

        monkeypatch.setattr(inodes, "_dump", refused)


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_is_known_by_its_port(family: int, host: str) -> None:
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        assert inode(sock) not in listening()
        sock.listen()
        port = sock.getsockname()[1]
        assert listening()[inode(sock)] == port
        assert listening(port=port) == {inode(sock): port}
        assert inode(sock) not in listening(port=port ^ 1)
        assert inode(sock) in tcp_inodes()
        number = inode(sock)
    assert number not in tcp_inodes()


def test_a_pending_connect_is_known_as_such() -> None:
    loopback = Loopback()
    with socket.socket() as sock:
        assert begin(sock, loopback.token(ipv6_only=False)) == errno.EINPROGRESS
        number = inode(sock)
        assert number in tcp_inodes(in_syn_sent=True)
    assert number not in tcp_inodes(in_syn_sent=True)
    loopback.close()


def test_an_established_connection_is_not_pending() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        assert inode(sock) in tcp_inodes()
        assert inode(sock) not in tcp_inodes(in_syn_sent=True)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_datagram_socket_is_known_while_bound(family: int, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        assert inode(sock) not in udp_inodes()
        sock.bind((host, 0))
        port = sock.getsockname()[1]
        assert inode(sock) in udp_inodes()
        assert inode(sock) in udp_inodes(port=port)
        assert inode(sock) not in udp_inodes(port=port ^ 1)
        number = inode(sock)
    assert number not in udp_inodes()


def test_a_kernel_without_ipv6_has_no_such_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Path("/proc/self/net/no-such-table").exists()
    assert list(inodes._text("no-such-table")) == []


def test_more_sockets_than_one_answer_holds() -> None:
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(900)]
        assert {inode(sock) for sock in many} <= set(listening())
