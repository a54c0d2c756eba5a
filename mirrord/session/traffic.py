"""The bytes of the target's connections, for those who ask for them."""

import time
from collections.abc import Callable
from itertools import count
from typing import Final

from mirrord_agent.wire.frames import Data

from mirrord.feed.traffic import Piece
from mirrord.link.tapping import Flow

_numbers: Final = count(1)


class TrafficTap:
    """Tells what passes through one connection."""

    def __init__(self, flow: Flow, tell: Callable[[Piece], None]) -> None:
        self._flow: Final = flow
        self._tell: Final = tell
        self._number: Final = next(_numbers)
        self._passed: Final = {True: 0, False: 0}

    def data(self, data: Data, *, sent: bool) -> None:
        """Tell of bytes."""
        if data:
            self._tell(self._piece(sent=sent, data=data))
            self._passed[sent] += len(data)

    def fin(self, *, sent: bool) -> None:
        """Tell of the end of one way."""
        self._tell(self._piece(sent=sent, fin=True))

    def _piece(self, *, sent: bool, fin: bool = False, data: Data = b"") -> Piece:
        flow = self._flow
        return Piece(
            time=time.monotonic_ns(),
            flow=self._number,
            offset=self._passed[sent],
            local=(flow.local.host, flow.local.port),
            remote=(flow.remote.host, flow.remote.port),
            udp=flow.protocol == "udp",
            incoming=flow.incoming,
            sent=sent,
            fin=fin,
            data=data,
        )
