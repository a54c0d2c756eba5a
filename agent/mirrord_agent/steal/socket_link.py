"""A TCP connection as a link."""

import asyncio
import os
import socket
import struct
from typing import Final

from mirrord_agent.steal.link import Owner
from mirrord_agent.wire.frames import Data

_READ: Final = 64 * 1024
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close sends RST (socket(7))."""


class SocketLink:
    """A TCP connection, which may be connecting still. It owns the socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, owner: Owner, *, connecting: bool
    ) -> None:
        self._loop: Final = loop
        self._socket: Final = sock
        self._fd: Final = sock.fileno()
        self._owner: Final = owner
        self._unsent: Final = bytearray()
        self._connecting: bool = connecting
        self._wants: bool = True
        self._reading: bool = False
        self._writing: bool = False
        self._eof: bool = False
        self._fin: bool = False
        self._closing: bool = False
        self._ahead: bool = False
        """Another look at what there is to read is due."""
        self._broken: OSError | None = None
        """Why nothing can be sent any more."""
        self._update()

    @property
    def pending(self) -> int:
        """How many bytes are kept."""
        return len(self._unsent)

    @property
    def closed(self) -> bool:
        """It is over, and everything was taken."""
        return self._socket.fileno() < 0

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._closing or self._fin or self._broken:
            return
        if not self._unsent and not self._connecting:
            data = data[self._send(data) :]
        if data:
            self._unsent.extend(data)
            self._update()

    def fin(self) -> None:
        """Send no more, once what was written is taken."""
        if not self._fin:
            self._fin = True
            self._after_sending()

    def close(self) -> None:
        """Read no more, and close once what was written is taken."""
        self._closing = True
        self._update()
        self._after_sending()

    def reset(self) -> None:
        """Close at once, so that the other side notices."""
        if not self.closed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._end()

    def read(self, go: bool) -> None:
        """Say whether more may come."""
        if self._wants != go:
            self._wants = go
            self._update()

    def _update(self) -> None:
        """Watch for what is of interest."""
        if self.closed:
            return
        reading = self._wants and not (self._eof or self._closing or self._connecting)
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._loop.add_reader(self._fd, self._readable)
            else:
                self._loop.remove_reader(self._fd)
        writing = self._connecting or bool(self._unsent)
        if writing != self._writing:
            self._writing = writing
            if writing:
                self._loop.add_writer(self._fd, self._writable)
            else:
                self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        """Read, and look again until nothing is there.

        At an error the loop tells once and watches no more (libuv, uv__poll_io), while the kernel first gives
        the bytes that came before it.
        """
        if self._read() and not self._ahead:
            self._ahead = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._ahead = False
        if self._broken is not None and (self._eof or self._closing):
            self._lose(self._broken)
        elif self._reading:
            self._readable()

    def _read(self) -> bool:
        """Tell what there is; return whether there may be more."""
        try:
            data = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            if self._broken is not None:
                self._lose(self._broken)
            return False
        except OSError as error:
            self._lose(error)
            return False
        if data:
            self._owner.link_data(self, data)
            return True
        self._eof = True
        if self._broken is not None:
            self._lose(self._broken)
            return False
        self._update()
        self._owner.link_eof(self)
        return False

    def _writable(self) -> None:
        if self._connecting:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self._lose(OSError(number, os.strerror(number)))
                return
            self._connecting = False
        # a copy: what is sent may be cleared by an error
        sent = self._send(bytes(self._unsent[:_READ]))
        del self._unsent[:sent]
        self._update()
        self._after_sending()
        self._owner.link_drained(self)

    def _send(self, data: Data) -> int:
        if not data:
            return 0
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._break(error)
            return len(data)

    def _break(self, error: OSError) -> None:
        """Send nothing any more, but read on: the kernel gives what it has received before the error."""
        self._broken = error
        self._unsent.clear()
        # not within the call of whoever writes
        self._loop.call_soon(self._look_again)

    def _after_sending(self) -> None:
        if self.closed or self._unsent or self._connecting:
            return
        if self._closing:
            self._end()
        elif self._fin:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._break(error)

    def _lose(self, error: OSError) -> None:
        if self.closed:
            return
        told = not self._closing
        self._end()
        if told:
            self._owner.link_lost(self, error.strerror or str(error))
        else:
            self._owner.link_drained(self)

    def _end(self) -> None:
        self._connecting, self._closing = False, True
        self._unsent.clear()
        self._update()
        self._socket.close()
