"""The program's outgoing datagrams: one relay socket on the loopback for each remote peer of each of its
sockets.

The program's datagrams go to the relay's token address, so that a connected socket, its ``send`` and its
``recv`` need no trap; the relay is connected to the program's socket, so that nobody else can speak to
either. At the agent one socket stands for the program's socket, with one local port for all peers. A relay
lives until the program's socket is gone from ``/proc/net/udp``.

An ICMP error of the pod's network is shown by one of this machine's: the relay turns away from the program's
socket for a moment, in which a datagram sent from that socket meets "port unreachable". All else that ICMP
tells is hidden from a socket natively, too, unless it asks for its error queue (udp(7)).
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final

from mirrord_agent.wire.channel import Channel, ChannelClosed, Data, RequestFailed, Stream
from mirrord_agent.wire.datagram import pack_header, split
from mirrord_agent.wire.messages import DatagramError, Opened, OpenUdp

from mirrord.link.addresses import DNS_PORT, Peer, from_name
from mirrord.link.associations import Association, associate
from mirrord.link.connections import Cookie
from mirrord.link.inodes import udp_inodes
from mirrord.link.lead import Lead
from mirrord.link.located import FindSocket
from mirrord.link.resolver import LocalResolver

_TICK: Final = 2.0
_MOST: Final = 65_535
_MOST_RELAYS: Final = 256
"""With so many, only those that the program has written to are heard: each takes a descriptor."""
_BATCH: Final = 64


class Datagrams:
    """The program's datagram sockets that have a remote peer, by cookie; read by the gate's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lead: Lead,
        find_socket: FindSocket,
        *,
        learn: Callable[[bytes], None] | None,
        resolver: LocalResolver | None,
        substitutes: Mapping[Peer, Peer] | None = None,
    ) -> None:
        """Where the session has rules about names, ``learn`` is shown every DNS answer and ``resolver`` every
        question. ``substitutes`` are other peers that take the place of some.
        """
        self._substitutes: Final = substitutes or {}
        self._resolver: Final = resolver
        self._learn: Final = learn
        self._loop: Final = loop
        self._lead: Final = lead
        self._find: Final = find_socket
        self._by_cookie: Final[dict[Cookie, Association]] = {}
        self._by_stream: Final[dict[int, Association]] = {}
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self.watch_dns: Callable[[bytes], None] | None = None
        """Is shown every question and answer, while somebody watches."""
        self.tap: Callable[[Association, Peer, Data, bool], None] | None = None
        """Is shown every datagram and its peer, and whether it is sent, while somebody watches."""
        lead.on_event(DatagramError, self._told)
        lead.on_moved(self._moved)

    def __bool__(self) -> bool:
        return bool(self._by_cookie)

    def get(self, cookie: Cookie) -> Association | None:
        """Return what is known of a socket; from any thread."""
        return self._by_cookie.get(cookie)

    def associate(self, program_socket: socket.socket, cookie: Cookie, *, tid: int, fd: int) -> Association:
        """Return what stands for a socket that ``tid`` has at ``fd``; from the gate's thread only."""
        association = self._by_cookie.get(cookie)
        if association is None:
            association = self._by_cookie[cookie] = associate(program_socket, cookie, tid=tid, fd=fd)
        return association

    def relay(self, association: Association, peer: Peer) -> Peer:
        """Return the address that stands for ``peer`` on this machine; from the gate's thread only."""
        relay, new = association.relay(peer)
        if new:
            self._loop.call_soon_threadsafe(self._serve, association, peer, relay)
        return from_name(relay.getsockname())

    def look(self) -> Iterator[tuple[Association, Peer, tuple[int, int]]]:
        """Return each socket that the program has, with a peer of it, and the bytes to and from all peers; on
        the loop.
        """
        self._drop_closed()
        for association in list(self._by_cookie.values()):
            streams = list(association.streams.values())
            sent = sum(stream.bytes_sent for stream in streams)
            received = sum(stream.bytes_received for stream in streams)
            for peer in list(association.relays):
                yield association, peer, (sent, received)

    def forget(self, association: Association) -> None:
        """Drop what is known of a socket, which may have another address from now on; from any thread."""
        if self._by_cookie.get(association.cookie) is association:
            del self._by_cookie[association.cookie]
        self._loop.call_soon_threadsafe(self._drop, association)

    def _serve(self, association: Association, peer: Peer, relay: socket.socket) -> None:
        self._loop.add_reader(relay, self._to_agent, association, peer, relay)
        if self._watch is None:
            self._watch = self._loop.call_later(_TICK, self._collect)

    def _stream(self, association: Association, family: int) -> Stream:
        channel = self._lead.channel
        stream = channel.open_datagram_stream()
        association.streams[family] = stream
        self._by_stream[stream.id] = association
        stream.bind(
            on_data=lambda data: self._to_program(association, data),
            on_fin=lambda: None,
            on_reset=lambda: self._ended(association),
            on_writable=lambda: None,
        )
        self._begin(self._open(association, channel, stream, family))
        return stream

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, association: Association, channel: Channel, stream: Stream, family: int) -> None:
        # not connected there either: the program may connect its socket to another peer at any time
        request = OpenUdp(stream=stream.id, family=6 if family == socket.AF_INET6 else 4, peer=None)
        try:
            opened = await channel.request(request, Opened)
        except RequestFailed:
            self._drop(association)
        except ChannelClosed:
            # which the stream has been told, too
            return
        else:
            if association.streams.get(family) is stream:
                association.ports[family] = opened.local.port

    def _to_agent(self, association: Association, peer: Peer, relay: socket.socket) -> None:
        if self._lead.awaited:
            # what the program sends waits in the relay's socket
            self._loop.remove_reader(relay)
            self._begin(self._serve_later(association, peer, relay))
            return
        there = self._substitutes.get(peer, peer)
        if there is not peer:
            association.substituted[there] = peer
        header = pack_header(there.host, there.port)
        for _ in range(_BATCH):
            try:
                data = relay.recv(_MOST)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:
                # the program's socket is closed: an answer met ICMP "port unreachable"
                self._drop(association)
                return
            if peer.port == DNS_PORT and self.watch_dns is not None:
                self.watch_dns(data)
            if not self._is_answered_here(peer, relay, data):
                # opened by the first datagram: getaddrinfo(3) connects a socket to each address and sends
                # nothing
                stream = association.streams.get(there.family) or self._stream(association, there.family)
                stream.write(header + data)
                if self.tap is not None:
                    self.tap(association, there, data, True)

    def _is_answered_here(self, peer: Peer, relay: socket.socket, data: bytes) -> bool:
        if peer.port != DNS_PORT or self._resolver is None:
            return False
        return self._resolver.takes(data, lambda answer: _deliver(relay, answer))

    def _to_program(self, association: Association, data: Data) -> None:
        host, port, payload = split(data)
        there = Peer(host, port)
        if self.tap is not None:
            self.tap(association, there, payload, False)
        peer = association.substituted.get(there, there)
        if port == DNS_PORT:
            self._answered(bytes(payload))
        if association.connected not in (None, peer):
            # the kernel would not give it to a connected socket
            return
        if peer not in association.relays and len(association.relays) >= _MOST_RELAYS:
            return
        relay, new = association.relay(peer)
        if new:
            # someone whom the program has not written to answers it
            self._serve(association, peer, relay)
        _deliver(relay, payload)

    def _answered(self, answer: bytes) -> None:
        if self._learn is not None:
            self._learn(answer)
        if self.watch_dns is not None:
            self.watch_dns(answer)

    def _told(self, event: DatagramError) -> None:
        match event:
            case DatagramError(stream=stream, errno=errno.ECONNREFUSED, peer=address) if address is not None:
                peer = Peer(address.host, address.port)
                association = self._by_stream.get(stream)
                if association is not None and association.connected == peer:
                    self._refuse(association, peer)

    def _refuse(self, association: Association, peer: Peer) -> None:
        """Have the program's socket meet "port unreachable" where it sends to the peer."""
        relay = association.relays[peer]
        program_socket = self._find(association)
        if program_socket is None:
            return
        with program_socket:
            program = relay.getpeername()
            relay.connect(relay.getsockname())
            try:
                program_socket.send(b"", socket.MSG_DONTWAIT)
            except OSError as error:
                # it has an error already, or has been connected to another peer or none meanwhile
                if error.errno not in (errno.ECONNREFUSED, errno.EDESTADDRREQ, errno.EAGAIN):
                    raise
            finally:
                relay.connect(program)

    async def _serve_later(self, association: Association, peer: Peer, relay: socket.socket) -> None:
        await self._lead.ready()
        if relay.fileno() >= 0:
            self._serve(association, peer, relay)

    def _moved(self) -> None:
        """Have every socket stood for in the pod that leads now, from its next datagram on."""
        for association in self._by_cookie.values():
            self._release(association)

    def _ended(self, association: Association) -> None:
        """Take the end of what stands for a socket in the target; with its pod goes nothing else."""
        if self._lead.awaited:
            self._release(association)
        else:
            self._drop(association)

    def _release(self, association: Association) -> None:
        for stream in association.streams.values():
            self._by_stream.pop(stream.id, None)
            stream.reset()
        association.streams.clear()
        association.ports.clear()

    def _drop(self, association: Association) -> None:
        if self._by_cookie.get(association.cookie) is association:
            del self._by_cookie[association.cookie]
        for relay in association.relays.values():
            if relay.fileno() >= 0:
                self._loop.remove_reader(relay)
        association.close()
        self._release(association)

    def _collect(self) -> None:
        """Drop what belongs to sockets that the program has closed."""
        # whatever comes of this look, there is another one
        self._watch = self._loop.call_later(_TICK, self._collect) if self._by_cookie else None
        self._drop_closed()

    def _drop_closed(self) -> None:
        # in this order: the gate's thread may make one meanwhile
        known = list(self._by_cookie.values())
        alive = udp_inodes()
        for association in known:
            if association.inode not in alive:
                self._drop(association)


def _deliver(relay: socket.socket, payload: Data) -> None:
    try:
        relay.send(payload)
    except (BlockingIOError, ConnectionRefusedError):
        # as on any network: what the receiver has no room for is lost, and so is what nobody listens to
        return
    except OSError as error:
        # the program's socket went meanwhile, and this relay with it
        if error.errno != errno.EBADF:
            raise
