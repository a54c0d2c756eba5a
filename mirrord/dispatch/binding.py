"""The incoming plane, ``bind``: a listener gets the port that it asks for, or another in its place.

The program's listener is a real one on this machine, where ports are privileged, or in use by others, that
are not so in the pod. Only the session's own sockets stand in each other's way as they would there.
"""

import asyncio
import errno
import os
import socket
from functools import partial
from typing import Final

from mirrord.dispatch.bound import Bound
from mirrord.dispatch.sockets import cookie, descriptor, is_tcp, program_socket, read_sockaddr
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer, from_name, pack, parse
from mirrord.link.listeners import bind, with_port
from mirrord.syscall import CONTINUE, SUCCESS, Call, Fail, Verdict, Wait

_REPLACED: Final = frozenset({errno.EACCES, errno.EADDRINUSE, errno.EADDRNOTAVAIL})
_NET_BIND_SERVICE: Final = 10
"""CAP_NET_BIND_SERVICE (include/uapi/linux/capability.h)."""
_RELEASE: Final = 1.0
"""Seconds in which a listener must be gone that only a held ``accept`` of a killed thread keeps."""
_TICK: Final = 0.005


class Binding:
    """Where the program's sockets are bound."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._rules: Final = world.incoming_rules
        self._bound: Final = world.bound

    def bind(self, call: Call) -> Verdict:
        """Bind a listener to the port that it asks for, or to another in its place (bind(2))."""
        sockaddr = read_sockaddr(call, call.args[1], call.args[2])
        peer = parse(sockaddr)
        if peer is None or not peer.port:
            return CONTINUE
        with program_socket(call, call.args[0]) as sock:
            if sock.type == socket.SOCK_DGRAM:
                self._world.own_datagram_sockets.add(os.fstat(sock.fileno()).st_ino)
                return CONTINUE
            if not (is_tcp(sock) and self._is_for_target(peer) and _same_family(sock, sockaddr)):
                return CONTINUE
            call.require_network()
            return self._bind(call, sock, sockaddr, peer)

    def _is_for_target(self, peer: Peer) -> bool:
        return self._rules.remote_port(peer.port, is_loopback=peer.is_loopback) is not None

    def _bind(self, call: Call, sock: socket.socket, sockaddr: bytes, peer: Peer) -> Verdict:
        wanted = self._rules.local_port(peer.port)
        number = self._try(call, sock, with_port(sockaddr, wanted), peer)
        if not number:
            return self._keep(call, sock, peer, why="")
        if wanted != peer.port or number not in _REPLACED:
            return Fail(number)
        if number == errno.EADDRNOTAVAIL:
            return self._bind_for_pod(call, sock, peer)
        if number == errno.EADDRINUSE and (verdict := self._in_use(call, sock, sockaddr, peer)):
            return verdict
        return self._replace(call, sock, sockaddr, peer, why=os.strerror(number))

    def _try(self, call: Call, sock: socket.socket, sockaddr: bytes, peer: Peer) -> int:
        """Bind with no more rights than the thread has, which root's session may have; return the errno."""
        if not _is_privileged(int.from_bytes(sockaddr[2:4], "big")) or call.has_capability(_NET_BIND_SERVICE):
            return bind(sock, sockaddr)
        # in the order of inet_bind(): the address comes first
        return errno.EADDRNOTAVAIL if peer.host in self._world.addresses.values() else errno.EACCES

    def _bind_for_pod(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        """Bind to the loopback what is to be bound to the pod's own address, which this machine has not."""
        if peer.host not in self._world.addresses.values():
            return Fail(errno.EADDRNOTAVAIL)
        host = "::1" if peer.family == socket.AF_INET6 else "127.0.0.1"
        here = Peer(host, peer.port)
        sockaddr = pack(here, sock.family)
        number = self._try(call, sock, sockaddr, here)
        if not number:
            return self._keep(call, sock, peer, why="", differs=True)
        if number == errno.EADDRINUSE and (verdict := self._in_use(call, sock, sockaddr, peer)):
            return verdict
        return self._replace(call, sock, sockaddr, peer, why=os.strerror(number))

    def _replace(self, call: Call, sock: socket.socket, sockaddr: bytes, peer: Peer, *, why: str) -> Verdict:
        if number := bind(sock, with_port(sockaddr, 0)):
            return Fail(number)
        return self._keep(call, sock, peer, why=why.lower())

    def _in_use(self, call: Call, sock: socket.socket, sockaddr: bytes, peer: Peer) -> Verdict | None:
        """Decide for an address in use: None if it is another program's, which does not count in the pod."""
        others = False
        for bound, other in self._bound.asked_for(peer.port):
            others = True
            if _share(sock, other) and not bind(sock, with_port(sockaddr, bound.port)):
                return self._keep(call, sock, peer, why=bound.why)
        if others:
            return Fail(errno.EADDRINUSE)
        if self._world.held_listeners.holds(peer.port):
            return Wait(partial(self._once_released, call, sock.dup(), sockaddr, peer))
        # one that was ours may have been closed in between
        return None if bind(sock, sockaddr) else self._keep(call, sock, peer, why="")

    async def _once_released(self, call: Call, sock: socket.socket, sockaddr: bytes, peer: Peer) -> Verdict:
        with sock:
            deadline = asyncio.get_running_loop().time() + _RELEASE
            while self._world.held_listeners.holds(peer.port):
                if asyncio.get_running_loop().time() > deadline:
                    return Fail(errno.EADDRINUSE)
                await asyncio.sleep(_TICK)
            return self._bind(call, sock, sockaddr, peer)

    def _keep(
        self, call: Call, sock: socket.socket, peer: Peer, *, why: str, differs: bool = False
    ) -> Verdict:
        name = sock.getsockname()
        port = name[1]
        if call.watched and (differs or port != peer.port):
            call.here(call.args[1], pack(from_name(name), sock.family))
        bound = Bound(
            requested=peer,
            port=port,
            why=why,
            inode=os.fstat(sock.fileno()).st_ino,
            tid=call.tid,
            fd=descriptor(call.args[0]),
        )
        self._bound.add(cookie(sock), bound, differs=differs or port != peer.port)
        return SUCCESS


def _is_privileged(port: int) -> bool:
    """Tell whether a port takes a right that we have (ip_unprivileged_port_start, ip(7))."""
    if os.geteuid() != 0:
        # what the kernel refuses us, it refuses
        return False
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as first:
        return 0 < port < int(first.read())


def _same_family(sock: socket.socket, sockaddr: bytes) -> bool:
    """Tell whether the address is of the socket's own kind; otherwise the kernel says so itself."""
    return int.from_bytes(sockaddr[:2], "little") == sock.family


def _share(sock: socket.socket, other: socket.socket) -> bool:
    return all(
        one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) and one.family == sock.family
        for one in (sock, other)
    )
