"""Splitting an HTTP/1 connection: each request goes to the side that it is decided for.

All requests whose answers are due are at one server, so answers come in the order of the requests: before a
request goes to the other side, the answers so far are waited for. A server sees the client's own bytes,
without the requests that the other one gets, and the client sees the servers' own bytes.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from mirrord_agent.http.message import NotHttp, ReplyParser, RequestParser
from mirrord_agent.http.output import (
    Decider,
    FinClient,
    FinServer,
    Forget,
    Output,
    ResetClient,
    Server,
    Side,
    ToClient,
    ToServer,
)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class _Due:
    """An answer that is due."""

    method: bytes
    proposes_upgrade: bool
    reply: ReplyParser = field(init=False)
    closes: bool = False
    upgrades: bool = False


class Http1:
    """One client that speaks HTTP/1."""

    def __init__(self, decider: Decider) -> None:
        self._decider: Final = decider
        self._out: list[Output] = []
        # from the client
        self._input: bytes = b""
        """Not looked at yet: an answer has to come first."""
        self._held: Final = bytearray()
        """Looked at, and belonging to a request that has no server yet."""
        self._parser: RequestParser | None = None
        self._side: Side | None = None
        """Who answers the present request, once that is decided."""
        self._route: Server | None = None
        """Who gets the bytes of the present request, once they may go."""
        self._nowhere: bool = False
        """Its server is gone: they are dropped."""
        self._opaque: bool = False
        """What follows is not looked at any more."""
        self._rest: Server | None = None
        """Who gets everything that follows."""
        self._continued: bool = False
        self._client_ended: bool = False
        # to the client
        self._due: Final[deque[_Due]] = deque()
        self._reply_held: Final = bytearray()
        """The beginning of an answer's head."""
        self._closing: bool = False
        self._done: bool = False
        """The client gets nothing any more."""
        # servers
        self._servers: Final[dict[Side, Server]] = {}
        self._active: Server | None = None
        """The one that answers."""
        self._opened: int = 0

    @property
    def undecided(self) -> bool:
        """Bytes wait for a decision: call :meth:`give_up` if that takes too long."""
        return self._side is None and bool(self._held.strip(b"\r\n")) and not self._done

    @property
    def waits_for_body(self) -> bool:
        """A head has come, and the filter wants the body."""
        return self.undecided and self._parser is not None and self._parser.has_head

    @property
    def full(self) -> bool:
        """No more of the client's bytes are wanted for now."""
        return not self._done and (bool(self._input) or self._is_waiting())

    def _is_waiting(self) -> bool:
        """Whether the present request waits for the answers of the other side."""
        return self._side is not None and self._route is None and not self._nowhere

    # The client.

    def client_data(self, data: bytes) -> list[Output]:
        """Take what the client wrote."""
        if self._done:
            return []
        self._input += data
        self._advance()
        return self._take()

    def client_eof(self) -> list[Output]:
        """The client writes no more."""
        self._client_ended = True
        if self.undecided:
            self._decide_for_original()
        self._advance()
        return self._take()

    def give_up(self) -> list[Output]:
        """Decide now: what is not decided goes to the original."""
        if self.undecided:
            self._decide_for_original()
            self._advance()
        return self._take()

    def _decide_for_original(self) -> None:
        self._side = Side.ORIGINAL
        # without a head nothing tells where the request ends
        self._opaque = self._parser is None or not self._parser.has_head

    def _take(self) -> list[Output]:
        out, self._out = self._out, []
        return out

    def _advance(self) -> None:
        while not self._done and self._step():
            continue
        if self._client_ended and not self._done and not self.full:
            self._end_servers()

    def _step(self) -> bool:
        """Do one thing with the client's bytes; return False where there is nothing to do."""
        if self._rest is not None:
            return self._pass_rest(self._rest)
        if self._is_waiting() and not self._start():
            return False
        if self._parser is not None and self._parser.complete and self._side is not None:
            self._finish(self._parser)
            return True
        if not self._input or (self._due and self._due[-1].upgrades):
            return False
        self._parse()
        return True

    def _pass_rest(self, server: Server) -> bool:
        data, self._input = self._input, b""
        if data:
            self._out.append(ToServer(server, data))
        return False

    def _parse(self) -> None:
        parser = self._parser = self._parser or RequestParser(self._decider.limits)
        data, self._input = self._input, b""
        try:
            self._input = parser.feed(data)
        except NotHttp:
            self._opaque = True
            if self._side is None and parser.has_head:
                # the head came first, if not in a piece of its own
                self._decide(parser)
            self._side = self._side or Side.ORIGINAL
            if self._route is not None:
                self._rest = self._route
            elif self._nowhere:
                self._finish_client()
        self._pass_on(data[: len(data) - len(self._input)])
        if self._side is None and parser.has_head:
            self._decide(parser)

    def _pass_on(self, data: bytes) -> None:
        if self._route is not None:
            self._out.append(ToServer(self._route, data))
        elif not self._nowhere:
            self._held.extend(data)

    def _decide(self, parser: RequestParser) -> None:
        self._side = self._decider.decide(parser.request())
        if self._side is not None:
            parser.keep_no_body()
        elif parser.expects_continue and not self._due and not self._continued:
            # else client and filter would wait for each other
            self._out.append(ToClient(_CONTINUE))
            self._continued = True

    def _start(self) -> bool:
        """Send the present request to its server; return False while another one has answers due."""
        assert self._side is not None
        if self._due and self._active != self._servers.get(self._side):
            return False
        server = self._active = self._route = self._server(self._side)
        if self._parser is not None and self._parser.has_head:
            self._due.append(self._expect(self._parser))
        self._out.append(ToServer(server, bytes(self._held)))
        self._held.clear()
        if self._opaque:
            self._rest = server
        return True

    def _expect(self, parser: RequestParser) -> _Due:
        due = _Due(parser.method, parser.proposes_upgrade)
        due.reply = self._reply_to(due, continued=self._continued)
        return due

    def _reply_to(self, due: _Due, *, continued: bool) -> ReplyParser:
        limits = self._decider.limits
        return ReplyParser(limits, method=due.method, upgrades=due.proposes_upgrade, continued=continued)

    def _finish(self, parser: RequestParser) -> None:
        """The present request is complete."""
        if self._due and self._route is not None:
            self._due[-1].upgrades, self._due[-1].closes = parser.upgrades, parser.closes
        if parser.closes:
            # whatever follows is no request
            self._rest = self._route
        self._parser, self._side, self._route = None, None, None
        self._nowhere = self._continued = False

    def _server(self, side: Side) -> Server:
        if side not in self._servers:
            self._opened += 1
            self._servers[side] = Server(side, self._opened)
        return self._servers[side]

    def _end_servers(self) -> None:
        self._client_ended = False
        for server in [*self._servers.values()]:
            if server == self._active:
                self._out.append(FinServer(server))
            else:
                del self._servers[server.side]
                self._out.append(Forget(server))
        if self._active is None:
            self._finish_client()

    # Servers.

    def server_data(self, server: Server, data: bytes) -> list[Output]:
        """Take what a server wrote."""
        if server != self._active or self._done:
            return []
        while data:
            data = self._answer(server, data)
        self._advance()
        return self._take()

    def _answer(self, server: Server, data: bytes) -> bytes:
        """Take a part of it; return what is left."""
        if not self._due:
            # after an upgrade; or what it says unasked before it closes
            self._out.append(ToClient(data))
            return b""
        due = self._due[0]
        try:
            rest = due.reply.feed(data)
        except NotHttp:
            self._due.clear()
            self._rest = server
            self._tell(data)
            return b""
        if due.reply.is_continue:
            self._reply_held.clear()
        else:
            self._tell_if_head(due, data[: len(data) - len(rest)])
        if due.reply.ended_early:
            due.reply = self._reply_to(due, continued=not due.reply.is_continue)
        if due.reply.complete:
            self._answered(server, due)
        return rest

    def _tell_if_head(self, due: _Due, data: bytes) -> None:
        """Pass an answer on once its head is there: before, another may take its place."""
        if due.reply.any_head:
            self._tell(data)
        else:
            self._reply_held.extend(data)

    def _tell(self, data: bytes) -> None:
        data = bytes(self._reply_held) + data
        self._reply_held.clear()
        if data:
            self._out.append(ToClient(data))

    def _answered(self, server: Server, due: _Due) -> None:
        self._due.popleft()
        if due.reply.switched:
            self._rest = server
        self._closing = self._closing or due.reply.closes

    def server_eof(self, server: Server) -> list[Output]:
        """A server writes no more."""
        if self._is_tunnel(server):
            # the other direction may go on
            self._out.append(FinClient())
            return self._take()
        if not self._gone(server):
            return self._take()
        local = server.side is Side.LOCAL
        if self._due and not self._ends_answer(self._due[0]) and local:
            self._lose_answers("the local program closed the connection before it answered")
        elif local and not self._due and not self._closing:
            self._leave(server)
        else:
            self._finish_client()
        self._advance()
        return self._take()

    def _ends_answer(self, due: _Due) -> bool:
        """Return whether the end of the connection is the regular end of an answer."""
        try:
            due.reply.feed(b"")
        except NotHttp:
            return False
        return due.reply.complete

    def server_lost(self, server: Server, reason: str) -> list[Output]:
        """A server could not be reached, or has reset its connection."""
        tunnel = self._is_tunnel(server)
        if not self._gone(server):
            return self._take()
        if tunnel or server.side is Side.ORIGINAL:
            self._reset_client()
        elif self._due:
            self._lose_answers(reason)
        else:
            self._leave(server)
        self._advance()
        return self._take()

    def _is_tunnel(self, server: Server) -> bool:
        """Return whether bytes only pass between it and the client."""
        return self._rest == server and not self._due and not self._done

    def _gone(self, server: Server) -> bool:
        """Forget a server; return whether it was the one that answers."""
        if self._servers.get(server.side) == server:
            del self._servers[server.side]
        self._out.append(Forget(server))
        return server == self._active and not self._done

    def _leave(self, server: Server) -> None:
        """Go on without a server that had nothing more to say."""
        self._active = None
        if self._route == server:
            self._route, self._nowhere = None, True

    def _lose_answers(self, reason: str) -> None:
        """Answer in the place of a local program that has gone."""
        server = self._active
        if self._due[0].reply.has_head:
            self._reset_client()
            return
        self._reply_held.clear()
        # the client may still be sending the last one, and would not stop
        sending = self._route is not None and not (self._parser and self._parser.complete)
        last = len(self._due) - 1
        for at, due in enumerate([*self._due]):
            closes = due.closes or (sending and at == last)
            self._out.append(ToClient(bad_gateway(reason, method=due.method, closes=closes)))
            if closes:
                self._finish_client()
        self._due.clear()
        if server is not None:
            self._leave(server)

    def _reset_client(self) -> None:
        self._out.append(ResetClient())
        self._end()

    def _finish_client(self) -> None:
        self._tell(b"")
        self._out.append(FinClient())
        self._end()

    def _end(self) -> None:
        self._done = True
        self._input = b""
        self._held.clear()
        self._due.clear()
        self._out.extend(map(Forget, self._servers.values()))
        self._servers.clear()


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
