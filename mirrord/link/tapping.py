"""Whom the traffic of the target's connections is shown to, while somebody watches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mirrord_agent.wire.stream import Tap

from mirrord.link.addresses import Peer


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection, by the addresses that it has in the target."""

    protocol: Literal["tcp", "udp"]
    local: Peer
    remote: Peer
    incoming: bool
    """The remote side has made it."""


Tapping = Callable[[Flow], Tap | None]
"""Return who is shown a connection, None for nobody."""
