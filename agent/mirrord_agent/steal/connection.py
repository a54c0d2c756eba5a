"""One stolen connection that is filtered: what the splitter decides, done with sockets and streams."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from mirrord_agent.http.detect import Spoken, detect
from mirrord_agent.http.http1 import Http1
from mirrord_agent.http.http2 import Http2
from mirrord_agent.http.opaque import Opaque
from mirrord_agent.http.output import (
    Decider,
    FinClient,
    FinServer,
    Forget,
    Output,
    Server,
    Side,
    Splitter,
    ToClient,
    ToServer,
)
from mirrord_agent.steal.link import Link
from mirrord_agent.steal.listener import Stolen, connect_original
from mirrord_agent.steal.opening import OpeningLink
from mirrord_agent.steal.socket_link import SocketLink
from mirrord_agent.wire.stream import Stream

OpenLocal = Callable[[Stolen], Awaitable[Stream]]
"""Open a stream to the local side for a connection; raises OSError, whose text the client may see."""
_HIGH: Final = 256 * 1024
"""Bytes that may be kept for one link before its sources are stopped."""
_LINGER: Final = 5.0
"""Seconds for a client to end after its last answer, in which what it still sends is read."""
_STRAY: Final = 1024 * 1024
"""Bytes that are read then; who sends more does not listen."""
_LAST: Final = 60.0
"""Seconds for a client to take what was written for it last."""
_FIRST: Final = Server(Side.ORIGINAL, 0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a decision may take, in seconds."""

    detection: float = 2.0
    """For bytes that tell what is spoken, and for a whole head."""
    body: float = 1.0
    """For a body that a filter wants to see."""


class Connection:
    """A client whose requests go to two sides; ``on_closed`` is called once, when it is over."""

    def __init__(
        self,
        stolen: Stolen,
        decider: Decider,
        *,
        open_local: OpenLocal,
        mark: int,
        patience: Patience,
        on_closed: Callable[["Connection"], None],
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._stolen: Final = stolen
        self._decider: Final = decider
        self._open_local: Final = open_local
        self._mark: Final = mark
        self._patience: Final = patience
        self._on_closed: Final = on_closed
        self._splitter: Splitter | None = None
        self._begin: bytes = b""
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for_body: bool = False
        self._servers: Final[dict[Server, Link]] = {}
        self._names: Final[dict[Link, Server]] = {}
        self._linger: asyncio.TimerHandle | None = None
        self._client_eof: bool = False
        self._client_fin: bool = False
        self._stray: int = 0
        """Bytes that have come after the client's last answer."""
        self._over: bool = False
        self._client: Final = SocketLink(self._loop, stolen.socket, self, connecting=False)
        self._watch()

    def abort(self) -> None:
        """End everything at once."""
        self._client.reset()
        self._end()

    # What links tell.

    def link_data(self, link: Link, data: bytes) -> None:
        """Bytes have come."""
        if link is self._client:
            self._client_data(data)
        elif name := self._names.get(link):
            self._do(self._known().server_data(name, data))

    def link_eof(self, link: Link) -> None:
        """No more will come."""
        if link is self._client:
            self._client_eof = True
            self._decide_for_original()
            self._do(self._known().client_eof())
        elif name := self._names.get(link):
            self._do(self._known().server_eof(name))

    def link_lost(self, link: Link, reason: str) -> None:
        """It could not be connected, or was reset."""
        if link is self._client:
            self._end()
        elif name := self._names.pop(link, None):
            del self._servers[name]
            self._do(self._known().server_lost(name, reason))

    def link_drained(self, link: Link) -> None:
        """Bytes that were kept have been taken, or it has closed."""
        if link is self._client and self._over and link.closed:
            self._closed()
        self._balance()

    # The beginning.

    def _client_data(self, data: bytes) -> None:
        if self._client_fin and not self._servers:
            self._stray += len(data)
            if self._stray > _STRAY:
                self.abort()
            return
        if self._splitter is None:
            data = self._begin = self._begin + data
            self._splitter = self._told(detect(data))
        if self._splitter is not None:
            self._begin = b""
            self._do(self._splitter.client_data(data))
        self._watch()

    def _told(self, spoken: Spoken) -> Splitter | None:
        if spoken is Spoken.UNKNOWN:
            return None
        if spoken is Spoken.OTHER:
            return Opaque(_FIRST)
        # an idle connection to the original may be there, in case that it speaks first
        self._forget(_FIRST)
        return Http1(self._decider) if spoken is Spoken.HTTP1 else Http2(self._decider)

    def _known(self) -> Splitter:
        """Return the splitter; where nothing told what is spoken, it is not looked into."""
        if self._splitter is None:
            self._splitter = Opaque(_FIRST)
        return self._splitter

    def _decide_for_original(self) -> None:
        """Pass on what nothing could be told from."""
        if self._splitter is None:
            begin, self._begin = self._begin, b""
            self._do(self._known().client_data(begin))

    def _watch(self) -> None:
        """See to it that a decision comes in time."""
        splitter = self._splitter
        waits = splitter is None or splitter.undecided
        for_body = splitter is not None and splitter.waits_for_body
        if self._timer is not None and (not waits or for_body != self._waits_for_body):
            self._timer.cancel()
            self._timer = None
        if waits and self._timer is None and not self._over:
            self._waits_for_body = for_body
            delay = self._patience.body if for_body else self._patience.detection
            self._timer = self._loop.call_later(delay, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        if self._splitter is not None:
            self._do(self._splitter.give_up())
            self._watch()
        elif self._begin:
            self._decide_for_original()
        else:
            # nobody has said anything: it may be for the original to speak first
            self._server(_FIRST)

    # What the splitter wants.

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            if self._over:
                return
            if isinstance(output, ToClient):
                self._client.write(output.data)
            elif isinstance(output, ToServer):
                self._server(output.server).write(output.data)
            elif isinstance(output, FinServer):
                self._server(output.server).fin()
            elif isinstance(output, Forget):
                self._forget(output.server)
            elif isinstance(output, FinClient):
                self._client_fin = True
                self._client.fin()
            else:
                self.abort()
        self._balance()

    def _server(self, name: Server) -> Link:
        if name not in self._servers:
            link = self._servers[name] = self._open(name.side)
            self._names[link] = name
        return self._servers[name]

    def _open(self, side: Side) -> Link:
        if side is Side.LOCAL:
            return OpeningLink(self._open_local(self._stolen), self)
        try:
            sock = connect_original(self._stolen.destination, mark=self._mark)
        except OSError as error:
            return OpeningLink(_fail(error), self)
        return SocketLink(self._loop, sock, self, connecting=True)

    def _forget(self, name: Server) -> None:
        link = self._servers.pop(name, None)
        if link is not None:
            del self._names[link]
            link.close()

    def _balance(self) -> None:
        """Stop who is too fast, and let go on who is not; end what has ended."""
        if self._over:
            return
        links = [*self._servers.values()]
        to_servers = max((link.pending for link in links), default=0)
        to_client = self._client.pending
        http2 = isinstance(self._splitter, Http2)
        full = self._splitter is not None and self._splitter.full
        # answers to the client's own frames must not pile up either
        self._client.read(not full and to_servers < _HIGH and not (http2 and to_client >= _HIGH))
        for link in links:
            link.read(to_client < _HIGH)
        if self._client_fin:
            self._end_in_time(has_servers=bool(links))

    def _end_in_time(self, *, has_servers: bool) -> None:
        if self._client_eof:
            self._end()
        elif not has_servers and self._linger is None:
            self._linger = self._loop.call_later(_LINGER, self._end)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        regular = self._client_eof and self._client_fin
        for link in self._servers.values():
            # after a regular end servers may take what the client wrote
            if regular:
                link.close()
            else:
                link.reset()
        self._servers.clear()
        self._linger = self._loop.call_later(_LAST, self._give_up_client)
        self._client.close()
        if self._client.closed:
            self._closed()

    def _give_up_client(self) -> None:
        self._client.reset()
        self._closed()

    def _closed(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
            self._on_closed(self)


async def _fail(error: OSError) -> Stream:
    raise error
