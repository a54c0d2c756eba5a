"""One agent's table: what is redirected, what is not, and what is left."""

import os
import random
import socket
import time
from ipaddress import ip_address

import pytest
from mirrord_agent.linux import CLONE_NEWNET
from mirrord_agent.steal.iptables import Family
from mirrord_agent.steal.listener import Listener
from mirrord_agent.steal.mesh import is_meshed
from mirrord_agent.steal.netfilter import Do, Flag, Message, Netfilter, number, text
from mirrord_agent.steal.nftables import Nftables

from mirrord.targets.sandbox.netlink import End, Route

from ..namespace import add_link_local, as_ordinary, fork, in_namespace, loopback_up, unshare
from ..running import tool
from .scene import LOOPBACKS, PORT, Agent, Client, ask, left, serve, sidecar


@in_namespace
def test_a_port_is_stolen_on_every_address_and_given_back() -> None:
    serve("app")
    table, listener = Nftables(), Listener()
    for host in LOOPBACKS:
        assert ask("x", host) == "app:x"
    table.redirect(PORT, to=listener.port)
    for sock in listener.sockets:
        sock.setblocking(True)
    for host in LOOPBACKS:
        client = Client(host)
        stolen, _ = listener.sockets[":" in host].accept()
        stolen.sendall(b"stolen\n")
        assert client.ask("x") == "stolen"
    table.restore(PORT)
    for host in LOOPBACKS:
        assert ask("x", host) == "app:x"
    table.close()
    assert left() == []


@in_namespace
def test_link_local_addresses_stay_the_applications() -> None:
    add_link_local()
    serve("app")
    table, listener = Nftables(), Listener()
    table.redirect(PORT, to=listener.port)
    assert ask("x", "fe80::1%lo") == "app:x"


@in_namespace
def test_other_ports_are_left_alone() -> None:
    serve("app", port=PORT + 1)
    table = Nftables()
    table.redirect(PORT, to=1)
    client = Client(port=PORT + 1)
    assert client.ask("x") == "app:x"


@in_namespace
def test_connections_from_before_go_on() -> None:
    serve("app")
    clients = [Client(host) for host in LOOPBACKS]
    table, listener = Nftables(), Listener()
    for client in clients:
        assert client.ask("x") == "app:x"
    table.redirect(PORT, to=listener.port)
    for client in clients:
        assert client.ask("y") == "app:y"
    table.close()
    for client in clients:
        assert client.ask("z") == "app:z"


@in_namespace
def test_stolen_connections_go_on_after_the_port_was_given_back() -> None:
    serve("app")
    table, listener = Nftables(), Listener()
    table.redirect(PORT, to=listener.port)
    client = Client()
    listener.sockets[0].setblocking(True)
    stolen, _ = listener.sockets[0].accept()
    table.restore(PORT)
    listener.close()
    assert ask("x") == "app:x"
    stolen.sendall(b"still here\n")
    assert client.ask("x") == "still here"
    assert stolen.recv(10) == b"x\n"


@in_namespace
def test_what_the_pod_asks_of_others_is_left_alone() -> None:
    with Neighbour() as far:
        serve("app")
        table = Nftables()
        table.redirect(PORT, to=1)
        assert ask("x", far) == "neighbour:x"
        table.close()


@in_namespace
def test_what_others_ask_of_the_pod_is_stolen_except_in_a_mesh() -> None:
    with Neighbour() as far:
        del far
        serve("app")
        agent = Agent("agent")
        for host in ("10.9.0.1", "fd00::1"):
            assert _ask_from_neighbour("agent", host) == "agent:agent"
            assert _ask_from_neighbour("x", host) == "app:x"
        agent.end()
        table = Nftables(loopback_only=True)
        table.redirect(PORT, to=1)
        assert _ask_from_neighbour("x", "10.9.0.1") == "app:x"


@in_namespace
def test_a_table_of_the_same_name_that_is_anothers_is_passed_over() -> None:
    theirs = Netfilter()
    theirs.commit([Message(Do.NEW_TABLE, Flag.CREATE, text(1, "mirrord-8") + number(2, 2))])
    assert Nftables().level.number == 9


@as_ordinary
def test_without_the_right_to_it_permission_is_denied() -> None:
    with pytest.raises(PermissionError):
        Nftables()


@in_namespace
def test_in_a_mesh_the_hop_from_the_sidecar_is_stolen() -> None:
    with Neighbour():
        serve("app")
        iptables = Family(tool("iptables-nft"))
        # what comes from outside goes to the sidecar, as Istio has it
        iptables.load(
            [
                ":ISTIO_INBOUND - [0:0]",
                "-A PREROUTING -p tcp -j ISTIO_INBOUND",
                f"-A ISTIO_INBOUND -p tcp --dport {PORT} -j REDIRECT --to-ports 15006",
            ]
        )
        sidecar(15006)
        assert is_meshed()
        assert _ask_from_neighbour("agent", "10.9.0.1") == "app:agent"
        agent = Agent("agent", loopback_only=is_meshed())
        assert _ask_from_neighbour("agent", "10.9.0.1") == "agent:agent"
        assert _ask_from_neighbour("x", "10.9.0.1") == "app:x"
        agent.end()
        assert _ask_from_neighbour("agent", "10.9.0.1") == "app:agent"


@in_namespace
def test_a_killed_agent_leaves_nothing_at_any_moment() -> None:
    serve("app")
    client = Client()
    for _ in range(15):
        agent = Agent("agent", wait=False)
        time.sleep(random.uniform(0, 0.02))
        agent.end()
        assert left() == []
        assert ask("agent") == "app:agent"
        assert client.ask("x") == "app:x"


class Neighbour:
    """Another namespace, joined to this one; it answers on 10.9.0.2 and fd00::2, and asks for us."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self.pid = fork()
        if self.pid == 0:
            try:
                self._ours.close()
                self._live(theirs)
            finally:
                os._exit(1)
        theirs.close()

    def __enter__(self) -> str:
        assert self._ours.recv(10) == b"unshared"
        fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        with Route() as route:
            near, far = End("near", b"\x02\0\0\0\0\x01"), End("far", b"\x02\0\0\0\0\x02")
            route.add_veth(near, peer=far, peer_namespace=fd)
            route.add_address("near", ip_address("10.9.0.1"), prefix=24)
            route.add_address("near", ip_address("fd00::1"), prefix=64)
            route.set_up("near")
        os.close(fd)
        self._ours.send(b"joined")
        assert self._ours.recv(10) == b"ready"
        global _asking
        _asking = self._ours
        return "10.9.0.2"

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)

    @staticmethod
    def _live(control: socket.socket) -> None:
        unshare(CLONE_NEWNET)
        loopback_up()
        control.send(b"unshared")
        control.recv(10)
        with Route() as route:
            route.add_address("far", ip_address("10.9.0.2"), prefix=24)
            route.add_address("far", ip_address("fd00::2"), prefix=64)
            route.set_up("far")
        serve("neighbour")
        control.send(b"ready")
        while question := control.recv(100).decode():
            line, host = question.split()
            control.send(ask(line, host).encode())


_asking: socket.socket


def _ask_from_neighbour(line: str, host: str) -> str:
    _asking.send(f"{line} {host}".encode())
    return _asking.recv(100).decode()
