"""What a stolen connection is joined to: sockets and streams, as something to write to that tells what comes.

Written bytes are kept until they are taken; whoever writes looks at ``pending`` and stops its source.
"""

import asyncio
import os
import socket
import struct
from typing import Final, Protocol

from mirrord_agent.wire.frames import Data
from mirrord_agent.wire.stream import Stream

_READ: Final = 64 * 1024
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """Who is told; nothing is told after ``link_lost``, ``close`` or ``reset``."""

    def link_data(self, link: "Link", data: bytes) -> None:
        """Bytes have come."""
        ...

    def link_eof(self, link: "Link") -> None:
        """No more will come."""
        ...

    def link_lost(self, link: "Link", reason: str) -> None:
        """It could not be connected, or was reset."""
        ...

    def link_drained(self, link: "Link") -> None:
        """Bytes that were kept have been taken, or it has closed."""
        ...


class Link(Protocol):
    """A connection."""

    @property
    def pending(self) -> int:
        """How many bytes are kept."""
        ...

    @property
    def closed(self) -> bool:
        """It is over, and everything was taken."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def fin(self) -> None:
        """Send no more, once what was written is taken."""
        ...

    def close(self) -> None:
        """Read no more, and close once what was written is taken."""
        ...

    def reset(self) -> None:
        """Close at once, so that the other side notices."""
        ...

    def read(self, go: bool) -> None:
        """Say whether more may come."""
        ...


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
        self._broken: bool = False
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
        try:
            data = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._owner.link_data(self, data)
            return
        self._eof = True
        self._update()
        self._owner.link_eof(self)

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
        self._broken = True
        self._unsent.clear()
        if self._eof or self._closing:
            # not within the call of whoever writes
            self._loop.call_soon(self._lose, error)

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


class StreamLink:
    """A stream to the local side."""

    def __init__(self, stream: Stream, owner: Owner) -> None:
        self._stream: Final = stream
        self._owner: Final = owner
        self._unsent: Final = bytearray()
        self._wants: bool = True
        self._owed: int = 0
        """Bytes that have come, for which credit is given back when more may come."""
        self._eof: bool = False
        self._fin: bool = False
        self._closing: bool = False
        self._over: bool = False
        stream.bind(on_data=self._data, on_fin=self._ended, on_reset=self._lost, on_writable=self._writable)

    @property
    def pending(self) -> int:
        """How many bytes are kept."""
        return len(self._unsent)

    @property
    def closed(self) -> bool:
        """It is over, and everything was taken."""
        return self._over

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not (self._over or self._fin or self._closing):
            self._unsent.extend(data)
            self._flush()

    def fin(self) -> None:
        """Send no more, once what was written is taken."""
        self._fin = True
        self._flush()

    def close(self) -> None:
        """Read no more, and close once what was written is taken."""
        self._closing = True
        self.read(True)
        self._flush()

    def reset(self) -> None:
        """Close at once, so that the other side notices."""
        self._over = True
        self._unsent.clear()
        self._stream.reset()

    def read(self, go: bool) -> None:
        """Say whether more may come."""
        self._wants = go
        if go and self._owed:
            owed, self._owed = self._owed, 0
            self._stream.consumed(owed)

    def _flush(self) -> None:
        while self._unsent and (credit := self._stream.credit):
            with memoryview(self._unsent) as view:
                self._stream.write(view[:credit])
            del self._unsent[:credit]
        if self._unsent or self._over:
            return
        if self._fin or self._closing:
            self._stream.fin()
        if self._closing:
            self._over = True
            if not self._eof:
                self._stream.reset()

    def _writable(self) -> None:
        had = len(self._unsent)
        self._flush()
        if had > len(self._unsent):
            self._owner.link_drained(self)

    def _data(self, data: Data) -> None:
        self._owed += len(data)
        if not self._closing:
            self._owner.link_data(self, bytes(data))
        self.read(self._wants)

    def _ended(self) -> None:
        self._eof = True
        if not (self._closing or self._over):
            self._owner.link_eof(self)

    def _lost(self) -> None:
        if self._over:
            return
        told = not self._closing
        self._over = True
        self._unsent.clear()
        if told:
            reason = self._stream.lost or (os.strerror(self._stream.errno) if self._stream.errno else "")
            self._owner.link_lost(self, reason or "the local program closed the connection")
        else:
            self._owner.link_drained(self)
