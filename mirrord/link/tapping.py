"""Whom the traffic of the target's connections is shown to, while somebody watches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mirrord_agent.wire.frames import Data
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


class Several:
    """Shows a stream to more than one."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._taps: Final = taps

    def data(self, data: Data, *, sent: bool) -> None:
        """Show bytes."""
        for tap in self._taps:
            tap.data(data, sent=sent)

    def fin(self, *, sent: bool) -> None:
        """Show the end of one way."""
        for tap in self._taps:
            tap.fin(sent=sent)


Tapping = Callable[[Flow], Tap | None]
"""Return who is shown a connection, None for nobody."""
