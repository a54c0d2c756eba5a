"""The listener: original destinations, direct connections, connections that are passed on."""

import select
import socket
import subprocess

import pytest
from mirrord_agent.steal.listener import Endpoint, Listener, Stolen, accept, connect_original
from mirrord_agent.steal.nftables import Nftables

from ..namespace import in_namespace
from .scene import LOOPBACKS, PORT, Client, ask, serve


def _next(listener: Listener) -> Stolen | None:
    ready, _, _ = select.select(listener.sockets, [], [], 10)
    return accept(ready[0], port=PORT)


@in_namespace
def test_it_knows_where_a_connection_was_meant_to_go_and_who_made_it() -> None:
    table, listener = Nftables(), Listener()
    table.redirect(PORT, to=listener.port)
    for host in LOOPBACKS:
        client = Client(host)
        stolen = _next(listener)
        assert stolen is not None
        assert stolen.destination == Endpoint(host, PORT)
        assert stolen.peer == Endpoint(*client.socket.getsockname()[:2])
        # the client sees whom it connected to
        assert client.socket.getpeername()[:2] == (host, PORT)
        client.close()
        stolen.socket.close()


@in_namespace
def test_who_connects_to_it_directly_is_refused() -> None:
    table, listener = Nftables(), Listener()
    table.redirect(PORT, to=listener.port)
    for host in ("127.0.0.1", "::1"):
        client = Client(host, port=listener.port)
        assert _next(listener) is None
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)


@in_namespace
def test_nothing_is_accepted_twice() -> None:
    listener = Listener()
    for sock in listener.sockets:
        with pytest.raises(BlockingIOError):
            accept(sock, port=PORT)


@in_namespace
def test_a_connection_that_is_passed_on_reaches_the_application() -> None:
    table, listener, _ = Nftables(), Listener(), serve("app")
    table.redirect(PORT, to=listener.port)
    for host in LOOPBACKS:
        original = connect_original(Endpoint(host, PORT), mark=table.level.mark)
        select.select([], [original], [], 10)
        original.setblocking(True)
        original.sendall(b"x\n")
        assert original.recv(100) == b"app:x\n"
    # unmarked, it comes to us
    assert connect_ex(PORT) == 0
    assert _next(listener) is not None


def connect_ex(port: int) -> int:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port))


@in_namespace
def test_refusal_by_the_application_is_told() -> None:
    table = Nftables()
    original = connect_original(Endpoint("127.0.0.1", PORT), mark=table.level.mark)
    select.select([], [original], [], 10)
    assert original.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111


@in_namespace
def test_it_works_where_ipv6_is_disabled() -> None:
    subprocess.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
    table, listener, _ = Nftables(), Listener(), serve("app")
    table.redirect(PORT, to=listener.port)
    client = Client("127.0.0.1")
    assert _next(listener) is not None
    client.close()
    table.restore(PORT)
    assert ask("x") == "app:x"
