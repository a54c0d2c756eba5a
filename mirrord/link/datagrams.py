"""The program's outgoing datagrams: one relay socket on the loopback for each remote peer of each of its sockets.

The program's datagrams go to the relay's token address, so that a connected socket, its ``send`` and its ``recv`` need no trap; the relay is
connected to the program's socket, so that nobody else can speak to either. At the agent one socket stands for the program's
socket, with one local port for all peers. A relay lives until the program's socket is gone from ``/proc/net/udp``.
"""

import asyncio
import itertools
import os
import socket
import struct
from typing import Final

from mirrord_agent.wire.channel import Channel, ChannelClosed, RequestFailed, Stream
from mirrord_agent.wire.messages import Address, Opened, OpenUdp

from mirrord.link.addresses import Peer, from_name, to_name
from mirrord.link.connections import Cookie
from mirrord.link.inodes import udp_inodes

_TICK: Final = 2.0
_MOST: Final = 65_535
_BATCH: Final = 64
_PORT: Final = struct.Struct("!H")
_tokens: Final = itertools.count(os.getpid())


class Association:
    """One socket of the program and its relays."""

    __slots__ = ("by_relay", "connected", "cookie", "family", "inode", "local", "program", "relays", "stream")

    def __init__(self, *, cookie: Cookie, inode: int, family: int, program: Peer) -> None:
        self.cookie: Final = cookie
        self.inode: Final = inode
        self.family: Final = family
        self.program: Final = program
        """The local address of the program's socket as a relay reaches it."""
        self.relays: Final[dict[Peer, socket.socket]] = {}
        self.by_relay: Final[dict[Peer, Peer]] = {}
        """The remote peer by the address of its relay."""
        self.connected: Peer | None = None
        self.local: Peer | None = None
        """The address that the socket has in the pod, once it is known."""
        self.stream: Stream | None = None

    def close(self) -> None:
        """Close the relays."""
        for relay in self.relays.values():
            relay.close()


class Datagrams:
    """The program's datagram sockets that have a remote peer, by cookie; read by the gate's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
        self._loop: Final = loop
        self._channel: Final = channel
        self._by_cookie: Final[dict[Cookie, Association]] = {}
        self._opening: Final[set[asyncio.Task[None]]] = set()
        self._watch: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._by_cookie)

    def get(self, cookie: Cookie) -> Association | None:
        """Return what is known of a socket; from any thread."""
        return self._by_cookie.get(cookie)

    def relay(self, program_socket: socket.socket, cookie: Cookie, peer: Peer) -> Peer:
        """Return the address that stands for ``peer`` on this machine; from the gate's thread only."""
        association = self._by_cookie.get(cookie)
        if association is None:
            association = _associate(program_socket, cookie)
            self._by_cookie[cookie] = association
        relay = association.relays.get(peer)
        if relay is None:
            relay = _relay_socket(program_socket, association.program)
            association.relays[peer] = relay
            association.by_relay[from_name(relay.getsockname())] = peer
            self._loop.call_soon_threadsafe(self._serve, association, peer, relay)
        return from_name(relay.getsockname())

    def _serve(self, association: Association, peer: Peer, relay: socket.socket) -> None:
        if association.stream is None:
            association.stream = self._channel.open_datagram_stream()
            association.stream.bind(
                on_data=lambda data: self._to_program(association, data),
                on_fin=lambda: None,
                on_reset=lambda: self._drop(association),
                on_writable=lambda: None,
            )
            task = self._loop.create_task(self._open(association, association.stream))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        header = _header(peer)
        self._loop.add_reader(relay, self._to_agent, association, association.stream, header, relay)
        if self._watch is None:
            self._watch = self._loop.call_later(_TICK, self._collect)

    async def _open(self, association: Association, stream: Stream) -> None:
        peer = association.connected
        family = (peer or next(iter(association.relays))).family
        try:
            opened = await self._channel.request(
                OpenUdp(
                    stream=stream.id,
                    family=6 if family == socket.AF_INET6 else 4,
                    peer=Address(host=peer.host, port=peer.port) if peer else None,
                ),
                Opened,
            )
        except (RequestFailed, ChannelClosed):
            self._drop(association)
        else:
            association.local = Peer(opened.local.host, opened.local.port)

    def _to_agent(self, association: Association, stream: Stream, header: bytes, relay: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data = relay.recv(_MOST)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:
                # the program's socket is closed: an answer met ICMP "port unreachable"
                self._drop(association)
                return
            stream.write(header + data)

    def _to_program(self, association: Association, data: bytes | memoryview) -> None:
        peer, payload = _split(bytes(data))
        relay = association.relays.get(peer)
        if relay is None:
            # a datagram from someone whom the program has not written to: it has no relay to come from yet
            return
        try:
            relay.send(payload)
        except (BlockingIOError, ConnectionRefusedError):
            # as on any network: what the receiver has no room for is lost, and nobody listens any more
            return

    def _drop(self, association: Association) -> None:
        if self._by_cookie.get(association.cookie) is association:
            del self._by_cookie[association.cookie]
        for relay in association.relays.values():
            if relay.fileno() >= 0:
                self._loop.remove_reader(relay)
        association.close()
        if association.stream is not None:
            association.stream.reset()

    def _collect(self) -> None:
        """Drop what belongs to sockets that the program has closed."""
        self._watch = None
        alive = udp_inodes()
        for association in list(self._by_cookie.values()):
            if association.inode not in alive:
                self._drop(association)
        if self._by_cookie:
            self._watch = self._loop.call_later(_TICK, self._collect)


def _associate(program_socket: socket.socket, cookie: Cookie) -> Association:
    """Give the program's socket a port, as its first datagram would (udp(7)), and see where it can be reached."""
    if program_socket.getsockname()[1] == 0:
        program_socket.bind(("0.0.0.0" if program_socket.family == socket.AF_INET else "::", 0))
    bound = from_name(program_socket.getsockname())
    return Association(
        cookie=cookie,
        inode=os.fstat(program_socket.fileno()).st_ino,
        family=program_socket.family,
        program=bound,
    )


def _relay_socket(program_socket: socket.socket, program: Peer) -> socket.socket:
    from mirrord.link.loopback import is_ipv6_only

    ipv6 = is_ipv6_only(program_socket)
    relay = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    relay.setblocking(False)
    relay.bind(("::1", 0) if ipv6 else (_token(), 0))
    host = ("::1" if ipv6 else "127.0.0.1") if program.is_unspecified else program.host
    relay.connect((host, program.port))
    return relay


def _token() -> str:
    number = next(_tokens) % 2**22
    return f"127.{128 + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}"


def _header(peer: Peer) -> bytes:
    return bytes([6 if peer.family == socket.AF_INET6 else 4]) + socket.inet_pton(peer.family, peer.host) + _PORT.pack(peer.port)


def _split(frame: bytes) -> tuple[Peer, bytes]:
    family, length = (socket.AF_INET6, 16) if frame[0] == 6 else (socket.AF_INET, 4)
    host = socket.inet_ntop(family, frame[1 : 1 + length])
    (port,) = _PORT.unpack_from(frame, 1 + length)
    return Peer(host, port), frame[3 + length :]


def relay_name(relay: Peer, family: int) -> tuple[str, int]:
    """Return the relay's address as a socket of that family wants it."""
    return to_name(relay, family)
