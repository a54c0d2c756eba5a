"""The program's outgoing streams: connects that are held, and the relays of those that were made.

The gate's thread starts a connect and notes it here (:meth:`Connections.note`); the rest is done on the
event loop (:meth:`Connections.start`): ask the agent, complete or refuse, relay. A connection is known by its
socket's ``SO_COOKIE``, which no dup, fork, exec or SCM_RIGHTS changes.

No duplicate of the program's socket is kept while its connect is pending: it would hide the program's
``close``. It is looked for again only to refuse it, and a connect that nobody waits for any more is noticed
by its inode being gone from ``/proc/net/tcp``.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple, NewType

from mirrord_agent.wire.channel import Asked, Channel, ChannelClosed, RequestFailed, Stream
from mirrord_agent.wire.messages import Opened, OpenTcp
from mirrord_agent.wire.pump import Pump
from mirrord_agent.wire.stream import Tap

from mirrord.link.addresses import Peer, from_name
from mirrord.link.inodes import tcp_inodes
from mirrord.link.lead import Lead
from mirrord.link.located import FindSocket
from mirrord.link.loopback import Loopback, abort, begin, complete, counterpart, is_ipv6_only, self_test
from mirrord.link.tapping import Flow, Tapping

Cookie = NewType("Cookie", int)
_ABANDONED_TICK: Final = 0.5
_FLUSH_TICK: Final = 0.005
LINK_LOST: Final = errno.ENETDOWN
"""What every call gets that needs an agent which is gone."""


class State(Enum):
    """Where a connection is."""

    PENDING = auto()
    ESTABLISHED = auto()
    FAILED = auto()


@dataclass(slots=True, eq=False)
class Connection:
    """One outgoing TCP connection of the program."""

    cookie: Cookie
    inode: int
    family: int
    """Of the program's socket: an IPv6 one may be connected to an IPv4 address."""
    remote: Peer
    token: Peer
    program: Peer
    """The local address of the program's socket, on this machine."""
    tid: int
    fd: int
    bound_port: int = 0
    """The local port that the program chose, 0 if it left that to the kernel."""
    local: Peer | None = None
    """The address that the connection has in the pod, once it is known."""
    state: State = State.PENDING
    error: int = 0
    """An errno that the program has not been told yet."""
    answered: bool = False
    """Whether its connect has ended, also where the socket alone tells how: it is PENDING here then."""
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class _Opening(NamedTuple):
    """A connection that an agent has been asked for."""

    channel: Channel
    stream: Stream
    asked: Asked


class Connections:
    """The program's connections by cookie; read by the gate's thread, changed on the loop only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lead: Lead,
        loopback: Loopback,
        find_socket: FindSocket,
        *,
        substitutes: Mapping[Peer, Peer] | None = None,
    ) -> None:
        """``substitutes`` are other peers that take the place of some."""
        self._substitutes: Final = substitutes or {}
        self.loopback: Final = loopback
        self._loop: Final = loop
        self._lead: Final = lead
        self._find: Final = find_socket
        self._by_cookie: Final[dict[Cookie, Connection]] = {}
        self._tasks: Final[dict[Connection, asyncio.Task[None]]] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._pumps: Final[dict[Connection, Pump]] = {}
        self._refusing: Final = threading.Lock()
        self._can_hold: Final = self_test(loopback)
        self._tapping: Tapping | None = None

    @property
    def can_hold(self) -> bool:
        """Whether this kernel can hold a connect pending; otherwise connects are made plainly."""
        return self._can_hold

    def __bool__(self) -> bool:
        return bool(self._by_cookie)

    def get(self, cookie: Cookie) -> Connection | None:
        """Return what is known of a socket; from any thread.

        Waits while a connect is being refused: in between, the socket has another error for some
        microseconds.
        """
        with self._refusing:
            return self._by_cookie.get(cookie)

    def forget(self, connection: Connection) -> None:
        """Drop what is known of a connection, not of a later one of the same socket; from any thread."""
        if self._by_cookie.get(connection.cookie) is connection:
            del self._by_cookie[connection.cookie]

    def disconnected(self, cookie: Cookie) -> None:
        """Take note that the program undoes a connect (AF_UNSPEC, connect(2)): its socket can be connected
        anew. From any thread.

        A pending one is cancelled, at the agent too. The kernel resets an established one, which ends its
        relay.
        """
        connection = self.get(cookie)
        if connection is not None:
            self.forget(connection)
            self._loop.call_soon_threadsafe(self._cancel, connection)

    def _cancel(self, connection: Connection) -> None:
        task = self._tasks.get(connection)
        if task is not None:
            # after its first step, in which it takes hold of what is to be given back
            self._loop.call_soon(task.cancel)

    def note(self, connection: Connection) -> None:
        """Take note of a connection whose connect is held here; from any thread. :meth:`start` comes next."""
        self._by_cookie[connection.cookie] = connection

    def start_soon(self, connection: Connection) -> None:
        """Have it started; from any thread."""
        self._loop.call_soon_threadsafe(self.start, connection)

    async def settled(self, connection: Connection) -> None:
        """Wait until the connect has succeeded or failed, which may have been before anybody waited."""
        if not connection.answered:
            waiter = self._loop.create_future()
            connection.waiters.append(waiter)
            await waiter

    def start(self, connection: Connection) -> None:
        """Have the pod make the connection; it is asked at once, and waited for in a task."""
        channel = self._lead.channel
        opening = (
            self._ask(channel, connection.remote, connection.bound_port) if channel.reason is None else None
        )
        task = self._loop.create_task(self._connect(connection, opening))
        self._tasks[connection] = task
        task.add_done_callback(lambda _: self._tasks.pop(connection, None))
        if self._watch is None:
            self._watch = self._loop.call_later(_ABANDONED_TICK, self._cancel_abandoned)

    async def _connect(self, connection: Connection, opening: _Opening | None) -> None:
        try:
            # while the pod connects
            ours = self._our_end(connection, opening)
            try:
                stream, opened = await self._open(connection.remote, connection.bound_port, opening)
            except BaseException:
                ours.close()
                raise
        except RequestFailed as failure:
            self._refuse(connection, failure.errno)
        except ChannelClosed:
            self._refuse(connection, LINK_LOST)
        except OSError as failure:
            # what we have no descriptor for
            self._refuse(connection, failure.errno or errno.ENOBUFS)
        except asyncio.CancelledError:
            self.forget(connection)
            raise
        else:
            self._complete(connection, ours, stream, Peer(opened.local.host, opened.local.port))
        finally:
            self._settle(connection)

    def _our_end(self, connection: Connection, opening: _Opening | None) -> socket.socket:
        try:
            return counterpart(connection.token)
        except OSError:
            if opening is not None:
                opening.stream.reset()
            raise

    async def _open(
        self, remote: Peer, local_port: int = 0, opening: _Opening | None = None
    ) -> tuple[Stream, Opened]:
        """Have the pod connect, or the one that takes its place if it goes meanwhile."""
        while True:
            if opening is None:
                opening = self._ask(await self._lead.ready(), remote, local_port)
            channel, stream, asked = opening
            try:
                return stream, await channel.reply(asked, Opened)
            except ChannelClosed:
                if not self._lead.outlives(channel):
                    raise
                opening = None
            except BaseException:
                stream.reset()
                raise

    def _ask(self, channel: Channel, remote: Peer, local_port: int) -> _Opening:
        remote = self._substitutes.get(remote, remote)
        stream = channel.open_stream()
        request = OpenTcp(stream=stream.id, host=remote.host, port=remote.port, local_port=local_port)
        return _Opening(channel, stream, channel.ask(request))

    def _complete(self, connection: Connection, ours: socket.socket, stream: Stream, local: Peer) -> None:
        connection.local = local
        connection.state = State.ESTABLISHED
        if complete(ours, connection.program):
            self._relay(connection, ours, stream)
        else:
            stream.reset()
            self.forget(connection)

    def _relay(self, connection: Connection, ours: socket.socket, stream: Stream) -> None:
        stream.tap = self._tap(connection)
        pump = Pump(self._loop, ours, stream, on_closed=lambda: self._closed(connection))
        if not pump.closed:
            self._pumps[connection] = pump

    def _closed(self, connection: Connection) -> None:
        self.forget(connection)
        self._pumps.pop(connection, None)

    def look(self) -> Iterator[tuple[Connection, tuple[int, int]]]:
        """Return what there is now, with the bytes each way."""
        for connection in list(self._by_cookie.values()):
            pump = self._pumps.get(connection)
            yield connection, pump.traffic if pump is not None else (0, 0)

    def show(self, tapping: Tapping | None) -> None:
        """Show connections to somebody from now on, or to nobody any more."""
        self._tapping = tapping
        for connection, pump in self._pumps.items():
            pump.show(self._tap(connection))

    def _tap(self, connection: Connection) -> Tap | None:
        if self._tapping is None:
            return None
        local = connection.local or connection.program
        return self._tapping(Flow("tcp", local, connection.remote, incoming=False))

    async def flushed(self) -> None:
        """Wait until what the program wrote before it ended has been handed to the agent, as the kernel would
        go on to send it.
        """
        while any(not pump.read_to_end for pump in self._pumps.values()):
            await asyncio.sleep(_FLUSH_TICK)

    def _refuse(self, connection: Connection, number: int) -> None:
        program_socket = self._find(connection)
        if program_socket is None:
            self.forget(connection)
            return
        with program_socket, self._refusing:
            if self._by_cookie.get(connection.cookie) is not connection:
                # the program has undone it, and may have begun another
                return
            self.loopback.refuse(program_socket)
            if number == errno.ECONNREFUSED:
                # the socket itself now says so
                self.forget(connection)
            else:
                connection.error = number
                connection.state = State.FAILED

    def _settle(self, connection: Connection) -> None:
        connection.answered = True
        for waiter in connection.waiters:
            if not waiter.done():
                waiter.set_result(None)
        connection.waiters.clear()

    async def connect_plainly(self, program_socket: socket.socket, cookie: Cookie, remote: Peer) -> None:
        """Connect the pod first, then the program's socket to a listener of ours; raise OSError.

        For a kernel or a socket with which a connect cannot be held. The listener takes the program's
        connection only: the peer's address is compared.
        """
        try:
            stream, opened = await self._open(remote)
        except RequestFailed as failure:
            raise OSError(failure.errno, os.strerror(failure.errno)) from failure
        except ChannelClosed as closed:
            raise OSError(LINK_LOST, os.strerror(LINK_LOST)) from closed
        connection = Connection(
            cookie=cookie,
            inode=os.fstat(program_socket.fileno()).st_ino,
            family=program_socket.family,
            remote=remote,
            token=remote,
            program=remote,
            tid=0,
            fd=-1,
            local=Peer(opened.local.host, opened.local.port),
            state=State.ESTABLISHED,
        )
        try:
            ours = await self._accept(program_socket)
        except BaseException:
            stream.reset()
            raise
        self._by_cookie[cookie] = connection
        self._relay(connection, ours, stream)

    async def _accept(self, program_socket: socket.socket) -> socket.socket:
        ipv6 = is_ipv6_only(program_socket)
        with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET) as listener:
            listener.bind(("::1" if ipv6 else "127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            number = begin(program_socket, from_name(listener.getsockname()))
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
            while True:
                ours, peer = await self._loop.sock_accept(listener)
                if from_name(peer) == from_name(program_socket.getsockname()):
                    return ours
                ours.close()

    def take_error(self, connection: Connection, program_socket: socket.socket) -> int:
        """Return the errno that the program has not been told, and clear it here and on its socket; from any
        thread.
        """
        program_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.forget(connection)
        return connection.error

    def reset_failed(self, connection: Connection) -> int:
        """Return the error of a blocking connect, whose socket can be connected again after."""
        program_socket = self._find(connection)
        if program_socket is not None:
            with program_socket:
                abort(program_socket)
        self.forget(connection)
        return connection.error

    def _cancel_abandoned(self) -> None:
        """Cancel, here and so at the agent, connects whose socket the program has closed or whose time has
        run out.
        """
        self._watch = None
        if not self._tasks:
            return
        pending = tcp_inodes(in_syn_sent=True)
        for connection in self._tasks:
            if connection.state is State.PENDING and connection.inode not in pending:
                self._cancel(connection)
        self._watch = self._loop.call_later(_ABANDONED_TICK, self._cancel_abandoned)
