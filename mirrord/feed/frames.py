"""The frames between a session and who watches it: size, kind, payload."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

_HEAD: Final = struct.Struct("=IB")
MOST_PAYLOAD: Final = 16 * 1024 * 1024


class Kind(IntEnum):
    """What a payload is."""

    INFO = 1
    """:class:`mirrord.feed.models.SessionInfo`; the first frame, without being asked for."""
    RECORDS = 2
    """Records of calls and threads, packed (:mod:`mirrord.tracer.record`)."""
    DROPPED = 3
    """:class:`mirrord.feed.models.Dropped`."""
    STATE = 4
    """:class:`mirrord.feed.models.State`."""
    NOTE = 5
    """:class:`mirrord.feed.models.Note`."""
    EXCHANGE = 7
    """:class:`mirrord.feed.models.Exchange`."""
    TRAFFIC = 8
    """A :class:`mirrord.feed.traffic.Piece`, packed."""
    ENDED = 6
    """:class:`mirrord.feed.models.Ended`; the last frame."""
    WATCH = 16
    """To the session: send what happens from now on."""
    TAP = 18
    """To the session: send the bytes of the target's connections, too."""
    SELDOM = 19
    """To the session: a few times a second are enough; who draws takes no more."""
    STOP = 17
    """To the session: end."""


class FrameError(Exception):
    """Raised for bytes that are no frame."""


def encode(kind: Kind, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEAD.pack(len(payload), kind) + payload


class Decoder:
    """Cuts what arrives into frames."""

    def __init__(self, *, most: int = MOST_PAYLOAD) -> None:
        self._most: Final = most
        self._kept: Final = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Return the frames that are complete now; raise FrameError."""
        kept = self._kept
        kept += data
        at = 0
        try:
            while len(kept) - at >= _HEAD.size:
                size, kind = _HEAD.unpack_from(kept, at)
                if size > self._most:
                    raise FrameError(f"a frame of {size} bytes, of which {self._most} are allowed")
                end = at + _HEAD.size + size
                if end > len(kept):
                    break
                payload = bytes(kept[at + _HEAD.size : end])
                at = end
                yield _kind(kind), payload
        finally:
            del kept[:at]


def _kind(number: int) -> Kind:
    try:
        return Kind(number)
    except ValueError:
        raise FrameError(f"a frame of the unknown kind {number}") from None
