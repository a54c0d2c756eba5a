"""The outgoing plane, unix sockets: those of the target by rule, and the local name daemons that would bypass
its DNS.
"""

import errno
import socket
import struct
from functools import partial
from typing import Final

from mirrord.dispatch.sockets import cookie, program_socket
from mirrord.dispatch.world import World
from mirrord.link.connections import Cookie
from mirrord.syscall import CONTINUE, Call, Fail, Return, Verdict, Wait

_NAME_DAEMONS: Final = frozenset(
    {
        b"/run/nscd/socket",
        b"/var/run/nscd/socket",
        b"/run/systemd/resolve/io.systemd.Resolve",
        b"/run/avahi-daemon/socket",
        b"/var/run/avahi-daemon/socket",
    }
)
"""nscd(8), systemd-resolved's varlink socket for nss-resolve(8), and Avahi's for nss-mdns."""
_FAMILY: Final = struct.Struct("=H")


class Unix:
    """Decides ``connect`` for unix sockets."""

    def __init__(self, world: World) -> None:
        self._world: Final = world

    def connect(self, call: Call, sockaddr: bytes) -> Verdict:
        """Refuse a name daemon, so that libc falls back to DNS; make a remote path's connection in the target
        (unix(7)).
        """
        path = _path(sockaddr)
        if path in _NAME_DAEMONS and self._world.dns.enabled:
            return Fail(errno.ECONNREFUSED)
        if not path or not self._world.outgoing.decide_unix(path):
            return CONTINUE
        call.require_files()
        sock = program_socket(call, call.args[0])
        if sock.type not in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            sock.close()
            return CONTINUE
        return Wait(partial(self._connect, sock, cookie(sock), path))

    async def _connect(self, sock: socket.socket, cookie_: Cookie, path: bytes) -> Verdict:
        with sock:
            await self._world.unix.connect(sock, cookie_, path)
        return Return(0)

    def reported(self, sock: socket.socket, *, local: bool) -> bytes | None:
        """Return the remote path as ``getpeername`` reports it."""
        if local or not self._world.unix or sock.family != socket.AF_UNIX:
            return None
        path = self._world.unix.path(cookie(sock))
        return (
            None
            if path is None
            else _FAMILY.pack(socket.AF_UNIX) + path + b"\0" * (not path.startswith(b"\0"))
        )


def _path(sockaddr: bytes) -> bytes:
    """Return a path without its NUL, or an abstract name with its leading one."""
    name = sockaddr[_FAMILY.size :]
    return name if name.startswith(b"\0") else name.partition(b"\0")[0]
