"""Splitting an HTTP/2 connection: each stream goes to the side that it is decided for.

Streams of one connection share the compression of their headers, so bytes cannot be passed on as they came.
We are the client's server, and a client of both sides; headers, bodies and trailers are the same, in as many
frames, and 1xx responses, resets and ends are passed on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from mirrord_agent.http.flow import FAILED, REFUSED, Broken, End, Flow
from mirrord_agent.http.output import (
    Decider,
    FinClient,
    Forget,
    Output,
    Server,
    Side,
    ToClient,
    ToServer,
)
from mirrord_agent.http.request import Header, Request

MOST_STREAMS: Final = 1000
"""Requests at once; of a client that has not been told yet how many it may make, more are refused."""


@dataclass(slots=True)
class _Exchange:
    """A stream of the client, and its counterpart."""

    stream: int
    head: Request
    asked: Flow
    """From the client."""
    answered: Flow
    """To the client."""
    body: bytearray | None = None
    """What there is of the body that a filter waits for."""
    continued: bool = False
    has_answer: bool = False
    server: "_Server | None" = None


@dataclass(slots=True)
class _Server:
    """A connection to one side."""

    name: Server
    end: End
    exchanges: dict[int, _Exchange] = field(default_factory=dict)


class Http2:
    """One client that speaks HTTP/2."""

    def __init__(self, decider: Decider) -> None:
        self._decider: Final = decider
        self._client: Final = End(client=False, head=decider.limits.head)
        self._exchanges: Final[dict[int, _Exchange]] = {}
        self._servers: Final[dict[Server, _Server]] = {}
        self._opened: int = 0
        self._out: list[Output] = []
        self._done: bool = False

    @property
    def undecided(self) -> bool:
        """Requests wait for a decision: call :meth:`give_up` if that takes too long."""
        return any(exchange.body is not None for exchange in self._exchanges.values())

    @property
    def waits_for_body(self) -> bool:
        """A head has come, and the filter wants the body."""
        return self.undecided

    @property
    def full(self) -> bool:
        """No more of the client's bytes are wanted for now: never, windows see to it."""
        return False

    # The client.

    def client_data(self, data: bytes) -> list[Output]:
        """Take what the client wrote."""
        if self._done:
            return []
        try:
            for event in self._client.receive(data):
                self._of_client(event)
        except Broken:
            self._take_all()
            self._finish()
        return self._take()

    def client_eof(self) -> list[Output]:
        """The client writes no more, and so cannot take part any more."""
        if not self._done:
            self._finish()
        return self._take()

    def give_up(self) -> list[Output]:
        """Decide now: what is not decided goes to the original."""
        for exchange in [*self._exchanges.values()]:
            if exchange.body is not None:
                self._send_to(exchange, Side.ORIGINAL)
        return self._take()

    def _of_client(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._request(event)
            return
        exchange = self._exchanges.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, DataReceived):
            if exchange is None:
                self._client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                self._data_of_client(exchange, event)
        elif exchange is None:
            return
        elif isinstance(event, TrailersReceived):
            exchange.asked.headers([*event.headers], ends=True)
            self._decide_with_body(exchange)
        elif isinstance(event, StreamReset):
            if exchange.server is not None:
                counterpart = _stream_of(exchange)
                exchange.server.end.reset(counterpart, event.error_code)
            self._drop(exchange)
        elif isinstance(event, StreamEnded) and exchange.body is not None:
            self._decide_with_body(exchange)

    def _request(self, event: RequestReceived) -> None:
        stream, headers = event.stream_id, [*event.headers]
        if len(self._exchanges) >= MOST_STREAMS:
            self._client.reset(stream, REFUSED)
            return
        asked = Flow(self._client, stream)
        exchange = _Exchange(stream, _seen(headers), asked, Flow(None, 0))
        self._exchanges[stream] = exchange
        ends = event.stream_ended is not None
        asked.headers(headers, ends=ends)
        side = self._decider.decide(exchange.head)
        if side is not None:
            self._send_to(exchange, side)
            return
        exchange.body = bytearray()
        if ends:
            self._decide_with_body(exchange)
        elif any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers):
            # else client and filter would wait for each other
            self._client.h2.send_headers(stream, [(b":status", b"100")])
            exchange.continued = True

    def _data_of_client(self, exchange: _Exchange, event: DataReceived) -> None:
        ends = event.stream_ended is not None
        exchange.asked.data(event.data, event.flow_controlled_length, ends=ends)
        if exchange.body is not None:
            exchange.body += event.data
            if len(exchange.body) > self._decider.limits.body:
                exchange.body.clear()
                self._decide_with_body(exchange)

    def _decide_with_body(self, exchange: _Exchange) -> None:
        if exchange.body is None:
            return
        head = exchange.head
        whole = Request(head.method, head.target, head.headers, bytes(exchange.body))
        self._send_to(exchange, self._decider.decide(whole) or Side.ORIGINAL)

    def _send_to(self, exchange: _Exchange, side: Side) -> None:
        exchange.body = None
        server = exchange.server = self._server(side)
        stream = server.end.h2.get_next_available_stream_id()
        server.exchanges[stream] = exchange
        exchange.answered = Flow(server.end, stream)
        exchange.answered.connect(self._client, exchange.stream)
        exchange.asked.connect(server.end, stream)
        # at once: the next stream gets the next number
        exchange.asked.pump()

    def _server(self, side: Side) -> _Server:
        for server in self._servers.values():
            if server.name.side is side and server.end.has_room and server.end.last_stream is None:
                return server
        self._opened += 1
        name = Server(side, self._opened)
        self._servers[name] = _Server(name, End(client=True, head=self._decider.limits.head))
        return self._servers[name]

    # Servers.

    def server_data(self, server: Server, data: bytes) -> list[Output]:
        """Take what a server wrote."""
        known = self._servers.get(server)
        if known is None or self._done:
            return []
        try:
            for event in known.end.receive(data):
                self._of_server(known, event)
        except Broken as error:
            self._lose(known, f"the local program does not speak HTTP/2 ({error})")
            return self._take()
        if known.end.last_stream is not None:
            self._refuse_after(known, known.end.last_stream)
        return self._take()

    def _of_server(self, server: _Server, event: Event) -> None:
        exchange = server.exchanges.get(getattr(event, "stream_id", None) or 0)
        if exchange is None:
            if isinstance(event, DataReceived):
                server.end.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return
        if isinstance(event, InformationalResponseReceived):
            self._informational(exchange, [*event.headers])
        elif isinstance(event, ResponseReceived | TrailersReceived):
            exchange.has_answer = True
            exchange.answered.headers([*event.headers], ends=event.stream_ended is not None)
        elif isinstance(event, DataReceived):
            ends = event.stream_ended is not None
            exchange.answered.data(event.data, event.flow_controlled_length, ends=ends)
        elif isinstance(event, StreamReset):
            self._reset_by_server(exchange, event.error_code)

    def _informational(self, exchange: _Exchange, headers: list[Header]) -> None:
        if exchange.continued and (b":status", b"100") in [(name, value) for name, value in headers]:
            # the client has had it from us
            exchange.continued = False
            return
        exchange.answered.headers(headers, ends=False)

    def _reset_by_server(self, exchange: _Exchange, code: int) -> None:
        exchange.asked.drop()
        if code:
            # an error does not wait for what the client is slow to take
            self._client.reset(exchange.stream, code)
            self._drop(exchange)
        else:
            exchange.answered.reset(code)

    def _refuse_after(self, server: _Server, last: int) -> None:
        for stream, exchange in [*server.exchanges.items()]:
            if stream > last:
                self._client.reset(exchange.stream, REFUSED)
                self._drop(exchange)

    def server_eof(self, server: Server) -> list[Output]:
        """A server writes no more, and so cannot take part any more."""
        return self.server_lost(server, "the local program closed the connection before it answered")

    def server_lost(self, server: Server, reason: str) -> list[Output]:
        """A server could not be reached, or has reset its connection."""
        known = self._servers.get(server)
        if known is not None and not self._done:
            self._lose(known, reason)
        return self._take()

    def _lose(self, server: _Server, reason: str) -> None:
        del self._servers[server.name]
        for exchange in [*server.exchanges.values()]:
            if server.name.side is Side.LOCAL and not exchange.has_answer:
                self._answer_bad_gateway(exchange, reason)
            elif not exchange.answered.ended:
                # what it has said already, then that it broke off
                exchange.answered.reset(FAILED)
            exchange.asked.drop()
            exchange.server = None
        self._out.append(Forget(server.name))

    def _answer_bad_gateway(self, exchange: _Exchange, reason: str) -> None:
        body = f"mirrord: {reason}\n".encode()
        headers: list[Header] = [
            (b":status", b"502"),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        answer = exchange.answered = Flow(None, 0)
        answer.connect(self._client, exchange.stream)
        is_head = exchange.head.method == "HEAD"
        answer.headers(headers, ends=is_head)
        if not is_head:
            answer.data(body, len(body), ends=True)

    # Both.

    def _drop(self, exchange: _Exchange) -> None:
        exchange.asked.drop()
        exchange.answered.drop()
        self._remove(exchange)

    def _remove(self, exchange: _Exchange) -> None:
        self._exchanges.pop(exchange.stream, None)
        if exchange.server is not None:
            exchange.server.exchanges.pop(_stream_of(exchange), None)

    def _take(self) -> list[Output]:
        if not self._done:
            for exchange in [*self._exchanges.values()]:
                exchange.asked.pump()
                exchange.answered.pump()
                if exchange.asked.ended and exchange.answered.ended:
                    self._remove(exchange)
            self._take_all()
        out, self._out = self._out, []
        return out

    def _take_all(self) -> None:
        for server in self._servers.values():
            if data := server.end.take():
                self._out.append(ToServer(server.name, data))
        if data := self._client.take():
            self._out.append(ToClient(data))

    def _finish(self) -> None:
        self._done = True
        self._exchanges.clear()
        self._out.append(FinClient())
        self._out.extend(map(Forget, self._servers))
        self._servers.clear()


def _stream_of(exchange: _Exchange) -> int:
    """Return the number of an exchange's stream at its server."""
    return exchange.answered.stream


def _seen(headers: Iterable[Header]) -> Request:
    """Return what filters see; ``host`` is there as it is in HTTP/1."""
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    lines = [(name, value) for name, value in headers if not name.startswith(b":")]
    if b":authority" in pseudo and not any(name == b"host" for name, _ in lines):
        lines.insert(0, (b"host", pseudo[b":authority"]))
    return Request.make(pseudo.get(b":method", b""), pseudo.get(b":path", b""), lines)
