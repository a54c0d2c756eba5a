"""Requests that reach the program over HTTP, read off the bytes that pass, for those who watch.

Only what a piece of bytes begins with is looked at: nothing is kept, and a body is never read. So a request
that is pipelined behind another in one piece is not seen.
"""

import re
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from mirrord_agent.wire.frames import Data

from mirrord.feed.models import Exchange
from mirrord.link.tapping import Flow

_HEAD: Final = 512
_REQUEST: Final = re.compile(rb"([A-Z][A-Z-]{2,19}) ((?:/|\*|https?://)\S*)(?: HTTP/[12]\.[01]\r?\n|\Z)")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_MOST_OPEN: Final = 64
_numbers: Final = count(1)


class HttpTap:
    """Reads one connection."""

    def __init__(self, flow: Flow, tell: Callable[[Exchange], None]) -> None:
        self._flow: Final = flow
        self._tell: Final = tell
        self._open: Final[deque[Exchange]] = deque(maxlen=_MOST_OPEN)

    def data(self, data: Data, *, sent: bool) -> None:
        """Look at what was received, or answered."""
        head = bytes(data[:_HEAD])
        if sent:
            self._answered(head)
        elif found := _REQUEST.match(head):
            self._asked(found)

    def fin(self, *, sent: bool) -> None:
        """Take note of the end, which tells nothing."""

    def _asked(self, found: re.Match[bytes]) -> None:
        exchange = Exchange(
            id=next(_numbers),
            time=time.monotonic_ns(),
            remote=str(self._flow.remote),
            port=self._flow.local.port,
            request=b" ".join(found.groups()).decode("utf-8", "backslashreplace"),
        )
        self._open.append(exchange)
        self._tell(exchange)

    def _answered(self, head: bytes) -> None:
        found = _STATUS.match(head)
        # 1xx comes before the answer proper (RFC 9110, 15.2), but for a change of protocol
        if found and self._open and (found[1] == b"101" or not found[1].startswith(b"1")):
            exchange = self._open.popleft()
            self._tell(exchange.model_copy(update={"time": time.monotonic_ns(), "status": int(found[1])}))
