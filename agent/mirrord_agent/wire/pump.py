"""A pump copies between a connected socket and a stream, both ways, and passes on how each side ends.

FIN becomes FIN (``shutdown``), so half-close works; RST becomes a reset and a reset becomes RST. It calls the
socket directly and keeps only what the socket does not take, at most one window.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from mirrord_agent.wire.frames import Data
from mirrord_agent.wire.stream import WINDOW, Stream, Tap

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close sends RST (socket(7))."""


draining: Final[set["Pump"]] = set()
"""Pumps whose stream is gone while their socket has still something to take."""


def _nothing() -> None:
    """Do nothing."""


class Pump:
    """One socket and its stream. It owns the socket, which must be non-blocking and connected."""

    __slots__ = (
        "_ahead",
        "_broken",
        "_eof",
        "_fd",
        "_fin",
        "_loop",
        "_on_closed",
        "_packets",
        "_reading",
        "_shut",
        "_socket",
        "_stream",
        "_unsent",
        "_waiting",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        stream: Stream,
        *,
        on_closed: Callable[[], object] = _nothing,
    ) -> None:
        """Begin to copy; ``on_closed`` is called once, when the socket is closed."""
        sock.setblocking(False)
        self._loop: Final = loop
        self._socket: Final = sock
        self._fd: Final = sock.fileno()
        self._stream: Final = stream
        self._on_closed: Final = on_closed
        self._waiting: deque[Data] | None = deque() if sock.type == socket.SOCK_SEQPACKET else None
        """Packets that the socket had no room for; None for a byte stream."""
        self._unsent: bytearray | None = None
        """Bytes that the socket had no room for."""
        self._reading: bool = False
        self._ahead: bool = False
        """Another look at what there is to read is due."""
        self._eof: bool = False
        """The socket's peer writes no more."""
        self._fin: bool = False
        """The stream's other side writes no more."""
        self._shut: bool = False
        """The socket's peer has been told so."""
        self._broken: bool = False
        """The socket takes nothing any more; what it still has to read is passed on before the reset."""
        stream.immediate = self._waiting is not None
        stream.bind(
            on_data=self._packet if self._waiting is not None else self._data,
            on_fin=self._stream_fin,
            on_reset=self._stream_reset,
            on_writable=self._read_again,
        )
        self._read_again()

    @property
    def closed(self) -> bool:
        """The socket is closed."""
        return self._socket.fileno() < 0

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes that went into the stream, and that came out of it."""
        return self._stream.bytes_sent, self._stream.bytes_received

    def show(self, tap: Tap | None) -> None:
        """Show what passes to somebody, or to nobody any more."""
        self._stream.tap = tap

    @property
    def read_to_end(self) -> bool:
        """Everything that the socket's peer wrote has gone into the stream."""
        return self._eof or self.closed

    def abort(self) -> None:
        """Close the socket with RST and reset the stream."""
        if self.closed:
            return
        self._stream.reset()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._close()

    def _stream_reset(self) -> None:
        """End as the other side's socket did: after its FIN there may still be bytes to deliver here."""
        if not self._fin or self._broken or self.closed:
            self.abort()
            return
        self._stop_reading()
        self._eof = True
        self._close_if_done()

    # From the socket to the stream.

    def _read_again(self) -> None:
        if not (self._reading or self._eof or self.closed) and self._stream.credit:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        # twice, as a short answer and its end are there together: both then leave in one piece
        if self._pass_on() and self._pass_on() and not self._ahead:
            # at an error libuv tells once and watches no more, and the bytes before it come first
            self._ahead = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._ahead = False
        if self._reading:
            self._readable()

    def _pass_on(self) -> bool:
        """Pass on what is there now; return whether there may be more."""
        stream = self._stream
        credit = stream.credit
        if not credit:
            self._stop_reading()
            return False
        try:
            data = self._receive(credit)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.abort()
            return False
        if data is None:
            self._stop_reading()
        elif data:
            stream.write(data)
            return True
        else:
            self._socket_eof()
        return False

    def _receive(self, credit: int) -> memoryview | None:
        """Return what is there, empty at the end, None for a packet that there is no credit for yet."""
        scratch = self._stream.scratch
        if self._waiting is not None:
            size = self._socket.recv_into(scratch, 0, socket.MSG_PEEK | socket.MSG_TRUNC)
            if size > WINDOW:
                raise OSError(f"packet of {size} bytes, at most {WINDOW} can be passed on")
            if size > credit:
                return None
            credit = WINDOW
        return scratch[: self._socket.recv_into(scratch, min(credit, len(scratch)))]

    def _socket_eof(self) -> None:
        self._stop_reading()
        self._eof = True
        if self._broken:
            self.abort()
            return
        self._stream.fin()
        self._close_if_done()

    # From the stream to the socket.

    def _data(self, data: Data) -> None:
        if self._unsent is not None:
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data) and not (self._broken or self.closed):
            self._unsent = bytearray(memoryview(data)[sent:])
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        unsent = self._unsent
        if unsent is None:
            return
        with memoryview(unsent) as view:
            sent = self._send(view)
        if self._broken or self.closed:
            return
        del unsent[:sent]
        if not unsent:
            self._all_sent()

    def _packet(self, data: Data) -> None:
        if self._waiting is None:
            return
        if self._waiting:
            self._waiting.append(data)
        elif not self._send(data) and not (self._broken or self.closed):
            self._waiting.append(data)
            self._loop.add_writer(self._fd, self._packet_writable)

    def _packet_writable(self) -> None:
        while self._waiting:
            if not self._send(self._waiting[0]):
                return
            self._waiting.popleft()
        self._all_sent()

    def _send(self, data: Data) -> int:
        """Return the bytes that the socket took."""
        if self._broken:
            self._stream.consumed(len(data))
            return len(data)
        try:
            sent = self._socket.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._break()
            return 0
        self._stream.consumed(sent)
        return sent

    def _break(self) -> None:
        """Send nothing any more, but read on: the kernel gives what it has received before the error."""
        if self._eof:
            self.abort()
            return
        self._broken = True
        self._stop_writing()
        self._read_again()

    def _stop_writing(self) -> None:
        if self._unsent is not None or self._waiting:
            self._loop.remove_writer(self._fd)
        self._unsent = None
        if self._waiting:
            self._waiting.clear()

    def _all_sent(self) -> None:
        self._loop.remove_writer(self._fd)
        self._unsent = None
        if self._fin:
            self._shut_down()

    def _stream_fin(self) -> None:
        self._fin = True
        if self._unsent is None and not self._waiting:
            self._shut_down()
        else:
            self._close_if_done()

    def _shut_down(self) -> None:
        if self._broken:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            # the peer has reset the connection: what it sent before is still to be read
            self._break()
            return
        self._shut = True
        self._close_if_done()

    # The end.

    def _close_if_done(self) -> None:
        if self._eof and self._shut:
            self._close()
        elif self._eof and self._fin:
            draining.add(self)

    def _close(self) -> None:
        if self.closed:
            return
        draining.discard(self)
        self._stop_reading()
        self._stop_writing()
        self._socket.close()
        self._on_closed()
