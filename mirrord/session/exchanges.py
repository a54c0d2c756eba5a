"""Requests that reach the program over HTTP, read off the bytes that pass, for those who watch.

Of HTTP/1, only what a piece of bytes begins with is looked at: nothing is kept, and a body is never read. So
a request that is pipelined behind another in one piece is not seen. HTTP/2 is followed frame by frame.
"""

import re
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from mirrord_agent.http.detect import PREFACE
from mirrord_agent.wire.frames import Data

from mirrord.feed.models import Exchange
from mirrord.link.tapping import Flow
from mirrord.session.say import visible

_HEAD: Final = 512
_REQUEST: Final = re.compile(rb"([A-Z][A-Z-]{2,19}) ((?:/|\*|https?://)\S*)(?: HTTP/1\.[01]\r?\n|\Z)")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_MOST_OPEN: Final = 64
_numbers: Final = count(1)


class HttpTap:
    """Reads one connection."""

    def __init__(self, flow: Flow, tell: Callable[[Exchange], None]) -> None:
        self._flow: Final = flow
        self._tell: Final = tell
        self._open: Final[deque[Exchange]] = deque(maxlen=_MOST_OPEN)
        self._streams: _StreamsTap | None = None

    def data(self, data: Data, *, sent: bool) -> None:
        """Look at what was received, or answered."""
        if self._streams is not None:
            self._streams.data(bytes(data), sent=sent)
            return
        head = bytes(data[:_HEAD])
        if sent:
            self._answered(head)
        elif head.startswith(PREFACE):
            self._streams = _StreamsTap(self._flow, self._tell)
            self._streams.data(bytes(data[len(PREFACE) :]), sent=False)
        elif found := _REQUEST.match(head):
            self._asked(found)

    def fin(self, *, sent: bool) -> None:
        """Take note of the end, which tells nothing."""

    def _asked(self, found: re.Match[bytes]) -> None:
        exchange = _exchange(self._flow, b" ".join(found.groups()))
        self._open.append(exchange)
        self._tell(exchange)

    def _answered(self, head: bytes) -> None:
        found = _STATUS.match(head)
        if found and self._open and _is_final(found[1]):
            self._tell(_with_status(self._open.popleft(), found[1]))


class _StreamsTap:
    """Reads one connection of HTTP/2, until something in it is not as it should be."""

    def __init__(self, flow: Flow, tell: Callable[[Exchange], None]) -> None:
        # the tables of HPACK take 5 ms to import, and only few sessions need them
        from mirrord.session.streams import Streams

        self._flow: Final = flow
        self._tell: Final = tell
        self._received: Final = Streams()
        self._sent: Final = Streams()
        self._open: Final[dict[int, Exchange]] = {}
        self._lost: bool = False

    def data(self, data: bytes, *, sent: bool) -> None:
        if self._lost:
            return
        try:
            for stream, headers in (self._sent if sent else self._received).take(data):
                if sent:
                    self._answered(stream, headers)
                else:
                    self._asked(stream, headers)
        except ValueError:
            # the compression's state is lost with one block: the program still gets every byte
            self._lost = True

    def _asked(self, stream: int, headers: dict[bytes, bytes]) -> None:
        method, path = headers.get(b":method"), headers.get(b":path", b"*")
        if method is None:
            # trailers
            return
        if len(self._open) >= _MOST_OPEN:
            # the oldest: it may have been reset
            del self._open[next(iter(self._open))]
        self._open[stream] = _exchange(self._flow, (method + b" " + path)[:_HEAD])
        self._tell(self._open[stream])

    def _answered(self, stream: int, headers: dict[bytes, bytes]) -> None:
        status = headers.get(b":status", b"")
        if stream in self._open and status.isdigit() and _is_final(status):
            self._tell(_with_status(self._open.pop(stream), status))


def _exchange(flow: Flow, request: bytes) -> Exchange:
    return Exchange(
        id=next(_numbers),
        time=time.monotonic_ns(),
        remote=str(flow.remote),
        port=flow.local.port,
        request=visible(request.decode("utf-8", "backslashreplace")),
    )


def _is_final(status: bytes) -> bool:
    # 1xx comes before the answer proper (RFC 9110, 15.2), but for a change of protocol
    return status == b"101" or not status.startswith(b"1")


def _with_status(exchange: Exchange, status: bytes) -> Exchange:
    return exchange.model_copy(update={"time": time.monotonic_ns(), "status": int(status)})
