"""Binary messages of a websocket, one frame each, written and read without the ``websockets`` package.

That one parses by generators, which is the dearest step of a short message here. Whatever is no binary
message in one frame (control frames, fragments, faults) is still the package's to read and judge.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from websockets.frames import apply_mask as _apply_mask  # type: ignore[attr-defined] # in C where that is there

Message = bytes | bytearray | memoryview
_FIRST: Final = 0x82
"""The first byte of a binary message in one frame: FIN, and the opcode (RFC 6455, 5.2)."""
_MASKED: Final = 0x80
_16_BITS: Final = 126
"""The length that says that two bytes of length follow, the next one says eight."""
_HEAD: Final = struct.Struct("!BB")
_HEAD_16: Final = struct.Struct("!BBH")
_HEAD_64: Final = struct.Struct("!BBQ")
_LENGTH_16: Final = struct.Struct("!H")
_LENGTH_64: Final = struct.Struct("!Q")
_MASK: Final = 4


def apply_mask(data: Message, mask: bytes) -> bytes:
    """Put a mask on, or take it off."""
    done: bytes = _apply_mask(data, mask)
    return done


def pack(message: Message, *, masked: bool) -> bytes:
    """Return the frame of a message, of any length; a client masks it."""
    size, bit = len(message), _MASKED if masked else 0
    if size < _16_BITS:
        head = _HEAD.pack(_FIRST, bit | size)
    elif size < 1 << 16:
        head = _HEAD_16.pack(_FIRST, bit | _16_BITS, size)
    else:
        head = _HEAD_64.pack(_FIRST, bit | _16_BITS + 1, size)
    if not masked:
        return b"".join((head, message))
    mask = os.urandom(_MASK)
    return b"".join((head, mask, apply_mask(message, mask)))


class Extent(NamedTuple):
    """Where the payload of a frame begins, and its size."""

    begin: int
    size: int

    @property
    def end(self) -> int:
        """Of the frame."""
        return self.begin + self.size


def extent(data: memoryview) -> Extent | None:
    """Return that of the frame that data begins with; None before it can be told."""
    if len(data) < _HEAD.size:
        return None
    size, begin = data[1] & ~_MASKED, _HEAD.size
    if size >= _16_BITS:
        length = _LENGTH_16 if size == _16_BITS else _LENGTH_64
        begin += length.size
        if len(data) < begin:
            return None
        (size,) = length.unpack_from(data, _HEAD.size)
    if data[1] & _MASKED:
        begin += _MASK
    return Extent(begin, size) if len(data) >= begin else None


class Cutter:
    """Cuts what arrives into messages, and what is the package's."""

    __slots__ = ("_body", "_filled", "_head", "_mask", "_masked", "_scratch", "_theirs")

    def __init__(self, *, masked: bool) -> None:
        """``masked`` tells whether the sender has to mask."""
        self._masked: Final = masked
        self._head: bytes = b""
        """What came of a frame's head, while that is not whole."""
        self._body: memoryview | None = None
        """Room for the payload of a message whose head is known, of which ``_filled`` bytes are here."""
        self._scratch: bytearray = bytearray()
        """That room where payloads are masked: they are copied when the mask is taken off."""
        self._filled: int = 0
        self._mask: bytes = b""
        self._theirs: int = 0
        """Bytes to come of a frame that is the package's."""

    def cut(
        self, data: memoryview, fragments: Sequence[object], *, at_most: int
    ) -> Iterator[tuple[Message, bool]]:
        """Give each message with True, and of every other frame what there is of it, with False.

        While there are ``fragments`` of a message, and beyond ``at_most`` bytes, everything is the package's.
        """
        if self._head:
            data, self._head = memoryview(self._head + data), b""
        while data:
            if self._theirs:
                piece, data = data[: self._theirs], data[self._theirs :]
                self._theirs -= len(piece)
                yield piece, False
            elif self._body is not None:
                data = self._fill(self._body, data)
                if self._filled == len(self._body):
                    yield self._whole(self._body), True
            elif (found := extent(data)) is None:
                self._head, data = bytes(data), data[:0]
            elif not self._is_ours(data, found, fragments, at_most):
                self._theirs = found.end
            elif found.end > len(data):
                self._mask = _mask(data, found)
                self._body, self._filled, data = self._room(found.size), 0, data[found.begin :]
            else:
                payload, mask = data[found.begin : found.end], _mask(data, found)
                yield apply_mask(payload, mask) if self._masked else bytes(payload), True
                data = data[found.end :]

    def _room(self, size: int) -> memoryview:
        if not self._masked:
            return memoryview(bytearray(size))
        if len(self._scratch) < size:
            self._scratch = bytearray(size)
        return memoryview(self._scratch)[:size]

    def _fill(self, body: memoryview, data: memoryview) -> memoryview:
        """Take what belongs to the body, and return the rest."""
        end = min(len(body), self._filled + len(data))
        taken = end - self._filled
        body[self._filled : end] = data[:taken]
        self._filled = end
        return data[taken:]

    def _is_ours(self, data: memoryview, found: Extent, fragments: Sequence[object], at_most: int) -> bool:
        return (
            data[0] == _FIRST
            and bool(data[1] & _MASKED) is self._masked
            and found.size <= at_most
            and not fragments
        )

    def _whole(self, body: memoryview) -> Message:
        self._body = None
        return apply_mask(body, self._mask) if self._masked else body


def _mask(data: memoryview, found: Extent) -> bytes:
    """Return what stands before the payload: its mask, if it is masked."""
    return bytes(data[found.begin - _MASK : found.begin])
