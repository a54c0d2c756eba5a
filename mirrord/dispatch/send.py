"""The outgoing plane, datagrams that are sent: each goes to the relay that stands for its peer.

What a connected socket sends without naming an address is never looked at. ``sendmsg`` hides its address
behind a pointer, so it is trapped always, and continued at once without one.
"""

import errno
import os
import socket
from typing import Final

from mirrord.dispatch.message import Message
from mirrord.dispatch.outgoing import Outgoing, is_own_datagram_socket
from mirrord.dispatch.row import Row, given, trap
from mirrord.dispatch.sockets import cookie, descriptor, program_socket, read_peer
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer, pack, to_name
from mirrord.syscall import CONTINUE, Call, Return, Verdict

_MSG_FASTOPEN: Final = 0x20000000
_LARGEST_PAYLOAD: Final = 65_507


class Send:
    """Datagrams that the pod sends."""

    def __init__(self, world: World, streams: Outgoing) -> None:
        self._world: Final = world
        self._streams: Final = streams

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [
            trap("sendto", self.sendto, given(4)),
            trap("sendmsg", self.sendmsg),
            trap("sendmmsg", self.sendmmsg),
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
            relay = self._relay(call, sock, peer)
            if relay is None or call.args[2] > _LARGEST_PAYLOAD:
                return CONTINUE
            data = call.read(call.args[1], call.args[2]) if call.args[2] else b""
            if call.watched:
                call.here(call.args[4], pack(relay, sock.family))
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
        relay = self._relay(call, sock, peer) if peer else None
        if relay is None:
            return -1
        if call.watched:
            call.here(message.name, pack(relay, sock.family))
        return _send(sock, data, flags, relay)

    def _fast_open(self, call: Call, sock: socket.socket, peer: Peer) -> Verdict:
        if call.args[3] & _MSG_FASTOPEN and self._world.is_remote_stream(peer):
            return self._streams.fast_open(call, sock, peer)
        return CONTINUE

    def _relay(self, call: Call, sock: socket.socket, peer: Peer) -> Peer | None:
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
        association = world.datagrams.associate(sock, cookie(sock), tid=call.tid, fd=descriptor(call.args[0]))
        return world.datagrams.relay(association, peer)


def _send(sock: socket.socket, data: bytes, flags: int, relay: Peer) -> int:
    kept = flags & ~(_MSG_FASTOPEN | socket.MSG_CONFIRM | socket.MSG_DONTROUTE)
    return sock.sendto(data, kept | socket.MSG_DONTWAIT, to_name(relay, sock.family))
