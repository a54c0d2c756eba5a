"""What a program is told of its sockets' two ends: the addresses that they have in the pod."""

import socket
from typing import Final

from mirrord.dispatch.row import Row, trap
from mirrord.dispatch.sockets import address_writes, cookie, program_socket
from mirrord.dispatch.unix import Unix
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer, can_pack, from_name, pack
from mirrord.link.connections import State
from mirrord.syscall import CONTINUE, Call, Return, Verdict

_NETWORKS: Final = (socket.AF_INET, socket.AF_INET6)


class Endpoints:
    """Questions for addresses."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._connections: Final = world.connections
        self._unix: Final = Unix(world)

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [trap("getsockname", self.getsockname), trap("getpeername", self.getpeername)]

    def getsockname(self, call: Call) -> Verdict:
        """Report the address in the pod, or the one that a listener asked for (getsockname(2))."""
        return self._report(call, local=True)

    def getpeername(self, call: Call) -> Verdict:
        """Report the remote address (getpeername(2))."""
        return self._report(call, local=False)

    def _report(self, call: Call, *, local: bool) -> Verdict:
        world = self._world
        if not (
            world.connections or world.datagrams or world.unix or world.incoming or (local and world.bound)
        ):
            return CONTINUE
        with program_socket(call, call.args[0]) as sock:
            sockaddr = self._unix.reported(sock, local=local) or self._reported(sock, local=local)
            here = _name_here(sock, local=local) if call.watched else None
        if sockaddr is None:
            return CONTINUE
        if call.watched and here is not None:
            call.here(call.args[1], here)
        return Return(0, address_writes(call, sockaddr, at=call.args[1], length_at=call.args[2]))

    def _reported(self, sock: socket.socket, *, local: bool) -> bytes | None:
        if sock.family not in _NETWORKS:
            return None
        if sock.type == socket.SOCK_STREAM:
            peer = self._stream_name(sock, local=local) or self._accepted_name(sock, local=local)
            peer = peer or (self._world.bound.requested(cookie(sock)) if local else None)
        else:
            peer = self._datagram_name(sock, local=local)
        return pack(peer, sock.family) if peer and can_pack(peer, sock.family) else None

    def _stream_name(self, sock: socket.socket, *, local: bool) -> Peer | None:
        connection = self._connections.get(cookie(sock))
        if connection is None:
            return None
        if connection.state is State.ESTABLISHED:
            return connection.local if local else connection.remote
        if connection.state is State.PENDING and local:
            return self._world.pod_address(connection.remote, connection.program.port)
        return None

    def _accepted_name(self, sock: socket.socket, *, local: bool) -> Peer | None:
        """Return a name of a connection that came from the pod; its peer on this machine tells which."""
        if not self._world.incoming:
            return None
        try:
            names = self._world.incoming.names(from_name(sock.getpeername()))
        except OSError:
            # not connected
            return None
        return (names.local if local else names.remote) if names else None

    def _datagram_name(self, sock: socket.socket, *, local: bool) -> Peer | None:
        association = self._world.datagrams.get(cookie(sock))
        if association is None or association.connected is None:
            return None
        if not local:
            return association.connected
        port = association.ports.get(association.connected.family, association.program.port)
        return self._world.pod_address(association.connected, port)


def _name_here(sock: socket.socket, *, local: bool) -> bytes | None:
    """Return what the kernel would report, None where it would not."""
    if sock.family not in _NETWORKS:
        return None
    try:
        return pack(from_name(sock.getsockname() if local else sock.getpeername()), sock.family)
    except OSError:
        return None
