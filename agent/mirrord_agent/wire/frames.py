"""Frames: a byte kind, a big-endian 32 bit id, and the payload. One frame is one binary websocket message."""

import struct
from enum import IntEnum
from typing import Final, NamedTuple, NewType

MAX_FRAME: Final = 1024 * 1024
"""Bytes of the longest frame, its header included."""

Data = bytes | bytearray | memoryview
"""What is sent and received."""
StreamId = NewType("StreamId", int)
RequestId = NewType("RequestId", int)


class Kind(IntEnum):
    """What a frame is."""

    REQUEST = 1
    """A message that wants a REPLY with the same id."""
    REPLY = 2
    CANCEL = 3
    """Nobody waits for the reply any more."""
    EVENT = 4
    """A message that wants no reply; its id is 0."""
    DATA = 5
    """Bytes of a stream, or one datagram."""
    FIN = 6
    """The sender writes no more to the stream."""
    RESET = 7
    """The stream is gone in both directions; the payload is an errno, 0 for a plain reset."""
    CREDIT = 8
    """The receiver of the stream has room for so many bytes more."""


ACK: Final = b"\x09"
"""What a message begins with that is no frame: the carrier's, below this (``carrier.py``)."""


class Frame(NamedTuple):
    """One decoded frame; the payload is a view of the message that it came in."""

    kind: Kind
    id: int
    payload: memoryview


class FrameError(ValueError):
    """Raised when bytes are not a frame; the text says why."""


HEADER: Final = struct.Struct("!BI")
NUMBER: Final = struct.Struct("!I")
"""The payload of CREDIT and RESET."""
MAX_PAYLOAD: Final = MAX_FRAME - HEADER.size
_KINDS: Final = {int(kind): kind for kind in Kind}
_EMPTY: Final = frozenset({Kind.CANCEL, Kind.FIN})
_NUMBERS: Final = frozenset({Kind.CREDIT, Kind.RESET})


def encode(kind: Kind, id: int, payload: Data = b"") -> bytes:
    """Return the bytes of a frame; ValueError if the payload is longer than MAX_PAYLOAD."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload of {len(payload)} bytes, at most {MAX_PAYLOAD} fit a frame")
    return b"".join((HEADER.pack(kind, id), payload))


def encode_number(kind: Kind, id: int, value: int) -> bytes:
    """Return the bytes of a CREDIT or RESET frame."""
    return HEADER.pack(kind, id) + NUMBER.pack(value)


def decode(message: Data) -> Frame:
    """Return the frame that a message holds, its size checked for its kind; raise FrameError."""
    size = len(message)
    if not HEADER.size <= size <= MAX_FRAME:
        raise FrameError(f"a frame of {size} bytes, expected {HEADER.size} to {MAX_FRAME}")
    number, id = HEADER.unpack_from(message)
    kind = _KINDS.get(number)
    if kind is None:
        raise FrameError(f"a frame of unknown kind {number}")
    payload = size - HEADER.size
    if kind in _EMPTY and payload:
        raise FrameError(f"a {kind.name} frame with {payload} bytes of payload, expected none")
    if kind in _NUMBERS and payload != NUMBER.size:
        raise FrameError(f"a {kind.name} frame with {payload} bytes of payload, expected {NUMBER.size}")
    if kind is Kind.DATA and not payload:
        raise FrameError("a DATA frame without data")
    return Frame(kind, id, memoryview(message)[HEADER.size :])


def decode_number(frame: Frame) -> int:
    """Return the value that a CREDIT or RESET frame carries."""
    value: int = NUMBER.unpack(frame.payload)[0]
    return value
