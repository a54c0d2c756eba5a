"""UDP sockets of the target: one stream each, one datagram for each frame.

ICMP errors come with the address that they are about: IP_RECVERR keeps them in a queue of the socket (ip(7)).
"""

import errno
import os
import socket
import struct
from typing import Final

from mirrord_agent.sockets import address, socket_name
from mirrord_agent.wire.channel import Channel, Data, Stream
from mirrord_agent.wire.datagram import Family, pack_header, split
from mirrord_agent.wire.errors import WireError
from mirrord_agent.wire.messages import Address, DatagramError, Opened, OpenUdp

_BATCH: Final = 64
"""Datagrams taken in one go, so that one busy socket does not hold the event loop."""
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_MSG_ERRQUEUE: Final = 0x2000
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
"""``struct sock_extended_err``: errno, origin, type, code, padding, info, data."""
_CONTROL: Final = 512
_MOST: Final = 65_535


class DatagramSocket:
    """One UDP socket and its stream."""

    __slots__ = ("_channel", "_connected", "_family", "_fd", "_socket", "_stream")

    def __init__(self, sock: socket.socket, stream: Stream, channel: Channel, *, connected: bool) -> None:
        self._socket: Final = sock
        self._fd: Final = sock.fileno()
        self._family: Final = Family.IPV6 if sock.family == socket.AF_INET6 else Family.IPV4
        self._stream: Final = stream
        self._channel: Final = channel
        self._connected: Final = connected
        channel.loop.add_reader(self._fd, self._readable)
        stream.bind(on_data=self._send, on_fin=self._close, on_reset=self._close, on_writable=_nothing)

    def _readable(self) -> None:
        for number in range(_BATCH):
            try:
                data, name = self._socket.recvfrom(_MOST)
            except (BlockingIOError, InterruptedError):
                if number == 0:
                    # an error, which a send has been told of
                    self._watch_again()
                return
            except OSError:
                # the socket's pending error: what it was about is in the queue
                self._report_queued()
                self._watch_again()
                continue
            if data or name:
                self._stream.write(pack_header(name[0], name[1]) + data)
            if self._stream.closed:
                return

    def _watch_again(self) -> None:
        """Go on being told: after an error libuv watches a socket no more (uv__poll_io)."""
        self._channel.loop.remove_reader(self._fd)
        self._channel.loop.add_reader(self._fd, self._readable)

    def _send(self, data: Data) -> None:
        try:
            host, port, payload = split(data)
        except ValueError as error:
            raise WireError(str(error)) from None
        try:
            if self._connected:
                self._socket.send(payload)
            else:
                _, name = socket_name(host, port)
                self._socket.sendto(payload, name)
        except (BlockingIOError, InterruptedError):
            # as on any network: what finds no room is lost
            return
        except OSError as error:
            if not self._report_queued():
                self._report(error.errno or errno.EIO, Address(host=host, port=port))

    def _report_queued(self) -> bool:
        """Report the errors in the queue; return whether there were any."""
        found = False
        while True:
            try:
                _, control, _, name = self._socket.recvmsg(0, _CONTROL, _MSG_ERRQUEUE)
            except OSError:
                return found
            for _, kind, data in control:
                if kind in (_IP_RECVERR, _IPV6_RECVERR) and len(data) >= _EXTENDED_ERROR.size:
                    number = _EXTENDED_ERROR.unpack_from(data)[0]
                    self._report(number, address(name) if name else None)
                    found = True

    def _report(self, number: int, peer: Address | None) -> None:
        self._channel.emit(DatagramError(stream=self._stream.id, errno=number, peer=peer))

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self._channel.loop.remove_reader(self._fd)
            self._socket.close()
            self._stream.reset()


def _nothing() -> None:
    """Do nothing: datagrams do not wait."""


def open_udp(request: OpenUdp, channel: Channel) -> Opened:
    """Make a UDP socket; raise OSError with the errno of the kernel."""
    family = socket.AF_INET6 if request.family == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        opened = _prepare(sock, request.peer)
        stream = channel.stream(request.stream)
    except KeyError:
        sock.close()
        raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)) from None
    except BaseException:
        sock.close()
        raise
    DatagramSocket(sock, stream, channel, connected=request.peer is not None)
    return opened


def _prepare(sock: socket.socket, peer: Address | None) -> Opened:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    if peer is not None:
        family, name = socket_name(peer.host, peer.port)
        if family != sock.family:
            raise OSError(errno.EAFNOSUPPORT, "the peer's address is of another family")
        sock.connect(name)
        return Opened(local=address(sock.getsockname()), remote=address(sock.getpeername()))
    # a port now, which the first datagram would give it too: the program may ask for it
    sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0))
    return Opened(local=address(sock.getsockname()))
