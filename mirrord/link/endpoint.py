"""Where an agent is, how to get there, and by which key it is known."""

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Final, Protocol

from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import AgentGone

TEST_RELAY: Final = "MIRRORD_TEST_LINK"
"""Names the unix socket of a relay of the tests, which delays, stalls or cuts the link."""


class Endpoint(Protocol):
    """One agent that is ready."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of its Ed25519 public key."""

    async def open(self) -> WebSocket:
        """Connect to the agent, and return the client's end of a websocket to it, which may not be open yet.

        Raise OSError or LinkError, AgentGone where the agent has ended.
        """


@dataclass(frozen=True, slots=True)
class AgentEndpoint:
    """An agent on this machine: the path of its unix socket, and its public key."""

    path: str
    public_key: bytes

    async def open(self) -> WebSocket:
        """See :class:`Endpoint`."""
        loop = asyncio.get_running_loop()
        sock = await _connected_socket(loop, self.path)
        try:
            _, websocket = await loop.create_connection(lambda: WebSocket(loop, client=True), sock=sock)
        except BaseException:
            sock.close()
            raise
        return websocket


async def _connected_socket(loop: asyncio.AbstractEventLoop, path: str) -> socket.socket:
    sock = await _at(loop, path)
    relay = os.environ.get(TEST_RELAY)
    if not relay:
        return sock
    # that somebody listens is known now, which the relay could not tell
    sock.close()
    sock = await _at(loop, relay)
    try:
        await loop.sock_sendall(sock, os.fsencode(path) + b"\n")
    except BaseException:
        sock.close()
        raise
    return sock


async def _at(loop: asyncio.AbstractEventLoop, path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        sock.close()
        raise AgentGone(f"nobody listens at {path}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock
