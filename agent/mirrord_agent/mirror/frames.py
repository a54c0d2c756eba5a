"""The requests of a client that speaks HTTP/2, told apart frame by frame (RFC 9113).

Headers are compressed with a state that all streams share, so those that match are compressed anew; all
other frames of their streams, and those of the connection, are copied as they are.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from hpack import Decoder, Encoder, HPACKError

from mirrord_agent.http.detect import PREFACE
from mirrord_agent.http.output import Decider, Side
from mirrord_agent.http.request import Header, Request

_HEAD: Final = 9
_DATA, _HEADERS, _RST_STREAM, _CONTINUATION = 0, 1, 3, 9
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x4, 0x8, 0x20
_LONGEST: Final = 16_384
"""What every server takes in one frame."""
_MOST_HELD: Final = 256 * 1024
_TABLE: Final = 1 << 16
"""What the target's server may have allowed the client to keep for compression; that is not seen here."""


class NotHttp2(Exception):
    """Raised at what is not, or cannot be followed any more."""


_MOST_STREAMS: Final = 1_000


@dataclass(slots=True)
class _Stream:
    head: Request
    taken: bool | None = None
    pending: list[tuple[bytes | list[Header], bool]] = field(default_factory=list)
    """Frames and headers that wait for a decision, each with whether it is the stream's last."""
    held: int = 0
    body: bytearray = field(default_factory=bytearray)


class Http2Requests:
    """Those that match, as one connection of HTTP/2."""

    def __init__(self, decider: Decider) -> None:
        self._decider: Final = decider
        self._decoder: Final = Decoder(max_header_list_size=decider.limits.head)
        self._decoder.max_allowed_table_size = _TABLE
        self._encoder: Final = Encoder()
        self._input: Final = bytearray()
        self._preface: bool = False
        self._streams: Final[dict[int, _Stream]] = {}
        self._block: tuple[int, int, bytearray] | None = None
        """Of headers that are not complete: the stream, flags, and what there is."""
        self._waiting: Final = bytearray()
        """What belongs to the connection, before the first request that matches."""
        self._begun: bool = False
        self._out: bytearray = bytearray()

    def take(self, data: bytes) -> bytes:
        """Take what the client sent; return what of it is copied. Raises NotHttp2."""
        self._input.extend(data)
        if not self._preface and len(self._input) >= len(PREFACE):
            self._preface = True
            self._connection(bytes(self._input[: len(PREFACE)]))
            del self._input[: len(PREFACE)]
        while self._preface and len(self._input) >= _HEAD:
            length = int.from_bytes(self._input[:3], "big")
            if length > 1 << 20:
                raise NotHttp2
            if len(self._input) < _HEAD + length:
                break
            frame = bytes(self._input[: _HEAD + length])
            del self._input[: _HEAD + length]
            self._frame(frame)
        out, self._out = self._out, bytearray()
        return bytes(out)

    def _frame(self, frame: bytes) -> None:
        kind, flags, number = struct.unpack_from("!BBI", frame, 3)
        number &= 0x7FFF_FFFF
        payload = frame[_HEAD:]
        if self._block is not None and kind != _CONTINUATION:
            raise NotHttp2
        if kind == _HEADERS:
            self._block = (
                number,
                flags,
                bytearray(_unpadded(flags, payload, skip=5 * bool(flags & _PRIORITY))),
            )
            self._end_block(flags)
        elif kind == _CONTINUATION:
            if self._block is None or len(self._block[2]) > self._decider.limits.head:
                raise NotHttp2
            self._block[2].extend(payload)
            self._end_block(flags)
        elif number == 0:
            self._connection(frame)
        elif (stream := self._streams.get(number)) is not None:
            if kind == _DATA:
                stream.body += _unpadded(flags, payload) if stream.taken is None else b""
            ends = kind == _RST_STREAM or bool(kind == _DATA and flags & _END_STREAM)
            self._of_stream(number, stream, frame, ends=ends)

    def _connection(self, data: bytes) -> None:
        if self._begun:
            self._out += data
        else:
            self._waiting.extend(data)
            if len(self._waiting) > _MOST_HELD:
                raise NotHttp2

    def _end_block(self, flags: int) -> None:
        if self._block is None or not flags & _END_HEADERS:
            return
        (number, first, block), self._block = self._block, None
        try:
            decoded = self._decoder.decode(bytes(block), raw=True)
        except HPACKError:
            raise NotHttp2 from None
        headers = [(bytes(name), bytes(value)) for name, value in decoded]
        stream = self._streams.get(number)
        if stream is None:
            if len(self._streams) >= _MOST_STREAMS:
                raise NotHttp2
            stream = self._streams[number] = _Stream(head=_request(headers))
        self._of_stream(number, stream, headers, ends=bool(first & _END_STREAM))

    def _of_stream(self, number: int, stream: _Stream, what: bytes | list[Header], *, ends: bool) -> None:
        """Take a frame of a stream, or its headers, which are compressed only when they are copied."""
        stream.pending.append((what, ends))
        stream.held += len(what) if isinstance(what, bytes) else 0
        if stream.taken is None:
            self._decide(stream, ends=ends)
        if stream.taken is not None:
            for each, last in stream.pending if stream.taken else ():
                self._copy(number, each, ends=last)
            stream.pending.clear()
        if ends:
            del self._streams[number]

    def _decide(self, stream: _Stream, *, ends: bool) -> None:
        head = stream.head
        side = self._decider.decide(head)
        too_large = len(stream.body) > self._decider.limits.body
        if side is None and (ends or too_large or stream.held > _MOST_HELD):
            body = b"" if too_large else bytes(stream.body)
            side = self._decider.decide(Request(head.method, head.target, head.headers, body))
        stream.taken = None if side is None else side is Side.LOCAL

    def _copy(self, number: int, what: bytes | list[Header], *, ends: bool) -> None:
        if not self._begun:
            self._begun = True
            self._out += self._waiting
            self._waiting.clear()
        if isinstance(what, bytes):
            self._out += what
            return
        block = self._encoder.encode(what)
        pieces = [block[at : at + _LONGEST] for at in range(0, len(block), _LONGEST)] or [b""]
        for place, piece in enumerate(pieces):
            kind = _CONTINUATION if place else _HEADERS
            flags = _END_HEADERS * (place == len(pieces) - 1) | _END_STREAM * (ends and not place)
            self._out += len(piece).to_bytes(3, "big") + struct.pack("!BBI", kind, flags, number) + piece


def _unpadded(flags: int, payload: bytes, *, skip: int = 0) -> bytes:
    """Return what is in a frame between its padding's length, its priority and its padding."""
    if not flags & _PADDED:
        return payload[skip:]
    if not payload or payload[0] >= len(payload):
        raise NotHttp2
    return payload[1 + skip : len(payload) - payload[0]]


def _request(headers: list[Header]) -> Request:
    known = dict(headers)
    ordinary = [(name, value) for name, value in headers if not name.startswith(b":")]
    return Request.make(known.get(b":method", b"GET"), known.get(b":path", b""), ordinary)
