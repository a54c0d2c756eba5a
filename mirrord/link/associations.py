"""A socket of the program that sends datagrams, and the relays that stand for its remote peers."""

import itertools
import os
import socket
from typing import Final

from mirrord_agent.wire.channel import Stream

from mirrord.link.addresses import Peer, from_name
from mirrord.link.connections import Cookie
from mirrord.link.loopback import is_ipv6_only

_tokens: Final = itertools.count(os.getpid())


class Association:
    """One socket of the program and its relays."""

    __slots__ = (
        "__weakref__",
        "by_relay",
        "connected",
        "cookie",
        "fd",
        "inode",
        "ipv6_only",
        "ports",
        "program",
        "relays",
        "streams",
        "substituted",
        "tid",
    )

    def __init__(
        self, *, cookie: Cookie, inode: int, ipv6_only: bool, program: Peer, tid: int, fd: int
    ) -> None:
        self.cookie: Final = cookie
        self.inode: Final = inode
        self.ipv6_only: Final = ipv6_only
        self.tid: Final = tid
        self.fd: Final = fd
        self.program: Final = program
        """The local address of the program's socket as a relay reaches it."""
        self.relays: Final[dict[Peer, socket.socket]] = {}
        self.by_relay: Final[dict[Peer, Peer]] = {}
        """The remote peer by the address of its relay."""
        self.connected: Peer | None = None
        """The peer that the program has connected the socket to."""
        self.streams: Final[dict[int, Stream]] = {}
        """The agent's socket of each address family: a socket of the program may speak both."""
        self.substituted: Final[dict[Peer, Peer]] = {}
        """The peer that the program wrote to, by the one that took its place."""
        self.ports: Final[dict[int, int]] = {}
        """The port of the agent's socket of each family, once it is known."""

    def relay(self, peer: Peer) -> tuple[socket.socket, bool]:
        """Return the relay that stands for a peer, and whether it is a new one."""
        known = self.relays.get(peer)
        if known is not None:
            return known, False
        relay = _relay_socket(self)
        self.by_relay[from_name(relay.getsockname())] = peer
        self.relays[peer] = relay
        return relay, True

    def close(self) -> None:
        """Close the relays."""
        for relay in self.relays.values():
            relay.close()


def associate(program_socket: socket.socket, cookie: Cookie, *, tid: int, fd: int) -> Association:
    """Give the program's socket a port, as its first datagram would (udp(7)), and see where it can be
    reached.
    """
    if program_socket.getsockname()[1] == 0:
        program_socket.bind(("0.0.0.0" if program_socket.family == socket.AF_INET else "::", 0))
    bound = from_name(program_socket.getsockname())
    return Association(
        cookie=cookie,
        inode=os.fstat(program_socket.fileno()).st_ino,
        ipv6_only=is_ipv6_only(program_socket),
        program=bound,
        tid=tid,
        fd=fd,
    )


def _relay_socket(association: Association) -> socket.socket:
    ipv6, program = association.ipv6_only, association.program
    relay = socket.socket(
        socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    )
    relay.setblocking(False)
    relay.bind(("::1", 0) if ipv6 else (_token(), 0))
    host = ("::1" if ipv6 else "127.0.0.1") if program.is_unspecified else program.host
    relay.connect((host, program.port))
    return relay


def _token() -> str:
    number = next(_tokens) % 2**22
    return f"127.{128 + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}"
