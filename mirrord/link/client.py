"""The supervisor's end of the link: connect to an agent, prove who we are, and come back if that breaks."""

import asyncio
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mirrord_agent.wire.carrier import Carrier
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.errors import ChannelClosed, HandshakeError
from mirrord_agent.wire.handshake import ClientHandshake, Welcome, new_key, public_bytes
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import LinkError
from mirrord.link.endpoint import TEST_RELAY, Endpoint
from mirrord.link.resuming import Resuming, Tell, Unheard, prove

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["TEST_RELAY", "Link", "connect", "new_session_key", "public_bytes"]
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


async def connect(endpoint: Endpoint, private_key: "Ed25519PrivateKey", tell: Tell | None = None) -> Link:
    """Connect to an agent; raise LinkError if it cannot be reached or does not prove itself.

    The user is told by ``tell`` where the link breaks, for as long as it is tried to bring it back.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _connect(endpoint, private_key, tell or Unheard())
    except TimeoutError:
        raise LinkError(f"the agent did not answer within {_PATIENCE:.0f} s") from None
    except OSError as error:
        remedy = "raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
        raise LinkError(f"the agent cannot be reached: {error.strerror or error}", remedy=remedy) from error
    except HandshakeError as error:
        raise LinkError(str(error)) from error
    except ChannelClosed as error:
        raise LinkError(f"the link to the agent broke at once: {error.reason}") from error


async def _connect(endpoint: Endpoint, private_key: "Ed25519PrivateKey", tell: Tell) -> Link:
    websocket = await endpoint.open()
    try:
        welcome = await _shake_hands(websocket, endpoint, private_key)
    except BaseException:
        websocket.abort("the handshake failed")
        raise
    resuming = Resuming(endpoint, private_key, tell, grace=welcome.grace)
    carrier = Carrier(websocket, on_dropped=resuming.dropped)
    resuming.carrier = carrier
    channel = Channel(carrier, client=True)
    channel.start()
    return Link(channel=channel, welcome=welcome)


async def _shake_hands(websocket: WebSocket, endpoint: Endpoint, private_key: "Ed25519PrivateKey") -> Welcome:
    handshake = ClientHandshake(key=private_key, agent_key=endpoint.public_key)
    return handshake.finish(await prove(websocket, handshake))
