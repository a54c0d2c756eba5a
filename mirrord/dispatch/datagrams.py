"""The outgoing plane, datagrams: sending to a remote peer, and receiving with the sender's address.

What a connected socket sends and receives without naming an address is never looked at. ``sendmsg`` and
``recvmsg`` hide their address behind a pointer, so they are trapped always, and continued at once without
one.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from mirrord.dispatch.message import Message, Writes, pack_control
from mirrord.dispatch.outgoing import Outgoing, is_own_datagram_socket
from mirrord.dispatch.row import Row, given, trap
from mirrord.dispatch.sockets import (
    address_writes,
    cookie,
    is_blocking,
    program_socket,
    read_peer,
    receive_timeout,
)
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer, from_name, pack, to_name
from mirrord.link.datagrams import Association
from mirrord.syscall import CONTINUE, Call, Fail, Return, Verdict, Wait

_MSG_FASTOPEN: Final = 0x20000000
_MOST: Final = 65_535
_LARGEST_PAYLOAD: Final = 65_507
_MSG_ERRQUEUE: Final = 0x2000


class Received:
    """One datagram, and from whom it really is."""

    __slots__ = ("control", "data", "flags", "sockaddr")

    def __init__(self, sock: socket.socket, association: Association, flags: int, control_size: int) -> None:
        wanted = flags & (socket.MSG_PEEK | socket.MSG_OOB) | socket.MSG_DONTWAIT
        data, control, flags, name = sock.recvmsg(_MOST, control_size, wanted)
        sender = from_name(name)
        self.data: Final = data
        self.control: Final = pack_control(control)
        self.flags: Final = flags
        self.sockaddr: Final = pack(association.by_relay.get(sender, sender), sock.family)


class Datagrams:
    """Datagrams that the pod sends and receives."""

    def __init__(self, world: World, streams: Outgoing) -> None:
        self._world: Final = world
        self._streams: Final = streams

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [
            trap("sendto", self.sendto, given(4)),
            trap("sendmsg", self.sendmsg),
            trap("sendmmsg", self.sendmmsg),
            trap("recvfrom", self.recvfrom, given(4)),
            trap("recvmsg", self.recvmsg),
            trap("recvmmsg", self.recvmmsg),
        ]

    def sendto(self, call: Call) -> Verdict:
        """Send to the relay that stands for the address (sendto(2))."""
        peer = read_peer(call, call.args[4], call.args[5])
        if peer is None or not self._may_be_remote(peer):
            return CONTINUE
        call.require_network()
        with program_socket(call, call.args[0]) as sock:
            if sock.type == socket.SOCK_STREAM:
                return self._fast_open(call, sock, peer)
            relay = self._relay(sock, peer)
            if relay is None or call.args[2] > _LARGEST_PAYLOAD:
                return CONTINUE
            data = call.read(call.args[1], call.args[2]) if call.args[2] else b""
            return Return(_send(sock, data, call.args[3], relay))

    def sendmsg(self, call: Call) -> Verdict:
        """Send one message to the relay that stands for its address (sendmsg(2))."""
        message = Message.read(call, call.args[1])
        if not message.name or not self._may_send(call, message):
            return CONTINUE
        with program_socket(call, call.args[0]) as sock:
            return (
                CONTINUE
                if (sent := self._send_message(call, sock, message, call.args[2])) < 0
                else Return(sent)
            )

    def sendmmsg(self, call: Call) -> Verdict:
        """Send several messages (sendmmsg(2)); a failure after the first is not reported, as the kernel does
        not.
        """
        messages = Message.read_many(call, call.args[1], call.args[2])
        if not any(message.name and self._may_send(call, message) for message in messages):
            return CONTINUE
        writes: list[tuple[int, bytes]] = []
        with program_socket(call, call.args[0]) as sock:
            for message in messages:
                try:
                    sent = self._send_message(call, sock, message, call.args[3])
                except OSError:
                    if not writes:
                        raise
                    break
                if sent < 0:
                    return CONTINUE if not writes else Return(len(writes), tuple(writes))
                writes.append(message.length_write(sent))
        return Return(len(writes), tuple(writes))

    def _may_be_remote(self, peer: Peer) -> bool:
        return self._world.is_remote_datagram(peer) or self._world.is_remote_stream(peer)

    def _may_send(self, call: Call, message: Message) -> bool:
        peer = read_peer(call, message.name, message.name_size)
        if peer is None or not self._may_be_remote(peer):
            return False
        call.require_network()
        return True

    def _send_message(self, call: Call, sock: socket.socket, message: Message, flags: int) -> int:
        """Return the bytes sent, -1 where the call is the kernel's to run.

        Control messages are left out: what they could choose, a source address or a device, is not of this
        machine.
        """
        if sock.type != socket.SOCK_DGRAM:
            return -1
        data = message.gather(call)
        if not message.name:
            return sock.send(data, flags | socket.MSG_DONTWAIT)
        peer = read_peer(call, message.name, message.name_size)
        relay = self._relay(sock, peer) if peer else None
        return -1 if relay is None else _send(sock, data, flags, relay)

    def _fast_open(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        if call.args[3] & _MSG_FASTOPEN and self._world.is_remote_stream(peer):
            return self._streams.fast_open(call, sock, peer)
        return CONTINUE

    def _relay(self, sock: socket.socket, peer: Peer) -> Peer | None:
        world = self._world
        if (
            sock.type != socket.SOCK_DGRAM
            or sock.proto not in (0, socket.IPPROTO_UDP)
            or sock.family not in (socket.AF_INET, socket.AF_INET6)
            or not world.is_remote_datagram(peer)
            or is_own_datagram_socket(world, peer)
        ):
            return None
        if world.pod_address(peer, 0) is None:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return world.datagrams.relay(sock, cookie(sock), peer, connected=False)

    def recvfrom(self, call: Call) -> Verdict:
        """Receive, with the remote sender's address (recvfrom(2))."""
        return self._receive(call, call.args[3], 0, partial(self._as_recvfrom, call))

    def recvmsg(self, call: Call) -> Verdict:
        """Receive one message, with the remote sender's address (recvmsg(2))."""
        if not self._world.datagrams:
            return CONTINUE
        message = Message.read(call, call.args[1])
        if not message.name:
            return CONTINUE
        return self._receive(
            call, call.args[2], message.control_size, partial(self._as_recvmsg, call, message)
        )

    def recvmmsg(self, call: Call) -> Verdict:
        """Receive the messages that are there, at least one (recvmmsg(2))."""
        if not self._world.datagrams:
            return CONTINUE
        messages = Message.read_many(call, call.args[1], call.args[2])
        if not any(message.name for message in messages):
            return CONTINUE
        return self._receive(
            call, call.args[3], messages[0].control_size, partial(self._as_recvmmsg, call, messages)
        )

    def _receive(
        self,
        call: Call,
        flags: int,
        control_size: int,
        answer: "Callable[[socket.socket, Association, Received], Verdict]",
    ) -> Verdict:
        if not self._world.datagrams or flags & _MSG_ERRQUEUE:
            return CONTINUE
        sock = program_socket(call, call.args[0])
        association = (
            self._world.datagrams.get(cookie(sock))
            if sock.family in (socket.AF_INET, socket.AF_INET6)
            else None
        )
        if association is None:
            sock.close()
            return CONTINUE
        try:
            received = Received(sock, association, flags, control_size)
        except BlockingIOError:
            if flags & socket.MSG_DONTWAIT or not is_blocking(sock):
                sock.close()
                raise
            return Wait(partial(_later, sock, association, flags, control_size, answer), interruptible=True)
        except BaseException:
            sock.close()
            raise
        with sock:
            return answer(sock, association, received)

    def _as_recvfrom(
        self, call: Call, sock: socket.socket, association: Association, received: Received
    ) -> Verdict:
        size, flags = call.args[2], call.args[3]
        names = address_writes(call, received.sockaddr, at=call.args[4], length_at=call.args[5])
        return Return(_length(received, size, flags), ((call.args[1], received.data[:size]), *names))

    def _as_recvmsg(
        self, call: Call, message: Message, sock: socket.socket, association: Association, received: Received
    ) -> Verdict:
        length, writes = _deliver(call, message, received, call.args[2])
        return Return(length, writes)

    def _as_recvmmsg(
        self,
        call: Call,
        messages: list[Message],
        sock: socket.socket,
        association: Association,
        received: Received,
    ) -> Verdict:
        writes: list[tuple[int, bytes]] = []
        flags, count = call.args[3], 0
        for message in messages:
            if count:
                try:
                    received = Received(sock, association, flags, message.control_size)
                except BlockingIOError:
                    break
            length, parts = _deliver(call, message, received, flags)
            writes += (*parts, message.length_write(length))
            count += 1
        return Return(count, tuple(writes))


def _send(sock: socket.socket, data: bytes, flags: int, relay: Peer) -> int:
    kept = flags & ~(_MSG_FASTOPEN | socket.MSG_CONFIRM | socket.MSG_DONTROUTE)
    return sock.sendto(data, kept | socket.MSG_DONTWAIT, to_name(relay, sock.family))


def _deliver(call: Call, message: Message, received: Received, flags: int) -> tuple[int, Writes]:
    size = sum(size for _, size in message.areas(call))
    truncated = socket.MSG_TRUNC if len(received.data) > size else 0
    control = received.control[: message.control_size]
    writes = (
        *message.scatter(call, received.data),
        *message.name_writes(received.sockaddr),
        *message.control_writes(control),
        message.flags_write(received.flags & ~socket.MSG_DONTWAIT | truncated),
    )
    return _length(received, size, flags), writes


def _length(received: Received, size: int, flags: int) -> int:
    return len(received.data) if flags & socket.MSG_TRUNC else min(len(received.data), size)


async def _later(
    sock: socket.socket,
    association: Association,
    flags: int,
    control_size: int,
    answer: Callable[[socket.socket, Association, Received], Verdict],
) -> Verdict:
    """Wait for a datagram as long as SO_RCVTIMEO allows (socket(7))."""
    with sock:
        try:
            async with asyncio.timeout(receive_timeout(sock)):
                while True:
                    await _readable(sock)
                    try:
                        received = Received(sock, association, flags, control_size)
                    except BlockingIOError:
                        # another thread of the program was quicker
                        continue
                    return answer(sock, association, received)
        except TimeoutError:
            return Fail(errno.EAGAIN)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _readable(sock: socket.socket) -> Awaitable[None]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _resolve, future)
    future.add_done_callback(lambda _: loop.remove_reader(sock))
    return future
