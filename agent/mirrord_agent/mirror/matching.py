"""Copies of those requests only that a filter takes; a connection without one is never told of.

Of what is mirrored only the client's side is seen, and answers do not matter: so requests can be told apart
by themselves, and those that match follow each other on one copy.
"""

import errno
from collections.abc import Callable
from typing import Final, Protocol

from mirrord_agent.http.detect import Spoken, detect
from mirrord_agent.http.message import NotHttp, RequestParser
from mirrord_agent.http.output import Decider, Side
from mirrord_agent.mirror.flows import Copy
from mirrord_agent.mirror.frames import Http2Requests, NotHttp2


class _Requests(Protocol):
    """Tells requests apart."""

    def take(self, data: bytes) -> bytes:
        """Take what the client sent; return what of it is copied. Raises NotHttp or NotHttp2."""


class MatchingCopy:
    """The copy of one connection; ``begin`` makes the real one, once a request matches."""

    def __init__(self, decider: Decider, begin: Callable[[], Copy]) -> None:
        self._decider: Final = decider
        self._begin: Final = begin
        self._copy: Copy | None = None
        self._first: bytes = b""
        self._requests: _Requests | None = None

    def data(self, data: bytes) -> int:
        """Take bytes; return an errno where nothing of the connection can be copied any more."""
        if self._requests is None:
            data = self._first = self._first + data
            spoken = detect(data)
            if spoken is Spoken.UNKNOWN:
                return 0
            if spoken is Spoken.OTHER:
                return errno.ECANCELED
            self._first = b""
            self._requests = (Http1Requests if spoken is Spoken.HTTP1 else Http2Requests)(self._decider)
        try:
            return self._pass_on(self._requests.take(data))
        except (NotHttp, NotHttp2):
            return errno.ECANCELED

    def _pass_on(self, data: bytes) -> int:
        if not data:
            return 0
        if self._copy is None:
            self._copy = self._begin()
        return self._copy.data(data)

    def fin(self) -> None:
        """Note that the client sends no more: a request that is not decided by then does not match."""
        if self._copy is not None:
            self._copy.fin()

    def reset(self, errno: int) -> None:
        """Note that the copy cannot go on."""
        if self._copy is not None:
            self._copy.reset(errno)


class Http1Requests:
    """Those of a client that speaks HTTP/1."""

    def __init__(self, decider: Decider) -> None:
        self._decider: Final = decider
        self._parser: RequestParser | None = None
        self._taken: bool | None = None
        """Whether the present request is copied, once that is decided."""
        self._held: Final = bytearray()
        self._may_switch: bool | None = None
        """Whether the last request is copied, if it proposed to speak something else."""
        self._rest: bool | None = None
        """Whether everything that follows is copied, after an upgrade."""

    def take(self, data: bytes) -> bytes:
        """Take what the client sent; return what of it is copied. Raises NotHttp."""
        out = bytearray()
        while data and not self._switched(data):
            parser = self._parser = self._parser or RequestParser(self._decider.limits)
            rest = parser.feed(data)
            self._add(data[: len(data) - len(rest)], out)
            if self._taken is None and parser.has_head:
                self._decide(parser, out)
            if parser.complete:
                self._may_switch = bool(self._taken) if parser.proposes_upgrade else None
                self._parser, self._taken = None, None
            data = rest
        if self._rest:
            out += data
        return bytes(out)

    def _switched(self, data: bytes) -> bool:
        """Tell whether the connection speaks something else from here on: what answers is not seen."""
        if self._may_switch is not None and detect(data) is Spoken.OTHER:
            self._rest = self._may_switch
        self._may_switch = None
        return self._rest is not None

    def _add(self, data: bytes, out: bytearray) -> None:
        if self._taken is None:
            self._held.extend(data)
        elif self._taken:
            out += data

    def _decide(self, parser: RequestParser, out: bytearray) -> None:
        side = self._decider.decide(parser.request())
        if side is None:
            return
        parser.keep_no_body()
        self._taken = side is Side.LOCAL
        if self._taken:
            out += self._held
        self._held.clear()
