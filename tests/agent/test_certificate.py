import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mirrord_agent.certificate import server_context
from mirrord_agent.wire.messages import GetHostname, Hostname
from mirrord_agent.wire.websocket import WebSocket

from mirrord.link.client import connect

from .running import KEY, on_loop, running_agent


def trusting() -> ssl.SSLContext:
    """Return a client's settings that check nothing, as the API server's pod proxy does it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def free_port() -> Iterator[int]:
    with socket.create_server(("", 0)) as holder:
        port: int = holder.getsockname()[1]
    yield port


class ByTls:
    """An agent's endpoint that is reached by TLS."""

    def __init__(self, address: str, port: int, public_key: bytes) -> None:
        self.public_key = public_key
        self._where = (address, port)

    async def open(self) -> WebSocket:
        loop = asyncio.get_running_loop()
        _, websocket = await loop.create_connection(
            lambda: WebSocket(loop, client=True), *self._where, ssl=trusting(), server_hostname="agent"
        )
        return websocket


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_agent_is_reached_by_tls_at_every_address(tmp_path: Path, address: str) -> None:
    with (
        free_port() as port,
        running_agent(tmp_path / "agent.sock", os.getpid(), "--listen", f"tls:*:{port}") as agent,
    ):

        @on_loop
        async def check() -> None:
            link = await connect(ByTls(address, port, agent.endpoint.public_key), KEY)
            name = await link.channel.request(GetHostname(), Hostname)
            assert name.name == socket.gethostname().encode()
            link.channel.close("the test has ended")
            await link.channel.wait_closed()

        check()


def test_each_run_has_a_key_of_its_own() -> None:
    assert len({_shown(server_context()) for _ in range(2)}) == 2


def _shown(context: ssl.SSLContext) -> bytes:
    """Return the certificate that a server shows, once both have shaken hands in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting().wrap_bio(to_client, to_server)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown
