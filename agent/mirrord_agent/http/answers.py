"""The answers that an HTTP/1 client is due, all from one server, in the order of the requests."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mirrord_agent.http.message import ReplyParser, RequestParser
from mirrord_agent.http.output import Limits

_REPEATABLE: Final = {b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"}
"""Methods that may be asked twice (RFC 9110, 9.2.2)."""


@dataclass(slots=True)
class _Due:
    method: bytes
    proposes_upgrade: bool
    continued: bool
    reply: ReplyParser = field(init=False)
    closes: bool = False
    upgrades: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What came of some bytes of a server."""

    told: bytes
    """For the client."""
    rest: bytes
    """Not looked at yet."""
    answer: ReplyParser | None
    """The answer that is complete."""


class Answers:
    """What is due; false when nothing is."""

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._due: Final[deque[_Due]] = deque()
        self._held: Final = bytearray()
        """The beginning of an answer's head: it is passed on as a whole, as another may take its place."""

    def __len__(self) -> int:
        return len(self._due)

    @property
    def may_upgrade(self) -> bool:
        """What follows the last request depends on its answer."""
        return bool(self._due) and self._due[-1].upgrades

    @property
    def has_begun(self) -> bool:
        """The client has had a part of the first answer."""
        return self._due[0].reply.has_head

    @property
    def may_be_asked_again(self) -> bool:
        """There is one request, and to ask it twice does no harm."""
        return len(self._due) == 1 and self._due[0].method in _REPEATABLE

    def expect(self, parser: RequestParser, *, continued: bool) -> None:
        """Add the answer to a request; ``continued``: the client has had its ``100 Continue``."""
        due = _Due(parser.method, parser.proposes_upgrade, continued)
        due.reply = self._reply(due)
        self._due.append(due)

    def finish(self, parser: RequestParser) -> None:
        """The last request is complete: take what is known only now."""
        if self._due:
            self._due[-1].upgrades, self._due[-1].closes = parser.upgrades, parser.closes

    def feed(self, data: bytes) -> Step:
        """Take bytes of the server; raise NotHttp."""
        due = self._due[0]
        rest = due.reply.feed(data)
        told = b""
        if due.reply.is_continue:
            self._held.clear()
            due.continued = False
        else:
            self._held.extend(data[: len(data) - len(rest)])
            told = self.spill() if due.reply.any_head else b""
        if due.reply.ended_early:
            due.reply = self._reply(due)
        if not due.reply.complete:
            return Step(told, rest, None)
        self._due.popleft()
        return Step(told, rest, due.reply)

    def spill(self) -> bytes:
        """Return what is held, to be passed on as it is."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def clear(self) -> None:
        """Expect nothing any more."""
        self._due.clear()

    def begin_again(self) -> None:
        """The first request has been asked anew."""
        self._held.clear()
        self._due[0].reply = self._reply(self._due[0])

    def bad_gateways(self, reason: str, *, sending: bool) -> Iterator[tuple[bytes, bool]]:
        """Give an answer in the place of each, and whether it is the client's last.

        ``sending``: the client is still sending its last request, and would not stop.
        """
        self._held.clear()
        while self._due:
            due = self._due.popleft()
            closes = due.closes or (sending and not self._due)
            yield bad_gateway(reason, method=due.method, closes=closes), closes

    def _reply(self, due: _Due) -> ReplyParser:
        return ReplyParser(
            self._limits, method=due.method, upgrades=due.proposes_upgrade, continued=due.continued
        )


def bad_gateway(reason: str, *, method: bytes, closes: bool) -> bytes:
    """Return the answer to a request that nobody else answers."""
    body = f"mirrord: {reason}\n".encode()
    lines = [
        b"HTTP/1.1 502 Bad Gateway",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
    ]
    if closes:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", b"" if method == b"HEAD" else body])
