"""One HTTP/1 request or response at a time, parsed by h11 only to find where it ends.

The bytes themselves are passed on as they came, so a parser gives back what is not its message's any more.
"""

import functools
from typing import Final

import h11

from mirrord_agent.http.output import Limits
from mirrord_agent.http.request import Request
from mirrord_agent.http.upgrade import proposes_h2c


class NotHttp(Exception):
    """Raised at bytes that cannot be told into messages: whoever gets them has to make sense of them."""


class RequestParser:
    """Finds one request."""

    def __init__(self, limits: Limits) -> None:
        self._h11: Final = h11.Connection(h11.SERVER, limits.head)
        self._limits: Final = limits
        self._head: h11.Request | None = None
        self._begun: bool = False
        self._fed: int = 0
        self._understood: int = 0
        self._body: bytearray | None = bytearray()
        self.complete: bool = False
        """All of it has been seen."""

    @property
    def has_head(self) -> bool:
        """The head has been seen."""
        return self._head is not None

    @property
    def method(self) -> bytes:
        """The method; GET before the head has been seen."""
        return self._head.method if self._head else b"GET"

    @property
    def body_is_known(self) -> bool:
        """What a filter may see of the body is there."""
        return self.complete or self._body is None

    @property
    def expects_continue(self) -> bool:
        """The client waits for ``100 Continue`` before it sends the body."""
        return self._h11.they_are_waiting_for_100_continue

    @property
    def proposes_upgrade(self) -> bool:
        """The client would like to speak something else after the response."""
        return self._head is not None and (
            self._head.method == b"CONNECT" or any(name == b"upgrade" for name, _ in self._head.headers)
        )

    @property
    def proposes_h2c(self) -> bool:
        """The client would like to go on in HTTP/2."""
        return self._head is not None and proposes_h2c(self._head.headers)

    @property
    def upgrades(self) -> bool:
        """The connection may speak something else after the response; known when complete."""
        return self.complete and self._h11.their_state not in (h11.DONE, h11.MUST_CLOSE)

    @property
    def closes(self) -> bool:
        """It is the client's last request; known when complete."""
        return self._h11.their_state is h11.MUST_CLOSE and not self._stays

    @property
    def _stays(self) -> bool:
        """It is one of HTTP/1.0 that more may follow, which h11 does not know of (RFC 9112, C.2.2)."""
        if self._head is None or self._head.http_version != b"1.0":
            return False
        words = _connection_words(self._head)
        return b"keep-alive" in words and b"close" not in words

    @property
    def not_understood(self) -> int:
        """How many of the bytes that were fed are of no use: after :exc:`NotHttp`."""
        return self._fed - self._understood

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return those after the request's end. Raises NotHttp."""
        if not self._begun:
            # empty lines before a request are no fault (RFC 9112, 2.2)
            data = data.lstrip(b"\r\n")
            self._begun = bool(data)
        self._fed += len(data)
        if data:
            self._h11.receive_data(data)
        try:
            return self._events()
        except h11.RemoteProtocolError as error:
            raise NotHttp(str(error)) from None

    def _events(self) -> bytes:
        while True:
            event = self._h11.next_event()
            self._understood = self._fed - len(self._h11.trailing_data[0])
            if isinstance(event, h11.Request):
                if self._fed - len(self._h11.trailing_data[0]) > self._limits.head:
                    raise NotHttp("the head is too long")
                self._head = event
                if _ends_differently(event):
                    raise NotHttp("servers do not agree where the request ends")
            elif isinstance(event, h11.Data):
                self._keep(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.complete = True
                return bytes(self._h11.trailing_data[0])
            else:
                return b""

    def _keep(self, data: bytes) -> None:
        if self._body is None:
            return
        self._body += data
        if len(self._body) > self._limits.body:
            self._body = None

    def keep_no_body(self) -> None:
        """Say that the body is not needed."""
        self._body = None

    def request(self) -> Request:
        """Return what filters see: with its body if that is known, which is empty if it is too large."""
        assert self._head is not None
        known = Request.make(self._head.method, self._head.target, self._head.headers.raw_items())
        if not self.body_is_known:
            return known
        return Request(known.method, known.target, known.headers, bytes(self._body or b""))


def _ends_differently(head: h11.Request) -> bool:
    """Tell whether a head says in two ways how long its body is (RFC 9112, 6.1): servers do not agree."""
    names = [name for name, _ in head.headers]
    return b"transfer-encoding" in names and (b"content-length" in names or head.http_version == b"1.0")


def _connection_words(head: h11.Request) -> set[bytes]:
    values = [value for name, value in head.headers if name == b"connection"]
    return {word.strip().lower() for word in b",".join(values).split(b",")}


_HOST: Final = [("Host", "host")]
_UPGRADE: Final = [*_HOST, ("Connection", "upgrade"), ("Upgrade", "any")]


@functools.lru_cache(64)
def _question(method: bytes, upgrades: bool) -> h11.Request:
    """Return a request that is as good as the real one; made once, as h11 looks closely at each."""
    return h11.Request(method=method, target="/", headers=_UPGRADE if upgrades else _HOST)


class ReplyParser:
    """Finds the response to one request, with the 1xx before it."""

    def __init__(self, limits: Limits, *, method: bytes, upgrades: bool, continued: bool) -> None:
        """``continued``: the client has had its ``100 Continue``, and is to get no other."""
        self._h11: Final = h11.Connection(h11.CLIENT, limits.head)
        # what it has to know of the request
        self._h11.send(_question(method, upgrades))
        self._h11.send(h11.EndOfMessage())
        self._at_end: bool = False
        self.continued: bool = continued
        self.any_head: bool = False
        """A head has been seen, of a 1xx or of the response."""
        self.has_head: bool = False
        """The response's head has been seen."""
        self.complete: bool = False
        self.is_continue: bool = False
        """It was a ``100 Continue`` that the client is not to get."""
        self.ended_early: bool = False
        """What follows is for another parser."""

    @property
    def switched(self) -> bool:
        """The connection speaks something else from here on."""
        return self._h11.their_state is h11.SWITCHED_PROTOCOL

    @property
    def closes(self) -> bool:
        """The server will close the connection."""
        return self._at_end or self._h11.their_state in (h11.MUST_CLOSE, h11.CLOSED)

    def feed(self, data: bytes) -> bytes:
        """Take bytes, empty at the end; return those after the response.

        While a ``100 Continue`` may come that is not for the client, it ends after each 1xx. Raises NotHttp,
        also where it ends too soon.
        """
        self._at_end = not data
        self._h11.receive_data(data)
        try:
            return self._events()
        except h11.RemoteProtocolError as error:
            raise NotHttp(str(error)) from None

    def _events(self) -> bytes:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.InformationalResponse):
                self.any_head = True
                if self.continued:
                    self.is_continue, self.ended_early = event.status_code == 100, True
                    return bytes(self._h11.trailing_data[0])
                if self.switched:
                    return self._end()
            elif isinstance(event, h11.Response):
                self.any_head = self.has_head = True
                if self.switched:
                    return self._end()
            elif isinstance(event, h11.EndOfMessage):
                return self._end()
            elif not isinstance(event, h11.Data):
                return b""

    def _end(self) -> bytes:
        self.complete = True
        return bytes(self._h11.trailing_data[0])
