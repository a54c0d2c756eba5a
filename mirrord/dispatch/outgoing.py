"""The outgoing plane, streams: ``connect`` and what a program asks of a connection afterwards.

A connect to a remote address is started here, on the program's own socket, against an address that holds it
(``link/loopback.py``), and asked for at the agent. A non-blocking program gets its EINPROGRESS at once. A
blocking one waits here until the agent has answered; the call is then continued: the kernel finds the socket
connected, or its error, and answers as it always would.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Awaitable
from functools import partial
from typing import Final

from mirrord.dispatch.row import Row, equal, given, trap
from mirrord.dispatch.sockets import (
    address_writes,
    cookie,
    descriptor,
    is_blocking,
    program_socket,
    read_sockaddr,
    send_timeout,
)
from mirrord.dispatch.unix import Unix
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer, family, from_name, pack, parse, to_name
from mirrord.link.connections import Connection, Cookie, State
from mirrord.link.inodes import listening, udp_inodes
from mirrord.link.loopback import begin, disconnect, is_ipv6_only
from mirrord.syscall import CONTINUE, Call, Fail, Return, Verdict, Wait

_INT: Final = struct.Struct("=i")
_NETWORKS: Final = (socket.AF_INET, socket.AF_INET6)
_NOT_HELD: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EACCES, errno.EPERM}
)
"""Errors of a connect to the loopback that the program's connect to the remote address would not have had."""


class Outgoing:
    """Connections that are made from the pod."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._connections: Final = world.connections
        self._unix: Final = Unix(world)

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [
            trap("connect", self.connect, given(1)),
            trap("getsockopt", self.getsockopt, equal(1, socket.SOL_SOCKET), equal(2, socket.SO_ERROR)),
        ]

    def connect(self, call: Call) -> Verdict:
        """Decide where a connection is made (connect(2))."""
        sockaddr = read_sockaddr(call, call.args[1], call.args[2])
        kind = family(sockaddr)
        if kind == socket.AF_UNIX:
            return self._unix.connect(call, sockaddr)
        peer = parse(sockaddr)
        if peer is None:
            return self._disconnect(call) if kind == socket.AF_UNSPEC else CONTINUE
        if not (self._world.is_remote_stream(peer) or self._world.is_remote_datagram(peer)):
            return CONTINUE
        call.require_network()
        with program_socket(call, call.args[0]) as sock:
            if not _can_reach(sock, peer):
                return CONTINUE
            if sock.type == socket.SOCK_DGRAM and sock.proto in (0, socket.IPPROTO_UDP):
                return self._connect_datagrams(call, sock, peer)
            if sock.type != socket.SOCK_STREAM or sock.proto not in (0, socket.IPPROTO_TCP):
                return CONTINUE
            return self._connect_stream(call, sock, peer)

    def _connect_stream(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        identity = cookie(sock)
        known = self._connections.get(identity)
        if known is not None:
            return self._connect_again(sock, known)
        if not self._world.is_remote_stream(peer):
            return CONTINUE
        if (port := self._own_port(peer)) is not None:
            return CONTINUE if port == peer.port else self._connect_own(call, sock, Peer(peer.host, port))
        if not self._connections.can_hold:
            return self._connect_plainly(sock, peer)
        token = self._connections.loopback.token(ipv6_only=is_ipv6_only(sock))
        bound_port = sock.getsockname()[1]
        number = begin(sock, token)
        if number in _NOT_HELD:
            return self._connect_plainly(sock, peer)
        if number not in (0, errno.EINPROGRESS):
            return Fail(number)
        if call.watched:
            call.here(call.args[1], pack(token, sock.family))
        connection = self._note(call, sock, identity, token, peer, bound_port)
        if is_blocking(sock):
            return Wait(partial(self._start, connection, send_timeout(sock)), interruptible=True)
        self._connections.start_soon(connection)
        return Fail(errno.EINPROGRESS)

    def fast_open(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        """Connect and send by one call (MSG_FASTOPEN, tcp(7)); as without a cookie, the bytes follow the
        handshake.
        """
        verdict = self._connect_stream(call, sock, peer)
        if not isinstance(verdict, Wait):
            return verdict
        return Wait(partial(self._then_send, verdict, sock.dup(), call), interruptible=True)

    async def _then_send(self, connected: Wait, sock: socket.socket, call: Call) -> Verdict:
        with sock:
            verdict = await connected.answer()
            if verdict is not CONTINUE:
                return verdict
            if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return Fail(number)
            data = call.read(call.args[1], call.args[2]) if call.args[2] else b""
            return Return(sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) if data else 0)

    def _note(
        self, call: Call, sock: socket.socket, identity: Cookie, token: Peer, peer: Peer, bound_port: int
    ) -> Connection:
        connection = Connection(
            cookie=identity,
            inode=os.fstat(sock.fileno()).st_ino,
            family=sock.family,
            remote=peer,
            token=token,
            program=from_name(sock.getsockname()),
            tid=call.tid,
            fd=descriptor(call.args[0]),
            bound_port=bound_port,
        )
        self._connections.note(connection)
        return connection

    def _connect_again(self, sock: socket.socket, connection: Connection) -> Verdict:
        if connection.state is State.PENDING and is_blocking(sock):
            return Wait(partial(self._wait, connection, send_timeout(sock)), interruptible=True)
        if connection.state is State.FAILED:
            return Fail(self._connections.take_error(connection, sock))
        return CONTINUE

    def _start(self, connection: Connection, timeout: float | None) -> Awaitable[Verdict]:
        self._connections.start(connection)
        return self._wait(connection, timeout)

    async def _wait(self, connection: Connection, timeout: float | None) -> Verdict:
        try:
            async with asyncio.timeout(timeout):
                await self._connections.settled(connection)
        except TimeoutError:
            # what SO_SNDTIMEO gives a connect (socket(7))
            return Fail(errno.EINPROGRESS)
        if connection.state is State.FAILED and connection.error:
            return Fail(self._connections.reset_failed(connection))
        return CONTINUE

    def _connect_plainly(self, sock: socket.socket, peer: Peer) -> Verdict:
        """Connect only once the pod is connected, the caller waiting even if it asked not to."""
        duplicate = sock.dup()
        return Wait(partial(self._plainly, duplicate, cookie(sock), peer), interruptible=True)

    async def _plainly(self, sock: socket.socket, cookie_: Cookie, peer: Peer) -> Verdict:
        with sock:
            await self._connections.connect_plainly(sock, cookie_, peer)
        return Return(0)

    def _connect_datagrams(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        """Point the program's socket at the relay that stands for the peer."""
        world = self._world
        if not world.is_remote_datagram(peer) or self._is_own_datagram_socket(peer):
            if (association := world.datagrams.get(cookie(sock))) is not None:
                association.connected = None
            return CONTINUE
        if world.pod_address(peer, 0) is None:
            # getaddrinfo(3) asks so whether it may offer such an address
            return Fail(errno.ENETUNREACH)
        association = world.datagrams.associate(sock, cookie(sock), tid=call.tid, fd=descriptor(call.args[0]))
        association.connected = peer
        relay = world.datagrams.relay(association, peer)
        if call.watched:
            call.here(call.args[1], pack(relay, sock.family))
        return Fail(number) if (number := begin_datagrams(sock, relay)) else Return(0)

    def _disconnect(self, call: Call) -> Verdict:
        """Let a socket be as it was before its connect (AF_UNSPEC, connect(2))."""
        if not (self._connections or self._world.datagrams):
            return CONTINUE
        with program_socket(call, call.args[0]) as sock:
            if sock.family not in _NETWORKS:
                return CONTINUE
            if sock.type == socket.SOCK_STREAM:
                self._connections.disconnected(cookie(sock))
                return CONTINUE
            return self._disconnected(sock)

    def _disconnected(self, sock: socket.socket) -> Verdict:
        association = self._world.datagrams.get(cookie(sock))
        if association is None:
            return CONTINUE
        association.connected = None
        disconnect(sock)
        if sock.getsockname()[1] != association.program.port:
            # the program had not bound it: the kernel takes its port away, at which the relays reach it
            self._world.datagrams.forget(association)
        return Return(0)

    def _own_port(self, peer: Peer) -> int | None:
        """Return the port at which the program itself listens for a peer: such a connection stays local.

        That is another one where the port that it asked for could not be had.
        """
        own = self._world.own_listeners
        if not own or not is_here(peer):
            return None
        ports = (peer.port, *self._world.bound.ports_for(peer.port))
        return next((port for port in ports if not own.isdisjoint(listening(port=port))), None)

    def _connect_own(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        """Connect to a listener of the program's that has another port than it asked for."""
        if call.watched:
            call.here(call.args[1], pack(peer, sock.family))
        number = begin(sock, peer)
        if number == errno.EINPROGRESS and is_blocking(sock):
            # the kernel waits for what has begun, whatever address is named
            return CONTINUE
        return Fail(number) if number else Return(0)

    def _is_own_datagram_socket(self, peer: Peer) -> bool:
        return is_own_datagram_socket(self._world, peer)

    def getsockopt(self, call: Call) -> Verdict:
        """Report the errno of a connect that failed in the pod, once (SO_ERROR, socket(7))."""
        if not self._connections:
            return CONTINUE
        with program_socket(call, call.args[0]) as sock:
            connection = self._connections.get(cookie(sock)) if sock.family in _NETWORKS else None
            if connection is None or connection.state is not State.FAILED or not connection.error:
                return CONTINUE
            value, length = address_writes(
                call, _INT.pack(connection.error), at=call.args[3], length_at=call.args[4]
            )
            self._connections.take_error(connection, sock)
        return Return(0, (value, (length[0], _INT.pack(len(value[1])))))


def _can_reach(sock: socket.socket, peer: Peer) -> bool:
    """Tell whether a socket may speak to such an address; if not, the kernel says so itself."""
    if sock.family == socket.AF_INET:
        return peer.family == socket.AF_INET
    if sock.family != socket.AF_INET6:
        return False
    return peer.family == socket.AF_INET6 or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def begin_datagrams(sock: socket.socket, relay: Peer) -> int:
    """Connect a datagram socket, which never waits; return the errno."""
    return sock.connect_ex(to_name(relay, sock.family))


def is_here(peer: Peer) -> bool:
    """Tell whether an address is one of this machine's."""
    if peer.is_loopback or peer.is_unspecified:
        return True
    with socket.socket(peer.family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((peer.host, 0))
        except OSError:
            return False
    return True


def is_own_datagram_socket(world: World, peer: Peer) -> bool:
    """Tell whether the program itself has a datagram socket there."""
    own = world.own_datagram_sockets
    return bool(own) and is_here(peer) and bool(own & udp_inodes(port=peer.port))
