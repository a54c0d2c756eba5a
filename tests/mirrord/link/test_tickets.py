import asyncio
import os
import select
import socket
from collections.abc import Iterator

import pytest

from mirrord.link.addresses import Peer, from_name
from mirrord.link.listeners import Listener
from mirrord.link.tickets import Tickets

from .agent import until

PEER = Peer("10.1.2.3", 4567)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listener of the program's."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(5)
        yield sock


def connected(server: socket.socket) -> tuple[socket.socket, int]:
    """Return a client, and our descriptor of what was accepted for the program."""
    client = socket.create_connection(server.getsockname())
    return client, server.accept()[0].detach()


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_whoever_accepts_the_ticket_gets_what_was_kept(server: socket.socket) -> None:
    async def play() -> None:
        tickets = Tickets(asyncio.get_running_loop())
        client, accepted = connected(server)
        with client:
            client.sendall(b"asked")
            tickets.keep(accepted, peer=PEER, listener=Listener.of(server))
            await until(lambda: readable(server))
            ticket, name = server.accept()
            with ticket:
                found = tickets.redeem(from_name(name))
            assert found is not None
            with found[0] as kept:
                assert found[1] == PEER
                assert kept.recv(9) == b"asked"
            assert tickets.redeem(from_name(name)) is None

    asyncio.run(play())


def test_it_may_be_kept_again_and_again(server: socket.socket) -> None:
    async def play() -> None:
        tickets = Tickets(asyncio.get_running_loop())
        client, accepted = connected(server)
        before = len(os.listdir("/proc/self/fd"))
        with client:
            for _ in range(20):
                tickets.keep(accepted, peer=PEER, listener=Listener.of(server))
                await until(lambda: readable(server))
                ticket, name = server.accept()
                with ticket:
                    found = tickets.redeem(from_name(name))
                assert found is not None
                accepted = found[0].detach()
            await until(lambda: len(os.listdir("/proc/self/fd")) == before)
            os.close(accepted)

    asyncio.run(play())


@pytest.mark.parametrize("by", ["closing the listener", "accepting the ticket unasked, and closing it"])
def test_a_ticket_that_is_thrown_away_ends_the_connection(server: socket.socket, by: str) -> None:
    async def play() -> None:
        tickets = Tickets(asyncio.get_running_loop())
        client, accepted = connected(server)
        with client:
            client.setblocking(False)
            tickets.keep(accepted, peer=PEER, listener=Listener.of(server))
            await until(lambda: readable(server))
            if by.startswith("accepting"):
                server.accept()[0].close()
            else:
                server.close()
            await until(lambda: readable(client))
            assert client.recv(1) == b""

    asyncio.run(play())


def test_a_listener_that_is_gone_takes_no_ticket(server: socket.socket) -> None:
    async def play() -> None:
        tickets = Tickets(asyncio.get_running_loop())
        client, accepted = connected(server)
        listener = Listener.of(server)
        server.close()
        with client:
            tickets.keep(accepted, peer=PEER, listener=listener)
            await until(lambda: readable(client))
            assert client.recv(1) == b""

    asyncio.run(play())


def test_another_peer_is_no_ticket() -> None:
    async def play() -> None:
        assert Tickets(asyncio.get_running_loop()).redeem(PEER) is None

    asyncio.run(play())
