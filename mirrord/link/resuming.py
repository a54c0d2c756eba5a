"""Brings a broken link back: another connection to the same agent, on which both go on where they were."""

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from mirrord_agent.wire.carrier import Carrier
from mirrord_agent.wire.errors import ChannelClosed, WireError
from mirrord_agent.wire.handshake import ClientHandshake
from mirrord_agent.wire.websocket import Message, WebSocket

from mirrord.errors import AgentGone, MirrordError
from mirrord.link.endpoint import Endpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ATTEMPT: Final = 10.0
"""Seconds that one attempt may take."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_QUIET: Final = 1.0
"""Seconds for which the user does not need to know."""


class Tell(Protocol):
    """How the user is spoken to."""

    def info(self, text: str) -> None:
        """Say what is normal."""

    def detail(self, text: str) -> None:
        """Say what only ``-v`` asks for."""


class Unheard:
    """Tells nobody."""

    def info(self, text: str) -> None:
        """See :class:`Tell`."""

    def detail(self, text: str) -> None:
        """See :class:`Tell`."""


async def prove(websocket: WebSocket, handshake: ClientHandshake) -> Message:
    """Have both sides prove themselves, and return the agent's last word; raise HandshakeError, or
    ChannelClosed.
    """
    await websocket.opened()
    websocket.send(handshake.hello())
    websocket.send(handshake.prove(await websocket.receive()))
    # the agent has proved itself, and after its last word goes on at once
    websocket.prove()
    return await websocket.receive()


class Resuming:
    """What is known of one agent, to find it again."""

    def __init__(
        self, endpoint: Endpoint, private_key: "Ed25519PrivateKey", tell: Tell, *, grace: float
    ) -> None:
        """``grace`` is how many seconds the agent waits for us."""
        self.carrier: Carrier | None = None
        self._endpoint: Final = endpoint
        self._key: Final = private_key
        self._tell: Final = tell
        self._grace: Final = grace
        self._problem: str = "nothing answered"
        self._task: asyncio.Task[None] | None = None

    def dropped(self, reason: str) -> None:
        """Begin to bring the carrier back; it ends where that cannot be."""
        if self.carrier is not None:
            self._task = self.carrier.loop.create_task(self._bring_back(self.carrier, reason))

    async def _bring_back(self, carrier: Carrier, reason: str) -> None:
        begun = carrier.loop.time()
        notice = carrier.loop.call_later(_QUIET, self._say_broken, reason)
        try:
            async with asyncio.timeout(self._grace):
                await self._attempts(carrier)
        except TimeoutError:
            carrier.close(f"{reason}, and it could not be reached for {self._grace:g} s: {self._problem}")
        except AgentGone:
            carrier.close(reason)
        except WireError as error:
            carrier.close(f"{reason}, and could not be resumed: {error}")
        else:
            self._say_back(carrier.loop.time() - begun)
        finally:
            notice.cancel()

    async def _attempts(self, carrier: Carrier) -> None:
        """Try until it succeeds; raise AgentGone or WireError where it never will."""
        pause = _FIRST_PAUSE
        while carrier.reason is None:
            try:
                async with asyncio.timeout(_ATTEMPT):
                    await self._attempt(carrier)
                return
            except AgentGone:
                raise
            except (MirrordError, ChannelClosed, OSError, TimeoutError) as error:
                self._problem = str(error) or "no answer"
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _attempt(self, carrier: Carrier) -> None:
        websocket = await self._endpoint.open()
        received = carrier.received
        handshake = ClientHandshake(key=self._key, agent_key=self._endpoint.public_key, received=received)
        try:
            theirs = handshake.resumed(await prove(websocket, handshake))
            if carrier.reason is None:
                carrier.resume(websocket, received=theirs)
            else:
                websocket.close("the session is over")
        except BaseException:
            websocket.abort("the handshake failed")
            raise

    def _say_broken(self, reason: str) -> None:
        self._tell.info(f"the link to the agent broke, and is being brought back: {reason}")

    def _say_back(self, took: float) -> None:
        say = self._tell.info if took >= _QUIET else self._tell.detail
        say(f"the link to the agent is back after {took:.1f} s")
