"""Resetting what a port has already."""

import socket

import pytest
from mirrord_agent.steal.established import reset_established
from mirrord_agent.steal.listener import Endpoint, connect_original
from mirrord_agent.steal.nftables import Nftables

from ..namespace import in_namespace
from .scene import LOOPBACKS, PORT, Client, serve


@in_namespace
def test_clients_of_the_port_are_reset_and_others_are_not() -> None:
    listeners = [*serve("app"), *serve("other", port=PORT + 1)]
    clients = [Client(host) for host in LOOPBACKS]
    other = Client(port=PORT + 1)
    for client in clients:
        assert client.ask("x") == "app:x"
    assert reset_established(PORT) == len(clients)
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
    assert other.ask("x") == "other:x"
    assert Client().ask("x") == "app:x"
    assert len(listeners) == 4


@in_namespace
def test_what_an_agent_passed_on_stays() -> None:
    table, _ = Nftables(), serve("app")
    client = Client()
    passed = [connect_original(Endpoint(host, PORT), mark=table.level.mark) for host in LOOPBACKS]
    for sock in passed:
        sock.setblocking(True)
        sock.sendall(b"x\n")
        assert sock.recv(10) == b"app:x\n"
    assert reset_established(PORT) == 1
    for sock in passed:
        sock.sendall(b"y\n")
        assert sock.recv(10) == b"app:y\n"
    client.close()


@in_namespace
def test_no_connection_is_no_error() -> None:
    assert reset_established(PORT) == 0


@in_namespace
def test_an_application_that_listens_for_both_families_is_the_same() -> None:
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    table = Nftables()
    client = socket.create_connection(("127.0.0.1", PORT))
    passed = connect_original(Endpoint("127.0.0.1", PORT), mark=table.level.mark)
    accepted = [listener.accept()[0] for _ in range(2)]
    assert reset_established(PORT) == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    passed.setblocking(True)
    passed.sendall(b"x")
    assert accepted[1].recv(1) == b"x"
