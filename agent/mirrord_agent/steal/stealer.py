"""Stealing ports: connections are accepted, and given to the local side, whole or by request."""

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from mirrord_agent.http.filter import HttpFilter
from mirrord_agent.http.output import Decider, Limits, Side
from mirrord_agent.http.request import Request
from mirrord_agent.steal.connection import Connection, OpenLocal, Patience
from mirrord_agent.steal.level import take_whole
from mirrord_agent.steal.listener import Listener, Stolen, accept
from mirrord_agent.steal.redirection import Redirection
from mirrord_agent.wire.pump import Pump

_AT_ONCE: Final = 64
"""Connections accepted before others have a turn."""
_PAUSE: Final = 0.1
"""Seconds to wait where there is no descriptor left."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_LAST: Final = 1.0
"""Seconds for which a listener outlives its rule: for connections whose first packet was led there."""


class StolenPort:
    """One port that is stolen until :meth:`stop`."""

    def __init__(
        self,
        port: int,
        redirection: Redirection,
        *,
        open_local: OpenLocal,
        filter: HttpFilter,
        limits: Limits,
        patience: Patience,
        on_decided: Callable[[Request, Side], None] | None,
    ) -> None:
        """Redirect the port; raise OSError or AgentError."""
        self.port: Final = port
        self.connections: Final[set[Connection | Pump]] = set()
        """Those that go on."""
        self._loop: Final = asyncio.get_running_loop()
        self._redirection: Final = redirection
        self._open_local: Final = open_local
        self._decider: Final = Decider(filter, limits=limits, on_decided=on_decided)
        self._by_request: Final = filter.applies_to(port)
        self._whole: socket.socket | None = None
        """The right to all connections, while they are taken."""
        self._patience: Final = patience
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._stopped: bool = False
        self._paused: bool = False
        self._idle: Final = asyncio.Event()
        self._listener: Final = Listener()
        try:
            self._redirect()
        except BaseException:
            self._listener.close()
            raise
        self._accept_more()

    def stop(self) -> None:
        """Steal no more: new connections and requests go to the original, what was begun goes on."""
        if self._stopped:
            return
        self._stopped = True
        self._decider.wanted = False
        try:
            self._restore()
        finally:
            self._loop.call_later(_LAST, self._close)

    def pause(self) -> None:
        """Let new connections and requests go to the original until :meth:`go_on`; what was begun waits."""
        if not self._stopped:
            self._paused = True
            self._decider.wanted = False
            self._restore()

    def go_on(self) -> None:
        """Steal again after a pause; raise OSError or AgentError."""
        if self._paused and not self._stopped:
            self._redirect()
            self._paused = False
            self._decider.wanted = True

    def _redirect(self) -> None:
        whole = None if self._by_request else take_whole(self.port)
        try:
            self._redirection.redirect(self.port, to=self._listener.port)
        except BaseException:
            if whole is not None:
                whole.close()
            raise
        self._whole = whole

    def _restore(self) -> None:
        """Change the redirection back; whoever comes next may have what we do not take any more."""
        if self._whole is not None:
            self._whole.close()
        self._redirection.restore(self.port)

    async def drained(self) -> None:
        """Wait, after :meth:`stop`, until no connection is left."""
        await self._idle.wait()

    def abort(self) -> None:
        """End every connection at once."""
        self.stop()
        self._close()
        for task in self._tasks:
            task.cancel()
        for connection in [*self.connections]:
            connection.abort()

    def _accept_more(self) -> None:
        for listener in self._listener.sockets:
            if listener.fileno() >= 0:
                self._loop.add_reader(listener, self._acceptable, listener)

    def _close(self) -> None:
        for listener in self._listener.sockets:
            if listener.fileno() >= 0:
                self._loop.remove_reader(listener)
        self._listener.close()
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        closed = self._listener.sockets[0].fileno() < 0
        if closed and not self.connections and not self._tasks:
            self._idle.set()

    def _acceptable(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                stolen = accept(listener, port=self.port)
            except BlockingIOError:
                return
            except OSError as error:
                self._cannot_accept(error)
                return
            if stolen is not None:
                self._begin(stolen)

    def _cannot_accept(self, error: OSError) -> None:
        if error.errno in (errno.ECONNABORTED, errno.EPROTO):
            return
        print(f"mirrord-agent: port {self.port}: {error.strerror}; waiting", file=sys.stderr)
        for listener in self._listener.sockets:
            self._loop.remove_reader(listener)
        self._loop.call_later(_PAUSE, self._accept_more)

    def _begin(self, stolen: Stolen) -> None:
        if not (self._by_request or self._stopped or self._paused):
            task = self._loop.create_task(self._give_whole(stolen))
            self._tasks.add(task)
            task.add_done_callback(self._task_done)
            return
        self.connections.add(
            Connection(
                stolen,
                self._decider,
                open_local=self._open_local,
                mark=self._redirection.level.mark,
                patience=self._patience,
                on_closed=self._ended,
            )
        )

    async def _give_whole(self, stolen: Stolen) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(_refuse, stolen.socket)
            try:
                stream = await self._open_local(stolen)
            except OSError:
                return
            stack.pop_all()
        pump = Pump(self._loop, stolen.socket, stream, on_closed=lambda: self._ended(pump))
        self.connections.add(pump)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_whether_idle()
        if not task.cancelled():
            task.result()

    def _ended(self, connection: Connection | Pump) -> None:
        self.connections.discard(connection)
        self._look_whether_idle()


def _refuse(sock: socket.socket) -> None:
    """Close a connection so that its client notices."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    sock.close()


class Stealer:
    """The stolen ports of one agent, which share one redirection."""

    def __init__(self, redirection: Redirection, *, open_local: OpenLocal) -> None:
        """``open_local`` is asked for a stream for each connection or request that the local side gets."""
        self._redirection: Final = redirection
        self._open_local: Final = open_local
        self._ports: Final[dict[int, StolenPort]] = {}
        self._ending: Final[set[StolenPort]] = set()

    def steal(
        self,
        port: int,
        filter: HttpFilter | None = None,
        *,
        limits: Limits | None = None,
        patience: Patience | None = None,
        on_decided: Callable[[Request, Side], None] | None = None,
    ) -> StolenPort:
        """Begin to steal a port; raise OSError (EADDRINUSE if it is stolen already) or AgentError."""
        if port in self._ports:
            raise OSError(errno.EADDRINUSE, f"port {port} is stolen already")
        stolen = self._ports[port] = StolenPort(
            port,
            self._redirection,
            open_local=self._open_local,
            filter=filter or HttpFilter(),
            limits=limits or Limits(),
            patience=patience or Patience(),
            on_decided=on_decided,
        )
        return stolen

    def stop(self, port: int) -> None:
        """Steal a port no more; what was begun goes on."""
        stolen = self._ports.pop(port)
        self._ending.add(stolen)
        stolen.stop()

    def stop_all(self) -> None:
        """Steal nothing any more; what was begun goes on."""
        for port in [*self._ports]:
            self.stop(port)

    def pause(self) -> None:
        """Let new connections and requests go to the original until :meth:`go_on`."""
        for stolen in self._ports.values():
            stolen.pause()

    def go_on(self) -> None:
        """Steal again after a pause; raise OSError or AgentError."""
        for stolen in self._ports.values():
            stolen.go_on()

    async def drained(self) -> None:
        """Stop all, and wait until no connection is left."""
        self.stop_all()
        for stolen in [*self._ending]:
            await stolen.drained()
            self._ending.discard(stolen)

    def close(self) -> None:
        """End everything at once, and remove the redirection."""
        try:
            for stolen in [*self._ports.values(), *self._ending]:
                stolen.abort()
        finally:
            self._redirection.close()
