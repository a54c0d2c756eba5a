"""The ports that a client has subscribed to, and by which means their connections reach it."""

import errno
import os
from typing import Final

from mirrord_agent.mirror.mirror import Mirror
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.messages import Done, Subscribe, Unsubscribe


class Incoming:
    """One client's subscriptions."""

    def __init__(self) -> None:
        self._modes: Final[dict[int, str]] = {}
        self._mirror: Mirror | None = None

    @property
    def counts(self) -> dict[str, int]:
        """What became of connections so far."""
        return self._mirror.counts if self._mirror is not None else {}

    async def subscribe(self, request: Subscribe, channel: Channel) -> Done:
        """Begin to pass connections on; a port that is subscribed stays so. Raises OSError."""
        if request.mode != "mirror":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if self._mirror is None:
            self._mirror = Mirror(channel)
        self._mirror.add(request.port)
        self._modes[request.port] = request.mode
        return Done()

    async def unsubscribe(self, request: Unsubscribe, channel: Channel) -> Done:
        """Pass no further connections on."""
        if self._modes.pop(request.port, None) is not None and self._mirror is not None:
            self._mirror.remove(request.port)
        return Done()
