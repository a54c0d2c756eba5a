"""A stream to the local side as a link."""

import os
from typing import Final

from mirrord_agent.steal.link import Owner
from mirrord_agent.wire.frames import Data
from mirrord_agent.wire.stream import Stream


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
