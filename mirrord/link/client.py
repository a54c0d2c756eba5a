"""The supervisor's end of the link: connect to an agent and prove who we are."""

import asyncio
import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.errors import ChannelClosed, HandshakeError
from mirrord_agent.wire.handshake import ClientHandshake, Welcome, new_key, public_bytes
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import LinkError
from mirrord.link.endpoint import AgentEndpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Link", "connect", "new_session_key", "public_bytes"]
TEST_RELAY: Final = "MIRRORD_TEST_LINK"
"""Names the unix socket of a relay of the tests, which delays, stalls or cuts the link."""
_PATIENCE: Final = 15.0
"""Seconds for connecting and the handshake."""


@dataclass(slots=True, frozen=True)
class Link:
    """An open link; it ends with its channel."""

    channel: Channel
    welcome: Welcome


def new_session_key() -> "Ed25519PrivateKey":
    """Return a fresh key for one session."""
    return new_key()


async def connect(endpoint: AgentEndpoint, private_key: "Ed25519PrivateKey") -> Link:
    """Connect to an agent; raise LinkError if it cannot be reached or does not prove itself."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _connect(endpoint, private_key)
    except TimeoutError:
        raise LinkError(f"the agent did not answer within {_PATIENCE:.0f} s") from None
    except OSError as error:
        remedy = "raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
        raise LinkError(f"the agent cannot be reached: {error.strerror or error}", remedy=remedy) from error
    except HandshakeError as error:
        raise LinkError(str(error)) from error
    except ChannelClosed as error:
        raise LinkError(f"the link to the agent broke at once: {error.reason}") from error


async def _connect(endpoint: AgentEndpoint, private_key: "Ed25519PrivateKey") -> Link:
    loop = asyncio.get_running_loop()
    sock = await _connected_socket(loop, endpoint.path)
    try:
        _, websocket = await loop.create_connection(lambda: WebSocket(loop, client=True), sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        welcome = await _shake_hands(websocket, endpoint, private_key)
    except BaseException:
        websocket.abort("the handshake failed")
        raise
    channel = Channel(websocket, client=True)
    channel.start()
    return Link(channel=channel, welcome=welcome)


async def _connected_socket(loop: asyncio.AbstractEventLoop, path: str) -> socket.socket:
    relay = os.environ.get(TEST_RELAY)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.setblocking(False)
        await loop.sock_connect(sock, relay or path)
        if relay:
            await loop.sock_sendall(sock, os.fsencode(path) + b"\n")
        stack.pop_all()
    return sock


async def _shake_hands(
    websocket: WebSocket, endpoint: AgentEndpoint, private_key: "Ed25519PrivateKey"
) -> Welcome:
    handshake = ClientHandshake(key=private_key, agent_key=endpoint.public_key)
    await websocket.opened()
    websocket.send(handshake.hello())
    websocket.send(handshake.prove(await websocket.receive()))
    welcome = handshake.finish(await websocket.receive())
    websocket.prove()
    return welcome
