"""Splitting an HTTP/1 connection: each request goes to the side that it is decided for.

All requests whose answers are due are at one server, so answers come in the order of the requests: before a
request goes to the other side, the answers so far are waited for. A server sees the client's own bytes,
without the requests that the other one gets, and the client sees the servers' own bytes.
"""

from typing import Final

from mirrord_agent.http.answers import Answers
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
from mirrord_agent.http.upgrade import without_h2c

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


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
        self._deaf: bool = False
        """What follows is dropped: it could be a request that is not for the server that would get it."""
        self._client_ended: bool = False
        self._told_of_end: Server | None = None
        """The one that knows that the client has ended."""
        # to the client
        self._due: Final = Answers(decider.limits)
        self._closing: bool = False
        self._done: bool = False
        """The client gets nothing any more."""
        # servers
        self._servers: Final[dict[Side, Server]] = {}
        self._active: Server | None = None
        """The one that answers."""
        self._opened: int = 0
        self._used: Server | None = None
        """One that has answered, and may be about to close as nothing came for a while."""
        self._repeat: bytearray | None = None
        """The request that such a one got, as long as it has not answered."""

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
        if self._done or self._deaf:
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
        if not self._input or self._due.may_upgrade:
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
            self._parse_no_more(parser, data)
            return
        self._pass_on(data[: len(data) - len(self._input)])
        if self._side is None and parser.has_head:
            self._decide(parser)

    def _parse_no_more(self, parser: RequestParser, data: bytes) -> None:
        """Nothing tells where this request ends, and whose the next one is."""
        understood = max(0, len(data) - parser.not_understood)
        self._pass_on(data[:understood])
        if self._side is None and parser.has_head:
            # the head came first, if not in a piece of its own
            self._decide(parser)
        self._side = self._side or Side.ORIGINAL
        if self._nowhere:
            self._finish_client()
        elif self._side is Side.LOCAL:
            self._hear_no_more()
        else:
            self._opaque, self._rest = True, self._route
            self._pass_on(data[understood:])

    def _hear_no_more(self) -> None:
        """Have the local program see the client's end here."""
        self._deaf = self._client_ended = True
        self._input = b""

    def _pass_on(self, data: bytes) -> None:
        if self._route is not None:
            self._remember(data)
            self._out.append(ToServer(self._route, data))
        elif not self._nowhere:
            self._held.extend(data)

    def _decide(self, parser: RequestParser) -> None:
        if parser.proposes_h2c:
            self._held[:] = without_h2c(bytes(self._held))
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
            self._due.expect(self._parser, continued=self._continued)
        may_close = server == self._used and server.side is Side.LOCAL
        self._repeat = bytearray() if may_close and self._due.may_be_asked_again else None
        self._remember(self._held)
        self._out.append(ToServer(server, bytes(self._held)))
        self._held.clear()
        if self._opaque:
            self._rest = server
        return True

    def _remember(self, data: bytes | bytearray) -> None:
        if self._repeat is not None:
            self._repeat += data
            if len(self._repeat) > self._decider.limits.head:
                self._repeat = None

    def _finish(self, parser: RequestParser) -> None:
        """The present request is complete."""
        if self._route is not None:
            self._due.finish(parser)
        if parser.closes:
            # whatever follows is no request
            self._closing = True
            self._deaf = self._side is Side.LOCAL
            self._rest = None if self._deaf else self._route
            self._input = b"" if self._deaf else self._input
        self._parser, self._side, self._route = None, None, None
        self._nowhere = self._continued = False

    def _server(self, side: Side) -> Server:
        if side not in self._servers:
            self._opened += 1
            self._servers[side] = Server(side, self._opened)
        return self._servers[side]

    def _end_servers(self) -> None:
        """Have the one that answers end, too; with none, the client is done."""
        for server in [*self._servers.values()]:
            if server != self._active:
                del self._servers[server.side]
                self._out.append(Forget(server))
            elif server != self._told_of_end:
                self._told_of_end = server
                self._out.append(FinServer(server))
        if self._active is None:
            self._finish_client()

    # Servers.

    def server_data(self, server: Server, data: bytes) -> list[Output]:
        """Take what a server wrote."""
        if server != self._active or self._done:
            return []
        self._repeat = None
        while data:
            data = self._answer(server, data)
        self._advance()
        return self._take()

    def _answer(self, server: Server, data: bytes) -> bytes:
        """Take a part of it; return what is left."""
        if not self._due:
            self._unasked(server, data)
            return b""
        try:
            step = self._due.feed(data)
        except NotHttp:
            self._tell(self._due.spill() + data)
            self._only_pass(server)
            return b""
        self._tell(step.told)
        if step.answer is not None:
            self._answered(server, step.answer)
        return step.rest

    def _unasked(self, server: Server, data: bytes) -> None:
        """Take what is no answer: after an upgrade, before a close, or a body that must not be there."""
        if server.side is Side.ORIGINAL or self._rest == server:
            self._out.append(ToClient(data))
            return
        # the client would take it for the next answer, which may be the original's
        self._gone(server)
        if self._closing:
            self._finish_client()
        else:
            self._leave(server)

    def _only_pass(self, server: Server) -> None:
        """Nothing tells where this answer ends: what the server says from here on is for the client."""
        self._due.clear()
        self._rest = server
        if server.side is Side.LOCAL:
            # the client's next request may be the original's, whose answer could not follow
            self._hear_no_more()
            self._held.clear()
            self._parser, self._side = None, None

    def _tell(self, data: bytes) -> None:
        if data:
            self._out.append(ToClient(data))

    def _answered(self, server: Server, answer: ReplyParser) -> None:
        self._used = server
        if answer.switched:
            self._rest = server
        self._closing = self._closing or answer.closes

    def server_eof(self, server: Server) -> list[Output]:
        """A server writes no more."""
        if self._is_tunnel(server) and not self._client_ended:
            # the other direction may go on
            self._out.append(FinClient())
            return self._take()
        if not self._gone(server):
            return self._take()
        local = server.side is Side.LOCAL
        if self._due and self._ends_answer():
            self._finish_client()
        elif self._due and local:
            self._lose_answers("the local program closed the connection before it answered")
        elif local and not self._closing:
            self._leave(server)
        else:
            self._finish_client()
        self._advance()
        return self._take()

    def _ends_answer(self) -> bool:
        """Return whether the end of the connection is the regular end of an answer."""
        try:
            step = self._due.feed(b"")
        except NotHttp:
            return False
        self._tell(step.told)
        return step.answer is not None

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
        if self._repeat is not None and server is not None:
            self._ask_again(server, bytes(self._repeat))
            return
        if self._due.has_begun:
            self._reset_client()
            return
        sending = self._route is not None and not (self._parser and self._parser.complete)
        for answer, closes in self._due.bad_gateways(reason, sending=sending):
            self._out.append(ToClient(answer))
            if closes:
                self._finish_client()
        if server is not None:
            self._leave(server)

    def _ask_again(self, old: Server, request: bytes) -> None:
        """Ask on a new connection: the old one was closed while the request was on its way."""
        self._repeat = None
        server = self._active = self._server(Side.LOCAL)
        self._route = server if self._route == old else self._route
        self._rest = server if self._rest == old else self._rest
        self._due.begin_again()
        self._out.append(ToServer(server, request))

    def _reset_client(self) -> None:
        self._out.append(ResetClient())
        self._end()

    def _finish_client(self) -> None:
        self._tell(self._due.spill())
        self._out.append(FinClient())
        self._end()

    def _end(self) -> None:
        self._done = True
        self._input = b""
        self._held.clear()
        self._due.clear()
        self._out.extend(map(Forget, self._servers.values()))
        self._servers.clear()
