"""Taking GOAWAY out of an HTTP/2 connection: h2 refuses every frame after one, although the streams go on."""

import struct
from collections.abc import Iterator
from typing import Final

_GOAWAY: Final = 7
_HEAD: Final = 9
"""Bytes of a frame's head: a length of 24 bits, type, flags, stream (RFC 9113, 4.1)."""


class Sieve:
    """Passes whole frames' bytes on as they come, without those of GOAWAY frames."""

    def __init__(self, *, skip: int = 0) -> None:
        """``skip``: bytes before the first frame, as a client's preface."""
        self._passing: int = skip
        self._dropping: int = 0
        self._head: bytes = b""
        self._body: bytes = b""
        self.last_stream: int | None = None
        """The last stream that the other side will do anything for, once it has said so."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; give those to be passed on, in pieces that never reach from one frame into the next."""
        while data:
            count = min(self._passing or self._dropping or _HEAD - len(self._head), len(data))
            piece, data = data[:count], data[count:]
            if self._passing:
                self._passing -= count
                yield piece
            elif self._dropping:
                self._drop(piece)
            elif head := self._begin(piece):
                yield head

    def _begin(self, piece: bytes) -> bytes:
        """Take a piece of a frame's head; return the head once it is to be passed on."""
        self._head += piece
        if len(self._head) < _HEAD:
            return b""
        head, self._head = self._head, b""
        size, kind = int.from_bytes(head[:3], "big"), head[3]
        if kind != _GOAWAY:
            self._passing = size
            return head
        self._dropping = size
        self.last_stream = 0 if self.last_stream is None else self.last_stream
        return b""

    def _drop(self, piece: bytes) -> None:
        self._dropping -= len(piece)
        # the number is in the first four bytes; the rest explains
        self._body = (self._body + piece)[:4]
        if not self._dropping:
            if len(self._body) == 4:
                self.last_stream = struct.unpack("!I", self._body)[0] & 0x7FFF_FFFF
            self._body = b""
