"""The incoming plane: ``listen`` subscribes a port of the target, ``accept`` takes what comes from there.

The program's listener is a real one, and remote connections come to it from relays. ``accept`` without an
address is never trapped: it takes such a connection as any other. With an address the connection is accepted
here, on a duplicate, and given together with the remote client's address.
"""

import asyncio
import errno
import os
import select
import socket
import threading
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from mirrord.dispatch.binding import Binding
from mirrord.dispatch.row import Row, given, trap
from mirrord.dispatch.sockets import (
    address_writes,
    cookie,
    descriptor,
    is_blocking,
    is_tcp,
    program_socket,
    readable,
    receive_timeout,
)
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer, can_pack, from_name, pack
from mirrord.link.incoming import Incoming as Connections
from mirrord.link.listeners import Listener
from mirrord.syscall import CONTINUE, SUCCESS, Call, Fail, GiveFd, Verdict, Wait

_LONGEST_QUEUE: Final = 65_535
"""A negative length, as an unsigned one, is more than the kernel's limit; so is this (listen(2))."""


class Incoming:
    """Listeners of the program, and what they accept."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._rules: Final = world.incoming_rules
        self._incoming: Final = world.incoming
        self._binding: Final = Binding(world)
        self._accepting: Final = threading.Lock()
        self._turns: Final[WeakValueDictionary[int, asyncio.Lock]] = WeakValueDictionary()
        """By the listener's inode, who waits for its next connection."""

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        rows = [trap("bind", self._binding.bind), trap("listen", self.listen)]
        if self._rules.enabled:
            rows += [trap("accept", self.accept, given(1)), trap("accept4", self.accept4, given(1))]
        return rows

    def listen(self, call: Call) -> Verdict:
        """Listen, and have the target's connections to the port come here (listen(2))."""
        with program_socket(call, call.args[0]) as sock:
            if not is_tcp(sock):
                return CONTINUE
            self._world.own_listeners.add(os.fstat(sock.fileno()).st_ino)
            bound = self._world.bound.get(cookie(sock))
            if bound is None or self._incoming is None:
                return CONTINUE
            requested = bound.requested
            port = self._rules.remote_port(requested.port, is_loopback=requested.is_loopback)
            if port is None:
                return CONTINUE
            call.require_network()
            self._listen(sock, descriptor(call.args[1]))
            listener = Listener.of(sock)
        if self._incoming.listener(listener.inode) is not None:
            return SUCCESS
        if bound.port != requested.port:
            self._world.inform(_moved(requested.port, bound.port, bound.why))
        return Wait(partial(self._subscribe, self._incoming, port, listener))

    def _listen(self, sock: socket.socket, length: int) -> None:
        try:
            sock.listen(length if length >= 0 else _LONGEST_QUEUE)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                # with SO_REUSEADDR both may bind (socket(7)), and then it is too late for another port
                port = sock.getsockname()[1]
                self._world.inform(
                    f"another program has begun to listen on port {port} since this one bound it"
                )
            raise

    async def _subscribe(self, incoming: Connections, port: int, listener: Listener) -> Verdict:
        await incoming.subscribe(port, listener)
        return SUCCESS

    def accept(self, call: Call) -> Verdict:
        """Accept a connection, and tell the remote client's address (accept(2))."""
        return self._accept(call, flags=0)

    def accept4(self, call: Call) -> Verdict:
        """Accept a connection, and tell the remote client's address (accept4(2))."""
        return self._accept(call, flags=descriptor(call.args[3]))

    def _accept(self, call: Call, *, flags: int) -> Verdict:
        if self._incoming is None or flags & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC):
            return CONTINUE
        with program_socket(call, call.args[0]) as sock:
            listener = self._incoming.listener(os.fstat(sock.fileno()).st_ino)
            if listener is None:
                return CONTINUE
            accepting = _Accepting(call, flags, self._incoming, listener, self._accepting)
            if (verdict := accepting.take(sock)) is not None:
                return verdict
            if not is_blocking(sock):
                return Fail(errno.EAGAIN)
            duplicate = sock.dup()
            self._world.held_listeners.add(duplicate, listener.at.port)
            return Wait(partial(self._wait, accepting, duplicate), interruptible=True)

    async def _wait(self, accepting: "_Accepting", sock: socket.socket) -> Verdict:
        """Wait for a connection, for as long as SO_RCVTIMEO allows (socket(7)).

        Of those who wait at one listener the first comes first, as in the kernel.
        """
        turn = self._turns.setdefault(accepting.listener.inode, asyncio.Lock())
        with sock:
            try:
                async with asyncio.timeout(receive_timeout(sock)), turn:
                    while (verdict := accepting.take(sock)) is None:
                        await readable(sock)
            except TimeoutError:
                return Fail(errno.EAGAIN)
            except asyncio.CancelledError:
                # a signal: the kernel would give a connection that has come meanwhile, but not its address
                accepting.hold_back()
                if (late := accepting.take(sock)) is None:
                    raise
                return late
            return verdict


class _Accepting:
    """One call that wants a connection and its peer's address."""

    def __init__(
        self, call: Call, flags: int, incoming: Connections, listener: Listener, lock: threading.Lock
    ) -> None:
        self.listener: Final = listener
        self._call: Final = call
        self._flags: Final = flags
        self._incoming: Final = incoming
        self._lock: Final = lock

    def hold_back(self) -> None:
        """Let nothing more come for a moment."""
        self._incoming.hold_back(self.listener)

    def take(self, sock: socket.socket) -> Verdict | None:
        """Accept what waits in the queue; None if nothing does. Raises OSError as accept(2) does."""
        found = self._accept(sock)
        if found is None:
            return None
        accepted, peer = found
        with accepted:
            sockaddr = self._remote(peer, accepted.family)
            writes = address_writes(self._call, sockaddr, at=self._call.args[1], length_at=self._call.args[2])
            if self._call.watched:
                self._call.here(self._call.args[1], pack(peer, accepted.family))
            accepted.setblocking(not self._flags & socket.SOCK_NONBLOCK)
            return GiveFd(
                accepted.detach(),
                cloexec=bool(self._flags & socket.SOCK_CLOEXEC),
                writes=writes,
                refused=partial(self._incoming.tickets.keep, peer=peer, listener=self.listener),
            )

    def _accept(self, sock: socket.socket) -> tuple[socket.socket, Peer] | None:
        """Accept without waiting, although the program's listener may be a blocking one.

        There is no flag for that: O_NONBLOCK is set for some microseconds, only when there is a connection,
        and one call at a time, so that it is always set back.
        """
        with self._lock:
            if not _has_connection(sock):
                return None
            blocking = is_blocking(sock)
            if blocking:
                os.set_blocking(sock.fileno(), False)
            try:
                accepted, name = sock.accept()
            except BlockingIOError:
                # another process has taken it by a call that is not trapped
                return None
            finally:
                if blocking:
                    os.set_blocking(sock.fileno(), True)
        peer = from_name(name)
        kept = self._incoming.tickets.redeem(peer)
        if kept is None:
            return accepted, peer
        accepted.close()
        return kept

    def _remote(self, peer: Peer, family: int) -> bytes:
        """Return what the program is told of a peer on this machine."""
        names = self._incoming.names(peer)
        return pack(names.remote if names and can_pack(names.remote, family) else peer, family)


def _has_connection(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _moved(requested: int, port: int, why: str) -> str:
    if not why:
        return f"this program listens on port {port} here in place of {requested}"
    return f"port {requested} cannot be had on this machine ({why}): the program listens on port {port} here"
